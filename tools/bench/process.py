"""A process of the benchmark: pinned to a core, it runs the programs it is told to, one by one.

`python -m barewire.tools.bench.process CORE [DEVICE ADDRESS [GATEWAY]]`: without a device the
programs use the kernel's sockets. Orders come as lines of JSON on stdin; a program that waits for its peer
answers `{"ready": true}` first; every order is answered with a result or `{"error": …}`.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any

from . import programs, transfer

PR_SET_PDEATHSIG = 1
PATIENCE = 5.0  # seconds an order may take beyond its measuring time, if it does not say
PROGRAMS = {**programs.PROGRAMS, **transfer.PROGRAMS}


def _say(**values: Any) -> None:
    print(json.dumps(values), flush=True)


def _too_long(number: int, frame: object) -> None:
    raise TimeoutError("no answer from the peer")


def _serve(net: Any) -> None:
    signal.signal(signal.SIGALRM, _too_long)
    for line in sys.stdin:
        order = json.loads(line)
        program = PROGRAMS[order["program"]]
        extra = (
            [lambda: _say(ready=True)]
            if order["program"] in programs.WAITING | transfer.WAITING
            else []
        )
        gc.collect()
        gc.disable()
        signal.setitimer(signal.ITIMER_REAL, order["seconds"] + order.get("patience", PATIENCE))
        try:
            result = program(net, order, *extra)
        except Exception as exc:  # whatever it is, the benchmark's end shows it
            result = {"error": f"{order['program']}: {type(exc).__name__}: {exc}"}
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            gc.enable()
        _say(**result)


@contextlib.contextmanager
def sockets(arguments: list[str]) -> Iterator[Any]:
    if not arguments:
        yield socket
        return
    import barewire

    device, address, *gateway = arguments
    via = gateway[0] if gateway else None
    with barewire.Stack(device, addresses=[address], gateway=via) as stack:
        yield stack


def main(argv: list[str]) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    os.sched_setaffinity(0, {int(argv[0])})
    try:
        with sockets(argv[1:]) as net:
            _say(ready=True)
            _serve(net)
    except (OSError, ValueError, RuntimeError) as exc:
        _say(error=str(exc))
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
