"""The demo's programs: plain standard library, one file for the kernel's sockets and barewire's.

It imports nothing of barewire and is started by path: `python programs.py server …` on the kernel's
sockets, `barewire run … programs.py server …` on barewire's. Each says with one line of JSON that it is
ready; a client answers each question, a line of JSON too, with another.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import http.client
import http.server
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

HTTP_PORT, ECHO_PORT = 8000, 7007
PR_SET_PDEATHSIG = 1
PARENT = "BAREWIRE_DEMO_PID"


def die_with_parent() -> None:
    """The kernel ends this process when the demo ends, whatever ended it (prctl(2))."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.environ.get(PARENT, str(os.getppid())) != str(os.getppid()):
        os._exit(1)  # it ended before that call


def say(**values: Any) -> None:
    print(json.dumps(values), flush=True)


class Handler(http.server.SimpleHTTPRequestHandler):
    """The standard library's file server, and PUT: it answers with the SHA-256 of what came, and
    with the time that took, which is no part of the transfer."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        data = room(int(self.headers["Content-Length"]))
        got = 0
        with memoryview(data) as view:
            while got < len(data) and (n := self.rfile.readinto(view[got:])):
                got += n
        start = time.perf_counter()
        sha256 = hashlib.sha256(data).hexdigest()
        self.answer(bytes=got, sha256=sha256, hashing=time.perf_counter() - start)

    def answer(self, **values: Any) -> None:
        body = json.dumps(values).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: the demo prints its own table."""


def echo_udp(sock: socket.socket) -> None:
    while True:
        data, peer = sock.recvfrom(2048)
        sock.sendto(data, peer)


def server(address: str, folder: str) -> None:
    """HTTP and a UDP echo on one address, until the process is ended."""
    os.chdir(folder)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((address, ECHO_PORT))
    threading.Thread(target=echo_udp, args=(udp,), daemon=True).start()
    with http.server.ThreadingHTTPServer((address, HTTP_PORT), Handler) as server:
        say(ready=True)
        server.serve_forever()


@functools.cache
def room(size: int) -> bytearray:
    """Where files are received: touched once, so that only the first transfer pays for its pages."""
    return bytearray(size)


@functools.cache
def contents(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def get(address: str, name: str) -> dict[str, Any]:
    """Fetches a file: {"bytes", "seconds", "sha256"}; hashing is outside the time."""
    connection = http.client.HTTPConnection(address, HTTP_PORT, timeout=30)
    start = time.perf_counter()
    connection.request("GET", "/" + name)
    response = connection.getresponse()
    data = room(int(response.headers["Content-Length"]))
    got = 0
    with memoryview(data) as view:
        while got < len(data) and (n := response.readinto(view[got:])):
            got += n
    seconds = time.perf_counter() - start
    connection.close()
    return {"bytes": got, "seconds": seconds, "sha256": hashlib.sha256(data).hexdigest()}


def put(address: str, path: str) -> dict[str, Any]:
    """Sends a file: {"bytes", "seconds", "sha256"}, the sum as the receiver computed it."""
    data = contents(path)
    connection = http.client.HTTPConnection(address, HTTP_PORT, timeout=30)
    connection.connect()
    start = time.perf_counter()
    connection.request("PUT", "/upload", body=data)
    answer = json.loads(connection.getresponse().read())
    seconds = time.perf_counter() - start - answer["hashing"]
    connection.close()
    return {"bytes": answer["bytes"], "seconds": seconds, "sha256": answer["sha256"]}


def echo(address: str, count: str) -> dict[str, Any]:
    """UDP round trips of 64 bytes: {"rounds", "lost", "p50", "p99"}, in microseconds."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(1.0)
    sock.connect((address, ECHO_PORT))
    times, lost = [], 0
    for number in range(int(count)):
        message = number.to_bytes(8, "big") * 8
        start = time.perf_counter_ns()
        sock.send(message)
        try:
            while sock.recv(2048) != message:
                pass
        except TimeoutError:
            lost += 1
            continue
        times.append(time.perf_counter_ns() - start)
    sock.close()
    times.sort()
    n = len(times)
    p50, p99 = (times[n // 2] / 1e3, times[n * 99 // 100] / 1e3) if times else (0.0, 0.0)
    return {"rounds": n, "lost": lost, "p50": p50, "p99": p99}


QUESTIONS: dict[str, Callable[..., dict[str, Any]]] = {"get": get, "put": put, "echo": echo}


def client() -> None:
    """Answers questions, ["get", address, name] and the like, until there are no more."""
    say(ready=True)
    for line in sys.stdin:
        name, *words = json.loads(line)
        say(**QUESTIONS[name](*words))


if __name__ == "__main__":
    die_with_parent()
    if sys.argv[1] == "server":
        server(*sys.argv[2:])
    else:
        client()
