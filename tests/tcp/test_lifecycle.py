"""The end of connections: every state has an exit, orphans are bounded, a failure always surfaces."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import ERR, HUP, IN, OUT, Sock
from tests.kit.wire import Wire
from tests.kit.world import World


def in_use(tcp: Tcp) -> dict[str, int]:
    stats = tcp.stack.stats()
    return {name: stats[name] for name in ("sockets", "orphans", "memory_chunks")}


# ---- every state has an exit though the peer is gone ---------------------------------------------


def syn_sent(tcp: Tcp, peer: TcpPeer) -> Sock:
    sock = tcp.connects()
    tcp.expects("S")
    return sock


def syn_rcvd(tcp: Tcp, peer: TcpPeer) -> Sock:
    """Simultaneous open; the peer's SYN,ACK never comes."""
    sock = syn_sent(tcp, peer)
    peer.sends("S", seq=0, mss=1000)
    tcp.expects("SA", ack=1)
    return sock


def established(tcp: Tcp, peer: TcpPeer) -> Sock:
    sock = tcp.established(active=True)
    tcp.sends(sock, 3000)
    return sock


def established_zero_window(tcp: Tcp, peer: TcpPeer) -> Sock:
    sock = tcp.established(active=True, wnd=0)
    tcp.sends(sock, 3000)
    return sock


def fin_wait_1(tcp: Tcp, peer: TcpPeer) -> Sock:
    sock = tcp.established(active=True)
    sock.shutdown()
    tcp.run("0s")
    tcp.expects("FA")
    return sock


def fin_wait_2(tcp: Tcp, peer: TcpPeer) -> Sock:
    sock = fin_wait_1(tcp, peer)
    peer.sends(ack=2)
    return sock


def closing(tcp: Tcp, peer: TcpPeer) -> Sock:
    sock = fin_wait_1(tcp, peer)
    peer.sends("FA", ack=1)
    return sock


def time_wait(tcp: Tcp, peer: TcpPeer) -> Sock:
    sock = fin_wait_1(tcp, peer)
    peer.sends("FA", ack=2)
    return sock


def close_wait(tcp: Tcp, peer: TcpPeer) -> Sock:
    sock = tcp.established(active=True)
    peer.sends("FA")
    tcp.sends(sock, 3000)
    return sock


def last_ack(tcp: Tcp, peer: TcpPeer) -> Sock:
    sock = close_wait(tcp, peer)
    sock.shutdown()
    tcp.run("0s")
    return sock


STATES: list[Callable[[Tcp, TcpPeer], Sock]] = [
    syn_sent, syn_rcvd, established, established_zero_window, fin_wait_1, fin_wait_2, closing,
    time_wait, close_wait, last_ack,
]  # fmt: skip


@pytest.mark.parametrize("reach", STATES, ids=lambda f: f.__name__)
def test_every_state_has_an_exit_for_an_orphan(
    tcp: Tcp, peer: TcpPeer, reach: Callable[[Tcp, TcpPeer], Sock]
) -> None:
    """The user has closed, the peer says no word more: all comes back, and no timer runs on."""
    sock = reach(tcp, peer)
    assert sock.state == reach.__name__.upper().removesuffix("_ZERO_WINDOW")
    tcp.closes(sock)
    tcp.drain("2h")
    assert in_use(tcp) == {"sockets": 0, "orphans": 0, "memory_chunks": 0}
    assert tcp.wire.world.next_deadline() is None
    assert tcp.stack.counters()["tcp_bad_state_transition"] == 0


@pytest.mark.parametrize(
    "reach", [f for f in STATES if f not in (fin_wait_2, time_wait)], ids=lambda f: f.__name__
)
def test_every_state_tells_its_user_that_the_peer_is_gone(
    tcp: Tcp, peer: TcpPeer, reach: Callable[[Tcp, TcpPeer], Sock]
) -> None:
    """FIN-WAIT-2 is no such state: the peer may keep silent for ever, keepalive is what asks."""
    sock = reach(tcp, peer)
    tcp.drain("2h")
    assert sock.state == "CLOSED"
    assert sock.ready & (ERR | HUP | IN | OUT) == ERR | HUP | IN | OUT
    assert sock.take_error() == errno.ETIMEDOUT
    assert sock.take_error() == 0, "SO_ERROR is told once"
    tcp.closes(sock)
    assert in_use(tcp) == {"sockets": 0, "orphans": 0, "memory_chunks": 0}


def test_keepalive_finds_a_peer_gone_in_fin_wait_2(tcp: Tcp, peer: TcpPeer) -> None:
    sock = fin_wait_2(tcp, peer)
    sock.set(keepalive=1, keepidle=10, keepintvl=1, keepcnt=3)
    tcp.drain("20s")
    assert (sock.state, sock.take_error()) == ("CLOSED", errno.ETIMEDOUT)


def test_an_orphan_does_not_wait_for_a_window_for_ever(tcp: Tcp, peer: TcpPeer) -> None:
    """The peer answers each probe with a window of zero; after some minutes he is reset."""
    sock = tcp.established(wnd=0)
    tcp.sends(sock, 5000)
    tcp.closes(sock)
    begin = tcp.clock.now
    for _ in range(30):
        packet = tcp.wire.next("2min")
        assert packet is not None and packet.tcp is not None
        if packet.tcp.flags & 4:
            break
        peer.sends(ack=1, wnd=0)
    assert 60e9 < tcp.clock.now - begin < 600e9
    assert in_use(tcp) == {"sockets": 1, "orphans": 0, "memory_chunks": 0}
    tcp.expects_nothing("1h")


def test_with_its_user_it_does(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 9293 3.8.6.1 MUST-37: as long as probes are answered."""
    sock = tcp.established(wnd=0)
    tcp.sends(sock, 5000)
    for _ in range(100):
        tcp.expects(len=0, within="2min")
        peer.sends(ack=1, wnd=0)
    assert sock.state == "ESTABLISHED"


# ---- orphans -------------------------------------------------------------------------------------


def test_orphans_are_bounded(world: World) -> None:
    """One more than max_orphans is reset at once; those before it are served to their end."""
    tcp = Tcp(Wire(world, max_orphans=2))
    peers = [tcp.another_peer(5000 + i) for i in range(3)]
    socks = [tcp.established(peer=p) for p in peers]
    for sock, p in zip(socks[:2], peers, strict=False):
        tcp.closes(sock)
        tcp.expects("FA", seq=1, to=p)
    assert in_use(tcp)["orphans"] == 2
    with tcp.counts("tcp_orphans_reset"):
        tcp.closes(socks[2])
    tcp.expects("RA", to=peers[2])
    peers[0].sends("FA", ack=2)
    tcp.expects("A", to=peers[0])
    assert in_use(tcp)["orphans"] == 1, "TIME-WAIT is none"
    peers[1].sends("R", ack=1)
    assert in_use(tcp)["orphans"] == 0


def test_an_accepted_or_waiting_child_is_no_orphan(world: World) -> None:
    tcp = Tcp(Wire(world, max_orphans=0))
    tcp.listens()
    peer = tcp.peer
    peer.sends("S", seq=0)
    tcp.expects("SA")
    peer.sends(ack=1)
    assert in_use(tcp)["orphans"] == 0
    assert tcp._listener is not None
    assert tcp._listener.accept().state == "ESTABLISHED"


# ---- listeners -----------------------------------------------------------------------------------


def test_a_listener_closed_with_a_full_backlog_resets_all(tcp: Tcp, peer: TcpPeer) -> None:
    """Those in the accept queue and those half open; nothing of them stays."""
    listener = tcp.listens(backlog=2)
    peers = [tcp.another_peer(5000 + i) for i in range(5)]
    for p in peers:
        p.sends("S", seq=0)
        answer = tcp.drain(to=p)
        if len(answer) == 1 and p is not peers[-1]:
            p.sends(ack=1)
            tcp.drain(to=p)
    waiting = in_use(tcp)["sockets"] - 1
    assert waiting >= 3
    tcp.closes(listener)
    resets = [p for p in tcp.drain() if p.tcp and p.tcp.flags & 4]
    assert len(resets) == waiting
    assert in_use(tcp) == {"sockets": 0, "orphans": 0, "memory_chunks": 0}
    tcp.expects_nothing("1h")


def test_a_dead_child_is_accepted_with_its_data_and_its_error(tcp: Tcp, peer: TcpPeer) -> None:
    """As on Linux: who was told that there is one need not wait for the next."""
    listener = tcp.listens()
    other = tcp.another_peer(6000)
    for p in (peer, other):
        p.sends("S", seq=0)
        tcp.expects("SA", to=p)
        p.sends(ack=1, data=b"x")
        tcp.drain(to=p)
    peer.sends("R")
    assert listener.ready & IN
    dead = listener.accept()
    assert dead.recv() == b"x"
    with pytest.raises(ConnectionResetError):
        dead.recv()
    assert (dead.state, dead.recv(), dead.take_error()) == ("CLOSED", b"", 0)
    assert listener.accept().peer[1] == 6000
    assert not listener.ready & IN
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_a_dead_child_keeps_its_place_in_the_queue(tcp: Tcp, peer: TcpPeer) -> None:
    """The bound is the backlog, dead or alive; closing the listener frees it."""
    listener = tcp.listens(backlog=0)
    peer.sends("S", seq=0)
    tcp.expects("SA")
    peer.sends(ack=1, data=b"x")
    tcp.drain()
    peer.sends("R")
    other = tcp.another_peer(6000)
    with tcp.counts("drop_tcp_accept_queue_full"):
        other.sends("S", seq=0)
    tcp.expects_nothing()
    listener.close()
    tcp.expects_nothing()


def test_the_name_of_a_dead_child_is_free(tcp: Tcp, peer: TcpPeer) -> None:
    listener = tcp.listens()
    for data in (b"first", b"second"):
        peer.begin(iss=1000)
        peer.sends("S", seq=0)
        tcp.expects("SA")
        peer.sends(ack=1, data=data)
        tcp.drain()
        peer.sends("R")
    assert [listener.accept().recv(), listener.accept().recv()] == [b"first", b"second"]


def test_a_child_that_nobody_accepts_in_time(tcp: Tcp, peer: TcpPeer) -> None:
    """What ends it is told by it: here the keepalive's time-out."""
    listener = tcp.listens(keepalive=1, keepidle=10, keepintvl=1, keepcnt=1)
    peer.sends("S", seq=0)
    tcp.expects("SA")
    peer.sends(ack=1)
    tcp.drain("1min")
    dead = listener.accept()
    with pytest.raises(TimeoutError):
        dead.recv()


def test_a_child_whose_peer_has_said_goodbye_is_accepted(tcp: Tcp, peer: TcpPeer) -> None:
    """It is half closed, not dead: what it said can be read, and be answered."""
    listener = tcp.listens()
    peer.sends("S", seq=0)
    tcp.expects("SA")
    peer.sends("FA", ack=1, data=b"question")
    tcp.drain()
    sock = listener.accept()
    assert (sock.state, sock.recv(), sock.recv()) == ("CLOSE_WAIT", b"question", b"")
    assert sock.send(b"answer") == 6


# ---- a failed connect always surfaces ------------------------------------------------------------


@pytest.mark.parametrize("how", ["refused", "timed out"])
def test_a_failed_connect_is_told_once(tcp: Tcp, peer: TcpPeer, how: str) -> None:
    sock = syn_sent(tcp, peer)
    expected = errno.ECONNREFUSED
    if how == "refused":
        peer.sends("RA", seq=0, ack=1)
    else:
        expected = errno.ETIMEDOUT
        tcp.drain("10min")
    assert sock.ready & (IN | OUT | ERR | HUP) == IN | OUT | ERR | HUP
    assert sock.take_error() == expected
    assert sock.take_error() == 0


@pytest.mark.parametrize("call", ["connect", "send", "recv"])
def test_a_failed_connect_is_told_by_the_next_call(tcp: Tcp, peer: TcpPeer, call: str) -> None:
    sock = syn_sent(tcp, peer)
    peer.sends("RA", seq=0, ack=1)
    with pytest.raises(ConnectionRefusedError):
        if call == "connect":
            sock.connect(peer.address, peer.port)
        elif call == "send":
            sock.send(b"x")
        else:
            sock.recv()
    assert sock.take_error() == 0


# ---- quiet ---------------------------------------------------------------------------------------


def test_an_idle_stack_has_no_deadline(tcp: Tcp, peer: TcpPeer) -> None:
    """Connections and listeners that have nothing to do wake nobody."""
    sock = tcp.established()
    tcp.transfers(sock, 20_000)
    peer.sends(len=5000)
    tcp.reads(sock, 5000)
    tcp.drain("10s")
    assert tcp.wire.world.next_deadline() is None


def test_keepalive_wakes_as_often_as_it_asks(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.established(keepalive=1, keepidle=60)
    end, wakes = tcp.clock.now + 3600 * 10**9, 0
    while tcp.wire.world.step(end):
        wakes += 1
        for _ in tcp.drain():
            peer.sends(seq=1, ack=1)
    assert wakes <= 3 * 60, "a probe, its answer, and what the timer wheel needs"
