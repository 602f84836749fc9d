"""The Internet checksum in C, by each of its ways, against the one in Python."""

from __future__ import annotations

import ctypes
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest
from barewire.stack.checksum import checksum

from tests.kit.races import FLAGS, ROOT

AS_USED, PORTABLE, WIDE = 0, 1, 2
LENGTHS = [*range(200), 255, 256, 257, 511, 576, 1447, 1448, 1500, 4096, 9000, 65_535]
GUARD = 64


@pytest.fixture(scope="module", params=["-O1", "-O3"])
def c(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("checksum") / "checksum.so"
    source = "tests/nic_drivers/checksum.c"
    command = ["cc", *FLAGS, request.param, "-shared", "-fPIC", source, "-o", str(out)]
    subprocess.run(command, cwd=ROOT, check=True)
    library = ctypes.CDLL(str(out))
    library.sum.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32]
    library.sum.restype = ctypes.c_uint16
    return library


def ways(c: Any) -> list[int]:
    return [AS_USED, PORTABLE, WIDE] if c.has_wide() else [AS_USED, PORTABLE]


def test_every_way_on_this_machine_is_tried(c: Any) -> None:
    """The processor's own list says whether the wide way is among them."""
    has = "avx2" in Path("/proc/cpuinfo").read_text(encoding="ascii").split()
    assert (WIDE in ways(c)) == has


@pytest.mark.parametrize("content", ["random", "ones"])
def test_all_lengths_at_all_alignments(c: Any, content: str) -> None:
    dice = random.Random(1)
    for n in LENGTHS:
        data = dice.randbytes(n) if content == "random" else b"\xff" * n
        wanted = checksum(data).to_bytes(2, "big")
        for shift in range(32) if n < 300 else (0, 1, 2, 17, 31):
            source = ctypes.create_string_buffer(bytes(shift) + data, shift + n)
            at = ctypes.addressof(source) + shift
            for way in ways(c):
                assert c.sum(way, None, at, n).to_bytes(2, "little") == wanted, (way, n, shift)


def test_a_copy_is_summed_and_whole_and_no_longer(c: Any) -> None:
    dice = random.Random(2)
    for n in LENGTHS:
        data = dice.randbytes(n)
        source = ctypes.create_string_buffer(data, n) if n else ctypes.create_string_buffer(1)
        for shift in (0, 1, 7, 16, 31):
            for way in ways(c):
                to = ctypes.create_string_buffer(b"\xa5" * (shift + n + GUARD), shift + n + GUARD)
                got = c.sum(way, ctypes.addressof(to) + shift, ctypes.addressof(source), n)
                assert got.to_bytes(2, "little") == checksum(data).to_bytes(2, "big"), (
                    way,
                    n,
                    shift,
                )
                assert to.raw == b"\xa5" * shift + data + b"\xa5" * GUARD
