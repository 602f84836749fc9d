"""Closing: RFC 9293 3.6 with both half-closes, TIME-WAIT (RFC 1337, RFC 6191), orphans, linger."""

from __future__ import annotations

import errno

import pytest

from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import HUP, IN, RDHUP, Sock


def sockets(tcp: Tcp) -> int:
    return tcp.stack.stats()["sockets"]


def chunks(tcp: Tcp) -> int:
    return tcp.stack.stats()["memory_chunks"]


def fin_wait_2(tcp: Tcp, peer: TcpPeer) -> Sock:
    sock = tcp.established()
    sock.shutdown()
    tcp.run("0s")
    tcp.expects("FA", seq=1, ack=1)
    peer.sends(ack=2)
    assert sock.state == "FIN_WAIT_2"
    return sock


def test_we_close_first(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    sock.shutdown()
    tcp.run("0s")
    tcp.expects("FA", seq=1, ack=1, len=0)
    assert sock.state == "FIN_WAIT_1"
    peer.sends(ack=2)
    assert sock.state == "FIN_WAIT_2"
    peer.sends("FA")
    tcp.expects("A", seq=2, ack=2)
    assert sock.state == "TIME_WAIT"
    assert sock.recv() == b""
    tcp.closes(sock)
    tcp.run("59s")
    assert sockets(tcp) == 2
    tcp.run("2s")
    assert sockets(tcp) == 1
    tcp.expects_nothing("5min")


def test_the_peer_closes_first(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    peer.sends("FA")
    tcp.expects("A", seq=1, ack=2)
    assert sock.state == "CLOSE_WAIT"
    assert sock.recv() == b""
    assert sock.ready & (IN | RDHUP) == IN | RDHUP
    assert not sock.ready & HUP
    tcp.closes(sock)
    tcp.expects("FA", seq=1, ack=2)
    peer.sends(ack=2)
    tcp.expects_nothing("5min", why="LAST-ACK ends without TIME-WAIT")
    assert sockets(tcp) == 1


def test_a_fin_that_acknowledges_ours(tcp: Tcp, peer: TcpPeer) -> None:
    """FIN-WAIT-1 to TIME-WAIT in one segment."""
    sock = tcp.established()
    sock.shutdown()
    tcp.run("0s")
    tcp.expects("FA", seq=1)
    peer.sends("FA", ack=2)
    tcp.expects("A", seq=2, ack=2)
    assert sock.state == "TIME_WAIT"


def test_simultaneous_close(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 9293 figure 13."""
    sock = tcp.established()
    sock.shutdown()
    tcp.run("0s")
    tcp.expects("FA", seq=1, ack=1)
    peer.sends("FA", ack=1)
    tcp.expects("A", ack=2)
    assert sock.state == "CLOSING"
    peer.sends(ack=2)
    assert sock.state == "TIME_WAIT"
    tcp.expects_nothing()


def test_after_our_half_close_we_still_receive(tcp: Tcp, peer: TcpPeer) -> None:
    sock = fin_wait_2(tcp, peer)
    peer.sends(len=5000)
    tcp.expects("A", ack=5001)
    tcp.reads(sock, 5000)
    with pytest.raises(BrokenPipeError):
        sock.send(b"no more")


def test_after_the_peers_half_close_we_still_send(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(nodelay=1)
    peer.sends("FA")
    tcp.expects("A", ack=2)
    tcp.sends(sock, 3000)
    tcp.expects(seq=1, len=1460)
    tcp.expects(seq=1461, len=1460)
    tcp.expects(seq=2921, len=80)
    peer.sends(ack=3001)
    sock.shutdown()
    tcp.run("0s")
    tcp.expects("FA", seq=3001)
    assert sock.state == "LAST_ACK"
    assert sock.ready & HUP
    peer.sends(ack=3002)
    assert sock.state == "CLOSED"


def test_the_fin_follows_queued_data(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(mss=1000, wnd=1000)
    tcp.sends(sock, 2500)
    sock.shutdown()
    tcp.run("0s")
    tcp.expects("A", seq=1, len=1000)
    peer.sends(ack=1001, wnd=1000)
    tcp.expects("A", seq=1001, len=1000)
    peer.sends(ack=2001, wnd=1000)
    tcp.expects("FA", seq=2001, len=500, why="the FIN travels with the last data")
    peer.sends(ack=2502)
    assert sock.state == "FIN_WAIT_2"


def test_a_fin_with_data(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    peer.sends("FA", len=100)
    tcp.expects("A", ack=102)
    tcp.reads(sock, 100)
    assert sock.recv() == b""


def test_fin_is_retransmitted(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    sock.shutdown()
    tcp.run("0s")
    tcp.expects("FA", seq=1)
    tcp.expects("FA", seq=1, within="1s")
    tcp.expects("FA", seq=1, within="2s")
    peer.sends(ack=2)
    tcp.expects_nothing("1min")
    assert sock.state == "FIN_WAIT_2"


def test_fin_in_closing_and_last_ack_is_retransmitted(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    sock.shutdown()
    tcp.run("0s")
    tcp.expects("FA", seq=1)
    peer.sends("FA", ack=1)
    tcp.expects("A", seq=2, ack=2)
    tcp.expects("FA", seq=1, ack=2, within="1s")
    peer.sends(ack=2)
    assert sock.state == "TIME_WAIT"


def test_last_ack_gives_up(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    peer.sends("FA")
    tcp.expects("A")
    tcp.closes(sock)
    sent = tcp.drain("1h")
    assert len(sent) == 9, "the FIN and eight retransmissions of an orphan"
    assert sockets(tcp) == 1


# ---- TIME-WAIT -----------------------------------------------------------------------------------


def time_wait(tcp: Tcp, peer: TcpPeer, **options: object) -> Sock:
    sock = tcp.established(**options)  # type: ignore[arg-type]
    sock.shutdown()
    tcp.run("0s")
    tcp.expects("FA", seq=1)
    peer.sends("FA", ack=2)
    tcp.expects("A", seq=2, ack=2)
    return sock


def test_time_wait_answers_a_fin_again_and_waits_anew(tcp: Tcp, peer: TcpPeer) -> None:
    sock = time_wait(tcp, peer)
    tcp.run("30s")
    peer.sends("FA", seq=1, ack=2)
    tcp.expects("A", seq=2, ack=2, why="the last ACK was lost")
    tcp.run("59s")
    assert sock.state == "TIME_WAIT"
    tcp.run("2s")
    assert sock.state == "CLOSED"


def test_time_wait_is_not_assassinated(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 1337: a reset is ignored."""
    sock = time_wait(tcp, peer)
    with tcp.counts("drop_tcp_rst_not_exact"):
        peer.sends("R", seq=2)
    tcp.expects_nothing()
    assert sock.state == "TIME_WAIT"


def test_time_wait_outlasts_a_close_that_would_reset(tcp: Tcp, peer: TcpPeer) -> None:
    """Found beside the kernel (seed 107637 of the comparison)."""
    sock = time_wait(tcp, peer)
    sock.set(linger=0)
    tcp.closes(sock)
    tcp.expects_nothing()
    peer.sends("FA", seq=1, ack=2)
    tcp.expects("A", seq=2, ack=2)


def test_time_wait_is_reopened_by_a_higher_sequence_number(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 9293 3.6.1 MAY-2."""
    tcp.closes(time_wait(tcp, peer))
    peer.begin(peer.iss + 100_000)
    with tcp.counts("tcp_time_wait_recycled"):
        peer.sends("S", seq=0)
        tcp.expects("SA", seq=0, ack=1)
    peer.sends(seq=1, ack=1)
    assert tcp._listener is not None
    assert [tcp._listener.accept().state for _ in range(1)] == ["ESTABLISHED"]


def test_time_wait_is_not_reopened_by_an_old_sequence_number(tcp: Tcp, peer: TcpPeer) -> None:
    sock = time_wait(tcp, peer)
    peer.sends("S", seq=-1000 & 0xFFFFFFFF)
    tcp.expects("A", seq=2, ack=2)
    assert sock.state == "TIME_WAIT"


def test_time_wait_is_reopened_by_a_newer_timestamp(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 6191 section 2: then even with a lower sequence number."""
    tcp.closes(time_wait(tcp, peer, ts=True))
    peer.begin(peer.iss - 100_000)
    tcp.run("10ms")
    peer.sends("S", seq=0, ts=(peer.tsval, 0))
    tcp.expects("SA", seq=0, ack=1)


def test_time_wait_is_not_reopened_by_an_older_timestamp(tcp: Tcp, peer: TcpPeer) -> None:
    sock = time_wait(tcp, peer, ts=True)
    stale = peer.tsval - 1000
    peer.next = 100_000
    peer.sends("S", seq=100_000, ts=(stale, 0))
    tcp.expects("A", seq=2, ack=2)
    assert sock.state == "TIME_WAIT"


def test_the_reopened_connection_begins_beyond_the_old_one(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 9293 3.6.1 (1): our new ISN is above what the old connection used."""
    sock = tcp.established()
    tcp.transfers(sock, 40_000)
    sock.shutdown()
    tcp.run("0s")
    tcp.expects("FA", seq=40_001)
    peer.sends("FA", ack=40_002)
    tcp.expects("A")
    tcp.closes(sock)
    last = peer.irs + 40_002
    peer.begin(peer.iss + 100_000)
    peer.sends("S", seq=0)
    answer = tcp.expects("SA", seq=0, ack=1)
    assert answer.tcp is not None
    assert (answer.tcp.seq - last) & 0xFFFFFFFF < 1 << 31


# ---- orphans -------------------------------------------------------------------------------------


def test_an_orphan_leaves_fin_wait_2_after_a_minute(tcp: Tcp, peer: TcpPeer) -> None:
    sock = fin_wait_2(tcp, peer)
    tcp.closes(sock)
    tcp.run("59s")
    assert sockets(tcp) == 2
    tcp.run("2s")
    assert sockets(tcp) == 1
    peer.sends("FA")
    tcp.expects("R", seq=2)


def test_linger2_sets_that_time(tcp: Tcp, peer: TcpPeer) -> None:
    sock = fin_wait_2(tcp, peer)
    sock.set(linger2=5)
    tcp.closes(sock)
    tcp.run("6s")
    assert sockets(tcp) == 1


def test_fin_wait_2_with_its_user_waits_for_ever(tcp: Tcp, peer: TcpPeer) -> None:
    sock = fin_wait_2(tcp, peer)
    tcp.expects_nothing("3h")
    assert sock.state == "FIN_WAIT_2"


def test_a_closed_socket_delivers_what_it_was_given(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(wnd=1460)
    tcp.sends(sock, 4000)
    tcp.closes(sock)
    tcp.expects(seq=1, len=1460)
    peer.sends(ack=1461)
    tcp.expects(seq=1461, len=1460)
    peer.sends(ack=2921)
    tcp.expects("FA", seq=2921, len=1080)
    peer.sends("FA", ack=4002)
    tcp.expects("A", ack=2)
    assert chunks(tcp) == 0


def test_data_for_an_orphan_resets(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 9293 3.10.4, RFC 2525 2.17: nobody will ever read it."""
    sock = fin_wait_2(tcp, peer)
    tcp.closes(sock)
    with tcp.counts("drop_tcp_data_after_close"):
        peer.sends(len=100)
    tcp.expects("R", seq=2)
    assert sockets(tcp) == 1


def test_closing_with_unread_data_resets(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 2525 2.17."""
    sock = tcp.established()
    peer.sends(len=100)
    tcp.expects("A", ack=101)
    tcp.closes(sock)
    tcp.expects("RA", seq=1, ack=101)
    tcp.expects_nothing("1min")
    assert (sockets(tcp), chunks(tcp)) == (1, 0)


def test_linger_0_resets(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(wnd=100)
    tcp.sends(sock, 1000)
    tcp.expects(seq=1, len=100)
    sock.set(linger=0)
    tcp.closes(sock)
    tcp.expects("RA", seq=101)
    assert (sockets(tcp), chunks(tcp)) == (1, 0)


def test_closing_in_syn_sent_says_nothing(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.connects()
    tcp.expects("S")
    tcp.closes(sock)
    tcp.expects_nothing("1min")
    assert sockets(tcp) == 0


def test_shutdown_before_the_connection_is_there(tcp: Tcp, peer: TcpPeer) -> None:
    with pytest.raises(OSError, match="connected") as caught:
        tcp.wire.tcp().shutdown()
    assert caught.value.errno == errno.ENOTCONN


def test_shutdown_of_reading(tcp: Tcp, peer: TcpPeer) -> None:
    """As Linux: read says end, the peer learns nothing."""
    sock = tcp.established()
    sock.shutdown(0)
    tcp.expects_nothing()
    assert sock.recv() == b""


def test_unread_data_survives_the_peers_fin(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    peer.sends(len=3000)
    tcp.expects("A", ack=3001)
    peer.sends("FA")
    tcp.expects("A", ack=3002)
    tcp.reads(sock, 2000)
    tcp.reads(sock, 1000, at=2000)
    assert sock.recv() == b""


def test_all_memory_comes_back(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(sack=True)
    tcp.transfers(sock, 50_000)
    peer.sends(len=1000)
    peer.sends(seq=3001, len=1000)
    tcp.drain()
    peer.sends(seq=1001, len=2000)
    tcp.reads(sock, 4000)
    tcp.drain()
    sock.close()
    tcp.run("0s")
    tcp.expects("FA", seq=50_001)
    peer.sends("FA", seq=4001, ack=50_002)
    tcp.expects("A")
    assert chunks(tcp) == 0
    tcp.run("2min")
    assert sockets(tcp) == 1
