"""The devices: both ends Python, each on a core of its own, over one kind of device and, beside it in
the same round, over the kernel's sockets on a veth pair like it. See compare.py for the rules.

A TAP interface has the kernel's sockets at its other end, any other device one like it. io_uring drives
what other kinds drive too: those run beside it in the same rounds."""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from .. import netns
from .compare import OURS, PEER, PREFIX, RR, Link, Test, compare
from .report import Result
from .worker import Worker


@dataclass(frozen=True)
class Pair:
    """Devices on the two ends of a veth pair, or one on a TAP interface. beside: another one, measured
    in the same rounds. peer: what is at the other end of `device` and needs no interface; it is opened
    second, and {folder} in both names is a new one."""

    device: str
    mtu: int = 1500
    beside: str = ""
    peer: str = ""


PAIRS = {
    "xdp": Pair("xdp:veth0"),
    "xdp9000": Pair("xdp:veth0", mtu=9000),
    "xdp_generic": Pair("xdp:veth0?mode=generic"),
    "packet": Pair("packet:veth0"),
    "uring": Pair("uring:tap0", beside="tap:tap0"),
    "uring_packet": Pair("uring:veth0", beside="packet:veth0"),
    "memif": Pair(
        "dpdk:net_memif0,role=server,socket={folder}/memif,socket-abstract=no,rsize=11",
        peer="dpdk:net_memif0,role=client,socket={folder}/memif,socket-abstract=no,rsize=11",
    ),
    "vhost": Pair(
        "dpdk:net_vhost0,iface={folder}/vhost",
        peer="dpdk:net_virtio_user0,path={folder}/vhost",
    ),
}


def tests_of(name: str) -> tuple[Test, ...]:
    bulk = Test(f"{name}_tcp_stream", "tcp_stream_out", "out", {"throughput": "Gbit/s"})
    batch = Test(f"{name}_udp_batch", "udp_batch", "out", {"rate": "1/s"})
    if PAIRS[name].mtu > 1500:
        return (bulk,)
    if PAIRS[name].peer:
        return (batch,)
    return (
        Test(f"{name}_udp_rr", "udp_rr", "out", RR, spin=True),
        Test(f"{name}_tcp_rr", "tcp_rr", "out", RR, spin=True),
        bulk,
        batch,
    )


TESTS = {test.name: name for name in PAIRS for test in tests_of(name)}


@contextlib.contextmanager
def links(pair: Pair) -> Iterator[dict[str, Link]]:
    """A veth pair for the kernel's sockets, and interfaces like it for each device."""
    cores = sorted(os.sched_getaffinity(0))
    here, there = cores[0], cores[-1]
    with contextlib.ExitStack() as stack:

        def space(name: str) -> netns.Namespace:
            return stack.enter_context(netns.Namespace(name))

        def joined(device: str, peer: str) -> Link:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="barewire-"))
            return Link(
                Worker(space("a"), here, device.format(folder=folder), OURS + PREFIX),
                Worker(space("b"), there, peer.format(folder=folder), PEER + PREFIX),
            )

        def link(device: str) -> Link:
            near = space("a")
            if device.endswith(":tap0"):
                netns.tap(near, PEER + PREFIX)
                return Link(Worker(near, here, device, OURS + PREFIX), Worker(near, there))
            far = space("b")
            # The kernel's own addresses on the devices' interfaces are others than the stacks'.
            netns.veth(far, near, "198.18.0.101/24", "198.18.0.102/24", mtu=pair.mtu)
            return Link(
                Worker(near, here, device, OURS + PREFIX),
                Worker(far, there, device, PEER + PREFIX),
            )

        made = {"barewire": joined(pair.device, pair.peer) if pair.peer else link(pair.device)}
        if pair.beside:
            made[pair.beside] = link(pair.beside)
        near, far = space("ka"), space("kb")
        netns.veth(far, near, PEER + PREFIX, OURS + PREFIX, mtu=pair.mtu)
        yield {**made, "kernel": Link(Worker(near, here), Worker(far, there))}


def measure(
    names: list[str], rounds: int, seconds: float, progress: Callable[[str], None]
) -> list[Result]:
    """The tests of these names, device by device."""
    results: list[Result] = []
    for device, pair in PAIRS.items():
        wanted = [test for test in tests_of(device) if test.name in names]
        if not wanted:
            continue
        contenders = functools.partial(links, pair)
        found = compare(wanted, rounds, seconds, progress, contenders, device)
        results += found
        if pair.beside:
            results += [beside(result, pair.beside) for result in found]
    return results


def beside(result: Result, name: str) -> Result:
    """Takes the figures of the device that ran beside out of a result: a result of their own."""
    kind = name.partition(":")[0]
    samples = {t: s for t, s in result.samples.items() if t.startswith("kernel")}
    for title in [t for t in result.samples if t.startswith(name)]:
        samples["barewire" + title.removeprefix(name)] = result.samples.pop(title)
    return replace(result, test=f"{result.test}, {kind}", device=kind, samples=samples)
