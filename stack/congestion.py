"""Congestion control in Python: one report a round trip in, a window and a pacing rate out.

    @register
    class Steady:
        name = "steady"

        def on_report(self, report: Report) -> int:
            return 20 * report.mss

Every connection that chose the algorithm has an object of the class. C counts, and backs off by itself
at a loss until the answer comes; docs/congestion.md says the rest.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

from ._engine import ffi, lib

log = logging.getLogger("barewire.congestion")

FIRST: int = lib.BW_CC_PYTHON
MAX_ALGORITHMS = 256 - FIRST
NAME_MAX = 15  # TCP_CA_NAME_MAX with its end
_RATE_MAX = 1 << 40  # bytes/s


@dataclass(frozen=True, slots=True)
class Report:
    """What one round trip of a connection told. Bytes and nanoseconds.

    acked: newly delivered; lost: newly taken as lost; ce: delivered with a congestion mark.
    rtt: the smallest sample of the round, None: there was none; min_rtt: of the connection.
    delivery_rate: bytes/s, the largest sample; 0: none. in_flight: the most before an ACK.
    app_limited: the program, not the window, limited what was sent. rounds: round trips told of,
    more than 1 if the one before was not fetched in time.
    """

    now: int
    acked: int
    lost: int
    ce: int
    rtt: int | None
    min_rtt: int | None
    delivery_rate: int
    in_flight: int
    cwnd: int
    mss: int
    app_limited: bool
    rounds: int


class Decision(NamedTuple):
    """The congestion window in bytes (at least two segments are allowed), and the rate at which
    data leaves, bytes/s; 0: as fast as the window allows."""

    window: int
    pacing_rate: int = 0


class Algorithm(Protocol):
    """What `register` takes: a class without arguments. An exception of its code is logged, and the
    connection goes on with cubic."""

    name: str

    def on_report(self, report: Report) -> Decision | tuple[int, int] | int | None:
        """The answer; an int is a window without pacing, None changes nothing."""


_classes: list[type[Algorithm]] = []
A = TypeVar("A", bound="type[Algorithm]")


def builtin_names() -> list[str]:
    """The engine's own algorithms, by their number there."""
    return [ffi.string(lib.bw_cc_name(i)).decode() for i in range(lib.bw_cc_count())]


def names() -> dict[str, int]:
    """Every algorithm and its number: the engine's, then those registered."""
    known = {name: i for i, name in enumerate(builtin_names())}
    return known | {cls.name: FIRST + i for i, cls in enumerate(_classes)}


def name_of(number: int) -> str:
    return next((name for name, n in names().items() if n == number), "")


def register(cls: A) -> A:
    """Makes the class known by its `name`, for `setsockopt(IPPROTO_TCP, TCP_CONGESTION, …)` and
    `Stack(congestion=…)`; a class decorator. A class of the same name is replaced, for connections
    that report for the first time from now on.

    Errors: TypeError for a class without a name or on_report, ValueError for a name that is
    taken by the engine or is not 1 to 15 ASCII characters, or after 128 names.
    """
    name = getattr(cls, "name", None)
    if not isinstance(cls, type) or not isinstance(name, str):
        raise TypeError(f"{cls!r}: register takes a class with a name")
    if not callable(getattr(cls, "on_report", None)):
        raise TypeError(f"{cls.__name__} has no on_report(report)")
    if not (1 <= len(name) <= NAME_MAX and name.isascii() and name.isprintable()):
        raise ValueError(f"name {name!r}: it has 1 to {NAME_MAX} ASCII characters")
    if name in builtin_names():
        raise ValueError(f"name {name!r}: the stack has an algorithm of that name")
    for i, known in enumerate(_classes):
        if known.name == name:
            _classes[i] = cls
            return cls
    if len(_classes) == MAX_ALGORITHMS:
        raise ValueError(f"{MAX_ALGORITHMS} algorithms are registered already")
    _classes.append(cls)
    return cls


def _decision(answer: Any) -> Decision:
    decision = Decision(answer) if isinstance(answer, int) else Decision(*answer)
    for what, value in zip(("window", "pacing rate"), decision, strict=True):
        if not isinstance(value, int) or value < 0:
            raise ValueError(f"{what} {value!r}: it is an int, and not negative")
    return decision


class CongestionControl:
    """Runs the algorithms of one stack: reports out of C, answers into it. `drain` is called where
    the control plane's work is done."""

    def __init__(self, host: Any) -> None:
        self.failures = 0
        self._host = host
        # One that is not answered yet lies here (algorithm 0: none), where no interrupt loses it.
        self._report = ffi.new("struct bw_cc_report *")
        # By socket number: one that is used again replaces what its last connection left.
        self._running: dict[int, tuple[int, Algorithm]] = {}
        self._complained: set[str] = set()

    def detach(self) -> None:
        """The host is about to be freed: from now on there are no reports."""
        self._host = ffi.NULL

    def drain(self, most: int) -> bool:
        """Answers so many reports at most; whether there was one."""
        for i in range(most):
            if not self._report.algorithm and lib.host_cc_report_pop(self._host, self._report) != 1:
                return i > 0
            self._answer(self._report)
            self._report.algorithm = 0
        return True

    def _answer(self, r: Any) -> None:
        sock, generation = int(r.sock), int(r.generation)
        try:
            cls = _classes[r.algorithm - FIRST]
            answer = self._object(cls, sock, generation).on_report(_report(r))
            decision = None if answer is None else _decision(answer)
        except (Exception, SystemExit):
            self._complain(name_of(r.algorithm))
            self._running.pop(sock, None)
            lib.host_cc_give_up(self._host, sock, generation)
            return
        if decision is not None:
            rate = min(decision.pacing_rate, _RATE_MAX)
            window = min(decision.window, 1 << 30)
            lib.host_cc_answer(self._host, sock, generation, window, rate)

    def _complain(self, name: str) -> None:
        self.failures += 1
        if name not in self._complained:
            self._complained.add(name)
            log.exception("congestion control %r failed: cubic takes over", name)

    def _object(self, cls: type[Algorithm], sock: int, generation: int) -> Algorithm:
        known = self._running.get(sock)
        if known is not None and known[0] == generation:
            return known[1]
        made = cls()
        self._running[sock] = (generation, made)
        return made


def _report(r: Any) -> Report:
    return Report(
        now=int(r.now),
        acked=int(r.acked),
        lost=int(r.lost),
        ce=int(r.ce),
        rtt=None if r.rtt < 0 else int(r.rtt),
        min_rtt=None if r.min_rtt < 0 else int(r.min_rtt),
        delivery_rate=int(r.delivery_rate),
        in_flight=int(r.in_flight),
        cwnd=int(r.cwnd),
        mss=int(r.mss),
        app_limited=bool(r.app_limited),
        rounds=int(r.rounds),
    )
