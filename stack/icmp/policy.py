"""When an ICMP error is sent, and when one is believed.

`ErrorSender` answers packets that went wrong: never those RFC 1122 3.2.2 and RFC 1812 4.3.2.7
forbid, never faster than its token buckets let it. `PathMtu` believes "fragmentation needed"
(RFC 1191) and remembers the path MTU for ten minutes.
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
from ..ip.routes import LOOPBACK, RouteTable
from . import icmp

MAX_ERROR_PACKET = 576  # RFC 1812 4.3.2.3
MAX_QUOTE = MAX_ERROR_PACKET - 20 - icmp.HEADER_LEN
TOS_INTERNETWORK_CONTROL = 0xC0  # RFC 1812 4.3.2.5
TYPE_RATE, TYPE_BURST = 1000, 50  # a second, for each ICMP type
HOST_RATE, HOST_BURST = 1, 6  # a second, for each destination
MAX_HOSTS = 1024  # destinations whose rate is remembered

MIN_PATH_MTU = 552  # below it nothing is believed (Linux: net.ipv4.route.min_pmtu)
PATH_MTU_AGE = 600 * SECOND  # RFC 1191 6.3
MAX_PATHS = 1024
# RFC 1191 7.1: likely MTUs, for a router that does not name its own.
PLATEAUS = (65535, 32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68)


class PacketPort(Protocol):
    def send_packet(self, packet: bytes) -> bool: ...


class PathPort(Protocol):
    def set_path_mtu(self, ip: IPv4Address, mtu: int) -> None:
        """mtu 0 forgets."""


class TokenBucket:
    """`rate` tokens a second, up to `burst` saved. Kept as one time: when the bucket is full."""

    __slots__ = ("_burst", "_full", "_interval")

    def __init__(self, rate: float, burst: int) -> None:
        self._interval = round(SECOND / rate)
        self._burst = burst
        self._full: int | None = None

    def has_token(self, now: int) -> bool:
        return self._full is None or self._full - now <= (self._burst - 1) * self._interval

    def take(self, now: int) -> None:
        self._full = (now if self._full is None else max(self._full, now)) + self._interval


class ErrorSender:
    """Sends ICMP errors about packets that came in. Counters: `icmp_errors_sent`, and
    `icmp_error_forbidden`, `icmp_error_rate_limited` for those that were not."""

    def __init__(self, port: PacketPort, routes: RouteTable, counters: Counter[str]) -> None:
        self._port = port
        self._routes = routes
        self._counters = counters
        self._types: dict[int, TokenBucket] = {}
        self._hosts: dict[IPv4Address, TokenBucket] = {}  # least recently used first

    def send(
        self,
        now: int,
        ifindex: int,
        packet: bytes,
        kind: int,
        code: int,
        rest: int = 0,
        l2_broadcast: bool = False,
    ) -> bool:
        """About `packet` (an IP packet or its head, as it came in on ifindex). `rest` is the second
        word of the ICMP header: the MTU, or the pointer << 24. True: it was sent."""
        try:
            about, _ = IPv4.parse_quoted(packet)
        except Malformed:
            self._counters["icmp_error_forbidden"] += 1
            return False
        if l2_broadcast or not self._may_answer(ifindex, about):
            self._counters["icmp_error_forbidden"] += 1
            return False
        own = self._routes.is_own(about.dst)
        source = about.dst if own else self._routes.select_source(about.src)
        if source is None:
            self._counters["icmp_error_forbidden"] += 1
            return False
        if ifindex != LOOPBACK and not self._within_rate(now, kind, about.src):
            self._counters["icmp_error_rate_limited"] += 1
            return False
        message = _error(kind, code, rest, packet[:MAX_QUOTE])
        self._counters["icmp_errors_sent"] += 1
        return self._port.send_packet(
            IPv4(
                src=source,
                dst=about.src,
                proto=PROTO_ICMP,
                payload=message.build(),
                tos=TOS_INTERNETWORK_CONTROL,
            ).build()
        )

    def _may_answer(self, ifindex: int, about: IPv4) -> bool:
        if about.offset or self._routes.is_broadcast(about.dst):
            return False
        if not _single_host(about.src) or self._routes.is_broadcast(about.src):
            return False
        if about.src.is_loopback and ifindex != LOOPBACK:
            return False
        if about.proto != PROTO_ICMP:
            return True
        return bool(about.payload) and about.payload[0] not in icmp.ERROR_TYPES

    def _within_rate(self, now: int, kind: int, host: IPv4Address) -> bool:
        by_type = self._types.setdefault(kind, TokenBucket(TYPE_RATE, TYPE_BURST))
        by_host = self._hosts.pop(host, None) or TokenBucket(HOST_RATE, HOST_BURST)
        self._hosts[host] = by_host
        if len(self._hosts) > MAX_HOSTS:
            del self._hosts[next(iter(self._hosts))]
        if not (by_type.has_token(now) and by_host.has_token(now)):
            return False
        by_type.take(now)
        by_host.take(now)
        return True


def _single_host(ip: IPv4Address) -> bool:
    """Not 0.0.0.0/8, not multicast, not class E (which holds the limited broadcast)."""
    return 0 < int(ip) >> 24 < 224


def _error(kind: int, code: int, rest: int, quoted: bytes) -> icmp.ErrorMessage:
    if kind == icmp.UNREACHABLE:
        return icmp.Unreachable(code, quoted, mtu=rest & 0xFFFF)
    if kind == icmp.TIME_EXCEEDED:
        return icmp.TimeExceeded(code, quoted)
    if kind == icmp.PARAMETER_PROBLEM:
        return icmp.ParameterProblem(rest >> 24, quoted, code)
    raise ValueError(f"ICMP type {kind} is not an error this host sends")


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
        self._paths: dict[IPv4Address, int] = {}  # oldest first
        self._timers: Deadlines[IPv4Address] = Deadlines()

    def __len__(self) -> int:
        return len(self._paths)

    def get(self, dst: IPv4Address) -> int:
        return self._paths.get(dst, self._link_mtu(dst))

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
            mtu = MIN_PATH_MTU
        self._remember(now, sent.dst, mtu)

    def on_timer(self, now: int) -> None:
        for dst in self._timers.due(now):
            del self._paths[dst]
            self._port.set_path_mtu(dst, 0)

    def next_deadline(self) -> int | None:
        return self._timers.next()

    def _remember(self, now: int, dst: IPv4Address, mtu: int) -> None:
        if self._paths.pop(dst, None) == mtu:  # only clamped again
            self._paths[dst] = mtu
            return
        if len(self._paths) >= MAX_PATHS:
            oldest = next(iter(self._paths))
            del self._paths[oldest]
            self._timers.cancel(oldest)
            self._port.set_path_mtu(oldest, 0)
        self._paths[dst] = mtu
        self._timers.set(dst, now + PATH_MTU_AGE)
        self._counters["path_mtu_changes"] += 1
        self._port.set_path_mtu(dst, mtu)


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
