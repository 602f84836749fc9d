"""What wheels are built with: the interpreters of a machine, and requirements by group."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.tree
SETUP = Path(__file__).parents[2] / "tools" / "setup"


def said(script: str, *words: str, **env: str) -> list[str]:
    command = [sys.executable, str(SETUP / script), *words]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, **env}
    )
    return done.stdout.split("\n")[:-1]


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def python(version: tuple[int, int], path: str) -> str:
    """A program that answers the question as an interpreter of a version."""
    return f"echo '[{version[0]}, {version[1]}, true, \"{path}\"]'"


def test_interpreters_are_found_once_a_version_on_path_before_pyenv(tmp_path: Path) -> None:
    program(tmp_path / "bin/python3.14", python((3, 14), "/on/path"))
    program(tmp_path / "bin/python3.15", "echo 'pyenv: this version is not chosen'; exit 127")
    program(tmp_path / "bin/python3.14-config", "echo not an interpreter")
    program(tmp_path / "pyenv/versions/3.10.1/bin/python3", python((3, 10), "/too/old"))
    program(tmp_path / "pyenv/versions/3.13.1/bin/python3", python((3, 13), "/of/pyenv"))
    program(tmp_path / "pyenv/versions/3.14.1/bin/python3", python((3, 14), "/the/second"))
    where = {"PATH": str(tmp_path / "bin"), "PYENV_ROOT": str(tmp_path / "pyenv")}
    assert said("pythons.py", **where) == ["/of/pyenv", "/on/path"]


def test_the_interpreter_that_runs_serves() -> None:
    folder = str(Path(sys.base_prefix) / "bin")
    [found] = said("pythons.py", PATH=folder, PYENV_ROOT="/nowhere")
    assert Path(found).samefile(Path(folder) / f"python3.{sys.version_info[1]}")


def test_a_group_of_requirements_has_those_that_it_includes() -> None:
    test, dev = said("requirements.py", "test"), said("requirements.py", "dev")
    assert set(test) < set(dev) and any(line.startswith("pytest") for line in test)
    assert any(line.startswith("cffi") for line in test), "what the build needs, too"
