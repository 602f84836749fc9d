"""What a program under `barewire run` does that does not work yet: it is told so in one sentence, once.

Another process has no stack, forked or spawned. Each of these goes from here when it works.
"""

from __future__ import annotations

import os
import sys

FORK = (
    "this program forks, and a child has none of the stack's sockets: run it in one process, with threads"
    " (a server of several processes: without its workers)"
)
OTHER_PROCESS = (
    "this program gives a socket to another process, and the stack's live in one: run it in one process"
    " (a server of several processes: without its workers; hypercorn: --workers 0)"
)
_told: set[str] = set()
_watching = False


def tell(sentence: str) -> None:
    """On stderr, the first time; nothing where no program is run."""
    if _watching and sentence not in _told:
        _told.add(sentence)
        print(f"barewire run: {sentence}", file=sys.stderr, flush=True)


def watch() -> None:
    """From here on the program is watched."""
    global _watching
    _watching = True
    os.register_at_fork(before=lambda: tell(FORK))
