"""The kernel at one end of a TAP interface, a barewire stack at the other, in a namespace of its own.

The kernel is 198.18.0.1, the stack 198.18.0.2. Programs of the kernel's side run in the namespace
(`peers.py`), so that they share no interpreter lock with the stack.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any

import barewire
from barewire.nic_drivers import open_device
from barewire.stack.icmp.echo import EchoResult
from barewire.tools.netns import Namespace, stop
from barewire.trace import State

from tests.nic_drivers.kinds import Kind

KERNEL, OURS, PREFIX = "198.18.0.1", "198.18.0.2", 24
PATIENCE = 20.0  # seconds until a test that hangs fails; never how long something should take
PEERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "peers.py")
DIRECTIONS = ("we connect", "the kernel connects")
TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM


class Link:
    """A TAP interface in the namespace with a stack on it. `device` are more options of the device
    (`loss=1%&delay=5ms`), `options` those of Stack."""

    def __init__(self, ns: Namespace, *, mtu: int = 1500, device: str = "", **options: Any) -> None:
        self.ns = ns
        name = f"tap:tap0?host={KERNEL}/{PREFIX}&mtu={mtu}" + (f"&{device}" if device else "")
        with ns.entered():
            self.device = open_device(name)  # its counters stay readable
        self.begin({"trace": True, **options})
        ns.use_congestion("tap0")

    def begin(self, options: dict[str, Any]) -> None:
        """The stack on the device."""
        options = {"addresses": [f"{OURS}/{PREFIX}"], "exit_linger": 0.0, **options}
        self.stack = barewire.Stack(self.device, **options)
        self.made: list[Any] = []

    def close(self) -> None:
        for sock in self.made:
            sock.close()
        self.stack.close()

    # ---- sockets: all with a timeout, closed at the end -----------------------------------------

    def ours(self, kind: int = TCP) -> Any:
        return self.keep(self.stack.socket(socket.AF_INET, kind))

    def kernels(self, kind: int = TCP) -> socket.socket:
        kept: socket.socket = self.keep(self.ns.socket(socket.AF_INET, kind))
        return kept

    def keep(self, sock: Any) -> Any:
        sock.settimeout(PATIENCE)
        self.made.append(sock)
        return sock

    def our_listener(self, port: int = 0, backlog: int = 128) -> Any:
        return listening(self.ours(), OURS, port, backlog)

    def kernel_listener(self, port: int = 0, backlog: int = 128) -> socket.socket:
        made: socket.socket = listening(self.kernels(), KERNEL, port, backlog)
        return made

    def udp(self) -> tuple[Any, socket.socket]:
        """A bound datagram socket on either side: ours, the kernel's."""
        ours, kernels = self.ours(UDP), self.kernels(UDP)
        ours.bind((OURS, 0))
        kernels.bind((KERNEL, 0))
        return ours, kernels

    def tcp(self, direction: str, prepare: Callable[[Any], None] | None = None) -> tuple[Any, Any]:
        """A connection: our end, the kernel's. `prepare` sees each socket before its handshake."""
        if direction == "we connect":
            listener, client = self.kernel_listener(), self.ours()
        else:
            listener, client = self.our_listener(), self.kernels()
        if prepare is not None:
            prepare(listener)
            prepare(client)
        client.connect(listener.getsockname())
        accepted = self.keep(listener.accept()[0])
        listener.close()
        return (client, accepted) if direction == "we connect" else (accepted, client)

    def peer(self, *args: object) -> Program:
        """A program of peers.py on the kernel's sockets, in the namespace."""
        return peer_program(self.ns, *args)

    # ---- seeing ----------------------------------------------------------------------------------

    def ping(self, address: str, size: int = 56, ttl: int = 64) -> EchoResult:
        """One echo request of the stack's, and its answer, a reply or an error."""
        answers: queue.Queue[EchoResult] = queue.Queue()
        control = self.stack.control
        session = control.echo.open(IPv4Address(address), answers.put)
        try:
            session.send(self.stack.now(), bytes(size), ttl)
            return answers.get(timeout=PATIENCE)
        finally:
            session.close()

    def counters(self) -> dict[str, int]:
        return {name: value for name, value in self.stack.counters().items() if value}

    def state_changes(self) -> list[tuple[str, str]]:
        """What connections went through since last asked: (old state, new state)."""
        return [(r.old, r.new) for r in self.stack.trace() if isinstance(r, State)]


class KindLink(Link):
    """A stack on a device of a kind; the kernel at the other end is in a namespace of its own,
    but for kinds whose other end is here."""

    def __init__(self, kind: Kind) -> None:
        self.kind, self.place = kind, kind.make()
        self.ns = self.place.far
        self.device = self.place.open()
        self.begin({})
        self.ns.use_congestion(self.place.interface)

    def close(self) -> None:
        super().close()
        self.place.close()


def listening(sock: Any, address: str, port: int, backlog: int) -> Any:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, port))
    sock.listen(backlog)
    return sock


class Program:
    """A program whose lines are answers: `line()` reads one, `json()` the last, `end()` its code."""

    def __init__(self, ns: Namespace, command: list[str], **kwargs: Any) -> None:
        self.process = ns.popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, **kwargs,
        )  # fmt: skip

    @property
    def pid(self) -> int:
        return self.process.pid

    def line(self) -> str:
        assert self.process.stdout is not None
        text = self.process.stdout.readline().strip()
        if not text:
            raise AssertionError(f"the program ended: {self.end()}")
        return text

    def say(self, text: str = "") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def json(self) -> dict[str, Any]:
        """Waits for the program's end, which must be a good one; its last line."""
        code, out, err = self.end()
        assert code == 0, f"it ended with {code}: {err}"
        answer: dict[str, Any] = json.loads(out.splitlines()[-1])
        return answer

    def end(self, patience: float = PATIENCE) -> tuple[int, str, str]:
        """Exit code, rest of standard output, standard error."""
        try:
            out, err = self.process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            stop(self.process)
            raise AssertionError("the program does not end") from None
        return self.process.returncode, out, err

    def sleeps(self) -> bool:
        """Whether its main thread is asleep in the kernel (proc_pid_stat(5))."""
        with open(f"/proc/{self.pid}/task/{self.pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] == "S"


def peer_program(ns: Namespace, *args: object) -> Program:
    """A program of peers.py in a namespace."""
    return Program(ns, [sys.executable, "-P", PEERS, *map(str, args)])


def our_program(ns: Namespace, script: str, *args: object, **kwargs: Any) -> Program:
    """A program text with a stack of its own: `stack` is open on tap:tap0 in the namespace."""
    head = (
        "import sys, socket, barewire\n"
        f"stack = barewire.Stack('tap:tap0?host={KERNEL}/{PREFIX}',"
        f" addresses=['{OURS}/{PREFIX}'])\n"
        f"KERNEL, OURS = '{KERNEL}', '{OURS}'\n"
    )
    command = [sys.executable, "-P", "-u", "-c", head + script, *map(str, args)]
    return Program(ns, command, **kwargs)


class Thread:
    """Runs a function at once; `result()` gives what it returned or raises what it raised."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self._value: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(function, *args), daemon=True)
        self._thread.start()

    def _run(self, function: Callable[..., Any], *args: Any) -> None:
        try:
            self._value = function(*args)
        except BaseException as error:
            self._error = error

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def result(self) -> Any:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the thread hangs"
        if self._error is not None:
            raise self._error
        return self._value


def until(condition: Callable[[], Any], why: str, patience: float = PATIENCE) -> Any:
    """Looks at a condition again and again; its value once it is true."""
    end, pause = time.monotonic() + patience, threading.Event()
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain: {why}")
        pause.wait(0.002)
    return value


def receive_all(sock: Any) -> bytes:
    """Everything up to the end of the stream."""
    parts = bytearray()
    while part := sock.recv(1 << 16):
        parts += part
    return bytes(parts)


def receive_exactly(sock: Any, n: int) -> bytes:
    parts = bytearray()
    while len(parts) < n:
        part = sock.recv(n - len(parts))
        assert part, f"the stream ended after {len(parts)} of {n} bytes"
        parts += part
    return bytes(parts)


def receive_hash(sock: Any) -> tuple[int, str]:
    """How many bytes come up to the end of the stream, and their SHA-256."""
    buffer, digest, got = bytearray(1 << 18), hashlib.sha256(), 0
    while n := sock.recv_into(buffer):
        digest.update(memoryview(buffer)[:n])
        got += n
    return got, digest.hexdigest()


def pattern(n: int) -> bytes:
    """n bytes that differ from place to place."""
    words = b"".join(i.to_bytes(4, "big") for i in range(-(-n // 4)))
    return words[:n]


def ping(ns: Namespace, address: str, *options: str, count: int = 1) -> str:
    """The kernel's ping, until it has `count` answers; what it printed. Raises if one is missing."""
    done = ns.run(
        ["ping", "-n", "-c", str(count), "-w", str(int(PATIENCE)), *options, address],
        check=False, capture_output=True, text=True, timeout=2 * PATIENCE,
    )  # fmt: skip
    answered = [int(seq) for seq in re.findall(r"icmp_seq=(\d+) ttl", done.stdout)]
    assert done.returncode == 0 and answered == list(range(1, count + 1)), done.stdout + done.stderr
    return str(done.stdout)
