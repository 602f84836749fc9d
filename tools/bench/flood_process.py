"""The processes of the SYN flood's benchmark: each pinned to a core, told what to do by lines of JSON.

`python -m barewire.tools.bench.flood_process ROLE CORE ARGUMENT…`; a role says `{"ready": true}` and
then answers each order on stdin with one line. server, kernel: who reads a bulk flow and echoes a word of
whoever connects, on a stack of barewire's or on the kernel's sockets. bulk, honest: the clients, on the
kernel's sockets. attack: the sender of SYNs.
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

from ._syn_sender import ffi, lib

Answer = dict[str, Any]
Role = Callable[..., contextlib.AbstractContextManager[Callable[[Answer], Answer]]]
BULK, ECHO = 7000, 7001  # ports
PAUSE = 0.01  # seconds between honest connections
CONGESTION = b"cubic"
PATIENCE = 10.0  # seconds until an honest connection has failed
BUFFER = 256 * 1024
PR_SET_PDEATHSIG = 1


@contextlib.contextmanager
def listeners(host: str, create_server: Callable[[tuple[str, int]], Any]) -> Iterator[list[int]]:
    """Reads what comes to one port, echoes a word on the other; gives [bytes read]."""
    total = [0]

    def swallow(sock: Any) -> None:
        buffer = bytearray(BUFFER)
        with contextlib.suppress(OSError):
            while n := sock.recv_into(buffer):
                total[0] += n

    def echo(sock: Any) -> None:
        with contextlib.suppress(OSError):
            sock.sendall(sock.recv(5))

    def serve(listener: Any, use: Callable[[Any], None]) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                with sock:
                    use(sock)

    for port, use in ((BULK, swallow), (ECHO, echo)):
        listener = create_server((host, port))
        threading.Thread(target=serve, args=(listener, use), daemon=True).start()
    yield total


@contextlib.contextmanager
def server(device: str, address: str, gateway: str) -> Iterator[Callable[[Answer], Answer]]:
    """The program under attack on a stack of barewire's."""
    import barewire

    with (
        barewire.Stack(device, addresses=[address], gateway=gateway, syn_cookies=1) as stack,
        listeners(address.split("/")[0], stack.create_server) as total,
    ):

        def mark(order: Answer) -> Answer:
            counters = stack.counters()
            return {
                "bytes": total[0],
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
    with listeners(host, socket.create_server) as total:

        def mark(order: Answer) -> Answer:
            with open("/proc/net/dev", encoding="ascii") as file:
                [line] = (line for line in file if line.split(":")[0].strip() == interface)
            frames = int(line.split(":")[1].split()[1])
            with open("/proc/net/netstat", encoding="ascii") as file:
                names, values = (line.split() for line in list(file)[:2])
            return {
                "bytes": total[0],
                "when": time.monotonic(),
                "cpu": time.process_time(),
                "frames": frames,
                "cookies": int(values[names.index("SyncookiesSent")]),
            }

        yield mark


@contextlib.contextmanager
def bulk(host: str) -> Iterator[Callable[[Answer], Answer]]:
    """Sends until the end; an order has nothing to tell it."""
    data = bytes(BUFFER)

    def pour() -> None:
        with contextlib.suppress(OSError):
            while True:
                sock.sendall(data)

    with socket.create_connection((host, BULK), timeout=PATIENCE) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, CONGESTION)
        sock.settimeout(None)
        threading.Thread(target=pour, daemon=True).start()
        yield lambda order: {}
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
            flood.fd, flood.port, flood.rate = sock.fileno(), ECHO, order["rate"]
            flood.share = int(order["share"] * 1000)
            flood.src_mac, flood.dst_mac = bytes([2, 0, 0, 0, 0, 9]), bytes.fromhex(mac)
            flood.dst, flood.seed = socket.inet_aton(host), time.time_ns()
            flood.seconds = int(order["seconds"] * 1e9)
            if err := lib.syn_flood_run(flood):
                raise OSError(-err, os.strerror(-err))
            return {
                "rate": flood.sent / (flood.took / 1e9),
                "share": flood.cpu / flood.took,
            }

    yield run


ROLES: dict[str, Role] = {
    "server": server,
    "kernel": kernel,
    "bulk": bulk,
    "honest": honest,
    "attack": attack,
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
