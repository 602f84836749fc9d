"""Bulk data over TCP between a stack and the kernel: whole, both ways, at any pace, MTU and loss."""

from __future__ import annotations

import hashlib
import socket

import pytest

from tests.netns.link import (
    DIRECTIONS,
    KERNEL,
    OURS,
    Thread,
    pattern,
    receive_all,
    receive_exactly,
    receive_hash,
    until,
)

pytestmark = pytest.mark.netns

MB = 1 << 20


def our_end(link, program, direction):
    """Our end of the connection that the program of the kernel's side makes or awaits."""
    if direction == "we connect":
        peer = link.peer(program[0], "listen", KERNEL, 7000, *program[1:])
        peer.line()
        sock = link.ours()
        sock.connect((KERNEL, 7000))
    else:
        listener = link.our_listener(7000)
        peer = link.peer(program[0], "connect", OURS, 7000, *program[1:])
        sock = link.keep(listener.accept()[0])
    return peer, sock


def gbits(answer):
    return f"{answer['bytes'] * 8 / answer['seconds'] / 1e9:.2f} Gbit/s"


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_64_megabytes_from_the_kernel(link, direction):
    peer, sock = our_end(link, ("source", 64 * MB), direction)
    got = receive_hash(sock)
    sock.close()
    answer = peer.json()
    print(gbits(answer), link.counters())
    assert got == (answer["bytes"], answer["sha256"])


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_64_megabytes_to_the_kernel(link, direction):
    peer, sock = our_end(link, ("sink",), direction)
    block = pattern(MB)
    digest = hashlib.sha256()
    for _ in range(64):
        sock.sendall(block)
        digest.update(block)
    sock.close()
    answer = peer.json()
    print(gbits(answer), link.counters())
    assert (answer["bytes"], answer["sha256"]) == (64 * MB, digest.hexdigest())


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_both_directions_at_once(link, direction):
    ours, kernels = link.tcp(direction)
    up, down = pattern(4 * MB), bytes(reversed(pattern(4 * MB)))

    def send(sock, data):
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)

    work = [
        Thread(send, ours, up), Thread(send, kernels, down),
        Thread(receive_all, ours), Thread(receive_all, kernels),
    ]  # fmt: skip
    results = [thread.result() for thread in work]
    assert results[2] == down and results[3] == up


@pytest.mark.parametrize("mtu", [576, 1500, 9000])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_any_mtu(make_link, mtu, direction):
    link = make_link(mtu=mtu)
    exchange(*link.tcp(direction), 4 * MB)


def exchange(ours, kernels, size):
    """size bytes each way, one after the other; each end then says its end."""
    data = pattern(size)
    for sender, receiver in ((ours, kernels), (kernels, ours)):
        thread = Thread(sender.sendall, data)
        assert receive_exactly(receiver, size) == data
        thread.result()
    ours.shutdown(socket.SHUT_WR)
    assert kernels.recv(1) == b""
    kernels.shutdown(socket.SHUT_WR)
    assert ours.recv(1) == b""


# ---- windows ---------------------------------------------------------------------------------------


def test_we_read_slowly(link):
    """The kernel meets a closed window again and again."""
    ours, kernels = link.tcp("we connect", small_buffers)
    data = pattern(2 * MB)
    thread = Thread(kernels.sendall, data)
    got = bytearray()
    while len(got) < len(data):
        part = receive_exactly(ours, min(50_000, len(data) - len(got)))
        ping = link.ping(KERNEL)  # time goes by, and the window is closed
        assert ping.error is None
        got += part
    thread.result()
    assert got == data


def test_the_kernel_reads_slowly(link):
    """We meet a closed window, and probe it."""
    ours, kernels = link.tcp("we connect", small_buffers)
    data = pattern(2 * MB)
    thread = Thread(ours.sendall, data)
    until(lambda: link.counters().get("tcp_zero_window_probes", 0) >= 2, "window probes")
    got = bytearray()
    while len(got) < len(data):
        got += receive_exactly(kernels, min(50_000, len(data) - len(got)))
        assert link.ping(KERNEL).error is None
    thread.result()
    assert got == data


def small_buffers(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)


def tiny_buffers(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_tiniest_buffers(link, direction):
    exchange(*link.tcp(direction, tiny_buffers), 100_000)


@pytest.mark.parametrize("who", ["we write", "the kernel writes"])
def test_byte_by_byte(link, who):
    """A slow writer: each byte is a segment of its own, or Nagle's."""
    ours, kernels = link.tcp("we connect")
    writer, reader = (ours, kernels) if who == "we write" else (kernels, ours)
    data = pattern(2000)
    for i in range(len(data)):
        writer.send(data[i : i + 1])
    assert receive_exactly(reader, len(data)) == data
    writer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for i in range(len(data)):
        writer.send(data[i : i + 1])
        assert reader.recv(1) == data[i : i + 1]


# ---- what is negotiated ----------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["tcp_sack", "tcp_timestamps", "tcp_window_scaling"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_kernel_goes_without_an_option(make_link, option, direction):
    link = make_link(device="loss=0.5%&seed=3")
    link.ns.sysctl(f"net.ipv4.{option}", 0)
    exchange(*link.tcp(direction), 2 * MB)


def test_the_kernel_goes_without_all_options(make_link):
    link = make_link(device="loss=0.5%&seed=3")
    for option in ("tcp_sack", "tcp_timestamps", "tcp_window_scaling"):
        link.ns.sysctl(f"net.ipv4.{option}", 0)
    exchange(*link.tcp("the kernel connects"), 2 * MB)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_all_options_are_agreed_on(link, direction):
    """The kernel's TCP_INFO: timestamps, SACK, window scaling (tcpi_options 1, 2, 4)."""
    _, kernels = link.tcp(direction)
    info = kernels.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    assert info[5] & 7 == 7
    assert info[6] & 0xF and info[6] >> 4, "both sides scale"


# ---- a bad network ---------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["1%", "5%"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_loss_both_ways(make_link, loss, direction):
    link = make_link(device=f"loss={loss}&seed=7")
    exchange(*link.tcp(direction), (4 if loss == "1%" else 1) * MB)
    print(link.counters())


def test_loss_reordering_duplicates_and_corruption_together(make_link):
    link = make_link(
        device="loss=1%&reorder=2%&hold=2ms&duplicate=2%&corrupt=0.5%&delay=1ms&seed=5",
    )
    exchange(*link.tcp("we connect"), MB)
    counters = link.counters()
    print(counters)


def test_a_slow_link_with_a_short_queue(make_link):
    link = make_link(device="rate=50mbit&backlog=30k&delay=5ms&seed=5")
    exchange(*link.tcp("we connect"), 2 * MB)
    print(link.counters())
