"""The kernel's own modules, kept privately.

barewire may stand in for `socket`, `select` and `selectors` in sys.modules; what it needs of the
originals it takes from here, and this module is imported before any swap.
"""

from __future__ import annotations

import selectors

from barewire.nic_drivers.kernel import select, socket

__all__ = ["select", "selectors", "socket"]
