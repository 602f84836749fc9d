"""Where a test session runs: in namespaces of its own, and with the signals of a foreground program."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket

from barewire.tools import netns

CLONE_NEWNS = 0x20000
MS_REC, MS_PRIVATE = 0x4000, 1 << 18

_libc = ctypes.CDLL(None, use_errno=True)


def enter_own_namespaces() -> bool:
    """This process goes into new network and mount namespaces, where it may make them: neither the
    machine nor another session sees its links and mounts, nor it theirs. Whether it did."""
    if not netns.has_privilege():
        return False
    _check(_libc.unshare(netns.CLONE_NEWNET | CLONE_NEWNS))
    with contextlib.suppress(OSError):  # EINVAL: the root of a chroot that is no mount point
        _check(_libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None))
    netns.link_up("lo")
    return True


def find_tools() -> None:
    """Debian keeps tc and bridge where an ordinary user's PATH does not lead."""
    os.environ["PATH"] += ":/usr/sbin:/sbin"


def restore_interrupt() -> None:
    """A shell's background job (`make test &`) is started with SIGINT ignored, and so would be the
    tests' programs: here and in them it interrupts, as in the foreground."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def links() -> set[str]:
    """The interfaces of the session's namespace. Without privilege it has the machine's, in which
    it makes none and others' come and go."""
    return {name for _, name in socket.if_nameindex()} if netns.has_privilege() else set()


def named_namespaces() -> set[str]:
    """Network namespaces that have a name: they are mounted somewhere (ip-netns(8))."""
    with open("/proc/thread-self/mountinfo", encoding="utf-8") as mounts:
        fields = [line.split() for line in mounts]
    return {line[4] for line in fields if line[3].startswith("net:[")}


def _check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
