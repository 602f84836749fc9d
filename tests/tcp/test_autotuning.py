"""Buffers that grow by themselves: the receive buffer with what the program reads in a round trip,
the send queue with the congestion window; and the window scale that has to allow for it."""

from __future__ import annotations

import pytest

from tests.kit.checks import has_option
from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import Sock
from tests.kit.wire import Wire
from tests.kit.world import World

DEFAULT, MOST = 256 << 10, 64 << 20
SEGMENT = 1400


def reads_a_round(tcp: Tcp, sock: Sock, n: int, rtt: str = "20ms") -> None:
    """The peer sends n bytes, as an answer to the last ACK; the program reads them at once; then a
    round trip passes."""
    for at in range(0, n, SEGMENT):
        tcp.peer.sends(len=min(SEGMENT, n - at))
        sock.recv()
    tcp.drain(rtt)


# ---- receiving ---------------------------------------------------------------------------------


@pytest.mark.parametrize("ts", [True, False], ids=["timestamps", "window"])
def test_the_receive_buffer_grows_with_what_is_read(tcp: Tcp, ts: bool) -> None:
    """Both ways to see a round trip: the echoed timestamp, and a window's worth of data."""
    sock = tcp.established(wscale=7, ts=ts)
    assert sock.inside.rcvbuf == DEFAULT
    for n in (50_000, 100_000, 200_000, 240_000):
        reads_a_round(tcp, sock, n)
    grown = sock.inside.rcvbuf
    assert grown >= 2 * 240_000
    assert sock.inside.rcv_wnd > DEFAULT, "and the peer was told"
    reads_a_round(tcp, sock, 400_000)
    assert sock.inside.rcvbuf >= 800_000


def test_a_steady_reader_gets_twice_what_it_reads_in_a_round_trip(tcp: Tcp) -> None:
    """Once the rate is steady the buffer is, too: it does not run away to the maximum."""
    sock = tcp.established(wscale=7, ts=True)
    for _ in range(40):
        reads_a_round(tcp, sock, 200_000)
    assert 400_000 <= sock.inside.rcvbuf < 2_000_000


def test_a_program_that_reads_little_keeps_the_default(tcp: Tcp) -> None:
    sock = tcp.established(wscale=7, ts=True)
    for _ in range(40):
        reads_a_round(tcp, sock, 14_000)
    assert sock.inside.rcvbuf == DEFAULT


def test_the_receive_buffer_stops_at_the_maximum(world: World) -> None:
    tcp = Tcp(Wire(world, receive_buffer=(2048, 32_768, 100_000)))
    sock = tcp.established(wscale=7, ts=True)
    for _ in range(30):
        reads_a_round(tcp, sock, min(60_000, sock.inside.rcv_wnd))
    assert sock.inside.rcvbuf == 100_000


def test_so_rcvbuf_fixes_the_size(tcp: Tcp) -> None:
    sock = tcp.established(wscale=7, ts=True, rcvbuf=300_000)
    for n in (50_000, 100_000, 200_000, 290_000):
        reads_a_round(tcp, sock, n)
    assert sock.inside.rcvbuf == 300_000


def test_the_default_buffer_of_a_stack(world: World) -> None:
    bounds = (4096, 10_000, 20_000)
    wire = Wire(world, receive_buffer=bounds, send_buffer=bounds)
    sock = wire.tcp()
    assert (sock.get("rcvbuf"), sock.get("sndbuf")) == (10_000, 10_000)
    sock.set(rcvbuf=1, sndbuf=1 << 30)
    assert (sock.get("rcvbuf"), sock.get("sndbuf")) == (4096, 20_000)


# ---- the window scale ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("most", "scale"),
    [(65_535, 0), (65_536, 0), (65_537, 1), (1 << 20, 4), (MOST, 10), (1 << 28, 12)],
)
def test_the_scale_is_the_smallest_that_can_say_the_maximum(
    world: World, most: int, scale: int
) -> None:
    """RFC 7323 2.2; a small one leaves windows exact, because they are said in units of it."""
    tcp = Tcp(Wire(world, receive_buffer=(2048, 32_768, most)))
    tcp.connects()
    tcp.expects("S", check=has_option("wscale", scale))


def test_so_rcvbuf_before_the_syn_decides_the_scale(tcp: Tcp) -> None:
    tcp.connects(tcp.wire.tcp().set(rcvbuf=100_000))
    tcp.expects("S", check=has_option("wscale", 1))


def test_a_child_has_its_listeners_fixed_size_and_scale(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.listens(rcvbuf=1 << 20)
    peer.sends("S", seq=0, mss=1460, wscale=2)
    tcp.expects("SA", check=has_option("wscale", 4))


def test_so_rcvbuf_after_the_syn_does_not_change_what_was_offered(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.connects()
    tcp.expects("S", check=has_option("wscale", 10))
    sock.set(rcvbuf=100_000)
    peer.sends("SA", seq=0, ack=1, wscale=7, mss=1460)
    assert sock.inside.rcv_wscale == 10
    tcp.drain()
    assert sock.inside.rcv_wnd == 100_000 >> 10 << 10


def test_a_scale_of_zero_is_still_an_answer(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 7323 2.2: it enables the peer's scale."""
    sock = tcp.established(rcvbuf=30_000, wscale=5, wnd=65_535)
    assert (sock.inside.snd_wscale, sock.inside.rcv_wscale) == (5, 0)
    peer.sends(wnd=1 << 20)
    assert sock.inside.snd_wnd == 1 << 20


# ---- sending -------------------------------------------------------------------------------------


def transfers_rounds(tcp: Tcp, sock: Sock, rounds: int, wnd: int, rtt: str = "20ms") -> None:
    """A sender that is never short of data; all in flight is acknowledged once in a round trip."""
    for _ in range(rounds):
        while sock.writable:
            tcp.sends(sock, 1 << 16)
        tcp.drain(rtt)
        tcp.peer.sends(wnd=wnd)


def test_the_send_queue_follows_the_congestion_window(tcp: Tcp) -> None:
    sock = tcp.established(wscale=8, wnd=8 << 20, sack=True)
    assert sock.get("sndbuf") == DEFAULT
    transfers_rounds(tcp, sock, 6, 8 << 20)
    assert sock.inside.cwnd > DEFAULT
    assert sock.inside.sndbuf == sock.get("sndbuf") == 2 * sock.inside.cwnd
    while sock.writable:
        tcp.sends(sock, 1 << 16)
    assert sock.unacked > DEFAULT


@pytest.mark.parametrize(
    ("rtt", "most"), [("0ms", 2 << 20), ("0.1ms", 2 << 20), ("0.15ms", 2_400_000)]
)
def test_on_a_local_path_the_queue_stays_in_the_cache(tcp: Tcp, rtt: str, most: int) -> None:
    """2 MB, or what 64 Gbit/s carry in two round trips, however far the window has grown."""
    sock = tcp.connects()
    tcp.expects("S", seq=0)
    tcp.run(rtt)
    tcp.peer.sends("SA", seq=0, ack=1, mss=1460, wscale=10, sack_ok=True)
    tcp.peer.shift = 10
    tcp.drain()
    transfers_rounds(tcp, sock, 8, 60 << 20, rtt)
    assert 2 * sock.inside.cwnd > most
    assert most <= sock.inside.sndbuf <= most * 1.01


def test_a_path_that_turns_out_to_be_far_has_the_queue_it_needs(tcp: Tcp) -> None:
    """Something near answered the SYN, and the data goes to somebody else."""
    sock = tcp.established(wscale=10, wnd=60 << 20, sack=True)
    transfers_rounds(tcp, sock, 8, 60 << 20)
    assert sock.inside.sndbuf == 2 * sock.inside.cwnd > 2 << 20


def test_so_sndbuf_fixes_the_send_queue(tcp: Tcp) -> None:
    sock = tcp.established(wscale=8, wnd=8 << 20, sndbuf=200_000)
    transfers_rounds(tcp, sock, 8, 8 << 20)
    assert sock.inside.sndbuf == 200_000
    assert sock.inside.cwnd <= 500_000, "and with it what is in flight"


def test_the_send_queue_stops_at_the_maximum(world: World) -> None:
    tcp = Tcp(Wire(world, send_buffer=(2048, 50_000, 120_000)))
    sock = tcp.established(wscale=8, wnd=8 << 20)
    transfers_rounds(tcp, sock, 8, 8 << 20)
    assert sock.inside.sndbuf == 120_000


def test_after_a_timeout_the_queue_is_not_filled_beyond_the_default(tcp: Tcp) -> None:
    sock = tcp.established(wscale=8, wnd=8 << 20)
    transfers_rounds(tcp, sock, 6, 8 << 20)
    while sock.writable:
        tcp.sends(sock, 1 << 16)
    tcp.drain("1s")
    assert sock.inside.sndbuf == DEFAULT < sock.unacked
    with pytest.raises(BlockingIOError):
        tcp.sends(sock, 1)
