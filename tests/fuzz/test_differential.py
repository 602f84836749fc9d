"""barewire beside the kernel: the same frames and calls, the same answers, but for what is accepted."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest
from barewire.fuzz.accepted import ACCEPTED
from barewire.fuzz.conversation import Step
from barewire.fuzz.differential import Accepted, Difference, Differential, Report
from barewire.fuzz.generate import conversation
from barewire.fuzz.targets import KernelTarget, StackTarget

ROOT = Path(__file__).parents[2]
SEEDS = range(400)  # half a minute at most
SECONDS, LONG = 25, 3600


def play(seeds: range, seconds: float) -> tuple[Report, int]:
    """Plays what fits into the time."""
    report, played, end = Report(ACCEPTED), 0, time.monotonic() + seconds
    with StackTarget(gateway=True) as ours, KernelTarget(gateway=True) as kernel:
        differential = Differential(ours, kernel)
        for seed in seeds:
            if time.monotonic() > end:
                break
            found = differential.confirmed(conversation(seed), report)
            played += 1
            if found is not None and report.add(found):
                print(f"seed {seed}:\n{differential.shrink(found, ACCEPTED)}")
    print(f"{played} conversations\n{report}")
    return report, played


@pytest.mark.netns
def test_barewire_answers_as_the_kernel() -> None:
    report, played = play(SEEDS, SECONDS)
    assert played > 20
    assert not report.new, str(report)
    assert set(report.known) <= {one.name for one in ACCEPTED}


@pytest.mark.netns
@pytest.mark.slow
def test_barewire_answers_as_the_kernel_for_an_hour() -> None:
    first = int.from_bytes(os.urandom(4), "big")
    report, _ = play(range(first, first + 1_000_000), LONG)
    assert not report.new, str(report)


# ---- the tool itself, with two stacks in virtual time ------------------------------------------------

STEPS = [
    Step("listen", (5,)),
    Step("udp", (0,)),
    Step("syn", (0, 2)),
    Step("say", (0, 16, 0, 0, 0, 65535)),
    Step("accept", (0,)),
    Step("close", (1,)),
]


def test_two_equal_stacks_do_not_differ() -> None:
    with StackTarget(gateway=True) as one, StackTarget(gateway=True) as other:
        differential = Differential(one, other)
        assert all(differential.compare(conversation(seed)) is None for seed in range(20))


def differ() -> tuple[Difference | None, Difference | None, Report]:
    """A stack whose SYN cookies keep less of the peer's options, and one without cookies."""
    report = Report(())
    with (
        StackTarget(gateway=True, syn_cookies=2) as one,
        StackTarget(gateway=True, syn_cookies=0) as other,
    ):
        differential = Differential(one, other)
        steps = [STEPS[1], STEPS[0], Step("syn", (0, 6))]
        found = differential.compare(steps, report)
        shortest = differential.shrink(found) if found else None
    return found, shortest, report


def test_a_difference_is_found_and_shrunk() -> None:
    found, shortest, report = differ()
    assert found is not None and shortest is not None
    assert found.step == Step("syn", (0, 6))
    assert [step.op for step in shortest.steps] == ["listen", "syn"]
    assert report.add(found), "new"
    assert not report.add(shortest), "the same kind again"
    assert sum(report.new.values()) == 2 and len(report.new) == 1


def test_what_is_accepted_is_counted_by_name() -> None:
    found, _, _ = differ()
    assert found is not None
    report = Report([Accepted("scale", "cookies keep none", lambda d: d.step.op == "syn")])
    assert report.accepts(found) is not None
    assert report.known == {"scale": 1} and not report.new
    assert Report(()).accepts(found) is None


# ---- the table ---------------------------------------------------------------------------------------


def test_the_documentation_shows_the_table() -> None:
    text = (ROOT / "docs/fuzz.md").read_text(encoding="utf-8")
    for one in ACCEPTED:
        assert f"| {one.name} | {one.why} |" in text
    assert text.count("\n| ") == len(ACCEPTED) + 1, "a row that is no entry"


def test_the_documentation_s_examples_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = (ROOT / "docs/fuzz.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 3
    for number, example in enumerate(
        examples
    ):  # hypothesis reads a function's source from its file
        path = tmp_path / f"example{number}.py"
        path.write_text(example, encoding="utf-8")
        exec(compile(example, str(path), "exec"), {"__name__": "example"})
    assert "syn(0, 2) ['sends: SA seq 0 ack 1 of 0" in capsys.readouterr().out


def test_names_are_told_apart() -> None:
    names = [one.name for one in ACCEPTED]
    assert len(names) == len(set(names))
