"""What every codec shares: the one error that `parse` raises, and range checks for `build`."""

from __future__ import annotations


class Malformed(ValueError):
    """The bytes are not a packet of this protocol. The text names what is wrong first."""


def uint(name: str, value: int, bits: int) -> None:
    """Raises ValueError unless value fits an unsigned field of that many bits."""
    if not 0 <= value < 1 << bits:
        raise ValueError(f"{name} must be in 0..{(1 << bits) - 1}, not {value}")
