"""`barewire trace`, files of records, and pictures of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import barewire
import matplotlib.figure  # noqa: F401 - numpy starts a thread at its first import
import pytest
from barewire import cli, trace
from barewire.nic_drivers import Faults

from tests.kit.sock import Sock
from tests.kit.world import World, lossy_pair

PATIENCE = 60
SIZE = 250_000  # no more than a send queue takes at once
SERIES = {"sent", "again", "ack", "window", "sack", "lost", "cwnd", "ssthresh", "in-flight", "rwnd",
          "rtt", "srtt"}  # fmt: skip


def transfer(path: Path | None = None, size: int = SIZE) -> list[trace.Record]:
    """The records of a lossy transfer in virtual time, of the sender."""
    with World(seed=3, buffer_bytes=64 << 20) as world:
        near, far = lossy_pair(Faults(loss=0.02, delay=10_000_000), seed=3)
        sender, receiver = world.stack(near, "198.18.0.1/24"), world.stack(far, "198.18.0.2/24")
        recorder = trace.Recorder(sender, path) if path else None
        sender.settrace(True)
        listener = Sock(receiver).bind("198.18.0.2", 80).listen()
        client = Sock(sender).connect("198.18.0.2", 80)
        world.run_until(lambda: listener.readable)
        server = listener.accept()
        sent = client.send(bytes(size))
        client.close()
        got = 0
        while got < sent:
            world.step(world.clock.now + 10**9)
            got += len(server.read_all())
        server.close()
        world.run("1s")
        if recorder:
            recorder.close()
            return list(trace.read(path))  # type: ignore[arg-type]
        return list(sender.trace())


@pytest.fixture(scope="module")
def records() -> list[trace.Record]:
    return transfer()


@pytest.fixture
def file(tmp_path: Path, records: list[trace.Record]) -> Path:
    path = tmp_path / "run.jsonl"
    assert trace.write(records, path) == len(records)
    return path


# ---- files ---------------------------------------------------------------------------------------


def test_a_file_gives_the_records_back(file: Path, records: list[trace.Record]) -> None:
    assert list(trace.read(file)) == records
    lines = [json.loads(text) for text in file.read_text().splitlines()]
    assert lines[0] == {"format": "barewire trace", "version": 1}
    assert lines[1] == {
        "kind": "state", "when": records[0].when, "conn": 1, "old": "CLOSED", "new": "SYN_SENT",
        "local": lines[1]["local"], "remote": "198.18.0.2:80",
    }  # fmt: skip


def test_a_recorder_in_virtual_time_writes_the_same(tmp_path: Path) -> None:
    assert transfer(tmp_path / "a.jsonl") == transfer()


def test_a_cut_last_line_is_passed_over(file: Path, records: list[trace.Record]) -> None:
    """A program that was killed in the middle of a line."""
    file.write_bytes(file.read_bytes()[:-5])
    assert list(trace.read(file)) == records[:-1]


def test_the_recorders_thread_writes_while_the_stack_works(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with barewire.Stack(trace_records=1 << 16) as stack, trace.Recorder(stack, path):
        listener = stack.create_server(("127.0.0.1", 0))
        client = stack.create_connection(listener.getsockname(), timeout=PATIENCE)
        server, _ = listener.accept()
        thread = threading.Thread(target=lambda: (client.sendall(bytes(SIZE)), client.close()))
        thread.start()
        got = 0
        while data := server.recv(65536):
            got += len(data)
        thread.join()
        server.close()
        listener.close()
    found = trace.connections(trace.read(path))
    assert got == SIZE
    sides = sorted((c.out.fresh, c.back.fresh) for c in found.values())
    assert sides == [(0, SIZE), (SIZE, 0)]


def test_a_recorder_of_a_file_that_cannot_be(tmp_path: Path) -> None:
    with barewire.Stack() as stack, pytest.raises(FileNotFoundError):
        trace.Recorder(stack, tmp_path / "none" / "run.jsonl")


# ---- what the records say ------------------------------------------------------------------------


def test_the_summary(records: list[trace.Record]) -> None:
    found = trace.connections(records)
    assert list(found) == [1]
    summary = found[1].summary()
    again = [r for r in records if isinstance(r, trace.Sent) and r.how == "again"]
    assert (summary.sent, summary.received) == (SIZE, 0)
    assert summary.retransmissions == len(again) > 0
    assert summary.remote == "198.18.0.2:80"
    assert summary.rtt_min is not None and 0.02 <= summary.rtt_min < 0.021
    assert 0 < summary.in_recovery < summary.duration


def test_bytes_received_are_counted_once() -> None:
    """Out of order, twice, overlapping."""
    heard = [(1, 100), (201, 100), (201, 100), (151, 100), (101, 60), (301, 10)]
    records: list[trace.Record] = [
        trace.Received(n, 1, "A", seq, 1, length, 1000, (), 1)
        for n, (seq, length) in enumerate(heard)
    ]
    assert trace.connections(records)[1].summary().received == 310


def test_sequence_numbers_do_not_wrap_in_pictures() -> None:
    top = 2**32
    records: list[trace.Record] = [
        trace.Sent(n, 1, "new", "A", (1 + n * 2**30) % top, 1, 1000, 1000, (), 0) for n in range(9)
    ]
    starts = [s.start for s in trace.connections(records)[1].out.segments]
    assert starts == [1 + n * 2**30 for n in range(9)]


# ---- pictures ------------------------------------------------------------------------------------


def gids(path: Path) -> set[str]:
    return {e.attrib["id"] for e in ElementTree.parse(path).iter() if "id" in e.attrib}


def test_an_svg_has_every_series(records: list[trace.Record], tmp_path: Path) -> None:
    path = tmp_path / "run.svg"
    assert trace.plot(records, path) == [path]
    assert gids(path) >= SERIES
    text = path.read_text()
    assert "to 198.18.0.2:80" in text and "fast recovery" in text


def test_the_same_records_make_the_same_svg(records: list[trace.Record], tmp_path: Path) -> None:
    a, b = tmp_path / "a.svg", tmp_path / "b.svg"
    trace.plot(records, a)
    trace.plot(records, b)
    assert a.read_bytes() == b.read_bytes()


def test_a_png(records: list[trace.Record], tmp_path: Path) -> None:
    path = tmp_path / "run.png"
    trace.plot(records, path)
    assert path.read_bytes().startswith(b"\x89PNG\r\n")


def test_the_receiving_side_is_drawn_too(tmp_path: Path) -> None:
    records: list[trace.Record] = [
        trace.State(0, 4, "CLOSED", "SYN_RCVD", "198.18.0.1:80", "198.18.0.2:9"),
        trace.Received(1, 4, "A", 1, 1, 1000, 5000, (), 1),
        trace.Sent(2, 4, "new", "A", 1, 1001, 0, 60000, (), 0),
    ]
    path = tmp_path / "run.svg"
    trace.plot(records, path)
    assert {"received", "ack", "window"} <= gids(path) and "sent" not in gids(path)


def test_a_figure_for_each_connection(records: list[trace.Record], tmp_path: Path) -> None:
    second: list[Any] = list(transfer(size=20_000))
    for record in second:
        record.conn = 2
    both = [*records, *second]
    made = trace.plot(both, tmp_path / "run.svg")
    assert [p.name for p in made] == ["run-1.svg", "run-2.svg"]
    assert [p.name for p in trace.plot(both, tmp_path / "one.svg", only=[2])] == ["one.svg"]
    with pytest.raises(trace.TraceError, match="the trace has no connection 3"):
        trace.plot(both, tmp_path / "none.svg", only=[3])


# ---- the command ---------------------------------------------------------------------------------


def command(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = cli.main(["trace", *map(str, arguments)])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_show(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = command(capsys, "show", file)
    assert (status, err) == (0, "")
    head, row = out.splitlines()
    assert head.split()[:4] == ["local", "remote", "state", "seconds"]
    assert row.split()[2] == "198.18.0.2:80" and str(SIZE) in row


def test_plot(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = file.with_name("x.svg")
    assert command(capsys, "plot", file, "--out", picture) == (0, "", f"picture: {picture}\n")
    assert gids(picture) >= SERIES
    assert command(capsys, "plot", file)[0] == 0
    assert file.with_suffix(".png").exists()


def test_what_is_wrong_is_one_sentence(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = file.parent
    text, empty, broken = folder / "text", folder / "empty.jsonl", folder / "broken.jsonl"
    text.write_text("hello\n")
    trace.write([], empty)
    broken.write_text(file.read_text() + '{"kind":"sent"}\n')
    for arguments, sentence in [
        (["show", folder / "none"], f"cannot read {folder / 'none'}: No such file or directory"),
        (["plot", folder / "none"], f"cannot read {folder / 'none'}: No such file or directory"),
        (["show", folder], f"cannot read {folder}: Is a directory"),
        (["plot", text], f"{text} is not a trace"),
        (["show", empty], f"there is no connection in {empty}"),
        (["plot", empty], f"there is no connection in {empty}"),
        (["show", broken], f"{broken}, line {len(file.read_text().splitlines()) + 1}: not a record"),
        (["plot", file, "--out", folder / "x.gif"],
         f"{folder / 'x.gif'}: a picture's name ends in .png, .svg or .pdf"),
        (["plot", file, "--out", folder / "no" / "x.png"],
         f"cannot write {folder / 'no' / 'x.png'}: No such file or directory"),
        (["plot", file, "--connection", "7"], "the trace has no connection 7"),
        (["--out", folder / "t", "--", folder / "app.py"], f"there is no file '{folder / 'app.py'}'"),
        (["--out", folder / "t"], "which program? Give a script, or -m and a module, or -c and a text"),
        (["--out", folder / "no" / "t", "--", file],
         f"cannot write {folder / 'no' / 't'}: No such file or directory"),
    ]:  # fmt: skip
        assert command(capsys, *arguments) == (2, "", f"barewire trace: {sentence}\n")


def test_without_matplotlib(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    sentence = "barewire trace: pictures need matplotlib: pip install matplotlib\n"
    assert command(capsys, "plot", file) == (2, "", sentence)


PROGRAM = """
import socket, sys, threading
listener = socket.create_server(("127.0.0.1", 0))
def serve():
    conn, _ = listener.accept()
    while data := conn.recv(65536):
        conn.sendall(data)
    conn.close()
thread = threading.Thread(target=serve)
thread.start()
with socket.create_connection(listener.getsockname()) as s:
    s.sendall(bytes(50_000))
    s.shutdown(socket.SHUT_WR)
    got = 0
    while data := s.recv(65536):
        got += len(data)
print(sys.argv[1:], got)
sys.exit(5)
"""


def test_a_program_is_recorded(tmp_path: Path) -> None:
    """Its output and status are its own; the table goes to standard error."""
    program, out, picture = tmp_path / "app.py", tmp_path / "run.jsonl", tmp_path / "run.svg"
    program.write_text(PROGRAM)
    environment = {k: v for k, v in os.environ.items() if k != "BAREWIRE"}
    done = subprocess.run(
        [sys.executable, "-m", "barewire", "trace", "--out", out, "--plot", picture, "--", program,
         "a", "-b"],
        capture_output=True, text=True, timeout=PATIENCE, env=environment,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (5, "['a', '-b'] 50000\n"), done.stderr
    assert f"trace: {out}\n" in done.stderr and "Traceback" not in done.stderr
    found = trace.connections(trace.read(out))
    assert [(c.out.fresh, c.back.fresh) for c in found.values()] == [(50_000, 50_000)] * 2
    assert {p.name for p in tmp_path.glob("run-*.svg")} == {"run-1.svg", "run-2.svg"}
