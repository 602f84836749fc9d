"""What else Linux's TCP does that a stack must live with: ECN, fast open, a cable pulled."""

from __future__ import annotations

import socket
import threading

import pytest

from tests.netns.link import (
    DIRECTIONS,
    KERNEL,
    OURS,
    PATIENCE,
    Thread,
    pattern,
    receive_all,
    receive_exactly,
    until,
)

pytestmark = pytest.mark.netns


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_kernel_asks_for_ecn(link, direction):
    """Its SYN has ECE and CWR set; we agree, and every byte arrives."""
    link.ns.sysctl("net.ipv4.tcp_ecn", 1)
    ours, kernels = link.tcp(direction)
    thread = Thread(kernels.sendall, pattern(100_000))
    assert receive_exactly(ours, 100_000) == pattern(100_000)
    thread.result()


def test_the_kernel_tries_fast_open(link):
    """Its SYN asks for a cookie (RFC 7413); we have none, and the data come after the handshake."""
    link.ns.sysctl("net.ipv4.tcp_fastopen", 1)
    listener, kernels = link.our_listener(), link.kernels()
    kernels.settimeout(None)  # otherwise it is connect() alone
    sent = Thread(kernels.sendto, b"data", socket.MSG_FASTOPEN, listener.getsockname())
    sock = link.keep(listener.accept()[0])
    assert sock.recv(100) == b"data"
    assert sent.result() == 4


def set_link(ns, **settings):
    from pyroute2 import IPRoute

    def change():
        with IPRoute() as ip:
            ip.link("set", index=ip.link_lookup(ifname="tap0")[0], **settings)

    ns.call(change)


def test_a_connection_outlives_a_cable_that_is_pulled(link):
    ours, kernels = link.tcp("we connect")
    data = pattern(3_000_000)
    threads = [Thread(ours.sendall, data), Thread(kernels.sendall, data)]
    assert receive_exactly(kernels, 1000) == data[:1000]
    set_link(link.ns, state="down")
    before = link.counters().get("tcp_retransmission_timeouts", 0)
    until(lambda: link.counters().get("tcp_retransmission_timeouts", 0) > before, "we notice")
    set_link(link.ns, state="up")
    readers = [Thread(receive_exactly, kernels, len(data) - 1000)]
    readers.append(Thread(receive_exactly, ours, len(data)))
    assert readers[0].result() == data[1000:] and readers[1].result() == data
    for thread in threads:
        thread.result()


def test_the_kernel_lowers_its_mtu_in_between(link):
    """It drops what is longer than its new MTU without a word: our segments get smaller in time, or
    the kernel takes them still. Every byte arrives."""
    ours, kernels = link.tcp("we connect")
    assert_exchange(ours, kernels, 100_000)
    set_link(link.ns, mtu=1000)
    assert_exchange(ours, kernels, 100_000)


def assert_exchange(ours, kernels, size):
    for a, b in ((ours, kernels), (kernels, ours)):
        thread = Thread(a.sendall, pattern(size))
        assert receive_exactly(b, size) == pattern(size)
        thread.result()


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_many_threads_with_a_connection_each(link, direction):
    """The role of the driver goes round among them; each has its own echo."""
    count, rounds = 12, 150
    if direction == "we connect":
        peer = link.peer("echo", KERNEL, 7000, count)
        peer.line()
        clients = [link.ours() for _ in range(count)]
        for sock in clients:
            sock.connect((KERNEL, 7000))
        servers = []
    else:
        listener = link.our_listener(7000)
        clients = [link.kernels() for _ in range(count)]
        servers = []
        for sock in clients:
            sock.connect((OURS, 7000))
            servers.append(link.keep(listener.accept()[0]))
    start = threading.Barrier(count)

    def ask(sock, number):
        start.wait(PATIENCE)
        for i in range(rounds):
            message = pattern(1 + (number * 131 + i * 17) % 5000)
            sock.sendall(message)
            assert receive_exactly(sock, len(message)) == message
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""

    def echo(sock):
        while data := sock.recv(65536):
            sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)

    threads = [Thread(echo, sock) for sock in servers]
    threads += [Thread(ask, sock, number) for number, sock in enumerate(clients)]
    for thread in threads:
        thread.result()


def test_many_connections_through_a_bad_network(make_link):
    """Twenty at once, each with its own losses; every byte of every one arrives."""
    link = make_link(device="loss=2%&reorder=1%&duplicate=1%&delay=1ms&seed=11")
    count, size = 20, 60_000
    listener = link.our_listener(backlog=count)
    kernels = [link.kernels() for _ in range(count)]
    threads = [Thread(sock.connect, listener.getsockname()) for sock in kernels]
    accepted = [link.keep(listener.accept()[0]) for _ in kernels]
    for thread in threads:
        thread.result()
    data = pattern(size)
    senders = [Thread(send_and_end, sock, data) for sock in (*kernels, *accepted)]
    readers = [Thread(receive_all, sock) for sock in (*accepted, *kernels)]
    assert all(reader.result() == data for reader in readers)
    for sender in senders:
        sender.result()


def send_and_end(sock, data):
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)
