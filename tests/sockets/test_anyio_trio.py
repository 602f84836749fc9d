"""anyio and trio: the first through asyncio, the second through `select.epoll`, both unmodified under
`barewire run`; and what trio's own hook for sockets of another kind takes."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from tests.sockets.kit import PATIENCE

WHERE = {k: v for k, v in os.environ.items() if k != "BAREWIRE"}
RUN = ["-m", "barewire", "run", "--device", "pipe:a"]

ANYIO = """
import sys, anyio
from anyio.abc import SocketAttribute

async def echo(stream):
    async with stream:
        async for data in stream:
            await stream.send(data)

async def main():
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)
    async with anyio.create_task_group() as group:
        group.start_soon(listener.serve, echo)
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            async def send():
                await stream.send(bytes(300_000))
                await stream.send_eof()
            group.start_soon(send)
            print(sum([len(data) async for data in stream]))
        with anyio.move_on_after(0.01) as scope:
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                await stream.receive()
        print(scope.cancelled_caught)
        async with await anyio.create_udp_socket(local_host="127.0.0.1") as udp:
            await udp.sendto(b"datagram", "127.0.0.1", udp.extra(SocketAttribute.local_port))
            print((await udp.receive())[0])
        with open("/proc/net/tcp") as file:
            print(f":{port:04X}" in file.read(), file=sys.stderr)
        group.cancel_scope.cancel()

anyio.run(main, backend=sys.argv[-1])
"""


def run(*words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-P", *words], env=WHERE, capture_output=True, text=True,
        timeout=PATIENCE * 2,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_anyio_as_on_the_kernel(backend: str) -> None:
    """anyio's own test of a listener that a program closes, of end, time-out and datagrams."""
    theirs, ours = run("-c", ANYIO, backend), run(*RUN, "-c", ANYIO, backend)
    assert ours.stdout == theirs.stdout != ""
    assert (theirs.stderr, ours.stderr) == ("True\n", "False\n"), "whose the listener is"


FACTORY = """
import barewire, socket
{first}
import trio

async def main():
    with barewire.Stack("pipe:a") as stack:
        class Factory(trio.abc.SocketFactory):
            def socket(self, family, type, proto):
                return trio.socket.from_stdlib_socket(stack.socket(family, type, proto))

        trio.socket.set_custom_socket_factory(Factory())
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        client = trio.socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0)
        await client.connect(listener.socket.getsockname())
        await client.send(b"through a stack of the program's own")
        print(await (await listener.accept()).receive_some())
        client.close()

trio.run(main)
"""


def test_trios_factory_takes_sockets_of_a_stack_after_patch() -> None:
    """from_stdlib_socket() takes the class that `socket.socket` was when trio was imported, and no other."""
    done = run("-c", FACTORY.format(first="barewire.patch()"))
    assert done.stdout == 'b"through a stack of the program\'s own"\n'
    plain = [sys.executable, "-P", "-c", textwrap.dedent(FACTORY.format(first=""))]
    refused = subprocess.run(plain, env=WHERE, capture_output=True, text=True, timeout=PATIENCE)
    assert "TypeError: expected object of type 'socket.socket'" in refused.stderr
