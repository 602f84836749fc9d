from typing import Any

SIGNAL_TRIPPED: int
"""Address of a C function, `int (*)(void)`: whether a handler of a signal has still to run."""

class Direct:
    def _tie(
        self,
        calls: int = 0,
        host: int = 0,
        sock: int = 0,
        spin: int = 0,
        nonblocking: bool = False,
        /,
    ) -> None: ...
    def recv(self, bufsize: int, flags: int = 0, /) -> bytes: ...
    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int: ...
    def send(self, data: Any, flags: int = 0, /) -> int: ...
    def sendall(self, data: Any, flags: int = 0, /) -> None: ...
