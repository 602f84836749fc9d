"""Traces: what connections did, as records, in files of JSON lines, and as pictures.

    with barewire.Stack("tap:tap0", addresses=["198.18.0.2/24"], trace=True) as stack:
        ...
        records = list(stack.trace())
    barewire.trace.plot(records, "trace.svg")

`Recorder` streams a stack's records to a file; `read` gives them back; `connections` sorts them by
connection, each with a `summary()`; `plot` draws them. A file begins with a line that says what it
is; then each line is one record: its kind, and the fields of the class of that name.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ._trace_records import (
    FIELDS,
    KINDS,
    Drop,
    Gap,
    Lost,
    Received,
    Record,
    Recovery,
    Rtt,
    Sent,
    State,
    Timer,
    Window,
)
from ._trace_series import Connection, Summary, connections

if TYPE_CHECKING:
    from ._stack import Stack

__all__ = [
    "Connection", "Drop", "Gap", "Lost", "Received", "Record", "Recorder", "Recovery", "Rtt",
    "Sent", "State", "Summary", "Timer", "TraceError", "Window", "connections", "plot", "read",
    "write",
]  # fmt: skip

HEAD = {"format": "barewire trace", "version": 1}
INTERVAL = 0.02  # seconds between a Recorder's looks into the ring


class TraceError(ValueError):
    """A file that is no trace, or a trace that cannot be drawn; one sentence says why."""


# ---- files ---------------------------------------------------------------------------------------


def _line(record: Record) -> str:
    kind = record.kind
    values = {name: getattr(record, name) for name in FIELDS[kind]}
    return json.dumps({"kind": kind, **values}, separators=(",", ":")) + "\n"


def _head() -> str:
    return json.dumps(HEAD) + "\n"


def write(records: Iterable[Record], path: str | os.PathLike[str]) -> int:
    """Writes the records to a file; how many there were. Raises OSError."""
    count = 0
    with open(path, "w", encoding="utf-8") as file:
        file.write(_head())
        for record in records:
            file.write(_line(record))
            count += 1
    return count


def _record(text: str) -> Record:
    values: dict[str, Any] = json.loads(text)
    kind = values.pop("kind")
    if "sack" in values:
        values["sack"] = tuple((int(start), int(end)) for start, end in values["sack"])
    return KINDS[kind](**values)


def read(path: str | os.PathLike[str]) -> Iterator[Record]:
    """The records of a file, one by one. Raises OSError, and TraceError for what is no trace."""
    with open(path, encoding="utf-8", errors="replace") as file:
        try:
            head = json.loads(file.readline(1000))
            if head != HEAD:
                raise ValueError
        except ValueError:
            raise TraceError(f"{os.fspath(path)} is not a trace") from None
        for number, text in enumerate(file, 2):
            if not text.endswith("\n"):
                return  # the program ended in the middle of a line
            try:
                yield _record(text)
            except (ValueError, TypeError, KeyError, AttributeError):
                raise TraceError(f"{os.fspath(path)}, line {number}: not a record") from None


# ---- recording -----------------------------------------------------------------------------------


class Recorder:
    """Traces every connection of a stack into a file, from here until close() or the end of the
    `with` block, also past Stack.close(). A thread of its own empties the ring, every INTERVAL;
    for a stack in virtual time drain() does. What was overwritten meanwhile the file says.

    Raises OSError for a file that cannot be written, at once."""

    def __init__(self, stack: Stack, path: str | os.PathLike[str]) -> None:
        self._stack = stack
        self._pid = os.getpid()
        self._file = open(path, "w", encoding="utf-8")  # noqa: SIM115 - until close()
        self._file.write(_head())
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        stack.settrace(True)
        if not stack.is_virtual:
            self._thread = threading.Thread(target=self._run, name="barewire-trace", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self._end.wait(INTERVAL):
            self.drain()

    def drain(self) -> None:
        """Writes what is in the ring now."""
        with self._lock:
            if not self._file.closed:
                self._file.writelines(map(_line, self._stack.trace()))
                self._file.flush()

    def close(self) -> None:
        """Writes the rest; the stack goes on untraced. In a forked child it does nothing."""
        if self._pid != os.getpid() or self._file.closed:
            return
        self._end.set()
        if self._thread:
            self._thread.join()
        if not self._stack.closed:
            self._stack.settrace(False)
        self.drain()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


# ---- pictures ------------------------------------------------------------------------------------


def check_picture(path: str | os.PathLike[str]) -> Path:
    """The path, if a picture can have that name; TraceError if not."""
    if Path(path).suffix.lower() not in (".png", ".svg", ".pdf"):
        raise TraceError(f"{os.fspath(path)}: a picture's name ends in .png, .svg or .pdf")
    return Path(path)


def plot(
    records: Iterable[Record], path: str | os.PathLike[str], *, only: Iterable[int] | None = None
) -> list[Path]:
    """Draws one figure a connection (a time-sequence plot, the windows with what is in flight, the
    round-trip times), as PNG, SVG or PDF by the path's suffix; the files made. With more than one
    connection the number goes before the suffix: trace-1.svg. `only`: numbers of connections.

    Raises TraceError (no connection there, suffix unknown), ImportError without matplotlib,
    OSError."""
    from ._trace_plot import draw

    target = check_picture(path)
    found = connections(records)
    wanted = set(found) if only is None else set(only)
    if missing := wanted - set(found):
        raise TraceError(f"the trace has no connection {min(missing)}")
    chosen = [found[number] for number in sorted(wanted)]
    if not chosen:
        raise TraceError("there is no connection in the trace")
    made = []
    for connection in chosen:
        name = target if len(chosen) == 1 else target.with_stem(f"{target.stem}-{connection.conn}")
        draw(connection, name)
        made.append(name)
    return made
