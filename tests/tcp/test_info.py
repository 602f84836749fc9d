"""TCP_INFO's figures in scripted scenarios: what each of them counts."""

from __future__ import annotations

from typing import Any

import pytest
from barewire import TcpInfo

from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import Sock

MSS = 1460


def info(sock: Sock) -> TcpInfo:
    return sock.info


def figures(sock: Sock, *names: str) -> list[int]:
    found = info(sock)
    return [getattr(found, f"tcpi_{name}") for name in names]


def opened(tcp: Tcp, **offer: Any) -> Sock:
    conn = tcp.established(**offer)
    tcp.run("1ms")
    return conn


def test_a_fresh_connection(tcp: Tcp, peer: TcpPeer) -> None:
    conn = opened(tcp, wscale=7, sack=True, ts=True, active=True)
    found = info(conn)
    assert (found.tcpi_state, found.tcpi_ca_state, found.tcpi_options) == (1, 0, 7)
    assert found.tcpi_snd_wscale == 7 and found.tcpi_rcv_wscale > 0
    assert (found.tcpi_snd_mss, found.tcpi_snd_cwnd) == (MSS - 12, 10)
    assert (found.tcpi_advmss, found.tcpi_pmtu) == (1448, 1500)
    assert found.tcpi_snd_ssthresh == 2**31 - 1
    assert (found.tcpi_bytes_acked, found.tcpi_delivered) == (1, 1), "the SYN"
    assert (found.tcpi_segs_out, found.tcpi_segs_in) == (2, 1)


def test_what_is_on_the_way(tcp: Tcp, peer: TcpPeer) -> None:
    """Twelve segments for a window of ten; three of them sacked, the first lost and sent again."""
    conn = opened(tcp, sack=True)
    tcp.sends(conn, 12 * MSS)
    tcp.drain()
    assert figures(conn, "unacked", "notsent_bytes", "data_segs_out") == [10, 2 * MSS, 10]
    tcp.run("20ms")
    peer.sends(ack=1, sack=[(1 + MSS, 1 + 4 * MSS)])
    tcp.drain()
    found = info(conn)
    assert (found.tcpi_ca_state, found.tcpi_sacked, found.tcpi_retrans) == (3, 3, 1)
    assert (found.tcpi_total_retrans, found.tcpi_bytes_retrans) == (1, MSS)
    assert found.tcpi_delivered == 1 + 3
    assert found.tcpi_snd_ssthresh < 10
    peer.sends(ack=peer.got)
    tcp.drain("300ms")
    peer.sends(ack=peer.got)
    found = info(conn)
    assert (found.tcpi_ca_state, found.tcpi_unacked, found.tcpi_retrans) == (0, 0, 0)
    assert found.tcpi_bytes_acked == 12 * MSS
    assert found.tcpi_bytes_sent == 12 * MSS + found.tcpi_bytes_retrans


def test_what_came(tcp: Tcp, peer: TcpPeer) -> None:
    conn = opened(tcp, sack=True)
    peer.sends("A", seq=1, len=100)
    peer.sends("A", seq=201, len=100)
    peer.sends("A", seq=101, len=100)
    peer.sends("FA", seq=301)
    tcp.drain()
    names = ("bytes_received", "data_segs_in", "rcv_ooopack", "segs_in", "rcv_mss")
    assert figures(conn, *names) == [301, 3, 1, 5, 536]


def test_the_windows_of_both(tcp: Tcp, peer: TcpPeer) -> None:
    conn = opened(tcp, wnd=5000)
    found = info(conn)
    assert found.tcpi_snd_wnd == 5000
    assert found.tcpi_rcv_wnd == conn.inside.rcv_wnd > 0


def test_round_trips(tcp: Tcp, peer: TcpPeer) -> None:
    conn = opened(tcp)
    assert info(conn).tcpi_min_rtt < 2000
    for _ in range(40):
        tcp.sends(conn, 10)
        tcp.drain("30ms")
        peer.sends()
    found = info(conn)
    assert abs(found.tcpi_rtt - 30_000) < 300
    assert found.tcpi_rto >= 200_000
    assert found.tcpi_delivered == 41


@pytest.mark.parametrize("kept", [0, 5], ids=["at once", "after answers"])
def test_a_time_out(tcp: Tcp, peer: TcpPeer, kept: int) -> None:
    conn = opened(tcp)
    tcp.transfers(conn, kept)
    tcp.sends(conn, 10)
    tcp.drain("2s")
    found = info(conn)
    assert (found.tcpi_ca_state, found.tcpi_total_rto_recoveries) == (4, 1)
    assert found.tcpi_total_rto == found.tcpi_retransmits == found.tcpi_backoff >= 1
    assert found.tcpi_total_rto_time > 0
    peer.sends(ack=peer.got)
    spent = info(conn).tcpi_total_rto_time
    tcp.run("1s")
    found = info(conn)
    assert (found.tcpi_total_rto_time, found.tcpi_retransmits) == (spent, 0)


def test_a_dsack(tcp: Tcp, peer: TcpPeer) -> None:
    conn = opened(tcp, sack=True)
    tcp.sends(conn, 2 * MSS)
    tcp.drain()
    peer.sends(ack=1 + 2 * MSS, sack=[(1, 1 + MSS)])
    assert figures(conn, "dsack_dups") == [1]


def test_reordering(tcp: Tcp, peer: TcpPeer) -> None:
    conn = opened(tcp, sack=True)
    tcp.sends(conn, 2 * MSS)
    tcp.drain()
    peer.sends(ack=1, sack=[(1 + MSS, 1 + 2 * MSS)])
    peer.sends(ack=1 + 2 * MSS)
    assert figures(conn, "reord_seen", "total_retrans") == [1, 0]


def test_what_limits_the_sender(tcp: Tcp, peer: TcpPeer) -> None:
    """A second idle, one busy, one at the peer's window."""
    conn = opened(tcp, wnd=1000)
    tcp.run("1s")
    assert figures(conn, "busy_time", "rwnd_limited", "sndbuf_limited") == [0, 0, 0]
    tcp.sends(conn, 500)
    tcp.run("100ms")
    tcp.drain()
    assert figures(conn, "busy_time", "rwnd_limited") == [100_000, 0]
    tcp.sends(conn, 800)
    tcp.drain("50ms")
    assert figures(conn, "busy_time", "rwnd_limited") == [150_000, 50_000]
    peer.sends(ack=peer.got, wnd=10_000)
    tcp.drain()
    peer.sends()
    tcp.run("1s")
    assert figures(conn, "busy_time", "rwnd_limited", "sndbuf_limited") == [150_000, 50_000, 0]


def test_a_small_send_buffer_limits_too(tcp: Tcp, peer: TcpPeer) -> None:
    conn = opened(tcp, sndbuf=4096)
    tcp.sends(conn, 10_000)
    tcp.drain("50ms")
    assert figures(conn, "busy_time", "rwnd_limited", "sndbuf_limited") == [50_000, 0, 50_000]


def test_the_delivery_rate(tcp: Tcp, peer: TcpPeer) -> None:
    """Ten segments acknowledged after 20 ms."""
    conn = opened(tcp)
    tcp.sends(conn, 10 * MSS)
    tcp.drain("20ms")
    peer.sends()
    found = info(conn)
    assert found.tcpi_delivery_rate == 10 * MSS * 50
    assert found.tcpi_delivered == 11


def test_the_degree_of_reordering(tcp: Tcp, peer: TcpPeer) -> None:
    """Segments that overtook the first one; after a time-out with much sacked it was overestimated."""
    conn = opened(tcp, sack=True)
    tcp.sends(conn, 8 * MSS)
    tcp.drain()
    assert figures(conn, "reordering") == [3]
    peer.sends(ack=1, sack=[(1 + 6 * MSS, 1 + 7 * MSS)])
    peer.sends(ack=1 + 7 * MSS)
    assert figures(conn, "reordering", "reord_seen") == [7, 1]


def test_ages_count_from_the_handshake(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.run("1min")
    conn = opened(tcp)
    tcp.run("5s")
    assert figures(conn, "last_data_sent", "last_data_recv", "last_ack_recv") == [5001] * 3


def test_windows_are_whole_segments(tcp: Tcp, peer: TcpPeer) -> None:
    """14,600 bytes are ten of 1,448; the wire shows ten."""
    conn = opened(tcp, ts=True)
    tcp.sends(conn, 30 * MSS)
    assert sum(len(p.tcp.payload) for p in tcp.drain() if p.tcp) == 10 * (MSS - 12)
    assert figures(conn, "snd_cwnd", "unacked") == [10, 10]


def test_a_socket_that_connects_again_counts_from_the_start(tcp: Tcp, peer: TcpPeer) -> None:
    conn = opened(tcp, active=True)
    tcp.transfers(conn, 1000)
    peer.sends("RA")
    with pytest.raises(ConnectionResetError):
        conn.recv()
    peer.begin()
    tcp.connects_again(conn)
    tcp.expects("S")
    assert figures(conn, "bytes_acked", "bytes_sent", "segs_out", "segs_in") == [0, 0, 1, 0]
