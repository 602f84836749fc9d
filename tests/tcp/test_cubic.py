"""CUBIC's window, ACK for ACK, against RFC 9438 computed here in floating point."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import pytest

from tests.kit.clock import SECOND
from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import Sock
from tests.tcp.saturated import MSS, ends, fill, opened, repairs, unacked

C, BETA = 0.4, 0.7
ALPHA = 3 * (1 - BETA) / (1 + BETA)
RTT = 0.2


@dataclass
class Rfc9438:
    """Windows in segments, times in seconds; equations 1 to 4."""

    cwnd: float
    w_max: float
    cwnd_prior: float
    epoch: float
    rtt: float = RTT
    k: float = field(init=False)
    w_est: float = field(init=False)

    def __post_init__(self) -> None:
        self.w_est = self.cwnd
        self.w_max = max(self.w_max, self.cwnd)
        self.k = ((self.w_max - self.cwnd) / C) ** (1 / 3)

    def w_cubic(self, t: float) -> float:
        return float(C * (t - self.k) ** 3 + self.w_max)

    def ack(self, now: float) -> None:
        """One segment is acknowledged."""
        t = now - self.epoch
        self.w_est += (ALPHA if self.w_est < self.cwnd_prior else 1) / self.cwnd
        if self.w_cubic(t) < self.w_est:
            self.cwnd = max(self.cwnd, self.w_est)
            return
        target = min(max(self.w_cubic(t + self.rtt), self.cwnd), 1.5 * self.cwnd)
        self.cwnd += (target - self.cwnd) / self.cwnd


def now(tcp: Tcp) -> float:
    return tcp.clock.now / 1e9


def follows(tcp: Tcp, peer: TcpPeer, sock: Sock, model: Rfc9438, rounds: int) -> list[float]:
    """So many round trips; after each the window is the model's, within a segment and 1 %."""
    windows = []
    for _ in range(rounds):
        fill(tcp, sock)
        tcp.drain(round(model.rtt * SECOND))
        for end in ends(peer, sock):
            peer.sends(ack=end)
            model.ack(now(tcp))
        window = sock.inside.cwnd / MSS
        windows.append(window)
        assert abs(window - model.cwnd) < 1 + 0.01 * model.cwnd, (model, windows)
    return windows


def loses_one(tcp: Tcp, peer: TcpPeer, sock: Sock, w_max: float = 0, rtt: float = RTT) -> Rfc9438:
    """The first segment in flight is lost, found by SACK, and repaired; what RFC 9438 makes of it,
    with the W_max before (4.6, 4.7)."""
    fill(tcp, sock)
    tcp.drain(round(rtt * SECOND))
    before, una = sock.inside.cwnd / MSS, unacked(peer, sock)[0]
    peer.sends(ack=una, sack=[(una + MSS, peer.got)])
    flight = peer.got - una
    assert sock.inside.ssthresh == int(flight * BETA), "4.6: of what is in flight"
    end = peer.got
    tcp.drain(round(rtt * SECOND))
    peer.sends(ack=end)
    assert sock.inside.cwnd - sock.inside.ssthresh in range(MSS), "the repair is over"
    fast = before * (1 + BETA) / 2 if before < w_max else before
    model = Rfc9438(sock.inside.ssthresh / MSS, fast, before, now(tcp), rtt)
    for at in range(end - MSS, peer.got, MSS):
        peer.sends(ack=at + MSS)
        model.ack(now(tcp))
    return model


@pytest.fixture
def sock(tcp: Tcp, peer: TcpPeer) -> Sock:
    return opened(tcp, peer, RTT, 3)


def test_the_whole_curve(tcp: Tcp, peer: TcpPeer, sock: Sock) -> None:
    """Concave up to W_max, flat around it, convex beyond (4.4, 4.5)."""
    model = loses_one(tcp, peer, sock)
    windows = follows(tcp, peer, sock, model, 40)
    steps = [b - a for a, b in itertools.pairwise(windows)]
    flat = next(i for i, w in enumerate(windows) if w >= model.w_max)
    assert steps[0] > 1 > steps[flat - 4], "concave: faster first, and slow near W_max"
    assert steps[-1] > 1, "convex: it probes beyond W_max"


def test_the_reno_friendly_region(tcp: Tcp, peer: TcpPeer) -> None:
    """4.3: a small window: W_est leads all the way, with 9/17 of a segment a round trip, and with a
    whole one from the window before the loss on."""
    sock = opened(tcp, peer, 0.1, 1)
    model = loses_one(tcp, peer, sock, rtt=0.1)
    windows = follows(tcp, peer, sock, model, 16)
    assert windows[-1] == pytest.approx(model.w_est, abs=1)
    assert windows[-1] > model.cwnd_prior, "it is above in time to show the change"


def test_fast_convergence(tcp: Tcp, peer: TcpPeer, sock: Sock) -> None:
    """4.7: a second loss below W_max: the plateau is lower than where it was lost."""
    first = loses_one(tcp, peer, sock)
    follows(tcp, peer, sock, first, 5)
    assert sock.inside.cwnd < first.w_max * MSS
    second = loses_one(tcp, peer, sock, first.w_max)
    assert second.w_max < second.cwnd_prior
    follows(tcp, peer, sock, second, 20)


def test_after_a_timeout_the_curve_begins_at_its_plateau(tcp: Tcp, peer: TcpPeer) -> None:
    """4.8: slow start up to beta times the window, then K = 0 and W_max = cwnd. W_est's alpha is 9/17
    up to the window before the time-out."""
    sock = opened(tcp, peer, 0.1, 3)
    fill(tcp, sock)
    tcp.drain("100ms")
    before = sock.inside.cwnd / MSS
    tcp.drain("600ms")
    assert (sock.inside.cwnd, sock.inside.ssthresh) == (MSS, before * BETA * MSS)
    model = Rfc9438(BETA * before, 0, before, epoch=0, rtt=0.1)
    for _ in repairs(tcp, peer, sock):
        if model.epoch:
            model.ack(now(tcp))
        elif sock.inside.cwnd == sock.inside.ssthresh:
            model.epoch = now(tcp)
    assert model.k == 0
    follows(tcp, peer, sock, model, 10)


def test_after_hystart_the_curve_begins_at_its_plateau(tcp: Tcp, peer: TcpPeer) -> None:
    """4.10: slow start that ended without a loss knows no W_max: K = 0, cwnd_prior = cwnd."""
    sock = opened(tcp, peer, 0.08, 2)
    model: Rfc9438 | None = None
    for _ in range(8):
        if model is not None:
            break
        fill(tcp, sock)
        tcp.drain("100ms")
        for end in ends(peer, sock):
            peer.sends(ack=end)
            if model is not None:
                model.ack(now(tcp))
            elif sock.inside.ssthresh == sock.inside.cwnd:
                model = Rfc9438(sock.inside.cwnd / MSS, 0, 0, now(tcp), 0.1)
    assert model is not None
    follows(tcp, peer, sock, model, 20)


def test_time_without_data_is_no_part_of_the_curve(tcp: Tcp, peer: TcpPeer, sock: Sock) -> None:
    """4.2, 5.8: a program that sends little for ten seconds finds the window as it left it, and the
    curve goes on from there."""
    model = loses_one(tcp, peer, sock)
    follows(tcp, peer, sock, model, 10)
    drained(tcp, peer, sock, model)
    begin, window = now(tcp), sock.inside.cwnd
    for _ in range(100):
        tcp.sends(sock, MSS)
        tcp.drain("200ms")
        peer.sends(ack=peer.got)
    assert sock.inside.cwnd == window
    model.epoch += now(tcp) - begin
    follows(tcp, peer, sock, model, 10)


def drained(tcp: Tcp, peer: TcpPeer, sock: Sock, model: Rfc9438) -> None:
    """The send queue runs empty, the window full until its last bytes."""
    while sock.unacked:
        limited = sock.unacked > sock.inside.cwnd
        tcp.drain("200ms")
        for end in ends(peer, sock):
            peer.sends(ack=end)
            if limited:
                model.ack(now(tcp))
    model.cwnd = sock.inside.cwnd / MSS


def test_a_reduction_that_was_wrong_is_undone_with_its_curve(
    tcp: Tcp, peer: TcpPeer, sock: Sock
) -> None:
    """4.9: W_max, K, the epoch and W_est are what they were: D-SACK says that what was sent again had
    arrived."""
    model = loses_one(tcp, peer, sock)
    follows(tcp, peer, sock, model, 10)
    fill(tcp, sock)
    tcp.drain("200ms")
    before, una = sock.inside.cwnd, unacked(peer, sock)[0]
    late = [una + MSS, peer.got]
    peer.sends(ack=una, sack=[(late[0], late[1])])
    assert sock.inside.cwnd < before
    tcp.drain("1ms")
    peer.sends(ack=late[1], sack=[(una, una + MSS)])
    assert sock.inside.cwnd >= before
    model.cwnd = sock.inside.cwnd / MSS
    follows(tcp, peer, sock, model, 10)


def test_the_window_never_grows_by_more_than_half_in_a_round_trip(tcp: Tcp, peer: TcpPeer) -> None:
    """4.2: target is at most 1.5 cwnd, which only a long round trip late in the curve comes to."""
    rtt = 0.9
    sock = opened(tcp, peer, rtt, 0)
    for _ in range(3):
        model = loses_one(tcp, peer, sock, sock.inside.cwnd / MSS + 1, rtt)
    held_back = 0
    for _ in range(6):
        before = model.cwnd
        wanted = model.w_cubic(now(tcp) + 2 * rtt - model.epoch)
        held_back += wanted > 1.5 * before
        (window,) = follows(tcp, peer, sock, model, 1)
        assert window <= 1.5 * before + 1
    assert held_back
