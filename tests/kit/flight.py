"""Connections for tests of loss recovery: a round trip of 100 ms is known, segments have 1000 bytes.

Segments are counted from 0: `at(n)` is the sequence number where segment n begins.
"""

from __future__ import annotations

from .packets import Packet
from .peer import Tcp
from .sock import Sock

MSS = 1000
STAMPS = 12  # bytes of the timestamp option


def at(n: int) -> int:
    return 1 + n * MSS


def blocks(*ranges: tuple[int, int]) -> list[tuple[int, int]]:
    """SACK blocks of segments: (1, 3) is segments 1 and 2."""
    return [(at(a), at(b)) for a, b in ranges]


def opened(tcp: Tcp, *, sack: bool = True, ts: bool = False, **options: int) -> Sock:
    """Opened actively; the SYN took 100 ms there and back, so RTO is 300 ms, and a probe comes after
    202 ms. With timestamps the peer's MSS leaves room for them."""
    sock = tcp.connects(tcp.wire.tcp().set(nodelay=1, **options))
    tcp.expects("S", seq=0)
    tcp.run("100ms")
    mss = MSS + (STAMPS if ts else 0)
    tcp.peer.sends("SA", seq=0, ack=1, mss=mss, sack_ok=sack, ts=ts, wnd=65535)
    tcp.peer.ts = ts
    tcp.expects("A", seq=1, ack=1)
    return sock


def sends(tcp: Tcp, sock: Sock, n: int) -> None:
    """n whole segments; those that leave at once are taken from the wire."""
    tcp.sends(sock, n * MSS)
    tcp.drain()


def numbers(packets: list[Packet], tcp: Tcp) -> list[int]:
    """Which segments these are."""
    found = []
    for p in packets:
        assert p.tcp is not None
        if p.tcp.payload:
            found.append(((p.tcp.seq - tcp.peer.irs & 0xFFFFFFFF) - 1) // MSS)
    return found
