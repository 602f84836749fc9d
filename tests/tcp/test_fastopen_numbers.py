"""Fast Open with numbers that a peer chooses to hurt: what comes before the handshake ends is used in
arithmetic, too."""

from __future__ import annotations

import pytest

from tests.kit.frames import pattern
from tests.kit.peer import Tcp, TcpPeer
from tests.tcp.test_fastopen import cookie_for, syn
from tests.tcp.test_fastopen_client import fast, learns_cookie


@pytest.mark.parametrize("iss", [0, 1000, 0x7FFFFF00, 0x80000000, 0xFFFFFFFF])
def test_a_read_before_the_handshake_ends_without_timestamps(
    tcp: Tcp, peer: TcpPeer, iss: int
) -> None:
    """The receive buffer's tuning has begun with the child, whatever the peer's first number."""
    listener = tcp.listens(fastopen=16)
    cookie = cookie_for(tcp)
    tcp.run("1s")
    peer.begin(iss)
    syn(peer, cookie, 100)
    tcp.expects("SA", ack=101)
    sock = listener.accept()
    tcp.run("10ms")
    tcp.reads(sock, 100)
    assert sock.info.tcpi_rcv_space > 0
    assert sock.info.tcpi_rcv_rtt == 0, "nothing was measured yet"


@pytest.mark.parametrize("mss", [1, 20, 47, 48, 49, 87])
def test_a_tiny_mss_of_last_time_makes_no_long_syn(tcp: Tcp, peer: TcpPeer, mss: int) -> None:
    """What a server said is no more trusted with its cookie than in a handshake: 48 is the least."""
    learns_cookie(tcp, mss=mss)
    sock = fast(tcp)
    sock.send(pattern(100_000))
    tcp.run("0s")
    tcp.expects("S", seq=0, len=max(mss, 48) - 40)
