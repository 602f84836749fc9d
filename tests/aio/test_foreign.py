"""A stack in somebody else's loop: asyncio's, uvloop's, and loops of barewire's on another stack."""

from __future__ import annotations

import asyncio
import errno
import gc
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any

import barewire
import pytest
import trustme
import uvloop
from barewire.aio import foreign
from barewire.nic_drivers import pipe_pair

from tests.sockets.kit import LOCAL, PATIENCE

LOOPS: dict[str, Callable[[], Any]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "uvloop": uvloop.new_event_loop,
    "barewire, the same stack": lambda: None,
    "barewire, another stack": lambda: None,
}


@pytest.fixture
def stack() -> Iterator[barewire.Stack]:
    with barewire.Stack() as made:
        yield made


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest, stack: barewire.Stack) -> Iterator[Callable[..., Any]]:
    """Runs a coroutine in such a loop, and counts what is left in the stack."""
    other = barewire.Stack() if "another" in request.param else None
    make = {
        "barewire, the same stack": stack.new_event_loop,
        "barewire, another stack": (other or stack).new_event_loop,
    }.get(request.param, LOOPS[request.param])

    def runs(main: Any) -> Any:
        with asyncio.Runner(loop_factory=make) as runner:
            answer = runner.run(limited(main))
        assert live(stack) == []
        return answer

    yield runs
    if other is not None:
        assert live(other) == []
        other.close()


async def limited(main: Any) -> Any:
    return await asyncio.wait_for(main, PATIENCE)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


def live(stack: barewire.Stack) -> list[Any]:
    """The sockets there are, TIME-WAIT aside."""
    return [] if stack.closed else [s for s in stack.sockets() if s.state != "TIME-WAIT"]


async def drained(stack: barewire.Stack) -> None:
    """What was closed has gone."""
    end = time.monotonic() + PATIENCE / 4
    while live(stack) and time.monotonic() < end:
        await asyncio.sleep(0.005)


def test_streams(run: Any, stack: barewire.Stack) -> None:
    async def main() -> None:
        async with await stack.start_server(echo, LOCAL, 0) as server:
            where = server.sockets[0].getsockname()
            reader, writer = await stack.open_connection(*where)
            for size in (1, 100, 1_000_000):
                writer.write(bytes(size))
                assert await reader.readexactly(size) == bytes(size)
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
        await drained(stack)

    run(main())


def test_many_at_once_have_one_descriptor(run: Any, stack: barewire.Stack) -> None:
    async def one(where: Any, i: int) -> None:
        reader, writer = await stack.open_connection(*where)
        for _ in range(5):
            writer.write(b"%08d" % i)
            assert await reader.readexactly(8) == b"%08d" % i
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        async with await stack.start_server(echo, LOCAL, 0) as server:
            where = server.sockets[0].getsockname()
            await asyncio.gather(*(one(where, i) for i in range(50)))
        await drained(stack)

    run(main())


def test_protocols_and_endpoints(run: Any, stack: barewire.Stack) -> None:
    class Echo(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(data)

    class Datagrams(asyncio.DatagramProtocol):
        def __init__(self) -> None:
            self.got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.got.set_result(data)

    async def main() -> None:
        server = await stack.create_server(Echo, LOCAL, 0)
        where = server.sockets[0].getsockname()
        reader = asyncio.StreamReader()
        transport, _ = await stack.create_connection(
            lambda: asyncio.StreamReaderProtocol(reader), *where
        )
        transport.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        assert transport.get_extra_info("peername") == where
        transport.close()
        server.close()
        await server.wait_closed()
        there, heard = await stack.create_datagram_endpoint(Datagrams, local_addr=(LOCAL, 0))
        here, _ = await stack.create_datagram_endpoint(
            Datagrams, remote_addr=there.get_extra_info("sockname")
        )
        here.sendto(b"datagram")
        assert await heard.got == b"datagram"
        here.close()
        there.close()
        await drained(stack)

    run(main())


def test_a_refused_connection_is_asyncios_error(run: Any, stack: barewire.Stack) -> None:
    async def main() -> None:
        with pytest.raises(ConnectionRefusedError, match="Connect call failed"):
            await stack.open_connection(LOCAL, 9)

    run(main())


def test_the_blocking_calls_are_as_before(stack: barewire.Stack) -> None:
    with stack.create_server((LOCAL, 0)) as server:
        with stack.create_connection(server.getsockname(), timeout=PATIENCE) as client:
            accepted, _ = server.accept()
            accepted.close()
            assert client.recv(1) == b""


def test_there_must_be_a_loop(stack: barewire.Stack) -> None:
    pending = stack.open_connection(LOCAL, 9)
    with pytest.raises(RuntimeError, match="no running event loop"):
        pending.send(None)


def test_a_stack_closed_under_the_loop_ends_what_waits(run: Any, stack: barewire.Stack) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        told: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: told.append(context))
        server = await stack.start_server(echo, LOCAL, 0)
        reader, writer = await stack.open_connection(*server.sockets[0].getsockname())
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        stack.close(linger=0)
        with pytest.raises(OSError) as lost:
            await reader.read()
        assert lost.value.errno in (9, 104)
        writer.close()
        server.close()
        with pytest.raises(OSError, match="closed"):
            await stack.open_connection(LOCAL, 9)
        await asyncio.sleep(0.01)

    run(main())


def test_a_loop_that_is_closed_with_transports_open_says_so(
    run: Any, stack: barewire.Stack
) -> None:
    async def main() -> list[Any]:
        server = await stack.create_server(asyncio.Protocol, LOCAL, 0)
        made = await stack.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
        return [server, *made]

    left: list[Any] = []
    with pytest.raises(AssertionError):
        left += run(main())
    left.clear()
    with pytest.warns(ResourceWarning, match="unclosed"):
        gc.collect()


@pytest.mark.parametrize("make", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
def test_no_nap_makes_a_loop_late_that_sleeps_on_the_descriptor(make: Any) -> None:
    """Its calls follow each other; the background thread stays asleep on the devices all the same."""
    a, b = pipe_pair()
    with (
        barewire.Stack(a, addresses=["198.18.0.1/24"]) as here,
        barewire.Stack(b, addresses=["198.18.0.2/24"]) as there,
    ):

        def client() -> None:
            with there.create_connection(("198.18.0.1", 7000), timeout=PATIENCE) as sock:
                for _ in range(100):
                    sock.sendall(b"x")
                    assert sock.recv(1) == b"x"

        async def main() -> int:
            async with await here.start_server(echo, "198.18.0.1", 7000):
                await asyncio.get_running_loop().run_in_executor(None, client)
                return here.stats()["naps"]

        with asyncio.Runner(loop_factory=make) as runner:
            assert runner.run(main()) < 20


def test_start_tls_of_streams(run: Any, stack: barewire.Stack) -> None:
    authority = trustme.CA()
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(LOCAL).configure_cert(server_tls)
    client_tls = ssl.create_default_context()
    authority.configure_trust(client_tls)

    async def upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await writer.start_tls(server_tls)
        await echo(reader, writer)

    async def main() -> None:
        async with await stack.start_server(upgrade, LOCAL, 0) as server:
            where = server.sockets[0].getsockname()
            reader, writer = await stack.open_connection(*where)
            writer.write(b"STARTTLS\n")
            assert await reader.readline() == b"STARTTLS\n"
            await writer.start_tls(client_tls, server_hostname=LOCAL)
            writer.write(b"hidden\n")
            assert await reader.readline() == b"hidden\n"
            assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
            writer.close()
            await writer.wait_closed()
        await drained(stack)

    run(main())


@pytest.mark.parametrize("make", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
def test_many_stacks_in_one_loop(make: Callable[[], Any]) -> None:
    """A loop that runs on keeps nothing of a stack that is closed; no collector is needed."""

    async def main(stack: barewire.Stack) -> None:
        async with await stack.start_server(echo, LOCAL, 0) as server:
            reader, writer = await stack.open_connection(*server.sockets[0].getsockname())
            writer.write(b"ping")
            assert await reader.readexactly(4) == b"ping"
            writer.close()
            await writer.wait_closed()
        await drained(stack)

    with asyncio.Runner(loop_factory=make) as runner:
        gc.disable()
        try:
            for _ in range(3):
                with barewire.Stack() as stack:
                    runner.run(limited(main(stack)))
            assert [g for g in foreign._guests.values() if g._host is runner.get_loop()] == []
        finally:
            gc.enable()


def test_sendfile_in_asyncios_loop(stack: barewire.Stack, tmp_path: Any) -> None:
    """The loop cannot wait for the stack's socket by itself: it reads the file, and writes."""
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 4096)

    async def main() -> None:
        async with await stack.start_server(echo, LOCAL, 0) as server:
            reader, writer = await stack.open_connection(*server.sockets[0].getsockname())
            with path.open("rb") as file:
                told = asyncio.ensure_future(reader.readexactly(1 << 20))
                sent = await asyncio.get_running_loop().sendfile(writer.transport, file)
            assert sent == 1 << 20
            assert await told == path.read_bytes()
            writer.close()
            await writer.wait_closed()
        await drained(stack)

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(limited(main()))


def test_serve_forever_hears_that_its_stack_was_closed(run: Any, stack: barewire.Stack) -> None:
    async def main() -> None:
        server = await stack.start_server(echo, LOCAL, 0)
        asyncio.get_running_loop().call_later(0.01, stack.close)
        with pytest.raises(OSError) as told:
            await server.serve_forever()
        assert told.value.errno == errno.EBADF
        server.close()

    run(main())


def test_run_inside_a_running_loop(stack: barewire.Stack) -> None:
    async def main() -> None:
        inner = asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="cannot be called from a running event loop"):
            barewire.run(inner, stack=stack)
        inner.close()

    barewire.run(main(), stack=stack)
