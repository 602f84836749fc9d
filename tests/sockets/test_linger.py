"""SO_LINGER with seconds: close() waits until what was sent is acknowledged, as on the kernel."""

from __future__ import annotations

import struct
import time
from typing import Any

from tests.sockets.kit import PATIENCE, Barewire, Kernel, Network, background, receive


class Linger(Network):
    def filled(self, seconds: int) -> tuple[Any, Any, int]:
        """A pair; the first one lingers, and its peer reads none of the bytes it has sent."""
        s = self.socket
        one, other = self.pair()
        one.setsockopt(s.SOL_SOCKET, s.SO_LINGER, struct.pack("ii", 1, seconds))
        one.settimeout(0.2)
        sent = 0
        try:
            while True:
                sent += one.send(bytes(1 << 16))
        except TimeoutError:
            pass
        return one, other, sent

    def test_close_returns_once_all_has_arrived(self) -> None:
        one, other, sent = self.filled(int(PATIENCE))
        begin = time.monotonic()
        with background(one.close):
            assert len(receive(other, sent)) == sent
            assert other.recv(1) == b""
        assert time.monotonic() - begin < PATIENCE

    def test_close_returns_when_the_time_is_over(self) -> None:
        """And goes on in the background: nothing is lost."""
        one, other, sent = self.filled(1)
        begin = time.monotonic()
        one.close()
        assert time.monotonic() - begin >= 0.9
        assert len(receive(other, sent)) == sent
        assert other.recv(1) == b""

    def test_a_socket_with_nothing_to_say_does_not_wait(self) -> None:
        s = self.socket
        one, other = self.pair()
        for sock in (one, self.stream(), self.listener()):
            linger = struct.pack("ii", 1, int(PATIENCE))
            sock.setsockopt(s.SOL_SOCKET, s.SO_LINGER, linger)
            sock.close()
        assert other.recv(1) == b""

    def test_unread_data_resets_at_once(self) -> None:
        s = self.socket
        one, other, _ = self.filled(int(PATIENCE))
        other.sendall(b"never read")
        assert self.select.select([one], [], [], PATIENCE)[0]
        begin = time.monotonic()
        one.close()
        assert time.monotonic() - begin < PATIENCE / 2
        poll = self.select.poll()
        poll.register(other, 0)
        assert poll.poll(PATIENCE * 1000)[0][1] & self.select.POLLERR
        assert other.getsockopt(s.SOL_SOCKET, s.SO_ERROR) == 104


class TestKernel(Linger, Kernel):
    pass


class TestBarewire(Linger, Barewire):
    def test_the_peers_reset_ends_it(self) -> None:
        s = self.socket
        one, other, _ = self.filled(int(PATIENCE))
        with background(one.close):
            other.setsockopt(s.SOL_SOCKET, s.SO_LINGER, struct.pack("ii", 1, 0))
            other.close()
