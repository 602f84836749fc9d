"""Streams of a loop: how much a receive asks for, and what a protocol that raises loses."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import tracemalloc
from collections.abc import Iterator
from typing import Any

import barewire
import pytest
from barewire.aio.stream import LEAST, MOST

WHERE = ("127.0.0.1", 7000)


@pytest.fixture
def stack() -> Iterator[barewire.Stack]:
    with barewire.Stack() as made:
        yield made


class Heard(asyncio.Protocol):
    """Keeps what it hears, and the sizes asked for after each piece."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.sizes: list[int] = []
        self.pieces: list[int] = []
        self.lost: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.pieces.append(len(data))
        self.sizes.append(self.transport.max_size)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(exc)


@contextlib.asynccontextmanager
async def connection(kind: Any = Heard) -> Any:
    """(the client's transport, the server's protocol)."""
    loop = asyncio.get_running_loop()
    made: asyncio.Future[Any] = loop.create_future()

    def protocol() -> Any:
        made.set_result(kind())
        return made.result()

    server = await loop.create_server(protocol, *WHERE)
    client, _ = await loop.create_connection(asyncio.Protocol, *WHERE)
    try:
        yield client, await made
    finally:
        client.abort()
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0)


def test_a_flow_that_fills_a_receive_is_asked_for_in_larger_pieces(stack: Any) -> None:
    text = bytes(range(256)) * 4096

    async def main() -> None:
        async with connection() as (client, heard):
            heard.transport.pause_reading()
            client.write(text)
            await asyncio.sleep(0)
            heard.transport.resume_reading()
            client.write_eof()
            await heard.lost
        assert heard.data == text
        assert heard.pieces[0] == LEAST
        assert heard.sizes[0] == 4 * LEAST
        assert max(heard.sizes) <= MOST

    barewire.run(main(), stack=stack)


def test_small_messages_after_a_flow_are_asked_for_as_such(stack: Any) -> None:
    async def main() -> None:
        async with connection() as (client, heard):
            heard.transport.max_size = MOST
            client.write(b"small")
            while not heard.data:
                await asyncio.sleep(0)
            assert heard.sizes == [LEAST]

    barewire.run(main(), stack=stack)


def test_a_protocol_that_raises_loses_its_connection_and_nothing_else(stack: Any) -> None:
    class Raises(Heard):
        def data_received(self, data: bytes) -> None:
            raise ArithmeticError("out of my depth")

    async def main() -> None:
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        async with connection(Raises) as (client, heard):
            client.write(b"word")
            assert isinstance(await heard.lost, ArithmeticError)
        assert [context["message"] for context in told] == [
            "Fatal error: protocol.data_received() call failed."
        ]
        assert told[0]["protocol"] is heard
        async with connection() as (client, heard):
            client.write(b"goes on")
            client.write_eof()
            assert await heard.lost is None
            assert heard.data == b"goes on"

    barewire.run(main(), stack=stack)


def test_a_buffered_protocol_gets_bytes_in_its_own_buffer(stack: Any) -> None:
    class Own(asyncio.BufferedProtocol):
        def __init__(self) -> None:
            self.room = bytearray(8)
            self.data = b""
            self.lost: Any = asyncio.get_running_loop().create_future()

        def get_buffer(self, sizehint: int) -> bytearray:
            return self.room

        def buffer_updated(self, nbytes: int) -> None:
            self.data += self.room[:nbytes]

        def connection_lost(self, exc: Exception | None) -> None:
            self.lost.set_result(exc)

    async def main() -> None:
        async with connection(Own) as (client, own):
            client.writelines([b"more than ", b"eight bytes"])
            client.write_eof()
            assert await own.lost is None
        assert own.data == b"more than eight bytes"

    barewire.run(main(), stack=stack)


def test_the_main_thread_is_known_in_every_thread(stack: Any) -> None:
    """A loop in another thread wakes the main thread for signals, and not itself."""
    import threading

    from barewire import _waiting

    seen: list[bool] = []
    thread = threading.Thread(target=lambda: seen.append(_waiting._spare.is_main))
    thread.start()
    thread.join()
    assert (_waiting._spare.is_main, seen) == (True, [False])


def test_idle_connections_cost_little_memory_and_no_turn(stack: Any) -> None:
    """A bare protocol's connection takes less than 4 KB of Python's memory, and nothing of it is due."""
    many = 200

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        made: list[Any] = []

        class Bare(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                made.append(transport)

        server = await loop.create_server(Bare, *WHERE, backlog=many)
        await loop.create_connection(Bare, *WHERE)  # what is loaded once
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(many):
                await loop.create_connection(Bare, *WHERE)
            while len(made) < 2 * many + 2:
                await asyncio.sleep(0)
            gc.collect()
            each = (tracemalloc.get_traced_memory()[0] - before) / (2 * many)
        finally:
            tracemalloc.stop()
        assert each < 4096
        assert loop._selector.select(0) == []
        events = loop._selector._poller.stats()["events"]
        assert loop._selector.select(0.02) == []
        assert loop._selector._poller.stats()["events"] == events
        for transport in made:
            transport.abort()
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0)

    barewire.run(main(), stack=stack)


def test_what_tcp_knows_of_a_connection(stack: barewire.Stack) -> None:
    async def main() -> None:
        async with connection() as (client, _):
            info = client.get_extra_info("tcp_info")
            assert info.tcpi_state == 1
            assert client.get_extra_info("peername") == WHERE
            assert client.get_extra_info("nothing", 7) == 7
            client.abort()
            while client.get_extra_info("tcp_info") is not None:
                await asyncio.sleep(0)
            assert client.get_extra_info("tcp_info", "gone") == "gone"

    barewire.run(main(), stack=stack)
