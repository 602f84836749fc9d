"""Codec properties: what is built is parsed back, what is parsed is built back byte for byte, and
arbitrary bytes are a packet or Malformed, never anything else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from barewire.fuzz import strategies as s
from barewire.l2 import Arp, Ethernet, Malformed
from barewire.stack.icmp import icmp
from barewire.stack.ip.ipv4 import IPv4
from barewire.stack.tcp.segment import Segment
from barewire.stack.udp.udp import Udp
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.budget import budget

A, B = s.PEER, s.US


@dataclass(frozen=True)
class Codec:
    values: st.SearchStrategy[Any]
    parse: Callable[[bytes], Any]
    build: Callable[[Any], bytes]
    checksum_at: int | None = None  # where a checksum of 0 may also have been sent as 0xffff


CODECS = {
    "ethernet": Codec(s.ethernets, Ethernet.parse, Ethernet.build),
    "arp": Codec(s.arps, Arp.parse, Arp.build),
    "ipv4": Codec(s.ipv4_packets, IPv4.parse, IPv4.build, 10),
    "icmp": Codec(s.icmp_messages, icmp.parse, lambda m: m.build(), 2),
    "udp": Codec(s.datagrams, lambda d: Udp.parse(d, A, B), lambda u: u.build(A, B)),
    "tcp": Codec(s.segments, lambda d: Segment.parse(d, A, B), lambda t: t.build(A, B), 16),
}
each_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS.keys())


@each_codec
@budget(150)
@given(data=st.data())
def test_parse_gives_back_what_was_built(codec: Codec, data: st.DataObject) -> None:
    value = data.draw(codec.values)
    assert codec.parse(codec.build(value)) == value


@each_codec
@budget(150)
@given(data=st.data())
def test_build_gives_back_what_was_parsed(codec: Codec, data: st.DataObject) -> None:
    raw = data.draw(s.mutated(codec.values.map(codec.build)) | codec.values.map(codec.build))
    try:
        value = codec.parse(raw)
    except Malformed:
        return
    again = codec.build(value)
    at = codec.checksum_at
    if at is not None and raw[at : at + 2] == b"\xff\xff":
        raw = raw[:at] + again[at : at + 2] + raw[at + 2 :]
    assert again == raw[: len(again)], "only link padding is left out"


@each_codec
@budget(150)
@given(data=st.data())
def test_any_bytes_are_a_packet_or_malformed(codec: Codec, data: st.DataObject) -> None:
    raw = data.draw(st.binary(max_size=128) | s.mutated(codec.values.map(codec.build)))
    try:
        codec.parse(raw)
    except Malformed as why:
        assert str(why)


@each_codec
@budget(40)
@given(data=st.data())
def test_every_truncation_is_a_packet_or_malformed(codec: Codec, data: st.DataObject) -> None:
    raw = codec.build(data.draw(codec.values))
    for length in range(len(raw)):
        try:
            codec.parse(raw[:length])
        except Malformed:
            pass


@budget(100)
@given(s.ipv4_packets, st.integers(28, 200))
def test_fragments_cover_the_packet_and_fit(packet: IPv4, mtu: int) -> None:
    if packet.total_length > mtu and mtu < packet.header_length + 8:
        with pytest.raises(ValueError, match="leaves no room"):
            packet.fragments(mtu)
        return
    if packet.offset + len(packet.payload) > 65535:
        return
    pieces = packet.fragments(mtu)
    assert b"".join(p.payload for p in pieces) == packet.payload
    assert [p.mf for p in pieces] == [True] * (len(pieces) - 1) + [packet.mf]
    at = packet.offset
    for piece in pieces:
        assert len(pieces) == 1 or piece.total_length <= mtu
        assert piece.offset == at
        at += len(piece.payload)
        assert IPv4.parse(piece.build()) == piece


@budget(100)
@given(s.hostile_frames)
def test_resum_makes_checksums_right_and_nothing_else(raw: bytes) -> None:
    again = s.resum(raw)
    assert len(again) == len(raw)
    assert s.resum(again) == again
