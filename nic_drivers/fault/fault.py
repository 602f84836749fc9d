"""fault: a bad network around a device, by seed: loss, reordering, corruption, delay, rate, …"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from .._netdev import ffi, lib
from ..device import Device
from ..errors import invalid
from ..middleware import wrap
from ..names import DeviceSpec, parse_between, parse_chance, parse_rate, parse_size, parse_time
from ..registry import register_wrapper

_KINDS = (
    "lost",
    "duplicated",
    "corrupted",
    "reordered",
    "queue_full",
    "no_room",
    "outage",
    "marked",
)
_COUNTERS = [f"fault.{way}.{kind}" for way in ("rx", "tx") for kind in _KINDS]
_HOUR = 3600 * 10**9
_HELD_MAX = 1 << 20


@dataclass(frozen=True)
class Faults:
    """What one direction does to frames. Chances are 0..1, times ns, rate bit/s (0: no limit),
    backlog bytes that may wait for the rate-limited link. A reordered frame is held back for
    `hold`; jitter alone (0..jitter more delay, evenly) changes no order. The link is down for
    `outage`, from `outage_at` after the device's first frame (of either way) on.

    ECN (RFC 3168): a packet that says ECT is marked CE with chance `mark`, and always if it finds
    more than `mark_above` bytes in the link's queue: the step that DCTCP wants (RFC 8257 section
    4.1; K packets are K * 1500). Who does not say ECT is not marked."""

    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    corrupt: float = 0.0
    hold: int = 1_000_000
    delay: int = 0
    jitter: int = 0
    rate: float = 0.0
    backlog: int = 128 * 1024
    outage_at: int = 0
    outage: int = 0
    mark: float = 0.0
    mark_above: int | None = None

    def __post_init__(self) -> None:
        for name in ("loss", "duplicate", "reorder", "corrupt", "mark"):
            if not 0 <= getattr(self, name) <= 1:
                raise invalid(f"{name}={getattr(self, name)}: a probability is from 0 to 1")
        for name in ("hold", "delay", "jitter", "outage_at", "outage"):
            if not 0 <= getattr(self, name) <= _HOUR:
                raise invalid(f"{name}={getattr(self, name)}: a time is from 0 to an hour, in ns")
        if self.rate != 0 and not 1 <= self.rate <= 1e15:
            raise invalid(f"rate={self.rate}: a rate is at least 1 bit/s, or 0 for no limit")
        if not 0 <= self.backlog < 1 << 40:
            raise invalid(f"backlog={self.backlog}: the link has from 0 bytes to 1 TiB")
        if self.mark_above is not None and not 0 <= self.mark_above < 1 << 40:
            raise invalid(f"mark_above={self.mark_above}: bytes of the queue, from 0 to 1 TiB")


def with_faults(
    device: Device,
    faults: Faults | None = None,
    *,
    rx: Faults | None = None,
    tx: Faults | None = None,
    seed: int = 1,
    held: int = 4096,
) -> Device:
    """Wraps a device (which is taken) in faults: the same both ways, or `rx` and `tx` apart.

    `held` frames at most are stored each way; more are dropped and counted (`fault.tx.no_room`).
    Each direction has dice of its own, so that one does not change the other. Raises DeviceError.
    """
    if not 1 <= held <= _HELD_MAX:
        raise invalid(f"held={held}: a fault device stores from 1 to {_HELD_MAX} frames each way")
    ways = ffi.new("struct fault_way[2]")
    both = faults or Faults()
    for way, chosen in ((ways[lib.FAULT_RX], rx or both), (ways[lib.FAULT_TX], tx or both)):
        for field in fields(chosen):
            value = getattr(chosen, field.name)
            setattr(way, field.name, -1 if value is None else value)
    make = lib.fault_new
    seed %= 1 << 64
    return wrap(device, lambda inner, tally: make(inner, ways, seed, held, tally), _COUNTERS)


_PARSERS: dict[str, Any] = {
    "loss": parse_chance,
    "duplicate": parse_chance,
    "reorder": parse_chance,
    "corrupt": parse_chance,
    "hold": parse_time,
    "delay": parse_time,
    "jitter": parse_time,
    "rate": parse_rate,
    "backlog": parse_size,
    "outage_at": parse_time,
    "outage": parse_time,
    "mark": parse_chance,
    "mark_above": parse_size,
}
_HELP = {
    "loss": "chance that a frame is lost (0.01 or 1%)",
    "duplicate": "chance that a frame comes twice",
    "reorder": "chance that a frame is held back",
    "corrupt": "chance that a bit of an IP packet is turned",
    "hold": "how long a reordered frame is held back (1ms)",
    "delay": "delay of every frame (10ms)",
    "jitter": "up to so much more delay, without reordering",
    "rate": "bits per second of the link (10mbit)",
    "backlog": "bytes that may wait for the link (128k)",
    "outage_at": "the link goes down so long after the first frame",
    "outage": "for how long it is down",
    "mark": "chance that an ECT packet is marked CE (ECN)",
    "mark_above": "bytes in the link's queue above which every one is (30k)",
}


def _wrap(spec: DeviceSpec, device: Device) -> Device:
    ways: dict[str, Faults] = {}
    for way in ("", "rx_", "tx_"):
        found = {
            name: spec.get(way + name, parse, None)
            for name, parse in _PARSERS.items()
            if way + name in spec.options
        }
        ways[way] = replace(ways[""] if way else Faults(), **found)
    seed = spec.get("seed", parse_between(0, (1 << 64) - 1), 1)
    if ways["rx_"] == ways["tx_"] == Faults():
        return device
    return with_faults(device, rx=ways["rx_"], tx=ways["tx_"], seed=seed)


register_wrapper(
    _wrap,
    {
        **{
            way + name: text
            + {"": "", "rx_": "; received frames only", "tx_": "; sent frames only"}[way]
            for way in ("", "rx_", "tx_")
            for name, text in _HELP.items()
        },
        "seed": "number that decides the faults (1)",
    },
    place=10,
)
