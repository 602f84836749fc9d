"""Where a TLS record ends (RFC 8446 5.1), so that nothing is read beyond it."""

from __future__ import annotations

from typing import Any

HEADER = 5  # type, version (two bytes), length (two bytes)
TYPES = range(20, 25)  # change_cipher_spec to heartbeat
MAJOR = 3  # of the version that every TLS record shows
MAX = (1 << 14) + 2048  # a record's longest body (RFC 5246 6.2.3)


class Reader:
    """Counts the bytes of records as they come, in pieces of any size up to `wanted`."""

    __slots__ = ("_header", "wanted")

    def __init__(self) -> None:
        self._header = bytearray()
        self.wanted = HEADER  # bytes up to the end of the header, or of the record

    def has(self, piece: Any) -> bool:
        """Counts a piece; whether it ends a record, or something else that OpenSSL has to see at once."""
        self.wanted -= len(piece)
        if len(self._header) < HEADER:
            self._header += piece
            if self.wanted == 0:
                self.wanted = self._body()
                if self.wanted:
                    return False
        if self.wanted:
            return False
        self._header.clear()
        self.wanted = HEADER
        return True

    def _body(self) -> int:
        """Bytes after the header; 0: none, or it is no record of TLS and OpenSSL will say so."""
        kind, major, _, high, low = self._header
        length = high << 8 | low
        return length if kind in TYPES and major == MAJOR and length <= MAX else 0
