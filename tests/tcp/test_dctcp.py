"""DCTCP (RFC 8257) held against the RFC's arithmetic, step by step; and its receiver, section 3.2."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.kit.checks import is_ip
from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import Sock

DCTCP = 3
MSS = 1000
OFF, ON, PASSIVE, ACCURATE, ACCURATE_PASSIVE = 0, 1, 2, 3, 5
ECT0, CE = 2, 3
ONE = 1 << 20  # alpha is kept in units of 2^-20


def sender(tcp: Tcp, peer: TcpPeer) -> Sock:
    """A connection of ours that sends without end through a large window."""
    sock = tcp.connects(tcp.wire.tcp().set(congestion=DCTCP, sndbuf=1 << 22))
    tcp.expects("SEC")
    peer.sends("SAE", seq=0, ack=1, mss=MSS, wscale=8, sack_ok=True)
    peer.shift, peer.stack_shift = 8, 8
    tcp.expects("A")
    peer.sends(wnd=1 << 23)
    return sock


class Model:
    """RFC 8257 section 3.3 and RFC 5681 in real numbers: what a sender must do with each ACK."""

    def __init__(self) -> None:
        self.alpha = 1.0
        self.acked = self.marked = 0.0
        self.window_end: int | None = None
        self.cwnd, self.ssthresh = 10.0 * MSS, float("inf")
        self.credit = 0.0
        self.answered = -1  # marks up to this sequence number have been answered

    def ack(self, una: int, acked: int, ece: bool, snd_nxt: int) -> None:
        self.acked += acked
        self.marked += acked if ece else 0
        if self.window_end is None:
            self.window_end = snd_nxt
        elif una > self.window_end:
            self.alpha = self.alpha * (1 - 1 / 16) + 1 / 16 * (self.marked / self.acked)
            self.acked = self.marked = 0
            self.window_end = snd_nxt
        if not ece:
            self.grow(acked)
        elif una > self.answered:
            self.cwnd = self.ssthresh = max(2 * MSS, self.cwnd * (1 - self.alpha / 2))
            self.answered = snd_nxt

    def grow(self, acked: int) -> None:
        if self.cwnd < self.ssthresh:
            self.cwnd += acked
            return
        self.credit += acked
        if self.credit >= self.cwnd:
            self.credit -= self.cwnd
            self.cwnd += MSS


def compare(tcp: Tcp, peer: TcpPeer, marks: Callable[[int], bool], rounds: int) -> list[float]:
    """Every segment is acknowledged alone, with ECE as marks(number) says; alpha and the window are
    compared with the model after each (and agree again, so that no rounding adds up). Returns alpha
    after each round."""
    sock, model, number, alphas = sender(tcp, peer), Model(), 0, []
    for _ in range(rounds):
        while True:
            try:
                tcp.sends(sock, 1 << 17)
            except BlockingIOError:
                break
        tcp.drain("1ms")
        una, end = sock.inside.snd_una - sock.inside.iss & 0xFFFFFFFF, peer.got
        while una < end:
            step = min(MSS, end - una)
            una += step
            number += 1
            ece = marks(number)
            nxt = sock.inside.snd_nxt - sock.inside.iss & 0xFFFFFFFF
            peer.sends("AE" if ece else "A", ack=una)
            model.ack(una, step, ece, nxt)
            inside = sock.inside
            assert abs(inside.dctcp_alpha / ONE - model.alpha) < 3e-4, f"alpha at ACK {number}"
            assert abs(inside.cwnd - model.cwnd) <= 1 + model.cwnd * 2e-4, f"cwnd at ACK {number}"
            model.cwnd = inside.cwnd
            model.ssthresh = min(model.ssthresh, inside.ssthresh)
        alphas.append(sock.inside.dctcp_alpha / ONE)
    return alphas


def test_alpha_decays_without_marks(tcp: Tcp, peer: TcpPeer) -> None:
    alphas = compare(tcp, peer, lambda n: n == 30, 6)
    assert alphas[-1] < alphas[0] == 1.0


def test_alpha_follows_the_share_of_marks(tcp: Tcp, peer: TcpPeer) -> None:
    dice = random.Random(8257)
    alphas = compare(tcp, peer, lambda n: dice.random() < 0.3, 60)
    assert 0.15 < alphas[-1] < 0.45


def test_every_segment_marked_is_reno(tcp: Tcp, peer: TcpPeer) -> None:
    alphas = compare(tcp, peer, lambda n: n > 8, 12)
    assert alphas[-1] > 0.9


def test_a_few_marks_shrink_it_little(tcp: Tcp, peer: TcpPeer) -> None:
    alphas = compare(tcp, peer, lambda n: n == 40 or (n > 400 and n % 50 == 0), 90)
    assert alphas[-1] < 0.1


def test_alpha_reaches_zero(tcp: Tcp, peer: TcpPeer) -> None:
    """Integers must not hold it at a remainder for ever."""
    sock = sender(tcp, peer)
    for _ in range(260):
        tcp.sends(sock, MSS)
        tcp.drain()
        peer.sends()
    assert sock.inside.dctcp_alpha == 0


def test_a_loss_halves(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 3.5: losses are answered as ever, however small alpha is; a mark of the same window
    takes nothing from that."""
    sock = sender(tcp, peer)
    for _ in range(40):
        tcp.sends(sock, MSS)
        tcp.drain()
        peer.sends()
    tcp.sends(sock, 60 * MSS)
    tcp.drain()
    una = sock.inside.snd_una - sock.inside.iss & 0xFFFFFFFF
    peer.sends("AE", ack=una, sack=[(una + MSS, una + 2 * MSS)])
    window = sock.inside.cwnd
    assert 9 * MSS < window < 10 * MSS, "the mark alone"
    tcp.drain()
    peer.sends("AE", ack=una, sack=[(una + MSS, una + 6 * MSS)])
    assert sock.inside.ssthresh == window // 2


def test_a_timeout_begins_with_one_segment(tcp: Tcp, peer: TcpPeer) -> None:
    sock = sender(tcp, peer)
    tcp.sends(sock, 20 * MSS)
    tcp.drain("2s")
    assert sock.inside.cwnd == sock.inside.mss
    assert sock.inside.dctcp_alpha == ONE


def test_without_ecn_it_is_reno(tcp: Tcp, peer: TcpPeer) -> None:
    """The peer declines: losses are all that it hears of."""
    sock = tcp.connects(tcp.wire.tcp().set(congestion=DCTCP))
    tcp.expects("SEC")
    peer.sends("SA", seq=0, ack=1, mss=MSS, sack_ok=True)
    tcp.expects("A")
    tcp.sends(sock, 60 * MSS)
    assert all(p.ip.tos == 0 for p in tcp.drain())  # type: ignore[union-attr]
    peer.sends(ack=1 + 10 * MSS)
    assert sock.inside.cwnd == 20 * MSS
    tcp.drain()
    peer.sends(ack=1 + 10 * MSS, sack=[(1 + 14 * MSS, 1 + 20 * MSS)])
    assert sock.inside.ssthresh == 10 * MSS


# ---- who asks for it ------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [OFF, PASSIVE, ON, ACCURATE_PASSIVE, ACCURATE])
def test_dctcp_asks_for_ecn_whatever_the_stacks_mode(tcp: Tcp, peer: TcpPeer, mode: int) -> None:
    """As Linux's algorithms that need ECN; accurately where the stack does."""
    tcp.connects(tcp.wire.tcp().set(ecn=mode, congestion=DCTCP))
    tcp.expects("SeEC" if mode == ACCURATE else "SEC", check=is_ip(tos=0))


def test_a_dctcp_listener_takes_a_syn_that_says_ect(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 3.6: DCTCP peers mark their SYNs."""
    tcp.listens(congestion=DCTCP, ecn=OFF)
    peer.sends("SEC", seq=0, tos=ECT0)
    tcp.expects("SAE", seq=0)


# ---- the receiver, section 3.2 -------------------------------------------------------------------


def receiver(tcp: Tcp, peer: TcpPeer) -> Sock:
    """The peer opened the connection; quick ACKs are over."""
    listener = tcp.listens(congestion=DCTCP)
    peer.sends("SEC", seq=0, mss=MSS)
    tcp.expects("SAE")
    peer.sends("A", seq=1, ack=1)
    sock = listener.accept()
    for _ in range(20):
        peer.sends(len=MSS, tos=ECT0)
    tcp.drain("1s")
    sock.read_all()
    return sock


def test_the_echo_follows_each_mark(tcp: Tcp, peer: TcpPeer) -> None:
    """CE on: an ACK at once, with ECE; CE off: one at once, without. No CWR is waited for."""
    receiver(tcp, peer)
    at = peer.next
    peer.sends(len=MSS, tos=CE)
    tcp.expects("AE", ack=at + MSS)
    peer.sends(len=MSS, tos=ECT0)
    tcp.expects("A", ack=at + 2 * MSS)


def test_what_came_before_the_change_is_acknowledged_in_its_own_state(
    tcp: Tcp, peer: TcpPeer
) -> None:
    """The second ACK that section 3.2 allows: without it the sender would count wrongly."""
    receiver(tcp, peer)
    at = peer.next
    peer.sends(len=MSS, tos=ECT0)
    tcp.expects_nothing(why="delayed")
    peer.sends(len=MSS, tos=CE)
    tcp.expects("A", ack=at + MSS, why="what was not marked")
    tcp.expects("AE", ack=at + 2 * MSS, why="what was")
    peer.sends(len=MSS, tos=CE)
    tcp.expects_nothing(why="the same state: delayed ACKs go on")
    peer.sends(len=MSS, tos=CE)
    tcp.expects("AE", ack=at + 4 * MSS)
    peer.sends(len=MSS, tos=CE)
    peer.sends(len=MSS, tos=ECT0)
    tcp.expects("AE", ack=at + 5 * MSS)
    tcp.expects("A", ack=at + 6 * MSS)


def test_every_byte_is_told_of_exactly(tcp: Tcp, peer: TcpPeer) -> None:
    """Whatever the pattern, and in bursts: the bytes that ACKs with ECE acknowledge are those that
    came marked."""
    sock = receiver(tcp, peer)
    dice, told, marked = random.Random(3), 0, 0
    una = peer.next
    for _ in range(60):
        burst = []
        for _ in range(dice.randrange(1, 12)):
            ce = dice.random() < 0.5
            marked += MSS * ce
            burst.append(peer.packet(len=MSS, tos=CE if ce else ECT0))
        tcp.wire.sends_burst(*burst)
        for p in tcp.drain("50ms"):
            assert p.tcp is not None
            ack = p.tcp.ack - peer.iss & 0xFFFFFFFF
            told += (ack - una) * bool(p.tcp.flags & 0x40)
            una = ack
        sock.read_all()
    assert una == peer.next
    assert told == marked


def test_cwr_means_nothing_to_it(tcp: Tcp, peer: TcpPeer) -> None:
    receiver(tcp, peer)
    at = peer.next
    peer.sends(len=MSS, tos=CE)
    tcp.expects("AE", ack=at + MSS)
    peer.sends("AC", len=MSS, tos=CE)
    peer.sends("AC", len=MSS, tos=CE)
    tcp.expects("AE", ack=at + 3 * MSS)
