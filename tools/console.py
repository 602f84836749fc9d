"""The terminal, by rich: an optional dependency of the tools that print tables."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def console(width: int = 0) -> Console:
    """A console at least `width` columns wide (a file has no width of its own).

    Ends the program with one sentence where rich is missing; so ask for it before the work.
    """
    try:
        from rich.console import Console
    except ImportError:
        sys.exit("barewire: tables need rich: pip install rich")
    made = Console(highlight=False, markup=False)
    made.width = max(made.width, width)
    return made
