"""Timeout arguments, and the timeout that new sockets start with."""

from __future__ import annotations

import math
import operator
import sys
from typing import Any

LONGEST = (2**63 - 1) // 10**9  # seconds that fit into nanoseconds

_default_timeout: float | None = None


def getdefaulttimeout() -> float | None:
    """The timeout of new sockets in seconds; None: they block."""
    return _default_timeout


def setdefaulttimeout(timeout: float | None) -> None:
    """Sets the timeout of new sockets, in seconds; None: they block."""
    global _default_timeout
    _default_timeout = seconds_of(timeout)


def seconds_of(timeout: Any) -> float | None:
    """A timeout argument, checked."""
    if timeout is None:
        return None
    if not isinstance(timeout, (int, float)) and not hasattr(timeout, "__index__"):
        kind = type(timeout).__name__
        raise TypeError(f"'{kind}' object cannot be interpreted as an integer")
    seconds = float(timeout)
    if math.isnan(seconds):
        raise ValueError("Invalid value NaN (not a number)")
    if seconds < 0:
        raise ValueError("Timeout value out of range")
    if seconds > LONGEST:
        raise OverflowError("timestamp out of range for platform time_t")
    return seconds


def is_blocking(flag: Any) -> bool:
    """setblocking()'s argument, read as the running Python reads it: any truth value since 3.12, a C long
    before."""
    if sys.version_info >= (3, 12):
        return bool(flag)
    number = operator.index(flag)
    if not -(2**63) <= number < 2**63:
        raise OverflowError("Python int too large to convert to C long")
    return number != 0
