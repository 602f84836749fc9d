"""A scripted TCP peer, and the stack under test as it appears to that peer.

`peer.sends(...)` is one segment; `tcp.expects(...)` is the next frame of the stack. Numbers are
relative: 0 is the SYN of whoever sends, 1 its first byte; windows are in bytes whatever the scale.
What is not said is what a correct peer would say: the next sequence number, the ACK of all that came
in order, the last window, timestamps if they were agreed on. The peer acknowledges nothing by itself.

The payload of every segment that the stack sends is compared with what `tcp.sends` gave it.
"""

from __future__ import annotations

from typing import Any

import pytest
from barewire.stack.tcp import Flags, Option, Segment

from . import frames
from .checks import Check, is_tcp
from .clock import MS, Time
from .packets import Packet, describe_tcp
from .sock import Sock
from .wire import Wire

ISS = 0xFFFFF000  # the peer's first sequence number: its numbers wrap after 4096 bytes


class TcpPeer:
    """One connection's far end, on `port`, towards `stack_port` (0: learned from the stack)."""

    def __init__(self, wire: Wire, port: int = 5000, stack_port: int = 0, iss: int = ISS) -> None:
        self.wire = wire
        self.port, self.stack_port = port, stack_port
        self.address = wire.there
        self.begin(iss)

    def begin(self, iss: int = ISS) -> None:
        """Forgets the connection, for a new one with the same ports."""
        self.iss, self.irs = iss, 0
        self.next = 0  # the sequence number that follows all that was sent
        self.got = 0  # what follows all that came from the stack, in order
        self.window = 65535
        self.shift, self.stack_shift = 0, 0  # window scales in use
        self.ts = False
        self.ts_offset = 500_000
        self.ts_seen = 0  # the stack's last TSval
        self.stream = bytearray()  # what the stack was given to send

    @property
    def tsval(self) -> int:
        return self.wire.clock.now // MS + self.ts_offset & 0xFFFFFFFF

    def sends(
        self,
        flags: str = "A",
        *,
        seq: int | None = None,
        ack: int | None = None,
        len: int = 0,
        data: bytes | None = None,
        wnd: int | None = None,
        mss: int | None = None,
        wscale: int | None = None,
        sack_ok: bool = False,
        sack: list[tuple[int, int]] | tuple[tuple[int, int], ...] = (),
        ts: tuple[int, int] | bool | None = None,
        options: tuple[Option, ...] | None = None,
        urgent: int = 0,
        **ip_fields: Any,
    ) -> None:
        """One segment to the stack; the world comes to rest after it. `len` sends pattern bytes,
        those that belong to `seq`; `data` sends others."""
        self.wire.sends(
            self.packet(
                flags,
                seq=seq,
                ack=ack,
                len=len,
                data=data,
                wnd=wnd,
                mss=mss,
                wscale=wscale,
                sack_ok=sack_ok,
                sack=sack,
                ts=ts,
                options=options,
                urgent=urgent,
                **ip_fields,
            )
        )

    def packet(
        self,
        flags: str = "A",
        *,
        seq: int | None = None,
        ack: int | None = None,
        len: int = 0,
        data: bytes | None = None,
        wnd: int | None = None,
        mss: int | None = None,
        wscale: int | None = None,
        sack_ok: bool = False,
        sack: list[tuple[int, int]] | tuple[tuple[int, int], ...] = (),
        ts: tuple[int, int] | bool | None = None,
        options: tuple[Option, ...] | None = None,
        urgent: int = 0,
        **ip_fields: Any,
    ) -> bytes:
        """The IP packet of `sends`, to be sent later, in a burst, or broken."""
        bits = frames.flags_of(flags)
        seq = self.next if seq is None else seq
        payload = frames.pattern(len, max(0, seq - 1)) if data is None else data
        if wnd is not None:
            self.window = wnd
        shift = 0 if bits & Flags.SYN else self.shift
        edges = tuple((self.stack_seq(a), self.stack_seq(b)) for a, b in sack)
        if options is None:
            stamp = self._stamp(ts, bits)
            options = frames.tcp_options(mss, wscale, sack_ok, stamp, edges)
        segment = Segment(
            self.port,
            self.stack_port,
            self.iss + seq & 0xFFFFFFFF,
            self.stack_seq(self.got if ack is None else ack) if bits & Flags.ACK else 0,
            bits,
            min(self.window >> shift, 65535),
            options,
            payload,
            urgent,
        )
        self.next = max(self.next, seq + segment.length)
        return frames.tcp(self.address, self.wire.here, segment, **ip_fields)

    def _stamp(self, ts: tuple[int, int] | bool | None, bits: int) -> tuple[int, int] | None:
        if isinstance(ts, tuple):
            return ts
        if ts is True or (ts is None and self.ts and not bits & Flags.RST):
            return self.tsval, self.ts_seen
        return None

    @property
    def stack_next(self) -> int:
        """The sequence number that follows all that programs gave the stack to send."""
        return len(self.stream) + 1

    def stack_seq(self, relative: int) -> int:
        return self.irs + relative & 0xFFFFFFFF

    # ---- what came from the stack ------------------------------------------------------------------

    def learns(self, segment: Segment) -> None:
        if segment.flags & Flags.SYN:
            self.irs = segment.seq
            self.stack_port = segment.sport
            self.got = max(self.got, 1)
        seq = segment.seq - self.irs & 0xFFFFFFFF
        if seq <= self.got and not segment.flags & Flags.RST:
            self.got = max(self.got, seq + segment.length)
        if segment.timestamps:
            self.ts_seen = segment.timestamps[0]

    def wrong_payload(self, segment: Segment) -> str | None:
        at = (segment.seq - self.irs & 0xFFFFFFFF) - 1
        wanted = self.stream[at : at + len(segment.payload)]
        if segment.payload and self.stream and wanted != segment.payload:
            return f"the payload at {at + 1} is not what the program sent"
        return None


class Tcp:
    """The stack under test and `peer`, its far end (more of them: `tcp.another_peer()`)."""

    def __init__(self, wire: Wire, peer: TcpPeer | None = None) -> None:
        self.wire = wire
        self.clock = wire.clock
        self.peer = peer or TcpPeer(wire)
        self.counts = wire.counts
        self._listener: Sock | None = None

    @property
    def stack(self) -> Any:
        return self.wire.stack

    def another_peer(self, port: int) -> TcpPeer:
        return TcpPeer(self.wire, port, self.peer.stack_port)

    def run(self, for_: Time) -> None:
        self.wire.world.run(for_)

    # ---- what the stack does ---------------------------------------------------------------------

    def expects(
        self,
        flags: str | None = None,
        *,
        seq: int | None = None,
        ack: int | None = None,
        len: int | None = None,
        wnd: int | None = None,
        sack: list[tuple[int, int]] | None = None,
        check: Check | None = None,
        to: TcpPeer | None = None,
        within: Time = 0,
        after: Time | None = None,
        why: str = "",
    ) -> Packet:
        """The next frame is this segment. PSH is not looked at unless flags has a P. `sack`: these
        blocks in this order ([]: none). `check`: more conditions."""
        peer = to or self.peer
        matches = self._matches(peer, flags, seq, ack, len, wnd, sack)
        if check is not None:
            matches = matches & check
        packet = self.wire.expects(matches, within=within, after=after, why=why)
        assert packet.tcp is not None
        peer.learns(packet.tcp)
        return packet

    def _matches(
        self,
        peer: TcpPeer,
        flags: str | None,
        seq: int | None,
        ack: int | None,
        size: int | None,
        wnd: int | None,
        sack: list[tuple[int, int]] | None,
    ) -> Check:
        wanted = {"flags": flags, "seq": seq, "ack": ack, "len": size, "wnd": wnd, "sack": sack}
        said = ", ".join(f"{k}={v!r}" for k, v in wanted.items() if v is not None)
        basic = is_tcp(flags=flags, dport=peer.port, len=size)

        def find(p: Packet) -> str | None:
            wrong = basic(p)
            if wrong:
                return wrong
            s = p.tcp
            assert s is not None
            irs = s.seq if s.flags & Flags.SYN else peer.irs
            shift = 0 if s.flags & Flags.SYN else peer.stack_shift
            found = {
                "seq": s.seq - irs & 0xFFFFFFFF,
                "ack": s.ack - peer.iss & 0xFFFFFFFF,
                "wnd": s.window << shift,
                "sack": [(a - peer.iss & 0xFFFFFFFF, b - peer.iss & 0xFFFFFFFF) for a, b in s.sack],
            }
            for name, value in found.items():
                if wanted[name] is not None and wanted[name] != value:
                    seen = describe_tcp(s, irs, peer.iss)
                    return f"{name} is {value!r}, not {wanted[name]!r}: {seen}"
            return peer.wrong_payload(s)

        return Check(f"segment({said})", find)

    def expects_nothing(self, for_: Time = 0, why: str = "") -> None:
        self.wire.expects_nothing(for_, why)

    def drain(self, for_: Time = 0, to: TcpPeer | None = None) -> list[Packet]:
        """What the stack sends in that time, learned but unjudged."""
        found = self.wire.drain(for_)
        for packet in found:
            if packet.tcp is not None:
                (to or self.peer).learns(packet.tcp)
        return found

    # ---- what programs do with it ------------------------------------------------------------------

    def sends(self, sock: Sock, n: int, flags: int = 0, to: TcpPeer | None = None) -> int:
        """The program writes n more bytes of the pattern; how many were taken."""
        peer = to or self.peer
        taken = sock.send(frames.pattern(n, len(peer.stream)), flags)
        peer.stream += frames.pattern(taken, len(peer.stream))
        self.wire.world.rest()
        return taken

    def reads(self, sock: Sock, n: int, at: int = 0) -> None:
        """The program reads n bytes: those that the peer's pattern has from `at` on."""
        got = sock.recv(n)
        assert got == frames.pattern(n, at), f"read {len(got)} bytes, not the {n} from {at} on"
        self.wire.world.rest()

    def transfers(self, sock: Sock, n: int, to: TcpPeer | None = None) -> None:
        """The program sends n bytes; the peer acknowledges every segment at once."""
        peer = to or self.peer
        end = peer.stack_next + n
        while peer.got < end:
            left = end - 1 - len(peer.stream)
            if left:
                self.sends(sock, left, to=peer)
            if not self.drain(to=peer):
                self.run("1ms")
            peer.sends()

    def closes(self, sock: Sock) -> None:
        sock.close()
        self.wire.world.rest()

    def connects(self, sock: Sock | None = None) -> Sock:
        """The program connects to the peer; the SYN stands next on the wire."""
        sock = sock or self.wire.tcp()
        sock.connect(self.peer.address, self.peer.port)
        self.wire.world.rest()
        return sock

    def connects_again(self, sock: Sock) -> Sock:
        """After a connection of this socket that has ended, and whose error was told by another call than
        connect: the first connect says so (Linux), the next one begins anew."""
        with pytest.raises(ConnectionAbortedError):
            sock.connect(self.peer.address, self.peer.port)
        return self.connects(sock)

    def listens(self, port: int = 80, backlog: int = 16, **options: int) -> Sock:
        """A listener; the peer (and later ones) speak to its port."""
        sock = self.wire.tcp().set(reuseaddr=1, **options).bind("0.0.0.0", port).listen(backlog)
        self._listener = sock
        self.peer.stack_port = port
        return sock

    def established(
        self,
        *,
        active: bool = False,
        mss: int | None = 1460,
        wscale: int | None = None,
        sack: bool = False,
        ts: bool = False,
        wnd: int = 65535,
        peer: TcpPeer | None = None,
        **options: int,
    ) -> Sock:
        """A connection after its handshake: opened by the peer, or `active`ly by the program. The
        peer offers what is named here; options are set on the socket (or listener) before."""
        peer = peer or self.peer
        offer: dict[str, Any] = {"mss": mss, "wscale": wscale, "sack_ok": sack, "wnd": wnd}
        if active:
            sock = self.connects(self.wire.tcp().set(**options))
            syn = self.expects("S", seq=0, to=peer)
            peer.sends("SA", seq=0, ack=1, ts=ts, **offer)
        else:
            if self._listener is None:
                self.listens()
            assert self._listener is not None
            self._listener.set(**options)
            peer.stack_port = self._listener.name[1]
            peer.sends("S", seq=0, ts=ts, **offer)
            syn = self.expects("SA", seq=0, ack=1, to=peer)
        assert syn.tcp is not None
        if wscale is not None and syn.tcp.wscale is not None:
            peer.shift, peer.stack_shift = wscale, syn.tcp.wscale
        peer.ts = ts and syn.tcp.timestamps is not None
        if active:
            self.expects("A", seq=1, ack=1, to=peer, why="the handshake's third segment")
            return sock
        peer.sends("A", seq=1, ack=1)
        assert self._listener is not None
        return self._listener.accept()
