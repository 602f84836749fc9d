"""xdp: AF_XDP on a veth pair, in namespaces of the test's own."""

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

from tests.netns.link import until
from tests.nic_drivers.frames import datagram

pytestmark = pytest.mark.netns

KERNEL, STACK = "198.18.0.1", "198.18.0.2"
OWN = b"\x02\x00\x00\x00\x00\x01"
OTHER = b"\x02\x00\x00\x00\x00\x99"
TYPE = b"\x88\xb5"
AF_XDP = 44
BUSY_POLL = [46, 69]  # SO_BUSY_POLL, SO_PREFER_BUSY_POLL


@dataclass
class Wire:
    """The near end is where XDP devices are opened, the far end is the kernel's."""

    near: Namespace
    far: Namespace
    name: str = "veth0"

    def open(self, options: str = "", mac: bytes | None = OWN) -> Device:
        own = [f"mac={mac.hex(':')}"] if mac else []
        with self.near.entered():
            return open_device(
                f"xdp:{self.name}?" + "&".join([*own, "ring=512", *filter(None, [options])])
            )

    def send(self, *frames: bytes) -> None:
        """Frames onto the wire at the far end."""
        with self.far.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as raw:
            raw.bind((self.name, 0))
            for frame in frames:
                raw.send(frame)

    def ip(self, *words: str) -> str:
        done = self.near.run(["ip", *words], capture_output=True, text=True, check=True)
        return str(done.stdout)

    def link(self) -> str:
        return self.ip("-d", "link", "show", self.name)


@pytest.fixture
def make_wire(make_netns: Callable[..., Namespace]) -> Callable[..., Wire]:
    def make(mtu: int = 1500) -> Wire:
        near, far = make_netns("near"), make_netns("far")
        for ns in (near, far):
            ns.sysctl("net.ipv6.conf.default.disable_ipv6", 1)
        netns.veth(near, far, "198.18.0.3/24", f"{KERNEL}/24", mtu=mtu)
        return Wire(near, far)

    return make


@pytest.fixture
def wire(make_wire: Callable[..., Wire]) -> Iterator[Wire]:
    yield make_wire()


def frame(to: bytes, number: int, size: int = 60) -> bytes:
    head = to + b"\x02\x00\x00\x00\x00\x02" + TYPE + number.to_bytes(2, "big")
    return head + bytes(i & 255 for i in range(size - len(head)))


def received(device: Device, n: int) -> list[bytes]:
    """The next n frames of the test's own type."""
    found: list[bytes] = []
    while len(found) < n:
        found += [f.data for f in device.rx() if f.data[12:14] == TYPE]
        armed = device.arm()
        if len(found) < n and not armed.ready:
            assert select.select([armed.fd], [], [], 5)[0], f"{len(found)} of {n} frames came"
    return found


def far_socket(wire: Wire) -> socket.socket:
    with wire.far.entered():
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(int.from_bytes(TYPE)))
        raw.bind((wire.name, int.from_bytes(TYPE)))
    raw.settimeout(5)
    return raw


@pytest.mark.parametrize("mode", ["native", "generic"])
@pytest.mark.machine
def test_frames_of_all_sizes_both_ways(wire: Wire, mode: str) -> None:
    sizes = [60, 61, 64, 127, 1500, 1514]
    with wire.open(f"mode={mode}") as device, far_socket(wire) as far:
        info = device.info
        assert (info["native"], info["zerocopy"], info["frags"]) == (mode == "native", 0, 0)
        frames = [frame(OWN, i, size) for i, size in enumerate(sizes)]
        wire.send(*frames)
        assert received(device, len(sizes)) == frames
        out = [frame(b"\xff" * 6, i, size) for i, size in enumerate(sizes)]
        assert device.tx(out) == len(out)
        assert [far.recv(2000) for _ in out] == out
        pieces = [out[3][:14], out[3][14:50], out[3][50:]]
        assert device.tx([TxFrame(pieces)]) == 1 and far.recv(2000) == out[3]
        assert device.stats["rx_dropped"] == device.stats["tx_dropped"] == 0


@pytest.mark.machine
def test_jumbo_frames_of_several_buffers(make_wire: Callable[..., Wire]) -> None:
    wire = make_wire(9000)
    sizes = [60, 3500, 4096, 4097, 8192, 9014]
    with wire.open() as device, far_socket(wire) as far:
        assert device.info["frags"] == 1
        for _ in range(200):  # more than the ring has chunks
            frames = [frame(OWN, i, size) for i, size in enumerate(sizes)]
            wire.send(*frames)
            assert received(device, len(sizes)) == frames
            out = [frame(b"\xff" * 6, i, size) for i, size in enumerate(sizes)]
            assert device.tx(out) == len(out)
            assert [far.recv(10_000) for _ in out] == out
        assert device.stats["rx_dropped"] == device.stats["tx_dropped"] == 0


@pytest.mark.machine
def test_the_program_steers_and_counts(wire: Wire) -> None:
    with wire.open() as device:
        before = device.xstats
        wire.send(frame(OTHER, 1), frame(OWN, 2), frame(b"\xff" * 6, 3), frame(OWN, 4))
        assert received(device, 2) == [frame(OWN, 2), frame(OWN, 4)]
        after = device.xstats
        assert after["to_stack"] - before["to_stack"] == 2
        assert after["to_kernel"] - before["to_kernel"] == 2
        assert after["no_socket"] == 0
    with wire.open("steer=all") as device:
        wire.send(frame(OTHER, 1), frame(OWN, 2))
        assert received(device, 2) == [frame(OTHER, 1), frame(OWN, 2)]


@pytest.mark.parametrize("options", ["rx_checksum=pseudo", "share=address&rx_checksum=pseudo"])
@pytest.mark.machine
def test_the_stack_beside_the_kernel_on_one_interface(wire: Wire, options: str) -> None:
    device = wire.open(options, mac=None)
    if "share" in options:
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
        assert stack.interface_stats()["rx_csum_unfinished"] >= 1
        assert stack.interface_stats()["arp_to_stack"] >= 1
        with wire.near.socket(socket.AF_INET, socket.SOCK_DGRAM) as kernel:
            kernel.bind(("198.18.0.3", 7000))
            kernel.settimeout(5)
            with wire.far.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.sendto(b"to the kernel", ("198.18.0.3", 7000))
            assert kernel.recv(100) == b"to the kernel"
        server.close()


@pytest.mark.machine
def test_several_queues_over_one_memory(wire: Wire) -> None:
    """Flows come by both: each queue alone has some of them, and the two together all."""
    wire.ip(*["link", "add", "veth0q", "numrxqueues", "2", "numtxqueues", "2", "type", "veth"],
            *["peer", "name", "veth1q", "numrxqueues", "2", "numtxqueues", "2"])  # fmt: skip
    for name in ("veth0q", "veth1q"):
        wire.ip("link", "set", name, "up")
    both = Wire(wire.near, wire.near, "veth0q")
    head = OWN + OTHER + b"\x08\x00"
    flows = [head + datagram(KERNEL, STACK, i, 46, source_port=5000 + i) for i in range(64)]

    def arrived(options: str) -> tuple[list[bytes], int]:
        with both.open(options) as device:
            Wire(wire.near, wire.near, "veth1q").send(*flows)
            found: list[bytes] = []
            for _ in range(10):
                found += [f.data for f in device.rx() if f.data[:14] == head]
            assert device.tx([frame(OTHER, 1)] * 64) == 64
            return sorted(found), device.xstats["no_socket"]

    (first, elsewhere), (second, _) = arrived("queue=0"), arrived("queue=1")
    assert first and second and elsewhere >= len(second)
    assert sorted(first + second) == sorted(flows)
    assert arrived("queues=2")[0] == sorted(flows)


@pytest.mark.machine
def test_what_the_driver_and_the_kernel_count(wire: Wire) -> None:
    with wire.open() as device:
        assert device.tx([frame(OTHER, 1)]) == 1
        device.arm()
        assert device.xstats["kernel_tx_ring_empty"] > 0
        for ns in (wire.near, wire.far):
            ns.run(["ip", "link", "set", "veth0", "mtu", "1600"], check=True)
        wire.send(frame(OWN, 1, 1614), frame(OWN, 2))
        assert received(device, 1) == [frame(OWN, 2)]
        assert device.xstats["rx_too_long"] == device.stats["rx_dropped"] == 1


@pytest.mark.machine
def test_unfinished_checksums_are_wrong_unless_asked_for(
    wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    with barewire.Stack(wire.open(mac=None), addresses=[f"{STACK}/24"]) as stack:
        server = stack.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind((STACK, 7000))
        with wire.far.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"unfinished", (STACK, 7000))
            until(lambda: stack.counters()["drop_udp_checksum_unfinished"], "it is dropped")
            until(lambda: "run `ethtool -K PEER tx off`" in caplog.text, "it is told")
        assert stack.counters()["drop_udp_checksum_unfinished"] == 1
        server.close()


@pytest.mark.machine
def test_an_address_of_the_kernel_is_not_shared(wire: Wire) -> None:
    with pytest.raises(OSError, match="the kernel has one of") as caught:
        barewire.Stack(wire.open("share=address", mac=None), addresses=["198.18.0.3/24"])
    assert caught.value.errno == errno.EADDRINUSE
    assert "xdp" not in wire.link()


@pytest.mark.machine
def test_a_full_ring_drops_counts_and_recovers(wire: Wire) -> None:
    with wire.open() as device:
        wire.send(*[frame(OWN, i) for i in range(2000)])
        stats = device.xstats
        full = ("kernel_rx_ring_full", "kernel_rx_fill_empty", "kernel_rx_dropped")
        assert sum(stats[name] for name in full) > 0
        assert len(received(device, 512)) == 512
        device.arm()
        wire.send(frame(OWN, 1))
        assert received(device, 1) == [frame(OWN, 1)]


@pytest.mark.machine
def test_a_full_transmit_ring_recovers(wire: Wire) -> None:
    out = [frame(b"\xff" * 6, i) for i in range(64)]
    with wire.open() as device, far_socket(wire) as far:
        for _ in range(50):
            assert device.tx(out) == 64
            assert [far.recv(2000) for _ in out] == out
        assert device.tx([frame(OTHER, 1, 1519), b"short"]) == 2
        assert device.stats["tx_dropped"] == device.xstats["tx_bad_length"] == 2


@pytest.mark.machine
def test_an_interface_that_is_deleted_says_so(wire: Wire) -> None:
    with wire.open() as device:
        assert not device.arm().ready
        wire.ip("link", "del", "veth0")
        with pytest.raises(DeviceError, match="is gone") as caught:
            device.arm()
        assert caught.value.errno == errno.ENETDOWN
        with pytest.raises(DeviceError):
            device.rx()
        with pytest.raises(DeviceError):
            device.tx([frame(OTHER, 1)])


@pytest.mark.machine
def test_the_program_goes_with_the_device(wire: Wire) -> None:
    before = wire.link()
    with wire.open():
        assert "xdp" in wire.link() and "steer" in wire.link()
    assert wire.link() == before


@pytest.mark.machine
def test_a_killed_process_leaves_nothing_attached(wire: Wire) -> None:
    before = wire.link()
    program = (
        "import sys, barewire\n"
        "stack = barewire.Stack('xdp:veth0', addresses=['198.18.0.2/24'])\n"
        "print('up', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-P", "-c", program]
    with wire.near.popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline() == b"up\n"
        assert "xdp" in wire.link()
        os.kill(child.pid, signal.SIGKILL)
        child.wait(5)
    until(lambda: wire.link() == before, "the program goes with the last reference")


@pytest.mark.parametrize(
    ("name", "number", "sentence"),
    [
        ("xdp:nowhere", errno.ENODEV, "there is no interface 'nowhere' here"),
        ("xdp:lo", errno.EINVAL, "does not carry Ethernet"),
        ("xdp:veth0?queue=5", errno.EINVAL, "veth0 has no queue 5"),
        ("xdp:veth0?queues=2", errno.EINVAL, "veth0 has no queue 1"),
        ("xdp:veth0?queue=2&queues=2", errno.EINVAL, "queues are numbered from 0"),
        ("xdp:veth0?queue=1&queues=2", errno.EINVAL, "veth0 has no queue 1"),
        ("xdp:veth0?queue=0&queues=2&share=address", errno.EINVAL, "neither share nor steer=all"),
        ("xdp:veth0?ring=1000", errno.EINVAL, "expected a power of two"),
        ("xdp:veth0?mode=fast", errno.EINVAL, "expected auto or native"),
        ("xdp:veth0?mode=zerocopy", errno.EOPNOTSUPP, "zero-copy"),
        ("xdp:veth0?share=address&steer=all", errno.EINVAL, "share excludes"),
    ],
)
def test_mistakes(wire: Wire, name: str, number: int, sentence: str) -> None:
    before = wire.link()
    wire.ip("link", "set", "lo", "up")
    with wire.near.entered(), pytest.raises(DeviceError, match=sentence) as caught:
        open_device(name)
    assert caught.value.errno == number
    assert wire.link() == before


def test_without_huge_pages(make_wire: Callable[..., Wire]) -> None:
    wire = make_wire(9000)
    sentence = r"no 128 huge pages of 2 MB are free: reserve them with `sysctl vm.nr_hugepages="
    with wire.near.entered(), pytest.raises(DeviceError, match=sentence) as caught:
        open_device("xdp:veth0?hugepages=1&ring=16384")
    assert caught.value.errno == errno.ENOMEM
    assert "xdp" not in wire.link()


@pytest.mark.machine
def test_busy_polling_is_the_kernels_too(wire: Wire) -> None:
    with wire.open("busy_poll=20") as device:
        with socket.socket(AF_XDP, socket.SOCK_RAW, 0, os.dup(device.arm().fd)) as queue:
            asked = [queue.getsockopt(socket.SOL_SOCKET, option) for option in BUSY_POLL]
        assert asked == [20, 1]
        wire.send(frame(OWN, 1))
        assert received(device, 1) == [frame(OWN, 1)]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("?busy_poll=20", "no permission to poll veth0: busy_poll= takes CAP_NET_ADMIN"),
        ("", "no permission to load an XDP program: run as root, with CAP_BPF and CAP_NET_ADMIN"),
    ],
)
def test_without_the_right_to_administer(wire: Wire, options: str, sentence: str) -> None:
    before = wire.link()
    program = (
        "import barewire.nic_drivers as nic\n"
        f"try: nic.open_device('xdp:veth0{options}')\n"
        "except nic.DeviceError as error: print(error.errno, error)\n"
    )
    without = ["setpriv", "--bounding-set=-net_admin,-sys_admin", sys.executable, "-P", "-c"]
    done = wire.near.run([*without, program], capture_output=True, text=True, check=True)
    assert done.stdout == f"{errno.EPERM} {sentence}\n"
    assert wire.link() == before


def test_an_interface_that_is_down(wire: Wire) -> None:
    wire.ip("link", "set", "veth0", "down")
    with pytest.raises(DeviceError, match="is down: bring it up"):
        wire.open()


@pytest.mark.machine
def test_a_second_program_is_refused(wire: Wire) -> None:
    with wire.open() as device:
        with pytest.raises(DeviceError, match=r"has an XDP (socket|program) already") as caught:
            wire.open()
        assert caught.value.errno == errno.EBUSY
        wire.send(frame(OWN, 1))
        assert received(device, 1) == [frame(OWN, 1)], "and the first goes on"
