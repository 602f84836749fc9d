"""Set-up of system packages: who is asked for what, on a machine whose programs are these stand-ins."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "setup" / "system.sh"
pytestmark = pytest.mark.tree


class Machine:
    """A PATH with a few programs. `log`: what was done as root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.log.touch()
        for name in ("sh", "env", "true"):
            (folder / name).symlink_to(shutil.which(name) or "")
        self.program("id", "echo 1000")
        self.program("pkg-config", "exit 0")
        self.program("clang", "exit 0")
        self.program("apt-get", f'echo "$(id -u) apt-get $*" >>{self.log}')

    def program(self, name: str, script: str) -> None:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def sudo(self, asks: bool) -> None:
        """sudo -n fails where it would have to ask."""
        refuse = '[ "$1" = -n ] && exit 1' if asks else '[ "$1" = -n ] && shift'
        self.program("sudo", f'{refuse}\necho "sudo $*" >>{self.log}; exec "$@"')

    def set_up(self, *groups: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", str(SCRIPT), sys.executable, *groups],
            env={
                "PATH": str(self.folder),
                "LANG": os.environ.get("LANG", "C"),
                "POLICY_RC_D": "/dev/null",  # there is one: the machine's own is left alone
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize(
    "prepare", [lambda m: None, lambda m: m.sudo(asks=True)], ids=["no sudo", "sudo"]
)
def test_where_all_is_there_nobody_is_asked(
    machine: Machine, prepare: Callable[[Machine], None]
) -> None:
    prepare(machine)
    machine.program("ping", "exit 0")
    done = machine.set_up("demo", "drivers")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert machine.log.read_text() == ""


@pytest.mark.parametrize(
    "prepare", [lambda m: None, lambda m: m.sudo(asks=True)], ids=["no sudo", "sudo"]
)
def test_an_ordinary_user_is_told_what_root_must_install(
    machine: Machine, prepare: Callable[[Machine], None]
) -> None:
    """With nobody at a terminal who could answer sudo."""
    prepare(machine)
    done = machine.set_up("demo")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "barewire: system packages are missing: as root, apt-get install iputils-ping\n"
    )
    assert machine.log.read_text() == ""


def test_drivers_are_left_out_with_one_sentence(machine: Machine) -> None:
    machine.program("ping", "exit 0")
    machine.program("pkg-config", '[ "$2" != libdpdk ]')
    machine.sudo(asks=True)
    done = machine.set_up("demo", "drivers")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "barewire: some drivers are left out for want of system packages; "
        "to have them: as root, apt-get install libdpdk-dev\n"
    )
    assert machine.log.read_text() == ""


def test_sudo_that_does_not_ask_installs(machine: Machine) -> None:
    machine.sudo(asks=False)
    done = machine.set_up("demo")
    assert done.returncode == 0, done.stderr
    assert "installing iputils-ping" in done.stdout
    said = machine.log.read_text()
    assert "sudo apt-get update" in said
    assert "apt-get install -y -qq --no-install-recommends iputils-ping" in said


def test_root_installs_without_sudo(machine: Machine) -> None:
    machine.program("id", "echo 0")
    done = machine.set_up("demo")
    assert done.returncode == 0, done.stderr
    assert "sudo" not in machine.log.read_text()
    assert "apt-get install" in machine.log.read_text()


def test_the_fuzzer_is_that_of_the_clang_that_is_there(machine: Machine) -> None:
    """Its run-time library is a package by itself, one for each clang."""
    (machine.folder / "sed").symlink_to(shutil.which("sed") or "")
    machine.program("clang", '[ "$1" = -dumpversion ] && echo 19.1.7')
    machine.sudo(asks=False)
    assert machine.set_up("fuzz").returncode == 0
    assert "install -y -qq --no-install-recommends libclang-rt-19-dev\n" in machine.log.read_text()


def test_without_a_clang_both_come_from_the_same_release(machine: Machine) -> None:
    (machine.folder / "sed").symlink_to(shutil.which("sed") or "")
    (machine.folder / "clang").unlink()
    machine.program("apt-cache", "echo Package: clang; echo Version: 1:14.0-55.7~deb12u1")
    machine.sudo(asks=False)
    assert machine.set_up("fuzz").returncode == 0
    assert "--no-install-recommends clang libclang-rt-14-dev\n" in machine.log.read_text()


def test_fuzz_coverage_needs_llvm(machine: Machine) -> None:
    machine.sudo(asks=False)
    assert machine.set_up("fuzz-coverage").returncode == 0
    assert "--no-install-recommends llvm\n" in machine.log.read_text()
    machine.program("llvm-cov", "exit 0")
    machine.program("llvm-profdata", "exit 0")
    machine.log.write_text("")
    assert machine.set_up("fuzz-coverage").returncode == 0
    assert machine.log.read_text() == ""
