"""Other users than the one who runs the tests."""

from __future__ import annotations

import os

NOBODY = 65534


def is_a_user(uid: int) -> bool:
    """Whether a process of ours may become this user: not without root, and not where a user namespace
    has no such one."""
    with open("/proc/self/uid_map", encoding="ascii") as table:
        rows = [list(map(int, line.split())) for line in table]
    return os.geteuid() == 0 and any(first <= uid < first + n for first, _, n in rows)
