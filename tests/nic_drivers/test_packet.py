"""packet: AF_PACKET rings on a veth pair, in namespaces of the test's own."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import barewire
import pytest
from barewire.nic_drivers import Device, DeviceError, TxFrame, open_device
from barewire.tools import netns
from barewire.tools.netns import Namespace

pytestmark = pytest.mark.netns

KERNEL, STACK = "198.18.0.1", "198.18.0.2"
OWN = b"\x02\x00\x00\x00\x00\x01"
OTHER = b"\x02\x00\x00\x00\x00\x99"


@dataclass
class Wire:
    """The near end is where packet devices are opened, the far end is the kernel's."""

    near: Namespace
    far: Namespace
    name: str = "veth0"

    def open(self, options: str = "") -> Device:
        with self.near.entered():
            return open_device(f"packet:{self.name}?mac={OWN.hex(':')}{options}")

    def send(self, *frames: bytes) -> None:
        """Frames onto the wire at the far end."""
        with self.far.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as raw:
            raw.bind((self.name, 0))
            for frame in frames:
                raw.send(frame)

    def link(self) -> str:
        return self.ip("-d", "link", "show", self.name)

    def ip(self, *words: str) -> str:
        done = self.near.run(["ip", *words], capture_output=True, text=True, check=True)
        return str(done.stdout)


@pytest.fixture
def wire(make_netns: Callable[..., Namespace]) -> Iterator[Wire]:
    near, far = make_netns("near"), make_netns("far")
    for ns in (near, far):
        ns.sysctl("net.ipv6.conf.default.disable_ipv6", 1)
    netns.veth(near, far, "198.18.0.3/24", f"{KERNEL}/24")
    yield Wire(near, far)


def frame(to: bytes, number: int, size: int = 60) -> bytes:
    head = to + b"\x02\x00\x00\x00\x00\x02\x88\xb5" + number.to_bytes(2, "big")
    return head + bytes(i & 255 for i in range(size - len(head)))


def received(device: Device, n: int) -> list[bytes]:
    """The next n frames of the test's own type."""
    found: list[bytes] = []
    while len(found) < n:
        found += [f.data for f in device.rx() if f.data[12:14] == b"\x88\xb5"]
        armed = device.arm()
        if len(found) < n and not armed.ready:
            assert select.select([armed.fd], [], [], 5)[0], f"{len(found)} of {n} frames came"
    return found


@pytest.mark.parametrize("options", ["", "&rx=block", "&offload=0"])
def test_frames_of_all_sizes_both_ways(wire: Wire, options: str) -> None:
    frames = [frame(OWN, i, size) for i, size in enumerate([14, 60, 61, 64, 127, 1500, 1514])]
    frames[0] = frames[0][:14]
    with wire.open(options) as device, wire.far.entered():
        with open_device(f"packet:{wire.name}?filter=0") as peer:
            wire.send(*frames)
            assert received(device, 7) == frames
            assert device.tx(frames) == 7
            assert received(peer, 7) == frames
            assert device.tx([TxFrame([frames[3][:14], frames[3][14:50], frames[3][50:]])]) == 1
            assert received(peer, 1) == [frames[3]]
        assert device.stats["rx_dropped"] == device.stats["tx_dropped"] == 0


def test_only_what_is_the_stacks_is_copied(wire: Wire) -> None:
    mine, group, everyone = frame(OWN, 1), frame(b"\x01\0\x5e\0\0\1", 2), frame(b"\xff" * 6, 3)
    with wire.open() as device:
        wire.send(frame(OTHER, 9), mine, frame(OTHER, 9), group, everyone)
        assert received(device, 3) == [mine, group, everyone]
        assert device.xstats["kernel_rx_seen"] == 3
    with wire.open("&filter=0") as device:
        wire.send(frame(OTHER, 9), mine)
        assert received(device, 2) == [frame(OTHER, 9), mine]


def test_what_the_kernel_sends_there_does_not_come_back(wire: Wire) -> None:
    with wire.open("&filter=0") as device, wire.near.entered():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as kernel:
            kernel.sendto(b"hello", (KERNEL, 9))
        wire.send(frame(OWN, 1))
        assert received(device, 1) == [frame(OWN, 1)]
        assert device.tx([frame(OWN, 2)]) == 1
        wire.send(frame(OWN, 3))
        assert received(device, 1) == [frame(OWN, 3)]


def test_a_shared_address_gets_its_arp_and_its_packets(wire: Wire) -> None:
    with wire.near.entered(), open_device("packet:veth0?share=address") as device:
        wire.send(frame(OWN, 1))
        assert not device.rx(), "no address yet"
        assert device.mac.hex(":") in wire.link()
        with barewire.Stack(device, addresses=[f"{STACK}/24"]) as stack:
            server = stack.socket(socket.AF_INET, socket.SOCK_DGRAM)
            server.bind((STACK, 7000))
            server.settimeout(5)
            with wire.far.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(5)
                client.sendto(b"to the stack", (STACK, 7000))
                data, address = server.recvfrom(100)
                server.sendto(data.upper(), address)
                assert client.recv(100) == b"TO THE STACK"
            with wire.near.socket(socket.AF_INET, socket.SOCK_DGRAM) as kernel:
                kernel.bind(("198.18.0.3", 7000))
                kernel.settimeout(5)
                with wire.far.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                    client.sendto(b"to the kernel", ("198.18.0.3", 7000))
                assert kernel.recv(100) == b"to the kernel"
            assert stack.counters()["drop_ip_not_ours"] == 0
            before = stack.addresses
            with pytest.raises(OSError, match="the kernel has one of") as caught:
                stack.add_address("198.18.0.3/24")
            assert caught.value.errno == errno.EADDRINUSE
            assert stack.addresses == before
            stack.add_address("198.18.0.9/24")
            done = wire.far.run(["ping", "-c1", "-W5", "198.18.0.9"])
            assert done.returncode == 0
            stack.remove_address("198.18.0.9/24")
            done = wire.far.run(["ping", "-c1", "-W1", "198.18.0.9"], check=False)
            assert done.returncode != 0
            server.close()


def test_an_address_of_the_kernel_is_not_shared(wire: Wire) -> None:
    with wire.near.entered(), pytest.raises(OSError, match="the kernel has one of") as caught:
        barewire.Stack("packet:veth0?share=address", addresses=["198.18.0.3/24"])
    assert caught.value.errno == errno.EADDRINUSE


@pytest.mark.parametrize("mode", ["hash", "lb", "cpu", "rollover", "rnd", "qm"])
def test_a_frame_reaches_one_of_a_group(wire: Wire, mode: str) -> None:
    group = f"&fanout=7&fanout_mode={mode}"
    with wire.open(group) as one, wire.open(group) as two:
        wire.send(*[frame(OWN, i) for i in range(10)])
        assert sum(d.xstats["kernel_rx_seen"] for d in (one, two)) == 10
        assert len(one.rx() + two.rx()) == 10


@pytest.mark.parametrize("asked", [0, 1])
def test_it_sends_past_the_traffic_control(wire: Wire, asked: int) -> None:
    with wire.open(f"&qdisc_bypass={asked}") as device:
        with socket.socket(fileno=os.dup(device.arm().fd)) as own:
            assert own.getsockopt(263, 20) == asked  # SOL_PACKET, PACKET_QDISC_BYPASS
        wire.near.run(["tc", "qdisc", "replace", "dev", "veth0", "root", "pfifo"], check=True)
        assert device.tx([frame(OTHER, 1)]) == 1
        sent = wire.near.run(
            ["tc", "-s", "qdisc", "show", "dev", "veth0"], capture_output=True, text=True
        )
        assert ("Sent 0 bytes" in sent.stdout) == bool(asked)


def test_fanout_shares_the_flows(wire: Wire) -> None:
    with wire.open("&fanout=7&fanout_mode=lb") as one, wire.open("&fanout=7&fanout_mode=lb") as two:
        wire.send(*[frame(OWN, i) for i in range(10)])
        assert len(received(one, 5)) == len(received(two, 5)) == 5


@pytest.mark.parametrize("options", ["", "&rx=block"])
def test_a_full_ring_drops_counts_and_recovers(wire: Wire, options: str) -> None:
    with wire.open(f"&ring=8{options}") as device:
        wire.send(*[frame(OWN, i, 1514) for i in range(4000)])
        stats = device.xstats
        seen, dropped = stats["kernel_rx_seen"], stats["kernel_rx_dropped"]
        assert seen == 4000 and dropped > 0
        assert (stats["kernel_rx_freezes"] > 0) == ("block" in options)
        assert device.xstats == stats, "the kernel's counters go on, though it resets them"
        assert len(received(device, seen - dropped)) > 0
        assert device.rx() == [], "which gives the lent frames back"
        wire.send(frame(OWN, 1))
        assert received(device, 1) == [frame(OWN, 1)]


def test_too_long_a_frame_is_dropped_and_counted(wire: Wire) -> None:
    with wire.open() as device:
        assert device.tx([frame(OTHER, 1, 1519), frame(OTHER, 2)]) == 2
        assert device.stats["tx_dropped"] == 1 and device.stats["tx_frames"] == 1
        assert device.xstats["tx_bad_length"] == 1


def test_an_interface_that_is_deleted_says_so_and_wakes_the_sleeper(wire: Wire) -> None:
    with wire.open() as device:
        armed = device.arm()
        wire.ip("link", "del", "veth0")
        poller = select.poll()
        poller.register(armed.fd, armed.events)
        assert poller.poll(5000)
        with pytest.raises(DeviceError, match="is gone") as caught:
            device.arm()
        assert caught.value.errno == errno.ENETDOWN
        with pytest.raises(DeviceError):
            device.rx()


def test_the_interface_stays_as_it_was(wire: Wire) -> None:
    before = wire.link()
    with wire.open() as device:
        assert "promiscuity 1" in wire.link(), "veth has no address filter"
        device.tx([frame(OTHER, 1)])
    assert wire.link() == before
    with wire.open("&promiscuous=1"):
        assert "promiscuity 1" in wire.link()
    assert wire.link() == before


def test_a_killed_process_leaves_the_interface_as_it_was(wire: Wire) -> None:
    before = wire.link()
    program = (
        "import sys, barewire\n"
        "stack = barewire.Stack('packet:veth0', addresses=['198.18.0.2/24'])\n"
        "print('up', flush=True); sys.stdin.read()\n"
    )
    child = wire.near.popen(
        [sys.executable, "-P", "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with child:
        assert child.stdout is not None and child.stdout.readline() == b"up\n"
        assert wire.link() != before
        os.kill(child.pid, signal.SIGKILL)
        child.wait(5)
    assert wire.link() == before


@pytest.mark.parametrize(
    ("name", "number", "sentence"),
    [
        ("packet:nowhere", errno.ENODEV, "there is no interface 'nowhere' here"),
        ("packet:", errno.ENODEV, "there is no interface '' here"),
        ("packet:veth0?share=nonsense", errno.EINVAL, "expected address"),
        ("packet:veth0?share=address&mac=02:00:00:00:00:01", errno.EINVAL, "exclude each"),
        ("packet:veth0?queues=2", errno.EINVAL, "give queue= and queues= together"),
        ("packet:veth0?queue=0&queues=2&fanout=1", errno.EINVAL, "leave out share=, filter=0"),
        ("packet:veth0?ring=7", errno.EINVAL, "from 8 to 16384"),
        ("packet:veth0?rx=fast", errno.EINVAL, "frame or block"),
        ("packet:veth0?fanout_mode=mine", errno.EINVAL, "expected hash or lb"),
    ],
)
def test_mistakes(wire: Wire, name: str, number: int, sentence: str) -> None:
    with wire.near.entered(), pytest.raises(DeviceError, match=sentence) as caught:
        open_device(name)
    assert caught.value.errno == number


def test_an_interface_that_is_down(wire: Wire) -> None:
    wire.ip("link", "set", "veth0", "down")
    with pytest.raises(DeviceError, match="is down: bring it up") as caught:
        wire.open()
    assert caught.value.errno == errno.ENETDOWN
