"""Time as tests write it, and the clock they own."""

from __future__ import annotations

import re

NS = 1
US = 1_000
MS = 1_000_000
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
_UNITS = {"ns": NS, "us": US, "ms": MS, "s": SECOND, "min": MINUTE, "h": 60 * MINUTE}

Time = str | int
"""ns as int, or a text: "200ms", "1.5s", "2min"."""


def ns(time: Time) -> int:
    """`ns("1.5s") == 1_500_000_000`; an int is ns already."""
    if isinstance(time, int):
        return time
    match = re.fullmatch(r"([0-9.]+) ?(ns|us|ms|s|min|h)", time)
    if match is None:
        raise ValueError(f"time {time!r}: write it as 200ms, 1.5s, 2min")
    return round(float(match[1]) * _UNITS[match[2]])


def text(time: int) -> str:
    """ns as people read them: 1.2s, 40ms."""
    for unit in ("s", "ms", "us"):
        if abs(time) >= _UNITS[unit]:
            return f"{time / _UNITS[unit]:.9g}{unit}"
    return f"{time}ns"


class VirtualClock:
    """A clock that only moves when told to, and never back."""

    def __init__(self, start: Time = "1000s") -> None:
        self.now = ns(start)

    def __call__(self) -> int:
        return self.now

    def advance(self, by: Time) -> None:
        self.set(self.now + ns(by))

    def set(self, to: int) -> None:
        if to < self.now:
            raise ValueError(f"the clock would go back by {text(self.now - to)}")
        self.now = to
