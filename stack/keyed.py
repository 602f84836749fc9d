"""Random numbers of the control plane. Peers see some (echo identifiers, when an address is probed),
and `random.Random` is linear: 624 of its words tell all that follow.

A block is BLAKE2b of nothing under a key: its first half is the next key, the second half is given
out (fast key erasure, Bernstein 2017), so that no output tells of another.
"""

from __future__ import annotations

from random import Random


class KeyedRandom(Random):
    """`random.Random` over a keyed hash. Equal seeds give equal numbers."""

    def __init__(self, seed: int | bytes | str) -> None:
        from hashlib import blake2b  # slow to load

        self._hash = blake2b
        self._key = blake2b(repr(seed).encode(), digest_size=32).digest()
        self._left = b""
        super().__init__()

    def seed(self, *args: object, **kwargs: object) -> None:
        """The key given to the constructor is the only seed."""

    def _take(self, size: int) -> bytes:
        while len(self._left) < size:
            block = self._hash(key=self._key, digest_size=64).digest()
            self._key, self._left = block[:32], self._left + block[32:]
        taken, self._left = self._left[:size], self._left[size:]
        return taken

    def getrandbits(self, k: int, /) -> int:
        """k random bits as an integer."""
        size = (k + 7) // 8
        return int.from_bytes(self._take(size)) >> (8 * size - k)

    def random(self) -> float:
        """From 0.0 to below 1.0, in steps of 2**-53."""
        return float(self.getrandbits(53)) / (1 << 53)
