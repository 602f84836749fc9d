"""48-bit MAC addresses (IEEE 802): 6 bytes that know how people write them."""

from __future__ import annotations

import re

_TEXT = re.compile(r"[0-9a-f]{2}([:-]?)(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}", re.IGNORECASE)


class Mac(bytes):
    """A MAC address. It is the 6 bytes on the wire, so it can be sliced, compared and sent as is.

    `Mac("02:00:00:00:00:01")`, `Mac(bytes(6))`. Raises ValueError for anything that is not 6 bytes
    or 12 hex digits (with `:` or `-` between pairs, or nothing).
    """

    __slots__ = ()

    def __new__(cls, value: bytes | str) -> Mac:
        if isinstance(value, str):
            if not _TEXT.fullmatch(value):
                raise ValueError(f"not a MAC address: {value!r}")
            value = bytes.fromhex(value.replace(":", "").replace("-", ""))
        if len(value) != 6:
            raise ValueError(f"a MAC address has 6 bytes, not {len(value)}")
        return super().__new__(cls, value)

    @classmethod
    def local(cls, name: str) -> Mac:
        """A locally administered unicast address that is always the same for the same name."""
        import hashlib  # slow to load

        digest = hashlib.blake2b(name.encode(), digest_size=6, person=b"barewire-mac").digest()
        return cls(bytes([digest[0] & 0xFC | 0x02]) + digest[1:])

    def __str__(self) -> str:
        return self.hex(":")

    def __repr__(self) -> str:
        return f"Mac({str(self)!r})"

    @property
    def is_multicast(self) -> bool:
        """Group bit set; the broadcast address is one of them."""
        return bool(self[0] & 0x01)

    @property
    def is_broadcast(self) -> bool:
        return self == BROADCAST

    @property
    def is_local(self) -> bool:
        """Locally administered: chosen by software, not by the card's maker."""
        return bool(self[0] & 0x02)


BROADCAST = Mac(b"\xff" * 6)
UNSPECIFIED = Mac(bytes(6))
