"""The retransmission timeout: RFC 6298, Karn, giving up (RFC 9293 3.8.3), the user timeout."""

from __future__ import annotations

import errno

import pytest

from tests.kit.clock import MS, SECOND
from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import Sock


def measured(tcp: Tcp, peer: TcpPeer, rtt: str, **options: object) -> Sock:
    """A connection whose handshake took that long."""
    tcp.listens()
    peer.sends("S", seq=0, mss=1000)
    tcp.expects("SA")
    tcp.run(rtt)
    peer.sends(ack=1)
    assert tcp._listener is not None
    return tcp._listener.accept()


@pytest.mark.parametrize(
    ("rtt", "rto"), [("100ms", 300), ("300ms", 900), ("999ms", 2997), ("10ms", 210), ("1ms", 201)]
)
def test_the_first_sample(tcp: Tcp, peer: TcpPeer, rtt: str, rto: int) -> None:
    """RFC 6298 (2.2): SRTT = R, RTTVAR = R/2, RTO = SRTT + 4 * RTTVAR, of which the second term is
    at least 200 ms."""
    sock = measured(tcp, peer, rtt)
    assert sock.inside.rto == rto * MS


class Estimator:
    """RFC 6298 (2.3) as Linux has it (tcp_rtt_estimator), one sample a round trip: what RTO counts
    with is the largest RTTVAR of the round, from which it falls by a quarter a round; a way that
    becomes shorter raises RTTVAR by an eighth only."""

    FLOOR = 50 * MS

    def __init__(self, rtt: int) -> None:
        self.srtt, self.rttvar = rtt, rtt // 2
        self.high = max(self.rttvar, self.FLOOR)
        self.largest = self.high

    def sample(self, rtt: int) -> None:
        change = abs(rtt - self.srtt) - self.rttvar
        self.rttvar += change / 32 if rtt < self.srtt and change > 0 else change / 4
        self.largest = max(self.largest, self.rttvar)
        self.high = max(self.high, self.largest)
        self.high -= (self.high - self.largest) / 4
        self.largest = self.FLOOR
        self.srtt += (rtt - self.srtt) / 8

    @property
    def rto(self) -> float:
        return self.srtt + 4 * self.high


def test_later_samples(tcp: Tcp, peer: TcpPeer) -> None:
    sock = measured(tcp, peer, "100ms")
    model = Estimator(100 * MS)
    for i, rtt in enumerate((120, 80, 200, 100, 100, 250, 350, 90, 90, 90, *[100] * 20)):
        tcp.sends(sock, 10)
        tcp.expects(len=10)
        tcp.run(f"{rtt}ms")
        peer.sends(ack=11 + 10 * i)
        model.sample(rtt * MS)
        inside = sock.inside
        assert abs(inside.srtt - model.srtt) <= 50 and abs(inside.rttvar - model.rttvar) <= 50
        assert abs(inside.rto - model.rto) <= 500
    assert 300 * MS <= inside.rto < 310 * MS, "a steady way: the floor of the variance is left"


@pytest.mark.parametrize("rtt", [20, 300, 900])
def test_a_steady_way_has_room_for_jitter(tcp: Tcp, peer: TcpPeer, rtt: int) -> None:
    """SRTT + 200 ms: an ACK that is 5 ms late, or 150 ms, is waited for on a long way, too."""
    sock = measured(tcp, peer, f"{rtt}ms")
    for i in range(30):
        late = (0, 5, 0, 3, 0, 150)[i % 6] if i > 20 else 0
        tcp.sends(sock, 10)
        tcp.expects(len=10)
        tcp.expects_nothing(f"{rtt + late}ms", why="nothing is sent again")
        peer.sends(ack=11 + 10 * i)
    assert tcp.stack.counters()["tcp_retransmission_timeouts"] == 0


def test_the_timeout_doubles_up_to_its_bound(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 6298 (5.5), (2.5): here 60 s."""
    sock = measured(tcp, peer, "500ms")
    tcp.sends(sock, 200)
    tcp.expects(seq=1, len=200)
    for pause in ("1.5s", "3s", "6s", "12s", "24s", "48s", "60s", "60s"):
        tcp.expects(seq=1, len=200, after=pause)


def test_giving_up(tcp: Tcp, peer: TcpPeer) -> None:
    """R2: fifteen retransmissions, then ETIMEDOUT."""
    sock = tcp.established()
    tcp.sends(sock, 200)
    tcp.expects(seq=1, len=200)
    for _ in range(15):
        tcp.expects(seq=1, len=200, within="61s")
    assert sock.state == "ESTABLISHED"
    tcp.expects_nothing("61s")
    assert (sock.state, sock.take_error()) == ("CLOSED", errno.ETIMEDOUT)


def test_an_ack_restarts_the_timer(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 6298 (5.3)."""
    sock = measured(tcp, peer, "500ms")
    tcp.sends(sock, 2000)
    tcp.expects(seq=1)
    tcp.expects(seq=1001)
    tcp.run("1s")
    peer.sends(ack=1001)
    rto = sock.inside.rto
    tcp.expects(seq=1001, after=rto)


def test_new_data_does_not_restart_the_timer(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 6298 (5.1)."""
    sock = measured(tcp, peer, "500ms")
    sock.set(nodelay=1)
    tcp.sends(sock, 100)
    tcp.expects(seq=1)
    tcp.run("1s")
    tcp.sends(sock, 100)
    tcp.expects(seq=101)
    tcp.expects(seq=1, after="500ms")


def test_no_timer_when_all_is_acknowledged(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 6298 (5.2)."""
    sock = tcp.established()
    tcp.sends(sock, 1000)
    tcp.expects(seq=1)
    peer.sends(ack=1001)
    tcp.expects_nothing("1h")


def test_karn(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 6298 section 3: no sample from what was sent twice; the backed-off timeout stays until
    new data is acknowledged."""
    sock = measured(tcp, peer, "100ms")
    before = sock.inside.srtt
    tcp.sends(sock, 1000)
    tcp.expects(seq=1)
    tcp.expects(seq=1, after="300ms")
    tcp.run("10ms")
    peer.sends(ack=1001)
    assert sock.inside.srtt == before
    tcp.sends(sock, 1000)
    tcp.expects(seq=1001)
    tcp.expects(seq=1001, after="600ms")
    peer.sends(ack=2001)
    tcp.sends(sock, 1000)
    tcp.expects(seq=2001)
    tcp.run("100ms")
    peer.sends(ack=3001)
    assert sock.inside.srtt == before, "a sample of the same length"
    tcp.sends(sock, 1000)
    tcp.expects(seq=3001)
    tcp.expects(seq=3001, within="300ms", why="a valid sample ends the backoff")


def test_a_lost_ack_is_no_long_way(tcp: Tcp, peer: TcpPeer) -> None:
    """The ACK of the first copy was lost; the second one is a duplicate, and its ACK echoes the
    first one's timestamp. Taken as a sample it would be a whole timeout."""
    sock = tcp.established(mss=1000, ts=True)
    for i in range(8):
        tcp.sends(sock, 1000)
        stamp = tcp.expects(seq=1 + 1000 * i)
        tcp.drain("50ms")
        assert stamp.tcp is not None and stamp.tcp.timestamps is not None
        if i == 3:
            tcp.expects(seq=3001, within="1s")
        peer.sends(ack=1001 + 1000 * i, ts=(peer.tsval, stamp.tcp.timestamps[0]))
        assert sock.inside.srtt <= 51 * MS


def test_a_way_that_becomes_longer_than_the_timeout_is_learned(tcp: Tcp, peer: TcpPeer) -> None:
    """Karn's backoff makes room for a valid sample, with and without timestamps."""
    for ts in (False, True):
        other = tcp.another_peer(6000 + ts)
        sock = tcp.established(mss=1000, ts=ts, peer=other)
        stamps = []
        for i in range(8):
            tcp.sends(sock, 1000, to=other)
            before = tcp.stack.counters()["tcp_segments_retransmitted"]
            sent = tcp.drain("2s", to=other)[0].tcp
            stamps.append(tcp.stack.counters()["tcp_segments_retransmitted"] - before)
            assert sent is not None
            echo = (other.tsval, sent.timestamps[0]) if sent.timestamps else None
            other.sends(ack=1001 + 1000 * i, ts=echo)
            tcp.drain("10s", to=other)
        assert stamps[0] >= 3 and stamps[-1] == 0, stamps


def test_timestamps_give_a_sample_all_the_same(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 7323 section 4.1."""
    sock = tcp.established(mss=1000, ts=True)
    tcp.sends(sock, 100)
    tcp.expects(seq=1)
    tcp.drain("500ms")
    tcp.run("50ms")
    peer.sends(ack=101)
    assert sock.inside.srtt > 0
    assert sock.inside.rto < 2 * SECOND


def test_after_the_timeout_slow_start(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 5681 (4) and section 3.1: one segment, ssthresh half of the flight. There is nothing new to
    send, which F-RTO would prefer."""
    sock = tcp.established(mss=1000, congestion=1)
    tcp.sends(sock, 10_000)
    for i in range(10):
        tcp.expects(seq=1 + 1000 * i, len=1000)
    tcp.expects(seq=1, len=1000, within="2s")
    assert (sock.inside.cwnd, sock.inside.ssthresh) == (1000, 5000)
    peer.sends(ack=1001)
    tcp.expects(seq=1001, len=1000)
    tcp.expects(seq=2001, len=1000)
    tcp.expects_nothing()
    peer.sends(ack=3001)
    tcp.expects(seq=3001, len=1000)
    tcp.expects(seq=4001, len=1000)
    tcp.expects(seq=5001, len=1000)


def test_a_second_timeout_does_not_halve_again(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 5681 (4): "when a TCP sender detects segment loss using the retransmission timer and the
    given segment has already been retransmitted ... ssthresh is held constant"."""
    sock = tcp.established(mss=1000, congestion=1)
    tcp.sends(sock, 10_000)
    tcp.drain("10s")
    assert sock.inside.ssthresh == 5000


def test_only_the_first_segment_goes_again(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(mss=1000)
    tcp.sends(sock, 5000)
    tcp.drain()
    tcp.expects(seq=1, len=1000, within="2s")
    tcp.expects_nothing("100ms")
    peer.sends(ack=5001)
    tcp.expects_nothing("1min", why="the rest had arrived")


def test_small_writes_are_joined_when_sent_again(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(mss=1000, nodelay=1)
    for i in range(5):
        tcp.sends(sock, 100)
        tcp.expects(seq=1 + 100 * i, len=100)
    tcp.expects(seq=1, len=500, within="2s")


def test_connection_survives_a_long_silence(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    tcp.sends(sock, 1000)
    tcp.drain("5min")
    peer.sends(ack=1001)
    tcp.transfers(sock, 5000)
    assert sock.state == "ESTABLISHED"
