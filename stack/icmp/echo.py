"""An echo client (RFC 792): sends requests, matches the replies and the errors about them.

Round-trip times end when C received the answer (`Punt.when`), not when Python came to look at it.
Waiting and giving up are the caller's: `barewire ping` is one.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address
from random import Random
from typing import Protocol

from ..ip.ipv4 import PROTO_ICMP, IPv4
from . import icmp

MAX_SESSIONS = 64
MAX_OUTSTANDING = 1024  # requests a session; over it the oldest is forgotten


class EchoPort(Protocol):
    def send_packet(self, packet: bytes) -> bool: ...

    def echo_open(self, ip: IPv4Address, ident: int) -> bool:
        """Answers from ip with that identifier come up from now on; False: too many sessions."""

    def echo_close(self, ip: IPv4Address, ident: int) -> None: ...


@dataclass(frozen=True, slots=True)
class EchoResult:
    """One answer. `error` is None for a reply, else the ICMP error (from `source`, a router).
    `rtt` is ns, `size` the bytes of data that came back, `ttl` the answer's."""

    seq: int
    source: IPv4Address
    ttl: int
    size: int
    rtt: int
    error: icmp.ErrorMessage | None = None


class EchoSession:
    """Requests to one host under one identifier. `on_result` is called for each answer, by whoever
    drains the stack's work; a queue's `put` is a good one."""

    def __init__(
        self,
        client: EchoClient,
        src: IPv4Address,
        dst: IPv4Address,
        ident: int,
        on_result: Callable[[EchoResult], None],
    ) -> None:
        self.src = src
        self.dst = dst
        self.ident = ident
        self.on_result = on_result
        self._client = client
        self._next = 0
        self._sent: dict[int, int] = {}  # seq: ns, oldest first

    def send(self, now: int, data: bytes = b"", ttl: int = 64, df: bool = False) -> int:
        """Sends one request; returns its sequence number (0..65535, then from 0 again)."""
        seq = self._next
        self._next = (self._next + 1) & 0xFFFF
        self._sent.pop(seq, None)
        self._sent[seq] = now
        if len(self._sent) > MAX_OUTSTANDING:
            del self._sent[next(iter(self._sent))]
        self._client.transmit(self, icmp.Echo(self.ident, seq, data), ttl, df)
        return seq

    def close(self) -> None:
        """Answers that still come are not for anybody. Idempotent."""
        self._client.forget(self)

    def answered(
        self, when: int, seq: int, packet: IPv4, size: int, error: icmp.ErrorMessage | None
    ) -> bool:
        sent = self._sent.pop(seq, None)
        if sent is None:
            return False  # a duplicate, or too old
        self.on_result(EchoResult(seq, packet.src, packet.ttl, size, when - sent, error))
        return True


class EchoClient:
    """All echo sessions of one stack."""

    def __init__(
        self,
        port: EchoPort,
        select_source: Callable[[IPv4Address], IPv4Address | None],
        rng: Random,
    ) -> None:
        self._port = port
        self._select_source = select_source
        self._rng = rng
        self._sessions: dict[int, EchoSession] = {}

    def open(self, dst: IPv4Address, on_result: Callable[[EchoResult], None]) -> EchoSession:
        """Raises OSError: ENETUNREACH without a route, ENOBUFS with too many sessions."""
        source = self._select_source(dst)
        if source is None:
            raise OSError(errno.ENETUNREACH, f"no route to {dst}")
        if len(self._sessions) >= MAX_SESSIONS:
            raise OSError(errno.ENOBUFS, f"at most {MAX_SESSIONS} echo sessions")
        ident = self._rng.randrange(0x10000)
        while ident in self._sessions:
            ident = (ident + 1) & 0xFFFF
        if not self._port.echo_open(dst, ident):
            raise OSError(errno.ENOBUFS, f"at most {MAX_SESSIONS} echo sessions")
        session = self._sessions[ident] = EchoSession(self, source, dst, ident, on_result)
        return session

    def forget(self, session: EchoSession) -> None:
        if self._sessions.get(session.ident) is session:
            del self._sessions[session.ident]
            self._port.echo_close(session.dst, session.ident)

    def transmit(self, session: EchoSession, echo: icmp.Echo, ttl: int, df: bool) -> None:
        self._port.send_packet(
            IPv4(
                src=session.src,
                dst=session.dst,
                proto=PROTO_ICMP,
                payload=echo.build(),
                ttl=ttl,
                df=df,
                ident=self._rng.randrange(0x10000),
            ).build()
        )

    def on_reply(self, when: int, packet: IPv4, echo: icmp.Echo) -> bool:
        """A reply came in; False: nobody waits for it."""
        session = self._sessions.get(echo.ident)
        if session is None or packet.src != session.dst:
            return False
        return session.answered(when, echo.seq, packet, len(echo.data), None)

    def on_error(
        self,
        when: int,
        packet: IPv4,
        message: icmp.ErrorMessage,
        dst: IPv4Address,
        ident: int,
        seq: int,
    ) -> bool:
        """An error came in about a request to dst; False: it is not one of ours."""
        session = self._sessions.get(ident)
        if session is None or session.dst != dst:
            return False
        return session.answered(when, seq, packet, 0, message)
