"""The SYN guard: what the kernel holds back before it reaches us, on TAP, TUN and XDP."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator

import pytest
from barewire.nic_drivers import Device, DeviceError, open_device
from barewire.nic_drivers.guard import guard
from barewire.tools import netns
from barewire.tools.netns import Namespace
from scapy.layers.inet import IP, TCP, IPOption_NOP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from tests.kit.privilege import for_machine

pytestmark = pytest.mark.netns

MANY = 400  # SYNs in a row: far more than are let in at first sight in the time they take
HEADS: dict[str, Callable[[], Packet]] = {
    "ipv4": lambda: IP(src="198.18.0.1", dst="198.18.0.2"),
    "options": lambda: IP(src="198.18.0.1", dst="198.18.0.2", options=[IPOption_NOP()] * 4),
    "ipv6": lambda: IPv6(src="2001:db8::1", dst="2001:db8::2"),
}


class Guarded:
    """A guarded device and a way to send packets to it from the kernel's side."""

    def __init__(self, device: Device, send: Callable[[bytes], object], link: bytes) -> None:
        self.device, self.send, self.link = device, send, link

    def packets(self, number: int, head: str = "ipv4", flags: str = "S") -> list[bytes]:
        """TCP segments that differ in their sequence number only."""
        one = bytearray(self.link + bytes(HEADS[head]() / TCP(sport=9, dport=80, flags=flags)))
        at = len(one) - 20 + 4
        return [bytes(one[:at] + struct.pack("!I", i) + one[at + 4 :]) for i in range(number)]

    def arrived(self, packets: list[bytes]) -> int:
        """Sends them all; how many TCP segments came in."""
        found = 0
        for number, packet in enumerate(packets, 1):
            self.send(packet)
            if number % 64 == 0 or number == len(packets):
                while frames := self.device.rx():
                    found += sum(b"\x00\x09\x00\x50" in frame.data for frame in frames)
        return found

    def count(self, name: str) -> int:
        return self.device.xstats[f"guard_syns_{name}"]


def _sender(sock: socket.socket, cooked: bool) -> Callable[[bytes], object]:
    """Sends frames into wire0; `cooked`: bare IP packets."""
    if not cooked:
        sock.bind(("wire0", 0))
        return sock.send
    return lambda packet: sock.sendto(packet, ("wire0", 0x0800 if packet[0] >> 4 == 4 else 0x86DD))


@pytest.fixture(params=for_machine("tap", "tun", "uring", "xdp"))
def guarded(
    request: pytest.FixtureRequest, make_netns: Callable[[str], Namespace]
) -> Iterator[Guarded]:
    near, far = make_netns("near"), make_netns("far")
    for space in (near, far):
        space.sysctl("net.ipv6.conf.default.disable_ipv6", 1)
    if request.param == "xdp":
        netns.veth(near, far, "192.0.2.1/24", "192.0.2.2/24", names=("wire0", "wire0"))
        name, sender = "xdp:wire0?mode=generic&syn_guard=1", far
    else:
        kind, mode = ("uring", "tap") if request.param == "uring" else ("tap", request.param)
        name = f"{kind}:wire0?mode={mode}&host=198.18.0.1/24&syn_guard=1"
        sender = near
    bare = socket.SOCK_DGRAM if request.param == "tun" else socket.SOCK_RAW
    with (
        near.entered(),
        open_device(name) as device,
        sender.socket(socket.AF_PACKET, bare) as sock,
    ):
        send = _sender(sock, request.param == "tun")
        link = bytes(Ether(dst=device.mac.hex(":"), src="02:00:00:00:00:09", type=0x0800))
        yield Guarded(device, send, b"" if device.layer == 3 else link)


@pytest.mark.parametrize("head", ["ipv4", "options"])
def test_a_flood_is_held_back_and_repeated_syns_come_in(guarded: Guarded, head: str) -> None:
    syns = guarded.packets(MANY, head)
    few = guarded.arrived(syns)
    mistaken = guarded.count("repeated")  # a Bloom filter sees what was not there now and then
    assert few == guarded.count("first") + mistaken < MANY / 2
    assert mistaken < MANY / 20
    assert guarded.count("held") == MANY - few
    assert guarded.arrived(syns) == MANY, "who comes again is let in"
    assert guarded.count("repeated") == MANY + mistaken


def test_ipv6_too(guarded: Guarded) -> None:
    if guarded.link:
        guarded.link = guarded.link[:12] + b"\x86\xdd"
    syns = guarded.packets(MANY, "ipv6")
    few = guarded.arrived(syns)
    assert few == guarded.count("first") + guarded.count("repeated") < MANY / 2
    assert guarded.count("held") == MANY - few
    assert guarded.arrived(syns) == MANY


@pytest.mark.parametrize("flags", ["A", "SA", "R", "F", "PA"])
def test_only_syns_are_looked_at(guarded: Guarded, flags: str) -> None:
    assert guarded.arrived(guarded.packets(MANY, flags=flags)) == MANY
    assert guarded.count("first") == guarded.count("held") == 0


def test_short_and_broken_packets_pass(guarded: Guarded) -> None:
    """What is no whole SYN is the engine's to judge."""
    whole = guarded.packets(1)[0]
    at = len(guarded.link)
    fragment = whole[: at + 6] + b"\x20\x00" + whole[at + 8 :]
    for packet in (whole[: at + 30], fragment, whole[:at] + b"\x4f" + whole[at + 1 :]):
        guarded.send(packet)
    assert guarded.count("first") == guarded.count("held") == 0


def test_off_by_default(make_netns: Callable[[str], Namespace]) -> None:
    with make_netns("ns").entered(), open_device("tap:wire0?host=198.18.0.1/24") as device:
        assert not [name for name in device.xstats if name.startswith("guard_")]


def test_it_is_refused_on_an_interface_of_others(make_netns: Callable[[str], Namespace]) -> None:
    space = make_netns("ns")
    netns.tap(space, "198.18.0.1/24", name="wire0")
    with space.entered():
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(DeviceError, match="was made by others") as caught:
            open_device("tap:wire0?syn_guard=100")
        assert caught.value.errno == errno.EINVAL
        assert len(os.listdir("/proc/self/fd")) == before


def test_over_a_packet_socket_there_is_none(make_netns: Callable[[str], Namespace]) -> None:
    space = make_netns("ns")
    netns.tap(space, "198.18.0.1/24", name="wire0")
    with (
        space.entered(),
        pytest.raises(DeviceError, match="syn_guard of uring:wire0 is not for over=packet"),
    ):
        open_device("uring:wire0?over=packet&syn_guard=100")


def test_a_rate_out_of_bounds(make_netns: Callable[[str], Namespace]) -> None:
    with make_netns("ns").entered(), pytest.raises(DeviceError, match="syn_guard=-1"):
        open_device("tap:wire0?syn_guard=-1")


def test_built_without_libbpf(
    make_netns: Callable[[str], Namespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "_missing", "barewire was built without it: install libbpf-dev")
    with make_netns("ns").entered(), pytest.raises(DeviceError, match="no SYN guard") as caught:
        open_device("tap:wire0?syn_guard=100")
    assert caught.value.errno == errno.ENOTSUP


@pytest.mark.parametrize("kind", ["tap", "uring"])
@pytest.mark.machine
def test_no_descriptor_is_left(make_netns: Callable[[str], Namespace], kind: str) -> None:
    with make_netns("ns").entered():
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            open_device(f"{kind}:wire0?host=198.18.0.1/24&syn_guard=100").close()
        assert len(os.listdir("/proc/self/fd")) == before
