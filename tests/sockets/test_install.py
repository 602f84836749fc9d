"""What a program that knows nothing of barewire gets for a loop under `barewire run`."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from tests.sockets.kit import PATIENCE

WHERE = {k: v for k, v in os.environ.items() if k != "BAREWIRE"}


def run(program: str, *words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore::DeprecationWarning", "-m", "barewire", "run",
         "--device", "pipe:a", *words, "-c", textwrap.dedent(program)],
        env=WHERE, capture_output=True, text=True, timeout=PATIENCE * 2,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


SHOW = """
async def show():
    import asyncio, socket
    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    where = server.sockets[0].getsockname()
    reader, writer = await asyncio.open_connection(*where)
    assert await reader.read() == b""
    writer.close()
    with open("/proc/net/tcp") as file:
        on_kernel = f" 0100007F:{where[1]:04X} 00000000:0000 0A" in file.read()  # it listens
    server.close()
    print(type(loop).__module__, on_kernel)
"""
WAYS = {
    "run": "import asyncio; asyncio.run(show())",
    "runner": """
        import asyncio
        with asyncio.Runner() as runner:
            runner.run(show())
    """,
    "new_event_loop": """
        from asyncio import new_event_loop
        loop = new_event_loop()
        loop.run_until_complete(show())
        loop.close()
    """,
    "get_event_loop": """
        import asyncio
        loop = asyncio.get_event_loop_policy().get_event_loop()
        loop.run_until_complete(show())
        loop.close()
    """,
    "a policy": """
        import asyncio
        class Policy(asyncio.DefaultEventLoopPolicy):
            pass
        asyncio.set_event_loop_policy(Policy())
        asyncio.run(show())
    """,
    "the class": """
        import asyncio, selectors
        for loop in asyncio.SelectorEventLoop(), asyncio.SelectorEventLoop(selectors.PollSelector()):
            loop.run_until_complete(show())
            loop.close()
    """,
    "a thread": """
        import asyncio, threading
        thread = threading.Thread(target=lambda: asyncio.run(show()))
        thread.start()
        thread.join()
    """,
}


@pytest.mark.parametrize("way", WAYS)
def test_what_makes_a_loop_makes_ours(way: str) -> None:
    done = run(SHOW + textwrap.dedent(WAYS[way]))
    assert set(done.stdout.splitlines()) == {"barewire.aio.loop False"}
    assert done.stderr == ""


UVLOOP = {
    "install": "uvloop.install(); asyncio.run(show())",
    "run": "uvloop.run(show())",
    "new_event_loop": """
        loop = uvloop.new_event_loop()
        loop.run_until_complete(show())
        loop.close()
    """,
    "policy": "asyncio.set_event_loop_policy(uvloop.EventLoopPolicy()); asyncio.run(show())",
    "factory": """
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(show())
    """,
    "uvicorn": """
        import uvicorn
        config = uvicorn.Config("nothing:app", loop="auto")
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(show())
    """,
}


@pytest.mark.parametrize("way", UVLOOP)
def test_what_makes_uvloops_loop_makes_ours(way: str) -> None:
    """Twice, and one line in the log."""
    twice = "import asyncio, uvloop\nfor _ in range(2):\n" + textwrap.indent(
        textwrap.dedent(UVLOOP[way]).strip(), "    "
    )
    done = run(SHOW + twice)
    assert done.stdout.splitlines() == ["barewire.aio.loop False"] * 2
    assert done.stderr.count("\n") == 1 and "uvloop" in done.stderr


def test_a_uvloop_that_was_loaded_before() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c",
         "from uvloop import Loop, new_event_loop\nimport barewire\nbarewire.patch()\n"
         "import asyncio, uvloop\nprint(type(uvloop.new_event_loop()).__module__)"],
        env=WHERE, capture_output=True, text=True, timeout=PATIENCE * 2,
    )  # fmt: skip
    assert done.stdout == "barewire.aio.loop\n", done.stderr


def test_uvloop_has_its_own_again_after_unpatch() -> None:
    program = """
        import barewire
        barewire.patch()
        import asyncio, uvloop
        async def which():
            return type(asyncio.get_running_loop()).__module__
        print(uvloop.run(which()))
        barewire.unpatch()
        print(uvloop.run(which()), type(uvloop.new_event_loop()).__module__, uvloop.Loop.__module__)
    """
    done = subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(program)],
        env=WHERE, capture_output=True, text=True, timeout=PATIENCE * 2,
    )  # fmt: skip
    assert done.stdout.split() == ["barewire.aio.loop"] + ["uvloop"] * 3, done.stderr


def test_libraries_that_were_loaded_before_get_it_and_unpatch_gives_it_back() -> None:
    program = """
        from asyncio import new_event_loop
        import barewire
        barewire.patch()
        loop = new_event_loop()
        print(type(loop).__module__)
        loop.close()
        barewire.unpatch()
        import asyncio, ssl
        for make in new_event_loop, asyncio.SelectorEventLoop:
            loop = make()
            print(type(loop).__module__)
            loop.close()
        print(asyncio.base_events.ssl is ssl)
    """
    done = subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(program)],
        env=WHERE, capture_output=True, text=True, timeout=PATIENCE * 2,
    )  # fmt: skip
    assert done.stdout.split() == [
        "barewire.aio.loop",
        "asyncio.unix_events",
        "asyncio.unix_events",
        "True",
    ], done.stderr


def test_asyncio_takes_the_contexts_of_the_programs_ssl() -> None:
    done = run("""
        import asyncio, ssl
        assert issubclass(ssl.SSLSocket, __import__("socket").socket)
        print(asyncio.sslproto.ssl is ssl, asyncio.base_events.ssl is ssl)
    """)
    assert done.stdout == "True True\n"


def test_pyroute2_keeps_the_standard_loop() -> None:
    """In the program too: it speaks to the kernel about the kernel's interfaces."""
    done = run("""
        import asyncio
        from pyroute2 import IPRoute
        with IPRoute() as ip:
            print(type(ip.asyncore.event_loop).__module__, len(list(ip.get_links())) > 0)
        async def inside():
            from pyroute2 import AsyncIPRoute
            async with AsyncIPRoute() as ip:
                print(len([link async for link in await ip.get_links()]) > 0)
        asyncio.run(inside())
    """)
    assert done.stdout.splitlines() == ["asyncio.unix_events True", "True"], done.stderr
