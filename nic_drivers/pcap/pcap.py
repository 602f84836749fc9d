"""pcap: writes what passes through a device into a capture file that Wireshark opens."""

from __future__ import annotations

import os
import time

from .._netdev import ffi, lib
from ..device import Device
from ..errors import DeviceError, invalid
from ..middleware import wrap
from ..names import DeviceSpec, parse_between, parse_size, parse_text
from ..registry import register_wrapper

_COUNTERS = ("pcap.frames", "pcap.bytes", "pcap.skipped", "pcap.failed")
_SNAPLEN = int(lib.PCAP_SNAPLEN_MAX)


def with_pcap(
    device: Device,
    path: str | os.PathLike[str],
    *,
    wall_offset: int | None = None,
    snaplen: int = _SNAPLEN,
    max_bytes: int = 1 << 30,
) -> Device:
    """Wraps a device (which is taken) in a capture to `path`, a file that is replaced.

    Timestamps are the stack's clock plus `wall_offset` (ns); by default what turns the monotonic
    clock into the time of day. Of each frame at most `snaplen` bytes are kept; a file of
    `max_bytes` is full, later frames are counted (`pcap.skipped`). Raises DeviceError.
    """
    if not 1 <= snaplen <= _SNAPLEN:
        raise invalid(f"snaplen {snaplen} of a capture: it is from 1 to {_SNAPLEN} bytes")
    if max_bytes < 24:
        raise invalid(f"max_bytes {max_bytes} of a capture: its header alone has 24 bytes")
    config = ffi.new("struct pcap_config *")
    config.wall_offset = (
        time.time_ns() - time.monotonic_ns() if wall_offset is None else wall_offset
    )
    config.snaplen, config.max_bytes = snaplen, max_bytes
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    except OSError as error:
        text = f"cannot write the capture {os.fspath(path)}: {error.strerror}"
        raise DeviceError(error.errno or 0, text) from None
    try:
        return wrap(device, lambda inner, tally: lib.pcap_new(inner, fd, config, tally), _COUNTERS)
    except BaseException:
        os.close(fd)
        raise


def _wrap(spec: DeviceSpec, device: Device) -> Device:
    path = spec.get("pcap", parse_text, "")
    snaplen = spec.get("snaplen", parse_between(1, _SNAPLEN), _SNAPLEN)
    max_bytes = spec.get("pcap_max", parse_size, 1 << 30)
    return with_pcap(device, path, snaplen=snaplen, max_bytes=max_bytes) if path else device


register_wrapper(
    _wrap,
    {
        "pcap": "path of a capture file",
        "snaplen": "most bytes captured of a frame",
        "pcap_max": "most bytes of the capture file (1g)",
    },
    place=20,
)
