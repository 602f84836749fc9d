"""Which ICMP errors are believed: `PathMtu` takes "fragmentation needed" (RFC 1191) and remembers the
path MTU for ten minutes. It hears of those only that quote a packet which a socket of ours, or a
ping, has in flight: C has looked (`stack/icmp/icmp.c`). Errors of ours are C's (`icmp_error.c`).
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Protocol

from ...l2.codec import Malformed
from ...l2.deadlines import SECOND, Deadlines
from ..ip.ipv4 import PROTO_ICMP, IPv4
from ..ip.routes import RouteTable
from . import icmp

# Below it packets go without DF, to be fragmented (Linux: net.ipv4.route.min_pmtu).
MIN_PATH_MTU = 552
PATH_MTU_AGE = 600 * SECOND  # RFC 1191 6.3
MAX_PATHS = 1024
# RFC 1191 7.1: likely MTUs, for a router that does not name its own.
PLATEAUS = (65535, 32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68)


class PathPort(Protocol):
    def set_path_mtu(self, ip: IPv4Address, mtu: int, fragments: bool = False) -> None:
        """mtu 0 forgets; `fragments`: routers may fragment what goes there."""


class PathMtu:
    """Path MTUs below the link's, by destination; C reads them through `set_path_mtu`.
    `link_mtu(dst)` gives the MTU of the interface towards dst."""

    def __init__(
        self,
        port: PathPort,
        routes: RouteTable,
        link_mtu: Callable[[IPv4Address], int],
        counters: Counter[str],
    ) -> None:
        self._port = port
        self._routes = routes
        self._link_mtu = link_mtu
        self._counters = counters
        self._paths: dict[IPv4Address, tuple[int, bool]] = {}  # MTU, without DF; oldest first
        self._timers: Deadlines[IPv4Address] = Deadlines()

    def __len__(self) -> int:
        return len(self._paths)

    def get(self, dst: IPv4Address) -> int:
        return self._paths[dst][0] if dst in self._paths else self._link_mtu(dst)

    def on_frag_needed(self, now: int, message: icmp.Unreachable) -> None:
        """Believed if it quotes a packet of ours that was longer than the MTU it names."""
        try:
            sent, total = IPv4.parse_quoted(message.quoted)
        except Malformed:
            self._counters["drop_icmp_bad_quote"] += 1
            return
        if not self._routes.is_own(sent.src) or not sent.df or len(sent.payload) < 8:
            self._counters["drop_icmp_bad_quote"] += 1
            return
        mtu = message.mtu or _plateau(total)
        if mtu >= min(total, self.get(sent.dst)):
            self._counters["drop_icmp_mtu_not_smaller"] += 1
            return
        if mtu < MIN_PATH_MTU:
            self._counters["icmp_mtu_below_minimum"] += 1
        self._remember(now, sent.dst, max(mtu, MIN_PATH_MTU), mtu < MIN_PATH_MTU)

    def on_timer(self, now: int) -> None:
        for dst in self._timers.due(now):
            del self._paths[dst]
            self._port.set_path_mtu(dst, 0)

    def next_deadline(self) -> int | None:
        return self._timers.next()

    def _remember(self, now: int, dst: IPv4Address, mtu: int, fragments: bool) -> None:
        if self._paths.pop(dst, None) == (mtu, fragments):  # only clamped again
            self._paths[dst] = mtu, fragments
            return
        if len(self._paths) >= MAX_PATHS:
            oldest = next(iter(self._paths))
            del self._paths[oldest]
            self._timers.cancel(oldest)
            self._port.set_path_mtu(oldest, 0)
        self._paths[dst] = mtu, fragments
        self._timers.set(dst, now + PATH_MTU_AGE)
        self._counters["path_mtu_changes"] += 1
        self._port.set_path_mtu(dst, mtu, fragments)


def _plateau(total: int) -> int:
    return next((p for p in PLATEAUS if p < total), PLATEAUS[-1])


def quoted_echo(message: icmp.ErrorMessage) -> tuple[IPv4Address, int, int] | None:
    """(destination, ident, seq) of the echo request an error is about, if it is about one."""
    try:
        sent, _ = IPv4.parse_quoted(message.quoted)
    except Malformed:
        return None
    if sent.proto != PROTO_ICMP or sent.offset or len(sent.payload) < icmp.HEADER_LEN:
        return None
    kind, _, _, ident, seq = struct.unpack_from("!BBHHH", sent.payload)
    return (sent.dst, ident, seq) if kind == icmp.ECHO_REQUEST else None
