"""The devices: both ends Python, each on a core of its own, over one kind of device and, beside it in
the same round, over the kernel's sockets on a veth pair like it. See compare.py for the rules."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .. import netns
from .compare import OURS, PEER, PREFIX, RR, Link, Test, compare
from .report import Result
from .worker import Worker


@dataclass(frozen=True)
class Pair:
    """Devices on the two ends of a veth pair."""

    device: str
    mtu: int = 1500


PAIRS = {
    "xdp": Pair("xdp:veth0"),
    "xdp9000": Pair("xdp:veth0", mtu=9000),
    "xdp_generic": Pair("xdp:veth0?mode=generic"),
    "packet": Pair("packet:veth0"),
}


def tests_of(name: str) -> tuple[Test, ...]:
    bulk = Test(f"{name}_tcp_stream", "tcp_stream_out", "out", {"throughput": "Gbit/s"})
    if PAIRS[name].mtu > 1500:
        return (bulk,)
    return (
        Test(f"{name}_udp_rr", "udp_rr", "out", RR, spin=True),
        Test(f"{name}_tcp_rr", "tcp_rr", "out", RR, spin=True),
        bulk,
        Test(f"{name}_udp_batch", "udp_batch", "out", {"rate": "1/s"}),
    )


TESTS = {test.name: name for name in PAIRS for test in tests_of(name)}


@contextlib.contextmanager
def links(pair: Pair) -> Iterator[dict[str, Link]]:
    """Two veth pairs alike: one for the devices, one for the kernel's sockets."""
    cores = sorted(os.sched_getaffinity(0))
    here, there = cores[0], cores[-1]
    with contextlib.ExitStack() as stack:
        spaces = [stack.enter_context(netns.Namespace(name)) for name in ("a", "b", "ka", "kb")]
        near, far, kernel_near, kernel_far = spaces
        # The kernel's own addresses on the devices' interfaces are others than the stacks'.
        netns.veth(far, near, "198.18.0.101/24", "198.18.0.102/24", mtu=pair.mtu)
        netns.veth(kernel_far, kernel_near, PEER + PREFIX, OURS + PREFIX, mtu=pair.mtu)
        yield {
            "barewire": Link(
                Worker(near, here, pair.device, OURS + PREFIX),
                Worker(far, there, pair.device, PEER + PREFIX),
            ),
            "kernel": Link(Worker(kernel_near, here), Worker(kernel_far, there)),
        }


def measure(
    names: list[str], rounds: int, seconds: float, progress: Callable[[str], None]
) -> list[Result]:
    """The tests of these names, device by device."""
    results: list[Result] = []
    for device, pair in PAIRS.items():
        wanted = [test for test in tests_of(device) if test.name in names]
        if wanted:
            contenders = functools.partial(links, pair)
            results += compare(wanted, rounds, seconds, progress, contenders, device)
    return results
