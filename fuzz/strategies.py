"""Strategies: packets of each protocol, valid and mutated, and whole sessions of a peer.

Values are codec objects (`ipv4_packets`, `segments`) or bytes (`frames`, `mutated`). Addresses come
from the networks for documentation and tests, ports from a few, so that examples meet.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from barewire.l2 import ETH_P_ARP, ETH_P_IP, Arp, Ethernet, Mac, Tag
from barewire.stack.checksum import checksum
from barewire.stack.icmp import icmp
from barewire.stack.ip.ipv4 import PROTO_ICMP, PROTO_TCP, PROTO_UDP, IPv4, IPv4Option, build_options
from barewire.stack.tcp.segment import (
    AccEcn,
    EndOfOptions,
    FastOpen,
    Flags,
    Mss,
    Nop,
    Option,
    Sack,
    SackPermitted,
    Segment,
    Timestamps,
    UnknownOption,
    WindowScale,
)
from barewire.stack.udp.udp import Udp
from hypothesis import strategies as st

US, PEER = IPv4Address("198.18.0.2"), IPv4Address("198.18.0.1")
OUR_MAC, PEER_MAC = Mac("02:00:00:00:00:02"), Mac("02:00:00:00:00:01")
PORTS = (7, 80, 9999, 40000)

u8 = st.integers(0, 0xFF)
u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFFFFFF)
macs = st.binary(min_size=6, max_size=6).map(Mac)
any_address = u32.map(IPv4Address)
addresses = st.one_of(
    st.sampled_from([US, PEER, IPv4Address("198.18.0.255"), IPv4Address("192.0.2.1")]),
    any_address,
)
ports = st.one_of(st.sampled_from(PORTS), u16)
payloads = st.binary(max_size=96)

# ---- link layer ----------------------------------------------------------------------------------

tags = st.builds(
    Tag, st.integers(0, 4095), st.integers(0, 7), st.booleans(), st.sampled_from([0x8100, 0x88A8])
)
ethertypes = st.integers(0x0600, 0xFFFF).filter(lambda t: t not in (0x8100, 0x88A8))
ethernets = st.builds(
    Ethernet, macs, macs, ethertypes, payloads, st.lists(tags, max_size=2).map(tuple)
)
arps = st.builds(Arp, st.one_of(st.integers(1, 2), u16), macs, addresses, macs, addresses)

# ---- IP ------------------------------------------------------------------------------------------

ip_options = st.lists(
    st.one_of(
        st.just(IPv4Option(1)),
        st.builds(IPv4Option, st.integers(2, 255), st.binary(max_size=8)),
    ),
    max_size=4,
).map(lambda options: build_options(*options)[:40])
ipv4_packets = st.builds(
    IPv4,
    src=addresses,
    dst=addresses,
    proto=u8,
    payload=payloads,
    ttl=u8,
    tos=u8,
    ident=u16,
    df=st.booleans(),
    mf=st.booleans(),
    offset=st.integers(0, 0x1FFF).map(lambda n: n * 8),
    options=ip_options,
    reserved=st.booleans(),
)

# ---- ICMP ----------------------------------------------------------------------------------------

echoes = st.builds(icmp.Echo, u16, u16, payloads, st.booleans(), u8)
icmp_messages: st.SearchStrategy[icmp.Message] = st.one_of(
    echoes,
    st.builds(icmp.Unreachable, u8, payloads, u16, u16),
    st.builds(icmp.TimeExceeded, u8, payloads, u32),
    st.builds(icmp.Redirect, any_address, payloads, u8),
    st.builds(icmp.ParameterProblem, u8, payloads, u8, st.integers(0, 0xFFFFFF)),
    st.builds(icmp.Other, u8.filter(lambda t: t not in (0, 3, 5, 8, 11, 12)), u8, u32, payloads),
)

# ---- UDP and TCP ---------------------------------------------------------------------------------

datagrams = st.builds(Udp, ports, ports, payloads, st.booleans())
seqs = st.one_of(st.sampled_from([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]), u32)
tcp_options: st.SearchStrategy[Option] = st.one_of(
    st.builds(Nop),
    st.builds(Mss, u16),
    st.builds(WindowScale, u8),
    st.builds(SackPermitted),
    st.builds(Sack, st.lists(st.tuples(seqs, seqs), min_size=1, max_size=4).map(tuple)),
    st.builds(Timestamps, u32, u32),
    st.builds(FastOpen, st.sampled_from([b"", bytes(4), b"eight by", bytes(range(16))])),
    st.builds(
        UnknownOption,
        st.integers(9, 255).filter(lambda k: k not in (34, 172, 174)),
        st.binary(max_size=8),
    ),
    st.builds(AccEcn, st.lists(st.integers(0, 2**24 - 1), max_size=3), st.integers(0, 1)),
    st.builds(EndOfOptions, st.binary(min_size=4, max_size=8)),
)


def _fitting(options: list[Option]) -> tuple[Option, ...]:
    """As many options as a header holds; nothing after an end of options, which fills its word."""
    kept: list[Option] = []
    size = 0
    for option in options:
        if isinstance(option, EndOfOptions):
            option = EndOfOptions(option.rest + bytes(-(size + 1 + len(option.rest)) % 4))
        size += len(option.build())
        if size > 40:
            break
        kept.append(option)
        if isinstance(option, EndOfOptions):
            break
    return tuple(kept)


segments = st.builds(
    Segment,
    ports,
    ports,
    seqs,
    seqs,
    st.integers(0, 0x1FF).map(Flags),
    u16,
    st.lists(tcp_options, max_size=6).map(_fitting),
    payloads,
    u16,
    st.integers(0, 7),
)

# ---- frames towards a stack that owns US ---------------------------------------------------------


def frame(payload: bytes, ethertype: int = ETH_P_IP, dst: Mac = OUR_MAC) -> bytes:
    return Ethernet(dst, PEER_MAC, ethertype, payload).build()


def packet(payload: bytes, proto: int, src: IPv4Address = PEER, dst: IPv4Address = US) -> bytes:
    return IPv4(src=src, dst=dst, proto=proto, payload=payload).build()


@st.composite
def ip_payloads(draw: st.DrawFn) -> bytes:
    """A packet from PEER to US of any protocol, with all its checksums right."""
    kind = draw(st.sampled_from(["tcp", "udp", "icmp", "other"]))
    if kind == "tcp":
        return packet(draw(segments).build(PEER, US), PROTO_TCP)
    if kind == "udp":
        return packet(draw(datagrams).build(PEER, US), PROTO_UDP)
    if kind == "icmp":
        return packet(draw(icmp_messages).build(), PROTO_ICMP)
    return replace(draw(ipv4_packets), src=PEER, dst=US).build()


frames = st.one_of(
    st.builds(frame, ip_payloads()),
    st.builds(frame, arps.map(Arp.build), st.just(ETH_P_ARP)),
    ethernets.map(Ethernet.build),
)


@st.composite
def mutated(draw: st.DrawFn, source: st.SearchStrategy[bytes]) -> bytes:
    """Bytes of `source` cut, lengthened or changed in a few places."""
    data = bytearray(draw(source))
    for _ in range(draw(st.integers(1, 4))):
        how = draw(st.sampled_from(["cut", "flip", "set", "insert", "append"]))
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        if how == "cut":
            del data[at:]
        elif how == "append":
            data += draw(st.binary(min_size=1, max_size=32))
        elif how == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=4))
        elif data:
            data[at] = draw(u8) if how == "set" else data[at] ^ 1 << draw(st.integers(0, 7))
    return bytes(data)


def resum(data: bytes) -> bytes:
    """A frame with its IPv4, TCP, UDP and ICMP checksums made right where there are any, so that a
    mutation gets past them. Anything else comes back as it is."""
    if len(data) < 34 or data[12:14] != b"\x08\x00" or data[14] >> 4 != 4:
        return data
    out = bytearray(data)
    header = (out[14] & 15) * 4
    if header < 20 or len(out) < 14 + header:
        return data
    out[24:26] = bytes(2)
    out[24:26] = struct.pack("!H", checksum(bytes(out[14 : 14 + header])))
    start, total = 14 + header, struct.unpack_from("!H", out, 16)[0]
    end = min(14 + total, len(out))
    at = {PROTO_TCP: 16, PROTO_UDP: 6, PROTO_ICMP: 2}.get(out[23])
    if at is None or start + at + 2 > end:
        return bytes(out)
    pseudo = bytes(out[26:34]) + struct.pack("!II", end - start, out[23])
    first = 0 if out[23] == PROTO_ICMP else int.from_bytes(pseudo, "big")
    out[start + at : start + at + 2] = bytes(2)
    value = checksum(bytes(out[start:end]), first)
    out[start + at : start + at + 2] = struct.pack("!H", value)
    return bytes(out)


hostile_frames = st.one_of(
    frames, mutated(frames), mutated(frames).map(resum), st.binary(max_size=128)
)

# ---- sessions: what a TCP peer does, in words ----------------------------------------------------


@dataclass(frozen=True, slots=True)
class PeerStep:
    """One segment of a scripted peer, relative to what is right: with all defaults it is what a
    well-behaved peer sends. `size` bytes of its stream, `seq` and `ack` added to the right numbers;
    `hold` repeats the last acknowledgment, `sack` blocks are relative to it."""

    flags: Flags = Flags.ACK
    size: int = 0
    seq: int = 0
    ack: int = 0
    hold: bool = False
    sack: tuple[tuple[int, int], ...] = ()
    window: int = 65535
    options: tuple[Option, ...] = ()
    urgent: int = 0


offsets = st.one_of(
    st.just(0),
    st.sampled_from([-65536, -1000, -1, 1, 100, 1000, 65535, 1 << 31]),
    st.integers(-(1 << 32), 1 << 32),
)
sizes = st.sampled_from([0, 1, 100, 536, 1400])
near = st.integers(-3000, 6000)
sack_blocks = st.lists(st.tuples(near, near), max_size=3).map(tuple)
good_steps = st.builds(
    PeerStep,
    st.sampled_from([Flags.ACK, Flags.ACK | Flags.PSH, Flags.ACK | Flags.FIN]),
    sizes,
)
lossy_steps = st.builds(
    PeerStep,
    st.just(Flags.ACK),
    sizes,
    seq=st.sampled_from([0, 1400, 2800, -1400]),
    hold=st.booleans(),
    sack=sack_blocks,
    window=st.sampled_from([65535, 0, 1, 1000]),
)
wild_steps = st.builds(
    PeerStep,
    st.one_of(
        st.sampled_from([Flags.SYN, Flags.SYN | Flags.ACK, Flags.RST, Flags.RST | Flags.ACK]),
        st.integers(0, 0x1FF).map(Flags),
    ),
    sizes,
    offsets,
    offsets,
    st.booleans(),
    sack_blocks,
    u16,
    st.lists(tcp_options, max_size=3).map(_fitting),
)
peer_steps = st.one_of(good_steps, lossy_steps, wild_steps)
syn_options = st.sampled_from(
    [(), (Mss(1400), SackPermitted(), Timestamps(1000), WindowScale(7)), (Mss(1),), (Mss(9000),)]
)
