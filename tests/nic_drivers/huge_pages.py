"""Huge pages that a test reserves and gives back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def huge_pages(n: int) -> Iterator[None]:
    """n huge pages more than there are."""
    path = Path("/proc/sys/vm/nr_hugepages")
    before = path.read_text()
    path.write_text(str(int(before) + n))
    try:
        yield
    finally:
        path.write_text(before)


def free_pages() -> int:
    """Huge pages that are reserved and in no use."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("HugePages_Free"))
