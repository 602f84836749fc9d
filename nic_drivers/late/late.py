"""late: a test device that completes transmits late, out of order, and reads the bytes then."""

from __future__ import annotations

from .._netdev import lib
from ..device import Device
from ..errors import invalid
from ..middleware import wrap

_COUNTERS = ("late.taken", "late.sent", "late.corrupted", "late.reclaimed", "late.outside")


def with_late(
    device: Device, *, max_delay: int = 1_000_000, depth: int = 256, seed: int = 1
) -> Device:
    """Wraps a TX_SYNC device (which is taken). Each frame completes 1..max_delay ns after it was
    given; at most `depth` are outstanding. `late.corrupted` counts frames whose bytes changed
    meanwhile."""
    if device.caps & lib.NETDEV_TX_ASYNC:
        raise invalid(f"device {device.kind}:{device.name} completes transmits late itself")
    if not 1 <= depth <= 4096 or not 1 <= max_delay <= 3600 * 10**9:
        raise invalid("late: depth is from 1 to 4096 frames, max_delay from 1 ns to an hour")
    make = lib.late_new
    seed %= 1 << 64
    return wrap(device, lambda inner, tally: make(inner, max_delay, depth, seed, tally), _COUNTERS)
