"""The one exception of this layer."""

from __future__ import annotations

import errno


class DeviceError(OSError):
    """A device that cannot be named, opened or used; `errno` says why to programs, `str()` to
    people.

    The text is one sentence that says what to do.
    """

    def __init__(self, number: int, text: str) -> None:
        super().__init__(number, text)

    def __str__(self) -> str:
        return str(self.strerror)


def invalid(text: str) -> DeviceError:
    """A name or an option that makes no sense."""
    return DeviceError(errno.EINVAL, text)
