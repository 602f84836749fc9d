"""Where barewire answers otherwise than Linux, on purpose or for a reason: the differences that a comparison
of the two passes over. docs/fuzz.md shows this table.

Each entry is narrow. Where it can, it brings both answers into a *normal form*, without what may differ, and
accepts the difference only if the two are equal then.
"""

from .handshake import HANDSHAKE
from .packets import PACKETS
from .segments import ARRIVING
from .sending import SENDING
from .sockets import SOCKETS

__all__ = ["ACCEPTED"]

ACCEPTED = (*HANDSHAKE, *ARRIVING, *SENDING, *PACKETS, *SOCKETS)
