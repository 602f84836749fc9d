"""Programs as their libraries' users write them: `python programs.py NAME ADDRESS PORT [ARGUMENT...]`.

None knows of barewire; each runs on the kernel and under `barewire run`. A client ends with one line of JSON.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import ssl
import sys
from typing import Any

BODY = os.urandom(1 << 20)
MANY = 20


def say(**values: Any) -> None:
    loop = type(asyncio.get_running_loop()).__module__
    print(json.dumps({**values, "loop": loop}), flush=True)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def trusting(certificate: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificate)


def serving(certificate: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, certificate.replace("cert.pem", "key.pem"))
    return context


# ---- HTTP: POST / answers the body's digest, GET /N so many bytes ---------------------------------


async def aiohttp_server(address: str, port: int, *certificate: str) -> None:
    from aiohttp import web

    async def posted(request: web.Request) -> web.Response:
        return web.Response(text=digest(await request.read()))

    async def gotten(request: web.Request) -> web.Response:
        return web.Response(body=bytes(int(request.match_info["size"])))

    app = web.Application(client_max_size=1 << 24)
    app.add_routes([web.post("/", posted), web.get("/{size}", gotten)])
    runner = web.AppRunner(app)
    await runner.setup()
    context = serving(*certificate) if certificate else None
    await web.TCPSite(runner, address, port, ssl_context=context).start()
    await asyncio.Event().wait()


async def aiohttp_client(address: str, port: int, *certificate: str) -> None:
    import aiohttp

    url = f"{'https' if certificate else 'http'}://{address}:{port}/"
    context = trusting(*certificate) if certificate else True
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def get(size: int) -> int:
            async with session.get(f"{url}{size}") as response:
                return len(await response.read())

        async with session.post(url, data=BODY) as response:
            posted = await response.text() == digest(BODY)
        sizes = await asyncio.gather(*(get(n) for n in range(MANY)))
    say(posted=posted, got=sum(sizes))


async def httpx_client(address: str, port: int, *certificate: str) -> None:
    import httpx

    url = f"{'https' if certificate else 'http'}://{address}:{port}/"
    verify = trusting(*certificate) if certificate else False
    async with httpx.AsyncClient(verify=verify, trust_env=False) as client:
        posted = (await client.post(url, content=BODY)).text == digest(BODY)
        answers = await asyncio.gather(*(client.get(f"{url}{n}") for n in range(MANY)))
    say(posted=posted, got=sum(len(answer.content) for answer in answers))


# ---- the others ----------------------------------------------------------------------------------


async def websockets_server(address: str, port: int) -> None:
    from websockets.asyncio.server import serve

    async def echo(connection: Any) -> None:
        async for message in connection:
            await connection.send(message)

    async with serve(echo, address, port, max_size=1 << 24):
        await asyncio.Event().wait()


async def websockets_client(address: str, port: int) -> None:
    from websockets.asyncio.client import connect

    async with connect(f"ws://{address}:{port}", max_size=1 << 24, proxy=None) as connection:
        await connection.send(BODY)
        posted = await connection.recv() == BODY
        for n in range(MANY):
            await connection.send(str(n))
        got = [int(await connection.recv()) for _ in range(MANY)]
        await (await connection.ping())
    say(posted=posted, got=sum(got))


async def redis_client(address: str, port: int) -> None:
    from redis.asyncio import Redis

    async with Redis(host=address, port=port) as client:
        await client.set("body", BODY)
        posted = await client.get("body") == BODY
        await asyncio.gather(*(client.rpush("list", n) for n in range(MANY)))
        async with client.pubsub() as listener:
            await listener.subscribe("channel")
            await client.publish("channel", "heard")
            messages = [await listener.get_message(timeout=10) for _ in range(2)]
        got = await client.lrange("list", 0, -1)  # type: ignore[misc]
    assert messages[1]["data"] == b"heard"
    say(posted=posted, got=sum(map(int, got)))


async def asyncpg_client(address: str, port: int) -> None:
    import asyncpg

    async with asyncpg.create_pool(
        host=address, port=port, user="postgres", database="postgres", min_size=2, max_size=4
    ) as pool:
        await pool.execute("CREATE TABLE numbers (n integer, body bytea)")
        await pool.executemany(
            "INSERT INTO numbers VALUES ($1, $2)", [(n, BODY[:n]) for n in range(MANY)]
        )
        posted = await pool.fetchval("SELECT sha256($1::bytea)", BODY)
        rows = await asyncio.gather(
            *(
                pool.fetchval("SELECT length(body) FROM numbers WHERE n = $1", n)
                for n in range(MANY)
            )
        )
    say(posted=posted.hex() == digest(BODY), got=sum(rows))


async def aiomqtt_client(address: str, port: int) -> None:
    import aiomqtt

    async with aiomqtt.Client(address, port) as client:
        await client.subscribe("numbers/#")
        await client.publish("numbers/body", BODY[: 1 << 17], qos=1)
        for n in range(MANY):
            await client.publish(f"numbers/{n}", n, qos=1)
        heard = []
        async for message in client.messages:
            heard.append(message)
            if len(heard) == MANY + 1:
                break
    bodies = [one.payload for one in heard if one.topic.matches("numbers/body")]
    numbers = [int(one.payload) for one in heard if not one.topic.matches("numbers/body")]
    say(posted=bodies == [BODY[: 1 << 17]], got=sum(numbers))


def quic(certificate: str, *, client: bool) -> Any:
    from aioquic.quic.configuration import QuicConfiguration

    made = QuicConfiguration(is_client=client, alpn_protocols=["echo"])
    if client:
        made.load_verify_locations(certificate)
    else:
        made.load_cert_chain(certificate, certificate.replace("cert.pem", "key.pem"))
    return made


async def aioquic_server(address: str, port: int, certificate: str) -> None:
    from aioquic.asyncio import serve

    tasks = set()

    def streamed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def echo() -> None:
            writer.write(await reader.read())
            writer.write_eof()

        tasks.add(asyncio.ensure_future(echo()))

    await serve(
        address, port, configuration=quic(certificate, client=False), stream_handler=streamed
    )
    await asyncio.Event().wait()


async def aioquic_client(address: str, port: int, certificate: str) -> None:
    """With an endpoint of its own: aioquic's connect() opens an IPv6 socket for IPv4 addresses too."""
    from aioquic.asyncio import QuicConnectionProtocol
    from aioquic.quic.connection import QuicConnection

    configuration = quic(certificate, client=True)
    configuration.server_name = address
    transport, connection = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: QuicConnectionProtocol(QuicConnection(configuration=configuration)),
        local_addr=("0.0.0.0", 0),
    )
    connection.connect((address, port))
    await connection.wait_connected()

    async def echo(data: bytes) -> bytes:
        reader, writer = await connection.create_stream()
        writer.write(data)
        writer.write_eof()
        return await reader.read()

    posted = await echo(BODY) == BODY
    got = await asyncio.gather(*(echo(str(n).encode()) for n in range(MANY)))
    connection.close()
    await connection.wait_closed()
    transport.close()
    say(posted=posted, got=sum(map(int, got)))


async def main(name: str, address: str, port: str, *arguments: str) -> None:
    async with asyncio.timeout(40):
        await globals()[name](address, int(port), *arguments)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
