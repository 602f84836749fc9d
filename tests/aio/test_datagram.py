"""Endpoints of a loop: what a protocol hears is what it hears on the kernel, one by one or in batches."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import barewire
import pytest

from tests.sockets.kit import LOCAL, PATIENCE, Barewire, Kernel, own_default_stack

MANY = 300  # several batches


class Heard(asyncio.DatagramProtocol):
    """Notes what it hears, and lets tests wait for it."""

    def __init__(self) -> None:
        self.datagrams: list[tuple[bytes, Any]] = []
        self.errors: list[Exception] = []
        self.flow: list[str] = []
        self.news = asyncio.Event()
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.datagrams.append((data, addr))
        self.news.set()

    def error_received(self, exc: Exception) -> None:
        self.errors.append(exc)
        self.news.set()

    def pause_writing(self) -> None:
        self.flow.append("pause")

    def resume_writing(self) -> None:
        self.flow.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.news.clear()
            await asyncio.wait_for(self.news.wait(), PATIENCE)


async def endpoint(
    factory: Callable[[], Heard] = Heard, **where: Any
) -> tuple[asyncio.DatagramTransport, Heard]:
    where = where or {"local_addr": (LOCAL, 0)}
    return await asyncio.get_running_loop().create_datagram_endpoint(factory, **where)


class Endpoints:
    network: Any

    def run(self, main: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run(main)

    def test_many_come_in_order_with_their_sender(self) -> None:
        async def main() -> None:
            there, heard = await endpoint()
            here, _ = await endpoint()
            sender = here.get_extra_info("sockname")
            for start in range(0, MANY, 100):
                for i in range(start, start + 100):
                    here.sendto(b"%d" % i, there.get_extra_info("sockname"))
                await heard.until(lambda: len(heard.datagrams) == start + 100)  # noqa: B023
            assert heard.datagrams == [(b"%d" % i, sender) for i in range(MANY)]
            here.close()
            there.close()
            assert await heard.lost is None

        self.run(main())

    def test_the_largest_comes_whole_and_more_is_an_error(self) -> None:
        async def main() -> None:
            there, heard = await endpoint()
            here, mine = await endpoint(remote_addr=there.get_extra_info("sockname"))
            assert here.get_extra_info("peername") == there.get_extra_info("sockname")
            here.sendto(bytes(65507))
            await heard.until(lambda: bool(heard.datagrams))
            assert heard.datagrams[0][0] == bytes(65507)
            here.sendto(bytes(65508))
            assert [(type(e), e.errno) for e in mine.errors] == [(OSError, 90)]
            here.close()
            there.close()

        self.run(main())

    def test_arguments_of_sendto(self) -> None:
        async def main() -> None:
            there, _ = await endpoint()
            where = there.get_extra_info("sockname")
            here, _ = await endpoint(remote_addr=where)
            with pytest.raises(TypeError, match="bytes-like"):
                here.sendto("text")  # type: ignore[arg-type]
            with pytest.raises(ValueError, match="Invalid address: must be None or"):
                here.sendto(b"x", (LOCAL, 9))
            here.sendto(b"x", where)
            here.close()
            there.close()

        self.run(main())

    def test_a_port_without_anybody_is_refused_to_a_connected_endpoint(self) -> None:
        async def main() -> None:
            gone, _ = await endpoint()
            where = gone.get_extra_info("sockname")
            gone.close()
            await asyncio.sleep(0)
            here, mine = await endpoint(remote_addr=where)
            here.sendto(b"x")
            await mine.until(lambda: bool(mine.errors))
            assert [type(e) for e in mine.errors] == [ConnectionRefusedError]
            assert not here.is_closing()
            here.close()

        self.run(main())

    def test_what_raises_loses_its_datagram_alone(self) -> None:
        class Raises(Heard):
            def datagram_received(self, data: bytes, addr: Any) -> None:
                super().datagram_received(data, addr)
                if data in (b"1", b"2"):
                    raise RuntimeError(data)

        async def main() -> list[str]:
            told: list[dict[str, Any]] = []
            asyncio.get_running_loop().set_exception_handler(
                lambda loop, context: told.append(context)
            )
            there, heard = await endpoint(Raises)
            here, _ = await endpoint()
            for i in range(5):
                here.sendto(b"%d" % i, there.get_extra_info("sockname"))
            await heard.until(lambda: len(heard.datagrams) == 5)
            here.close()
            there.close()
            return [f"{c['message'].split('.')[0]} {c['exception']}" for c in told]

        assert self.run(main()) == [
            "Exception in callback _SelectorDatagramTransport b'1'",
            "Exception in callback _SelectorDatagramTransport b'2'",
        ]

    @pytest.mark.parametrize("how", ["close", "abort"])
    def test_a_closed_one_hears_nothing_more(self, how: str) -> None:
        class Closes(Heard):
            def datagram_received(self, data: bytes, addr: Any) -> None:
                super().datagram_received(data, addr)
                getattr(there[0], how)()

        there: list[Any] = []

        async def main() -> None:
            transport, heard = await endpoint(Closes)
            there.append(transport)
            here, _ = await endpoint()
            for _ in range(5):
                here.sendto(b"x", transport.get_extra_info("sockname"))
            assert await heard.lost is None
            assert len(heard.datagrams) == 1
            here.close()

        self.run(main())

    def test_what_is_kept_is_sent_in_order_and_the_protocol_told(self) -> None:
        """A queue that is full, as the loop's code sees it: a socket that answers EAGAIN for a while."""

        async def main() -> None:
            there, heard = await endpoint()
            here, mine = await endpoint()
            where = there.get_extra_info("sockname")
            here.set_write_buffer_limits(high=100, low=10)  # type: ignore[attr-defined]
            full: Any = here
            full._loop._add_writer(full._sock_fd, full._sendto_ready)
            full._buffer.append((b"0", where))  # as where the first met EAGAIN
            full._buffer_size += 1 + getattr(full, "_header_size", 0)
            for i in range(1, 150):
                here.sendto(b"%d" % i, where)
            assert mine.flow == ["pause"] and here.get_write_buffer_size() > 100  # type: ignore[attr-defined]
            here.sendto(bytes(65508), where)  # the error comes with its turn
            here.sendto(b"last", where)
            here.close()
            assert await mine.lost is None
            await heard.until(lambda: len(heard.datagrams) == 151)
            assert [d for d, _ in heard.datagrams] == [*(b"%d" % i for i in range(150)), b"last"]
            assert [e.errno for e in mine.errors] == [90]  # type: ignore[attr-defined]
            assert mine.flow[0] == "pause"  # type: ignore[attr-defined]
            # Python 3.13 counts a header with each that comes, and forgets it with those that go.
            assert mine.flow[1:] == ["resume"] or sys.version_info >= (3, 13)  # type: ignore[attr-defined]
            there.close()

        self.run(main())

    def test_options_of_an_endpoint(self) -> None:
        socket = self.network.socket

        async def main() -> None:
            one, _ = await endpoint(local_addr=(LOCAL, 0), reuse_port=True, allow_broadcast=True)
            where = one.get_extra_info("sockname")
            two, _ = await endpoint(local_addr=where, reuse_port=True)
            sock = one.get_extra_info("socket")
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST) == 1
            with pytest.raises(OSError, match="in use") as refused:
                await endpoint(local_addr=where)
            assert refused.value.errno == 98
            with pytest.raises(ValueError, match="unexpected address family"):
                await asyncio.get_running_loop().create_datagram_endpoint(Heard)
            with pytest.raises(TypeError, match="2-tuple is expected"):
                await endpoint(local_addr=LOCAL)
            one.close()
            two.close()
            await asyncio.sleep(0)  # until they are

        self.run(main())

    def test_sends_after_abort_are_counted_and_said(self, caplog: pytest.LogCaptureFixture) -> None:
        async def main() -> None:
            there, _ = await endpoint()
            here, _ = await endpoint(remote_addr=there.get_extra_info("sockname"))
            here.abort()
            for _ in range(8):
                here.sendto(b"x")
            there.close()

        with caplog.at_level(logging.WARNING, "asyncio"):
            self.run(main())
        assert caplog.messages == ["socket.send() raised exception."] * 4


class TestKernel(Endpoints):
    network = Kernel


class TestBarewire(Endpoints):
    network = Barewire

    def run(self, main: Coroutine[Any, Any, Any]) -> Any:
        with own_default_stack() as stack:
            answer = barewire.run(main, stack=stack)
            assert stack.stats()["sockets"] == 0
            return answer
