"""Where barewire answers otherwise than Linux, on purpose or for a reason: the differences that a comparison
of the two passes over. docs/fuzz.md shows this table."""

from __future__ import annotations

from .differential import Accepted

ACCEPTED: tuple[Accepted, ...] = ()
