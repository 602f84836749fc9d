"""A congestion control of ten lines, and a picture of what it does.

    python -m barewire.tools.examples.congestion window.png

Two stacks in virtual time, joined by a link of 20 Mbit/s and 20 ms with a queue of 100 KB; one sends
to the other for ten seconds, and each answer of the algorithm becomes a point.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

from barewire import Stack
from barewire.congestion import Decision, Report, register
from barewire.nic_drivers import Faults, pipe_pair, with_faults
from barewire.socket import socket

MS, SECOND = 10**6, 10**9
PIECE = bytes(1 << 16)
RATE, DELAY, QUEUE = 20e6, 10 * MS, 100_000  # bit/s, ns one way, bytes


@register
class LowDelay:
    """Fast while the path queues nothing, then a segment a round trip, up to 20 in the queue."""

    name = "low-delay"

    def on_report(self, report: Report) -> Decision:
        rtt = report.rtt or report.min_rtt or 1
        queued = report.in_flight * (rtt - (report.min_rtt or rtt)) // rtt
        if report.lost or queued > 20 * report.mss:
            return Decision(report.cwnd * 7 // 10)
        return Decision(report.cwnd + (report.mss if queued else report.acked // 2))


Point = tuple[float, int, float]
"""Seconds, window in bytes, round trip in ms."""


def run(seconds: float = 10, algorithm: Any = LowDelay) -> list[Point]:
    """A bulk transfer with that algorithm; what it answered, in order."""
    points: list[Point] = []

    @register
    class Recorded(algorithm):  # type: ignore[misc]
        name = "recorded"

        def on_report(self, report: Report) -> Any:
            answer = super().on_report(report)
            points.append((report.now / SECOND, answer[0], (report.rtt or 0) / MS))
            return answer

    now = 0
    a, b = pipe_pair(layer=3)
    link = with_faults(a, Faults(delay=DELAY, rate=RATE, backlog=QUEUE))
    with (
        Stack(link, addresses=["198.18.0.1/24"], clock=lambda: now, congestion=Recorded) as one,
        Stack(b, addresses=["198.18.0.2/24"], clock=lambda: now) as two,
    ):
        server, client = two.socket(), one.socket()
        for sock in (server, client):
            sock.setblocking(False)
        server.bind(("198.18.0.2", 80))
        server.listen()
        client.connect_ex(("198.18.0.2", 80))
        reader: socket | None = None
        while now < seconds * SECOND:
            while one.poll() | two.poll():
                pass
            with suppress(BlockingIOError):
                if reader is None:
                    reader, _ = server.accept()
                    reader.setblocking(False)
                while reader.recv(1 << 20):
                    pass
            with suppress(BlockingIOError):
                while client.send(PIECE):
                    pass
            due = [d for d in (one.next_deadline(), two.next_deadline()) if d is not None]
            now = max(now, min(due, default=now + MS))
        for end in (client, server, reader):
            if end is not None:
                end.close()
        one.exit_linger = two.exit_linger = 0
    return points


def draw(points: list[Point], path: str) -> None:
    """The window and the round trip over time, into a PNG or SVG file."""
    from matplotlib.figure import Figure

    seconds, window, rtt = zip(*points, strict=True)
    figure = Figure(figsize=(8, 5), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    above.step(seconds, [w / 1000 for w in window], where="post")
    above.axhline(RATE / 8 * 2 * DELAY / SECOND / 1000, linestyle=":", label="what the path holds")
    above.set_ylabel("window, KB")
    above.legend()
    below.plot(seconds, rtt)
    below.set_ylabel("round trip, ms")
    below.set_xlabel("seconds")
    figure.savefig(path)


def main(arguments: list[str]) -> None:
    path = arguments[0] if arguments else "window.png"
    points = run()
    draw(points, path)
    print(f"{len(points)} answers drawn to {path}; the last window: {points[-1][1]} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
