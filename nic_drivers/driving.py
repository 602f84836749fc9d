"""How a device wants to be driven: the options that mean the same for every kind, read in one place.

`cpu=` and `spin=` are every kind's; `queue=` and `queues=` are those of kinds with queues.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from .errors import invalid
from .names import DeviceSpec, parse_between, parse_text

OPTIONS = {
    "cpu": "CPU that the stack's background thread is pinned to",
    "spin": "microseconds a waiting call looks for its answer before it sleeps, up to 1000",
}
QUEUE_OPTIONS = {
    "queue": "the one queue to use (0); with queues=N the stack is number `queue` of N that share "
    "the interface",
    "queues": "how many queues to use, from 0 (1); with queue=K how many stacks share the interface",
}
GROUP_OPTIONS = {
    "rss_key": "of stacks that share: the card's RSS key (`ethtool -x`), 40 bytes in hexadecimal; flows "
    "are theirs as the card spreads them (by the port)",
    "rss_table": "with rss_key: the stack of each entry of the card's indirection table, as 0,1,0,1 "
    "(0 to N-1 in turn)",
}
RSS_KEY, RSS_TABLE = 40, 512  # BW_RSS_KEY, BW_RSS_TABLE


@dataclass(frozen=True)
class Driving:
    """`cpu` to pin the background thread to, `spin_ns` before a sleep; None: as the stack says."""

    cpu: int | None = None
    spin_ns: int | None = None


@dataclass(frozen=True)
class Rss:
    """How a card spreads flows: Toeplitz' hash of addresses and ports with `key` (40 bytes), and the
    stack of each entry of the indirection `table`, whose length is a power of two."""

    key: bytes
    table: tuple[int, ...]


@dataclass(frozen=True)
class Queues:
    """A device drives `count` queues from `first`. With `group` above 1 its stack is number `first`
    of so many that share the interface: it has the local ports with port % group == first, or with
    `rss` the flows that the card brings to it."""

    first: int = 0
    count: int = 1
    group: int = 1
    rss: Rss | None = None


ONE_QUEUE = Queues()


def driving_of(spec: DeviceSpec) -> Driving:
    """Raises DeviceError (EINVAL)."""
    cpu = spec.get("cpu", parse_between(0, 1023), None)
    spin = spec.get("spin", parse_between(0, 1000), None)
    allowed = os.sched_getaffinity(0)
    if cpu is not None and cpu not in allowed:
        raise invalid(f"cpu={cpu}: this process may run on CPU {_ranges(allowed)} only")
    return Driving(cpu, None if spin is None else spin * 1000)


def queues_of(spec: DeviceSpec, most: int) -> Queues:
    """What `queue` and `queues` mean together; one device drives at most `most` of them. Raises
    DeviceError (EINVAL)."""
    queue = spec.get("queue", parse_between(0, 63), None)
    if queue is None:
        return Queues(0, spec.get("queues", parse_between(1, most), 1))
    queues = spec.get("queues", parse_between(1, 64), None)
    if queues is None:
        return Queues(queue)
    if queue >= queues:
        text = f"queue={queue}&queues={queues}: queues are numbered from 0, so at most {queues - 1}"
        raise invalid(text)
    return Queues(queue, 1, queues, _rss_of(spec, queues))


def _rss_of(spec: DeviceSpec, queues: int) -> Rss | None:
    text, table = spec.get("rss_key", parse_text, ""), spec.get("rss_table", parse_text, "")
    if not text:
        if table:
            raise invalid("rss_table= goes with rss_key=, the card's key")
        return None
    try:
        key = bytes.fromhex(text.replace(":", ""))
        owners = tuple(int(n) for n in table.split(",")) if table else ()
    except ValueError:
        raise invalid("rss_key= is hexadecimal, rss_table= numbers with commas") from None
    owners = owners or tuple(i % queues for i in range(128))
    if len(key) != RSS_KEY:
        raise invalid(f"rss_key= has {len(key)} bytes: cards have {RSS_KEY}")
    if not 1 <= len(owners) <= RSS_TABLE or len(owners) & (len(owners) - 1):
        raise invalid(
            f"rss_table= has {len(owners)} entries: expected a power of two up to {RSS_TABLE}"
        )
    if not 0 <= min(owners) <= max(owners) < queues:
        raise invalid(f"rss_table= names stacks 0 to {queues - 1}")
    return Rss(key, owners)


def _ranges(cpus: set[int]) -> str:
    """`0-3,8`."""
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and cpu == runs[-1][1] + 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(f"{a}-{b}" if a != b else str(a) for a, b in runs)
