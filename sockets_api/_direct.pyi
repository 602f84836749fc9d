from collections.abc import Callable
from typing import Any

SIGNAL_TRIPPED: int
"""Address of a C function, `int (*)(void)`: whether a handler of a signal has still to run."""

class Direct:
    @classmethod
    def _gather(
        cls,
        rlist: list[Any],
        wlist: list[Any],
        xlist: list[Any],
        resolve: Callable[[Any], Any],
        address: int,
        /,
    ) -> list[Any]: ...
    @staticmethod
    def _scatter(
        rlist: list[Any], wlist: list[Any], xlist: list[Any], address: int, /
    ) -> tuple[list[Any], list[Any], list[Any]] | None: ...
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
    def recvmsg(
        self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[bytes, list[tuple[int, int, bytes]], int, Any]: ...
    def sendmsg(
        self,
        buffers: Any,
        ancdata: Any = (),
        flags: int = 0,
        address: Any = None,
        /,
    ) -> int: ...
    def send(self, data: Any, flags: int = 0, /) -> int: ...
    def sendall(self, data: Any, flags: int = 0, /) -> None: ...
