"""pcap: writes what passes through a device into a capture file that Wireshark opens."""

from __future__ import annotations

import errno
import os
import stat
import sys
import time

from .._netdev import ffi, lib
from ..device import Device
from ..errors import DeviceError, invalid
from ..middleware import wrap
from ..names import DeviceSpec, parse_between, parse_size, parse_text
from ..registry import register_wrapper

_COUNTERS = ("pcap.frames", "pcap.bytes", "pcap.skipped", "pcap.failed")
_MAGIC, _OWN = (int(n).to_bytes(4, sys.byteorder) for n in (0xA1B23C4D, lib.PCAP_OWN))
_SNAPLEN = int(lib.PCAP_SNAPLEN_MAX)


def with_pcap(
    device: Device,
    path: str | os.PathLike[str],
    *,
    wall_offset: int | None = None,
    snaplen: int = _SNAPLEN,
    max_bytes: int = 1 << 30,
) -> Device:
    """Wraps a device (which is taken) in a capture to `path`: a new file, or one that is replaced, which
    is an earlier capture of the same user's or empty. No other file is touched, and no symbolic link
    followed; a FIFO will do, for a reader that waits at it, and so will a character device.

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
    fd = _open(path)
    try:
        return wrap(device, lambda inner, tally: lib.pcap_new(inner, fd, config, tally), _COUNTERS)
    except BaseException:
        os.close(fd)
        raise


def _open(path: str | os.PathLike[str]) -> int:
    """The file for a capture, empty."""
    flags = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_CREAT
    try:
        fd = os.open(path, flags | os.O_WRONLY, 0o600)
        try:
            reason = _objection(path, os.fstat(fd))
            if not reason and stat.S_ISREG(os.fstat(fd).st_mode):
                os.ftruncate(fd, 0)
        except BaseException:
            os.close(fd)
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno == errno.ELOOP:
            reason = "it is a symbolic link, and a capture follows none"
        raise _refusal(path, error.errno or 0, reason) from None
    if reason:
        os.close(fd)
        raise _refusal(path, errno.EEXIST, reason)
    return fd


def _objection(path: str | os.PathLike[str], found: os.stat_result) -> str:
    """Why the file that is open must not be overwritten, or ""."""
    if stat.S_ISFIFO(found.st_mode) or stat.S_ISCHR(found.st_mode):
        return ""
    if not stat.S_ISREG(found.st_mode):
        return "it is no file"
    if found.st_uid != os.geteuid() or found.st_nlink != 1:
        return "it is somebody else's file, or has another name too"
    if found.st_size == 0:
        return ""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        head = os.read(fd, 16) if os.path.samestat(os.fstat(fd), found) else b""
    finally:
        os.close(fd)
    if head[:4] == _MAGIC and head[12:] == _OWN:
        return ""
    return "there is such a file already, and it is no capture of barewire's: give another name"


def _refusal(path: str | os.PathLike[str], number: int, reason: str) -> DeviceError:
    return DeviceError(number, f"cannot write the capture {os.fspath(path)}: {reason}")


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
