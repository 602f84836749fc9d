"""A stack in virtual time and its peer (`barewire.fuzz`), and what must hold for every frame: the stack
accounts for it."""

from __future__ import annotations

from barewire.fuzz.peer import Peer
from barewire.fuzz.targets import StackTarget

# Each frame that came in moves one of these, or a drop.
ACCOUNTS = ("arp_replies_sent", "icmp_echo_replies_sent", "icmp_errors_applied")
RECEIVED = ("ip_fragments_received", "udp_datagrams_received", "tcp_segments_received")


class World(Peer):
    def __init__(self, **options: object) -> None:
        self.end = StackTarget(**options)
        super().__init__(self.end)
        self.stack = self.end.stack
        self.settle()

    def send(self, data: bytes) -> None:
        """One frame to the stack, which must account for it; one that no device sends (empty, too
        long) does not get there."""
        before = self.stack.counters()
        if self.put(data):
            self.stack.poll()
            after = self.stack.counters()
            assert after["rx_frames"] > before["rx_frames"]
            assert any(after[n] > before.get(n, 0) for n in after if _accounts(n)), (
                f"nothing counts the frame {data.hex()}"
            )
        self.settle()

    def deliver(self, frame: bytes) -> None:
        self.send(frame)

    def close(self) -> None:
        self.end.close()


def _accounts(name: str) -> bool:
    return name.startswith(("drop_", "punts_")) or name in ACCOUNTS + RECEIVED
