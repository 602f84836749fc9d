"""The kernel's own modules: drivers are loaded late, and `select` and `socket` may be others by then."""

from __future__ import annotations

import select
import socket

__all__ = ["select", "socket"]
