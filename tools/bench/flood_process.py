"""The processes of the benchmarks of floods: each pinned to a core, told what to do by lines of JSON.

`python -m barewire.tools.bench.flood_process ROLE CORE ARGUMENT…`; a role says `{"ready": true}` and
then answers each order on stdin with one line. server, kernel: who reads a bulk flow, echoes a word of
whoever connects and all of an old friend, and waits for datagrams that never come, on a stack of
barewire's or on the kernel's sockets. bulk, honest, steady: the clients, on the kernel's sockets. attack:
the sender of SYNs; strangers: that of whatever else strangers may send.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from . import stranger_frames
from ._syn_sender import ffi, lib

Answer = dict[str, Any]
Role = Callable[..., contextlib.AbstractContextManager[Callable[[Answer], Answer]]]
BULK, ECHO, STEADY, SILENT = 7000, 7001, 7002, 7003  # ports
PAUSE = 0.01  # seconds between honest connections, and words of the steady one
TIMEOUT = 0.05  # seconds that the server waits for a datagram
CONGESTION = b"cubic"
UNUSED = "203.0.113.0/24"  # a route to nowhere
PATIENCE = 10.0  # seconds until an honest connection has failed
BUFFER = 256 * 1024
PR_SET_PDEATHSIG = 1


@contextlib.contextmanager
def listeners(
    host: str, create_server: Callable[[tuple[str, int]], Any], silent: Any
) -> Iterator[Callable[[], Answer]]:
    """Reads what comes to one port, echoes a word on another, everything on a third, and waits on the
    datagram socket. Gives a function that tells the bytes read, and the longest that a time-out was
    late since it was asked last, in seconds."""
    total, late = [0], [0.0]

    def swallow(sock: Any) -> None:
        buffer = bytearray(BUFFER)
        with contextlib.suppress(OSError):
            while n := sock.recv_into(buffer):
                total[0] += n

    def echo(sock: Any) -> None:
        with contextlib.suppress(OSError):
            sock.sendall(sock.recv(5))

    def echo_all(sock: Any) -> None:
        with contextlib.suppress(OSError):
            while data := sock.recv(BUFFER):
                sock.sendall(data)

    def wait() -> None:
        silent.settimeout(TIMEOUT)
        with contextlib.suppress(OSError):
            while True:
                begin = time.monotonic()
                with contextlib.suppress(TimeoutError):
                    silent.recv(1)
                late[0] = max(late[0], time.monotonic() - begin - TIMEOUT)

    def told() -> Answer:
        longest, late[0] = late[0], 0.0
        return {"bytes": total[0], "late": longest}

    def serve(listener: Any, use: Callable[[Any], None]) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                with sock:
                    use(sock)

    silent.bind((host, SILENT))
    threading.Thread(target=wait, daemon=True).start()
    for port, use in ((BULK, swallow), (ECHO, echo), (STEADY, echo_all)):
        listener = create_server((host, port))
        threading.Thread(target=serve, args=(listener, use), daemon=True).start()
    yield told


@contextlib.contextmanager
def server(device: str, address: str, gateway: str) -> Iterator[Callable[[Answer], Answer]]:
    """The program under attack on a stack of barewire's."""
    import barewire

    with (
        barewire.Stack(device, addresses=[address], gateway=gateway, syn_cookies=1) as stack,
        listeners(
            address.split("/")[0], stack.create_server, stack.socket(type=socket.SOCK_DGRAM)
        ) as told,
    ):

        def configure(seconds: float) -> float:
            """The longest that adding and removing a route took, again and again."""
            longest, end = 0.0, time.monotonic() + seconds
            while (begin := time.monotonic()) < end:
                stack.add_route(UNUSED, gateway)
                stack.remove_route(UNUSED)
                longest = max(longest, time.monotonic() - begin)
                time.sleep(PAUSE)
            return longest

        def mark(order: Answer) -> Answer:
            configured = configure(order.get("configure", 0.0))
            counters = stack.counters()
            return told() | {
                "configured": configured,
                "when": time.monotonic(),
                "cpu": time.process_time(),
                "frames": counters["rx_frames"],
                "cookies": counters["tcp_syn_cookies_sent"],
                "sockets": stack.stats()["sockets"],
            }

        yield mark


@contextlib.contextmanager
def kernel(interface: str, host: str) -> Iterator[Callable[[Answer], Answer]]:
    """The same on the kernel's sockets."""
    silent = socket.socket(type=socket.SOCK_DGRAM)
    with listeners(host, socket.create_server, silent) as told:

        def mark(order: Answer) -> Answer:
            with open("/proc/net/dev", encoding="ascii") as file:
                [line] = (line for line in file if line.split(":")[0].strip() == interface)
            frames = int(line.split(":")[1].split()[1])
            with open("/proc/net/netstat", encoding="ascii") as file:
                names, values = (line.split() for line in list(file)[:2])
            return told() | {
                "when": time.monotonic(),
                "cpu": time.process_time(),
                "frames": frames,
                "cookies": int(values[names.index("SyncookiesSent")]),
            }

        yield mark


@contextlib.contextmanager
def bulk(host: str) -> Iterator[Callable[[Answer], Answer]]:
    """Sends until the end, but pauses for an order with pause=True until the next."""
    data = bytes(BUFFER)
    going = threading.Event()
    going.set()

    def pour() -> None:
        with contextlib.suppress(OSError):
            while going.wait():
                sock.sendall(data)

    def take(order: Answer) -> Answer:
        if order.get("pause"):
            going.clear()
        else:
            going.set()
        return {}

    with socket.create_connection((host, BULK), timeout=PATIENCE) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, CONGESTION)
        sock.settimeout(None)
        threading.Thread(target=pour, daemon=True).start()
        yield take
        sock.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def honest(host: str) -> Iterator[Callable[[Answer], Answer]]:
    """One connection after the other: connect, say a word, hear it, close."""

    def connect() -> float:
        begin = time.monotonic()
        with socket.create_connection((host, ECHO), timeout=PATIENCE) as sock:
            took = time.monotonic() - begin
            sock.sendall(b"hello")
            if sock.recv(5) != b"hello":
                raise OSError("no answer")
        return took

    def run(order: Answer) -> Answer:
        times, failed = [], 0
        end = time.monotonic() + order["seconds"]
        while time.monotonic() < end:
            try:
                times.append(connect())
            except OSError:
                failed += 1
            time.sleep(PAUSE)
        times.sort()
        worst = times[-1] if times else PATIENCE
        middle = times[len(times) // 2] if times else PATIENCE
        return {"connects": len(times), "failed": failed, "p50": middle, "max": worst}

    yield run


def interface_mac(name: str) -> bytes:
    with open(f"/sys/class/net/{name}/address", encoding="ascii") as file:
        return bytes.fromhex(file.read().strip().replace(":", ""))


@contextlib.contextmanager
def attack(mac: str, host: str) -> Iterator[Callable[[Answer], Answer]]:
    """SYNs to `host` through the interface that the order names, so many a second (0: as many as
    can be) or for such a share of the processor (0: all); the frames that left."""

    def run(order: Answer) -> Answer:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
            sock.bind((order["interface"], 0))
            flood = ffi.new("struct syn_flood *")
            flood.port, flood.seed = ECHO, time.time_ns()
            flood.src_mac, flood.dst_mac = bytes([2, 0, 0, 0, 0, 9]), bytes.fromhex(mac)
            flood.dst = socket.inet_aton(host)
            return _flood(flood, lib.syn_flood_run, sock, order)

    yield run


@contextlib.contextmanager
def strangers(mac: str, host: str, kind: str) -> Iterator[Callable[[Answer], Answer]]:
    """As attack, with frames of that kind (stranger_frames.KINDS)."""
    frames = stranger_frames.build(kind, mac, host)
    table = ffi.from_buffer(b"".join(frames))

    def run(order: Answer) -> Answer:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
            sock.bind((order["interface"], 0))
            flood = ffi.new("struct frame_flood *")
            flood.frames, flood.count, flood.len = table, len(frames), len(frames[0])
            return _flood(flood, lib.frame_flood_run, sock, order)

    yield run


def _flood(flood: Any, run: Callable[[Any], int], sock: socket.socket, order: Answer) -> Answer:
    pace = flood.pace
    pace.fd, pace.rate, pace.share = sock.fileno(), order["rate"], int(order["share"] * 1000)
    pace.seconds = int(order["seconds"] * 1e9)
    if err := run(flood):
        raise OSError(-err, os.strerror(-err))
    return {"rate": pace.sent / (pace.took / 1e9), "share": pace.cpu / pace.took}


@contextlib.contextmanager
def steady(host: str) -> Iterator[Callable[[Answer], Answer]]:
    """One old connection: a word, its echo, a pause; the longest that an echo took, in seconds."""

    def run(order: Answer) -> Answer:
        longest, words = 0.0, 0
        end = time.monotonic() + order["seconds"]
        while (begin := time.monotonic()) < end:
            sock.sendall(b"hello")
            if not sock.recv(5, socket.MSG_WAITALL):
                raise OSError("the connection ended")
            longest = max(longest, time.monotonic() - begin)
            words += 1
            time.sleep(PAUSE)
        return {"longest": longest, "words": words}

    with socket.create_connection((host, STEADY), timeout=PATIENCE) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield run


ROLES: dict[str, Role] = {
    "server": server,
    "kernel": kernel,
    "bulk": bulk,
    "honest": honest,
    "steady": steady,
    "attack": attack,
    "strangers": strangers,
}


def main(argv: list[str]) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    role, core, *arguments = argv
    os.sched_setaffinity(0, {int(core)})
    try:
        with ROLES[role](*arguments) as run:
            print(json.dumps({"ready": True}), flush=True)
            for line in sys.stdin:
                print(json.dumps(run(json.loads(line))), flush=True)
    except (OSError, ValueError, RuntimeError) as exc:
        print(json.dumps({"error": f"{role}: {exc}"}), flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
