"""A process with a server of aio_servers.py on an event loop, pinned to a core.

`python -m barewire.tools.bench.aio_process CORE SERVER LOOP [DEVICE ADDRESS]`: with a device the loop is
barewire's, otherwise the sockets are the kernel's. A line of JSON says when it listens. It serves until it is
ended, LIFETIME seconds at most.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import importlib
import json
import os
import signal
import socket
import sys
from typing import Any

from .aio_servers import PORT, SERVERS
from .compare import CONGESTION
from .process import PR_SET_PDEATHSIG, sockets
from .programs import congestion_of

HOST = "0.0.0.0"
LIFETIME = 60  # seconds
SO_BUSY_POLL, BUSY_US = 46, 200  # asm-generic/socket.h; as long as barewire's own waits look


def bound(net: Any, server: str) -> tuple[Any, str]:
    """The socket to serve on, and the congestion control that its connections have."""
    stream = server != "datagram"
    # asyncio turns Nagle's algorithm off where the protocol is named, as getaddrinfo() does.
    kind = (socket.SOCK_STREAM, socket.IPPROTO_TCP) if stream else (socket.SOCK_DGRAM, 0)
    sock = net.socket(socket.AF_INET, *kind)
    sock.setblocking(False)
    if stream:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, CONGESTION.encode())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((HOST, PORT))
    return sock, congestion_of(sock) if stream else ""


def new_loop(name: str, net: Any) -> asyncio.AbstractEventLoop:
    if name == "barewire":
        from ... import new_event_loop

        return new_event_loop(net)
    if name == "asyncio":
        return asyncio.SelectorEventLoop()
    made: asyncio.AbstractEventLoop = importlib.import_module(name).new_event_loop()
    return made


def serve(net: Any, server: str, name: str) -> None:
    sock, congestion = bound(net, server)
    name, _, busy = name.partition(" ")
    if busy:
        sock.setsockopt(socket.SOL_SOCKET, SO_BUSY_POLL, BUSY_US)
    loop = new_loop(name, net)
    asyncio.set_event_loop(loop)
    served = loop.run_until_complete(SERVERS[server](sock))
    gc.collect()
    gc.freeze()
    print(json.dumps({"ready": True, "congestion": congestion}), flush=True)
    loop.run_forever()
    del served


def main(argv: list[str]) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.alarm(LIFETIME)  # its default ends the process
    core, server, name, *device = argv
    os.sched_setaffinity(0, {int(core)})
    try:
        with sockets(device) as net, contextlib.suppress(KeyboardInterrupt):
            serve(net, server, name)
    except (OSError, ValueError, RuntimeError, ImportError) as exc:
        print(json.dumps({"error": f"{server} on {name}: {exc}"}), flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
