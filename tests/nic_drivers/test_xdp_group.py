"""xdp: several stacks on one interface, a queue each; the XDP program is theirs together."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from barewire.nic_drivers import Device, DeviceError, open_device
from barewire.tools import netns
from barewire.tools.netns import Namespace

from tests.netns.link import until
from tests.nic_drivers.frames import datagram

pytestmark = [pytest.mark.netns, pytest.mark.machine]

KERNEL, STACK = "198.18.0.1", "198.18.0.2"
OWN, OTHER, ALL = b"\x02\0\0\0\0\x01", b"\x02\0\0\0\0\x99", b"\xff" * 6
LOOK = 30_000  # ns, longer than between two looks at what comes beside the queue


@pytest.fixture
def far(make_netns: Callable[..., Namespace]) -> Iterator[Namespace]:
    near, far = make_netns("near"), make_netns("far")
    for ns in (near, far):
        ns.sysctl("net.ipv6.conf.default.disable_ipv6", 1)
    netns.veth(near, far, "198.18.0.3/24", f"{KERNEL}/24", queues=2)
    with near.entered():
        yield far


@pytest.fixture(params=["native", "generic"])
def group(far: Namespace, request: pytest.FixtureRequest) -> Iterator[list[Device]]:
    with ExitStack() as stack:
        yield [stack.enter_context(member(k, f"mode={request.param}")) for k in (0, 1)]


def member(k: int, options: str = "mode=auto", queues: int = 2) -> Device:
    return open_device(f"xdp:veth0?mac={OWN.hex(':')}&ring=256&queue={k}&queues={queues}&{options}")


def link() -> str:
    done = subprocess.run(["ip", "-d", "link", "show", "veth0"], capture_output=True, text=True)
    return done.stdout


def send(far: Namespace, *frames: bytes) -> None:
    with far.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as raw:
        raw.bind(("veth0", 0))
        for frame in frames:
            raw.send(frame)


def to_port(port: int, source: int = 5000, fragment: int = 0) -> bytes:
    data = datagram(KERNEL, STACK, port, 46, source_port=source)
    head = bytearray(OWN + OTHER + b"\x08\x00" + data)
    head[20:22] = fragment.to_bytes(2, "big")
    head[36:38] = port.to_bytes(2, "big")
    return bytes(head)


def received(device: Device) -> list[bytes]:
    found = []
    for i in range(20):
        found += [frame.data for frame in device.rx(64, now=(i + 1) * LOOK)]
    return found


def test_each_has_its_ports_whichever_queue_they_come_by(
    far: Namespace, group: list[Device]
) -> None:
    frames = [to_port(7000 + i % 2, 5000 + i) for i in range(64)]
    send(far, *frames)
    for k, device in enumerate(group):
        assert sorted(received(device)) == sorted(frames[k::2])
    counts = group[0].xstats
    assert counts["to_stack"] + counts["to_group"] == 64, "the program's counters are the group's"
    beside = sum(device.xstats["group_frames"] for device in group)
    assert beside == counts["to_group"], "what came by the other's queue came by the packet socket"


def test_what_has_no_ports_comes_to_all(far: Namespace, group: list[Device]) -> None:
    arp = (ALL + OTHER + b"\x08\x06" + bytes(28)).ljust(60, b"\0")
    fragments = [to_port(7000, fragment=0x2000), to_port(7001, fragment=0x0008)]
    many = ALL[:5] + b"\0" + arp[6:]
    send(far, arp, *fragments, many, OTHER + arp[6:])
    for device in group:
        assert [frame for frame in received(device) if frame[6:12] == OTHER] == [
            arp,
            *fragments,
            many,
        ]


def test_each_sends_on_its_own_queue(far: Namespace) -> None:
    """veth delivers what was sent on queue k to queue k of the other end."""
    with ExitStack() as stack:
        near = [stack.enter_context(member(k, "mode=generic")) for k in (0, 1)]
        with far.entered():
            there = open_device("xdp:veth0?mode=native&steer=all&queue=1&ring=256")
        stack.enter_context(there)
        for k, device in enumerate(near):
            assert device.tx([ALL + OTHER + b"\x88\xb5" + bytes([k]) * 46] * 10) == 10
        assert {data[14] for data in received(there) if data[12:14] == b"\x88\xb5"} == {1}
        assert there.xstats["no_socket"] >= 10


def test_who_disagrees_is_refused(far: Namespace) -> None:
    with member(0, "mode=generic") as first:
        for options, queues in (("mode=generic", 3), ("mode=native", 2), ("syn_guard=9", 2)):
            with pytest.raises(DeviceError, match="stacks that share veth0 disagree") as caught:
                member(1, options, queues)
            assert caught.value.errno == errno.EINVAL
        with pytest.raises(DeviceError, match="queue 0 of veth0 has an XDP socket already"):
            member(0)
        with pytest.raises(DeviceError, match="veth0 has an XDP program already") as caught:
            open_device("xdp:veth0?queue=1&ring=256")
        assert caught.value.errno == errno.EBUSY
        with member(1):
            send(far, to_port(7000))
            assert received(first) == [to_port(7000)]
    assert "xdp" not in link()


def test_a_program_of_somebody_elses_is_left_alone(far: Namespace) -> None:
    with open_device("xdp:veth0?queue=0&ring=256&steer=all"):
        with pytest.raises(DeviceError, match="disagree"):
            member(1)
        assert "xdp" in link()


MEMBER = """
import sys
from tests.nic_drivers.test_xdp_group import member
device = member(1)
print("open", flush=True)
sys.stdin.readline()
print(device.rx(64, now=10**9)[0].data.hex(), flush=True)
sys.stdin.readline()
"""


def test_processes_share_the_program_and_the_last_one_takes_it_away(far: Namespace) -> None:
    first = member(0)
    with subprocess.Popen(
        [sys.executable, "-c", MEMBER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin and child.stdout
        assert child.stdout.readline() == "open\n"
        first.close()
        assert "xdp" in link(), "it is the other's, too"
        send(far, to_port(7001))
        child.stdin.write("\n")
        child.stdin.flush()
        assert bytes.fromhex(child.stdout.readline()) == to_port(7001)
        with member(0) as again:
            send(far, to_port(7002))
            assert received(again) == [to_port(7002)]
        os.kill(child.pid, signal.SIGKILL)
    until(lambda: "xdp" not in link(), "the program goes with the last of them")


def test_what_comes_beside_the_queue_has_a_bound(far: Namespace) -> None:
    with member(0) as device:
        arp = (ALL + OTHER + b"\x08\x06" + bytes(28)).ljust(60, b"\0")
        send(far, *[arp] * 4000)
        counts = device.xstats
        assert counts["kernel_group_dropped"] > 0
        found: list[bytes] = []
        for i in range(2000):
            found += [f.data for f in device.rx(64, now=(i + 1) * LOOK) if f.data[6:12] == OTHER]
        assert len(found) + counts["kernel_group_dropped"] >= 4000
        send(far, arp)
        assert arp in received_later(device)


def received_later(device: Device) -> list[bytes]:
    return [frame.data for i in range(20) for frame in device.rx(64, now=10**9 + i * LOOK)]
