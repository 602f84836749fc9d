"""What comes through bad links: with fixed seeds in virtual time, and in a small form on the wire."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading

import pytest
from barewire.tools import bench
from barewire.tools.bench import goodput, links, simulate, wire
from barewire.tools.bench.wire import Flow, Lane
from pyroute2 import NetlinkError

SCENARIOS = {scenario.name: scenario for scenario in links.GOODPUT}
# Floors of the share of the link, somewhat below the least of the seeds.
FLOORS = {
    "cubic": {
        "1 % lost": 0.27,
        "3 % lost": 0.12,
        "10 % lost": 0.04,
        "5 % late by 10 ms": 0.88,
        "2 s outage": 0.49,
    },
    "bbr": {
        "1 % lost": 0.90,
        "3 % lost": 0.88,
        "10 % lost": 0.78,
        "5 % late by 10 ms": 0.88,
        "2 s outage": 0.49,
    },
}


# ---- in virtual time -----------------------------------------------------------------------------


@pytest.mark.parametrize(("congestion", "seed"), [("cubic", 1), ("cubic", 2), ("bbr", 3)])
@pytest.mark.parametrize("name", SCENARIOS)
def test_goodput_in_the_simulator(name, congestion, seed):
    scenario = SCENARIOS[name]
    flow = simulate.goodput(scenario, congestion, seed)
    assert FLOORS[congestion][name] < goodput.share(flow.rate(0, scenario.seconds)) < 0.957


def test_after_an_outage_data_flows_again_within_a_second():
    """The time-out is a round trip in a full queue and Linux's 200 ms: some 0.24 s. Retransmissions after it,
    and after twice, four and eight times as long, the last of them at 3.6 s."""
    flow = simulate.goodput(SCENARIOS["2 s outage"], "cubic", 1)
    assert 2 < flow.gap < 3.6 + 0.1


@pytest.mark.parametrize(("congestion", "seed"), [("cubic", 1), ("cubic", 2), ("bbr", 3)])
def test_two_flows_share_a_bottleneck_fairly(congestion, seed):
    flows = simulate.shared(links.FAIRNESS, congestion, seed)
    rates = [flow.rate(links.START_UP, links.FAIRNESS.seconds) for flow in flows]
    assert goodput.jain(rates) > 0.95
    assert goodput.share(sum(rates)) > 0.9


def test_the_same_seed_gives_the_same_transfer_to_the_byte():
    scenario = SCENARIOS["3 % lost"].shortened()
    one, two, other = (simulate.goodput(scenario, "cubic", seed) for seed in (5, 5, 6))
    assert (one.record, one.gap) == (two.record, two.gap)
    assert one.record != other.record


def test_the_index_is_one_for_equals_and_falls_with_the_difference():
    assert goodput.jain([5, 5]) == 1
    assert goodput.jain([1, 0]) == 0.5
    assert goodput.jain([1, 1, 1, 0]) == 0.75


def test_the_first_word_of_tests_names_them_all(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(
        bench, "measure", lambda options, progress: (asked.append(options.only) or [], [])
    )
    monkeypatch.setattr(bench.netns, "in_user_namespace", lambda argv: None)
    assert bench.main(["goodput", "fairness_sim", "--quick"]) == 0
    assert asked == [["goodput_sim", "goodput_wire", "fairness_sim"]]
    with pytest.raises(SystemExit):
        bench.main(["good"])
    assert "'good'" in capsys.readouterr().err


PATIENCE = 1.0  # seconds
BENCH = f"""
import sys
from barewire.tools import bench
from barewire.tools.bench import wire
wire.LATE = {PATIENCE}
sys.exit(bench.main(sys.argv[1:]))
"""


# ---- on the wire ---------------------------------------------------------------------------------


@pytest.fixture
def patient(monkeypatch):
    """How punctual the relay is stands elsewhere: an ordinary user's has no real-time priority, and is
    late on a busy machine."""
    monkeypatch.setattr(wire, "LATE", PATIENCE)


@pytest.fixture
def lane(patient):
    with Lane() as made:
        yield made


@pytest.mark.netns
def test_everybody_gets_something_through_a_lossy_link(lane):
    """A loose bound: it shows that it works, not how well."""
    scenario = SCENARIOS["1 % lost"].shortened()
    for flows in goodput.CONTENDERS.values():
        lane.prepare(flows)
        [outcome] = lane.run(scenario, "cubic", flows, seed=1)
        assert goodput.share(outcome.rate()) > 0.15
        assert outcome.gap < 2
        assert min(outcome.relay.frames) > 100
    assert lane.near.links() == ["lo", "tap1"], "the relay's interface is gone"


@pytest.mark.netns
def test_two_flows_at_once_over_one_link(lane):
    scenario = links.FAIRNESS.shortened()
    flows = [Flow("barewire"), Flow("kernel", wait=0.2)]
    lane.prepare(flows)
    outcomes = lane.run(scenario, "cubic", flows, seed=1)
    shares = [goodput.share(outcome.rate(2)) for outcome in outcomes]
    assert min(shares) > 0.1 and sum(shares) < 1


@pytest.mark.netns
def test_a_run_that_fails_says_what_and_ends_the_others():
    scenario = SCENARIOS["1 % lost"]
    tasks = [
        goodput.Task(("", name, ""), scenario, (Flow("kernel"),), 1)
        for name in ("no_such_algorithm", "cubic")
    ]
    before = threading.active_count()
    with pytest.raises(NetlinkError, match="Invalid argument"):
        goodput.run_all(tasks, 2, lambda text: None)
    assert threading.active_count() == before


@pytest.mark.netns
def test_sigterm_ends_all_lanes_with_a_word():
    command = [sys.executable, "-P", "-c", BENCH, "goodput_wire", "--quick"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if "round 1/" in line:
                break
        process.send_signal(signal.SIGTERM)
        assert "everything is removed" in process.stderr.read()
    assert process.returncode == 128 + signal.SIGTERM


@pytest.mark.netns
def test_the_table_and_the_file(tmp_path, capsys, monkeypatch, patient):
    monkeypatch.setattr(links, "GOODPUT", (SCENARIOS["3 % lost"],))
    path = tmp_path / "bench.json"
    code = bench.main(["goodput", "--quick", "--json", str(path)])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    document = json.loads(path.read_text())
    found = {(r["test"], r["device"], r["direction"]) for r in document["results"]}
    assert ("goodput, 3 % lost", "sim", "cubic sim") in found
    assert ("goodput, 3 % lost", "relay", "cubic out") in found
    assert all(r["ratio"] for r in document["results"] if r["device"] == "relay")
    assert any("99th percentile" in note for note in document["notes"])
    assert "3 % lost cubic out" in printed.out
    assert "about" in printed.err, "how long it takes is said beforehand"
