"""Many TCP connections at once, and many one after the other."""

from __future__ import annotations

import errno
import selectors
import socket
import time

import pytest
from barewire import selectors as our_selectors

from tests.netns.link import KERNEL, OURS, PATIENCE, Thread, until

pytestmark = pytest.mark.netns


class EchoServer:
    """One listener of ours and all its connections, in one thread, through barewire.selectors."""

    def __init__(self, link, backlog=4096):
        self.selector = our_selectors.DefaultSelector()
        self.listener = link.our_listener(7000, backlog)
        self.listener.setblocking(False)
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.socks = set()

    def serve(self, done):
        """Until done() says so, looked at after each round."""
        end = time.monotonic() + PATIENCE
        while not done():
            events = self.selector.select(0.05)
            if events:
                end = time.monotonic() + PATIENCE
            assert time.monotonic() < end, f"nothing happens, {len(self.socks)} are open"
            for key, _ in events:
                if key.fileobj is self.listener:
                    self.accept()
                else:
                    self.echo(key.fileobj)

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except BlockingIOError:
                return
            sock.setblocking(False)
            self.selector.register(sock, selectors.EVENT_READ)
            self.socks.add(sock)

    def echo(self, sock):
        if data := sock.recv(4096):
            assert sock.send(data) == len(data)
        else:
            self.selector.unregister(sock)
            self.socks.remove(sock)
            sock.close()

    def close(self):
        for sock in self.socks:
            sock.close()
        self.selector.close()


def memory(link):
    stats = link.stack.stats()
    return stats["memory_control_blocks"], stats["memory_chunks"]


@pytest.mark.parametrize(("count", "pace"), [(1000, 1000), (10_000, 500), (10_000, 10_000)])
def test_connections_of_the_kernel_all_open_at_once_all_echoing(link, count, pace):
    """`pace` of them are opened at the same moment: more than the backlog holds come again."""
    server = EchoServer(link)
    before = memory(link)
    peer = link.peer("crowd", OURS, 7000, count, pace)
    server.serve(lambda: len(server.socks) == count)
    peer.line()
    idle = memory(link)
    peer.say("all are open: exchange")
    all_echoed = Thread(peer.line)
    server.serve(lambda: not all_echoed.alive)
    print(
        f"\n{count} connections: {(idle[0] - before[0]) / count:.0f} bytes of control blocks and "
        f"{(idle[1] - before[1]) / count:.0f} bytes of buffers each when idle"
    )
    assert idle[1] == before[1], "an idle connection holds no chunk"
    assert (idle[0] - before[0]) / count < 2000
    peer.say("close")
    server.serve(lambda: not server.socks)
    answer = peer.json()
    print({name: round(value, 2) for name, value in answer.items()})
    assert answer["echoed"] == count
    server.close()


def test_a_thousand_connections_to_the_kernel_all_open_at_once_all_echoing(link):
    count = 1000
    peer = link.peer("echo", KERNEL, 7000, count)
    peer.line()
    selector = our_selectors.DefaultSelector()
    socks = [link.ours() for _ in range(count)]
    for sock in socks:
        sock.setblocking(False)
        assert sock.connect_ex((KERNEL, 7000)) in (0, errno.EINPROGRESS)
        selector.register(sock, selectors.EVENT_WRITE)
    waiting = set(socks)
    while waiting:
        for key, events in selector.select(PATIENCE):
            sock = key.fileobj
            if not events & selectors.EVENT_WRITE:
                continue
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
            sock.send(b"%064d" % sock.getsockname()[1])
            selector.modify(sock, selectors.EVENT_READ)
            waiting.discard(sock)
    left = set(socks)
    while left:
        for key, _ in selector.select(PATIENCE):
            sock = key.fileobj
            assert sock.recv(100) == b"%064d" % sock.getsockname()[1]
            selector.unregister(sock)
            left.remove(sock)
    selector.close()
    for sock in socks:
        sock.close()
    assert peer.json() == {"accepted": count, "peak": count, "bytes": 64 * count}


@pytest.mark.parametrize("closer", ["we", "the kernel"])
def test_two_thousand_short_connections_of_ours(link, closer):
    count = 2000
    peer = link.peer("answer", KERNEL, 7000, count, "peer" if closer == "we" else "self")
    peer.line()
    start = time.perf_counter()
    for i in range(count):
        with link.stack.socket() as sock:
            sock.settimeout(PATIENCE)
            sock.connect((KERNEL, 7000))
            sock.sendall(b"request %06d" % i)
            assert sock.recv(64) == b"request %06d" % i
            if closer == "the kernel":
                assert sock.recv(1) == b""
    print(f"\n{count / (time.perf_counter() - start):.0f} a second")
    assert peer.json() == {"connections": count}
    nobody_is_left(link, count if closer == "we" else 0)


@pytest.mark.parametrize("closer", ["we", "the kernel"])
def test_two_thousand_short_connections_of_the_kernel(link, closer):
    count = 2000
    listener = link.our_listener(7000)
    peer = link.peer("short", OURS, 7000, count, "peer" if closer == "we" else "self")
    start = time.perf_counter()
    for _ in range(count):
        sock, _ = listener.accept()
        with sock:
            sock.settimeout(PATIENCE)
            sock.sendall(sock.recv(64))
            if closer == "the kernel":
                assert sock.recv(1) == b""
    print(f"\n{count / (time.perf_counter() - start):.0f} a second")
    assert peer.json() == {"connections": count}
    listener.close()
    nobody_is_left(link, count if closer == "we" else 0)


def nobody_is_left(link, time_wait):
    """Control blocks are gone, but for those in TIME-WAIT."""
    until(lambda: link.stack.stats()["sockets"] <= time_wait, "closed connections go")
