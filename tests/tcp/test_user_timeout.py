"""The user timeout: TCP_USER_TIMEOUT, RFC 9293 3.8.3, RFC 5482 (whose option is not spoken)."""

from __future__ import annotations

import errno

import pytest
from barewire.stack.tcp import UnknownOption

from tests.kit.clock import MS, SECOND, Time
from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import Sock


def ends(tcp: Tcp, sock: Sock, within: Time) -> int:
    """When the connection ended, in ms from now."""
    begin = tcp.clock.now
    tcp.wire.world.run_until(lambda: sock.state == "CLOSED", within)
    assert sock.take_error() == errno.ETIMEDOUT
    return (tcp.clock.now - begin) // MS


@pytest.mark.parametrize("ms", [300, 1000, 5000, 100_000])
def test_user_timeout(tcp: Tcp, peer: TcpPeer, ms: int) -> None:
    """RFC 5482 by TCP_USER_TIMEOUT, ms: the timer that runs then is cut short. Linux counts from the first
    retransmission."""
    sock = tcp.established(user_timeout=ms)
    tcp.sends(sock, 1000)
    assert ms <= ends(tcp, sock, "2min") <= ms + 2


def test_one_that_is_set_later_cuts_the_running_timer_short(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    tcp.sends(sock, 1000)
    tcp.run("20s")  # the next time-out is at 25.4 s
    sock.set(user_timeout=22_000)
    assert 1900 <= ends(tcp, sock, "1min") <= 2100


@pytest.mark.parametrize("ms", [3000, 10_000])
def test_one_that_is_set_between_keepalives_cuts_their_interval_short(
    tcp: Tcp, peer: TcpPeer, ms: int
) -> None:
    sock = tcp.established(keepalive=1, keepidle=2, keepintvl=60)
    tcp.expects("A", seq=0, after="2s")
    tcp.run("3s")
    sock.set(user_timeout=ms)
    assert max(0, ms - 5000) <= ends(tcp, sock, "2min") <= max(0, ms - 5000) + 10


@pytest.mark.parametrize("ms", [500, 1500, 3000, 20_000])
def test_it_ends_a_connection_attempt(tcp: Tcp, peer: TcpPeer, ms: int) -> None:
    """As on Linux, where the first SYN waits a whole second all the same."""
    sock = tcp.connects(tcp.wire.tcp().set(user_timeout=ms))
    assert ms <= ends(tcp, sock, "2min") <= ms + 2


def test_the_number_of_syns_ends_an_attempt_earlier(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.connects(tcp.wire.tcp().set(user_timeout=20_000, syncnt=2))
    assert 6900 <= ends(tcp, sock, "2min") <= 7100


def test_it_ends_a_simultaneous_open(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.connects(tcp.wire.tcp().set(user_timeout=3000))
    tcp.expects("S")
    peer.sends("S", seq=0, mss=1000)
    assert sock.state == "SYN_RCVD"
    assert 2990 <= ends(tcp, sock, "2min") <= 3010


def test_a_listeners_children_answer_their_syn_as_often_as_ever(tcp: Tcp, peer: TcpPeer) -> None:
    """As on Linux: it begins to count when the connection is open."""
    tcp.listens(user_timeout=1500)
    peer.sends("S", seq=0, mss=1000)
    for pause in ("0ms", "1s", "2s", "4s", "8s"):
        tcp.expects("SA", after=pause)


KEEP = {"keepalive": 1, "keepidle": 2}


@pytest.mark.parametrize(
    ("keep", "ms", "after"),
    [
        ({"keepintvl": 1, "keepcnt": 2}, 8000, 8000),  # the number of probes does not count
        ({"keepintvl": 1, "keepcnt": 9}, 4500, 4500),
        ({"keepintvl": 60, "keepcnt": 9}, 4500, 4500),
        ({"keepintvl": 3, "keepcnt": 9}, 1000, 5000),  # the first probe has its time
    ],
)
def test_with_keepalive_it_decides(
    tcp: Tcp, peer: TcpPeer, keep: dict[str, int], ms: int, after: int
) -> None:
    """It stands in for the number of probes, as on Linux; the last interval is cut short."""
    sock = tcp.established(user_timeout=ms, **KEEP, **keep)
    assert after - 10 <= ends(tcp, sock, "5min") <= after + 10
    assert tcp.drain()[-1].tcp is not None, "a reset goes"


def test_with_keepalive_an_answer_begins_anew(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(user_timeout=4000, keepintvl=1, keepcnt=1, **KEEP)
    for _ in range(5):
        tcp.expects("A", seq=0, after="2s")
        tcp.expects("A", seq=0, after="1s")
        peer.sends(ack=1)
    assert sock.state == "ESTABLISHED"


def test_user_timeout_counts_from_the_last_progress(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(mss=1000, user_timeout=5000)
    tcp.sends(sock, 3000)
    for i in range(1, 3):
        tcp.drain("4s")
        peer.sends(ack=1 + 1000 * i)
    tcp.drain("4s")
    assert sock.state == "ESTABLISHED"


def test_it_ends_waiting_for_a_window_too(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(wnd=0, user_timeout=10_000)
    tcp.sends(sock, 100)
    assert 9990 <= ends(tcp, sock, "2min") <= 10_010


@pytest.mark.parametrize("flight", [0, 1000])
def test_answers_of_a_shut_window_are_no_progress(tcp: Tcp, peer: TcpPeer, flight: int) -> None:
    """As on Linux, with data in flight that the window no longer takes, and without."""
    sock = tcp.established(mss=1000, wnd=flight, user_timeout=3000)
    tcp.sends(sock, 2000)
    tcp.drain()
    begin = tcp.clock.now
    while sock.state == "ESTABLISHED" and tcp.clock.now < begin + 10 * SECOND:
        if tcp.drain("10ms"):
            peer.sends(ack=1, wnd=0)
    assert 3000 <= (tcp.clock.now - begin) // MS <= 3020


def test_what_is_acknowledged_in_time_does_not_end(tcp: Tcp, peer: TcpPeer) -> None:
    """It bounds how long data may stay unacknowledged, not how long a connection may be quiet."""
    sock = tcp.established(user_timeout=5000)
    tcp.run("1h")
    for _ in range(10):
        tcp.sends(sock, 100)
        tcp.drain("4s")
        peer.sends()
        tcp.drain("1s")
    assert sock.state == "ESTABLISHED"


def test_the_option_of_rfc_5482_is_passed_over(tcp: Tcp, peer: TcpPeer) -> None:
    """Kind 28: neither answered nor obeyed."""
    sock = tcp.established()
    peer.sends(len=10, options=(UnknownOption(28, b"\0\x05"),))
    answer = tcp.expects("A", ack=11)
    assert answer.tcp is not None and answer.tcp.options == ()
    tcp.reads(sock, 10)
    tcp.sends(sock, 100)
    tcp.drain("1min")
    assert sock.state == "ESTABLISHED"
