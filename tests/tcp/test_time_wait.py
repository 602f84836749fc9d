"""TIME-WAIT and its names: RFC 1337, RFC 6191 (the plain cases stand in test_close.py)."""

from __future__ import annotations

from itertools import pairwise

from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import Sock


def time_wait(tcp: Tcp, peer: TcpPeer, ts: bool = False) -> Sock:
    sock = tcp.established(ts=ts)
    sock.shutdown()
    tcp.run("0s")
    tcp.expects("FA", seq=1)
    peer.sends("FA", ack=2)
    tcp.expects("A", seq=2, ack=2)
    return sock


def test_the_same_timestamp_needs_a_higher_sequence_number(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 6191 section 2: two connections within one tick of the clock."""
    sock = time_wait(tcp, peer, ts=True)
    same = (peer.tsval, 0)
    peer.sends("S", seq=1, ts=same)
    tcp.expects("A", seq=2, ack=2)
    assert sock.state == "TIME_WAIT"
    tcp.closes(sock)
    peer.begin(peer.iss + 100_000)
    with tcp.counts("tcp_time_wait_recycled"):
        peer.sends("S", seq=0, ts=same)
        tcp.expects("SA", seq=0, ack=1)


def test_a_syn_without_timestamps_is_judged_by_its_number(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 6191 section 2, though the old connection had them."""
    sock = time_wait(tcp, peer, ts=True)
    peer.sends("S", seq=1, ts=False, mss=1000)
    tcp.expects("A", seq=2, ack=2)
    assert sock.state == "TIME_WAIT"
    tcp.closes(sock)
    peer.begin(peer.iss + 100_000)
    peer.sends("S", seq=0, ts=False, mss=1000)
    tcp.expects("SA", seq=0, ack=1)


def test_timestamps_of_a_name_only_grow(tcp: Tcp, peer: TcpPeer) -> None:
    """So that the peer's TIME-WAIT gives way to our next connection of the same name."""
    tcp.listens()
    seen = []
    for _ in range(3):
        peer.sends("S", seq=0, ts=True, mss=1000)
        answer = tcp.expects("SA", seq=0, ack=1)
        assert answer.tcp is not None and answer.tcp.timestamps is not None
        seen.append(answer.tcp.timestamps[0])
        peer.sends("R", seq=1)
        tcp.run("2s")
        peer.begin(peer.iss + 100_000)
    assert [b - a & 0xFFFFFFFF for a, b in pairwise(seen)] == [2000, 2000]


def test_the_whole_assassination(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 1337 figure 1: an old duplicate comes, our answer makes a peer that knows of nothing send a
    reset, and TIME-WAIT stays all the same."""
    sock = time_wait(tcp, peer)
    with tcp.counts("drop_tcp_out_of_window"):
        peer.sends(seq=1_000_000, len=100)
    answer = tcp.expects("A", seq=2, ack=2)
    assert answer.tcp is not None
    with tcp.counts("drop_tcp_rst_not_exact"):
        peer.sends("R", seq=2)
    assert sock.state == "TIME_WAIT"
    tcp.run("59s")
    assert sock.state == "TIME_WAIT"
    tcp.run("2s")
    assert sock.state == "CLOSED"
