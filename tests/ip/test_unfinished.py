"""Checksums that a sender on the same machine left to a card: dropped, counted by name, told once."""

from __future__ import annotations

import logging

import pytest
from barewire.stack.tcp import Flags, Segment

from tests.kit import frames
from tests.kit.wire import Wire
from tests.kit.world import World


def segment(wire: Wire) -> bytes:
    return frames.tcp(wire.there, wire.here, Segment(7000, 80, seq=1, flags=Flags.SYN))


def datagram(wire: Wire) -> bytes:
    return frames.udp(wire.there, wire.here, 7000, 7, b"hello")


def test_each_is_counted_and_the_first_is_told(
    wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    sock = wire.udp(7)
    with wire.counts("drop_tcp_checksum_unfinished"):
        wire.sends(frames.unfinished(segment(wire)))
    with wire.counts("drop_udp_checksum_unfinished"):
        wire.sends(frames.unfinished(datagram(wire)))
    wire.expects_nothing("1s")
    assert sock.unread == 0
    [record] = caplog.records
    assert record.name == "barewire.control" and record.levelno == logging.WARNING
    assert "run `ethtool -K PEER tx off` for the interface at the other end" in record.message


def test_each_interface_is_told_of(world: World, caplog: pytest.LogCaptureFixture) -> None:
    wires = [Wire(world, here=f"198.18.{n}.1", there=f"198.18.{n}.2") for n in range(2)]
    for wire in wires * 2:
        with wire.counts("drop_udp_checksum_unfinished"):
            wire.sends(frames.unfinished(datagram(wire)))
    assert len(caplog.records) == 2


def test_a_damaged_packet_is_another_thing(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    with wire.counts("drop_udp_checksum"):
        wire.sends(frames.wrong_sum(datagram(wire)))
    with wire.counts("drop_tcp_checksum"):
        wire.sends(frames.wrong_sum(segment(wire)))
    assert not caplog.records
