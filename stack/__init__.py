"""IP, ICMP, UDP, TCP and the engine: C moves packets, Python decides. `ffi`, `lib` reach the C."""

from ._engine import ffi, lib

__all__ = ["ffi", "lib"]
