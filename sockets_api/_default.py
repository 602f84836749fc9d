"""The default stack, and the one line of text that configures it.

`BAREWIRE="tap:tap0 address=198.18.0.2/24 gateway=198.18.0.1"`: a device, then the options of
Stack() as words (docs/options.md), pairs and triples with commas; `address=` and `route=PREFIX,GATEWAY`
may repeat. Without it the default stack has its loopback only. It is made at the first use of
barewire.socket. See variable() for when it is ignored.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

from . import _config
from ._stack import Stack

VARIABLE = "BAREWIRE"
_AT_SECURE = 23  # getauxval(3)


def parse(text: str) -> dict[str, Any]:
    """Stack()'s arguments from one line of words; ValueError says which word is wrong."""
    arguments: dict[str, Any] = {}
    known: dict[str, Any] = _config.words()
    for word in text.split():
        value: Any
        key, equals, value = word.partition("=")
        if not equals or ":" in key:
            if "device" in arguments:
                raise ValueError(f"{word!r}: a second device, or a word that is no option=value")
            arguments["device"] = word
            continue
        try:
            if key not in known:
                there = ", ".join(sorted(known))
                raise ValueError(f"there is no option {key!r}; there are {there}")
            name, option = known[key]
            value = option.parse(value)
            if option.repeats:
                arguments.setdefault(name, []).append(value)
            else:
                arguments[name] = value
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
