"""Listeners: the bounds of their two queues, what brings a child up, and how children live on."""

from __future__ import annotations

import pytest
from barewire.stack.tcp import Flags

from tests.kit.peer import Tcp, TcpPeer
from tests.kit.wire import Wire
from tests.kit.world import World


def test_a_full_accept_queue_drops_syns(tcp: Tcp, peer: TcpPeer) -> None:
    """As on Linux, backlog + 1 connections wait; a SYN more gets no answer, and comes again."""
    listener = tcp.listens(backlog=2)
    for i in range(3):
        other = tcp.another_peer(6000 + i)
        other.sends("S", seq=0)
        tcp.expects("SA", to=other)
        other.sends("A", seq=1, ack=1)
    with tcp.counts("drop_tcp_accept_queue_full"):
        peer.sends("S", seq=0)
    tcp.expects_nothing()
    listener.accept()
    peer.sends("S", seq=0)
    tcp.expects("SA", seq=0)


def test_defer_accept_waits_for_data(tcp: Tcp, peer: TcpPeer) -> None:
    """tcp(7): the bare ACK does not bring the child up until that many seconds are over."""
    listener = tcp.listens(defer_accept=5)
    peer.sends("S", seq=0)
    tcp.expects("SA", seq=0, ack=1)
    peer.sends(ack=1)
    assert not listener.readable
    peer.sends(ack=1, len=10)
    assert listener.readable
    tcp.drain()
    tcp.reads(listener.accept(), 10)
    silent = tcp.another_peer(6000)
    silent.sends("S", seq=0)
    tcp.expects("SA", to=silent)
    tcp.drain("6s", to=silent)
    silent.sends(ack=1)
    assert listener.readable


def test_a_deferred_childs_answer_goes_again_when_the_time_is_over(tcp: Tcp, peer: TcpPeer) -> None:
    """What was acknowledged is not repeated meanwhile; then once more, for the ACK that opens."""
    listener = tcp.listens(defer_accept=5)
    peer.sends("S", seq=0)
    tcp.expects("SA", seq=0, ack=1)
    tcp.run("20ms")
    peer.sends(ack=1)
    tcp.expects("SA", seq=0, ack=1, after="4.98s")
    peer.sends(ack=1)
    assert listener.readable
    sock = listener.accept()
    assert sock.inside.cwnd >= 10 * 536, "no loss"
    assert sock.info.tcpi_rtt == 20_000, "of the ACK that came first"


def test_a_child_waits_until_there_is_room_in_the_accept_queue(tcp: Tcp, peer: TcpPeer) -> None:
    listener = tcp.listens(backlog=0)
    peers = [tcp.another_peer(6000 + i) for i in range(2)]
    for other in peers:
        other.sends("S", seq=0)
        tcp.expects("SA", to=other)
    peers[0].sends("A", seq=1, ack=1)
    with tcp.counts("drop_tcp_accept_queue_full"):
        peers[1].sends("A", seq=1, ack=1)
    listener.accept()
    assert not listener.readable
    tcp.expects("SA", seq=0, to=peers[1], after="1s")
    peers[1].sends("A", seq=1, ack=1)
    assert listener.accept().peer == (peer.address, 6001)


def test_half_open_children_are_bounded(world: World) -> None:
    tcp = Tcp(Wire(world, syn_cookies=0))
    peer = tcp.peer
    tcp.listens(backlog=1)
    for i in range(128):
        other = tcp.another_peer(6000 + i)
        other.sends("S", seq=0)
        tcp.expects("SA", to=other)
    with tcp.counts("drop_tcp_syn_queue_full"):
        peer.sends("S", seq=0)
    tcp.expects_nothing()


def test_closing_a_listener_resets_whom_nobody_accepted(tcp: Tcp, peer: TcpPeer) -> None:
    listener = tcp.listens()
    peer.sends("S", seq=0)
    tcp.expects("SA")
    peer.sends("A", seq=1, ack=1)
    other = tcp.another_peer(6000)
    other.sends("S", seq=0)
    tcp.expects("SA", to=other)
    tcp.closes(listener)
    resets = {p.tcp.dport: p.tcp.flags & Flags.RST for p in tcp.drain() if p.tcp}
    assert resets == {peer.port: Flags.RST}, (
        "what is half open hears of it when it speaks, as on Linux"
    )
    assert tcp.stack.stats()["sockets"] == 0
    other.sends("A", seq=1, ack=1)
    tcp.expects("R", to=other)


def test_an_accepted_socket_lives_on_without_its_listener(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    assert tcp._listener is not None
    tcp.closes(tcp._listener)
    peer.sends(len=10)
    tcp.expects("A", ack=11)
    tcp.reads(sock, 10)


def test_children_take_the_listeners_options(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(nodelay=1, keepalive=1, keepidle=33, rcvbuf=50_000)
    assert [sock.get(o) for o in ("nodelay", "keepalive", "keepidle", "rcvbuf")] == [
        1,
        1,
        33,
        50_000,
    ]


@pytest.mark.parametrize("flags", ["SF", "SFP", "SFU"])
@pytest.mark.parametrize("cookies", [0, 2])
def test_a_connection_that_ends_as_it_begins(world: World, flags: str, cookies: int) -> None:
    """SYN and FIN together: dropped, as Linux does; no stack sends them."""
    tcp = Tcp(Wire(world, syn_cookies=cookies))
    tcp.listens()
    with tcp.counts("drop_tcp_syn_with_fin"):
        tcp.peer.sends(flags, seq=0)
    tcp.expects_nothing("1min")
    tcp.peer.begin()
    tcp.peer.sends("SPU", seq=0)
    tcp.expects("SA", ack=1)


def test_a_time_wait_is_not_ended_by_syn_and_fin(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.listens()
    sock = tcp.established()
    sock.shutdown()
    tcp.run("0s")
    peer.sends("FA", ack=2)
    tcp.drain()
    peer.sends("SF", seq=100_000)
    assert sock.state == "TIME_WAIT"


@pytest.mark.parametrize("option", ["nodelay", "cork"])
def test_options_of_the_stream_send_nothing(tcp: Tcp, option: str) -> None:
    """They are for the connections to come: the listener has no peer, and no error."""
    server = tcp.listens()
    server.set(**{option: 1})
    server.set(**{option: 0})
    tcp.expects_nothing("1s")
    assert server.take_error() == 0
