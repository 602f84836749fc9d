"""How a device wants to be driven: the options that mean the same for every kind, read in one place.

`cpu=` and `spin=` are every kind's; `queue=` and `queues=` are those of kinds with queues.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from .errors import invalid
from .names import DeviceSpec, parse_between

OPTIONS = {
    "cpu": "CPU that the stack's background thread is pinned to",
    "spin": "microseconds a waiting call looks for its answer before it sleeps, up to 1000",
}
QUEUE_OPTIONS = {
    "queue": "the one queue to use (0); with queues=N the stack is number `queue` of N that share "
    "the interface",
    "queues": "how many queues to use, from 0 (1); with queue=K how many stacks share the interface",
}


@dataclass(frozen=True)
class Driving:
    """`cpu` to pin the background thread to, `spin_ns` before a sleep; None: as the stack says."""

    cpu: int | None = None
    spin_ns: int | None = None


@dataclass(frozen=True)
class Queues:
    """A device drives `count` queues from `first`. With `group` above 1 its stack is number `first`
    of so many that share the interface: it has the local ports with port % group == first."""

    first: int = 0
    count: int = 1
    group: int = 1


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
    return Queues(queue, 1, queues)


def _ranges(cpus: set[int]) -> str:
    """`0-3,8`."""
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and cpu == runs[-1][1] + 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(f"{a}-{b}" if a != b else str(a) for a, b in runs)
