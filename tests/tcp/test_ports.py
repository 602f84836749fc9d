"""Initial sequence numbers (RFC 6528), ephemeral ports (RFC 6056), names and their conflicts."""

from __future__ import annotations

import errno
import itertools

import pytest

from tests.kit.clock import SECOND
from tests.kit.peer import Tcp, TcpPeer
from tests.kit.wire import Wire
from tests.kit.world import World


def isn(tcp: Tcp) -> int:
    packet = tcp.wire.expects()
    assert packet.tcp is not None
    return packet.tcp.seq


def test_isns_of_one_tuple_grow_with_time(tcp: Tcp, peer: TcpPeer) -> None:
    """A tick of about 4 us (RFC 9293 3.4.1), whatever the connection does."""
    seen = []
    for _ in range(5):
        sock = tcp.wire.tcp().bind(tcp.wire.here, 4000)
        tcp.connects(sock)
        seen.append(isn(tcp))
        tcp.closes(sock)
        tcp.run("1s")
    steps = [b - a & 0xFFFFFFFF for a, b in itertools.pairwise(seen)]
    assert all(abs(step - SECOND // 4096) < 1000 for step in steps), steps


def test_isns_of_different_tuples_have_nothing_in_common(tcp: Tcp, peer: TcpPeer) -> None:
    seen = set()
    for port in range(4000, 4050):
        tcp.connects(tcp.wire.tcp().bind(tcp.wire.here, port))
        seen.add(isn(tcp) >> 20)
    assert len(seen) > 40


def test_isns_depend_on_the_seed(world: World) -> None:
    seen = set()
    for seed in range(5):
        wire = Wire(world, seed=seed)
        wire.tcp().bind(wire.here, 4000).connect(wire.there, 80)
        packet = wire.expects()
        assert packet.tcp is not None
        seen.add(packet.tcp.seq)
        wire.close()
        world.run("0s")
    assert len(seen) == 5


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_ports_come_from_the_range(world: World, kind: str) -> None:
    wire = Wire(world, ports=(40_000, 40_009))
    seen = []
    for _ in range(10):
        sock = wire.tcp() if kind == "tcp" else wire.udp()
        sock.connect(wire.there, 80)
        seen.append(sock.name[1])
    assert sorted(seen) == list(range(40_000, 40_010))
    more = wire.tcp() if kind == "tcp" else wire.udp()
    wanted = errno.EADDRNOTAVAIL if kind == "tcp" else errno.EAGAIN
    assert more.connect_ex(wire.there, 80) == wanted


def test_an_implicit_port_serves_several_destinations(world: World) -> None:
    wire = Wire(world, ports=(40_000, 40_000))
    for port in range(80, 90):
        wire.tcp().connect(wire.there, port)
    assert wire.tcp().connect_ex(wire.there, 80) == errno.EADDRNOTAVAIL


def test_successive_ports_to_one_destination_differ(tcp: Tcp, peer: TcpPeer) -> None:
    seen = set()
    for _ in range(50):
        sock = tcp.connects()
        seen.add(sock.name[1])
        tcp.drain()
        sock.abort()
    assert len(seen) == 50


def test_a_bound_port_is_in_use(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.wire.tcp().bind("0.0.0.0", 4000)
    with pytest.raises(OSError) as caught:
        tcp.wire.tcp().bind(tcp.wire.here, 4000)
    assert caught.value.errno == errno.EADDRINUSE
    tcp.wire.udp(4000)


def test_reuseaddr_shares_unless_somebody_listens(tcp: Tcp, peer: TcpPeer) -> None:
    one = tcp.wire.tcp().set(reuseaddr=1).bind("0.0.0.0", 4000)
    two = tcp.wire.tcp().set(reuseaddr=1).bind("0.0.0.0", 4000)
    one.listen()
    with pytest.raises(OSError) as caught:
        two.listen()
    assert caught.value.errno == errno.EADDRINUSE
    with pytest.raises(OSError) as caught:
        tcp.wire.tcp().set(reuseaddr=1).bind("0.0.0.0", 4000)
    assert caught.value.errno == errno.EADDRINUSE


def test_reuseport_shares_connections_among_listeners(tcp: Tcp, peer: TcpPeer) -> None:
    listeners = [tcp.wire.tcp().set(reuseport=1).bind("0.0.0.0", 80).listen(100) for _ in range(4)]
    for i in range(64):
        other = tcp.another_peer(6000 + i)
        other.stack_port = 80
        other.sends("S", seq=0)
        tcp.expects("SA", to=other)
        other.sends(ack=1)
    counts = []
    for listener in listeners:
        n = 0
        while listener.readable:
            listener.accept()
            n += 1
        counts.append(n)
    assert sum(counts) == 64
    assert min(counts) >= 4, f"shared as {counts}"


def test_the_more_exact_listener_wins(tcp: Tcp, peer: TcpPeer) -> None:
    anyone = tcp.wire.tcp().set(reuseport=1).bind("0.0.0.0", 80).listen()
    exact = tcp.wire.tcp().set(reuseport=1).bind(tcp.wire.here, 80).listen()
    peer.stack_port = 80
    peer.sends("S", seq=0)
    tcp.expects("SA")
    peer.sends(ack=1)
    assert exact.readable and not anyone.readable


def test_a_name_in_time_wait_is_kept_from_binds(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    listener = tcp._listener
    assert listener is not None
    sock.shutdown()
    tcp.run("0s")
    tcp.expects("FA")
    peer.sends("FA", ack=2)
    tcp.expects("A")
    tcp.closes(sock)
    tcp.closes(listener)
    with pytest.raises(OSError):
        tcp.wire.tcp().bind("0.0.0.0", 80)
    tcp.wire.tcp().set(reuseaddr=1).bind("0.0.0.0", 80).listen()


def test_addresses_that_are_not_ours(tcp: Tcp, peer: TcpPeer) -> None:
    with pytest.raises(OSError) as caught:
        tcp.wire.tcp().bind("198.18.0.77", 80)
    assert caught.value.errno == errno.EADDRNOTAVAIL


@pytest.mark.parametrize(
    ("host", "port", "error"),
    [
        ("198.18.0.255", 80, errno.ENETUNREACH),
        ("224.0.0.1", 80, errno.ENETUNREACH),
        ("203.0.113.1", 80, errno.ENETUNREACH),
        ("198.18.0.2", 0, errno.ECONNREFUSED),
    ],
)
def test_destinations_that_make_no_sense(tcp: Tcp, host: str, port: int, error: int) -> None:
    sock = tcp.wire.tcp()
    assert sock.connect_ex(host, port) == error
    assert sock.connect_ex("198.18.0.2", 80) == errno.EINPROGRESS


def test_the_same_four_names_twice(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.connects(tcp.wire.tcp().set(reuseaddr=1).bind(tcp.wire.here, 4000))
    tcp.drain()
    again = tcp.wire.tcp().set(reuseaddr=1).bind(tcp.wire.here, 4000)
    assert again.connect_ex(peer.address, peer.port) == errno.EADDRNOTAVAIL


def test_max_sockets(world: World) -> None:
    wire = Wire(world, max_sockets=10)
    socks = [wire.tcp() for _ in range(10)]
    with pytest.raises(OSError) as caught:
        wire.tcp()
    assert caught.value.errno == errno.ENFILE
    socks[0].bind("0.0.0.0", 80).listen()
    tcp = Tcp(wire)
    tcp.peer.stack_port = 80
    with tcp.counts("drop_tcp_no_socket_memory"):
        tcp.peer.sends("S", seq=0)
    tcp.expects_nothing()
    socks[1].close()
    tcp.peer.sends("S", seq=0)
    tcp.expects("SA")


def test_ports_depend_on_the_seed(world: World) -> None:
    """RFC 6056 section 3.3.3: the offset comes from a secret."""
    seen = set()
    for seed in range(8):
        wire = Wire(world, seed=seed)
        seen.add(wire.tcp().connect(wire.there, 80).name[1])
        wire.close()
        world.run("0s")
    assert len(seen) > 5


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_implicit_ports_pass_over_those_in_use(world: World, kind: str) -> None:
    """RFC 6056 section 3.2."""
    wire = Wire(world, ports=(40_000, 40_009))
    new = wire.tcp if kind == "tcp" else wire.udp
    new().bind("0.0.0.0", 40_003)
    new().bind(wire.here, 40_007)
    seen = [new().connect(wire.there, 80).name[1] for _ in range(8)]
    assert sorted(seen) == [40_000 + i for i in range(10) if i not in (3, 7)]
