"""Congestion control in Python in real time: the control plane's thread answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from barewire import Stack
from barewire.congestion import Report
from barewire.stack import congestion as core

PIECE = bytes(100_000)
REPORTS: list[Report] = []


class Steady:
    name = "steady"

    def on_report(self, report: Report) -> int:
        REPORTS.append(report)
        return 1 << 20


@pytest.fixture(autouse=True)
def _own_registry() -> Iterator[None]:
    before = list(core._classes)
    yield
    core._classes[:] = before
    REPORTS.clear()


def test_reports_are_answered_in_real_time() -> None:
    with (
        Stack(congestion=Steady) as stack,
        stack.create_server(("127.0.0.1", 0)) as server,
        stack.create_connection(server.getsockname()) as client,
        server.accept()[0] as reader,
    ):
        pieces = 0
        while len(REPORTS) < 6 and pieces < 20_000:  # how many are merged is up to time
            client.sendall(PIECE)
            left = len(PIECE)
            while left:
                left -= len(reader.recv(left))
            pieces += 1
        assert len(REPORTS) > 5
        assert REPORTS[-1].cwnd == 1 << 20
        assert sum(r.acked for r in REPORTS) <= pieces * len(PIECE)
