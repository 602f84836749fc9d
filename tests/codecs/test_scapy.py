"""The codecs against scapy, both ways: it builds and we parse, we build and it parses."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from barewire.fuzz import strategies as s
from barewire.l2 import ETH_P_ARP, Arp, Ethernet
from barewire.stack.icmp import icmp
from barewire.stack.ip.ipv4 import PROTO_ICMP, PROTO_TCP, PROTO_UDP, IPv4
from barewire.stack.tcp import segment as tcp
from barewire.stack.tcp.segment import Segment
from barewire.stack.udp.udp import Udp
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.budget import budget

logging.getLogger("scapy").setLevel(logging.ERROR)
scapy: Any = pytest.importorskip("scapy.all")

A, B = s.PEER, s.US


def rebuilt(layer: Any) -> bytes:
    """scapy's packet with its lengths and checksums computed again by scapy itself."""
    for name in ("chksum", "len", "ihl", "dataofs"):
        if name in layer.fields:
            delattr(layer, name)
    return bytes(layer)


# ---- link layer ----------------------------------------------------------------------------------


@budget(80)
@given(s.ethernets)
def test_ethernet(frame: Ethernet) -> None:
    theirs = scapy.Ether(frame.build())
    assert (theirs.dst, theirs.src) == (str(frame.dst), str(frame.src))
    for tag in frame.tags:
        assert theirs.type == tag.tpid
        theirs = theirs.payload
        assert (theirs.vlan, theirs.prio) == (tag.vid, tag.pcp)
    assert theirs.type == frame.ethertype


@budget(80)
@given(s.macs, s.macs, st.integers(0, 4095), st.integers(0, 7), s.payloads)
def test_scapy_builds_a_tagged_frame(dst: Any, src: Any, vid: int, pcp: int, data: bytes) -> None:
    built = scapy.Ether(dst=str(dst), src=str(src)) / scapy.Dot1Q(vlan=vid, prio=pcp, type=0x9000)
    ours = Ethernet.parse(bytes(built / scapy.Raw(data)))
    assert (ours.dst, ours.src, ours.ethertype, ours.payload) == (dst, src, 0x9000, data)
    assert [(t.vid, t.pcp) for t in ours.tags] == [(vid, pcp)]


@budget(80)
@given(s.arps)
def test_arp(arp: Arp) -> None:
    theirs = scapy.Ether(Ethernet(ethertype=ETH_P_ARP, payload=arp.build()).build())[scapy.ARP]
    assert (theirs.op, theirs.hwsrc, theirs.psrc, theirs.hwdst, theirs.pdst) == (
        arp.op,
        str(arp.sender_mac),
        str(arp.sender_ip),
        str(arp.target_mac),
        str(arp.target_ip),
    )
    built = scapy.ARP(
        op=arp.op,
        hwsrc=str(arp.sender_mac),
        psrc=str(arp.sender_ip),
        hwdst=str(arp.target_mac),
        pdst=str(arp.target_ip),
    )
    assert Arp.parse(bytes(built)) == arp


# ---- IP ------------------------------------------------------------------------------------------


@budget(80)
@given(s.ipv4_packets)
def test_ipv4(packet: IPv4) -> None:
    raw = packet.build()
    # The header alone: scapy would read, and build again in its own way, what is behind it.
    theirs = scapy.IP(raw[: packet.header_length])
    assert (theirs.src, theirs.dst, theirs.proto) == (
        str(packet.src),
        str(packet.dst),
        packet.proto,
    )
    assert (theirs.ttl, theirs.tos, theirs.id) == (packet.ttl, packet.tos, packet.ident)
    assert theirs.frag * 8 == packet.offset
    assert (theirs.flags.DF, theirs.flags.MF, theirs.flags.evil) == (
        packet.df,
        packet.mf,
        packet.reserved,
    )
    assert theirs.len == len(raw)
    if not packet.options:  # those too
        assert rebuilt(theirs / scapy.Raw(packet.payload)) == raw


@budget(80)
@given(s.addresses, s.addresses, s.u8, s.u16, st.integers(0, 0x1FFF), s.payloads)
def test_scapy_builds_ipv4(
    src: Any, dst: Any, ttl: int, ident: int, frag: int, data: bytes
) -> None:
    built = scapy.IP(
        src=str(src), dst=str(dst), ttl=ttl, id=ident, frag=frag, flags="MF", proto=253
    )
    ours = IPv4.parse(bytes(built / scapy.Raw(data)))
    assert ours == IPv4(
        src=src, dst=dst, ttl=ttl, ident=ident, offset=frag * 8, mf=True, proto=253, payload=data
    )


# ---- ICMP, UDP, TCP ------------------------------------------------------------------------------


@budget(80)
@given(s.echoes)
def test_echo(echo: icmp.Echo) -> None:
    theirs = scapy.ICMP(echo.build())
    assert (theirs.type, theirs.code) == (0 if echo.reply else 8, echo.code)
    assert (theirs.id, theirs.seq) == (echo.ident, echo.seq)
    assert icmp.parse(rebuilt(theirs)) == echo


@budget(80)
@given(s.u16, s.ipv4_packets)
def test_fragmentation_needed(mtu: int, about: IPv4) -> None:
    quoted = about.build()[:28]
    ours = icmp.Unreachable(icmp.UNREACH_FRAG_NEEDED, quoted, mtu)
    theirs = scapy.ICMP(ours.build())
    assert (theirs.type, theirs.code, theirs.nexthopmtu) == (3, 4, mtu)
    built = scapy.ICMP(type=3, code=4, nexthopmtu=mtu) / scapy.Raw(quoted)
    assert icmp.parse(bytes(built)) == ours


@budget(80)
@given(s.any_address, s.u8, s.payloads)
def test_other_icmp_errors_from_scapy(gateway: Any, pointer: int, quoted: bytes) -> None:
    raw = scapy.Raw(quoted)
    redirect = scapy.ICMP(type=5, code=1, gw=str(gateway)) / raw
    assert icmp.parse(bytes(redirect)) == icmp.Redirect(gateway, quoted)
    exceeded = scapy.ICMP(type=11, code=1) / raw
    assert icmp.parse(bytes(exceeded)) == icmp.TimeExceeded(icmp.EXCEEDED_REASSEMBLY, quoted)
    problem = scapy.ICMP(type=12, ptr=pointer) / raw
    assert icmp.parse(bytes(problem)) == icmp.ParameterProblem(pointer, quoted)


@budget(80)
@given(s.datagrams)
def test_udp(datagram: Udp) -> None:
    packet = IPv4(src=A, dst=B, proto=PROTO_UDP, payload=datagram.build(A, B))
    theirs = scapy.IP(packet.build())[scapy.UDP]
    assert (theirs.sport, theirs.dport) == (datagram.sport, datagram.dport)
    built = scapy.IP(src=str(A), dst=str(B)) / scapy.UDP(
        sport=datagram.sport, dport=datagram.dport
    ) / scapy.Raw(datagram.payload)  # fmt: skip
    if not datagram.summed:
        built[scapy.UDP].chksum = 0
    assert Udp.parse(IPv4.parse(bytes(built)).payload, A, B) == datagram


def scapy_options(options: tuple[tcp.Option, ...]) -> list[tuple[str | int, Any]]:
    """Options in scapy's words."""
    found: list[tuple[str | int, Any]] = []
    for option in options:
        if isinstance(option, tcp.Nop):
            found.append(("NOP", None))
        elif isinstance(option, tcp.Mss):
            found.append(("MSS", option.value))
        elif isinstance(option, tcp.WindowScale):
            found.append(("WScale", option.shift))
        elif isinstance(option, tcp.SackPermitted):
            found.append(("SAckOK", b""))
        elif isinstance(option, tcp.Sack):
            found.append(("SAck", tuple(edge for block in option.blocks for edge in block)))
        elif isinstance(option, tcp.Timestamps):
            found.append(("Timestamp", (option.value, option.echo)))
    return found


KNOWN = (tcp.Nop, tcp.Mss, tcp.WindowScale, tcp.SackPermitted, tcp.Sack, tcp.Timestamps)


@budget(120)
@given(s.segments)
def test_tcp(segment: Segment) -> None:
    raw = segment.build(A, B)
    theirs = scapy.IP(IPv4(src=A, dst=B, proto=PROTO_TCP, payload=raw).build())[scapy.TCP]
    assert (theirs.sport, theirs.dport) == (segment.sport, segment.dport)
    assert (theirs.seq, theirs.ack) == (segment.seq, segment.ack)
    assert (theirs.window, theirs.urgptr) == (segment.window, segment.urgent)
    assert int(theirs.flags) == segment.flags
    assert theirs.dataofs * 4 == len(raw) - len(segment.payload)
    assert bytes(theirs.payload) == segment.payload
    if all(isinstance(option, KNOWN) for option in segment.options):
        seen = [o for o in theirs.options if o[0] != "EOL"]
        assert seen == scapy_options(segment.options)


@budget(120)
@given(s.segments)
def test_scapy_builds_tcp(segment: Segment) -> None:
    known = tuple(o for o in segment.options if isinstance(o, KNOWN))
    built = scapy.IP(src=str(A), dst=str(B)) / scapy.TCP(
        sport=segment.sport,
        dport=segment.dport,
        seq=segment.seq,
        ack=segment.ack,
        flags=int(segment.flags),
        window=segment.window,
        urgptr=segment.urgent,
        reserved=segment.reserved,
        options=scapy_options(known),
    ) / scapy.Raw(segment.payload)  # fmt: skip
    ours = Segment.parse(IPv4.parse(bytes(built)).payload, A, B)
    assert ours.options == known
    assert ours.payload == segment.payload
    assert (ours.seq, ours.ack, ours.flags, ours.window, ours.urgent, ours.reserved) == (
        segment.seq,
        segment.ack,
        segment.flags,
        segment.window,
        segment.urgent,
        segment.reserved,
    )


def test_icmp_inside_ip_is_understood() -> None:
    built = scapy.IP(src=str(A), dst=str(B)) / scapy.ICMP(id=7, seq=9) / scapy.Raw(b"hello")
    packet = IPv4.parse(bytes(built))
    assert packet.proto == PROTO_ICMP
    assert icmp.parse(packet.payload) == icmp.Echo(7, 9, b"hello")
