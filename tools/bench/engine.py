"""What the engine costs by itself: on the `pipe` device, one core, no kernel, no system call.

Stacks here are told the time (`clock=`) and driven by `poll()`, so all their work happens inside
that call: a burst of 64 frames is laid into the pipe, and one poll is timed. For single frames the
peer is this file, a scripted one, which knows just enough TCP; for throughput it is a second stack.
"""

from __future__ import annotations

import gc
import os
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from ipaddress import IPv4Address
from typing import Any

from ...nic_drivers import pipe_pair
from ...stack import lib
from ...stack.ip.ipv4 import PROTO_TCP, IPv4
from ...stack.tcp.segment import Flags, Mss, Nop, SackPermitted, Segment, Timestamps, WindowScale
from . import crowd
from .report import Result, Samples

TESTS = (
    "engine_ack",
    "engine_segment",
    "engine_stream",
    "engine_datagram",
    "engine_crowd",
    "connections",
)
HERE, PEER, ELSEWHERE = "198.18.0.2", "198.18.0.1", "198.18.0.3"
BURST = 64
ROUTES = 250
PAYLOAD = 1448  # MTU 1500 less IP, TCP and timestamps
BUFFER = 512 * 1024
CONNECTIONS = 10_000
clock = time.perf_counter_ns


def make_stack(stack: ExitStack, device: Any, address: str) -> Any:
    from ... import Stack

    addresses = [f"{address}/24"]
    return stack.enter_context(
        Stack(device, addresses=addresses, clock=clock, max_sockets=2 * CONNECTIONS)
    )


class ScriptedPeer:
    """The other end of one connection: it opens it, and knows both sequence numbers."""

    def __init__(self, device: Any, port: int) -> None:
        self.device = device
        self.ports = (40000, port)
        self.seq, self.ack = 1000, 0
        self.echo = 0  # the last timestamp value seen

    def frame(self, flags: Flags, payload: bytes = b"", *, ack: int | None = None) -> bytes:
        syn = Flags.SYN in flags
        options: tuple[Any, ...] = (Nop(), Nop(), Timestamps(self.tick(), self.echo))
        if syn:
            options = (
                Mss(1460),
                SackPermitted(),
                Timestamps(self.tick(), 0),
                Nop(),
                WindowScale(7),
            )
        segment = Segment(
            *self.ports,
            seq=self.seq,
            ack=self.ack if ack is None else ack,
            flags=flags,
            window=65535,
            options=options,
            payload=payload,
        )
        self.seq = (self.seq + segment.length) & 0xFFFFFFFF
        src, dst = IPv4Address(PEER), IPv4Address(HERE)
        data = segment.build(src, dst)
        return IPv4(src=src, dst=dst, proto=PROTO_TCP, payload=data, df=True).build()

    @staticmethod
    def tick() -> int:
        return (clock() // 1_000_000) & 0xFFFFFFFF

    def sends(self, frames: list[bytes]) -> None:
        while frames:
            frames = frames[self.device.tx(frames[:BURST]) :]

    def receives(self) -> list[Segment]:
        """Everything on the way, parsed; what is to be acknowledged is noted."""
        got = []
        while burst := self.device.rx(BURST):
            for frame in burst:
                packet = IPv4.parse(frame.data)
                segment = Segment.parse(packet.payload, packet.src, packet.dst)
                got.append(segment)
                self.ack = (segment.seq + segment.length) & 0xFFFFFFFF
                if segment.timestamps:
                    self.echo = segment.timestamps[0]
        return got


@contextmanager
def scripted() -> Iterator[tuple[Any, Any, ScriptedPeer]]:
    """(stack, its accepted connection, the peer), joined by a layer-3 pipe."""
    with ExitStack() as things:
        ours, theirs = pipe_pair(layer=3, ring=1024)
        things.callback(theirs.close)
        stack = make_stack(things, ours, HERE)
        listener = stack.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * BUFFER)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * BUFFER)
        listener.setblocking(False)
        listener.bind((HERE, 7000))
        listener.listen(1)
        peer = ScriptedPeer(theirs, 7000)
        peer.sends([peer.frame(Flags.SYN)])
        stack.poll()
        peer.receives()
        peer.sends([peer.frame(Flags.ACK)])
        stack.poll()
        connection, _ = listener.accept()
        listener.close()
        connection.setblocking(False)
        yield stack, connection, peer
        connection.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, (1).to_bytes(4, "little") + bytes(4)
        )
        connection.close()
        stack.poll()


def timed_poll(stack: Any) -> int:
    """ns of one poll in C: receive, timers, transmit."""
    lib.host_set_now(stack.host, clock())
    before = clock()
    lib.host_poll(stack.host)
    return clock() - before


def ack_cost(seconds: float) -> float:
    """ns for one pure ACK that acknowledges one segment, in bursts of 64."""
    data = bytes(BURST * PAYLOAD)
    with scripted() as (stack, connection, peer):

        def burst() -> tuple[int, int]:
            connection.send(data)
            stack.poll()
            sent = [s for s in peer.receives() if s.payload]
            ends = [(s.seq + s.length) & 0xFFFFFFFF for s in sent]
            peer.sends([peer.frame(Flags.ACK, ack=end) for end in ends])
            return timed_poll(stack), len(ends)

        for _ in range(16):  # the congestion window opens
            burst()
        times: list[int] = []
        end = clock() + int(seconds * 1e9)
        while not times or clock() < end:
            spent, acks = burst()
            if acks != BURST:
                raise RuntimeError(f"{acks} segments of {BURST} were sent")
            times.append(spent)
    return statistics.median(times) / BURST


def segment_cost(seconds: float) -> float:
    """ns for one full segment received in order, verified and queued, in bursts of 64."""
    payload, buffer = bytes(PAYLOAD), bytearray(BUFFER)
    with scripted() as (stack, connection, peer):

        def burst(size: int) -> int:
            peer.sends([peer.frame(Flags.ACK, payload) for _ in range(size)])
            spent = timed_poll(stack)
            got = connection.recv_into(buffer)
            if got != size * PAYLOAD:
                raise RuntimeError(f"{got} bytes of {size * PAYLOAD} arrived")
            peer.receives()
            return spent

        for _ in range(16):  # the receive window opens
            burst(BURST // 4)
        times: list[int] = []
        end = clock() + int(seconds * 1e9)
        while not times or clock() < end:
            times.append(burst(BURST))
    return statistics.median(times) / BURST


@contextmanager
def joined() -> Iterator[tuple[Any, Any]]:
    """Two stacks, joined by a pipe that carries single frames of MTU 1500, checksums and all."""
    with ExitStack() as things:
        a, b = pipe_pair(layer=3, ring=1024)
        yield make_stack(things, a, PEER), make_stack(things, b, HERE)


def connect(client: Any, server: Any, count: int) -> list[tuple[Any, Any]]:
    """`count` connections to one listener: (client's socket, server's socket), all non-blocking."""
    listener = server.socket()
    listener.setblocking(False)
    listener.bind((HERE, 7000))
    listener.listen(1024)
    clients, accepted = [], {}
    for _ in range(count):
        sock = client.socket()
        sock.setblocking(False)
        if sock.connect_ex((HERE, 7000)) not in (0, 115):
            raise RuntimeError("a connection did not open")
        clients.append(sock)
        if len(clients) % BURST == 0 or len(clients) == count:
            settle(client, server)
            while True:
                try:
                    connection, peer = listener.accept()
                except BlockingIOError:
                    break
                connection.setblocking(False)
                accepted[peer] = connection
    listener.close()
    if len(accepted) != count:
        raise RuntimeError(f"{len(accepted)} of {count} connections opened")
    return [(sock, accepted[sock.getsockname()]) for sock in clients]


def settle(*stacks: Any) -> None:
    """Polls in turn until nothing has moved for two rounds."""
    quiet = 0
    while quiet < 2:
        quiet += 1
        for stack in stacks:
            if stack.poll():
                quiet = 0


def stream_rate(seconds: float) -> float:
    """Gbit/s from one stack to another, both on this core."""
    data, buffer = memoryview(bytes(BUFFER)), bytearray(BUFFER)
    with joined() as (client, server):
        [(sender, receiver)] = connect(client, server, 1)
        total, start = 0, clock()
        end = start + int(seconds * 1e9)
        while (now := clock()) < end:
            try:
                sender.send(data)
            except BlockingIOError:
                pass
            client.poll()
            server.poll()
            try:
                total += receiver.recv_into(buffer)
            except BlockingIOError:
                pass
        sender.close()
        settle(client, server)
        receiver.close()
        settle(client, server)
        return total * 8 / (now - start)


def datagram_costs(seconds: float) -> dict[str, float]:
    """ns for one datagram of 64 bytes, in bursts of 64, checksums and all: out (from the batch to the device;
    to the peer, to one address of an unconnected socket, to two in turn among 250 routes) and in (from the
    device to the batch)."""
    from ... import Batch

    sent, received = Batch(BURST, 64), Batch(BURST, 64)
    for i in range(BURST):
        sent[i] = bytes(64)
    ways: dict[str, list[Any]] = {
        "out": [None],
        "out, to one": [(HERE, 7000)],
        "out, to two": [(HERE, 7000), (ELSEWHERE, 7000)],
    }
    with joined() as (client, server):
        server.add_address(f"{ELSEWHERE}/24")
        for i in range(ROUTES):
            client.add_route(f"198.19.{i}.0/24", HERE)
        source, sink = client.socket(type=socket.SOCK_DGRAM), server.socket(type=socket.SOCK_DGRAM)
        with source, sink:
            for sock in (source, sink):
                sock.setblocking(False)
            sink.bind(("0.0.0.0", 7000))
            times: dict[str, list[int]] = {way: [] for way in (*ways, "in")}
            end = clock() + int(seconds * 1e9)
            source.connect((HERE, 7000))
            while not times["in"] or clock() < end:
                for way, addresses in ways.items():
                    for i in range(BURST):
                        sent.set_address(addresses[i % len(addresses)], i)
                    start = clock()
                    source.send_batch(sent)
                    times[way].append(clock() - start + timed_poll(client))
                    spent = timed_poll(server)
                    start = clock()
                    if sink.recv_batch(received) != BURST:
                        raise RuntimeError("datagrams were lost")
                    times["in"].append(clock() - start + spent)
    return {way: statistics.median(spent) / BURST for way, spent in times.items()}


def connection_memory(count: int = CONNECTIONS) -> tuple[float, float]:
    """(bytes of C memory an idle connection holds, echoes a second over all of them in turn)."""
    with joined() as (client, server):
        before = memory(server)
        pairs = connect(client, server, count)
        start = clock()
        for at in range(0, count, BURST):
            echo_all(client, server, pairs[at : at + BURST])
        rate = count * 1e9 / (clock() - start)
        held = memory(server) - before
        for ours, theirs in pairs:
            ours.close()
            theirs.close()
        settle(client, server)
        return held / count, rate


def memory(stack: Any) -> int:
    """Control blocks and buffer chunks in use, bytes."""
    stats = stack.stats()
    return int(stats["memory_control_blocks"]) + int(stats["memory_chunks"])


def echo_all(client: Any, server: Any, pairs: list[tuple[Any, Any]]) -> None:
    message = bytes(range(64))
    for ours, _ in pairs:
        ours.send(message)
    settle(client, server)
    for _, theirs in pairs:
        theirs.send(theirs.recv(64))
    settle(client, server)
    for ours, _ in pairs:
        if ours.recv(64) != message:
            raise RuntimeError("an echo came back changed")


def measure(
    names: list[str], rounds: int, seconds: float, progress: Callable[[str], None]
) -> list[Result]:
    """The engine's figures, on one core."""
    figures: dict[tuple[str, str, str, str], Samples] = {}

    def note(test: str, metric: str, unit: str, value: float, way: str = "in") -> None:
        figures.setdefault((test, way, metric, unit), Samples()).add(value)

    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        for number in range(rounds):
            for name in names:
                progress(f"round {number + 1}/{rounds}: {name}")
                gc.collect()
                if name == "engine_ack":
                    note(name, "cost", "ns", ack_cost(seconds))
                elif name == "engine_segment":
                    note(name, "cost", "ns", segment_cost(seconds))
                elif name == "engine_stream":
                    note(name, "throughput", "Gbit/s", stream_rate(seconds))
                elif name == "engine_datagram":
                    for way, cost in datagram_costs(seconds).items():
                        note(name, "cost", "ns", cost, way)
                elif name == "engine_crowd":
                    crowd.measure(seconds, partial(note, name))
                elif number == 0:
                    held, rate = connection_memory()
                    note(name, "memory", "bytes", held, "both")
                    note(name, "rate", "1/s", rate, "both")
    finally:
        os.sched_setaffinity(0, cores)
    return [
        Result(test, "pipe", way, metric, unit, {"barewire": s})
        for (test, way, metric, unit), s in figures.items()
    ]
