"""Steps that are calls of a program: sockets made, used and closed."""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
import zlib

from .peer import pattern
from .scene import PORTS, TCP, UDP, Scene

SIOCATMARK = 0x8905
BOUND = ("", "0.0.0.0", "198.18.0.77")


class Calls(Scene):
    def on_listen(self, backlog: int) -> None:
        sock = self._new(TCP, "listener")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((str(self.target.address), self.place.port))
        sock.listen(backlog)

    def on_open(self, kind: int, port: int, where: int, reuse: int) -> None:
        """A socket: stream 0, datagram 1; bound to a port of the place (-1: to none) at the target's address
        0, any 1, or one that is nobody's 2; `reuse`: SO_REUSEADDR."""
        sock = self._new((TCP, UDP)[kind % 2], ("stream", "datagram")[kind % 2])
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
        if port >= 0:
            sock.bind(
                (BOUND[where % 3] or str(self.target.address), self.place.port + port % PORTS)
            )

    def on_connect(self, which: int) -> None:
        sock = self._new(TCP, "stream")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((str(self.target.address), self.place.port + 1 + which % 3))
        sock.connect((str(self.place.address), self._their_port(which)))

    def on_again(self, i: int) -> None:
        self._sock(i).connect((str(self.place.address), self._their_port(0)))

    def on_relisten(self, i: int) -> None:
        self._sock(i).listen(5)

    def on_accept(self, i: int) -> str:
        sock, name = self._sock(i).accept()
        sock.setblocking(False)
        self.sockets.append(sock)
        self.kinds.append("stream")
        return f"from {name}"

    def on_udp(self, port: int) -> None:
        self._new(UDP, "datagram").bind((str(self.target.address), self.place.port + port % 3))

    def on_udp_connect(self, i: int, which: int) -> None:
        self._sock(i).connect((str(self.place.address), self._their_port(which)))

    def on_send(self, i: int, size: int, flags: int) -> int:
        at = self._sent.get(i % max(1, len(self.sockets)), 0)
        taken = int(self._sock(i).send(pattern(at, size), flags))
        self._sent[i % len(self.sockets)] = at + taken
        return taken

    def on_sendto(self, i: int, size: int, which: int) -> int:
        return int(
            self._sock(i).sendto(
                pattern(0, size), (str(self.place.address), self._their_port(which))
            )
        )

    def on_recv(self, i: int, size: int, flags: int) -> str:
        data = self._sock(i).recv(size, flags)
        return f"{len(data)} bytes {zlib.crc32(data):08x}"

    def on_recvfrom(self, i: int, size: int) -> str:
        data, name = self._sock(i).recvfrom(size)
        return f"{len(data)} bytes {zlib.crc32(data):08x} from {name}"

    def on_shutdown(self, i: int, how: int) -> None:
        self._sock(i).shutdown(how)

    def on_close(self, i: int) -> None:
        sock = self._sock(i)
        self.sockets[i % len(self.sockets)] = None
        sock.close()

    def on_error(self, i: int) -> str:
        code = self._sock(i).getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return errno.errorcode.get(code, str(code))

    def on_names(self, i: int) -> str:
        sock = self._sock(i)
        return f"{self._named(sock.getsockname())} {sock.getpeername()}"

    def on_mark(self, i: int) -> str:
        """Has the reader come to the urgent byte?"""
        sock = self._sock(i)
        if sock.type == UDP:
            return "no stream"
        if hasattr(sock, "sockatmark"):
            return str(sock.sockatmark())
        return str(bool(struct.unpack("i", fcntl.ioctl(sock, SIOCATMARK, bytes(4)))[0]))

    def on_linger(self, i: int, seconds: int) -> None:
        value = struct.pack("ii", seconds >= 0, max(0, seconds))
        self._sock(i).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, value)

    def on_option(self, i: int, level: int, name: int, value: int) -> str:
        sock = self._sock(i)
        sock.setsockopt(level, name, value)
        return str(sock.getsockopt(level, name))

    def _named(self, name: tuple[str, int]) -> tuple[str, int | str]:
        """A port that the target chose is any."""
        host, port = name
        return host, port if not port or 0 <= port - self.place.port < PORTS else "any"
