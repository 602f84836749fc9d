"""The default stack: where it comes from, and what its line of configuration may say."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import barewire
import barewire.socket
import pytest
from barewire import _default

from tests.kit.users import NOBODY, is_a_user
from tests.sockets.kit import outcome, own_default_stack


@pytest.fixture(autouse=True)
def _no_default_stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("BAREWIRE", raising=False)
    before, _default._default = _default._default, None
    yield
    if _default._default is not None:
        _default._default.close()
    _default._default = before


def test_parse() -> None:
    line = (
        "tap:tap0?host=198.18.0.1/24 address=198.18.0.2/24 address=198.18.1.2/24 "
        "gateway=198.18.0.1 route=198.51.100.0/24,198.18.0.1 mtu=1400 seed=7 spin=0.0001 "
        "exit_linger=2 congestion=reno receive_buffer=4096,65536,1048576"
    )
    assert _default.parse(line) == {
        "device": "tap:tap0?host=198.18.0.1/24",
        "addresses": ["198.18.0.2/24", "198.18.1.2/24"],
        "gateway": "198.18.0.1",
        "routes": [("198.51.100.0/24", "198.18.0.1")],
        "mtu": 1400,
        "seed": "7",
        "spin": 0.0001,
        "exit_linger": 2.0,
        "congestion": "reno",
        "receive_buffer": (4096, 65_536, 1 << 20),
    }
    assert _default.parse("") == {}
    assert _default.parse(
        "max_orphans=5 ports=40000,50000 mtu_probing=2 syn_cookies=0 fast_open=1"
    ) == {
        "max_orphans": 5,
        "ports": (40_000, 50_000),
        "mtu_probing": 2,
        "syn_cookies": 0,
        "fast_open": 1,
    }


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("tap:a tap:b", "'tap:b': a second device"),
        ("tap:a oops", "'oops': a second device, or a word"),
        ("color=blue", "there is no option 'color'"),
        ("mtu=big", "'mtu=big': invalid literal"),
        ("route=198.51.100.0/24", "PREFIX,GATEWAY"),
    ],
)
def test_parse_says_which_word(line: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        _default.parse(line)


def test_made_at_first_use_with_its_loopback() -> None:
    assert _default._default is None
    with barewire.socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
    stack = barewire.default_stack()
    assert [i.name for i in stack.interfaces] == ["lo"]
    assert stack is barewire.default_stack()
    assert barewire.socket.if_nameindex() == [(1, "lo")]


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAREWIRE", "pipe:default-stack-test address=198.18.0.2/24 congestion=reno")
    with barewire.socket.socket() as sock:
        sock.bind(("198.18.0.2", 0))
        assert sock.getsockopt(6, 13, 16).rstrip(b"\0") == b"reno"
    barewire.default_stack().close()


@pytest.mark.parametrize("line", ["nonsense:x", "mtu=x", "pipe:a address=198.18.0.2"])
def test_wrong_environment(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.setenv("BAREWIRE", line)
    with pytest.raises((ValueError, OSError)):
        barewire.socket.socket()


def test_set() -> None:
    with own_default_stack() as stack:
        assert barewire.default_stack() is stack
        with barewire.socket.socket() as sock:
            assert sock._stack is stack
        with barewire.Stack() as other, barewire.socket.socket(stack=other) as sock:
            assert sock._stack is other


def test_virtual_time() -> None:
    """Sockets of a stack on a caller's clock: nothing moves but in poll(), and who polls must not
    block."""
    now = [0]
    with barewire.Stack(clock=lambda: now[0]) as stack:
        with stack.socket() as server, stack.socket() as client:
            server.bind(("127.0.0.1", 80))
            server.listen()
            client.setblocking(False)
            with pytest.raises(BlockingIOError):
                client.connect(server.getsockname())
            with pytest.raises(RuntimeError, match="polls it"):
                server.accept()
            while stack.poll():
                pass
            server.setblocking(False)
            other, _ = server.accept()
            with other:
                assert client.send(b"x") == 1
                while stack.poll():
                    pass
                assert other.recv(1) == b"x"


def test_closed_stack() -> None:
    with barewire.Stack() as stack:
        sock = stack.socket()
        sock.bind(("127.0.0.1", 0))
    for call in (lambda: sock.recv(1), sock.listen, sock.getsockname, lambda: sock.send(b"x")):
        answer = outcome(call)
        assert isinstance(answer, tuple) and answer[:2] == (OSError, 9)
    with pytest.raises(OSError, match="closed"):
        stack.socket()
    sock.close()
    assert sock.fileno() == -1


def test_garbage_in_any_order() -> None:
    """A cycle of a stack and its sockets goes without a crash, whoever is finalised first."""
    import gc

    for _ in range(20):
        stack = barewire.Stack()
        sock = stack.socket()
        cycle = [stack, sock]
        cycle.append(cycle)
        stack.close()
        sock.close()
        del stack, sock, cycle
    gc.collect()


def test_fork_leaves_a_foreign_socket() -> None:
    with own_default_stack(), barewire.socket.create_server(("127.0.0.1", 0)) as server:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                answer = outcome(server.accept)
                os.write(writer, repr(answer).encode())
                server.close()
            finally:
                os._exit(0)
        os.close(writer)
        with open(reader, "rb") as file:
            said = file.read().decode()
        assert os.waitpid(pid, 0)[1] == 0
        assert "OSError" in said and "process" in said
        with barewire.socket.create_connection(server.getsockname()) as sock:
            other, _ = server.accept()
            other.sendall(b"parent lives")
            other.close()
            assert sock.recv(100) == b"parent lives"


WHAT = "import barewire; print([i.name for i in barewire.default_stack().interfaces])"


@pytest.mark.parametrize("flags", [["-I"], ["-E"]])
def test_an_isolated_interpreter_ignores_the_variable(flags: list[str]) -> None:
    environment = {**os.environ, "BAREWIRE": "pipe:isolated"}
    told = subprocess.check_output([sys.executable, "-c", WHAT], env=environment, text=True)
    assert "isolated" in told
    told = subprocess.check_output([sys.executable, *flags, "-c", WHAT], env=environment, text=True)
    assert "isolated" not in told


def test_a_process_with_more_privileges_than_its_caller_ignores_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The user who set the variable is not the one whose privileges it would use."""
    monkeypatch.setenv("BAREWIRE", "pipe:privileged")
    assert _default.variable() == "pipe:privileged"
    for who in ("geteuid", "getegid"):
        with monkeypatch.context() as context:
            context.setattr(os, who, lambda: 12345)
            assert _default.variable() == ""


@pytest.mark.netns
def test_a_program_that_was_started_with_anothers_identity_ignores_it() -> None:
    """AT_SECURE: set by the kernel at exec, and there after the process has become one user again."""
    if not is_a_user(NOBODY):
        return  # a namespace with one user: nobody has another's identity
    script = (
        "import os, sys\n"
        "if sys.argv[1:]:\n"
        "    os.setresuid(0, 0, 0)\n"
        "    from barewire import _default\n"
        "    print(repr(_default.variable()))\n"
        "else:\n"
        "    os.setresuid(65534, 0, 0)\n"
        "    os.execv(sys.executable, [sys.executable, '-c', SCRIPT, 'again'])\n"
    )
    script = f"SCRIPT = {script!r}\n{script}"
    environment = {**os.environ, "BAREWIRE": "pipe:a"}
    told = subprocess.check_output([sys.executable, "-c", script], env=environment, text=True)
    assert told == "''\n"
