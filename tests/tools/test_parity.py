"""tools/parity: CPython's own tests on the stack, and the file of exceptions held against what is seen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from barewire.tools.parity.record import Record
from barewire.tools.parity.suite import Outcome, modules

DOCUMENT = Path(__file__).parents[2] / "docs" / "parity.md"
SHORT = (  # a representative few
    "test_asyncio.test_buffered_proto",
    "test_asyncio.test_runners",
    "test_asyncio.test_server",
    "test_asyncio.test_sock_lowlevel",
    "test_asyncio.test_streams",
)
NAMED = "test_asyncio.test_x.A.test_named"


def parity(*chosen: str) -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "barewire.tools.parity", DOCUMENT, "-v", *chosen],
        env={k: v for k, v in os.environ.items() if k != "BAREWIRE"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_cpythons_own_tests_of_asyncio_pass() -> None:
    counts = [line.split() for line in parity(*SHORT).splitlines()]
    total = [int(word) for word in counts[-2]]
    assert total[0] == total[1] >= 120 and total[3] == total[4] >= 45


@pytest.mark.slow(limit=900)
def test_all_of_them() -> None:
    parity()


def test_a_module_that_is_not_there() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "barewire.tools.parity",
            DOCUMENT,
            "test_asyncio.test_nothing",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and done.stderr.startswith("parity: there is no module")


@pytest.mark.parametrize(
    ("how", "reasons", "said"),
    [
        ("passed", {}, None),
        ("failed", {}, f"{NAMED}: passes on the kernel, and here: failed"),
        ("skipped", {}, f"{NAMED}: passes on the kernel, and here: skipped"),
        (None, {}, f"{NAMED}: passes on the kernel, and here: did not run"),
        ("failed", {"test_asyncio.test_x.*.test_named": "why"}, None),
        ("failed", {"test_asyncio.test_y.A.test_other": "of another module"},
         f"{NAMED}: passes on the kernel, and here: failed"),
        ("passed", {NAMED: "why"}, f"{NAMED}: is an exception ({NAMED}), and passes"),
        ("passed", {"test_asyncio.test_x.Gone.*": "why"},
         "test_asyncio.test_x.Gone.*: names no test"),
    ],
)  # fmt: skip
def test_the_file_of_exceptions(how: str | None, reasons: dict[str, str], said: str | None) -> None:
    ours = {} if how is None else {NAMED: Outcome(how)}
    mistakes = Record(reasons).check("test_asyncio.test_x", {NAMED: Outcome("passed")}, ours)
    assert mistakes == ([] if said is None else [said])


def test_the_documents_exceptions_are_of_modules_that_there_are() -> None:
    reasons = Record.read(DOCUMENT).reasons
    assert reasons and all(reasons.values())
    assert all(".".join(name.split(".")[:2]) in modules() for name in reasons)


HANGS = """
import os, socket, threading, time, unittest
class A(unittest.TestCase):
    def test_a_hangs(self): time.sleep(99)
    def test_b_dies(self): os._exit(3)
    def test_c_passes(self): pass
    def test_d_opens_a_kernel_socket(self):
        __import__("_socket").socket(socket.AF_INET).close()
    def test_e_fails(self): self.fail("why")
    @unittest.skip("why")
    def test_f_is_skipped(self): pass
    def test_g_uses_the_stack(self): socket.create_server(("127.0.0.1", 0)).close()
"""


def test_what_hangs_or_dies_takes_nothing_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from barewire.tools.parity import suite

    package = tmp_path / "test"
    (package / "support").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "support" / "__init__.py").touch()
    (package / "test_x.py").write_text(HANGS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(suite, "PATIENCE", 6.0)
    seen = suite.run("test_x", on_stack=True)
    assert {name.split(".")[2][5]: (one.how, one.inet) for name, one in seen.items()} == {
        "a": ("hung", False),
        "b": ("died", False),
        "c": ("passed", False),
        "d": ("opened a kernel socket of AF_INET", True),
        "e": ("failed", False),
        "f": ("skipped", False),
        "g": ("passed", False),
    }
