"""Trace records: what a scripted connection tells of itself, and the ring's bound."""

from __future__ import annotations

import errno

import pytest
from barewire import trace
from barewire.trace import (
    Drop,
    Gap,
    Lost,
    Received,
    Recovery,
    Rtt,
    Sent,
    State,
    Timer,
    Window,
)

from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import Sock
from tests.kit.wire import Wire
from tests.kit.world import World

MSS = 1460


def seen(tcp: Tcp) -> list[str]:
    """The records since last asked, one word and the figures that matter each."""
    return [line(r) for r in tcp.stack.trace()]


def line(r: trace.Record) -> str:
    match r:
        case State():
            return f"state {r.old} {r.new}"
        case Sent():
            return f"sent {r.how} {r.flags} {r.seq}+{r.length} ack {r.ack} pipe {r.in_flight}"
        case Received():
            blocks = "".join(f" sack {a}-{b}" for a, b in r.sack)
            return f"received {r.flags} {r.seq}+{r.length} ack {r.ack}{blocks}"
        case Window():
            return f"window cwnd {r.cwnd} ssthresh {r.ssthresh} pipe {r.in_flight} rwnd {r.rwnd}"
        case Rtt():
            return f"rtt {r.rtt} srtt {r.srtt}"
        case Recovery():
            return f"recovery {r.what} until {r.until}"
        case Lost():
            return f"lost {r.start}-{r.end}"
        case Timer():
            return f"timer {r.which}"
        case Drop():
            return f"drop {r.reason}"
    return repr(r)


@pytest.fixture
def conn(tcp: Tcp) -> Sock:
    """A connection with SACK whose handshake took 20 ms, traced from its SYN on."""
    listener = tcp.listens(congestion=reno(tcp))
    tcp.stack.settrace(True)
    tcp.peer.sends("S", seq=0, mss=MSS, sack_ok=True)
    tcp.expects("SA", seq=0, ack=1)
    tcp.run("20ms")
    tcp.peer.sends("A", seq=1, ack=1)
    return listener.accept()


def reno(tcp: Tcp) -> int:
    from barewire.congestion import names

    return names()["reno"]


def test_the_handshake(tcp: Tcp, conn: Sock) -> None:
    records = list(tcp.stack.trace())
    assert [line(r) for r in records] == [
        "state CLOSED SYN_RCVD",
        "received S 0+0 ack 0",
        "sent new SA 0+0 ack 1 pipe 0",
        "received A 1+0 ack 1",
        "state SYN_RCVD ESTABLISHED",
        "rtt 20000000 srtt 20000000",
        f"window cwnd {10 * MSS} ssthresh None pipe 0 rwnd 65535",
    ]
    assert isinstance(records[0], State)
    assert (records[0].local, records[0].remote) == ("198.18.0.1:80", "198.18.0.2:5000")
    assert {r.conn for r in records} == {1}
    assert records[-1].when - records[0].when == 20_000_000


def test_a_loss_and_its_recovery(tcp: Tcp, peer: TcpPeer, conn: Sock) -> None:
    """Six segments go, the first is lost: SACKs, RACK's finding, the retransmission, and the end."""
    seen(tcp)
    tcp.sends(conn, 6 * MSS)
    ends = [1 + n * MSS for n in range(7)]
    for n in range(6):
        tcp.expects("A", seq=ends[n])
    assert seen(tcp) == [
        f"sent new {'PA' if n == 5 else 'A'} {ends[n]}+{MSS} ack 1 pipe {n * MSS}" for n in range(6)
    ]
    tcp.run("20ms")
    peer.sends(ack=1, sack=[(ends[1], ends[4])])
    tcp.expects("A", seq=1, why="the retransmission")
    half = 3 * MSS
    found = seen(tcp)
    assert found[:4] == [
        f"received A 1+0 ack 1 sack {ends[1]}-{ends[4]}",
        "rtt 20000000 srtt 20000000",
        f"lost 1-{ends[1]}",
        f"recovery fast until {ends[6]}",
    ]
    assert found[4].startswith("window cwnd ") and f"ssthresh {half} pipe {2 * MSS}" in found[4]
    assert found[5:] == [f"sent again A 1+{MSS} ack 1 pipe {2 * MSS}"]
    tcp.run("20ms")
    peer.sends(ack=ends[6])
    tcp.expects_nothing()
    assert seen(tcp) == [
        f"received A 1+0 ack {ends[6]}",
        f"recovery left until {ends[6]}",
        f"window cwnd {half + MSS} ssthresh {half} pipe 0 rwnd 65535",
    ]


def test_a_timeout(tcp: Tcp, peer: TcpPeer, conn: Sock) -> None:
    seen(tcp)
    tcp.sends(conn, 100)
    tcp.expects("PA", seq=1)
    seen(tcp)
    tcp.run("1s")
    found = seen(tcp)
    assert "timer rexmt" in found
    at = found.index("timer rexmt")
    assert found[at : at + 4] == [
        "timer rexmt",
        "lost 1-101",
        "recovery timeout until 101",
        "sent again PA 1+100 ack 1 pipe 0",
    ]
    tcp.drain()
    peer.sends(ack=101)
    assert "recovery left until 101" in seen(tcp)


def test_timers_have_names(tcp: Tcp, peer: TcpPeer, conn: Sock) -> None:
    """A delayed ACK, a tail loss probe, and the persist timer."""
    conn.set(quickack=0)
    peer.sends("PA", seq=1, len=10)
    tcp.expects("A", ack=11, within="50ms")
    assert "timer delack" in seen(tcp)
    tcp.sends(conn, 2 * MSS)
    tcp.expects("A", seq=1)
    tcp.expects("PA", seq=1 + MSS)
    tcp.run("150ms")
    assert "timer tail" in seen(tcp)
    tcp.drain()
    peer.sends(ack=1 + 2 * MSS, wnd=0)
    tcp.sends(conn, 100)
    tcp.run("1s")
    found = seen(tcp)
    at = found.index("timer persist")
    assert found[at + 1].startswith(f"sent probe A {2 * MSS}+0")


def test_a_spurious_timeout_is_undone(tcp: Tcp) -> None:
    tcp.listens(congestion=reno(tcp))
    tcp.stack.settrace(True)
    conn = tcp.established(sack=True, ts=True)
    tcp.sends(conn, 3 * MSS)
    sent = [p.tcp for p in tcp.drain("5ms")]
    stamp = sent[0].timestamps[0]
    tcp.drain("1500ms")
    assert "recovery timeout until 4381" in seen(tcp)
    tcp.peer.sends(ack=tcp.peer.got, ts=(tcp.peer.tsval, stamp))
    assert any(r.startswith("recovery undone") for r in seen(tcp))


def test_closing_and_the_reset(tcp: Tcp, peer: TcpPeer, conn: Sock) -> None:
    seen(tcp)
    tcp.closes(conn)
    tcp.expects("FA", seq=1)
    peer.sends("RA", seq=1, ack=2)
    assert seen(tcp) == [
        "state ESTABLISHED FIN_WAIT_1",
        "sent new FA 1+0 ack 1 pipe 0",
        "received RA 1+0 ack 2",
        "state FIN_WAIT_1 CLOSED",
    ]


def test_a_drop_names_its_counter(tcp: Tcp, peer: TcpPeer, conn: Sock) -> None:
    seen(tcp)
    peer.sends("A", seq=1, ack=70_000)
    tcp.expects("A", seq=1, why="a challenge ACK")
    assert "drop drop_tcp_unacceptable_ack" in seen(tcp)


def test_nothing_is_recorded_unasked(tcp: Tcp, peer: TcpPeer) -> None:
    conn = tcp.established()
    tcp.transfers(conn, 10_000)
    peer.sends("A", seq=1, ack=70_000)
    assert seen(tcp) == []


def test_one_socket_alone(tcp: Tcp, peer: TcpPeer) -> None:
    """From the middle of its life on: the first record says its name and state. Others are silent."""
    first = tcp.established()
    other = tcp.another_peer(6000)
    second = tcp.established(peer=other)
    first.set(trace=1)
    assert first.get("trace") == 1 and second.get("trace") == 0
    tcp.transfers(first, 100)
    tcp.transfers(second, 100, to=other)
    records = list(tcp.stack.trace())
    assert line(records[0]) == "state ESTABLISHED ESTABLISHED"
    assert {r.conn for r in records} == {1}
    assert [line(r) for r in records[1:3]] == [
        "sent new PA 1+100 ack 1 pipe 0",
        "received A 1+0 ack 101",
    ]
    first.set(trace=0)
    tcp.transfers(first, 100)
    assert seen(tcp) == []


def test_a_listeners_children(tcp: Tcp, peer: TcpPeer) -> None:
    """Each child has a number of its own; the listener needs none."""
    tcp.listens(trace=1)
    tcp.established()
    tcp.established(peer=tcp.another_peer(6000))
    records = [r for r in tcp.stack.trace() if isinstance(r, State)]
    assert [(r.conn, r.remote, r.new) for r in records] == [
        (1, "198.18.0.2:5000", "SYN_RCVD"),
        (1, "198.18.0.2:5000", "ESTABLISHED"),
        (2, "198.18.0.2:6000", "SYN_RCVD"),
        (2, "198.18.0.2:6000", "ESTABLISHED"),
    ]


def test_a_socket_that_connects_again_has_a_new_number(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.wire.tcp().set(trace=1)
    for number, connects in ((1, tcp.connects), (2, tcp.connects_again)):
        connects(sock)
        tcp.expects("S")
        assert {r.conn for r in tcp.stack.trace()} == {number}
        peer.sends("RA", seq=0, ack=1)
        assert sock.take_error() == errno.ECONNREFUSED
        assert {r.conn for r in tcp.stack.trace() if r.conn} == {number}
        peer.begin()


def test_udp_has_no_trace(tcp: Tcp) -> None:
    with pytest.raises(OSError) as caught:
        tcp.wire.udp().set(trace=1)
    assert caught.value.errno == errno.ENOPROTOOPT


def test_the_ring_is_bounded_and_says_what_it_lost(world: World) -> None:
    """The newest records are kept; before them stands how many were overwritten."""
    tcp = Tcp(Wire(world, trace=True, trace_records=16))
    conn = tcp.established()
    first = len(list(tcp.stack.trace()))
    assert first <= 16
    for _ in range(10):  # sent, received, rtt, window
        tcp.transfers(conn, 10)
    records = list(tcp.stack.trace())
    assert isinstance(records[0], Gap)
    assert (records[0].lost, len(records)) == (24, 17)
    assert records[-1].when == tcp.stack.now() and records[0].when == records[1].when
    assert tcp.stack.counters()["trace_records_overwritten"] == 24
    assert list(tcp.stack.trace()) == []


@pytest.mark.parametrize("size", [0, 15, 1 << 25])
def test_the_bound_has_bounds(world: World, size: int) -> None:
    with pytest.raises(ValueError, match="trace_records"):
        world.stack(None, trace_records=size)
