"""The echo client: answers are matched, timed from C's clock, and bounded."""

from __future__ import annotations

import errno
from ipaddress import IPv4Address
from random import Random

import pytest
from barewire.stack.icmp import icmp
from barewire.stack.icmp.echo import MAX_OUTSTANDING, MAX_SESSIONS, EchoClient, EchoResult
from barewire.stack.ip.ipv4 import PROTO_ICMP, IPv4

from tests.control.fake_port import MS, OTHER, PEER, US, FakePort


class World:
    def __init__(self) -> None:
        self.port = FakePort()
        self.results: list[EchoResult] = []
        self.client = EchoClient(self.port, lambda dst: US if dst != OTHER else None, Random(1))
        self.session = self.client.open(PEER, self.results.append)

    def answer(
        self, when: int, seq: int, ident: int | None = None, src: IPv4Address = PEER
    ) -> bool:
        echo = icmp.Echo(self.session.ident if ident is None else ident, seq, b"data", reply=True)
        packet = IPv4(src=src, dst=US, proto=PROTO_ICMP, payload=echo.build(), ttl=61)
        return self.client.on_reply(when, packet, echo)


def test_a_request_and_its_reply() -> None:
    w = World()
    assert w.session.send(1 * MS, b"data", ttl=9, df=True) == 0
    (packet,) = w.port.taken_packets()
    assert (packet.src, packet.dst, packet.ttl, packet.df) == (US, PEER, 9, True)
    assert icmp.parse(packet.payload) == icmp.Echo(w.session.ident, 0, b"data")
    assert w.answer(3 * MS, 0)
    assert w.results == [EchoResult(0, PEER, 61, 4, 2 * MS)]


def test_only_the_first_answer_of_the_right_host_and_ident_counts() -> None:
    w = World()
    w.session.send(0)
    assert not w.answer(1, 0, src=OTHER)
    assert not w.answer(1, 0, ident=w.session.ident ^ 1)
    assert not w.answer(1, 1)
    assert w.answer(1, 0)
    assert not w.answer(2, 0)
    assert len(w.results) == 1


def test_an_error_about_a_request_comes_with_its_router() -> None:
    w = World()
    w.session.send(0)
    router = IPv4(src=OTHER, dst=US, proto=PROTO_ICMP, ttl=250)
    message = icmp.TimeExceeded()
    assert not w.client.on_error(5, router, message, OTHER, w.session.ident, 0)
    assert w.client.on_error(5, router, message, PEER, w.session.ident, 0)
    assert w.results == [EchoResult(0, OTHER, 250, 0, 5, message)]


def test_outstanding_requests_are_bounded() -> None:
    w = World()
    for i in range(MAX_OUTSTANDING + 1):
        w.session.send(i)
    assert not w.answer(5000, 0)
    assert w.answer(5000, 1)
    assert w.answer(5000, MAX_OUTSTANDING)


def test_sequence_numbers_wrap() -> None:
    w = World()
    seqs = [w.session.send(0) for _ in range(0x10001)]
    assert (seqs[0xFFFF], seqs[0x10000]) == (0xFFFF, 0)


def test_sessions_are_bounded_and_a_closed_one_gets_nothing() -> None:
    w = World()
    more = [w.client.open(PEER, w.results.append) for _ in range(MAX_SESSIONS - 1)]
    assert len({s.ident for s in [w.session, *more]}) == MAX_SESSIONS
    with pytest.raises(OSError) as raised:
        w.client.open(PEER, w.results.append)
    assert raised.value.errno == errno.ENOBUFS
    w.session.send(0)
    w.session.close()
    w.session.close()
    assert not w.answer(1, 0)
    w.client.open(PEER, w.results.append)


def test_no_route_no_session() -> None:
    with pytest.raises(OSError) as raised:
        World().client.open(OTHER, lambda result: None)
    assert raised.value.errno == errno.ENETUNREACH
