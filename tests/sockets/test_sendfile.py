"""socket.sendfile: what is sent of which file, and where its position is then. Both networks."""

from __future__ import annotations

import io
import os
import socket
import struct
from typing import Any

import pytest

from tests.sockets.kit import Barewire, Kernel, Network, background, outcome, receive


def drop_after(sock: Any, size: int) -> None:
    """Reads so many bytes and resets the connection."""
    receive(sock, size)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Sendfile(Network):
    @pytest.mark.parametrize("place", [0, 7, 5000], ids=["start", "inside", "end"])
    @pytest.mark.parametrize("offset", [0, 100, 5000, 6000])
    @pytest.mark.parametrize("count", [None, 1, 1000, 9000])
    def test_sendfile_from(self, tmp_path: Any, place: int, offset: int, count: int | None) -> None:
        """A regular file: from offset, wherever the position is."""
        text = bytes(i * 7 & 255 for i in range(5000))
        (tmp_path / "file").write_bytes(text)
        one, other = self.pair()
        with (tmp_path / "file").open("rb") as file:
            file.seek(place)
            wanted = text[offset:] if count is None else text[offset : offset + count]
            assert one.sendfile(file, offset, count) == len(wanted)
            assert file.tell() == (offset + len(wanted) if wanted else place)
        one.shutdown(socket.SHUT_WR)
        assert receive(other, 9000) == wanted

    def test_sendfile_of_no_regular_file(self) -> None:
        """From its position; with an offset, from there. One whose length nobody knows is empty."""
        one, other = self.pair()
        memory = io.BytesIO(b"0123456789")
        memory.seek(4)
        assert (one.sendfile(memory), memory.tell()) == (6, 6), "the position is CPython's too"
        assert (one.sendfile(memory, 8), memory.tell()) == (2, 10)
        assert one.sendfile(memory) == 0
        reading, writing = os.pipe()
        os.write(writing, b"in a pipe")
        os.close(writing)
        with open(reading, "rb") as pipe:
            assert one.sendfile(pipe) == 0
        one.shutdown(socket.SHUT_WR)
        assert receive(other, 100) == b"45678989"

    def test_sendfile_of_text(self, tmp_path: Any) -> None:
        (tmp_path / "file").write_text("text")
        one, _ = self.pair()
        with (tmp_path / "file").open() as file:
            assert outcome(lambda: one.sendfile(file)) == (
                ValueError, None, "file should be opened in binary mode",
            )  # fmt: skip
        for text in (io.StringIO("text"), "no file"):
            assert isinstance(outcome(lambda text=text: one.sendfile(text)), tuple)

    def test_sendfile_is_cut_short_where_the_peer_is_gone(self, tmp_path: Any) -> None:
        """The position says how much was sent."""
        (tmp_path / "file").touch()
        os.truncate(tmp_path / "file", 1 << 26)
        one, other = self.pair()
        with (tmp_path / "file").open("rb") as file, background(lambda: drop_after(other, 1 << 20)):
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                one.sendfile(file)
            assert 1 << 20 <= file.tell() < 1 << 26

    def test_sendfile(self, tmp_path: Any) -> None:
        path = tmp_path / "file"
        path.write_bytes(bytes(range(256)) * 400)
        one, other = self.pair()
        with path.open("rb") as file:
            assert one.sendfile(file, 100, 100_000) == 100_000
            assert file.tell() == 100_100
            assert receive(other, 100_000) == path.read_bytes()[100:100_100]
            assert one.sendfile(file, 100_100) == 102_400 - 100_100
        assert receive(other, 2300) == path.read_bytes()[100_100:]


class TestKernel(Sendfile, Kernel):
    pass


class TestBarewire(Sendfile, Barewire):
    pass
