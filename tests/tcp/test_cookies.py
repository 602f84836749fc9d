"""SYN cookies (RFC 4987 section 3.6), and the bounds of the half-open children they stand in for."""

from __future__ import annotations

from typing import Any

import pytest
from barewire.stack.tcp import Flags

from tests.kit.checks import has_option, is_tcp
from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import Sock
from tests.kit.wire import Wire
from tests.kit.world import World

AT_ONCE = 256  # SYNs answered at first sight at once: SYN_BURST of syn_filter.c
MODES = (1, 2)  # syn_cookies: when the queue is full, and always


def full(world: World, cookies: int = 1, **options: Any) -> tuple[Tcp, Sock]:
    """A listener whose SYN queue is full (cookies 2: it need not be)."""
    tcp = Tcp(Wire(world, syn_cookies=cookies, **options))
    listener = tcp.listens(backlog=4)
    if cookies == 1:
        fill(tcp)
    return tcp, listener


def fill(tcp: Tcp, n: int = 128) -> None:
    for i in range(n):
        tcp.another_peer(20_000 + i).sends("S", seq=0)
        tcp.drain()


@pytest.mark.parametrize("cookies", MODES)
def test_a_cookie_makes_the_connection_the_syn_would_have_made(world: World, cookies: int) -> None:
    tcp, listener = full(world, cookies)
    before = tcp.stack.stats()["sockets"]
    with tcp.counts("tcp_syn_cookies_sent"):
        tcp.peer.sends("S", seq=0, mss=1460)
    tcp.expects("SA", seq=0, ack=1, wnd=65535, check=has_option("mss", 1460))
    assert tcp.stack.stats()["sockets"] == before, "nothing is kept"
    with tcp.counts("tcp_syn_cookies_received"):
        tcp.peer.sends("A", seq=1, ack=1)
    sock = listener.accept()
    assert (sock.state, sock.peer) == ("ESTABLISHED", (tcp.peer.address, tcp.peer.port))
    tcp.peer.sends(len=1000)
    tcp.expects("A", seq=1, ack=1001)
    tcp.reads(sock, 1000)
    tcp.transfers(sock, 20_000)


def test_cookies_begin_when_the_queue_is_full_and_end_when_it_is_not(world: World) -> None:
    tcp, _ = full(world)
    with tcp.counts("tcp_syn_cookies_sent"):
        tcp.peer.sends("S", seq=0)
    tcp.drain("2min")
    with tcp.counts("tcp_syn_cookies_sent", 0):
        tcp.another_peer(7000).sends("S", seq=0)


def test_the_first_data_segment_brings_the_cookie_too(world: World) -> None:
    """The bare third segment was lost."""
    tcp, listener = full(world)
    tcp.peer.sends("S", seq=0, mss=1460)
    tcp.expects("SA")
    tcp.peer.sends("PA", seq=1, ack=1, len=100)
    tcp.expects("A", ack=101)
    tcp.reads(listener.accept(), 100)


@pytest.mark.parametrize(
    ("offered", "used"),
    [
        (None, 536),
        (40, 48),
        (100, 48),
        (535, 256),
        (536, 536),
        (1400, 1400),
        (1459, 1440),
        (9000, 1460),
    ],
)
def test_the_cookie_carries_an_mss(world: World, offered: int | None, used: int) -> None:
    """The largest of a table that the peer takes; and no more than the path does."""
    tcp, listener = full(world, 2)
    tcp.peer.sends("S", seq=0, mss=offered)
    tcp.expects("SA")
    tcp.peer.sends("A", seq=1, ack=1)
    assert listener.accept().inside.mss == used


@pytest.mark.parametrize("sack", [False, True])
@pytest.mark.parametrize("wscale", [None, 0, 7, 14])
def test_the_timestamp_carries_sack_and_window_scale(
    world: World, sack: bool, wscale: int | None
) -> None:
    tcp, listener = full(world, 2)
    peer = tcp.peer
    peer.sends("S", seq=0, mss=1460, ts=True, sack_ok=sack, wscale=wscale)
    answer = tcp.expects("SA", check=has_option("timestamps")).tcp
    assert answer is not None and answer.timestamps is not None
    assert (answer.wscale is not None) == (wscale is not None)
    peer.ts, peer.shift = True, wscale or 0
    peer.sends("A", seq=1, ack=1, wnd=60_000)
    sock = listener.accept()
    inside = sock.inside
    assert (inside.timestamps, inside.sack, inside.snd_wscale) == (1, sack, wscale or 0)
    assert inside.snd_wnd == 60_000 >> (wscale or 0) << (wscale or 0)
    tcp.sends(sock, 10)
    data = tcp.expects("A", len=10).tcp
    assert data is not None and data.timestamps is not None
    assert 0 <= data.timestamps[0] - answer.timestamps[0] < 65, "our clock does not go back"


def test_without_timestamps_there_is_no_sack_and_no_scale(world: World) -> None:
    tcp, listener = full(world, 2)
    tcp.peer.sends("S", seq=0, mss=1460, sack_ok=True, wscale=7)
    tcp.expects("SA", check=~has_option("sack_permitted") & ~has_option("wscale"))
    tcp.peer.sends("A", seq=1, ack=1)
    inside = listener.accept().inside
    assert (inside.sack, inside.snd_wscale, inside.rcv_wscale) == (0, 0, 0)


# ---- forgery, age ------------------------------------------------------------------------------


def test_a_forged_cookie_is_reset(world: World) -> None:
    tcp, listener = full(world)
    tcp.peer.sends("S", seq=0)
    tcp.expects("SA")
    for delta in (-1000, 8, 12345, 0x8000_0000):
        with tcp.counts("tcp_syn_cookies_failed"):
            tcp.peer.sends("A", seq=1, ack=1 + delta)
        tcp.expects("R", seq=1 + delta & 0xFFFFFFFF)
    assert not listener.readable


def test_a_cookie_is_of_one_flow_only(world: World) -> None:
    """Another port, or another sequence number of the peer: no connection."""
    tcp, listener = full(world)
    tcp.peer.sends("S", seq=0)
    tcp.expects("SA")
    thief = tcp.another_peer(6001)
    thief.irs = tcp.peer.irs
    with tcp.counts("tcp_syn_cookies_failed", 2):
        thief.sends("A", seq=1, ack=1)
        tcp.peer.sends("A", seq=2, ack=1)
    assert not listener.readable


def test_no_cookie_is_looked_at_where_none_was_sent(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.listens()
    with tcp.counts("tcp_syn_cookies_failed", 0), tcp.counts("drop_tcp_no_socket"):
        peer.sends("A", seq=1, ack=1)
    tcp.expects("R")


@pytest.mark.parametrize(("age", "good"), [("63s", True), ("129s", False), ("1h", False)])
def test_a_cookie_lives_for_a_minute_or_two(world: World, age: str, good: bool) -> None:
    tcp, listener = full(world, 2)
    tcp.peer.sends("S", seq=0)
    tcp.expects("SA")
    tcp.drain(age)
    other = tcp.another_peer(6001)  # cookies are still sent
    other.sends("S", seq=0)
    tcp.drain(to=other)
    tcp.peer.sends("A", seq=1, ack=1)
    assert listener.readable == good


def test_the_keys_change(world: World) -> None:
    """The same SYN gets another cookie two periods later."""
    tcp, _ = full(world, 2)
    seen = set()
    for _ in range(5):
        tcp.peer.sends("S", seq=0)
        answer = tcp.expects("SA").tcp
        assert answer is not None
        seen.add(answer.seq)
        tcp.run("65s")
    assert len(seen) == 5


# ---- bounds ------------------------------------------------------------------------------------


def test_a_full_accept_queue_gets_no_cookie_and_takes_none(world: World) -> None:
    tcp, listener = full(world, 2)
    late = tcp.another_peer(6500)
    late.sends("S", seq=0)
    tcp.expects("SA", to=late)
    for i in range(5):
        other = tcp.another_peer(6000 + i)
        other.sends("S", seq=0)
        tcp.expects("SA", to=other)
        other.sends("A", seq=1, ack=1)
    with tcp.counts("drop_tcp_accept_queue_full", 2), tcp.counts("tcp_syn_cookies_sent", 0):
        tcp.peer.sends("S", seq=0)
        late.sends("A", seq=1, ack=1)
    tcp.expects_nothing()
    listener.accept()
    late.sends("A", seq=1, ack=1)
    peers = [listener.accept().peer[1] for _ in range(5)]
    assert peers == [6001, 6002, 6003, 6004, 6500]


def test_half_open_children_take_a_quarter_of_the_sockets_at_most(world: World) -> None:
    """Over all listeners; who comes after them is answered with cookies and gets in."""
    tcp = Tcp(Wire(world, max_sockets=100))
    listeners = [tcp.wire.tcp().bind("0.0.0.0", 80 + i).listen(1000) for i in range(3)]
    for i in range(3000):
        peer = tcp.another_peer(10_000 + i)
        peer.stack_port = 80 + i % 3
        peer.sends("S", seq=0)
        tcp.drain()
    assert tcp.stack.stats()["sockets"] == 3 + 26
    tcp.peer.stack_port = 81
    tcp.peer.sends("S", seq=0)
    tcp.expects("SA")
    tcp.peer.sends("A", seq=1, ack=1)
    assert listeners[1].accept().state == "ESTABLISHED"
    for listener in listeners:
        listener.close()
    tcp.drain()
    assert tcp.stack.stats()["sockets"] == 1


def test_without_cookies_the_full_queue_drops(world: World) -> None:
    tcp = Tcp(Wire(world, syn_cookies=0))
    tcp.listens(backlog=4)
    fill(tcp)
    with tcp.counts("drop_tcp_syn_queue_full"):
        tcp.peer.sends("S", seq=0)
    tcp.expects_nothing()


def test_when_sockets_run_out_the_third_segment_is_dropped(world: World) -> None:
    tcp = Tcp(Wire(world, syn_cookies=2, max_sockets=4))
    listener = tcp.listens(backlog=100)
    held = [tcp.wire.tcp() for _ in range(3)]
    tcp.peer.sends("S", seq=0)
    tcp.expects("SA")
    with tcp.counts("drop_tcp_no_socket_memory"):
        tcp.peer.sends("A", seq=1, ack=1)
    tcp.expects_nothing()
    held.pop().close()
    tcp.peer.sends("A", seq=1, ack=1)
    assert listener.accept().state == "ESTABLISHED"


def test_cookies_have_a_bounded_share_of_the_transmit_queue(world: World) -> None:
    """The device takes nothing: 64 cookies wait for it, and data has the rest of the queue."""
    tcp, _ = full(world, 2)
    sock = tcp.established()
    world.remove_mover(tcp.wire._collect)
    syns = [tcp.another_peer(9000 + i).packet("S", seq=0) for i in range(640)]
    before = tcp.stack.counters()
    tcp.wire.sends_burst(*syns, *syns)
    tcp.sends(sock, 10_000)
    after = tcp.stack.counters()
    sent = after["tcp_syn_cookies_sent"] - before["tcp_syn_cookies_sent"]
    first = after["drop_tcp_syn_until_repeated"]
    assert after["drop_transmit_stateless_share"] == 1280 - sent - first > 0
    assert sent <= 256 + 64, "the ring of the wire, and the share"
    world.add_mover(tcp.wire._collect)
    segments = [p.tcp for p in tcp.drain() if p.tcp]
    assert len([s for s in segments if s.flags & Flags.SYN]) == sent
    assert sum(len(s.payload) for s in segments) == 10_000


def use_up_the_rate(tcp: Tcp) -> None:
    """What is answered at first sight however many SYNs come at once."""
    made_up = [tcp.another_peer(1000 + i).packet("S", seq=0) for i in range(AT_ONCE)]
    with tcp.counts("tcp_syn_cookies_sent", AT_ONCE):
        for at in range(0, AT_ONCE, 64):
            tcp.wire.sends_burst(*made_up[at : at + 64])
            tcp.drain()


def test_a_queue_that_few_syns_hold_full_delays_no_crowd(world: World) -> None:
    """128 made-up SYNs a minute do; of 64 clients that come together none waits a second."""
    tcp, _ = full(world)
    clients = [tcp.another_peer(9000 + i) for i in range(64)]
    with tcp.counts("drop_tcp_syn_until_repeated", 0), tcp.counts("tcp_syn_cookies_sent", 64):
        tcp.wire.sends_burst(*[client.packet("S", seq=0) for client in clients])
    assert {p.tcp.dport for p in tcp.drain() if p.tcp} == {client.port for client in clients}


def test_the_rate_of_first_answers_comes_back(world: World) -> None:
    tcp, _ = full(world, 2)
    use_up_the_rate(tcp)
    burst = [tcp.another_peer(9000 + i).packet("S", seq=0) for i in range(64)]
    tcp.drain("2ms")
    with tcp.counts("tcp_syn_cookies_sent", 40 + 8):
        tcp.wire.sends_burst(*burst)


def test_of_a_full_burst_few_are_answered_and_the_rest_when_repeated(world: World) -> None:
    """A flood never says the same SYN twice; an honest client does, a second later."""
    tcp, listener = full(world, 2)
    use_up_the_rate(tcp)
    peers = [tcp.another_peer(9000 + i) for i in range(64)]
    with tcp.counts("tcp_syn_cookies_sent", 8), tcp.counts("drop_tcp_syn_until_repeated", 56):
        tcp.wire.sends_burst(*[peer.packet("S", seq=0) for peer in peers])
    tcp.drain("1s")
    with tcp.counts("tcp_syn_cookies_sent", 64):
        tcp.wire.sends_burst(*[peer.packet("S", seq=0) for peer in peers])
    for peer in peers[:5]:
        tcp.wire.expects(is_tcp("SA", dport=peer.port))
    tcp.drain()
    last = tcp.another_peer(9999)
    with tcp.counts("tcp_syn_cookies_sent"):
        last.sends("S", seq=0)
    assert not listener.readable


def test_a_syn_is_remembered_for_some_seconds_only(world: World) -> None:
    tcp, _ = full(world, 2)
    use_up_the_rate(tcp)
    burst = [tcp.another_peer(9000 + i).packet("S", seq=0) for i in range(64)]
    tcp.wire.sends_burst(*burst)
    tcp.drain("10s")
    use_up_the_rate(tcp)
    with tcp.counts("drop_tcp_syn_until_repeated", 56):
        tcp.wire.sends_burst(*burst)


def test_defer_accept_does_not_outlast_a_cookie(world: World) -> None:
    tcp = Tcp(Wire(world, syn_cookies=2))
    listener = tcp.listens(defer_accept=5)
    tcp.peer.sends("S", seq=0)
    tcp.expects("SA")
    tcp.peer.sends("A", seq=1, ack=1)
    assert listener.accept().state == "ESTABLISHED"


def test_syn_cookies_takes_0_to_2(world: World) -> None:
    with pytest.raises(ValueError, match="syn_cookies"):
        world.stack(None, syn_cookies=3)
