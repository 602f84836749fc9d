"""What TCP is said to do as Linux does it: timers, sending, loss recovery, TCP_INFO."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest
from barewire.fuzz.peer import PEER_ISS, Flow
from barewire.fuzz.strategies import PEER, PeerStep
from barewire.fuzz.targets import MS, SECOND, KernelTarget
from barewire.stack.tcp.segment import FastOpen, Flags, Mss, SackPermitted, Timestamps

from tests.netns.as_linux import MSS, OFFER, TCP, Side, info, segments

pytestmark = pytest.mark.netns

USER_TIMEOUT, DEFER_ACCEPT, FASTOPEN, NO_COOKIE = 18, 9, 23, 34
NO_THRESHOLD = 2**31 - 1


# ---- timers ----------------------------------------------------------------------------------------


def test_round_trips_and_time_outs(make_side: Any) -> None:
    """RTO, SRTT and RTTVAR after each of these round trips. What the kernel's took in fact is played
    to ours; its RTO counts in ticks of 4 ms or less and is rounded up."""
    kernel, ours = make_side("kernel"), make_side("barewire")
    one, flow = kernel.connected(rtt=40)
    two, flow2 = ours.connected(rtt=info(one).tcpi_rtt // 1000)
    for ms in (60, 60, 5, 5, 120, 60, 30, 30, 150, 20, 20, 20, 5, 5, 5, 5):
        begin = kernel.target.now()
        kernel.sends(one, 1)
        kernel.peer.advance(ms * MS)
        kernel.peer.say(flow, PeerStep())
        took = kernel.target.now() - begin
        ours.sends(two, 1)
        ours.peer.advance(took)
        ours.peer.say(flow2, PeerStep())
        theirs, mine = info(one), info(two)
        assert theirs.tcpi_total_retrans == mine.tcpi_total_retrans == 0
        assert abs(theirs.tcpi_rtt - mine.tcpi_rtt) < 3000
        assert abs(theirs.tcpi_rttvar - mine.tcpi_rttvar) < 3000
        assert -4000 < theirs.tcpi_rto - mine.tcpi_rto < 14_000


def test_the_user_timeout_decides(side: Side) -> None:
    """A connection attempt, a shut window that is answered, and keepalives, whose number does not
    count. Linux ends some of them one time-out or interval late."""
    attempt = side.socket()
    attempt.setsockopt(TCP, USER_TIMEOUT, 1500)
    side.calls(attempt)
    assert 1.5 <= side.ends(attempt, 4) < 2.5

    alive, _ = side.accepted()
    for option, value in ((4, 1), (5, 1), (6, 1), (USER_TIMEOUT, 2500)):
        alive.setsockopt(TCP, option, value)
    alive.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    assert 2.5 <= side.ends(alive, 6) < 4.5, "after one probe in vain it were 2"


def test_a_shut_window_that_is_answered_ends_too(side: Side) -> None:
    sock, flow = side.accepted()
    sock.setsockopt(TCP, USER_TIMEOUT, 1200)
    side.peer.say(flow, PeerStep(window=0))
    sock.send(bytes(100))
    begin = side.target.now()
    while not (error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
        assert side.target.now() - begin < 4 * SECOND
        if side.peer.advance(5 * MS):
            side.peer.say(flow, PeerStep(window=0))
    assert error == errno.ETIMEDOUT
    assert 1.2 <= (side.target.now() - begin) / SECOND < 3


def test_a_deferred_accept_sends_its_answer_once(side: Side) -> None:
    """TCP_DEFER_ACCEPT: a SYN,ACK that was acknowledged does not go again while data is waited for."""
    listener = side.listening(80, **{f"o{DEFER_ACCEPT}": 10})
    flow = side.peer.open(80, 5000, OFFER)
    assert side.peer.advance(1300 * MS) == []
    with pytest.raises(BlockingIOError):
        listener.accept()
    side.peer.say(flow, PeerStep(size=10))
    side.peer.settle()
    assert len(side.keep(listener.accept()[0]).recv(100)) == 10


def test_the_user_timeout_of_a_listener_is_not_its_childrens_yet(side: Side) -> None:
    """A SYN,ACK goes again as if there were none."""
    side.listening(80, **{f"o{USER_TIMEOUT}": 800})
    flow = Flow(80, 5000, PEER, OFFER)
    side.peer.flows[80, 5000] = flow
    side.peer.say(flow, PeerStep(Flags.SYN))
    assert [s.flags for s in segments(side.peer.advance(1300 * MS))] == [Flags.SYN | Flags.ACK]


def test_the_timer_restarts_when_the_first_segment_goes_again(side: Side) -> None:
    """RFC 6675 section 6; and a time-out within fast recovery reduces nothing more."""
    sock, flow = side.connected(rtt=30)
    begin = side.target.now()
    side.sends(sock, 10)
    side.peer.advance(45 * MS)
    side.acks(flow, 0, (1, 10))
    ssthresh, rto = info(sock).tcpi_snd_ssthresh, info(sock).tcpi_rto
    assert (info(sock).tcpi_total_retrans, info(sock).tcpi_ca_state) == (1, 3)
    while info(sock).tcpi_total_retrans == 1:
        assert side.target.now() - begin < SECOND
        side.peer.advance(2 * MS)
    assert side.target.now() - begin >= 45 * MS + rto * 1000 - 8 * MS
    assert (info(sock).tcpi_snd_ssthresh, info(sock).tcpi_ca_state) == (ssthresh, 4)


@pytest.mark.parametrize(("lost", "window"), [(1, 10), (2, 1)])
def test_a_lost_syn_counts_only_if_it_was_lost_twice(side: Side, lost: int, window: int) -> None:
    """RFC 5681 section 3.1: with a time-out of a second one may have been late."""
    sock = side.socket()
    side.calls(sock)
    seen = 0
    while seen < lost:
        seen += len(segments(side.peer.advance(20 * MS)))
    flow = next(iter(side.peer.flows.values()))
    side.peer.answer(flow, OFFER)
    assert info(sock).tcpi_snd_cwnd == window


def test_a_block_gives_a_round_trip(side: Side) -> None:
    sock, flow = side.connected(rtt=30)
    side.sends(sock, 4)
    before = info(sock).tcpi_rtt
    side.peer.advance(50 * MS)
    side.acks(flow, 0, (1, 2))
    assert info(sock).tcpi_rtt > before + 1500


# ---- sending ---------------------------------------------------------------------------------------


def test_a_probe_of_a_shut_window_has_no_byte(side: Side) -> None:
    sock, flow = side.accepted()
    side.peer.say(flow, PeerStep(window=0))
    sock.send(bytes(100))
    (probe, *_) = segments(side.peer.advance(400 * MS))
    assert (probe.payload, probe.seq) == (b"", (flow.rcv - 1) % (1 << 32))


def test_a_short_segment_waits_only_for_a_short_one(side: Side) -> None:
    """Nagle's algorithm as Minshall refined it."""
    sock, flow = side.connected(rtt=100)
    sock.setsockopt(TCP, socket.TCP_NODELAY, 0)

    def sends(size: int) -> list[int]:
        sock.send(bytes(size))
        return [len(s.payload) for s in segments(side.peer.settle())]

    assert sends(MSS + 100) == [MSS, 100], "behind a whole one it goes at once"
    assert sends(100) == []
    assert [len(s.payload) for s in segments(side.peer.say(flow, PeerStep()))] == [100]


# ---- loss recovery ---------------------------------------------------------------------------------


@pytest.mark.parametrize("stamps", [False, True])
@pytest.mark.parametrize("second_copy", ["D-SACK", "duplicate", "never seen", "window opens"])
def test_a_probe_whose_ack_was_only_late(side: Side, second_copy: str, stamps: bool) -> None:
    """RFC 8985 7.4.2: an ACK of the probe's end lowers no window; the ACK of later data does, if
    nothing told of a second copy before."""
    offer = (*OFFER, Timestamps(1000, 0)) if stamps else OFFER
    sock, flow = side.connected(rtt=30, options=offer)
    side.sends(sock, 8)
    for _ in range(100):
        side.peer.advance(5 * MS)
        if info(sock).tcpi_total_retrans:
            break
    before = info(sock).tcpi_snd_cwnd
    side.peer.say(flow, PeerStep(window=60_000))
    assert info(sock).tcpi_snd_ssthresh == NO_THRESHOLD
    if second_copy == "window opens":
        side.peer.say(flow, PeerStep(window=65_000))
    elif second_copy != "never seen":
        block = ((-MSS, 0),) if second_copy == "D-SACK" else ()
        side.peer.say(flow, PeerStep(sack=block, window=60_000))
    side.sends(sock, 1)
    side.peer.advance(20 * MS)
    side.peer.say(flow, PeerStep())
    after = info(sock)
    assert after.tcpi_total_retrans == 1, "the probe"
    if second_copy in ("never seen", "window opens"):
        assert after.tcpi_snd_ssthresh != NO_THRESHOLD
    else:
        assert (after.tcpi_snd_ssthresh, after.tcpi_snd_cwnd >= before) == (NO_THRESHOLD, True)


@pytest.mark.parametrize("duplicates", [0, 2])
def test_a_dsack_undoes_unless_the_network_duplicates(side: Side, duplicates: int) -> None:
    """What was sent again was in vain: the window is what it was. It is not while there were more D-SACKs
    than retransmissions."""
    sock, flow = side.connected(rtt=30)
    side.sends(sock, 2)
    side.acks(flow, 2)
    for n in range(duplicates):
        side.acks(flow, 2, (n, n + 1))
    side.sends(sock, 10)
    side.peer.advance(30 * MS)
    side.acks(flow, 2, (3, 12))
    assert info(sock).tcpi_total_retrans == 1
    side.acks(flow, 12)
    assert info(sock).tcpi_snd_ssthresh != NO_THRESHOLD
    side.acks(flow, 12, (2, 3))
    assert (info(sock).tcpi_snd_ssthresh == NO_THRESHOLD) == (duplicates == 0)


def test_blocks_of_an_ack_that_was_overtaken(side: Side) -> None:
    sock, flow = side.connected(rtt=100)
    side.sends(sock, 8)
    side.acks(flow, 2)
    side.acks(flow, 1, (4, 6))
    assert info(sock).tcpi_sacked == 2


def test_a_window_grows_with_what_is_acknowledged(side: Side) -> None:
    """RFC 5681 section 3.1, RFC 3042: SACK blocks alone let segments follow and no window grow."""
    sock, flow = side.connected(rtt=30)
    side.sends(sock, 10)
    side.acks(flow, 0, (3, 5))
    assert info(sock).tcpi_snd_cwnd == 10
    side.acks(flow, 5)
    assert info(sock).tcpi_snd_cwnd == 13, "what the blocks told of counts no second time"


def test_slow_start_grows_when_more_than_half_was_used(side: Side) -> None:
    sock, flow = side.connected(rtt=30)
    side.sends(sock, 5)
    side.peer.say(flow, PeerStep())
    assert info(sock).tcpi_snd_cwnd == 10
    side.sends(sock, 6)
    side.peer.say(flow, PeerStep())
    assert info(sock).tcpi_snd_cwnd == 16


# ---- TCP_INFO --------------------------------------------------------------------------------------


def test_the_degree_of_reordering(side: Side) -> None:
    sock, flow = side.connected(rtt=100)
    assert info(sock).tcpi_reordering == 3
    side.sends(sock, 8)
    side.acks(flow, 0, (6, 7))
    side.acks(flow, 7)
    found = info(sock)
    assert (found.tcpi_reordering, found.tcpi_reord_seen) == (7, 1)


def test_ages_count_from_the_handshake(side: Side) -> None:
    for begin in (lambda: side.connected(rtt=60)[0], lambda: side.accepted()[0]):
        sock = begin()
        side.peer.advance(100 * MS)
        found = info(sock)
        assert 90 <= found.tcpi_last_data_recv < 150
        assert 90 <= found.tcpi_last_data_sent < 150
        assert 90 <= found.tcpi_last_ack_recv < 150


def test_what_a_connection_begins_with(side: Side) -> None:
    """The SYN of a connect counts as acknowledged; of bytes received the FIN does."""
    sock, _ = side.connected()
    assert (info(sock).tcpi_bytes_acked, info(sock).tcpi_delivered) == (1, 1)
    sock, flow = side.accepted()
    assert info(sock).tcpi_bytes_acked == 0
    side.peer.say(flow, PeerStep(Flags.ACK | Flags.FIN, size=10))
    assert info(sock).tcpi_bytes_received == 11


def test_windows_are_whole_segments(side: Side) -> None:
    """As the wire shows: what it says is sent, and no more."""
    sock, _ = side.connected(rtt=30, options=(Mss(1460), SackPermitted(), Timestamps(1000, 0)))
    sock.send(bytes(50_000))
    sent = sum(len(s.payload) for s in segments(side.peer.settle()))
    found = info(sock)
    assert (found.tcpi_snd_cwnd, found.tcpi_unacked) == (10, 10)
    assert sent == 10 * 1448


def test_data_of_a_syn(side: Side) -> None:
    """TCPI_OPT_SYN_DATA of a server."""
    if isinstance(side.target, KernelTarget):
        side.target._namespace.sysctl("net.ipv4.tcp_fastopen", 3)
    listener = side.listening(80, **{f"o{FASTOPEN}": 5, f"o{NO_COOKIE}": 1})
    flow = Flow(80, 5000, PEER, OFFER)
    side.peer.flows[80, 5000] = flow
    side.peer.say(flow, PeerStep(Flags.SYN, size=10, options=(*OFFER, FastOpen(b""))))
    sock = side.keep(listener.accept()[0])
    assert info(sock).tcpi_options & 32
    assert flow.snd != PEER_ISS


def test_the_mss_that_a_listener_was_given(side: Side) -> None:
    assert side.listening(80, o2=900).getsockopt(TCP, socket.TCP_MAXSEG) == 900
