"""How long fuzzing runs: short and repeatable by default, longer and random with BAREWIRE_FUZZ=N
(N times the examples)."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

SCALE = max(1, int(os.environ.get("BAREWIRE_FUZZ", "1")))


def budget(examples: int, steps: int = 50) -> settings:
    """Settings for one test: that many examples (of so many steps), times the scale."""
    return settings(
        max_examples=examples * SCALE,
        stateful_step_count=steps,
        deadline=None,
        derandomize=SCALE == 1,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        print_blob=True,
    )
