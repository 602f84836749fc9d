"""UDP sockets: which one a datagram belongs to, the association, errors, bounds (RFC 768, RFC 1122
section 4.1, and Linux where they leave it open)."""

from __future__ import annotations

import errno

import pytest
from barewire.stack.icmp import icmp

from tests.kit import frames
from tests.kit.checks import is_ip, is_udp, is_unreachable
from tests.kit.sock import ERR, IN, MSG_PEEK, MSG_TRUNC, OUT, Sock
from tests.kit.wire import Wire
from tests.kit.world import World

PEER = "198.18.0.2"


def datagram(
    wire: Wire, dport: int, data: bytes = b"hello", *, sport: int = 5000, **ip: object
) -> bytes:
    return frames.udp(wire.there, wire.here, sport, dport, data, **ip)


def gets(sock: Sock) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(sock.recvfrom()[0])
        except BlockingIOError:
            return found


# ---- in ------------------------------------------------------------------------------------------


def test_receive(wire: Wire) -> None:
    sock = wire.udp(7)
    assert not sock.ready & IN
    wire.sends(datagram(wire, 7))
    assert sock.ready & IN
    assert sock.recvfrom() == (b"hello", (PEER, 5000))
    with pytest.raises(BlockingIOError):
        sock.recvfrom()


def test_order_and_borders_are_kept(wire: Wire) -> None:
    sock = wire.udp(7)
    sent = [bytes([i]) * i for i in range(20)]
    for data in sent:
        wire.sends(datagram(wire, 7, data))
    assert gets(sock) == sent


def test_a_short_buffer_cuts_and_throws_the_rest_away(wire: Wire) -> None:
    sock = wire.udp(7)
    wire.sends(datagram(wire, 7, b"0123456789"))
    wire.sends(datagram(wire, 7, b"next"))
    assert sock.recvfrom(4)[0] == b"0123"
    assert sock.recvfrom(4)[0] == b"next"


def test_peek_and_trunc(wire: Wire) -> None:
    sock = wire.udp(7)
    wire.sends(datagram(wire, 7, b"0123456789"))
    assert sock.recvfrom(4, MSG_PEEK)[0] == b"0123"
    assert sock.unread == 10
    assert len(sock.recv(4, MSG_TRUNC)) == 4
    assert not sock.ready & IN


def test_nobody_listens(wire: Wire) -> None:
    with wire.counts("drop_udp_no_socket"):
        wire.sends(datagram(wire, 7))
    packet = wire.expects(is_unreachable(code=3) & is_ip(src=wire.here, dst=PEER))
    assert packet.icmp is not None
    assert packet.icmp.quoted == datagram(wire, 7)  # type: ignore[union-attr]


def test_a_wrong_checksum(wire: Wire) -> None:
    sock = wire.udp(7)
    with wire.counts("drop_udp_checksum"):
        wire.sends(frames.wrong_sum(datagram(wire, 7)))
    assert gets(sock) == []
    wire.expects_nothing("1s")


def test_no_checksum_is_allowed(wire: Wire) -> None:
    sock = wire.udp(7)
    wire.sends(datagram(wire, 7, summed=False))
    assert gets(sock) == [b"hello"]


@pytest.mark.parametrize("length", [0, 7, 14, 0xFFFF])
def test_a_length_that_lies(wire: Wire, length: int) -> None:
    wire.udp(7)
    packet = datagram(wire, 7)
    packet = packet[:24] + length.to_bytes(2, "big") + packet[26:]
    with wire.counts("drop_udp_short"):
        wire.sends(frames.mended(packet))
    wire.expects_nothing()


def test_shorter_than_a_header(wire: Wire) -> None:
    with wire.counts("drop_udp_short"):
        wire.sends(frames.ip(wire.there, wire.here, 17, b"\0\x07\0\x07"))


def test_bytes_behind_the_length_are_padding(wire: Wire) -> None:
    sock = wire.udp(7)
    short = frames.Udp(5000, 7, b"hi").build(
        frames.IPv4Address(wire.there), frames.IPv4Address(wire.here)
    )
    wire.sends(frames.ip(wire.there, wire.here, 17, short + b"padding"))
    assert gets(sock) == [b"hi"]


def test_the_receive_buffer_is_bounded(wire: Wire) -> None:
    sock = wire.udp(7).set(rcvbuf=10_000)
    with wire.counts("drop_udp_receive_buffer_full", 13):
        for _ in range(20):
            wire.sends(datagram(wire, 7, bytes(1000)))
    assert len(gets(sock)) == 7, "each takes its bytes and 256 more"
    wire.sends(datagram(wire, 7))
    assert gets(sock) == [b"hello"]


def test_empty_datagrams_take_room_too(wire: Wire) -> None:
    sock = wire.udp(7).set(rcvbuf=2304)
    for _ in range(1000):
        wire.sends(datagram(wire, 7, b""))
    assert 1 <= len(gets(sock)) <= 9


def test_memory_runs_out(world: World) -> None:
    wire = Wire(world, buffer_bytes=1 << 20)
    socks = [wire.udp(7 + i).set(rcvbuf=1 << 20) for i in range(4)]
    for i in range(1200):
        wire.sends(datagram(wire, 7 + i % 4, bytes(1400)))
    assert wire.stack.counters()["drop_udp_receive_buffer_full"] > 0
    assert wire.stack.stats()["memory_chunks"] <= (64 + 4 + 1) << 14
    assert all(all(data == bytes(1400) for data in gets(sock)) for sock in socks)
    assert wire.stack.stats()["memory_chunks"] == 0


# ---- which socket --------------------------------------------------------------------------------


def test_the_more_exact_socket_gets_it(wire: Wire) -> None:
    anyone = wire.udp().set(reuseport=1).bind("0.0.0.0", 7)
    address = wire.udp().set(reuseport=1).bind(wire.here, 7)
    connected = wire.udp().set(reuseport=1).bind(wire.here, 7).connect(PEER, 5000)
    wire.sends(datagram(wire, 7, b"1", sport=5000))
    wire.sends(datagram(wire, 7, b"2", sport=5001))
    address.close()
    wire.sends(datagram(wire, 7, b"3", sport=5001))
    assert (gets(anyone), gets(connected)) == ([b"3"], [b"1"])


def test_a_connected_socket_hears_only_its_peer(wire: Wire) -> None:
    sock = wire.udp(7).connect(PEER, 5000)
    with wire.counts("drop_udp_no_socket"):
        wire.sends(datagram(wire, 7, b"stranger", sport=5001))
    wire.sends(datagram(wire, 7, b"friend", sport=5000))
    assert gets(sock) == [b"friend"]
    wire.drain()


def test_reuseport_shares_flows(wire: Wire) -> None:
    socks = [wire.udp().set(reuseport=1).bind("0.0.0.0", 7) for _ in range(4)]
    for sport in range(5000, 5064):
        wire.sends(datagram(wire, 7, sport=sport))
        wire.sends(datagram(wire, 7, sport=sport))
    counts = [len(gets(sock)) for sock in socks]
    assert sum(counts) == 128
    assert min(counts) >= 8, f"shared as {counts}"
    assert all(n % 2 == 0 for n in counts), "a flow stays with its socket"


def test_ports_of_tcp_and_udp_are_apart(wire: Wire) -> None:
    wire.tcp().bind("0.0.0.0", 7).listen()
    sock = wire.udp(7)
    wire.sends(datagram(wire, 7))
    assert gets(sock) == [b"hello"]


def test_a_port_in_use(wire: Wire) -> None:
    wire.udp(7)
    with pytest.raises(OSError) as caught:
        wire.udp(7)
    assert caught.value.errno == errno.EADDRINUSE


# ---- out -----------------------------------------------------------------------------------------


def test_send(wire: Wire) -> None:
    sock = wire.udp(7)
    assert sock.sendto(b"hello", PEER, 5000) == 5
    wire.expects(is_udp(7, 5000, b"hello") & is_ip(src=wire.here, dst=PEER, ttl=64, df=True))


def test_an_unbound_socket_gets_a_port(wire: Wire) -> None:
    sock = wire.udp()
    sock.sendto(b"x", PEER, 5000)
    packet = wire.expects(is_udp(dport=5000))
    assert packet.udp is not None
    assert 32_768 <= packet.udp.sport <= 60_999
    assert sock.name == ("0.0.0.0", packet.udp.sport)


@pytest.mark.parametrize("size", [0, 1, 2, 100, 1471, 1472])
def test_sizes(wire: Wire, size: int) -> None:
    wire.udp(7).sendto(frames.pattern(size), PEER, 5000)
    wire.expects(is_udp(data=frames.pattern(size)))


def test_send_without_destination(wire: Wire) -> None:
    with pytest.raises(OSError) as caught:
        wire.udp(7).send(b"x")
    assert caught.value.errno == errno.EDESTADDRREQ


def test_connected(wire: Wire) -> None:
    sock = wire.udp().connect(PEER, 5000)
    assert sock.peer == (PEER, 5000)
    assert sock.name[0] == wire.here
    sock.send(b"x")
    wire.expects(is_udp(dport=5000))
    sock.sendto(b"y", PEER, 5001)
    wire.expects(is_udp(dport=5001))


def test_disconnected_again(wire: Wire) -> None:
    sock = wire.udp(7).connect(PEER, 5000)
    sock.disconnect()
    with pytest.raises(OSError) as caught:
        _ = sock.peer
    assert caught.value.errno == errno.ENOTCONN
    wire.sends(datagram(wire, 7, sport=5001))
    assert gets(sock) == [b"hello"]


def test_too_long(wire: Wire) -> None:
    with pytest.raises(OSError) as caught:
        wire.udp(7).sendto(bytes(65_508), PEER, 5000)
    assert caught.value.errno == errno.EMSGSIZE


def test_too_long_for_df(wire: Wire) -> None:
    """IP_PMTUDISC_DO."""
    sock = wire.udp(7).set(mtu_discover=2)
    with pytest.raises(OSError) as caught:
        sock.sendto(bytes(1473), PEER, 5000)
    assert caught.value.errno == errno.EMSGSIZE


def test_ttl_and_tos(wire: Wire) -> None:
    wire.udp(7).set(ttl=3, tos=0x28).sendto(b"x", PEER, 5000)
    wire.expects(is_ip(ttl=3, tos=0x28))


@pytest.mark.parametrize(
    ("host", "port", "error"),
    [
        ("203.0.113.1", 5000, errno.ENETUNREACH),
        (PEER, 0, errno.EINVAL),
        ("198.18.0.255", 5000, errno.EACCES),
        ("255.255.255.255", 5000, errno.EACCES),
    ],
)
def test_destinations_that_do_not_work(wire: Wire, host: str, port: int, error: int) -> None:
    with pytest.raises(OSError) as caught:
        wire.udp(7).sendto(b"x", host, port)
    assert caught.value.errno == error


def test_sending_waits_for_the_transmit_queue(world: World) -> None:
    wire = Wire(world, ring=16)
    sock = wire.udp(7)
    sent = 0
    try:
        for _ in range(1000):
            sock.sendto(b"x", PEER, 5000)
            sent += 1
    except BlockingIOError:
        pass
    assert sent == 256
    assert not sock.ready & OUT
    wire.drain()
    assert sock.ready & OUT


# ---- broadcast -----------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["198.18.0.255", "255.255.255.255"])
def test_broadcast_out(wire: Wire, host: str) -> None:
    wire.udp(7).set(broadcast=1).sendto(b"all", host, 5000)
    wire.expects(is_udp(7, 5000, b"all") & is_ip(src=wire.here, dst=host))


def test_broadcast_out_on_ethernet(ether: Wire) -> None:
    ether.udp(7).set(broadcast=1).sendto(b"all", "255.255.255.255", 5000)
    packet = ether.expects(is_udp(data=b"all"))
    assert packet.eth is not None and packet.eth.dst == b"\xff" * 6


@pytest.mark.parametrize("host", ["198.18.0.255", "255.255.255.255"])
def test_broadcast_in_goes_to_everyone(wire: Wire, host: str) -> None:
    one = wire.udp().set(reuseaddr=1).bind("0.0.0.0", 7)
    two = wire.udp().set(reuseaddr=1).bind("0.0.0.0", 7)
    exact = wire.udp().set(reuseaddr=1).bind(wire.here, 7)
    wire.sends(frames.udp(wire.there, host, 5000, 7, b"all"))
    assert (gets(one), gets(two), gets(exact)) == ([b"all"], [b"all"], [])


def test_a_broadcast_nobody_wants_is_not_answered(wire: Wire) -> None:
    """RFC 1122 3.2.2."""
    with wire.counts("drop_udp_no_socket"):
        wire.sends(frames.udp(wire.there, "198.18.0.255", 5000, 7, b"all"))
    wire.expects_nothing("1s")


# ---- errors --------------------------------------------------------------------------------------


def refuse(wire: Wire, code: int = 3, mtu: int = 0) -> None:
    sent = wire.expects(is_udp())
    wire.sends(frames.unreachable(PEER, wire.here, code, sent.l3, mtu))


def test_a_connected_socket_hears_that_it_was_refused(wire: Wire) -> None:
    sock = wire.udp().connect(PEER, 5000)
    sock.send(b"x")
    with wire.counts("icmp_errors_applied"):
        refuse(wire)
    assert sock.ready & ERR
    with pytest.raises(ConnectionRefusedError):
        sock.recv()
    sock.send(b"y")
    refuse(wire)
    with pytest.raises(ConnectionRefusedError):
        sock.send(b"z")
    assert not sock.ready & ERR


def test_an_unconnected_socket_does_not_hear(wire: Wire) -> None:
    sock = wire.udp(7)
    sock.sendto(b"x", PEER, 5000)
    refuse(wire)
    assert not sock.ready & ERR


def test_unless_it_asks_for_errors(wire: Wire) -> None:
    sock = wire.udp(7).set(recverr=1)
    sock.sendto(b"x", PEER, 5000)
    refuse(wire, code=1)
    assert sock.take_error() == errno.EHOSTUNREACH


def test_soft_errors_are_not_told(wire: Wire) -> None:
    sock = wire.udp().connect(PEER, 5000)
    sock.send(b"x")
    with wire.counts("drop_icmp_changes_nothing"), wire.counts("icmp_errors_applied", 0):
        refuse(wire, code=0)
    assert sock.take_error() == 0


def test_a_parameter_problem_is_told(wire: Wire) -> None:
    """RFC 1122 3.2.2.5; Linux's errno."""
    sock = wire.udp().connect(PEER, 5000)
    sock.send(b"x")
    about = wire.expects(is_udp()).l3
    wire.sends(frames.icmp_message(PEER, wire.here, icmp.ParameterProblem(1, about)))
    assert sock.take_error() == errno.EPROTO


def test_fragmentation_needed(wire: Wire) -> None:
    """RFC 1191: the socket is told, and later datagrams are cut to the path."""
    sock = wire.udp().set(mtu_discover=2).connect(PEER, 5000)
    sock.send(bytes(1472))
    refuse(wire, code=4, mtu=1000)
    assert sock.take_error() == errno.EMSGSIZE
    with pytest.raises(OSError) as caught:
        sock.send(bytes(1472))
    assert caught.value.errno == errno.EMSGSIZE
    sock.send(bytes(972))
    wire.expects(is_udp() & is_ip(df=True))


def test_an_error_for_a_socket_that_is_gone(wire: Wire) -> None:
    sock = wire.udp(7)
    sock.sendto(b"x", PEER, 5000)
    wire.world.rest()
    sock.close()
    with wire.counts("drop_icmp_no_owner"):
        refuse(wire)


# ---- inside the stack ----------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "198.18.0.1"])
def test_loopback(wire: Wire, host: str) -> None:
    server, client = wire.udp(7), wire.udp()
    client.sendto(frames.pattern(60_000), host, 7)
    wire.world.rest()
    data, source = server.recvfrom()
    assert data == frames.pattern(60_000)
    assert source == (host if host == wire.here else "127.0.0.1", client.name[1])
    wire.expects_nothing()


def test_refused_on_the_loopback(wire: Wire) -> None:
    sock = wire.udp().connect("127.0.0.1", 9)
    sock.send(b"x")
    wire.world.rest()
    assert sock.take_error() == errno.ECONNREFUSED


def test_shutdown(wire: Wire) -> None:
    sock = wire.udp(7).connect(PEER, 5000)
    sock.shutdown(1)
    with pytest.raises(BrokenPipeError):
        sock.send(b"x")
    sock.shutdown(0)
    assert sock.recv() == b""


def test_too_long_is_said_before_shut_and_before_an_error(wire: Wire) -> None:
    """As Linux: what the call got wrong comes first, and the error stays."""
    sock = wire.udp(7).connect(PEER, 5000)
    sock.shutdown(1)
    for _ in range(2):
        with pytest.raises(OSError) as caught:
            sock.send(bytes(65508))
        assert caught.value.errno == errno.EMSGSIZE


@pytest.mark.parametrize("option", ["keepalive", "oobinline"])
def test_options_without_a_meaning_here_read_as_set(wire: Wire, option: str) -> None:
    sock = wire.udp(7)
    assert sock.get(option) == 0
    sock.set(**{option: 5})
    assert sock.get(option) == 1
    sock.set(**{option: 0})
    assert sock.get(option) == 0


def test_close_gives_all_memory_back(wire: Wire) -> None:
    sock = wire.udp(7)
    for _ in range(50):
        wire.sends(datagram(wire, 7, bytes(1400)))
    sock.close()
    assert wire.stack.stats()["memory_chunks"] == 0
    assert wire.stack.stats()["sockets"] == 0


def test_source_quench_is_discarded(wire: Wire) -> None:
    """RFC 6633 section 6."""
    sock = wire.udp().connect(PEER, 5000).set(recverr=1)
    sock.send(b"x")
    about = wire.expects(is_udp(data=b"x")).l3[:28]
    quench = icmp.Other(4, data=about)
    wire.sends(frames.icmp_message(PEER, wire.here, quench))
    assert sock.take_error() == 0
    sock.send(b"y")
    wire.expects(is_udp(data=b"y"))
