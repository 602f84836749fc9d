"""Programs that keep something of barewire's and let its owner go, each in a process of its own: run as a
module, it prints the outcome of each by name. test_owners.py holds them against "ok".
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

import barewire

Case = Callable[[], None]
CASES: list[Case] = []


def case(function: Case) -> Case:
    CASES.append(function)
    return function


def raises(number: int, call: Callable[[], Any]) -> None:
    try:
        call()
    except OSError as error:
        assert error.errno == number, error
    else:
        raise AssertionError(f"{call} raised nothing")


def quiet_stack(device: Any = None, **options: Any) -> barewire.Stack:
    return barewire.Stack(device, exit_linger=0, **options)


def connected(stack: barewire.Stack) -> tuple[Any, Any]:
    with stack.create_server(("127.0.0.1", 0)) as server:
        here = stack.create_connection(server.getsockname())
        return here, server.accept()[0]


def in_thread(function: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


# ---- running them --------------------------------------------------------------------------------


def outcome(function: Case) -> str:
    """Of a process of its own: "ok", the signal that ended it, or that it failed."""
    child = os.fork()
    if not child:
        status = 1
        try:
            faulthandler.dump_traceback_later(100, exit=True)
            function()
            gc.collect()
            status = 0
        except BaseException:
            traceback.print_exc()
        os._exit(status)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return f"signal {os.WTERMSIG(status)}"
    return "ok" if os.WEXITSTATUS(status) == 0 else "failed"


def main() -> None:
    from . import owners_of_devices, owners_of_stacks  # noqa: F401 - their programs

    faulthandler.enable()
    wanted = sys.argv[1:]
    chosen = [c for c in CASES if not wanted or c.__name__ in wanted]
    print(json.dumps({c.__name__: outcome(c) for c in chosen}))


if __name__ == "__main__":
    from tests.sockets.owners import main as run

    run()
