"""The benchmark: its figures, its file, and that every program runs on both kinds of sockets."""

from __future__ import annotations

import array
import json
import os
import time
from dataclasses import replace

import pytest
from barewire.tools import bench
from barewire.tools.bench import aio, compare, engine, flood, programs, report, strangers, waiting
from barewire.tools.bench.worker import Worker, WorkerError


def result(**values: list[float]) -> report.Result:
    samples = {name: report.Samples(list(v)) for name, v in values.items()}
    return report.Result("tcp_rr", "tap", "out", "p50", "us", samples)


def test_a_row_of_the_file_has_the_promised_fields():
    row = result(barewire=[5.0, 5.1, 9.0], kernel=[7.4]).as_json()
    assert {k: v for k, v in row.items() if k != "spread"} == {
        "test": "tcp_rr",
        "device": "tap",
        "direction": "out",
        "metric": "p50",
        "unit": "us",
        "barewire": 5.1,
        "kernel": 7.4,
        "ratio": 0.69,
        "void": [],
    }
    assert row["spread"]["barewire"] == [5.0, 9.0]


def test_request_and_response_has_the_spinning_kernel_too():
    row = result(barewire=[4], kernel=[8], barewire_spin=[3], kernel_spin=[2]).as_json()
    assert (row["kernel_spin"], row["barewire_spin"], row["ratio_spin"]) == (2, 3, 1.5)
    assert row["ratio_to_spin"] == 2  # of the blocking run


def test_beside_a_restless_kernel_a_ratio_is_void():
    compared = replace(
        result(barewire=[4, 9], kernel=[7, 8, 8.7], kernel_spin=[2, 2.2]), steady=0.2
    )
    row = compared.as_json()
    assert (row["void"], row["ratio"], row["ratio_to_spin"]) == (["kernel"], None, 3.1)
    assert report.table_rows([compared])[0][-2:] == ("void", "3.10")


def test_a_figure_without_a_kernel_has_no_ratio():
    row = result(barewire=[64.0]).as_json()
    assert (row["kernel"], row["ratio"]) == (None, None)


def test_percentiles_are_in_microseconds_and_ordered():
    times = array.array("q", (n * 1000 for n in range(10_000, 0, -1)))
    found = programs.percentiles(times)
    assert list(found) == ["p50", "p99", "p99.9", "p99.99"]
    assert found == {"p50": 5001, "p99": 9901, "p99.9": 9991, "p99.99": 10_000}


def test_the_table_shows_blocking_before_spinning():
    rows = report.table_rows([result(barewire=[4], kernel=[8], barewire_spin=[3], kernel_spin=[2])])
    assert rows == [
        ("tcp_rr out", "p50 us", "4", "8", "0.50", "2.00"),
        ("tcp_rr out spin", "p50 us", "3", "2", "1.50", ""),
    ]


def test_an_unknown_test_is_named(capsys):
    with pytest.raises(SystemExit):
        bench.main(["--only", "tcp_rr,nonsense"])
    assert "'nonsense'" in capsys.readouterr().err


def test_quick_is_without_what_takes_long():
    """Floods have scenes of their own, of seconds each; links on the wire are as slow as they are."""
    quick = bench._parse(["--quick"])
    assert (quick.rounds, quick.seconds) == bench.QUICK
    assert set(quick.only) < set(bench.NAMES) == {*quick.only, *bench.LEFT_OUT}
    slow = [
        *aio.TESTS,
        *flood.TESTS,
        *strangers.TESTS,
        "goodput_wire",
        "fairness_wire",
        "vhost_udp_batch",
    ]
    assert set(slow) <= set(bench.LEFT_OUT)
    assert bench._parse([]).only == bench.NAMES


def test_what_is_named_is_measured_quickly_too():
    assert bench._parse(["--quick", "fairness"]).only == ["fairness_sim", "fairness_wire"]


@pytest.mark.slow
@pytest.mark.netns
@pytest.mark.machine
def test_quick_takes_two_minutes(capsys):
    begin = time.monotonic()
    assert bench.main(["--quick"]) == 0
    assert time.monotonic() - begin < 150, "as README.md says; half a minute for a busy machine"


def test_the_engine_costs_something():
    assert 0 < engine.ack_cost(0.02) < 1e6
    assert 0 < engine.segment_cost(0.02) < 1e6
    assert engine.stream_rate(0.02) > 0
    assert all(0 < cost < 1e6 for cost in engine.datagram_costs(0.02).values())


def test_many_connections_echo_and_hold_little_memory():
    held, rate = engine.connection_memory(500)
    assert 0 < held < 2000, "bytes of an idle connection"
    assert rate > 0


@pytest.mark.parametrize("name", waiting.TESTS)
def test_a_look_at_many_sockets(name, monkeypatch):
    monkeypatch.setattr(waiting, "COUNTS", (1, 20))
    results = waiting.measure([name], 1, 0.01, print)
    assert {r.direction for r in results} == {"1", "20"}
    for result in results:
        assert set(result.samples) == {"barewire", "kernel"}
        assert all(0 < samples.median < 1e7 for samples in result.samples.values())


def test_a_look_at_more_sockets_than_there_are_numbers(monkeypatch):
    """epoll tells numbers, so each socket needs some; select of the kernel takes none above 1,023."""
    monkeypatch.setattr(waiting.resource, "getrlimit", lambda _: (2_000, 2_000))
    assert waiting.contenders("waiting_epoll", 1_000) == ["kernel"]
    assert waiting.contenders("waiting_epoll", 5_000) == []
    assert waiting.contenders("waiting_selector", 5_000) == ["barewire"]
    assert waiting.contenders("waiting_select", 1_024) == ["barewire"]


@pytest.mark.netns
@pytest.mark.parametrize("test", compare.TESTS, ids=lambda t: t.program)
def test_every_program_runs_on_the_kernels_sockets(veth_pair, test):
    a, b = veth_pair
    cores = sorted(os.sched_getaffinity(0))
    link = compare.Link(Worker(b, cores[0]), Worker(a, cores[-1]))
    for spin in (False, True) if test.spin else (False,):
        got = compare.run_once(test, link, 0.05, spin)
        assert all(got[metric] > 0 for metric in test.metrics)


@pytest.mark.netns
def test_a_program_that_fails_says_what(veth_pair):
    a, _ = veth_pair
    worker = Worker(a, min(os.sched_getaffinity(0)))
    worker.tell("tcp_rr", host="198.18.0.1", port=9, seconds=0.1, spin=False, congestion="cubic")
    with pytest.raises(WorkerError, match="tcp_rr: ConnectionRefused"):
        worker.answer()


@pytest.mark.netns
def test_everything_side_by_side(tmp_path, capsys):
    path = tmp_path / "bench.json"
    tests = [*dict.fromkeys(test.name for test in compare.TESTS), *engine.TESTS]
    code = bench.main([*tests, "--rounds", "1", "--seconds", "0.1", "--json", str(path)])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    document = json.loads(path.read_text())
    assert document["machine"]["congestion"] == "cubic"
    found = {(r["test"], r["direction"], r["metric"]) for r in document["results"]}
    for test in compare.TESTS:
        assert {(test.name, test.direction, metric) for metric in test.metrics} <= found
    assert {test for test, _, _ in found} >= set(engine.TESTS)
    assert "cubic" in printed.out


def test_what_several_are_beside_has_a_ratio_to_each(capsys):
    samples = {"barewire": report.Samples([8.0]), "asyncio": report.Samples([2.0])}
    row = report.Result(
        "asyncio_echo", "xdp", "spinning", "rate", "1/s", samples, beside=("asyncio",)
    )
    assert row.as_json()["ratios"] == {"asyncio": 4.0}
    assert (row.as_json()["asyncio"], row.as_json()["barewire"]) == (2.0, 8.0)
    table = report.table_of_several([row])
    assert [list(column.cells) for column in table.columns][-2:] == [["8"], ["2 (4.00)"]]


def test_wrk_is_read():
    text = """Running 30s test @ http://198.18.0.2:5001/
  Latency Distribution
     50%    0.86ms
     75%    1.00ms
     90%    1.20ms
     99%    1.02s
  3661 requests in 0.30s, 278.87KB read
Requests/sec:  12188.02
Transfer/sec:      0.91MB
"""
    found = aio.wrk_figures(text)
    assert found == {"rate": 12188.02, "p50": 860, "p99": 1_020_000, "requests": 3661}
    with pytest.raises(WorkerError, match="Socket errors"):
        aio.wrk_figures(text + "  Socket errors: connect 0, read 1, write 0, timeout 0\n")
    with pytest.raises(WorkerError, match="wrk"):
        aio.wrk_figures("unable to connect")


def test_all_loops_take_part_where_they_are_installed():
    assert aio.loops() == ["asyncio", "uvloop", "uvloop SO_BUSY_POLL", "rloop"]


@pytest.mark.netns
def test_event_loops_side_by_side():
    results = aio.measure(["asyncio_echo"], 1, 0.02, print, ["tap", "asyncio"])
    assert {(r.device, r.beside) for r in results} == {("tap", ("asyncio",))}
    assert {r.direction for r in results} == {"spinning", "sleeping"}
    assert {r.metric for r in results} == set(aio.UNITS)
    assert all(s.median > 0 for r in results for s in r.samples.values())


@pytest.mark.netns
@pytest.mark.parametrize(
    ("name", "contender", "spin"),
    [
        ("asyncio_echo", "packet", True),
        pytest.param("asyncio_echo", "xdp", False, marks=pytest.mark.machine),
        ("asyncio_echo", "uvloop SO_BUSY_POLL", False),
        ("asyncio_echo", "rloop", True),
        ("asyncio_echo_1000", "tap", True),
        ("asyncio_streams", "tap", True),
        ("asyncio_datagram", "tap", False),
        ("asyncio_datagram", "asyncio", True),
    ],
)
def test_every_server_and_every_loop(name, contender, spin):
    load = aio.TESTS[name]
    found = aio.run_once(
        contender, replace(load, connections=min(load.connections, 20)), 0.02, spin
    )
    assert set(found) == set(aio.UNITS) and all(value > 0 for value in found.values())


@pytest.mark.netns
@pytest.mark.parametrize("server", aio.HTTP)
def test_http_is_served_to_wrk(server):
    found = aio.run_once("tap", replace(aio.TESTS["http"], server=server), 0.02, False)
    assert set(found) == set(aio.UNITS) and all(value > 0 for value in found.values())


@pytest.mark.netns
def test_a_server_that_does_not_start_says_why():
    with pytest.raises(WorkerError, match="nonsense"):
        with aio.scene("nonsense", "echo"):
            pass
