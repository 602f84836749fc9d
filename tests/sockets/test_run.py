"""`barewire run` beside `python`: each form of a program sees the same, and ends the same."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

from tests.sockets.kit import PATIENCE

WHERE = {k: v for k, v in os.environ.items() if k != "BAREWIRE"}
DEVICE = ["--device", "pipe:run"]
SHOW = """
import os, sys
print(sys.argv, globals().get("__file__"), sys.path[0], __name__, globals().get("__package__"))
print(sys.modules["__main__"].__dict__ is globals(), __spec__ and __spec__.name)
if sys.argv[-1] == "exit":
    sys.exit(7)
if sys.argv[-1] == "text":
    sys.exit("a text")
if sys.argv[-1] == "raise":
    raise LookupError("the program's own")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("programs")
    (made / "program.py").write_text(SHOW)
    (made / "link.py").symlink_to(made / "inner" / "linked.py")
    for name in ("inner", "folder", "package", "empty"):
        (made / name).mkdir()
    (made / "inner" / "linked.py").write_text(SHOW)
    for name in ("folder", "package"):
        (made / name / "__main__.py").write_text(SHOW)
    (made / "package" / "__init__.py").touch()
    with zipfile.ZipFile(made / "archive.zip", "w") as archive:
        archive.writestr("__main__.py", SHOW)
    (made / "broken.py").write_text("def :\n")
    return made


def python(folder: Path, words: list[str], text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=WHERE, input=text, capture_output=True,
        text=True, timeout=PATIENCE * 2,
    )  # fmt: skip


FORMS = {
    "script": ["program.py", "a", "-b", "--", "c"],
    "script by its path": ["./inner/linked.py"],
    "link": ["link.py"],
    "folder": ["folder", "a"],
    "archive": ["archive.zip", "a"],
    "module": ["-m", "program", "a", "-m"],
    "package": ["-m", "package", "a"],
    "text": ["-c", SHOW, "a", "-c"],
    "standard input": ["-", "a"],
    "exit": ["program.py", "exit"],
    "exit of a module": ["-m", "program", "exit"],
    "exit of a text": ["-c", SHOW, "exit"],
    "exit with a text": ["program.py", "text"],
    "exception": ["program.py", "raise"],
    "exception in a text": ["-c", SHOW, "raise"],
    "exception of standard input": ["-", "raise"],
    "exception in a folder": ["folder", "raise"],
    "exception in another": [
        "-c",
        "try:\n  1/0\nexcept ZeroDivisionError as e:\n  raise LookupError from e",
    ],
    "exception in a module": ["-m", "program", "raise"],
    "no module": ["-m", "nomodule"],
    "no main": ["-m", "empty"],
    "no program in a folder": ["empty"],
    "no syntax": ["broken.py"],
}


@pytest.mark.parametrize("form", FORMS)
def test_as_python(folder: Path, form: str) -> None:
    theirs = python(folder, FORMS[form], SHOW)
    ours = python(folder, ["-m", "barewire", "run", *DEVICE, *FORMS[form]], SHOW)
    assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout), ours.stderr
    assert ours.stderr == theirs.stderr, "to the frames of a traceback"


def test_a_hook_of_the_programs_own_has_its_traceback(folder: Path) -> None:
    hook = """
import sys, traceback
def told(kind, problem, trace):
    print([frame.name for frame in traceback.extract_tb(trace)], kind, problem)
    print(problem.__traceback__ is trace)
sys.excepthook = told
def main():
    raise ExceptionGroup("several", [ValueError(1)])
main()
"""
    theirs = python(folder, ["-c", hook], "")
    ours = python(folder, ["-m", "barewire", "run", *DEVICE, "-c", hook], "")
    assert "['<module>', 'main']" in ours.stdout
    assert (ours.returncode, ours.stdout, ours.stderr) == (
        theirs.returncode,
        theirs.stdout,
        theirs.stderr,
    )


def test_a_separator(folder: Path) -> None:
    ours = python(folder, ["-m", "barewire", "run", *DEVICE, "--", "program.py", "a"], "")
    assert ours.stdout == python(folder, ["program.py", "a"], "").stdout


def test_a_callback_in_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "tunnel.py").write_text("def make(device):\n    return print\n")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "program.py").write_text(
        "import sys; print('ran', 'tunnel' in sys.modules)\n"
    )
    barewire = os.path.join(os.path.dirname(sys.executable), "barewire")
    done = subprocess.run(
        [barewire, "run", "--device", "callback:tunnel:make", "inner/program.py"],
        cwd=tmp_path, env=WHERE, capture_output=True, text=True, timeout=PATIENCE * 2,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "ran True\n", "")


def test_without_a_device_it_says_what_there_is(folder: Path) -> None:
    done = python(folder, ["-m", "barewire", "run", "program.py"], "")
    assert done.returncode == 0 and done.stderr.count("\n") == 1
    assert (
        "loopback only" in done.stderr and "pipe" in done.stderr and "--device 'tap" in done.stderr
    )
    assert "BAREWIRE" not in done.stderr


def test_it_says_that_the_variable_is_ignored(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-m", "barewire", "run", "program.py"], cwd=folder, text=True,
        env=WHERE | {"BAREWIRE": "pipe:ignored"}, capture_output=True, timeout=PATIENCE * 2,
    )  # fmt: skip
    assert "no device (BAREWIRE is ignored here), so the stack has its loopback" in done.stderr


# ---- what does not work yet ----------------------------------------------------------------------

TOLD = {
    "forks": """
        import os
        for _ in range(2):
            child = os.fork()
            if not child:
                os._exit(0)
            os.waitpid(child, 0)
    """,
    "another process": """
        import pickle, socket
        with socket.create_server(("127.0.0.1", 0)) as server:
            for _ in range(2):
                try:
                    pickle.dumps(server)
                except TypeError:
                    pass
    """,
}


@pytest.mark.parametrize("what", TOLD)
def test_what_does_not_work_yet_is_told_once(folder: Path, what: str) -> None:
    text = textwrap.dedent(TOLD[what])
    done = python(folder, ["-W", "ignore", "-m", "barewire", "run", *DEVICE, "-c", text], "")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("barewire run: ") and what in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_program_that_does_none_of_it_is_told_nothing(folder: Path) -> None:
    text = "import asyncio, subprocess; asyncio.run(asyncio.sleep(0)); subprocess.run(['true'])"
    done = python(folder, ["-m", "barewire", "run", *DEVICE, "-c", text], "")
    assert (done.returncode, done.stderr) == (0, "")
