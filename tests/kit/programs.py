"""Programs of two stacks that talk to each other: each is a mover of its world."""

from __future__ import annotations

from typing import Any

from barewire.stack import ffi, lib

from . import frames
from .sock import MSG_TRUNC, Sock
from .world import World

PIECE = 1 << 16
_ZEROS = ffi.new("char[]", 1 << 20)


class Talker:
    """One end of a connection: writes `size` bytes of the pattern from `at` on, then says that it
    is done; reads until the other is."""

    def __init__(self, sock: Sock, size: int, at: int = 0) -> None:
        self.sock = sock
        self.size, self.at = size, at
        self.sent = 0
        self.got = bytearray()
        self.shut = self.ended = False

    @property
    def done(self) -> bool:
        return self.shut and self.ended

    def moves(self) -> bool:
        return (not self.shut and self._write()) | (not self.ended and self._read())

    def _write(self) -> bool:
        if not self.sock.writable:
            return False
        left = self.size - self.sent
        if left == 0:
            self.sock.shutdown()
            self.shut = True
            return True
        try:
            self.sent += self.sock.send(frames.pattern(min(left, PIECE), self.at + self.sent))
        except BlockingIOError:
            return False
        return True

    def _read(self) -> bool:
        try:
            data = self.sock.recv(PIECE)
        except BlockingIOError:
            return False
        self.got += data
        self.ended = not data
        return True


class Conversation:
    """A client on one stack, a server on another; both talk at once. `options` are the sockets'."""

    def __init__(
        self,
        world: World,
        client: Any,
        server: Any,
        address: str,
        *,
        upload: int,
        download: int,
        port: int = 80,
        **options: int,
    ) -> None:
        self.world = world
        self.upload, self.download = upload, download
        self.listener = Sock(server).set(**options).bind("0.0.0.0", port).listen()
        self.client = Talker(Sock(client).set(**options).connect(address, port), upload)
        self.server: Talker | None = None
        world.add_mover(self._moves)

    def _moves(self) -> bool:
        if self.server is None and self.listener.readable:
            self.server = Talker(self.listener.accept(), self.download, self.upload)
            return True
        moved = self.client.moves()
        if self.server is not None:
            moved |= self.server.moves()
        return moved

    @property
    def done(self) -> bool:
        return self.client.done and self.server is not None and self.server.done

    def runs(self, within: str = "3h") -> None:
        """Until both have said and heard everything; checks every byte."""
        self.world.run_until(lambda: self.done, within)
        self.world.remove_mover(self._moves)
        assert self.server is not None
        assert self.server.got == frames.pattern(self.upload), "the upload was changed"
        down = frames.pattern(self.download, self.upload)
        assert self.client.got == down, "the download was changed"

    def closes(self) -> None:
        """Both ends and the listener; until the last TIME-WAIT is over."""
        assert self.server is not None
        for sock in (self.client.sock, self.server.sock, self.listener):
            sock.close()
        self.world.run("10min")


class Bulk:
    """A program that always has something to send, and one that throws away what comes: `received`
    bytes. Nothing is looked at, so it is quick. `options` are the sender's."""

    def __init__(
        self, world: World, client: Any, server: Any, address: str, port: int = 80, **options: int
    ) -> None:
        self.listener = Sock(server).bind("0.0.0.0", port).listen()
        self.sender = Sock(client).set(**options).connect(address, port)
        self.reader: Sock | None = None
        self.received = 0
        world.add_mover(self._moves)

    def _moves(self) -> bool:
        if self.sender.writable:
            self._write(self.sender)
        if self.reader is None and self.listener.readable:
            self.reader = self.listener.accept()
        return self.reader is not None and self._read(self.reader)

    def _write(self, s: Sock) -> None:
        while lib.host_send(s._host, s._handle, _ZEROS, len(_ZEROS), 0, 0) > 0:
            pass

    def _read(self, s: Sock) -> bool:
        before = self.received
        while (n := lib.host_recv(s._host, s._handle, _ZEROS, len(_ZEROS), MSG_TRUNC, 0)) > 0:
            self.received += n
        return self.received != before
