"""Cancelled at every turn of the loop, a program leaves nothing in the stack: no socket, chunk or timer."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any

import barewire
import pytest
import trustme
import uvloop

from tests.sockets.kit import LOCAL, PATIENCE

TURNS = 400  # more than any of these takes


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(LOCAL).configure_cert(server)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(client)
    return server, client


@pytest.fixture(params=["barewire", "asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> Iterator[tuple[Any, barewire.Stack]]:
    with barewire.Stack() as stack:
        make: dict[str, Callable[[], Any]] = {
            "barewire": stack.new_event_loop,
            "asyncio": asyncio.SelectorEventLoop,
            "uvloop": uvloop.new_event_loop,
        }
        yield make[request.param], stack


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass  # the client was cancelled
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def plain(stack: barewire.Stack, where: Any, **options: Any) -> None:
    """Connect, drain, read, close."""
    reader, writer = await stack.open_connection(*where, **options)
    try:
        writer.write(bytes(100_000))
        await writer.drain()
        await reader.readexactly(100_000)
    finally:
        writer.close()
        with contextlib.suppress(
            ssl.SSLError
        ):  # APPLICATION_DATA_AFTER_CLOSE_NOTIFY, as OpenSSL says it
            await writer.wait_closed()


def left(stack: barewire.Stack) -> list[Any]:
    return [s for s in stack.sockets() if s.state not in ("TIME-WAIT", "LISTEN")]


async def at_every_turn(stack: barewire.Stack, step: Callable[[], Any]) -> int:
    """Runs the step again and again, cancelled one turn later each time; at how many turns it was."""
    for turn in range(TURNS):
        task = asyncio.ensure_future(step())
        for _ in range(turn):
            await asyncio.sleep(0)
            if task.done():
                break
        finished = task.done()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        if finished:
            return turn
    raise AssertionError(f"not done after {TURNS} turns")


async def settled(stack: barewire.Stack) -> None:
    end = time.monotonic() + PATIENCE / 4
    while left(stack) and time.monotonic() < end:
        await asyncio.sleep(0.005)
    assert left(stack) == []
    assert stack.stats()["memory_chunks"] == 0
    assert stack.stats()["orphans"] == 0


def played(loop: tuple[Any, barewire.Stack], main: Callable[[barewire.Stack], Any]) -> None:
    make, stack = loop
    with asyncio.Runner(loop_factory=make) as runner:
        runner.get_loop().set_exception_handler(lambda _, context: told.append(context))
        told: list[dict[str, Any]] = []
        runner.run(main(stack))
        assert told == []


@pytest.mark.parametrize("secure", [False, True])
def test_connect_handshake_drain_read_close(
    loop: tuple[Any, barewire.Stack],
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
    secure: bool,
) -> None:
    async def main(stack: barewire.Stack) -> None:
        server_tls, client_tls = contexts if secure else (None, None)
        async with await stack.start_server(echo, LOCAL, 0, ssl=server_tls) as server:
            where = server.sockets[0].getsockname()
            turns = await at_every_turn(stack, lambda: plain(stack, where, ssl=client_tls))
            assert turns > 5
            await settled(stack)

    played(loop, main)


def test_accept() -> None:
    """sock_accept is of a loop of ours; in others the stack's sockets are the transports' alone."""

    async def accept(listener: Any) -> None:
        sock, _ = await asyncio.get_running_loop().sock_accept(listener)
        sock.close()

    async def main(stack: barewire.Stack) -> None:
        with stack.create_server((LOCAL, 0)) as listener:
            listener.setblocking(False)
            for turn in range(6):
                task = asyncio.ensure_future(accept(listener))
                for _ in range(turn):
                    await asyncio.sleep(0)
                with stack.socket() as client:
                    client.setblocking(False)
                    client.connect_ex(listener.getsockname())
                    for _ in range(turn):
                        await asyncio.sleep(0)
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await task
                with contextlib.suppress(BlockingIOError):
                    listener.accept()[0].close()
        await settled(stack)

    with barewire.Stack() as stack:
        played((stack.new_event_loop, stack), main)
