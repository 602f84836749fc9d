"""Programs of the kernel's side, plain standard library: `python peers.py NAME ARGUMENT...`.

Each says `ready` when somebody may come, and ends with one line of JSON.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import random
import resource
import select
import signal
import socket
import sys
import time
from typing import Any

CHUNK = 1 << 18


def say(**values: Any) -> None:
    print(json.dumps(values), flush=True)


def connection(how: str, address: str, port: str) -> socket.socket:
    """connect or listen; one connection."""
    if how == "connect":
        return socket.create_connection((address, int(port)), timeout=30)
    with socket.create_server((address, int(port))) as listener:
        listener.settimeout(30)
        say(ready=listener.getsockname()[1])
        sock, _ = listener.accept()
    sock.settimeout(30)
    return sock


def source(how: str, address: str, port: str, size: str) -> None:
    """Sends `size` bytes and ends its direction; waits for the peer's end."""
    sock = connection(how, address, port)
    data, left, digest = random.Random(7).randbytes(CHUNK), int(size), hashlib.sha256()
    start = time.perf_counter()
    while left:
        part = data[:left]
        sock.sendall(part)
        digest.update(part)
        left -= len(part)
    sock.shutdown(socket.SHUT_WR)
    rest = sock.recv(1)
    seconds = time.perf_counter() - start
    say(bytes=int(size), sha256=digest.hexdigest(), seconds=seconds, rest=len(rest))


def swallow(how: str, address: str, port: str) -> None:
    """Receives up to the end, and only counts."""
    sock = connection(how, address, port)
    buffer, got = bytearray(CHUNK), 0
    start = time.perf_counter()
    while n := sock.recv_into(buffer):
        got += n
    say(bytes=got, seconds=time.perf_counter() - start)


def spout(how: str, address: str, port: str, size: str) -> None:
    """Sends zeros, and ends its direction."""
    sock = connection(how, address, port)
    data, left = bytes(CHUNK), int(size)
    start = time.perf_counter()
    while left:
        left -= sock.send(data[:left])
    sock.shutdown(socket.SHUT_WR)
    sock.recv(1)
    say(bytes=int(size), seconds=time.perf_counter() - start)


def sink(how: str, address: str, port: str) -> None:
    """Receives up to the end."""
    sock = connection(how, address, port)
    buffer, digest, got = bytearray(CHUNK), hashlib.sha256(), 0
    start = time.perf_counter()
    while n := sock.recv_into(buffer):
        digest.update(memoryview(buffer)[:n])
        got += n
    say(bytes=got, sha256=digest.hexdigest(), seconds=time.perf_counter() - start)


def raise_limit(descriptors: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = descriptors + 64
    if hard != resource.RLIM_INFINITY and hard < wanted:
        sys.exit(f"{wanted} open files are needed, {hard} allowed: raise `ulimit -Hn`")
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def echo(address: str, port: str, connections: str) -> None:
    """Serves so many connections, each to its end, with epoll; says how many were open at once."""
    total = int(connections)
    raise_limit(total)
    listener = socket.create_server((address, int(port)), backlog=4096)
    say(ready=listener.getsockname()[1])
    epoll = select.epoll()
    epoll.register(listener, select.EPOLLIN)
    socks: dict[int, socket.socket] = {}
    accepted = peak = got = 0
    while accepted < total or socks:
        events = epoll.poll(30)
        if not events:
            sys.exit(f"nothing came: {accepted} accepted, {len(socks)} open")
        for fd, _ in events:
            if fd == listener.fileno():
                sock, _ = listener.accept()
                epoll.register(sock, select.EPOLLIN)
                socks[sock.fileno()] = sock
                accepted += 1
                peak = max(peak, len(socks))
            elif data := socks[fd].recv(65536):
                socks[fd].sendall(data)
                got += len(data)
            else:
                epoll.unregister(fd)
                socks.pop(fd).close()
    say(accepted=accepted, peak=peak, bytes=got)


def crowd(address: str, port: str, connections: str, pace: str) -> None:
    """Opens so many connections (`pace` at once in the making), all stay open; each then sends a
    line and awaits its echo; a line on standard input lets all end."""
    total, batch = int(connections), int(pace)
    raise_limit(total)
    socks: list[socket.socket] = []
    start = time.perf_counter()
    while len(socks) < total:
        new = [socket.socket() for _ in range(min(batch, total - len(socks)))]
        waits = select.epoll()
        for sock in new:
            sock.setblocking(False)
            sock.connect_ex((address, int(port)))
            waits.register(sock, select.EPOLLOUT | select.EPOLLONESHOT)
        left = len(new)
        while left:
            events = waits.poll(15)
            if not events:
                sys.exit(f"{len(socks)} connections, and {left} that do not come")
            left -= len(events)
        for sock in new:
            if err := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                sys.exit(f"connection {len(socks)}: error {err}")
        socks += new
    opened = time.perf_counter() - start
    say(open=len(socks))
    sys.stdin.readline()
    start = time.perf_counter()
    echoed = exchange(socks)
    exchanged = time.perf_counter() - start
    say(echoed=echoed)
    sys.stdin.readline()
    for sock in socks:
        sock.close()
    say(connections=total, echoed=echoed, opened=opened, exchanged=exchanged)


def exchange(socks: list[socket.socket]) -> int:
    """Every socket sends its own line and reads it back; how many did."""
    waits, by_fd = select.epoll(), {sock.fileno(): (i, sock) for i, sock in enumerate(socks)}
    for i, sock in enumerate(socks):
        sock.send(b"line %06d\n" % i)
        waits.register(sock, select.EPOLLIN)
    done = 0
    while done < len(socks):
        events = waits.poll(15)
        if not events:
            sys.exit(f"{done} of {len(socks)} echoes came")
        for fd, _ in events:
            i, sock = by_fd[fd]
            if sock.recv(64) != b"line %06d\n" % i:
                sys.exit(f"connection {i}: not its own line")
            waits.unregister(fd)
            done += 1
    return done


def short(address: str, port: str, connections: str, closer: str) -> None:
    """Connect, a request, a response, close; one after the other. closer: who closes first."""
    for i in range(int(connections)):
        with socket.create_connection((address, int(port)), timeout=15) as sock:
            sock.sendall(b"request %06d" % i)
            data = sock.recv(64)
            if data != b"request %06d" % i:
                sys.exit(f"connection {i}: {data!r}")
            if closer == "peer" and sock.recv(1):
                sys.exit(f"connection {i}: no end")
    say(connections=int(connections))


def answer(address: str, port: str, connections: str, closer: str) -> None:
    """The other side of `short`, one after the other; closer "self": we close first."""
    listener = socket.create_server((address, int(port)), backlog=128)
    say(ready=listener.getsockname()[1])
    for _ in range(int(connections)):
        sock, _ = listener.accept()
        with sock:
            sock.settimeout(15)
            sock.sendall(sock.recv(64))
            if closer == "peer" and sock.recv(1):
                sys.exit("no end")
    listener.close()
    say(connections=int(connections))


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # it ends with the test
    programs = {f.__name__: f for f in (source, sink, spout, swallow, echo, crowd, short, answer)}
    programs[sys.argv[1]](*sys.argv[2:])
