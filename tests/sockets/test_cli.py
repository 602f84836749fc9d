"""The command line: what it runs, prints and answers to mistakes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import barewire
import pytest
from barewire import cli

from tests.sockets.kit import PATIENCE

ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "BAREWIRE"}


def barewire_command(
    *arguments: str, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "barewire", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
        cwd=cwd,
        env=ENVIRONMENT | environment,
    )


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    (tmp_path / "neighbour.py").write_text("NAME = 'neighbour'\n")
    path.write_text(
        textwrap.dedent(
            """
            import sys, socket, neighbour
            print(__name__, __file__.rsplit("/")[-1], socket.__name__, neighbour.NAME, sys.argv[1:])
            print(sys.modules["__main__"].__dict__ is globals())
            if sys.argv[1:] == ["exit"]:
                sys.exit(7)
            if sys.argv[1:] == ["raise"]:
                raise LookupError("the program's own")
            """
        )
    )
    return path


@pytest.mark.parametrize("arguments", [[], ["-m", "x"], ["--device", "y", "--", "-c", "1"]])
def test_run_script(script: Path, arguments: list[str]) -> None:
    device = ["--device", "pipe:a"]
    done = barewire_command("run", *device, str(script), *arguments, cwd=Path("/"))
    expected = f"__main__ program.py barewire.socket neighbour {arguments!r}\nTrue\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")


def test_run_module(script: Path) -> None:
    device = ["--device", "pipe:a"]
    done = barewire_command("run", *device, "-m", "program", "a", "--seed", "-m", cwd=script.parent)
    expected = "__main__ program.py barewire.socket neighbour ['a', '--seed', '-m']\nTrue\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")


def test_run_passes_on_how_the_program_ends(script: Path) -> None:
    assert barewire_command("run", str(script), "exit").returncode == 7
    done = barewire_command("run", str(script), "raise")
    assert done.returncode == 1
    assert done.stderr.endswith("LookupError: the program's own\n")


def test_run_with_a_stack(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(
        "import socket; s = socket.create_server(('198.18.0.2', 80)); print(s); s.close()"
    )
    device = ["--device", "pipe:a", "--address", "198.18.0.2/24", "--gateway", "198.18.0.1"]
    done = barewire_command("run", *device, str(path))
    assert done.returncode == 0 and "laddr=('198.18.0.2', 80)" in done.stdout, done.stderr
    done = barewire_command("run", str(path), BAREWIRE="pipe:a address=198.18.0.2/24")
    assert done.returncode == 0 and "laddr=('198.18.0.2', 80)" in done.stdout, done.stderr
    capture = tmp_path / "capture.pcap"
    done = barewire_command("run", "--pcap", str(capture), *device, str(path))
    assert done.returncode == 0 and capture.stat().st_size >= 24, done.stderr


LINK = ["--device", "pipe:a", "--address", "198.18.0.2/24"]
MISTAKES = [
    (["run"], "barewire run: which program"),
    (["run", "nosuchfile.py"], "barewire run: there is no file 'nosuchfile.py'"),
    (["run", "--device", "oops:x", os.devnull], "barewire run: unknown kind of device 'oops'"),
    (["run", "--device", "pipe", os.devnull], "barewire run: device name 'pipe' has no kind"),
    (
        ["run", *LINK, "--gateway", "foo", os.devnull],
        "barewire run: gateway foo: Expected 4 octets",
    ),
    (["run", *LINK, "--gateway", "192.0.2.1", os.devnull], "barewire run: gateway 192.0.2.1: "),
    (
        ["run", *LINK, "--route", "foo,198.18.0.1", os.devnull],
        "barewire run: route foo,198.18.0.1: ",
    ),
    (
        ["run", *LINK, "--route", "192.0.2.0/24,foo", os.devnull],
        "barewire run: route 192.0.2.0/24,foo: ",
    ),
    (["run", "--address", "198.18.0.2/24", os.devnull], "barewire run: --address, --gateway and"),
    (
        ["run", "--device", "pipe:a", "--address", "x", os.devnull],
        "barewire run: address 'x' has no",
    ),
    (["run", "--device", "pipe:a", "--mtu", "x", os.devnull], "barewire run: 'mtu=x': invalid"),
    (["run", "--spin", "7", os.devnull], "barewire run: spin 7.0: it is from"),
    (["run", "--congestion", "x", os.devnull], "barewire run: congestion 'x': known are"),
    (["run", "--ecn", "x", os.devnull], "barewire run: ecn 'x': known are off, passive, on"),
    (["run", "--pcap", "f", os.devnull], "barewire run: --pcap needs --device"),
    (["devices", "oops:x"], "barewire devices: unknown kind of device 'oops'"),
    (["ping", "barewire.invalid"], "barewire ping: Name or service not known"),
    (["ping", "198.18.0.9"], "barewire ping: no route to 198.18.0.9"),
    (["ping", "127.0.0.1", "-s", "70000"], "barewire ping: -s: from 0 to 65507 bytes"),
    (["ping", "127.0.0.1", "-c", "0"], "barewire ping: -c: at least one"),
]


@pytest.mark.parametrize(
    ("arguments", "said"), MISTAKES, ids=[" ".join(line) for line, _ in MISTAKES]
)
def test_mistakes_get_one_sentence(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith(said) and err.count("\n") == 1


def test_wrong_environment_gets_one_sentence() -> None:
    done = barewire_command("run", os.devnull, BAREWIRE="oops:x")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("barewire run: unknown kind of device 'oops'")


@pytest.mark.parametrize("arguments", [[], ["nosuchcommand"], ["ping"], ["run", "--nosuch"]])
def test_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: barewire" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"barewire {barewire.__version__}\n"


def test_devices(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["devices"]) == 0
    assert "pipe:" in capsys.readouterr().out
    assert cli.main(["devices", "--verbose"]) == 0
    assert "pcap" in capsys.readouterr().out
    assert cli.main(["devices", "--json"]) == 0
    kinds = {d["kind"]: d for d in json.loads(capsys.readouterr().out)}
    assert kinds["pipe"]["available"] is True and "layer" in kinds["pipe"]["options"]


def test_devices_looks_at_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["devices", "pipe:a?mtu=9000", "pipe:b?loss=1%"]) == 0
    out = capsys.readouterr().out
    assert "pipe:a.a  layer 2, MTU 9000, " in out and "capabilities: tx_csum" in out
    assert re.search(r"fault.tx.lost +0\n", out) and re.search(r"rx_dropped +0\n", out)
    assert cli.main(["devices", "--json", "pipe:a?layer=3"]) == 0
    [found] = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["layer"], found["mac"]) == ("pipe", 3, None)
    assert found["counters"]["tx_full"] == 0


def test_ping() -> None:
    done = barewire_command("ping", "-c", "3", "-i", "0.01", "-s", "100", "localhost")
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert lines[0] == "PING localhost (127.0.0.1) from 127.0.0.1: 100 bytes of data"
    assert [line.split(" time=")[0] for line in lines[1:4]] == [
        f"100 bytes from 127.0.0.1: icmp_seq={i} ttl=64" for i in range(3)
    ]
    assert lines[5] == "3 packets transmitted, 3 received, 0% packet loss"
    assert lines[6].startswith("rtt min/avg/max = ")


def test_ping_nobody() -> None:
    stack = ["--device", "pipe:a", "--address", "198.18.0.2/24"]
    done = barewire_command("ping", *stack, "198.18.0.9", "-c", "1", "-W", "0.05")
    assert done.returncode == 1
    assert "1 packets transmitted, 0 received, 100% packet loss" in done.stdout


def wait_for_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline()


def signalled(number: signal.Signals, *arguments: str, after: int = 1) -> tuple[int, str, str]:
    """Sends a signal after so many lines of output; status, the rest of output, errors."""
    process = subprocess.Popen(
        [sys.executable, "-m", "barewire", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
    )  # fmt: skip
    try:
        assert all(wait_for_line(process) for _ in range(after))
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE)
        return process.returncode, out, err
    finally:
        process.kill()
        process.communicate()


WAITING = {
    "accept": "socket.create_server(('127.0.0.1', 0)).accept()",
    "recv": "s.bind(('127.0.0.1', 0)); s.recv(1)",
    "select": "select.select([s], [], [])",
    "sleep": "time.sleep(60)",
}


@pytest.mark.parametrize("call", WAITING)
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 128 + signal.SIGTERM)]
)
def test_signals(call: str, number: signal.Signals, status: int, tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(
        "import select, socket, time\n"
        "s = socket.socket(type=socket.SOCK_DGRAM)\n"
        "s.setblocking(True)\n"
        "print('ready', flush=True)\n"
        f"{WAITING[call]}\n"
    )
    assert signalled(number, "run", "--device", "pipe:a", str(path)) == (status, "", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_the_parent_ignores_stays_ignored(
    number: signal.Signals, tmp_path: Path
) -> None:
    """As with python: in a shell's background job, under nohup."""
    path = tmp_path / "program.py"
    path.write_text(
        f"import signal\nprint(signal.getsignal({number}))\nsignal.raise_signal({number})\n"
    )
    ignoring = ["sh", "-c", f'trap "" {int(number)}; exec "$@"', "sh", sys.executable]
    found = [
        subprocess.run(
            [*ignoring, *words, str(path)], capture_output=True, text=True, env=ENVIRONMENT
        )
        for words in ([], ["-m", "barewire", "run"])
    ]
    assert [(done.returncode, done.stdout) for done in found] == [(0, "1\n")] * 2, found


def test_interrupted_ping() -> None:
    status, out, err = signalled(signal.SIGINT, "ping", "127.0.0.1", "-i", "0.01", after=3)
    assert (status, err) == (0, "")
    assert "packets transmitted" in out
