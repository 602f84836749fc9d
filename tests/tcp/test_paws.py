"""Timestamps and PAWS: RFC 7323 sections 3 to 5."""

from __future__ import annotations

import itertools

import pytest
from barewire.stack.tcp import Mss, Nop, Option, WindowScale

from tests.kit.checks import has_option
from tests.kit.clock import MS
from tests.kit.peer import Tcp, TcpPeer


def test_timestamps_are_in_every_segment_and_echoed(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(ts=True)
    tcp.run("50ms")
    value = peer.tsval
    peer.sends(len=100)
    answer = tcp.expects("A", ack=101)
    assert answer.tcp is not None and answer.tcp.timestamps is not None
    assert answer.tcp.timestamps[1] == value
    tcp.sends(sock, 100)
    data = tcp.expects(len=100)
    assert data.tcp is not None and data.tcp.timestamps is not None


def test_no_segment_goes_without_timestamps(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 7323 3.2: data, retransmissions, ACKs, probes, the FIN; and the reset that ends it."""
    stamped = has_option("timestamps")
    sock = tcp.established(ts=True, sack=True, mss=1000, keepalive=1, keepidle=10)
    tcp.expects("A", seq=0, len=0, check=stamped, after="10s", why="keepalive")
    peer.sends(ack=1, wnd=0)
    tcp.sends(sock, 500)
    tcp.expects("A", seq=0, len=0, check=stamped, within="5s", why="a window probe")
    peer.sends(ack=1, wnd=65535)
    tcp.expects(seq=1, len=500, check=stamped)
    tcp.expects(seq=1, len=500, check=stamped, within="5s", why="a retransmission")
    peer.sends(ack=501, seq=2001, len=100)
    tcp.expects("A", ack=1, check=stamped & has_option("sack"))
    peer.sends("R", seq=1000)
    tcp.expects("A", check=stamped, why="a challenge")
    sock.shutdown()
    tcp.run("0s")
    tcp.expects("FA", check=stamped)
    sock.abort()
    tcp.run("0s")
    tcp.expects("RA", check=stamped)


def test_a_duplicate_ack_is_no_sample(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 7323 4.1: only an ACK that advances SND.UNA may update the round-trip time."""
    sock = tcp.established(ts=True)
    tcp.sends(sock, 1000)
    sent = tcp.expects(seq=1, len=1000)
    assert sent.tcp is not None and sent.tcp.timestamps is not None
    before = sock.inside.srtt
    tcp.run("150ms")
    peer.sends(ack=1, ts=(peer.tsval, sent.tcp.timestamps[0]))
    peer.sends(ack=1, len=10, ts=(peer.tsval, sent.tcp.timestamps[0] - 5000))
    assert sock.inside.srtt == before


@pytest.mark.parametrize(("apart", "taken"), [((1 << 31) - 1, 1), (1 << 31, 1), ((1 << 31) + 1, 0)])
def test_a_timestamp_half_of_all_numbers_away(
    tcp: Tcp, peer: TcpPeer, apart: int, taken: int
) -> None:
    """RFC 7323 5.2: s is older than t if t - s is above 0 and below 2^31; so neither is, exactly between."""
    sock = tcp.established(ts=True)
    before = peer.tsval
    peer.sends(len=10, ts=(before, peer.ts_seen))
    peer.sends(seq=11, len=10, ts=((before + apart) & 0xFFFFFFFF, peer.ts_seen))
    assert sock.unread == 10 + 10 * taken


def test_the_echo_in_a_syn_means_nothing(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 7323 3.2: without ACK there is nothing to echo."""
    tcp.listens()
    peer.sends("S", seq=0, ts=(1, 0xDEADBEEF))
    tcp.expects("SA", seq=0, ack=1, check=has_option("timestamps"))
    tcp.run("10ms")
    peer.sends(ack=1, ts=(2, peer.ts_seen))
    assert tcp._listener is not None
    assert tcp._listener.accept().inside.srtt == 10 * MS


@pytest.mark.parametrize(
    "options", [(Nop(), WindowScale(3)), (Mss(100), Nop(), WindowScale(0))], ids=["3", "0"]
)
def test_a_window_scale_outside_a_syn_is_ignored(
    tcp: Tcp, peer: TcpPeer, options: tuple[Option, ...]
) -> None:
    """RFC 7323 2.2."""
    sock = tcp.established(wscale=7)
    peer.sends(len=100, options=options)
    tcp.drain()
    assert sock.inside.snd_wscale == 7
    peer.sends(ack=1, wnd=1 << 20)
    assert sock.inside.snd_wnd == 1 << 20


def test_the_clock_ticks_in_milliseconds(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.established(ts=True)
    values = []
    for _i in range(3):
        peer.sends(len=10)
        p = tcp.expects("A")
        assert p.tcp is not None and p.tcp.timestamps is not None
        values.append(p.tcp.timestamps[0])
        tcp.run("100ms")
    assert [b - a for a, b in itertools.pairwise(values)] == [100, 100]


def test_connections_have_clocks_of_their_own(tcp: Tcp, peer: TcpPeer) -> None:
    """An offset for each connection (RFC 7323 section 7.1): uptime and neighbours stay secret."""
    tcp.listens()
    offsets = set()
    for i in range(5):
        other = tcp.another_peer(6000 + i)
        other.sends("S", seq=0, ts=(1, 0))
        p = tcp.expects("SA", to=other)
        assert p.tcp is not None and p.tcp.timestamps is not None
        offsets.add(p.tcp.timestamps[0] - tcp.clock.now // MS)
    assert len(offsets) == 5


def test_an_old_timestamp_is_dropped_and_acknowledged(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(ts=True)
    tcp.run("1s")
    peer.sends(len=100)
    tcp.drain()
    with tcp.counts("drop_tcp_paws"):
        peer.sends(seq=101, len=100, ts=(peer.tsval - 500, 0))
    tcp.expects("A", ack=101)
    assert sock.unread == 100
    peer.sends(seq=101, len=100)
    tcp.reads(sock, 200)


def test_after_24_idle_days_paws_forgets(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 7323 5.5."""
    sock = tcp.established(ts=True)
    tcp.run("601h")
    peer.sends(len=100, ts=(1, 0))
    tcp.drain()
    assert sock.unread == 100


def test_the_echo_is_of_the_segment_that_moves_the_window_edge(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 7323 4.3 (2): a timestamp is remembered only if SEG.SEQ <= Last.ACK.sent."""
    tcp.established(ts=True)
    tcp.run("100ms")
    first = peer.tsval
    peer.sends(seq=1, len=100, ts=(first, 0))
    tcp.expects("A", ack=101)
    peer.sends(seq=301, len=100, ts=(first + 10, 0))
    p = tcp.expects("A", ack=101)
    assert p.tcp is not None and p.tcp.timestamps is not None
    assert p.tcp.timestamps[1] == first, "a segment beyond a gap does not count"
    peer.sends(seq=101, len=200, ts=(first + 20, 0))
    p = tcp.expects("A", ack=401)
    assert p.tcp is not None and p.tcp.timestamps is not None
    assert p.tcp.timestamps[1] == first + 20


def test_the_echo_of_delayed_acks_is_of_the_first_segment(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 7323 4.3, example 1."""
    sock = tcp.established(ts=True)
    for _ in range(20):
        peer.sends(len=1000)
    tcp.drain("1s")
    tcp.reads(sock, 20_000)
    tcp.drain()
    first = peer.tsval
    peer.sends(len=10, ts=(first, 0))
    tcp.run("5ms")
    peer.sends(len=10, ts=(first + 5, 0))
    p = tcp.expects("A", ack=20_021, within="50ms")
    assert p.tcp is not None and p.tcp.timestamps is not None
    assert p.tcp.timestamps[1] == first


def test_a_segment_without_timestamps_is_accepted(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 7323 3.2 lets a receiver drop it; as Linux, we take it."""
    sock = tcp.established(ts=True)
    peer.sends(len=100, ts=False)
    tcp.drain("1s")
    tcp.reads(sock, 100)


def test_timestamps_not_agreed_on_are_ignored(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(ts=False)
    peer.sends(len=100, ts=(1, 2))
    answer = tcp.expects("A", ack=101)
    assert answer.tcp is not None and answer.tcp.timestamps is None
    peer.sends(len=100, ts=(0x8000_0000, 2))
    tcp.drain("1s")
    tcp.reads(sock, 200)


def test_timestamps_wrap_around(tcp: Tcp, peer: TcpPeer) -> None:
    peer.ts_offset = 0xFFFFFFFF - 1000 - tcp.clock.now // MS
    sock = tcp.established(ts=True)
    for i in range(5):
        tcp.run("500ms")
        peer.sends(len=100)
        tcp.drain()
        tcp.reads(sock, 100, at=100 * i)
