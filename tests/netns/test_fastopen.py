"""TCP Fast Open with the kernel, both ways: who asks, who gives, and what a program sees."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

import pytest

from tests.netns.link import KERNEL, OURS, Link, Thread

pytestmark = pytest.mark.netns

FASTOPEN = socket.IPPROTO_TCP, getattr(socket, "TCP_FASTOPEN", 23)
CONNECT, KEY, NO_COOKIE = ((socket.IPPROTO_TCP, n) for n in (30, 33, 34))
PORT = 7413


@pytest.fixture
def both(link: Link) -> Link:
    """The kernel does both parts."""
    link.ns.sysctl("net.ipv4.tcp_fastopen", 3)
    return link


def kernel_counts(link: Link) -> dict[str, int]:
    with link.ns.entered(), open("/proc/thread-self/net/netstat", encoding="ascii") as file:
        names, values = [line.split()[1:] for line in file if line.startswith("TcpExt:")]
    return dict(zip(names, map(int, values), strict=True))


def serve(listener: Any) -> tuple[bytes, bytes]:
    """One request, answered."""
    sock, _ = listener.accept()
    with sock:
        sock.settimeout(20)
        request = sock.recv(1000)
        sock.sendall(request.upper())
        return request, sock.recv(1)


def ask(sock: Any, to: tuple[str, int], text: bytes) -> bytes:
    sock.settimeout(None)  # otherwise MSG_FASTOPEN is connect() alone
    assert sock.sendto(text, socket.MSG_FASTOPEN, to) == len(text)
    sock.settimeout(20)
    answer: bytes = sock.recv(1000)
    sock.close()
    return answer


def test_the_kernel_opens_to_us(both: Link) -> None:
    listener = both.our_listener()
    listener.setsockopt(*FASTOPEN, 16)
    to = listener.getsockname()
    for i in range(3):
        server = Thread(serve, listener)
        sock = both.kernels()
        assert ask(sock, to, b"request %d" % i) == b"REQUEST %d" % i
        assert server.result() == (b"request %d" % i, b"")
    counters = both.counters()
    assert counters["tcp_fastopen_cookie_requests"] == 1
    assert counters["tcp_fastopen_passive"] == 2
    assert kernel_counts(both)["TCPFastOpenActive"] == 2


def test_we_open_to_the_kernel(both: Link) -> None:
    listener = both.keep(both.ns.socket())
    listener.bind((KERNEL, 0))
    listener.setsockopt(*FASTOPEN, 16)
    listener.listen(16)
    to = listener.getsockname()
    for i in range(3):
        server = Thread(serve, listener)
        assert ask(both.ours(), to, b"request %d" % i) == b"REQUEST %d" % i
        assert server.result() == (b"request %d" % i, b"")
    counters = both.counters()
    assert counters["tcp_fastopen_active"] == 2
    assert kernel_counts(both)["TCPFastOpenPassive"] == 2


def test_connect_waits_for_the_first_write(both: Link) -> None:
    """TCP_FASTOPEN_CONNECT: an unchanged program, after one setsockopt."""
    listener = both.keep(both.ns.socket())
    listener.bind((KERNEL, 0))
    listener.setsockopt(*FASTOPEN, 16)
    listener.listen(16)
    for i in range(2):
        server = Thread(serve, listener)
        sock = both.ours()
        sock.setsockopt(*CONNECT, 1)
        sock.connect(listener.getsockname())
        sock.sendall(b"request")
        assert sock.recv(100) == b"REQUEST"
        sock.close()
        assert server.result()[0] == b"request"
        assert both.counters().get("tcp_fastopen_active", 0) == i


@pytest.mark.parametrize("whose", ["ours", "kernel"])
@pytest.mark.parametrize("write", ["send", "sendall", "sendmsg"])
def test_the_first_write_tells_of_a_refusal(both: Link, whose: str, write: str) -> None:
    """TCP_FASTOPEN_CONNECT: connect() says nothing, for it does nothing; a blocking write does all of it."""
    ours = whose == "ours"
    listener = both.keep(both.ns.socket()) if ours else both.ours()
    listener.bind((KERNEL if ours else OURS, 0))
    listener.setsockopt(*FASTOPEN, 16)
    listener.listen(16)
    to = listener.getsockname()
    server = Thread(serve, listener)
    ask(both.ours() if ours else both.kernels(), to, b"for the cookie")
    server.result()
    listener.close()
    sock = both.ours() if ours else both.kernels()
    sock.settimeout(None)
    sock.setsockopt(*CONNECT, 1)
    sock.connect(to)
    data = [b"request"] if write == "sendmsg" else b"request"
    with pytest.raises(ConnectionRefusedError):
        getattr(sock, write)(data)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    with pytest.raises(BrokenPipeError):
        sock.send(b"more")
    with pytest.raises(OSError) as caught:
        sock.recv(10)
    assert caught.value.errno == errno.ENOTCONN
    again = both.kernel_listener() if ours else both.our_listener()
    sock.connect(again.getsockname())
    assert sock.send(b"it may try again") == 16
    assert (
        both.counters().get("tcp_fastopen_active", 0) + kernel_counts(both)["TCPFastOpenActive"]
        == 0
    )


def test_a_kernel_that_does_not_speak_it(link: Link) -> None:
    """The cookie is asked for each time, and every connection is an ordinary one."""
    link.ns.sysctl("net.ipv4.tcp_fastopen", 0)
    listener = link.kernel_listener()
    for _ in range(2):
        server = Thread(serve, listener)
        assert ask(link.ours(), listener.getsockname(), b"request") == b"REQUEST"
        server.result()
    assert link.counters().get("tcp_fastopen_active", 0) == 0


def test_a_refused_open(both: Link) -> None:
    sock = both.ours()
    sock.settimeout(None)
    with pytest.raises(ConnectionRefusedError):
        sock.sendto(b"request", socket.MSG_FASTOPEN, (KERNEL, PORT))


@pytest.mark.parametrize("whose", ["ours", "kernel"])
def test_the_options_are_the_kernels(both: Link, whose: str) -> None:
    """What can be set, what is read back, and what is an error."""
    make = both.ours if whose == "ours" else both.kernels
    host = OURS if whose == "ours" else KERNEL
    sock = make()
    assert sock.getsockopt(*FASTOPEN) == 0
    sock.setsockopt(*FASTOPEN, 5)
    assert sock.getsockopt(*FASTOPEN) == 5
    key = os.urandom(16)
    sock.setsockopt(*KEY, key)
    assert sock.getsockopt(*KEY, 16) == key
    with pytest.raises(OSError):
        sock.setsockopt(*KEY, key[:15])
    sock.setsockopt(*NO_COOKIE, 1)
    assert sock.getsockopt(*NO_COOKIE) == 1
    with pytest.raises(OSError):
        sock.setsockopt(*NO_COOKIE, 2)
    sock.bind((host, 0))
    sock.listen(1)
    sock.setsockopt(*FASTOPEN, 6)
    assert sock.getsockopt(*FASTOPEN) == 6
    client = make()
    client.setsockopt(*CONNECT, 1)
    assert client.getsockopt(*CONNECT) == 1
    with pytest.raises(OSError):
        client.setsockopt(*CONNECT, 2)


@pytest.mark.parametrize("whose", ["ours", "kernel"])
def test_without_a_cookie_a_non_blocking_open_is_in_progress(both: Link, whose: str) -> None:
    make, to = (
        (both.ours, both.kernel_listener())
        if whose == "ours"
        else (both.kernels, both.our_listener())
    )
    sock = make()
    sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        sock.sendto(b"request", socket.MSG_FASTOPEN, to.getsockname())
