"""What a `with` statement closes."""

from __future__ import annotations

from typing import Self


class Closing:
    """Has a `close()`, which the end of a `with` statement calls."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        raise NotImplementedError
