"""TCP Fast Open (RFC 7413) as a server, towards a scripted client."""

from __future__ import annotations

import errno

import pytest
from barewire.stack import ffi, lib
from barewire.stack.tcp import (
    FastOpen,
    Mss,
    UnknownOption,
)

from tests.kit.checks import has_option
from tests.kit.frames import pattern
from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import HUP, Sock
from tests.kit.wire import Wire
from tests.kit.world import World

MSG_FASTOPEN = 0x20000000
NO_OPTION = ~has_option("fast_open")


def keys(sock: Sock, new: bytes = b"") -> bytes:
    """TCP_FASTOPEN_KEY."""
    got = ffi.new("uint8_t[32]")
    n = lib.host_fastopen_key(sock._host, sock._handle, new, len(new), got)
    if n < 0:
        raise OSError(-n, "TCP_FASTOPEN_KEY")
    return bytes(ffi.buffer(got, n))


def syn(peer: TcpPeer, cookie: bytes | None, n: int = 0) -> None:
    options = (Mss(1460),) if cookie is None else (Mss(1460), FastOpen(cookie))
    peer.sends("S", seq=0, data=pattern(n), options=options)


def cookie_for(tcp: Tcp, asker: TcpPeer | None = None) -> bytes:
    """Asks the listener for one, and lets that connection go."""
    asker = asker or tcp.another_peer(9999)
    asker.stack_port = 80
    syn(asker, b"")
    answer = tcp.expects("SA", seq=0, ack=1, to=asker).tcp
    assert answer is not None and answer.fast_open
    asker.sends("R", seq=1)
    return answer.fast_open


# ---- server ------------------------------------------------------------------------------------


def test_a_cookie_is_given_to_who_asks(tcp: Tcp, peer: TcpPeer) -> None:
    """4.2.1: data that comes with the question is not taken."""
    listener = tcp.listens(fastopen=16)
    with tcp.counts("tcp_fastopen_cookie_requests"):
        syn(peer, b"", 10)
    answer = tcp.expects("SA", seq=0, ack=1, check=has_option("fast_open")).tcp
    assert answer is not None and answer.fast_open is not None and len(answer.fast_open) == 8
    assert not listener.readable
    peer.sends(seq=1, ack=1)
    assert listener.accept().state == "ESTABLISHED"


def test_data_of_the_syn_is_there_at_once(tcp: Tcp, peer: TcpPeer) -> None:
    """4.2.2: accepted, read and answered before the handshake ends."""
    listener = tcp.listens(fastopen=16)
    cookie = cookie_for(tcp)
    with tcp.counts("tcp_fastopen_passive"):
        syn(peer, cookie, 100)
    tcp.expects("SA", seq=0, ack=101, check=NO_OPTION)
    sock = listener.accept()
    assert sock.state == "SYN_RCVD"
    tcp.reads(sock, 100)
    assert sock.writable
    tcp.sends(sock, 3000)
    tcp.expects("A", seq=1, ack=101, len=1460)
    tcp.expects("A", seq=1461, ack=101, len=1460)
    peer.sends("A", ack=2921)
    assert sock.state == "ESTABLISHED"
    tcp.expects("A", seq=2921, len=80)
    tcp.transfers(sock, 20_000)
    peer.sends(len=50)
    tcp.expects(ack=151)


def test_a_cookie_without_data_opens_early_too(tcp: Tcp, peer: TcpPeer) -> None:
    """4.2: the server may speak first."""
    listener = tcp.listens(fastopen=16)
    syn(peer, cookie_for(tcp))
    tcp.expects("SA", seq=0, ack=1)
    sock = listener.accept()
    tcp.sends(sock, 10)
    tcp.expects("A", seq=1, ack=1, len=10)


@pytest.mark.parametrize("cookie", [b"12345678", b"1234", bytes(16)])
def test_a_wrong_cookie_is_a_plain_handshake_and_brings_the_right_one(
    tcp: Tcp, peer: TcpPeer, cookie: bytes
) -> None:
    listener = tcp.listens(fastopen=16)
    right = cookie_for(tcp)
    with tcp.counts("tcp_fastopen_passive_fail"):
        syn(peer, cookie, 100)
    tcp.expects("SA", seq=0, ack=1, check=has_option("fast_open", right))
    assert not listener.readable
    peer.sends("A", seq=1, ack=1, data=pattern(100))
    tcp.expects("A", ack=101)
    tcp.reads(listener.accept(), 100)


def test_a_cookie_is_of_one_address(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.listens(fastopen=16)
    cookie = cookie_for(tcp)
    peer.address = "198.18.0.77"
    syn(peer, cookie, 10)
    tcp.expects("SA", ack=1)


@pytest.mark.parametrize("options", [{}, {"fastopen": 0}])
def test_without_the_option_on_the_listener_there_is_no_fast_open(
    tcp: Tcp, peer: TcpPeer, options: dict[str, int]
) -> None:
    tcp.listens(**options)
    syn(peer, b"", 10)
    tcp.expects("SA", ack=1, check=NO_OPTION)


def test_a_stack_may_forbid_it(world: World) -> None:
    tcp = Tcp(Wire(world, fast_open=0))
    tcp.listens(fastopen=16)
    syn(tcp.peer, b"")
    tcp.expects("SA", check=NO_OPTION)
    sock = tcp.wire.tcp()
    with pytest.raises(OSError, match="not supported"):
        sock.set(fastopen_connect=1)
    with pytest.raises(OSError) as caught:
        sock.sendto(b"x", tcp.peer.address, 80, MSG_FASTOPEN)
    assert caught.value.errno == errno.EOPNOTSUPP


def test_pending_children_are_limited(tcp: Tcp, peer: TcpPeer) -> None:
    """5.1: who comes when so many are pending shakes hands first."""
    listener = tcp.listens(fastopen=2)
    cookie = cookie_for(tcp)
    peers = [tcp.another_peer(6000 + i) for i in range(3)]
    for other in peers[:2]:
        syn(other, cookie, 10)
        tcp.expects("SA", ack=11, to=other)
    with tcp.counts("tcp_fastopen_listen_overflow"):
        syn(peers[2], cookie, 10)
    tcp.expects("SA", ack=1, to=peers[2])
    listener.accept()
    peers[0].sends("A")
    syn(peer, cookie, 10)
    tcp.expects("SA", ack=11, why="one is pending no more")


def test_children_that_are_reset_count_for_a_minute(tcp: Tcp, peer: TcpPeer) -> None:
    """5.1: or an attacker with resets could have as many as he likes."""
    listener = tcp.listens(fastopen=1)
    cookie = cookie_for(tcp)
    syn(peer, cookie, 10)
    tcp.expects("SA", ack=11)
    peer.sends("R", seq=11)
    dead = listener.accept()
    assert dead.recv() == pattern(10), "as on Linux"
    with pytest.raises(ConnectionResetError):
        dead.recv()
    other = tcp.another_peer(6000)
    syn(other, cookie, 10)
    tcp.expects("SA", ack=1, to=other)
    tcp.drain("2min")
    third = tcp.another_peer(6001)
    syn(third, cookie, 10)
    tcp.expects("SA", ack=11, to=third)


def test_the_synack_comes_again_without_the_data(tcp: Tcp, peer: TcpPeer) -> None:
    listener = tcp.listens(fastopen=16)
    cookie = cookie_for(tcp)
    syn(peer, cookie, 100)
    tcp.expects("SA", ack=101)
    sock = listener.accept()
    tcp.sends(sock, 10)
    tcp.expects(len=10)
    tcp.expects("SA", seq=0, ack=101, len=0, after="1s")
    syn(peer, cookie, 100)
    tcp.expects("SA", seq=0, ack=101, why="the SYN came again")
    assert sock.unread == 100, "once"
    peer.sends("A", ack=11)
    assert (sock.state, sock.unacked) == ("ESTABLISHED", 0)


def test_an_answer_that_is_lost_is_sent_again_after_the_handshake(tcp: Tcp, peer: TcpPeer) -> None:
    listener = tcp.listens(fastopen=16)
    syn(peer, cookie_for(tcp), 100)
    tcp.expects("SA", ack=101)
    sock = listener.accept()
    tcp.sends(sock, 10)
    tcp.expects(len=10)
    peer.sends("A", ack=1)
    assert sock.state == "ESTABLISHED"
    tcp.expects(seq=1, len=10, within="3s")


def test_closed_before_the_handshake_ends(tcp: Tcp, peer: TcpPeer) -> None:
    """A whole exchange in one round trip."""
    listener = tcp.listens(fastopen=16)
    syn(peer, cookie_for(tcp), 100)
    tcp.expects("SA", ack=101)
    sock = listener.accept()
    tcp.reads(sock, 100)
    sock.send(pattern(10))
    sock.close()
    tcp.run("0s")
    tcp.expects("FA", seq=1, ack=101, len=10)
    peer.sends("FA", ack=12)
    tcp.expects("A", ack=102)
    tcp.drain("2min")
    assert tcp.stack.stats()["sockets"] == 1


def test_a_reset_tells_who_has_accepted(tcp: Tcp, peer: TcpPeer) -> None:
    listener = tcp.listens(fastopen=16)
    syn(peer, cookie_for(tcp), 100)
    tcp.expects("SA")
    sock = listener.accept()
    tcp.reads(sock, 100)
    peer.sends("R")
    assert sock.ready & HUP
    with pytest.raises(ConnectionResetError):
        sock.recv()


def test_an_early_child_without_an_answer_times_out(tcp: Tcp, peer: TcpPeer) -> None:
    listener = tcp.listens(fastopen=16)
    syn(peer, cookie_for(tcp), 100)
    sock = listener.accept()
    tcp.drain("2min")
    assert (sock.state, sock.take_error()) == ("CLOSED", errno.ETIMEDOUT)


def test_the_listener_closes_while_children_are_pending(tcp: Tcp, peer: TcpPeer) -> None:
    listener = tcp.listens(fastopen=16)
    cookie = cookie_for(tcp)
    syn(peer, cookie, 100)
    sock = listener.accept()
    waiting = tcp.another_peer(6000)
    syn(waiting, cookie, 10)
    tcp.drain()
    tcp.closes(listener)
    tcp.expects("RA", to=waiting)
    tcp.reads(sock, 100)
    peer.irs = sock.inside.iss
    peer.sends("A", ack=1)
    assert sock.state == "ESTABLISHED"
    sock.abort()
    tcp.drain()
    assert tcp.stack.stats()["sockets"] == 0


def test_keys_can_be_changed_with_a_backup(tcp: Tcp, peer: TcpPeer) -> None:
    """tcp(7) TCP_FASTOPEN_KEY: cookies of the backup key count, and are replaced."""
    listener = tcp.listens(fastopen=16)
    assert len(keys(listener)) == 16, "the stack's own"
    old, new = bytes(range(16)), bytes(range(50, 66))
    assert keys(listener, old) == old
    cookie = cookie_for(tcp)
    assert keys(listener, new + old) == new + old
    syn(peer, cookie, 10)
    answer = tcp.expects("SA", ack=11, check=has_option("fast_open")).tcp
    assert answer is not None and answer.fast_open != cookie
    keys(listener, new)
    other = tcp.another_peer(6000)
    syn(other, cookie, 10)
    tcp.expects("SA", ack=1, check=has_option("fast_open", answer.fast_open), to=other)
    for bad in (b"short", bytes(17), bytes(33)):
        with pytest.raises(OSError):
            keys(listener, bad)


def test_a_listener_may_do_without_cookies(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.listens(fastopen=16, fastopen_no_cookie=1)
    syn(peer, None, 10)
    tcp.expects("SA", ack=11, check=NO_OPTION)


def test_an_option_of_a_wrong_length_is_ignored(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.listens(fastopen=16)
    for data in (b"1", b"12", b"12345", bytes(18)):
        other = tcp.another_peer(6000 + len(data))
        other.sends("S", seq=0, options=(Mss(1460), UnknownOption(34, data)))
        tcp.expects("SA", ack=1, check=NO_OPTION, to=other)


def test_the_answer_before_the_handshake_is_bounded(tcp: Tcp, peer: TcpPeer) -> None:
    """5.2: whoever has stolen a cookie turns no more than an initial window on its owner."""
    listener = tcp.listens(fastopen=16)
    syn(peer, cookie_for(tcp), 10)
    tcp.expects("SA", ack=11)
    sock = listener.accept()
    sock.send(bytes(100_000))
    sizes = [len(p.tcp.payload) for p in tcp.drain("500ms") if p.tcp]
    assert 5 * 1460 <= sum(sizes) <= 10 * 1460


def test_a_flood_switches_it_off(tcp: Tcp, peer: TcpPeer) -> None:
    """5.1: half-open children at their bound: a SYN cookie, which knows nothing of data."""
    tcp.listens(backlog=4, fastopen=16)
    cookie = cookie_for(tcp)
    for i in range(128):
        other = tcp.another_peer(20_000 + i)
        other.sends("S", seq=0)
        tcp.drain(to=other)
    with tcp.counts("tcp_syn_cookies_sent"):
        syn(peer, cookie, 10)
    tcp.expects("SA", ack=1, check=NO_OPTION)


def test_options_say_what_they_are(tcp: Tcp) -> None:
    listener = tcp.listens(fastopen=7)
    assert listener.get("fastopen") == 7
    assert listener.set(fastopen_no_cookie=1).get("fastopen_no_cookie") == 1
    with pytest.raises(OSError):
        listener.set(fastopen=-1)
    with pytest.raises(OSError):
        listener.set(fastopen_connect=1)
    assert tcp.wire.tcp().set(fastopen_connect=1).get("fastopen_connect") == 1
