"""pipe: two devices joined in memory, for two stacks, or a stack and a test."""

from __future__ import annotations

import itertools
import os
import threading
from typing import Any

from .._netdev import ffi, lib
from ..device import Device, stable_mac
from ..errors import DeviceError, invalid
from ..names import DeviceSpec, parse_between, parse_choice, parse_flag
from ..registry import register

_numbers = itertools.count()
_lock = threading.Lock()
# Second ends of `pipe:NAME` that nobody has asked for yet, with what the first was opened with.
_waiting: dict[str, tuple[Any, tuple[object, ...]]] = {}


class PipeEnd(Device):
    """One end of a pipe. `send(frame)` and `recv()` drive it by hand."""

    @property
    def waiting(self) -> int:
        """Frames this end has yet to receive."""
        with self.using() as netdev:
            return int(lib.pipe_waiting(netdev))

    @property
    def peer_closed(self) -> bool:
        with self.using() as netdev:
            return bool(lib.pipe_peer_closed(netdev))


def pipe_pair(
    layer: int = 2,
    mtu: int = 1500,
    ring: int = 512,
    *,
    offload: bool = True,
    name: str | None = None,
    macs: tuple[bytes, bytes] | None = None,
) -> tuple[PipeEnd, PipeEnd]:
    """Two joined ends. `ring` is the number of frames each way (rounded up to a power of two);
    `offload=False` takes NETDEV_TX_CSUM away, so that the stack computes checksums itself.

    Each end has its own stable MAC address. Raises DeviceError.
    """
    if layer not in (2, 3):
        raise invalid(f"layer {layer} of a pipe: it is 2 or 3")
    if not 68 <= mtu <= 65535:
        raise invalid(f"mtu {mtu} of a pipe: it is from 68 to 65535")
    if not 1 <= ring <= 65536:
        raise invalid(f"ring {ring} of a pipe: it is from 1 to 65536 frames")
    stem = f"pipe{next(_numbers)}" if name is None else name
    names = [ffi.new("char[]", f"{stem[:29]}.{side}".encode()[:31]) for side in "ab"]
    config = ffi.new("struct pipe_config *")
    config.layer, config.mtu, config.ring, config.offload = layer, mtu, ring, offload
    for i in range(2):
        config.name[i] = names[i]
        # The stem is no part of the address: a rerun with other numbers behaves the same.
        config.mac[i] = macs[i] if macs else stable_mac(f"pipe:{name or ''}.{'ab'[i]}")
    ends = ffi.new("struct netdev *[2]")
    error = lib.pipe_pair(config, ends)
    if error:
        raise DeviceError(-error, f"cannot make a pipe: {os.strerror(-error)}")
    return PipeEnd("pipe", ends[0]), PipeEnd("pipe", ends[1])


def _open(spec: DeviceSpec) -> Device:
    """`pipe:NAME`: the first to ask gets one end, the second of the same process the other."""
    layer = int(spec.get("layer", parse_choice("2", "3"), "2"))
    mtu = spec.get("mtu", parse_between(68, 65535), 1500)
    ring = spec.get("ring", parse_between(1, 65536), 512)
    offload = spec.get("offload", parse_flag, True)
    shape = (layer, mtu, ring, offload)
    with _lock:
        other, its_shape = _waiting.get(spec.name, (None, shape))
        if other is not None and lib.pipe_peer_closed(other):
            other.close(other)
            other = None
        if other is None:
            mine, second = pipe_pair(layer, mtu, ring, offload=offload, name=spec.name)
            _waiting[spec.name] = second.take(), shape
            return mine
        if its_shape != shape:
            raise invalid(
                f"the other end of pipe:{spec.name} was opened with other options: use the same"
            )
        del _waiting[spec.name]
        return PipeEnd("pipe", other)


register(
    "pipe",
    _open,
    lambda: "",
    description="two devices joined in memory; both users of pipe:NAME in a process are connected",
    options={
        "layer": "2 (Ethernet, default) or 3 (bare IP packets)",
        "mtu": "largest IP packet in bytes (1500)",
        "ring": "frames each way (512)",
        "offload": "1: the pipe finishes checksums (default); 0: the stack does",
    },
)
