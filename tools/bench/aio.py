"""The same asyncio servers on barewire's event loop and on others: asyncio, uvloop and rloop over the kernel.

The server has one core, its client the other one. The client is the same for all: on the kernel, in C
(echo_client.c), or wrk where the server speaks HTTP. It spins on a non-blocking socket (of 1,000: on
epoll), and once more sleeps in its calls; wrk sleeps. The two are joined by a veth pair, barewire by a TAP
interface too; each run has namespaces and a server of its own. What a message costs the server's process
is read from that process's clock.
"""

from __future__ import annotations

import array
import contextlib
import errno
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .. import netns
from ._echo_client import ffi, lib
from .aio_servers import HTTP, PORT
from .compare import CONGESTION, OURS, PEER, PREFIX
from .programs import congestion_of, percentiles
from .report import Result, Samples
from .worker import WorkerError

UNUSED = "198.18.0.102"  # of the kernel, on an interface that barewire drives
DEVICES = {"packet": "packet:veth0", "xdp": "xdp:veth0", "tap": "tap:tap0"}
BUSY = "uvloop SO_BUSY_POLL"
LOOPS = ("asyncio", "uvloop", BUSY, "rloop")  # on the kernel
SIZE = 64  # bytes of a message
WARM_UP = 0.05  # seconds that are not counted
FASTEST = 400_000  # round trips a second for which there is room
MANY = 1_000
HTTP_CONNECTIONS = 32
WRK_SECONDS = 30  # at most: it is ended before
PATIENCE = 2.0  # seconds
UNITS = {"rate": "1/s", "p50": "us", "p99": "us", "cpu": "us a message"}


@dataclass(frozen=True)
class Load:
    """A server, and how many connections a client has to it."""

    server: str
    connections: int = 1


TESTS = {
    "asyncio_echo": Load("echo"),
    "asyncio_echo_1000": Load("echo", MANY),
    "asyncio_streams": Load("streams"),
    "asyncio_datagram": Load("datagram"),
    "http": Load("", HTTP_CONNECTIONS),
}


def loops() -> list[str]:
    """The loops on the kernel that are installed here."""
    return [name for name in LOOPS if importlib.util.find_spec(name.partition(" ")[0])]


class Scene:
    """A server on the loop of a contender (a device's name, or a loop on the kernel), and a place for its
    clients."""

    def __init__(self, contender: str, server: str, ours: netns.Namespace, peer: netns.Namespace):
        cores = sorted(os.sched_getaffinity(0))
        self.peer, self.core = peer, cores[-1]
        device, loop = DEVICES.get(contender, ""), "barewire" if contender in DEVICES else contender
        if contender == "tap":
            self.peer = ours
            netns.tap(ours, PEER + PREFIX)
        else:
            netns.veth(peer, ours, PEER + PREFIX, (UNUSED if device else OURS) + PREFIX)
            peer.finish_checksums("veth0")
        words = [str(cores[0]), server, loop, *([device, OURS + PREFIX] if device else [])]
        command = [sys.executable, "-P", "-m", "barewire.tools.bench.aio_process", *words]
        self.process = ours.popen(
            command, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        line = self.process.stdout.readline() if self.process.stdout else ""
        answer = json.loads(line or '{"error": "the server ended"}')
        if "error" in answer:
            raise WorkerError(f"{contender}: {answer['error']}")
        if answer["congestion"] not in ("", CONGESTION):
            raise WorkerError(f"{contender} ran with {answer['congestion']}")

    def processor_time(self) -> float:
        """What the server's process has used, in seconds (clock_getcpuclockid(3))."""
        return time.clock_gettime((~self.process.pid << 3) | 2)


@contextlib.contextmanager
def scene(contender: str, server: str) -> Iterator[Scene]:
    with netns.Namespace("loop") as ours, netns.Namespace("client") as peer:
        made = Scene(contender, server, ours, peer)
        try:
            yield made
        finally:
            netns.stop(made.process)


# ---- the client in C -----------------------------------------------------------------------------


def connected(datagrams: bool, spin: bool) -> socket.socket:
    kind = socket.SOCK_DGRAM if datagrams else socket.SOCK_STREAM
    sock = socket.socket(socket.AF_INET, kind)
    if not datagrams:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, CONGESTION.encode())
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if congestion_of(sock) != CONGESTION:
            raise WorkerError(f"the client ran with {congestion_of(sock)}")
    sock.connect((OURS, PORT))
    if spin:
        sock.setblocking(False)
    else:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 100_000))
    return sock


def echo(place: Scene, load: Load, seconds: float, spin: bool) -> dict[str, float]:
    """The client's round trips, and what they cost the server. In a thread, which is pinned."""
    os.sched_setaffinity(0, {place.core})
    with contextlib.ExitStack() as things:
        datagrams, many = load.server == "datagram", load.connections > 1
        socks = [
            things.enter_context(connected(datagrams, spin or many))
            for _ in range(load.connections)
        ]
        most = int(seconds * FASTEST) + 2 * load.connections
        times = array.array("I", bytes(4 * most))
        fds = ffi.new("int[]", [sock.fileno() for sock in socks])
        order = ffi.new("struct echo_load *")
        order.fds, order.count, order.size = fds, len(socks), SIZE
        order.spin, order.datagrams, order.most = spin, datagrams, most
        order.times = ffi.from_buffer("uint32_t[]", times)
        for lasts in (min(seconds, WARM_UP), seconds):
            order.lasts = int(lasts * 1e9)
            before = place.processor_time()
            if code := lib.echo_load_run(order):
                raise WorkerError(
                    f"the client of {load.server}: {errno.errorcode.get(-code, code)}"
                )
        used = place.processor_time() - before
        found = percentiles(times[: order.done])
        return {
            "rate": order.done * 1e9 / order.took,
            "p50": found["p50"],
            "p99": found["p99"],
            "cpu": used * 1e6 / order.done,
        }


# ---- wrk -----------------------------------------------------------------------------------------

_UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6}


def wrk_figures(text: str) -> dict[str, float]:
    """Requests, their rate, and percentiles in us, of what `wrk --latency` prints."""
    found = dict(re.findall(r"^ +(50|99)% +([\d.]+\w+)$", text, re.M))
    rate = re.search(r"^Requests/sec: +([\d.]+)$", text, re.M)
    count = re.search(r"^ +(\d+) requests in ", text, re.M)
    if not (rate and count and int(count[1]) and len(found) == 2):
        raise WorkerError(f"wrk: {text}")
    if "Socket errors" in text or "Non-2xx" in text:
        raise WorkerError(f"wrk: {text}")

    def microseconds(word: str) -> float:
        value, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", word).groups()  # type: ignore[union-attr]
        return float(value) * _UNITS[unit]

    return {
        "rate": float(rate[1]),
        "p50": microseconds(found["50"]),
        "p99": microseconds(found["99"]),
        "requests": float(count[1]),
    }


def http(place: Scene, load: Load, seconds: float, spin: bool) -> dict[str, float]:
    """wrk's figures. It is ended from here, for it knows whole seconds only."""
    os.sched_setaffinity(0, {place.core})
    command = ["wrk", "-t1", f"-c{load.connections}", f"-d{WRK_SECONDS}", "--latency"]
    before = place.processor_time()
    process = subprocess.Popen(
        [*command, f"http://{OURS}:{PORT}/"], stdout=subprocess.PIPE, text=True
    )
    try:
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        text, _ = process.communicate(timeout=PATIENCE)
        used = place.processor_time() - before
    finally:
        netns.stop(process)
    found = wrk_figures(text)
    requests = found.pop("requests")
    return {**found, "cpu": used * 1e6 / requests}


# ---- the rounds ----------------------------------------------------------------------------------


def check(names: list[str]) -> None:
    """Raises WorkerError where something is missing that a test needs."""
    if "http" in names and not shutil.which("wrk"):
        raise WorkerError("http needs wrk (apt-get install wrk)")


def runs_of(name: str) -> list[tuple[str, Load, bool]]:
    """(what is printed beside the name, the load, whether the client spins)"""
    load = TESTS[name]
    if name == "http":
        return [(server, Load(server, load.connections), False) for server in HTTP]
    return [("spinning", load, True), ("sleeping", load, False)]


def run_once(contender: str, load: Load, seconds: float, spin: bool) -> dict[str, float]:
    client = http if load.server in HTTP else echo
    with scene(contender, load.server) as place:
        return place.peer.call(client, place, load, seconds, spin)


def measure(
    names: list[str],
    rounds: int,
    seconds: float,
    progress: Callable[[str], None],
    contenders: list[str] | None = None,
) -> list[Result]:
    """Each contender in each round, in turns; a result for each of barewire's devices."""
    contenders = contenders or [*DEVICES, *loops()]
    found: dict[tuple[str, str, str], dict[str, Samples]] = {}
    runs = [(name, *run) for name in names for run in runs_of(name)]
    for number in range(rounds):
        for name, direction, load, spin in runs:
            for contender in contenders if number % 2 == 0 else reversed(contenders):
                progress(f"round {number + 1}/{rounds}: {name} {direction}, {contender}")
                figures = run_once(contender, load, seconds, spin)
                for metric, value in figures.items():
                    row = found.setdefault((name, direction, metric), {})
                    row.setdefault(contender, Samples()).add(value)
    return [
        Result(
            name,
            device,
            direction,
            metric,
            UNITS[metric],
            {"barewire": row[device], **{n: s for n, s in row.items() if n not in DEVICES}},
            beside=tuple(n for n in contenders if n not in DEVICES),
        )
        for (name, direction, metric), row in found.items()
        for device in DEVICES
        if device in row
    ]
