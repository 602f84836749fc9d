"""The servers that event loops are measured with: `await SERVERS[name](sock)` lets one serve."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

PORT, BACKLOG = 5001, 2048
HTTP_BODY = b"Hello, world!"
HTTP_RESPONSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n%s" % (
    len(HTTP_BODY),
    HTTP_BODY,
)

Server = Callable[[Any], Awaitable[Any]]


class Echo(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.write = transport.write

    def data_received(self, data: bytes) -> None:
        self.write(data)


class DatagramEcho(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self.sendto = transport.sendto

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.sendto(data, addr)


class Http(asyncio.Protocol):
    """As little HTTP/1.1 as answers a GET on a connection that stays open."""

    def connection_made(self, transport: Any) -> None:
        self.write, self.rest = transport.write, b""

    def data_received(self, data: bytes) -> None:
        *requests, self.rest = (self.rest + data).split(b"\r\n\r\n")
        if requests:
            self.write(HTTP_RESPONSE * len(requests))


def protocol(factory: Callable[[], asyncio.Protocol]) -> Server:
    async def serve(sock: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.create_server(factory, sock=sock, backlog=BACKLOG)

    return serve


async def streams(sock: Any) -> Any:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(2048):
            writer.write(data)
            await writer.drain()
        writer.close()

    return await asyncio.start_server(echo, sock=sock, backlog=BACKLOG)


async def datagram(sock: Any) -> Any:
    return await asyncio.get_running_loop().create_datagram_endpoint(DatagramEcho, sock=sock)


def uvicorn(http: str) -> Server:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(HTTP_BODY))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": HTTP_BODY})

    async def serve(sock: Any) -> Any:
        from uvicorn import Config, Server

        server = Server(
            Config(app, http=http, ws="none", lifespan="off", access_log=False, log_level="error")
        )
        task = asyncio.create_task(server._serve([sock]))
        while not server.started:
            await asyncio.sleep(0.001)
            if task.done():
                task.result()
        return task

    return serve


async def aiohttp(sock: Any) -> Any:
    from aiohttp import web

    async def hello(request: web.Request) -> web.Response:
        return web.Response(body=HTTP_BODY, content_type="text/plain")

    app = web.Application()
    app.router.add_get("/", hello)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.SockSite(runner, sock, backlog=BACKLOG).start()
    return runner


HTTP: dict[str, Server] = {
    "protocol": protocol(Http),
    "uvicorn httptools": uvicorn("httptools"),
    "uvicorn h11": uvicorn("h11"),
    "aiohttp": aiohttp,
}
SERVERS: dict[str, Server] = {
    "echo": protocol(Echo),
    "streams": streams,
    "datagram": datagram,
    **HTTP,
}
