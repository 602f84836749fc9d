"""What a hostile packet costs the engine at worst: ns for each, on the `pipe` device, in bursts of 64.

syn: SYNs answered with cookies. rst: resets inside the window of a connection. ack: ACKs to a port
that nobody has. ooo: single bytes out of order, near the bound of the reassembly list. sack: SACK blocks
of single bytes made up over a full window of ours, at the bound of the scoreboard.
"""

from __future__ import annotations

import os
import random
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import Any

from ...stack import lib
from ...stack.ip.ipv4 import PROTO_TCP, IPv4
from ...stack.tcp.segment import (
    Flags,
    Mss,
    Nop,
    Sack,
    SackPermitted,
    Segment,
    Timestamps,
    WindowScale,
)
from .engine import BURST, HERE, PEER, ScriptedPeer, clock, scripted, timed_poll
from .report import Result, Samples

TESTS = ("attack_syn", "attack_rst", "attack_ack", "attack_ooo", "attack_sack")
FLIGHT = 400_000  # bytes of ours that fabricated SACK blocks lie in
SYN_OPTIONS = (Mss(1460), SackPermitted(), Timestamps(7, 0), Nop(), WindowScale(7))
Burst = Callable[[], list[bytes]]


def packet(segment: Segment, source: str | IPv4Address = PEER) -> bytes:
    src, dst = IPv4Address(source), IPv4Address(HERE)
    data = segment.build(src, dst)
    return IPv4(src=src, dst=dst, proto=PROTO_TCP, payload=data, df=True).build()


def syns(stack: Any, connection: Any, peer: ScriptedPeer) -> Burst:
    """To a listener that has no room, from addresses of 198.18.0.0/24."""
    listener = stack.socket()
    listener.bind((HERE, 8000))
    listener.listen(1)
    rng = random.Random(1)

    def burst() -> list[bytes]:
        found = []
        for _ in range(BURST):
            ports, seq = (rng.randrange(1024, 65536), 8000), rng.getrandbits(32)
            segment = Segment(*ports, seq=seq, flags=Flags.SYN, options=SYN_OPTIONS)
            found.append(packet(segment, IPv4Address(PEER)))
        return found

    return burst


def resets(stack: Any, connection: Any, peer: ScriptedPeer) -> Burst:
    rng = random.Random(1)

    def burst() -> list[bytes]:
        at = [(peer.seq + rng.randrange(1, 60_000)) & 0xFFFFFFFF for _ in range(BURST)]
        return [packet(Segment(*peer.ports, seq=seq, flags=Flags.RST)) for seq in at]

    return burst


def strays(stack: Any, connection: Any, peer: ScriptedPeer) -> Burst:
    rng = random.Random(1)

    def burst() -> list[bytes]:
        ports = [(rng.randrange(1024, 65536), 9) for _ in range(BURST)]
        return [packet(Segment(*p, seq=1, ack=rng.getrandbits(32))) for p in ports]

    return burst


def stamped(peer: ScriptedPeer, **fields: Any) -> bytes:
    stamp = (Nop(), Nop(), Timestamps(peer.tick(), peer.echo))
    fields["options"] = stamp + fields.get("options", ())
    return packet(Segment(*peer.ports, window=65535, **fields))


def crumbs(stack: Any, connection: Any, peer: ScriptedPeer) -> Burst:
    """One of 500 bytes with holes between them, at random: the list is all but full, and walked."""
    rng = random.Random(1)

    def burst() -> list[bytes]:
        places = [(peer.seq + 2 * rng.randrange(1, 501)) & 0xFFFFFFFF for _ in range(BURST)]
        return [stamped(peer, seq=seq, ack=peer.ack, payload=b"x") for seq in places]

    return burst


def blocks(stack: Any, connection: Any, peer: ScriptedPeer) -> Burst:
    """Three blocks of a byte each, at random places in what we have sent."""
    rng = random.Random(1)
    una = peer.ack
    while True:  # the window opens until the flight is large
        try:
            connection.send(bytes(1 << 20))
        except BlockingIOError:
            pass
        stack.poll()
        peer.receives()
        flight = (peer.ack - una) & 0xFFFFFFFF
        if flight >= FLIGHT:
            break
        una = peer.ack
        peer.sends([peer.frame(Flags.ACK)])
        stack.poll()

    def burst() -> list[bytes]:
        found = []
        for _ in range(BURST):
            edges = sorted((una + rng.randrange(flight - 1)) & 0xFFFFFFFF for _ in range(3))
            option = Sack(tuple((edge, (edge + 1) & 0xFFFFFFFF) for edge in edges))
            found.append(stamped(peer, seq=peer.seq, ack=una, options=(Nop(), Nop(), option)))
        return found

    return burst


ATTACKS = dict(zip(TESTS, (syns, resets, strays, crumbs, blocks), strict=True))


@contextmanager
def victim(name: str) -> Iterator[tuple[Any, ScriptedPeer, Burst]]:
    with scripted() as (stack, connection, peer):
        yield stack, peer, ATTACKS[name](stack, connection, peer)


def measure(
    names: list[str], rounds: int, seconds: float, progress: Callable[[str], None]
) -> list[Result]:
    """Every cost, on one core."""
    samples = {name: Samples() for name in names}
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        for number in range(rounds):
            for name in names:
                progress(f"round {number + 1}/{rounds}: {name}")
                samples[name].add(cost(name, seconds))
    finally:
        os.sched_setaffinity(0, cores)
    return [Result(name, "pipe", "in", "cost", "ns", {"barewire": samples[name]}) for name in names]


def cost(name: str, seconds: float) -> float:
    """ns for one packet of the attack: the median of bursts once the attack has reached its bounds,
    the answers included."""
    times: list[int] = []
    with victim(name) as (stack, peer, burst):
        for _ in range(32):
            run(stack, peer, burst())
        end = clock() + int(seconds * 1e9)
        while not times or clock() < end:
            times.append(run(stack, peer, burst()))
    return statistics.median(times) / BURST


def run(stack: Any, peer: ScriptedPeer, frames: list[bytes]) -> int:
    """ns of the poll that takes these frames."""
    peer.sends(frames)
    spent = timed_poll(stack)
    while lib.host_poll(stack.host) == 1:
        while peer.device.rx(BURST):
            pass
    while peer.device.rx(BURST):
        pass
    return spent
