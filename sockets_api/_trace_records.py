"""The records of a trace as dataclasses, and how they come out of C's ring.

One class an event of stack/trace.h. Times are ns of the stack's clock, lengths and windows bytes,
sequence numbers relative: 0 is the SYN of whoever sent the byte, so data begins at 1 (they wrap at
2**32 as TCP's do). `conn` is the connection's number in this stack's trace, from 1; 0: none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from ipaddress import IPv6Address
from struct import Struct
from typing import TYPE_CHECKING, ClassVar

from barewire.stack import ffi, lib

if TYPE_CHECKING:
    from ._stack import Stack

Blocks = tuple[tuple[int, int], ...]


@dataclass(slots=True)
class Record:
    """What all records have."""

    kind: ClassVar[str] = ""
    when: int
    conn: int


@dataclass(slots=True)
class Gap(Record):
    """So many records were overwritten here before they were read."""

    kind: ClassVar[str] = "gap"
    lost: int


@dataclass(slots=True)
class Drop(Record):
    """A packet was dropped; reason is the counter's name. Only while the whole stack is traced."""

    kind: ClassVar[str] = "drop"
    reason: str
    length: int


@dataclass(slots=True)
class State(Record):
    """A state change (RFC 9293 3.3.2), and the connection's name; tracing that begins in the middle
    of a connection says the state twice."""

    kind: ClassVar[str] = "state"
    old: str
    new: str
    local: str
    remote: str


@dataclass(slots=True)
class Sent(Record):
    """A segment as TCP made it (a device may cut it). how: "new", "again" (a retransmission) or
    "probe" (an old number on purpose); in_flight: RFC 6675's pipe before it."""

    kind: ClassVar[str] = "sent"
    how: str
    flags: str
    seq: int
    ack: int
    length: int
    window: int
    sack: Blocks
    in_flight: int


@dataclass(slots=True)
class Received(Record):
    """A segment before it is processed; `merged` frames of one burst that TCP sees as one."""

    kind: ClassVar[str] = "received"
    flags: str
    seq: int
    ack: int
    length: int
    window: int
    sack: Blocks
    merged: int


@dataclass(slots=True)
class Window(Record):
    """An ACK has been processed. ssthresh None: no loss yet; rwnd: the peer's window."""

    kind: ClassVar[str] = "window"
    cwnd: int
    ssthresh: int | None
    in_flight: int
    rwnd: int


@dataclass(slots=True)
class Rtt(Record):
    """A round-trip sample, the smoothed time and the time-out after it (RFC 6298), ns."""

    kind: ClassVar[str] = "rtt"
    rtt: int
    srtt: int
    rto: int


@dataclass(slots=True)
class Recovery(Record):
    """what: "fast" or "timeout" (entered, until `until` is acknowledged), "left", "undone" (it was
    spurious), "tail" (a loss probe repaired a loss: RFC 8985 7.4). The windows are those after it."""

    kind: ClassVar[str] = "recovery"
    what: str
    until: int
    cwnd: int
    ssthresh: int | None
    in_flight: int


@dataclass(slots=True)
class Lost(Record):
    """[start, end) is taken as lost."""

    kind: ClassVar[str] = "lost"
    start: int
    end: int


@dataclass(slots=True)
class Timer(Record):
    """A timer fired: rexmt, persist, reorder, tail, delack, keep or state."""

    kind: ClassVar[str] = "timer"
    which: str


KINDS: dict[str, type[Record]] = {
    c.kind: c
    for c in (Gap, Drop, State, Sent, Received, Window, Rtt, Recovery, Lost, Timer)
}  # fmt: skip
FIELDS: dict[str, tuple[str, ...]] = {
    kind: tuple(f.name for f in fields(c)) for kind, c in KINDS.items()
}

# ---- from C --------------------------------------------------------------------------------------

_LAYOUT = Struct("=qIBBHIIIIIIII32s")  # struct bw_trace_record
_BLOCKS, _TIMES = Struct("=8I"), Struct("=4q")
_POP = 512
_LETTERS = "FSRPAUEC"
_UNLIMITED = 2**32 - 1


def _names(prefix: str) -> dict[int, str]:
    return {
        int(getattr(lib, name)): name.removeprefix(prefix).lower()
        for name in dir(lib)
        if name.startswith(prefix)
    }


_STATES = {n: name.upper() for n, name in _names("BW_TCP_").items()}
_SENT, _RECOVERY, _TIMERS = _names("BW_SENT_"), _names("BW_RECOVERY_"), _names("BW_TIMER_")


def _flags(bits: int) -> str:
    return "".join(letter for i, letter in enumerate(_LETTERS) if bits >> i & 1)


def _blocks(raw: bytes) -> Blocks:
    edges = _BLOCKS.unpack(raw)
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return tuple((start, end) for start, end in pairs if start != end)


def _host(raw: bytes, port: int) -> str:
    address = IPv6Address(raw)
    return f"{address.ipv4_mapped}:{port}" if address.ipv4_mapped else f"[{address}]:{port}"


def _limit(ssthresh: int) -> int | None:
    return None if ssthresh == _UNLIMITED else ssthresh


# Each takes: when, conn, flags, code, seq, ack, len, wnd, cwnd, ssthresh, pipe, snd_wnd, rest.
_MAKE: dict[int, Callable[..., Record]] = {
    lib.BW_TRACE_GAP: lambda w, c, f, code, seq, ack, n, *_: Gap(w, c, n),
    lib.BW_TRACE_DROP: lambda w, c, f, code, seq, ack, n, *_: Drop(
        w, c, ffi.string(lib.bw_counter_name(code)).decode(), n
    ),
    lib.BW_TRACE_STATE: lambda w, c, f, code, seq, ack, n, wnd, cw, ss, p, sw, rest: State(
        w, c, _STATES[code >> 8], _STATES[code & 0xFF], _host(rest[:16], seq), _host(rest[16:], ack)
    ),
    lib.BW_TRACE_SENT: lambda w, c, f, code, seq, ack, n, wnd, cw, ss, p, sw, rest: Sent(
        w, c, _SENT[code], _flags(f), seq, ack, n, wnd, _blocks(rest), p
    ),
    lib.BW_TRACE_RECEIVED: lambda w, c, f, code, seq, ack, n, wnd, cw, ss, p, sw, rest: Received(
        w, c, _flags(f), seq, ack, n, wnd, _blocks(rest), code
    ),
    lib.BW_TRACE_WINDOW: lambda w, c, f, code, seq, ack, n, wnd, cw, ss, p, sw, rest: Window(
        w, c, cw, _limit(ss), p, sw
    ),
    lib.BW_TRACE_RTT: lambda w, c, f, code, seq, ack, n, wnd, cw, ss, p, sw, rest: Rtt(
        w, c, *_TIMES.unpack(rest)[:3]
    ),
    lib.BW_TRACE_RECOVERY: lambda w, c, f, code, seq, ack, n, wnd, cw, ss, p, sw, rest: Recovery(
        w, c, _RECOVERY[code], seq, cw, _limit(ss), p
    ),
    lib.BW_TRACE_LOST: lambda w, c, f, code, seq, ack, n, *_: Lost(w, c, seq, seq + n & 0xFFFFFFFF),
    lib.BW_TRACE_TIMER: lambda w, c, f, code, *_: Timer(w, c, _TIMERS[code]),
}


def drain(stack: Stack) -> Iterator[Record]:
    """Takes the records out of a stack's ring, oldest first, until it is empty. The stack lives as
    long as the iterator."""
    buffer = ffi.new("struct bw_trace_record[]", _POP)
    while (n := lib.host_trace_pop(stack.host, buffer, _POP)) > 0:
        for when, conn, kind, flags, code, *rest in _LAYOUT.iter_unpack(
            ffi.buffer(buffer, n * _LAYOUT.size)[:]
        ):
            yield _MAKE[kind](when, conn, flags, code, *rest)
