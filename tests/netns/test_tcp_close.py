"""How TCP connections between a stack and the kernel end, and how they begin at the same time."""

from __future__ import annotations

import socket
import struct

import pytest

from tests.netns.link import DIRECTIONS, KERNEL, OURS, Thread, pattern, receive_all, until

pytestmark = pytest.mark.netns

LINGER_0 = struct.pack("ii", 1, 0)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_we_end_our_direction_first(link, direction):
    ours, kernels = link.tcp(direction)
    ours.sendall(b"request")
    ours.shutdown(socket.SHUT_WR)
    assert receive_all(kernels) == b"request"
    data = pattern(1_000_000)
    thread = Thread(kernels.sendall, data)
    while data:
        part = ours.recv(65536)
        assert data.startswith(part) and part
        data = data[len(part) :]
    thread.result()
    kernels.close()
    assert ours.recv(1) == b""


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_kernel_ends_its_direction_first(link, direction):
    ours, kernels = link.tcp(direction)
    kernels.sendall(b"request")
    kernels.shutdown(socket.SHUT_WR)
    assert receive_all(ours) == b"request"
    data = pattern(1_000_000)
    thread = Thread(receive_all, kernels)
    ours.sendall(data)
    ours.close()
    assert thread.result() == data


def test_sending_after_the_end_is_a_broken_pipe(link):
    ours, _ = link.tcp("we connect")
    ours.shutdown(socket.SHUT_WR)
    with pytest.raises(BrokenPipeError):
        ours.send(b"x")


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_we_reset_with_linger_0(link, direction):
    ours, kernels = link.tcp(direction)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
    ours.close()
    with pytest.raises(ConnectionResetError):
        kernels.recv(1)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_kernel_resets_with_linger_0(link, direction):
    ours, kernels = link.tcp(direction)
    thread = Thread(ours.recv, 1)
    kernels.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
    kernels.close()
    with pytest.raises(ConnectionResetError):
        thread.result()
    with pytest.raises(BrokenPipeError):
        ours.send(b"x")


def test_we_close_with_unread_data(link):
    """RFC 2525 2.17: the peer learns that its data were not read."""
    ours, kernels = link.tcp("we connect")
    kernels.sendall(b"never read")
    until(lambda: ours.recv(1, socket.MSG_PEEK), "the data")
    ours.close()
    with pytest.raises(ConnectionResetError):
        kernels.recv(1)


def test_the_kernel_closes_with_unread_data(link):
    ours, kernels = link.tcp("we connect")
    ours.sendall(b"never read")
    kernels.recv(1, socket.MSG_PEEK)
    kernels.close()
    with pytest.raises(ConnectionResetError):
        ours.recv(1)


def test_data_to_a_closed_socket_is_reset(link):
    """Our close was an orderly one; what comes later finds nobody."""
    ours, kernels = link.tcp("we connect")
    ours.close()
    assert kernels.recv(1) == b""
    kernels.send(b"late")
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        until(lambda: kernels.send(b"x") < 0, "an error")


def test_the_kernel_refuses(link):
    with pytest.raises(ConnectionRefusedError):
        link.ours().connect((KERNEL, 9))


def test_we_refuse(link):
    with pytest.raises(ConnectionRefusedError):
        link.kernels().connect((OURS, 9))


def test_a_closed_listener_refuses(link):
    listener = link.our_listener()
    address = listener.getsockname()
    link.kernels().connect(address)
    listener.close()
    with pytest.raises(ConnectionRefusedError):
        link.kernels().connect(address)


def test_connections_nobody_accepted_are_reset_with_their_listener(link):
    listener = link.our_listener()
    kernels = link.kernels()
    kernels.connect(listener.getsockname())
    kernels.send(b"x")
    listener.close()
    with pytest.raises(ConnectionResetError):
        kernels.recv(1)


def test_a_full_backlog_lets_the_kernel_try_again(link):
    """More connect than may wait; every one is served in the end."""
    listener = link.our_listener(backlog=2)
    threads = [Thread(connect_and_ask, link.kernels(), listener.getsockname()) for _ in range(12)]
    for _ in threads:
        sock, _ = listener.accept()
        link.keep(sock).sendall(b"answer")
    assert [thread.result() for thread in threads] == [b"answer"] * 12


def connect_and_ask(sock, address):
    sock.connect(address)
    return sock.recv(100)


def test_both_close_at_the_same_time(make_link):
    """With a delay on the way the two FINs cross: CLOSING, then TIME-WAIT."""
    link = make_link(device="delay=20ms")
    ours, kernels = link.tcp("we connect")
    link.state_changes()
    kernels.shutdown(socket.SHUT_WR)
    ours.shutdown(socket.SHUT_WR)
    assert ours.recv(1) == b"" == kernels.recv(1)
    ours.close()
    kernels.close()
    changes = [("FIN_WAIT_1", "CLOSING"), ("CLOSING", "TIME_WAIT")]
    seen = []
    until(lambda: seen.extend(link.state_changes()) or set(changes) <= set(seen), "CLOSING")


def test_both_connect_at_the_same_time(make_link):
    """Simultaneous open (RFC 9293 3.5): the two SYNs cross, one connection is made."""
    link = make_link(device="delay=50ms")
    ours, kernels = link.ours(), link.kernels()
    ours.bind((OURS, 7001))
    kernels.bind((KERNEL, 7002))
    ours.setblocking(False)
    kernels.setblocking(False)
    assert link.ping(KERNEL).error is None  # so that neither waits for the other's address
    ours.connect_ex((KERNEL, 7002))
    kernels.connect_ex((OURS, 7001))
    ours.settimeout(10)
    kernels.settimeout(10)
    kernels.connect_ex((OURS, 7001))
    ours.connect_ex((KERNEL, 7002))
    ours.sendall(b"ours")
    kernels.sendall(b"kernel's")
    assert kernels.recv(100) == b"ours"
    assert ours.recv(100) == b"kernel's"
    assert ("SYN_SENT", "SYN_RCVD") in link.state_changes()


def test_our_keepalive_finds_a_dead_peer(link):
    """The kernel's end goes silent: its packets are lost."""
    ours, _ = link.tcp("we connect", fast_keepalive)
    silence(link)
    with pytest.raises(TimeoutError) as caught:
        ours.recv(1)
    assert caught.value.errno is not None, "it is the connection's, not settimeout's"


def test_our_keepalive_is_answered_and_answers(link):
    """Both sides ask every second; both live on."""
    ours, kernels = link.tcp("we connect", fast_keepalive)
    until(lambda: link.counters().get("tcp_keepalive_probes", 0) >= 2, "our probes")
    ours.sendall(b"alive")
    assert kernels.recv(100) == b"alive"


def test_the_kernels_keepalive_finds_our_answers(link):
    """Only the kernel asks, for longer than it would bear silence."""
    ours, kernels = link.tcp("we connect")
    fast_keepalive(kernels)
    before = link.stack.interface_stats()["rx_frames"]
    until(lambda: link.stack.interface_stats()["rx_frames"] >= before + 4, "the kernel's probes")
    kernels.sendall(b"alive")
    assert ours.recv(100) == b"alive"


def fast_keepalive(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2)


def silence(link):
    """The kernel forgets how to reach us: what we send is not answered any more."""
    from pyroute2 import IPRoute

    def forget():
        with IPRoute() as ip:
            index = ip.link_lookup(ifname="tap0")[0]
            ip.flush_addr(index=index)

    link.ns.call(forget)
