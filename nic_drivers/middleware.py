"""What pcap, fault and late share: putting a C netdev around the one of a Device."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import Any

from ._netdev import ffi
from .device import Device, Tally
from .errors import DeviceError


def wrap(inner: Device, make: Callable[[Any, Any], Any], counters: Sequence[str]) -> Device:
    """A Device around `inner`, which is taken. `make(netdev, tally)` is the C constructor: it
    fills `struct tally **tally` and gives the new netdev, or NULL, which leaves `inner` as it
    was."""
    tally = ffi.new("struct tally **")
    netdev = inner.hand_over(lambda netdev: make(netdev, tally))
    if netdev == ffi.NULL:
        raise DeviceError(errno.ENOMEM, f"no memory to wrap device {inner.kind}:{inner.name}")
    tallies = (*inner.tallies, Tally(tally[0], counters))
    return Device(inner.kind, netdev, tallies, inner.info, inner)
