"""What a host is answered by ICMP and RST: the same packets to the kernel and to a stack, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from barewire.fuzz.strategies import PEER, PEER_MAC, US
from barewire.fuzz.targets import SECOND, KernelTarget, StackTarget, Target
from barewire.l2 import ETH_P_IP, Ethernet
from barewire.stack.icmp import icmp
from barewire.stack.ip.ipv4 import PROTO_ICMP, IPv4

from tests.ip.test_options import BROKEN
from tests.kit import frames

pytestmark = pytest.mark.netns

P, U = str(PEER), str(US)
HOP = bytes([192, 0, 2, 9])
TS = 68


@pytest.fixture(scope="module")
def kernel() -> Iterator[KernelTarget]:
    with KernelTarget() as target:
        yield target


@pytest.fixture
def ours() -> Iterator[StackTarget]:
    with StackTarget() as target:
        yield target


def answers(target: Target, *packets: bytes) -> list[IPv4]:
    found = []
    target.take()
    for packet in packets:
        target.put(Ethernet(target.mac, PEER_MAC, ETH_P_IP, packet).build())
        seen = [Ethernet.parse(frame) for frame in target.take()]
        if target.name == "barewire" and any(e.ethertype != ETH_P_IP for e in seen):
            _answer_arp(target)
            seen += [Ethernet.parse(frame) for frame in target.take()]
        found += [IPv4.parse(e.payload) for e in seen if e.ethertype == ETH_P_IP]
    return found


def _answer_arp(target: Target) -> None:
    from barewire.l2 import ARP_REPLY, ETH_P_ARP, Arp

    reply = Arp(ARP_REPLY, PEER_MAC, PEER, target.mac, US)
    target.put(Ethernet(target.mac, PEER_MAC, ETH_P_ARP, reply.build()).build())


def seen(packet: IPv4) -> dict[str, Any]:
    """All but what is chosen freely: the identification (only whether there is one), times, and what the
    kernel has written into the packet that it quotes."""
    options = packet.options
    if options[:1] == bytes([TS]):
        options = options[:4] + b"".join(
            w if w in (US.packed, PEER.packed, bytes(4)) else b"time" for w in _words(options[4:])
        )
    said: dict[str, Any] = {
        "tos": packet.tos,
        "ttl": packet.ttl,
        "df": packet.df,
        "ident": packet.ident != 0,
        "options": options,
        "proto": packet.proto,
    }
    if packet.proto == PROTO_ICMP:
        message = icmp.parse(packet.payload)
        said["length"] = len(packet.payload)
        said["type"], said["code"] = packet.payload[0], packet.payload[1]
        if isinstance(message, icmp.ParameterProblem):
            said["pointer"] = message.pointer
        if isinstance(message, icmp.Echo):
            said["echo"] = message
    else:
        said["segment"] = packet.payload
    return said


def _words(data: bytes) -> list[bytes]:
    return [data[i : i + 4] for i in range(0, len(data), 4)]


def alike(kernel: KernelTarget, ours: StackTarget, *packets: bytes) -> None:
    wanted = [seen(p) for p in answers(kernel, *packets)]
    assert [seen(p) for p in answers(ours, *packets)] == wanted


def echo(**ip: Any) -> bytes:
    return frames.icmp_message(P, U, icmp.Echo(1, 1, b"ping"), **ip)


@pytest.mark.parametrize("tos", [0, 1, 2, 3, 0x10, 0x1E, 0x20, 0xB8, 0xFF])
def test_tos(kernel, ours, tos) -> None:
    """An echo keeps it; an error has its own precedence; a reset loses the ECN field."""
    syn = frames.Segment(5000, 81, seq=7, flags=frames.flags_of("S"))
    alike(
        kernel,
        ours,
        echo(tos=tos),
        frames.udp(P, U, 5000, 99, b"x", tos=tos),
        frames.ip(P, U, 253, b"12345678", tos=tos),
        frames.tcp(P, U, syn, tos=tos),
    )


@pytest.mark.parametrize("size", [0, 1, 500, 519, 520, 521, 1400])
def test_how_much_is_quoted(kernel, ours, size) -> None:
    alike(kernel, ours, frames.udp(P, U, 5000, 99, bytes(size)))


OPTIONS = {name: options for name, (options, _) in BROKEN.items()} | {
    "record route": bytes([7, 15, 4]) + bytes(13),
    "recorded before": bytes([7, 15, 8]) + HOP + bytes(9),
    "one place": bytes([7, 7, 4]) + bytes(5),
    "full": bytes([7, 7, 8]) + HOP + b"\0",
    "security": bytes([130, 11]) + bytes(9) + b"\0",
    "stream": bytes([136, 4, 0, 1]),
    "router alert": bytes([148, 4, 0, 0]),
    "unknown": bytes([0x9E, 4, 0, 0]),
    "after the end": bytes([0, 7, 7, 7]),
    "loose source route": bytes([131, 7, 4]) + HOP + b"\0",
    "strict source route": bytes([137, 7, 8]) + HOP + b"\0",
    "times": bytes([TS, 12, 5, 0]) + bytes(8),
    "no place for a time": bytes([TS, 8, 9, 0]) + bytes(4),
    "times and addresses": bytes([TS, 20, 5, 1]) + bytes(16),
    "our time": bytes([TS, 20, 5, 3]) + US.packed + bytes(4) + PEER.packed + bytes(4),
    "another's time": bytes([TS, 12, 5, 3]) + PEER.packed + bytes(4),
    "a kind nobody knows": bytes([TS, 12, 5, 2]) + bytes(8),
}
# The kernel takes back what it had read of the options before the broken one; we take back nothing.
del OPTIONS["two record routes"]


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_options_of_an_echo(kernel, ours, options) -> None:
    alike(kernel, ours, echo(options=options))


def test_options_of_what_is_refused(kernel, ours) -> None:
    alike(kernel, ours, frames.udp(P, U, 1, 99, bytes(600), options=OPTIONS["record route"]))


@pytest.mark.parametrize(
    "packet",
    [
        frames.icmp_message(P, U, icmp.Echo(1, 1, reply=True)),
        frames.icmp_message(P, U, icmp.Other(15)),
        frames.icmp_message(P, U, icmp.Other(17, rest=1 << 16, data=bytes(4))),
        frames.icmp_message(P, U, icmp.Other(200)),
        frames.icmp_message(P, U, icmp.Redirect(PEER, frames.udp(U, P, 1, 2))),
        frames.icmp_message(P, U, icmp.Unreachable(3, frames.udp(U, P, 1, 2))),
        frames.udp(P, "198.18.0.255", 5000, 99, b"x"),
        frames.udp("240.0.0.1", U, 5000, 99, b"x"),
        frames.ip(P, U, 253, b"12345678", offset=8),
        frames.ip(P, "255.255.255.255", 253, b"12345678"),
    ],
)
def test_silence(kernel, ours, packet) -> None:
    alike(kernel, ours, packet)
    assert answers(ours, packet) == []


def test_a_destination_has_a_burst_of_six_and_then_one_a_second(ours) -> None:
    refused = [frames.udp(P, U, 5000, 99, b"x")] * 20
    with KernelTarget() as kernel:
        kernel._namespace.sysctl("net.ipv4.icmp_ratelimit", 1000)
        for wait in (0, SECOND + SECOND // 10):
            for target in (kernel, ours):
                for _ in target.advance(wait):
                    target.take()
            assert len(answers(ours, *refused)) == len(answers(kernel, *refused)) > 0


@pytest.mark.parametrize(
    "about",
    [
        frames.tcp(U, P, frames.Segment(1234, 80, payload=bytes(1400)), df=True),
        frames.udp(U, P, 1234, 53, bytes(1400), df=True),
    ],
    ids=["tcp", "udp"],
)
def test_a_forged_mtu_changes_nothing(kernel, ours, about) -> None:
    """The MSS of the next connection."""
    import socket

    for target in (kernel, ours):
        error = icmp.Unreachable(icmp.UNREACH_FRAG_NEEDED, about[:576], 552)
        assert answers(target, frames.icmp_message(P, U, error)) == []
        with target.socket(socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
            assert sock.sendto(bytes(1472), (P, 9)) == 1472, target.name
        target.take()
