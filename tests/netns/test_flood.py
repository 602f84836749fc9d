"""A SYN flood on the wire, in the benchmark's small form: what must hold at any speed."""

from __future__ import annotations

import pytest
from barewire.tools.bench import flood

from tests.kit.privilege import for_machine

pytestmark = pytest.mark.netns


@pytest.mark.parametrize(
    "name", ["flood_packet", "flood_tap", *for_machine("flood_tap_guard", "flood_xdp_guard")]
)
def test_a_flood_turns_no_honest_client_away(name: str) -> None:
    results = flood.measure_on(name, 1, 0.7, print, contenders=("barewire",))
    found = {result.metric: result.samples["barewire"].median for result in results}
    assert found["SYNs sent"] > 10_000
    assert found["cookies sent"] > 0
    assert found["honest connects"] >= 1
    assert found["honest failed"] == 0
    assert found["goodput flooded"] > 0
    assert found["sockets held"] < 2 * 256 + 300, "half-open children, and TIME-WAIT"
