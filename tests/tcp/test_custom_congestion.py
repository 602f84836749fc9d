"""Congestion control written in Python: one report a round trip, and the answer to it."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from barewire import Stack, congestion
from barewire.congestion import Decision, Report, register
from barewire.stack import congestion as core
from barewire.stack import lib

from tests.kit.clock import MS
from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import Sock
from tests.tcp.saturated import MSS, acks_each, ends, fill, lose_one, opened, unacked

Answer = Callable[[Report], Any]


@pytest.fixture(autouse=True)
def _own_registry() -> Iterator[None]:
    before = list(core._classes)
    yield
    core._classes[:] = before


def algorithm(answer: Answer, name: str = "mine") -> list[Report]:
    """Registers an algorithm that answers so; the reports it gets."""
    reports: list[Report] = []
    called = name

    @register
    class Mine:
        name: str = called

        def on_report(self, report: Report) -> Any:
            reports.append(report)
            return answer(report)

    return reports


def connected(tcp: Tcp, name: str = "mine") -> Sock:
    return opened(tcp, tcp.peer, 0.05, 0, core.names()[name])


def test_one_report_a_round_trip(tcp: Tcp, peer: TcpPeer) -> None:
    reports = algorithm(lambda r: 20 * r.mss)
    sock = connected(tcp)
    for _ in range(6):
        acks_each(tcp, peer, sock, "50ms")
    assert len(reports) == 6
    last = reports[-1]
    assert (last.now, last.mss, last.cwnd) == (tcp.clock.now, MSS, 20 * MSS)
    assert abs(last.acked - 20 * MSS) <= MSS
    assert (last.lost, last.ce, last.rounds) == (0, 0, 1)
    assert (last.rtt, last.min_rtt) == (50 * MS, 50 * MS)
    assert last.in_flight == 20 * MSS
    assert last.delivery_rate == pytest.approx(20 * MSS / 0.05, rel=0.01), "bytes a second"
    assert not last.app_limited


def test_the_answer_is_the_window(tcp: Tcp, peer: TcpPeer) -> None:
    windows = iter([7, 33, 5, 5000, 12])
    algorithm(lambda r: next(windows) * MSS)
    sock = connected(tcp)
    found = []
    for _ in range(5):
        acks_each(tcp, peer, sock, "50ms")
        found.append(sock.inside.cwnd // MSS)
    assert found == [7, 33, 5, 5000, 12]


def test_a_window_has_two_segments_at_least(tcp: Tcp, peer: TcpPeer) -> None:
    algorithm(lambda r: 0)
    sock = connected(tcp)
    acks_each(tcp, peer, sock, "50ms")
    assert sock.inside.cwnd == 2 * MSS


def test_the_pacing_rate(tcp: Tcp, peer: TcpPeer) -> None:
    algorithm(lambda r: Decision(100 * MSS, pacing_rate=1_000_000))
    sock = connected(tcp)
    acks_each(tcp, peer, sock, "50ms")
    tcp.drain()
    sent = [p for p in tcp.drain("20ms") if p.tcp is not None and p.tcp.payload]
    assert 18 <= len(sent) <= 22, "a segment a millisecond"


def test_an_app_limited_round_says_so(tcp: Tcp, peer: TcpPeer) -> None:
    reports = algorithm(lambda r: 50 * MSS)
    sock = connected(tcp)
    acks_each(tcp, peer, sock, "50ms")
    while sock.unacked:
        tcp.drain("50ms")
        peer.sends(ack=peer.got)
    tcp.sends(sock, MSS)
    tcp.drain("50ms")
    peer.sends(ack=peer.got)
    assert reports[-1].app_limited


def test_until_the_answer_c_does_as_reno(tcp: Tcp, peer: TcpPeer) -> None:
    """None is no answer: slow start, and half of the window at a loss."""
    reports = algorithm(lambda r: None)
    sock = connected(tcp)
    assert [acks_each(tcp, peer, sock, "50ms") for _ in range(3)] == [2.0] * 3
    before, ssthresh = lose_one(tcp, peer, sock)
    assert ssthresh == before // 2
    assert sum(r.lost for r in reports) == MSS


def test_a_loss_backs_off_at_once_and_the_answer_to_it_counts(tcp: Tcp, peer: TcpPeer) -> None:
    reports = algorithm(lambda r: 30 * MSS if r.lost else 40 * MSS)
    sock = connected(tcp)
    for _ in range(3):
        acks_each(tcp, peer, sock, "50ms")
    fill(tcp, sock)
    tcp.drain("50ms")
    una, end = unacked(peer, sock)[0], peer.got
    peer.sends(ack=una, sack=[(una + MSS, end)])
    assert sock.inside.ssthresh == 20 * MSS, "C alone, at once"
    tcp.drain("50ms")
    peer.sends(ack=end)
    assert reports[-1].lost == MSS
    assert sock.inside.cwnd == 30 * MSS, "the answer"


def test_after_a_timeout_the_answer_is_where_slow_start_ends(tcp: Tcp, peer: TcpPeer) -> None:
    algorithm(lambda r: 16 * MSS)
    sock = connected(tcp)
    for _ in range(3):
        acks_each(tcp, peer, sock, "50ms")
    fill(tcp, sock)
    tcp.drain("1s")
    assert (sock.inside.cwnd, sock.inside.ssthresh) == (MSS, 8 * MSS)
    una = unacked(peer, sock)[0]
    peer.sends(ack=una + MSS)
    assert sock.inside.cwnd <= 2 * MSS


def test_rounds_that_python_misses_are_merged(tcp: Tcp, peer: TcpPeer) -> None:
    reports = algorithm(lambda r: 10 * MSS)
    sock = connected(tcp)
    acks_each(tcp, peer, sock, "50ms")
    fill(tcp, sock)
    tcp.drain("50ms")
    host, taken = tcp.stack.host, len(reports)
    with tcp.counts("tcp_congestion_reports_merged", 2):
        for _ in range(3):  # C alone moves, as while Python is busy
            for end in ends(peer, sock):
                tcp.wire._put(peer.packet(ack=end))
                while lib.host_poll(host) == 1:
                    pass
            for packet in drained(tcp):
                peer.learns(packet)
    tcp.run("0s")
    assert [r.rounds for r in reports[taken:]] == [3]
    acked = sock.inside.snd_una - sock.inside.iss - 1 & 0xFFFFFFFF
    assert sum(r.acked for r in reports) == acked, "and nothing was forgotten"


def drained(tcp: Tcp) -> list[Any]:
    """What the stack has sent, without polling it."""
    tcp.wire._collect()
    found = [p.tcp for p in tcp.wire._seen if p.tcp is not None]
    tcp.wire._seen.clear()
    return found


def test_an_exception_is_logged_once_and_cubic_takes_over(
    tcp: Tcp, peer: TcpPeer, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(report: Report) -> int:
        raise ZeroDivisionError("mine")

    reports = algorithm(fails)
    sock = connected(tcp)
    with caplog.at_level(logging.ERROR, "barewire.congestion"):
        for _ in range(3):
            acks_each(tcp, peer, sock, "50ms")
        tcp.drain()
        other = tcp.another_peer(5001)
        second = tcp.established(peer=other, mss=MSS, congestion=core.names()["mine"])
        tcp.sends(second, 10 * MSS, to=other)
        tcp.drain("50ms", to=other)
        other.sends(ack=other.got)
    assert len(reports) == 2, "one each, then cubic"
    assert [sock.get("congestion"), second.get("congestion")] == [0, 0]
    assert len(caplog.records) == 1
    assert "congestion control 'mine' failed" in caplog.text


@pytest.mark.parametrize("answer", ["much", (1, 2, 3), -1, (1000, -5), (1.5, 0)])
def test_an_answer_that_makes_no_sense_is_a_failure(
    tcp: Tcp, peer: TcpPeer, answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    algorithm(lambda r: answer)
    sock = connected(tcp)
    acks_each(tcp, peer, sock, "50ms")
    assert sock.get("congestion") == 0
    assert "cubic takes over" in caplog.text


def test_an_answer_to_a_connection_that_is_gone_changes_nothing(tcp: Tcp, peer: TcpPeer) -> None:
    """The name is a number and a generation; and one report has one answer."""
    algorithm(lambda r: 20 * MSS)
    sock = connected(tcp)
    acks_each(tcp, peer, sock, "50ms")
    host = tcp.stack.host
    answers = {
        (sock_, generation): lib.host_cc_answer(host, sock_, generation, 99 * MSS, 0)
        for sock_ in range(4)
        for generation in range(3)
    }
    known = [name for name, result in answers.items() if result != -errno.ESTALE]
    assert [answers[name] for name in known] == [-errno.EAGAIN]
    assert sock.inside.cwnd == 20 * MSS
    sock.abort()
    assert lib.host_cc_answer(host, *known[0], 99 * MSS, 0) == -errno.ESTALE
    assert lib.host_cc_give_up(host, *known[0]) == -errno.ESTALE
    assert lib.host_cc_answer(host, 2**32 - 1, 1, 99 * MSS, 0) == -errno.ESTALE


def test_each_connection_has_an_object_of_its_own(tcp: Tcp, peer: TcpPeer) -> None:
    made: list[object] = []

    @register
    class Counting:
        name = "counting"

        def __init__(self) -> None:
            made.append(self)
            self.reports = 0

        def on_report(self, report: Report) -> int:
            self.reports += 1
            return self.reports * 10 * MSS

    sock = connected(tcp, "counting")
    for _ in range(3):
        acks_each(tcp, peer, sock, "50ms")
    assert sock.inside.cwnd == 30 * MSS
    sock.abort()
    tcp.drain()
    peer.begin()
    again = tcp.established(mss=MSS, wscale=8, sack=True)
    acks_each(tcp, peer, again, "50ms")
    assert again.inside.cwnd == 10 * MSS
    assert len(made) == 2


# ---- names -------------------------------------------------------------------------------------


def test_the_socket_option_takes_and_gives_the_name(tcp: Tcp) -> None:
    algorithm(lambda r: None, "by-name")
    option = (socket.IPPROTO_TCP, getattr(socket, "TCP_CONGESTION", 13))
    with tcp.stack.socket() as sock:
        sock.setsockopt(*option, b"by-name")
        assert sock.getsockopt(*option, 16).rstrip(b"\0") == b"by-name"
        with pytest.raises(FileNotFoundError):
            sock.setsockopt(*option, b"nobodys")


def test_a_stack_takes_the_class_or_its_name(tcp: Tcp) -> None:
    class ByClass:
        name = "by-class"

        def on_report(self, report: Report) -> None:
            return None

    option = (socket.IPPROTO_TCP, getattr(socket, "TCP_CONGESTION", 13), 16)
    for chosen in (ByClass, "by-class"):
        with Stack(clock=lambda: 0, congestion=chosen) as stack, stack.socket() as sock:
            assert sock.getsockopt(*option).rstrip(b"\0") == b"by-class"


def test_what_register_refuses() -> None:
    class Nameless:
        def on_report(self, report: Report) -> None: ...

    class Mute:
        name = "mute"

    with pytest.raises(TypeError, match="takes a class with a name"):
        register(Nameless)  # type: ignore[type-var]
    with pytest.raises(TypeError, match="Mute has no on_report"):
        register(Mute)  # type: ignore[type-var]
    for name in ("", "x" * 16, "ü", "a\n"):
        with pytest.raises(ValueError, match="1 to 15 ASCII"):
            algorithm(lambda r: None, name)
    with pytest.raises(ValueError, match="has an algorithm of that name"):
        algorithm(lambda r: None, "cubic")


def test_there_is_a_bound_to_names() -> None:
    for i in range(core.MAX_ALGORITHMS - len(core._classes)):
        algorithm(lambda r: None, f"n{i}")
    with pytest.raises(ValueError, match="128 algorithms are registered already"):
        algorithm(lambda r: None, "one-more")
    before = congestion.names()
    algorithm(lambda r: None, "n5")
    assert congestion.names() == before, "one of the same name takes its place"
