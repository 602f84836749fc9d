"""Resets, and the defences of RFC 5961 against blind ones."""

from __future__ import annotations

import errno

import pytest

from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import ERR, HUP


def test_an_exact_reset_ends_the_connection(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    with tcp.counts("tcp_resets_received"):
        peer.sends("R", seq=1)
    assert sock.state == "CLOSED"
    assert sock.ready & (ERR | HUP) == ERR | HUP
    with pytest.raises(ConnectionResetError):
        sock.recv()
    assert sock.recv() == b""
    with pytest.raises(BrokenPipeError):
        sock.send(b"x")
    tcp.expects_nothing("1min")


def test_a_reset_in_the_window_is_challenged(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 5961 3.2."""
    sock = tcp.established()
    with tcp.counts("drop_tcp_rst_not_exact"), tcp.counts("tcp_challenge_acks"):
        peer.sends("R", seq=1000)
    tcp.expects("A", seq=1, ack=1)
    assert sock.state == "ESTABLISHED"


def test_a_reset_behind_the_last_sack_block_is_exact(tcp: Tcp, peer: TcpPeer) -> None:
    """The peer sent it behind its data, of which some was lost (as Linux)."""
    sock = tcp.established(sack=True)
    peer.sends(seq=3001, len=500)
    peer.sends(seq=1001, len=500)
    tcp.drain()
    with tcp.counts("drop_tcp_rst_not_exact"):
        peer.sends("R", seq=1501)
    assert sock.state == "ESTABLISHED"
    with tcp.counts("tcp_resets_received"):
        peer.sends("R", seq=3501)
    assert sock.state == "CLOSED"


@pytest.mark.parametrize("seq", [0, 70_000, 0x8000_0000])
def test_a_reset_outside_the_window_is_dropped(tcp: Tcp, peer: TcpPeer, seq: int) -> None:
    sock = tcp.established()
    with tcp.counts("drop_tcp_out_of_window"):
        peer.sends("R", seq=seq)
    tcp.expects_nothing("1min")
    assert sock.state == "ESTABLISHED"


def test_a_reset_at_a_closed_window_counts_if_exact(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(rcvbuf=2048)
    for _ in range(3):
        peer.sends(len=1000)
    tcp.drain()
    seq = sock.unread + 1
    peer.sends("R", seq=seq)
    assert sock.state == "CLOSED"


def test_unread_data_may_still_be_read_after_a_reset(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    peer.sends(len=100)
    tcp.expects("A", ack=101)
    peer.sends("R", seq=101)
    tcp.reads(sock, 100)
    with pytest.raises(ConnectionResetError):
        sock.recv()


def test_a_reset_with_timestamps_out_of_date_still_counts(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 7323 5.2: PAWS is not applied to resets."""
    sock = tcp.established(ts=True)
    peer.sends("R", seq=1, ts=(1, 0))
    assert sock.state == "CLOSED"


def test_a_reset_in_close_wait_is_a_broken_pipe(tcp: Tcp, peer: TcpPeer) -> None:
    """As Linux."""
    sock = tcp.established()
    peer.sends("FA")
    tcp.expects("A")
    peer.sends("R")
    assert sock.take_error() == errno.EPIPE


@pytest.mark.parametrize("state", ["CLOSING", "LAST_ACK"])
def test_a_reset_at_the_end(tcp: Tcp, peer: TcpPeer, state: str) -> None:
    """As on Linux: SO_ERROR tells of it; what came before the FIN was all there was to read."""
    sock = tcp.established()
    if state == "LAST_ACK":
        peer.sends("FA")
    sock.shutdown()
    tcp.run("0s")
    if state == "CLOSING":
        peer.sends("FA", ack=1)
    tcp.drain()
    assert sock.state == state
    peer.sends("R", seq=2)
    assert (sock.state, sock.recv(), sock.take_error()) == ("CLOSED", b"", errno.ECONNRESET)


@pytest.mark.parametrize("state", ["CLOSE_WAIT", "CLOSING", "LAST_ACK"])
def test_a_reset_with_the_fins_own_number(tcp: Tcp, peer: TcpPeer, state: str) -> None:
    """As on Linux: of a peer that sent a FIN and was gone before our ACK of it came."""
    sock = tcp.established()
    if state != "CLOSING":
        peer.sends("FA")
    if state != "CLOSE_WAIT":
        sock.shutdown()
    tcp.run("0s")
    if state == "CLOSING":
        peer.sends("FA", ack=1)
    tcp.drain()
    peer.sends("R", seq=0)
    assert sock.state == state, "older than that it is no reset"
    with tcp.counts("tcp_resets_received"):
        peer.sends("R", seq=1)
    wanted = errno.EPIPE if state == "CLOSE_WAIT" else errno.ECONNRESET
    assert (sock.state, sock.take_error()) == ("CLOSED", wanted)


def test_before_a_fin_a_reset_with_an_old_number_is_none(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    peer.sends(len=100)
    tcp.drain()
    with tcp.counts("drop_tcp_out_of_window"):
        peer.sends("R", seq=100)
    assert sock.state == "ESTABLISHED"


def test_a_syn_in_the_window_is_challenged(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 5961 4.2, in any synchronized state."""
    sock = tcp.established()
    with tcp.counts("drop_tcp_syn_in_window"), tcp.counts("tcp_challenge_acks"):
        peer.sends("S", seq=1)
    tcp.expects("A", seq=1, ack=1)
    assert sock.state == "ESTABLISHED"


def test_a_syn_outside_the_window_is_answered_too(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    peer.sends("S", seq=0x8000_0000)
    tcp.expects("A", seq=1, ack=1)
    assert sock.state == "ESTABLISHED"


@pytest.mark.parametrize("ack", [2, 100_000, -70_000 & 0xFFFFFFFF])
def test_an_unacceptable_ack_is_challenged(tcp: Tcp, peer: TcpPeer, ack: int) -> None:
    """RFC 5961 5.2: of the future, or older than the largest window."""
    sock = tcp.established()
    with tcp.counts("drop_tcp_unacceptable_ack"), tcp.counts("tcp_challenge_acks"):
        peer.sends(seq=1, ack=ack, len=100)
    tcp.expects("A", seq=1, ack=1)
    assert sock.unread == 0, "its data is not taken either"


def test_an_old_ack_with_data_is_taken(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    tcp.sends(sock, 1000)
    tcp.expects(seq=1, len=1000)
    peer.sends(ack=1001)
    peer.sends(ack=1, len=100)
    tcp.expects("A", ack=101)
    tcp.reads(sock, 100)


def test_a_segment_without_ack_is_dropped(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    with tcp.counts("drop_tcp_segment_without_ack"):
        peer.sends("", len=100)
    tcp.expects_nothing("1s")
    assert sock.unread == 0


def test_challenge_acks_are_limited(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 5961 section 7: ten in five seconds, a budget of each connection."""
    tcp.established()
    with tcp.counts("tcp_challenge_acks", 10):
        for i in range(100):
            peer.sends("R", seq=1000 + i)
    assert len(tcp.drain()) == 10
    other = tcp.another_peer(6000)
    tcp.established(peer=other)
    other.sends("R", seq=1000)
    tcp.expects("A", to=other)
    tcp.run("6s")
    peer.sends("R", seq=1000)
    tcp.expects("A")


def test_abort_of_a_connection_with_data_in_flight(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    tcp.sends(sock, 2920)
    tcp.drain()
    sock.abort()
    tcp.run("0s")
    tcp.expects("RA", seq=2921, ack=1)
    assert tcp.stack.stats()["memory_chunks"] == 0
