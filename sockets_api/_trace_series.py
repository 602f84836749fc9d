"""A trace sorted by connection: the series that pictures and tables are made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median

from ._trace_records import Gap, Lost, Received, Record, Recovery, Rtt, Sent, State, Timer, Window

SECOND = 1e9
MOD = 2**32


class Unwrap:
    """Sequence numbers that do not wrap: each is taken to be the nearest to the last."""

    def __init__(self) -> None:
        self.last = 0

    def __call__(self, seq: int) -> int:
        self.last += (seq - self.last + MOD // 2) % MOD - MOD // 2
        return self.last


@dataclass(slots=True)
class Segment:
    """Bytes [start, end) at a time (s); again: a retransmission."""

    time: float
    start: int
    end: int
    again: bool = False


@dataclass(slots=True)
class Summary:
    """One connection in figures: bytes of payload, times in seconds (RTT: None without samples)."""

    conn: int
    local: str
    remote: str
    state: str
    duration: float
    sent: int
    received: int
    retransmissions: int
    timeouts: int
    undone: int
    in_recovery: float
    rtt_min: float | None
    rtt_median: float | None
    rtt_max: float | None


@dataclass(slots=True)
class Way:
    """One direction of data: segments, the line of its ACKs and that of the window (time, seq), and
    what was selectively acknowledged."""

    segments: list[Segment] = field(default_factory=list)
    acked: list[tuple[float, int]] = field(default_factory=list)
    window: list[tuple[float, int]] = field(default_factory=list)
    sacked: list[Segment] = field(default_factory=list)
    fresh: int = 0  # payload bytes, each counted once
    _high: int = -1
    _holes: list[tuple[int, int]] = field(default_factory=list)
    _data: Unwrap = field(default_factory=Unwrap)
    _ack: Unwrap = field(default_factory=Unwrap)

    def carries(self, time: float, seq: int, length: int, again: bool) -> None:
        start = self._data(seq)
        if length:
            self.segments.append(Segment(time, start, start + length, again))
            self._count(start, start + length)

    def _count(self, start: int, end: int) -> None:
        if self._high < 0:
            self._high = start
        if start < self._high and self._holes:
            holes, self._holes = self._holes, []
            for low, high in holes:
                first, last = max(low, start), min(high, end)
                self.fresh += max(last - first, 0)
                parts = [(low, first), (last, high)] if first < last else [(low, high)]
                self._holes += [(a, b) for a, b in parts if a < b]
        if end > self._high:
            if start > self._high:
                self._holes.append((self._high, start))
            self.fresh += end - max(start, self._high)
            self._high = end

    def answers(
        self, time: float, ack: int, window: int, sack: tuple[tuple[int, int], ...]
    ) -> None:
        at = self._ack(ack)
        if not self.acked or self.acked[-1][1] != at:
            self.acked.append((time, at))
        if not self.window or self.window[-1][1] != at + window:
            self.window.append((time, at + window))
        for start, end in sack:
            first = at + (start - at + MOD // 2) % MOD - MOD // 2
            self.sacked.append(Segment(time, first, first + (end - start) % MOD))


class Connection:
    """The records of one connection, in order, and what they say, times in seconds from its first
    record: `out` and `back` (the data it sent and received), `cwnd`, `ssthresh`, `in_flight`,
    `rwnd`, `rtt`, `srtt`, `rto` (time, value), `recoveries` (begin, end, what), `lost`, `timers`."""

    def __init__(self, conn: int) -> None:
        self.conn = conn
        self.records: list[Record] = []
        self.local = self.remote = self.state = "?"
        self.begin = self.end = 0
        self.out, self.back = Way(), Way()
        self.cwnd: list[tuple[float, int]] = []
        self.ssthresh: list[tuple[float, int]] = []
        self.in_flight: list[tuple[float, int]] = []
        self.rwnd: list[tuple[float, int]] = []
        self.rtt: list[tuple[float, float]] = []
        self.srtt: list[tuple[float, float]] = []
        self.rto: list[tuple[float, float]] = []
        self.lost: list[Segment] = []
        self.timers: list[tuple[float, str]] = []
        self.recoveries: list[tuple[float, float, str]] = []
        self.again = self.undone = 0
        self._recovering: tuple[float, str] | None = None

    @property
    def name(self) -> str:
        return f"{self.local} to {self.remote}"

    @property
    def duration(self) -> float:
        return (self.end - self.begin) / SECOND

    @property
    def main(self) -> Way:
        """The direction that carried more."""
        return self.out if self.out.fresh >= self.back.fresh else self.back

    def add(self, record: Record) -> None:
        if not self.records:
            self.begin = record.when
        self.records.append(record)
        if not isinstance(record, State | Timer):  # the end of TIME-WAIT says nothing of the time
            self.end = record.when
        time = (record.when - self.begin) / SECOND
        match record:
            case State():
                self.local, self.remote, self.state = record.local, record.remote, record.new
            case Sent():
                self._sent(time, record)
            case Received():
                self.back.carries(time, record.seq, record.length, False)
                if "A" in record.flags:
                    self.out.answers(time, record.ack, record.window, record.sack)
            case Window():
                self._windows(time, record.cwnd, record.ssthresh, record.in_flight)
                self.rwnd.append((time, record.rwnd))
            case Rtt():
                self.rtt.append((time, record.rtt / SECOND))
                self.srtt.append((time, record.srtt / SECOND))
                self.rto.append((time, record.rto / SECOND))
            case Recovery():
                self._windows(time, record.cwnd, record.ssthresh, record.in_flight)
                self._recovery(time, record.what)
            case Lost():
                start = self.out._data.last
                first = start + (record.start - start + MOD // 2) % MOD - MOD // 2
                size = (record.end - record.start) % MOD
                self.lost.append(Segment(time, first, first + size))
            case Timer():
                self.timers.append((time, record.which))

    def _sent(self, time: float, record: Sent) -> None:
        again = record.how == "again"
        self.again += again
        self.out.carries(time, record.seq, record.length, again)
        if "A" in record.flags:
            self.back.answers(time, record.ack, record.window, record.sack)
        if record.length:
            self.in_flight.append((time, record.in_flight + record.length))

    def _windows(self, time: float, cwnd: int, ssthresh: int | None, in_flight: int) -> None:
        self.cwnd.append((time, cwnd))
        if ssthresh is not None:
            self.ssthresh.append((time, ssthresh))
        self.in_flight.append((time, in_flight))

    def _recovery(self, time: float, what: str) -> None:
        if what in ("fast", "timeout"):
            begin, name = self._recovering or (time, what)
            self._recovering = (begin, "timeout" if "timeout" in (what, name) else name)
        elif what in ("left", "undone"):
            self.undone += what == "undone"
            if self._recovering:
                self.recoveries.append((self._recovering[0], time, self._recovering[1]))
            self._recovering = None

    def finish(self) -> None:
        """A recovery that the trace does not see the end of ends with it."""
        if self._recovering:
            self.recoveries.append((self._recovering[0], self.duration, self._recovering[1]))
            self._recovering = None

    def summary(self) -> Summary:
        samples = [value for _, value in self.rtt]
        return Summary(
            self.conn,
            self.local,
            self.remote,
            self.state,
            self.duration,
            self.out.fresh,
            self.back.fresh,
            self.again,
            sum(which == "rexmt" for _, which in self.timers),
            self.undone,
            sum(end - begin for begin, end, _ in self.recoveries),
            min(samples, default=None),
            median(samples) if samples else None,
            max(samples, default=None),
        )


def connections(records: Iterable[Record]) -> dict[int, Connection]:
    """The connections of a trace by their numbers; drops and gaps belong to none."""
    found: dict[int, Connection] = {}
    for record in records:
        if record.conn and not isinstance(record, Gap):
            if record.conn not in found:
                found[record.conn] = Connection(record.conn)
            found[record.conn].add(record)
    for connection in found.values():
        connection.finish()
    return found
