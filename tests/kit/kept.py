"""What a test opens, and leaves to be closed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


class Kept:
    """A test class that closes in the end what it was given to keep."""

    @pytest.fixture(autouse=True)
    def _closes_what_it_keeps(self) -> Iterator[None]:
        self._kept: list[Any] = []
        yield
        for sock in self._kept:
            sock.close()

    def keep(self, sock: Any) -> Any:
        """Closes the socket at the end of the test."""
        self._kept.append(sock)
        return sock
