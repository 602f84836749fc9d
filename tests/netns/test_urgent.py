"""Urgent data between a stack and the kernel, either way."""

from __future__ import annotations

import fcntl
import select
import socket
import struct

import barewire.select
import pytest

from tests.netns.link import DIRECTIONS, PATIENCE, Thread, pattern, receive_all, receive_exactly

pytestmark = pytest.mark.netns

SIOCATMARK = 0x8905


def exceptional(sock):
    module = select if isinstance(sock, socket.socket) and type(sock) is socket.socket else None
    return (module or barewire.select).select([], [], [sock], PATIENCE)[2] == [sock]


def at_mark(sock):
    if hasattr(sock, "sockatmark"):
        return sock.sockatmark()
    return bool(struct.unpack("i", fcntl.ioctl(sock, SIOCATMARK, bytes(4)))[0])


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("sender", ["ours", "kernel's"])
def test_the_urgent_byte_arrives_apart(link, direction, sender):
    ours, kernels = link.tcp(direction)
    one, other = (ours, kernels) if sender == "ours" else (kernels, ours)
    one.sendall(b"before")
    one.send(b"!", socket.MSG_OOB)
    one.sendall(b"after")
    assert exceptional(other)
    other.settimeout(None)  # the kernel's module would wait for ordinary data
    assert other.recv(1, socket.MSG_OOB) == b"!"
    assert receive_exactly(other, 6) == b"before"
    assert at_mark(other)
    assert receive_exactly(other, 5) == b"after"


@pytest.mark.parametrize("sender", ["ours", "kernel's"])
def test_inline_within_much_data(link, sender):
    """More than the pointer reaches, and through the sender's segmentation offload."""
    ours, kernels = link.tcp("we connect")
    one, other = (ours, kernels) if sender == "ours" else (kernels, ours)
    other.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    data = pattern(200_000)

    def send():
        one.sendall(data)
        one.sendall(b"!", socket.MSG_OOB)
        one.sendall(data)
        one.shutdown(socket.SHUT_WR)

    thread = Thread(send)
    got = receive_all(other)
    thread.result()
    assert got == data + b"!" + data


@pytest.mark.parametrize("sender", ["ours", "kernel's"])
def test_urgent_data_behind_a_closed_window(link, sender):
    """The news arrives while the window is shut; the byte itself after it opens."""
    ours, kernels = link.tcp("we connect")
    one, other = (ours, kernels) if sender == "ours" else (kernels, ours)
    one.settimeout(0.2)
    sent = 0
    with pytest.raises(TimeoutError):
        while True:
            sent += one.send(bytes(65536))
    one.settimeout(None)
    thread = Thread(one.sendall, b"!", socket.MSG_OOB)
    assert receive_exactly(other, sent) == bytes(sent)
    assert exceptional(other)
    thread.result()
    other.settimeout(None)
    assert other.recv(1, socket.MSG_OOB) == b"!"
    one.shutdown(socket.SHUT_WR)
    assert receive_all(other) == b""
