"""IPv4 out: fragments, path MTU, sources and routes, the loopback, an interface that is gone."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest
from barewire import Stack
from barewire.nic_drivers import PipeEnd, pipe_pair
from barewire.stack.ip.ipv4 import IPv4

from tests.kit import frames
from tests.kit.checks import is_ip, is_udp
from tests.kit.packets import Packet
from tests.kit.sock import Sock
from tests.kit.wire import Wire
from tests.kit.world import World

PEER = "198.18.0.2"


def joined(packets: list[Packet]) -> IPv4:
    """What the fragments are pieces of; they come in order."""
    payload = b""
    for i, p in enumerate(packets):
        assert p.ip is not None
        assert p.ip.offset == len(payload)
        assert p.ip.mf == (i < len(packets) - 1)
        assert p.ip.ident == packets[0].ip.ident  # type: ignore[union-attr]
        payload += p.ip.payload
    first = packets[0].ip
    assert first is not None
    return IPv4(src=first.src, dst=first.dst, proto=first.proto, payload=payload)


@pytest.mark.parametrize("size", [1473, 3000, 16_384, 40_000, 65_507])
def test_a_long_datagram_is_sent_in_fragments(wire: Wire, size: int) -> None:
    wire.udp(7).sendto(frames.pattern(size), PEER, 5000)
    packets = wire.drain()
    with_header = size + 8
    assert len(packets) == -(-with_header // 1480)
    assert all(len(p.l3) <= 1500 for p in packets)
    whole = joined(packets)
    datagram = frames.Udp.parse(whole.payload, whole.src, whole.dst)
    assert datagram.payload == frames.pattern(size)
    assert wire.stack.counters()["ip_fragments_sent"] == len(packets)


def test_datagrams_have_identifications_of_their_own(wire: Wire) -> None:
    sock = wire.udp(7)
    seen = set()
    for _ in range(20):
        sock.sendto(bytes(2000), PEER, 5000)
        seen |= {p.ip.ident for p in wire.drain() if p.ip}
    assert len(seen) == 20


def test_fragments_follow_the_path_mtu(wire: Wire) -> None:
    sock = wire.udp(7)
    sock.sendto(bytes(1400), PEER, 5000)
    sent = wire.expects(is_udp())
    wire.sends(frames.unreachable("198.18.0.99", wire.here, 4, sent.l3, mtu=1000))
    sock.sendto(frames.pattern(1400), PEER, 5000)
    packets = wire.drain()
    assert [len(p.l3) for p in packets] == [996, 452]
    assert joined(packets).payload[8:] == frames.pattern(1400)


@pytest.mark.parametrize("mtu", [68, 576, 1280, 9000])
def test_any_mtu(world: World, mtu: int) -> None:
    wire = Wire(world, mtu=mtu)
    wire.udp(7).sendto(frames.pattern(9500), PEER, 5000)
    packets = wire.drain()
    assert max(len(p.l3) for p in packets) <= mtu
    assert joined(packets).payload[8:] == frames.pattern(9500)


def test_a_large_echo_comes_back_in_fragments(wire: Wire) -> None:
    whole = IPv4.parse(frames.echo(wire.there, wire.here, data=frames.pattern(4000)))
    for piece in whole.fragments(1500):
        wire.sends(piece.build())
    assert joined(wire.drain()).payload[8:] == frames.pattern(4000)


# ---- sources and routes --------------------------------------------------------------------------


@pytest.fixture
def multihomed(world: World) -> Wire:
    """198.18.0.1/24 and 192.0.2.1/24 on the wire, a gateway 198.18.0.254."""
    wire = Wire(world)
    wire.stack.add_address("192.0.2.1/24")
    wire.stack.add_route("default", "198.18.0.254")
    return wire


@pytest.mark.parametrize(
    ("destination", "source"),
    [("198.18.0.9", "198.18.0.1"), ("192.0.2.9", "192.0.2.1"), ("203.0.113.9", "198.18.0.1")],
)
def test_the_source_belongs_to_the_next_hops_subnet(
    multihomed: Wire, destination: str, source: str
) -> None:
    sock = multihomed.udp().connect(destination, 5000)
    assert sock.name[0] == source
    sock.send(b"x")
    multihomed.expects(is_ip(src=source, dst=destination))


def test_the_longest_prefix_wins_then_the_lowest_metric(multihomed: Wire) -> None:
    stack = multihomed.stack
    stack.add_route("203.0.113.0/24", "192.0.2.254", metric=20)
    stack.add_route("203.0.113.0/24", "198.18.0.253", metric=10)
    assert multihomed.udp().connect("203.0.113.9", 1).name[0] == "198.18.0.1"
    stack.add_route("203.0.113.0/28", "192.0.2.254")
    assert multihomed.udp().connect("203.0.113.9", 1).name[0] == "192.0.2.1"
    stack.remove_route("203.0.113.0/28")
    assert multihomed.udp().connect("203.0.113.9", 1).name[0] == "198.18.0.1"


def test_an_unreachable_route(multihomed: Wire) -> None:
    multihomed.stack.add_route("203.0.113.0/24", unreachable=True)
    with pytest.raises(OSError) as caught:
        multihomed.udp().connect("203.0.113.9", 1)
    assert caught.value.errno == errno.EHOSTUNREACH


def test_a_connected_socket_follows_a_change_of_routes(multihomed: Wire) -> None:
    sock = multihomed.udp().connect("203.0.113.9", 5000)
    multihomed.stack.remove_route("default")
    with pytest.raises(OSError) as caught:
        sock.send(b"x")
    assert caught.value.errno == errno.ENETUNREACH
    multihomed.stack.add_route("default", "198.18.0.253")
    sock.send(b"y")
    multihomed.expects(is_udp(data=b"y"))


def test_a_bound_source_is_kept(multihomed: Wire) -> None:
    sock = Sock(multihomed.stack, 2).bind("192.0.2.1", 7)
    sock.sendto(b"x", "198.18.0.9", 5000)
    multihomed.expects(is_ip(src="192.0.2.1", dst="198.18.0.9"))


def test_an_address_that_was_removed_is_nobody(multihomed: Wire) -> None:
    multihomed.sends(frames.echo("192.0.2.9", "192.0.2.1"))
    multihomed.expects(is_ip(src="192.0.2.1"))
    multihomed.stack.remove_address("192.0.2.1/24")
    with multihomed.counts("drop_ip_not_ours"):
        multihomed.sends(frames.echo("192.0.2.9", "192.0.2.1"))
    multihomed.expects_nothing()


# ---- interfaces ----------------------------------------------------------------------------------


def test_a_device_that_vanishes_gives_enetdown(world: World) -> None:
    mine, theirs = pipe_pair(layer=3)
    stack = world.stack(mine, "198.18.0.1/24")
    tcp = Sock(stack).connect(PEER, 80)
    udp = Sock(stack, 2).connect(PEER, 80)
    world.rest()
    theirs.close()
    world.rest()
    assert tcp.take_error() == errno.ENETDOWN
    assert udp.take_error() == errno.ENETDOWN
    with pytest.raises(OSError) as caught:
        udp.send(b"x")
    gone = (errno.ENETDOWN, errno.ENETUNREACH)  # the second once its routes are withdrawn
    assert caught.value.errno in gone
    assert Sock(stack).connect_ex(PEER, 80) in gone


@pytest.fixture
def jammed(world: World) -> Iterator[tuple[Stack, Sock, PipeEnd]]:
    """A stack whose transmit queue is full, because nobody takes its frames; its socket, the far
    end."""
    mine, theirs = pipe_pair(layer=3, ring=16)
    stack = world.stack(mine, "198.18.0.1/24", buffer_bytes=1 << 20)
    sock = Sock(stack, 2)
    with pytest.raises(BlockingIOError):
        while True:
            sock.sendto(b"x", PEER, 5000)
    yield stack, sock, theirs
    theirs.close()


def test_replies_are_dropped_when_the_queue_is_full(
    world: World, jammed: tuple[Stack, Sock, PipeEnd]
) -> None:
    stack, _, theirs = jammed
    theirs.send(frames.echo(PEER, "198.18.0.1"), world.clock.now)
    world.rest()
    assert stack.counters()["drop_transmit_queue_full"] == 1


def test_what_waits_for_a_device_that_vanishes_is_counted(
    world: World, jammed: tuple[Stack, Sock, PipeEnd]
) -> None:
    stack, _, theirs = jammed
    theirs.close()
    world.rest()
    assert stack.counters()["drop_transmit_interface_down"] == 256


def test_no_memory_for_a_datagram(world: World) -> None:
    mine, theirs = pipe_pair(layer=3, ring=16)
    stack = world.stack(mine, "198.18.0.1/24", buffer_bytes=1 << 20)
    sock = Sock(stack, 2)
    hogs = [Sock(stack, 2).bind("127.0.0.1", 7 + i).set(rcvbuf=1 << 20) for i in range(4)]
    for i in range(200):
        sock.sendto(bytes(8000), "127.0.0.1", 7 + i % 4)
        world.rest()
    with pytest.raises(OSError) as caught:
        for _ in range(100):
            sock.sendto(bytes(1400), PEER, 5000)
    assert caught.value.errno == errno.ENOBUFS
    assert stack.counters()["drop_transmit_memory"] > 0
    for hog in hogs:
        hog.close()
    sock.sendto(bytes(1400), PEER, 5000)
    theirs.close()


def test_two_interfaces(world: World) -> None:
    ends = [pipe_pair(layer=3, name=name) for name in ("one", "two")]
    stack = world.stack([mine for mine, _ in ends])
    stack.add_address("198.18.0.1/24", stack.interfaces[1].name)
    stack.add_address("192.0.2.1/24", stack.interfaces[2].name)
    for (_, theirs), host in zip(ends, ("198.18.0.2", "192.0.2.2"), strict=True):
        Sock(stack, 2).sendto(host.encode(), host, 5000)
        world.rest()
        frame = theirs.recv(world.clock.now)
        assert frame is not None and frame[28:] == host.encode()
        theirs.send(frames.echo(host, "198.18.0.1"), world.clock.now)
        world.rest()
        reply = theirs.recv(world.clock.now) if host == "198.18.0.2" else None
        assert (reply is not None) == (host == "198.18.0.2")
    for _, theirs in ends:
        theirs.close()


def test_bind_to_an_interface(world: World) -> None:
    ends = [pipe_pair(layer=3, name=name) for name in ("one", "two")]
    stack = world.stack([mine for mine, _ in ends])
    for i, network in enumerate(("198.18.0", "192.0.2")):
        stack.add_address(f"{network}.1/24", stack.interfaces[1 + i].name)
    sock = Sock(stack, 2).set(bindtoif=stack.interfaces[2].index).bind("0.0.0.0", 7)
    ends[0][1].send(frames.udp("198.18.0.2", "198.18.0.1", 5, 7, b"one"), world.clock.now)
    ends[1][1].send(frames.udp("192.0.2.2", "192.0.2.1", 5, 7, b"two"), world.clock.now)
    world.rest()
    assert sock.recv() == b"two"
    assert not sock.readable
    with pytest.raises(OSError):
        sock.sendto(b"x", "198.18.0.2", 5)
    for _, theirs in ends:
        theirs.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.255.0.9", "198.18.0.1"])
def test_tcp_to_oneself(wire: Wire, host: str) -> None:
    listener = wire.tcp().bind("0.0.0.0", 80).listen()
    client = wire.tcp().connect(host, 80)
    wire.world.rest()
    server = listener.accept()
    sent = got = 0
    data = frames.pattern(300_000)
    received = bytearray()
    while got < len(data):
        try:
            sent += client.send(data[sent : sent + 100_000])
        except BlockingIOError:
            pass
        wire.world.run("1ms")
        received += server.read_all()
        got = len(received)
    assert bytes(received) == data
    wire.expects_nothing()
