"""An asyncio echo server on a stack, and its client on another, in one loop each.

    python -m barewire.tools.examples.asyncio_echo

Two stacks at the ends of a pipe; on an interface `Stack("tap:tap0", …)` stands in the place of one of them.
"""

from __future__ import annotations

import asyncio
import sys
import threading

import barewire
from barewire.nic_drivers import pipe_pair

ADDRESS, PORT = "198.18.0.2", 7000


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()


async def serve(ready: threading.Event, ended: threading.Event) -> None:
    async with await asyncio.start_server(echo, ADDRESS, PORT):
        ready.set()
        await asyncio.to_thread(ended.wait)


async def ask(words: list[str]) -> list[str]:
    reader, writer = await asyncio.open_connection(ADDRESS, PORT)
    answers = []
    for word in words:
        writer.write(f"{word}\n".encode())
        answers.append((await reader.readline()).decode().strip())
    writer.close()
    await writer.wait_closed()
    return answers


def run(words: list[str]) -> list[str]:
    """What the server answers to each word."""
    near, far = pipe_pair()
    ready, ended = threading.Event(), threading.Event()
    with (
        barewire.Stack(near, addresses=[f"{ADDRESS}/24"]) as server,
        barewire.Stack(far, addresses=["198.18.0.3/24"]) as client,
    ):
        thread = threading.Thread(target=lambda: barewire.run(serve(ready, ended), stack=server))
        thread.start()
        try:
            ready.wait(10)
            return barewire.run(ask(words), stack=client)
        finally:
            ended.set()
            thread.join()


def main(argv: list[str]) -> int:
    print("\n".join(run(argv or ["hello", "through", "asyncio"])))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
