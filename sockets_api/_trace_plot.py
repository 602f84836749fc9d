"""One connection as a picture, by matplotlib (an optional dependency).

Above, the time-sequence plot as tcptrace draws it: each segment a bar from its first byte to its
last, retransmissions apart, the line of the ACKs below them and that of the peer's window above,
what was selectively acknowledged, what was taken as lost. In the middle the windows and what is in
flight, below the round-trip times; shaded are the recoveries. Every series has its name as `id` in
an SVG.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ._trace_series import Connection, Segment, Way

BLUE, RED, GREEN, ORANGE, GREY, PURPLE = (
    "#1f77b4",
    "#d62728",
    "#2ca02c",
    "#ff7f0e",
    "0.6",
    "#9467bd",
)
DENSE = 5000  # more bars than this are drawn as pixels, in an SVG too
SHADES = {"fast": ("0.92", "fast recovery"), "timeout": ("#fde0dd", "time-out recovery")}
SETTINGS: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "barewire", "font.size": 8}


def draw(connection: Connection, path: Path) -> None:
    """Writes the picture; its kind is the path's suffix. The same records, the same bytes."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(11, 9), layout="constrained")
        FigureCanvasAgg(figure)
        above, middle, below = figure.subplots(3, 1, sharex=True, height_ratios=(3, 1.6, 1.4))
        figure.suptitle(f"connection {connection.conn}: {connection.name}")
        _sequence(above, connection)
        _windows(middle, connection)
        _times(below, connection)
        for axes in (above, middle, below):
            _shade(axes, connection)
            axes.grid(alpha=0.25)
            if axes.get_legend_handles_labels()[0]:
                axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=7, frameon=False)
        _legible(below, connection.duration)
        metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
        figure.savefig(path, dpi=120, metadata=metadata)


def _bars(
    axes: Any, name: str, label: str, segments: list[Segment], color: str, **style: Any
) -> None:
    if not segments:
        return
    bars = axes.vlines(
        [s.time for s in segments],
        [s.start for s in segments],
        [s.end for s in segments],
        colors=color,
        label=f"{label} ({len(segments)})",
        rasterized=len(segments) > DENSE,
        **style,
    )
    bars.set_gid(name)


def _line(
    axes: Any, name: str, label: str, points: list[tuple[float, Any]], color: str, **style: Any
) -> None:
    if not points:
        return
    (line,) = axes.plot(*zip(*points, strict=True), color=color, label=label, **style)
    line.set_gid(name)
    line.set_rasterized(len(points) > DENSE)


def _sequence(axes: Any, connection: Connection) -> None:
    way: Way = connection.main
    ours = way is connection.out
    new, again = [s for s in way.segments if not s.again], [s for s in way.segments if s.again]
    _line(axes, "window", "window edge", way.window, ORANGE, drawstyle="steps-post", lw=0.8)
    _line(axes, "ack", "acknowledged", way.acked, GREEN, drawstyle="steps-post", lw=0.8)
    _bars(axes, "sack", "selectively acknowledged", way.sacked, PURPLE, lw=0.6, alpha=0.5)
    _bars(axes, "sent" if ours else "received", "sent" if ours else "received", new, BLUE, lw=1.6)
    _bars(axes, "again", "sent again", again, RED, lw=2.0)
    axes.plot([s.time for s in again], [s.start for s in again], color=RED, ls="", marker="^", ms=3)
    if ours and connection.lost:
        times, starts = [s.time for s in connection.lost], [s.start for s in connection.lost]
        label = f"taken as lost ({len(starts)})"
        (marks,) = axes.plot(times, starts, "kx", ms=4, mew=0.8, label=label)
        marks.set_gid("lost")
    axes.set_ylabel(f"sequence number, {'sent' if ours else 'received'}")
    ends = [s.end for s in way.segments] + [at for _, at in way.acked]
    if ends:  # the window of a short transfer would dwarf it
        room = max(max(ends) - min(way.segments[0].start if way.segments else 0, min(ends)), 1)
        axes.set_ylim(-0.05 * room, max(ends) + 0.15 * room)


def _windows(axes: Any, connection: Connection) -> None:
    steps: dict[str, Any] = {"drawstyle": "steps-post"}
    _line(axes, "in-flight", "in flight", connection.in_flight, GREY, lw=0.7, **steps)
    _line(axes, "cwnd", "cwnd", connection.cwnd, BLUE, lw=1.2, **steps)
    _line(axes, "ssthresh", "ssthresh", connection.ssthresh, RED, lw=0.8, ls="--", **steps)
    high = max((v for _, v in connection.cwnd + connection.in_flight), default=1)
    axes.set_ylim(0, 1.2 * high)
    _line(axes, "rwnd", "peer's window", connection.rwnd, ORANGE, lw=0.8, **steps)
    axes.set_ylabel("bytes")


def _times(axes: Any, connection: Connection) -> None:
    samples = [(t, 1e3 * v) for t, v in connection.rtt]
    srtt = [(t, 1e3 * v) for t, v in connection.srtt]
    _line(axes, "rtt", "RTT samples", samples, BLUE, ls="", marker=".", ms=3)
    _line(axes, "srtt", "SRTT", srtt, ORANGE, lw=1.2)
    fired = [t for t, which in connection.timers if which == "rexmt"]
    for i, time in enumerate(fired):
        axes.axvline(time, color=RED, lw=0.8, ls=":", label=None if i else "time-out fired")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("ms")
    axes.set_xlabel("seconds")


def _shade(axes: Any, connection: Connection) -> None:
    seen: set[str] = set()
    for begin, end, what in connection.recoveries:
        color, label = SHADES[what]
        axes.axvspan(begin, end, color=color, lw=0, zorder=0, label=None if what in seen else label)
        seen.add(what)


def _legible(axes: Any, duration: float) -> None:
    if duration > 0:
        axes.set_xlim(-0.01 * duration, 1.02 * duration)
