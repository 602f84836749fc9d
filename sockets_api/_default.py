"""The default stack, and the one line of text that configures it.

`BAREWIRE="tap:tap0 address=198.18.0.2/24 gateway=198.18.0.1"`: a device, then numbers and names that
Stack() takes by keyword, pairs and triples with commas; `address=` and `route=PREFIX,GATEWAY` may
repeat. Without it the default stack has its loopback only. It is made at the first use of
barewire.socket. See variable() for when it is ignored.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from ._stack import Stack

VARIABLE = "BAREWIRE"
_AT_SECURE = 23  # getauxval(3)


def _route(text: str) -> tuple[str, str]:
    prefix, comma, gateway = text.partition(",")
    if not comma:
        raise ValueError("write it as PREFIX,GATEWAY")
    return prefix, gateway


def _bounds(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


_ONE: dict[str, Callable[[str], Any]] = {
    "gateway": str,
    "mtu": int,
    "seed": str,
    "spin": float,
    "exit_linger": float,
    "congestion": str,
    "ecn": str,
    "name": str,
    "buffer_bytes": int,
    "receive_buffer": _bounds,
    "send_buffer": _bounds,
    "max_sockets": int,
    "max_orphans": int,
    "ports": _bounds,
    "mtu_probing": int,
    "syn_cookies": int,
    "fast_open": int,
}
_MANY: dict[str, tuple[str, Callable[[str], Any]]] = {
    "address": ("addresses", str),
    "route": ("routes", _route),
}


def parse(text: str) -> dict[str, Any]:
    """Stack()'s arguments from one line of words; ValueError says which word is wrong."""
    arguments: dict[str, Any] = {}
    for word in text.split():
        key, equals, value = word.partition("=")
        if not equals or ":" in key:
            if "device" in arguments:
                raise ValueError(f"{word!r}: a second device, or a word that is no option=value")
            arguments["device"] = word
            continue
        try:
            if key in _MANY:
                name, convert = _MANY[key]
                arguments.setdefault(name, []).append(convert(value))
            elif key in _ONE:
                arguments[key] = _ONE[key](value)
            else:
                known = ", ".join(sorted([*_ONE, *_MANY]))
                raise ValueError(f"there is no option {key!r}; there are {known}")
        except ValueError as problem:
            raise ValueError(f"{word!r}: {problem}") from None
    return arguments


_default: Stack | None = None
_lock = threading.Lock()


def default_stack() -> Stack:
    """The stack of sockets that name none; made now, if this is its first use.

    Errors: ValueError (BAREWIRE is wrong), OSError (the device cannot be opened).
    """
    global _default
    if _default is None:
        with _lock:
            if _default is None:
                _default = from_environment()
    return _default


def set_default_stack(stack: Stack | None) -> None:
    """Sockets that name no stack live in this one from now on; None: make one when needed."""
    global _default
    with _lock:
        _default = stack


def variable() -> str:
    """What BAREWIRE says; nothing under `python -E` and `-I`, and in a process that has more privileges
    than the one that started it (setuid, file capabilities): whoever set the variable may not open
    devices with them."""
    if sys.flags.ignore_environment or _is_privileged_beyond_its_caller():
        return ""
    return os.environ.get(VARIABLE, "")


def _is_privileged_beyond_its_caller() -> bool:
    """As the dynamic loader decides it (AT_SECURE), and as it may have become since."""
    if os.getuid() != os.geteuid() or os.getgid() != os.getegid():
        return True
    import ctypes

    getauxval = ctypes.CDLL(None).getauxval
    getauxval.argtypes, getauxval.restype = [ctypes.c_ulong], ctypes.c_ulong
    return bool(getauxval(_AT_SECURE))


def from_environment() -> Stack:
    """A new stack as the variable BAREWIRE says."""
    text = variable()
    try:
        return Stack(**parse(text))
    except ValueError as problem:
        raise ValueError(f"{VARIABLE}={text!r}: {problem}") from None


os.register_at_fork(after_in_child=lambda: globals().update(_lock=threading.Lock()))
