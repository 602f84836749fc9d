"""Mixed traffic for a long time: what a stack uses is what it used before, round after round.

The process itself grows for a while and then no more: the converted addresses that the API keeps (8,192 of
them, some 4 MB), the pages of the pool's chunks that were touched once, holes in the allocator's heap. On
this traffic the last of it was seen after 10,000 rounds; the 10,000 behind them added nothing.
"""

from __future__ import annotations

import gc
import os
import random
import socket
import struct
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.kit.privilege import for_machine
from tests.netns.link import KERNEL, OURS, KindLink, Thread, pattern, receive_all, until
from tests.nic_drivers.kinds import supported

pytestmark = pytest.mark.netns

SHORT = 1.0  # seconds of traffic
LONG = float(os.environ.get("BAREWIRE_SOAK_SECONDS", "3600"))
WARM = 3  # rounds, in which everything has been needed once
CACHES = 8 << 20  # bytes that the process may grow by until it has settled,
FEW = 20  # rounds: the first are looked behind one by one, later ones by so many
SETTLED = 12_000  # after so many rounds,
STRAY = 1 << 20  # and how much more it may have ever after: 16 bytes a round are more
DATA = pattern(200_000)
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: an end by a reset


class Used(NamedTuple):
    sockets: int
    orphans: int
    timers: int
    chunks: int  # bytes
    control_blocks: int  # bytes
    neighbours: int
    descriptors: int
    threads: int
    memory: int  # bytes of the process


@pytest.fixture(params=["tap", *for_machine("xdp-native")])
def link(request: pytest.FixtureRequest) -> Iterator[KindLink]:
    made = KindLink(supported()[request.param])
    yield made
    made.close()


def used(link: KindLink) -> Used:
    """Once all is quiet. Every connection here is closed by the kernel first, so that none of ours is in
    TIME-WAIT."""
    until(lambda: link.stack.stats()["sockets"] == 0, "every connection ends")
    gc.collect()
    stats = link.stack.stats()
    with open("/proc/self/statm", encoding="ascii") as file:
        memory = int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    return Used(
        stats["sockets"],
        stats["orphans"],
        stats["timers"],
        stats["memory_chunks"],
        stats["memory_control_blocks"],
        len(link.stack.control.neighbours),
        len(os.listdir("/proc/self/fd")),
        len(os.listdir("/proc/self/task")),
        memory,
    )


def stream(link: KindLink, dice: random.Random, direction: str) -> None:
    """Data both ways at once; the kernel closes first."""
    ours, kernels = link.tcp(direction)
    sent = DATA[: dice.randrange(1, len(DATA))]
    back = DATA[: dice.randrange(1, len(DATA))]
    writer = Thread(ours.sendall, sent)
    answer = Thread(kernels.sendall, back)
    here, there = bytearray(), bytearray()
    while len(there) < len(sent) or len(here) < len(back):
        if len(there) < len(sent):
            there += kernels.recv(65_536)
        if len(here) < len(back):
            here += ours.recv(65_536)
    writer.result(), answer.result()
    assert there == sent and here == back
    kernels.close()
    assert receive_all(ours) == b""


def short_ones(link: KindLink, dice: random.Random) -> None:
    """Connections that hardly exist: closed, or reset by either side."""
    for _ in range(5):
        ours, kernels = link.tcp(dice.choice(("we connect", "the kernel connects")))
        kernels.sendall(b"once")
        assert ours.recv(4) == b"once"
        end = dice.choice(("close", "reset", "our reset"))
        if end == "our reset":
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            ours.close()
            continue
        if end == "reset":
            kernels.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        kernels.close()
        try:
            assert ours.recv(1) == b""
        except ConnectionResetError:
            assert end == "reset"


def datagrams(link: KindLink, dice: random.Random) -> None:
    """Some of them in fragments, and some to a port where nobody is."""
    ours, kernels = link.udp()
    for _ in range(10):
        message = DATA[: dice.choice((1, 100, 1472, 4000))]
        ours.sendto(message, kernels.getsockname())
        data, whence = kernels.recvfrom(65_536)
        kernels.sendto(data, whence)
        assert ours.recvfrom(65_536)[0] == message
    kernels.sendto(b"nobody", (OURS, 9))
    ours.sendto(b"nobody", (KERNEL, 9))


def refused(link: KindLink) -> None:
    for sock, address in ((link.ours(), KERNEL), (link.kernels(), OURS)):
        with pytest.raises(ConnectionRefusedError):
            sock.connect((address, 9))


def traffic(link: KindLink, dice: random.Random) -> None:
    stream(link, dice, "we connect")
    stream(link, dice, "the kernel connects")
    short_ones(link, dice)
    datagrams(link, dice)
    refused(link)
    assert link.ping(KERNEL, dice.choice((56, 3000))).error is None
    for sock in link.made:
        sock.close()
    link.made.clear()


def soak(link: KindLink, seconds: float) -> int:
    """How many rounds; nothing grew in them."""
    dice = random.Random(1)
    for _ in range(WARM):
        traffic(link, dice)
    first, rounds, end = used(link), 0, time.monotonic() + seconds
    most = first.memory + CACHES
    assert (first.sockets, first.orphans, first.timers, first.chunks) == (0, 0, 0, 0)
    while time.monotonic() < end or not rounds:
        traffic(link, dice)
        rounds += 1
        if rounds > FEW and rounds % FEW:
            continue
        now = used(link)
        assert now[:-1] == first[:-1], f"round {rounds}: {first}, {now}"
        assert now.memory < most, f"round {rounds}: {first}, {now}"
        if rounds == SETTLED:
            most = now.memory + STRAY
        if rounds % SETTLED == 0:
            print(f"{rounds} rounds, {now.memory - first.memory} bytes more", flush=True)
    print(f"{rounds} rounds, {now.memory - first.memory} bytes more, {now}")
    return rounds


def test_nothing_is_left_of_a_second_of_traffic(link: KindLink) -> None:
    assert soak(link, SHORT) >= 1


@pytest.mark.slow(limit=int(LONG) + 600)
def test_nothing_is_left_of_an_hour_of_traffic(link: KindLink) -> None:
    rounds = soak(link, LONG)
    assert rounds > 2 * SETTLED or LONG < 1800, "no time was left in which nothing may grow"
