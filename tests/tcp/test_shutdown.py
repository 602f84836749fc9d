"""shutdown(): while a connection is being opened, and what happens to data that nobody will read."""

from __future__ import annotations

import errno

import pytest

from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import ERR, HUP, IN, OUT, RDHUP, Sock

RD, WR, RDWR = 0, 1, 2


# ---- while connecting ----------------------------------------------------------------------------


@pytest.mark.parametrize("how", [RD, WR, RDWR])
def test_while_connecting(tcp: Tcp, peer: TcpPeer, how: int) -> None:
    """As on Linux: the attempt ends with ECONNRESET, and a late answer belongs to nobody."""
    sock = tcp.connects()
    tcp.expects("S", seq=0)
    sock.shutdown(how)
    assert (sock.state, sock.ready) == ("CLOSED", ERR | HUP | OUT)
    peer.sends("SA", seq=0, ack=1)
    tcp.expects("R", seq=1)
    assert (sock.take_error(), sock.ready) == (errno.ECONNRESET, HUP | OUT)
    with pytest.raises(OSError) as caught:
        sock.recv()
    assert caught.value.errno == errno.ENOTCONN
    with pytest.raises(BrokenPipeError):
        sock.send(b"x")
    with pytest.raises(OSError) as caught:
        sock.shutdown(how)
    assert caught.value.errno == errno.ENOTCONN, "there is no connection any more"
    tcp.expects_nothing("4min")


def test_it_may_connect_again(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.connects()
    tcp.expects("S", seq=0)
    sock.shutdown(RDWR)
    peer.begin()
    sock.connect(peer.address, peer.port)
    assert sock.ready == 0, "the error was of the attempt before"
    tcp.expects("S", seq=0)
    peer.sends("SA", seq=0, ack=1)
    tcp.expects("A", seq=1, ack=1)
    peer.sends(len=10)
    tcp.drain()
    tcp.reads(sock, 10)


def test_what_a_refused_socket_says_afterwards(tcp: Tcp, peer: TcpPeer) -> None:
    """As on Linux: the error once, then the end of what there is to read."""
    sock = tcp.connects()
    tcp.expects("S", seq=0)
    peer.sends("RA", seq=0, ack=1)
    assert sock.ready == IN | OUT | ERR | HUP | RDHUP
    with pytest.raises(ConnectionRefusedError):
        sock.recv()
    assert (sock.recv(), sock.ready) == (b"", IN | OUT | HUP | RDHUP)


# ---- data that nobody will read --------------------------------------------------------------------


def shut(tcp: Tcp, how: str) -> Sock:
    """A connection that will not be read any more; its FIN is on the wire."""
    sock = tcp.established(active=True)
    if how == "close":
        sock.close()
    else:
        sock.shutdown(RDWR)
    tcp.expects("FA", seq=1)
    return sock


@pytest.mark.parametrize("acked", [False, True], ids=["FIN_WAIT_1", "FIN_WAIT_2"])
@pytest.mark.parametrize("data", ["in order", "ahead", "with FIN"])
@pytest.mark.parametrize("how", ["shutdown", "close"])
def test_data_is_answered_with_a_reset(
    tcp: Tcp, peer: TcpPeer, how: str, data: str, acked: bool
) -> None:
    """RFC 1122 4.2.2.13; the reset has the number that the peer waits for."""
    sock = shut(tcp, how)
    ack = 2 if acked else 1
    if acked:
        peer.sends(ack=2)
    with tcp.counts("drop_tcp_data_after_close"), tcp.counts("tcp_resets_sent"):
        flags = "FPA" if data == "with FIN" else "PA"
        peer.sends(flags, seq=101 if data == "ahead" else 1, ack=ack, len=10)
    tcp.expects("R", seq=ack)
    if how == "shutdown":
        assert sock.state == "CLOSED"
        with pytest.raises(ConnectionResetError):
            sock.recv()
        assert sock.recv() == b""
    peer.sends(seq=1, ack=ack, len=10)
    tcp.expects("R", seq=ack, why="it is nobody's any more")


def test_old_data_and_a_fin_are_acknowledged(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(active=True)
    peer.sends(len=10)
    tcp.drain()
    tcp.reads(sock, 10)
    sock.shutdown(RDWR)
    tcp.expects("FA", seq=1)
    peer.sends("PA", seq=1, ack=2, len=10)
    tcp.expects("A", ack=11)
    peer.sends("FA", seq=11, ack=2)
    tcp.expects("A", ack=12)
    assert (sock.state, sock.take_error()) == ("TIME_WAIT", 0)


def test_what_came_before_can_be_read_after_the_reset(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(active=True)
    peer.sends(len=10)
    tcp.drain()
    sock.shutdown(RDWR)
    tcp.expects("FA", seq=1)
    peer.sends("PA", seq=11, ack=2, len=10)
    tcp.expects("R", seq=2)
    tcp.reads(sock, 10)
    with pytest.raises(ConnectionResetError):
        sock.recv()


@pytest.mark.parametrize("how", [RD, WR])
def test_half_a_shutdown_still_reads(tcp: Tcp, peer: TcpPeer, how: int) -> None:
    """SHUT_RD alone as on Linux: what comes is taken and can be read."""
    sock = tcp.established(active=True)
    sock.shutdown(how)
    tcp.drain()
    peer.sends("PA", len=10)
    tcp.expects("A", ack=11)
    tcp.reads(sock, 10)
    assert sock.state == ("ESTABLISHED" if how == RD else "FIN_WAIT_2")
