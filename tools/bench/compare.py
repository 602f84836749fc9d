"""The comparison: the same program on barewire's sockets and on the kernel's, round by round.

Both have the same peer program on the kernel's sockets, on the other core: barewire through a TAP
interface, the kernel through a veth pair, MTU 1500. In every round each contender runs each test
once; the order is turned round after every round, so that a drift of the machine meets all alike.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

from .. import netns
from .report import Result, Samples
from .worker import Worker, WorkerError

PEER, OURS, PREFIX = "198.18.0.1", "198.18.0.2", "/24"
CONGESTION = "cubic"
STEADY = 0.2  # the spread of the kernel's figures, by their median, with which they are a reference


@dataclass(frozen=True)
class Test:
    """One comparison. program: measured, with its `_peer`; metrics: {metric: unit}."""

    name: str
    program: str
    direction: str
    metrics: dict[str, str]
    spin: bool = False  # measured spinning too


RR = {"rate": "1/s", "p50": "us", "p99": "us", "p99.9": "us", "p99.99": "us"}
TESTS = (
    Test("udp_rr", "udp_rr", "out", RR, spin=True),
    Test("tcp_rr", "tcp_rr", "out", RR, spin=True),
    Test("tcp_stream", "tcp_stream_out", "out", {"throughput": "Gbit/s"}),
    Test("tcp_stream", "tcp_stream_in", "in", {"throughput": "Gbit/s"}),
    Test("tcp_crr", "tcp_crr", "out", {"rate": "1/s"}),
    Test("udp_rx", "udp_rx", "in", {"rate": "1/s"}),
    Test("udp_batch", "udp_batch", "out", {"rate": "1/s"}),
)


@dataclass
class Link:
    """A contender's two processes."""

    measured: Worker
    peer: Worker


@contextlib.contextmanager
def links() -> Iterator[dict[str, Link]]:
    """{"barewire": ..., "kernel": ...}: namespaces and processes, all gone afterwards."""
    cores = sorted(os.sched_getaffinity(0))
    here, there = cores[0], cores[-1]
    with netns.Namespace("tap") as tap, netns.Namespace("a") as a, netns.Namespace("b") as b:
        netns.tap(tap, PEER + PREFIX)
        netns.veth(a, b, PEER + PREFIX, OURS + PREFIX)
        for namespace in (tap, a, b):
            namespace.sysctl("net.ipv4.ip_local_port_range", "10240 65535")
        yield {
            "barewire": Link(Worker(tap, here, "tap:tap0", OURS + PREFIX), Worker(tap, there)),
            "kernel": Link(Worker(b, here), Worker(a, there)),
        }


_ports = itertools.count(5001)


def run_once(test: Test, link: Link, seconds: float, spin: bool) -> dict[str, float]:
    """One measurement: what both ends say, the measured end's words first."""
    measured, peer = (link.measured, test.program), (link.peer, test.program + "_peer")
    host = PEER
    first, second = peer, measured
    if test.program == "udp_rx":
        first, second, host = measured, peer, OURS
    order = {
        "host": host,
        "port": next(_ports),
        "seconds": seconds,
        "spin": spin,
        "congestion": CONGESTION,
    }
    first[0].tell(first[1], **order)
    second[0].tell(second[1], **order)
    answers = {w: w.answer() for w in (second[0], first[0])}
    for answer in answers.values():
        used = answer.pop("congestion", CONGESTION)
        if used != CONGESTION:
            raise WorkerError(f"{test.name} ran with {used} instead of {CONGESTION}")
    return {**answers[link.peer], **answers[link.measured]}


def compare(
    tests: list[Test],
    rounds: int,
    seconds: float,
    progress: Callable[[str], None],
    contenders_of: Callable[[], AbstractContextManager[dict[str, Link]]] = links,
    device: str = "tap",
) -> list[Result]:
    """Runs the tests; medians over the rounds, with the spread."""
    samples: dict[tuple[str, str, str], Samples] = {}
    with contenders_of() as contenders:
        for number in range(rounds):
            for test in tests:
                runs = [
                    (name, spin)
                    for spin in ((False, True) if test.spin else (False,))
                    for name in contenders
                ]
                for name, spin in runs if number % 2 == 0 else reversed(runs):
                    title = name + ("_spin" if spin else "")
                    progress(f"round {number + 1}/{rounds}: {test.name} {test.direction}, {title}")
                    got = run_once(test, contenders[name], seconds, spin)
                    for metric in test.metrics:
                        key = (test.program, metric, title)
                        samples.setdefault(key, Samples()).add(got[metric])
    return [
        Result(
            test.name,
            device,
            test.direction,
            metric,
            unit,
            {
                title: s
                for (program, m, title), s in samples.items()
                if (program, m) == (test.program, metric)
            },
            STEADY,
        )
        for test in tests
        for metric, unit in test.metrics.items()
    ]
