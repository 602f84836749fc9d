"""The end of a program: what it sent arrives, and no interface is left, however it ends."""

from __future__ import annotations

import hashlib
import signal
import sys

import pytest
from barewire.tools import netns

from tests.netns.link import KERNEL, OURS, PREFIX, Program, Thread, our_program, peer_program, until

pytestmark = pytest.mark.netns

SIZE = 10_000_000

SEND = f"""
data = bytes(range(256)) * ({SIZE} // 256) + bytes({SIZE} % 256)
print("stack", flush=True)
sys.stdin.readline()
sock = socket_of_ours()
sock.connect((KERNEL, 7000))
sock.sendall(data)
"""
DATA = bytes(range(256)) * (SIZE // 256) + bytes(SIZE % 256)

ENDS = {
    "close, then the end of the script": "sock.close()",
    "the end of the script, never closed": "",
    "sys.exit in a function": "(lambda: sys.exit(0))()",
    "the stack is closed": "sock.close(); stack.close()",
    "an exception": "raise SystemExit(0)",
    "a thread that still runs": "import threading, time\n"
    "threading.Thread(target=time.sleep, args=(100,), daemon=True).start(); sock.close()",
}


def received(sink):
    """What the kernel's sink got."""
    answer = sink.json()
    return answer["bytes"], answer["sha256"]


@pytest.fixture
def tap(ns):
    """The interface with the kernel's address, there before the program and after it."""
    netns.tap(ns, f"{KERNEL}/{PREFIX}")
    return ns


def sink_on(ns):
    sink = peer_program(ns, "sink", "listen", KERNEL, 7000)
    sink.line()
    return sink


EVERYTHING = (SIZE, hashlib.sha256(DATA).hexdigest())


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_ten_megabytes_sent_and_gone_at_once(tap, end):
    sink = sink_on(tap)
    script = SEND.replace("socket_of_ours()", "stack.socket()") + end
    program = our_program_on(tap, script)
    program.line()
    program.say()
    assert program.end()[0] == 0
    assert received(sink) == EVERYTHING


def our_program_on(ns, script):
    """A program on an interface that exists."""
    head = (
        "import sys, barewire\n"
        f"stack = barewire.Stack('tap:tap0', addresses=['{OURS}/{PREFIX}'])\n"
        f"KERNEL, OURS = '{KERNEL}', '{OURS}'\n"
    )
    return Program(ns, [sys.executable, "-P", "-u", "-c", head + script])


def test_a_reader_that_takes_its_time_gets_it_all(tap):
    """The rest is sent while the program waits in its exit, up to exit_linger (3 s)."""
    listener = tap.socket()
    with listener:
        listener.settimeout(20)
        listener.bind((KERNEL, 7000))
        listener.listen()
        program = our_program_on(tap, SEND.replace("socket_of_ours()", "stack.socket()"))
        program.line()
        program.say()
        sock, _ = listener.accept()
        with sock:
            sock.settimeout(20)
            got = hashlib.sha256()
            while data := sock.recv(20_000):
                got.update(data)
    assert program.end()[0] == 0
    assert got.hexdigest() == EVERYTHING[1]


def test_a_reader_that_never_reads_is_reset_after_the_linger(tap):
    listener = tap.socket()
    with listener:
        listener.settimeout(20)
        listener.bind((KERNEL, 7000))
        listener.listen()
        script = SEND.replace("socket_of_ours()", "stack.socket()").replace(
            "sock.sendall(data)", "sock.setblocking(False); sock.send(data); stack.close(0.2)"
        )
        program = our_program_on(tap, script)
        program.line()
        program.say()
        sock, _ = listener.accept()
        with sock:
            sock.settimeout(20)
            assert program.end()[0] == 0
            with pytest.raises(ConnectionResetError):
                while sock.recv(65536):
                    pass


RUN_SEND = f"""
import os, signal, socket, sys
data = bytes(range(256)) * ({SIZE} // 256) + bytes({SIZE} % 256)
sock = socket.create_connection(("{KERNEL}", 7000))
sock.sendall(data)
sock.close()
"""


@pytest.mark.parametrize(
    ("end", "code"),
    [("", 0), ("os.kill(os.getpid(), signal.SIGTERM); signal.pause()", None), ("sys.exit(7)", 7)],
    ids=["end of script", "SIGTERM", "sys.exit"],
)
def test_ten_megabytes_under_barewire_run(tap, tmp_path, end, code):
    sink = sink_on(tap)
    (tmp_path / "program.py").write_text(RUN_SEND + end)
    run = ["-m", "barewire", "run", "--device", "tap:tap0", "--address", f"{OURS}/{PREFIX}"]
    program = Program(tap, [sys.executable, "-P", *run, str(tmp_path / "program.py")])
    ended, _, err = program.end()
    assert received(sink) == EVERYTHING, err
    if code is None:
        assert ended in (-signal.SIGTERM, 128 + signal.SIGTERM), err
    else:
        assert ended == code, err


# ---- no interface is left --------------------------------------------------------------------------

PHASES = {
    "accept": "listener = stack.create_server((OURS, 7000)); print('go'); listener.accept()",
    "recv": "sock = stack.create_connection((KERNEL, 7000)); print('go'); sock.recv(1)",
    "recv with a timeout": "sock = stack.create_connection((KERNEL, 7000), timeout=60)\n"
    "print('go'); sock.recv(1)",
    "send": "sock = stack.create_connection((KERNEL, 7000)); print('go')\n"
    "while True: sock.send(bytes(100000))",
    "connect": "sock = stack.socket(); print('go'); sock.connect(('198.18.0.77', 80))",
    "datagrams": "sock = stack.socket(2, 2); sock.bind((OURS, 7)); print('go'); sock.recv(1)",
    "a spinning call": "sock = stack.socket(2, 2); sock.bind((OURS, 7)); print('go')\n"
    "sock.setblocking(False)\n"
    "while True:\n"
    "    try: sock.recv(1)\n"
    "    except BlockingIOError: pass",
    "a follower": "import threading\n"
    "sock, other = stack.socket(2, 2), stack.socket(2, 2)\n"
    "sock.bind((OURS, 7)); other.bind((OURS, 8))\n"
    "threading.Thread(target=other.recv, args=(1,), daemon=True).start()\n"
    "print('go'); sock.recv(1)",
    "select": "from barewire import select\n"
    "sock = stack.socket(2, 2); sock.bind((OURS, 7)); print('go')\n"
    "select.select([sock], [], [])",
    "close": "sock = stack.create_connection((KERNEL, 7000)); sock.setblocking(False)\n"
    "sock.send(bytes(10_000_000)); print('go'); stack.close(60)",
}


@pytest.mark.parametrize("phase", PHASES.values(), ids=PHASES)
def test_ctrl_c_ends_it_within_a_second(ns, phase):
    """KeyboardInterrupt comes out of the call; the interface is gone with the program."""
    program = our_program(ns, "print('stack'); sys.stdin.readline()\n" + phase)
    assert program.line() == "stack"
    with ns.socket() as listener:  # a peer that accepts and never reads
        listener.bind((KERNEL, 7000))
        listener.listen()
        program.say()
        assert program.line() == "go"
        if "BlockingIOError" not in phase:
            until(program.sleeps, "it sleeps")
        program.process.send_signal(signal.SIGINT)
        # Data that nobody reads is given its exit_linger; a second is for the exception.
        _, err = ended_within(program, 1.0 if "send" not in phase else 5.0)
    assert "\nKeyboardInterrupt\n" in err and "Exception in thread" not in err, err
    assert ns.links() == ["lo"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_server_ends_without_a_word_of_its_threads(ns, tmp_path, number):
    """http.server with two keep-alive connections, each in a daemon thread that waits."""
    (tmp_path / "server.py").write_text(HTTP_SERVER)
    device = f"tap:tap0?host={KERNEL}/{PREFIX}"
    run = ["-m", "barewire", "run", "--device", device, "--address", f"{OURS}/{PREFIX}"]
    program = Program(ns, [sys.executable, "-P", *run, str(tmp_path / "server.py"), OURS])
    assert program.line() == "ready"
    with ns.socket() as first, ns.socket() as second:
        for sock in (first, second):
            sock.settimeout(20)
            sock.connect((OURS, 8000))
            sock.sendall(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert sock.recv(10_000).startswith(b"HTTP/1.1 200")
        program.process.send_signal(number)
        code, err = ended_within(program, 5.0)
        assert code == 128 + number
        assert "Exception" not in err and "Bad file" not in err, err
    assert ns.links() == ["lo"]


HTTP_SERVER = """
import http.server, sys
class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *args): pass
with http.server.ThreadingHTTPServer((sys.argv[1], 8000), Handler) as server:
    print("ready", flush=True)
    server.serve_forever()
"""


def ended_within(program, seconds):
    thread = Thread(program.end)
    until(lambda: not thread.alive, f"it ends within {seconds} s", seconds)
    code, _, err = thread.result()
    return code, err


def test_kill_leaves_no_interface(ns):
    program = our_program(ns, PHASES["accept"])
    assert program.line() == "go"
    assert "tap0" in ns.links()
    program.process.kill()
    assert program.end()[0] == -signal.SIGKILL
    until(lambda: ns.links() == ["lo"], "the interface goes with the process")


def test_an_interface_that_was_there_stays(tap):
    program = our_program_on(tap, "print('go'); stack.create_server((OURS, 7000)).accept()")
    assert program.line() == "go"
    program.process.send_signal(signal.SIGINT)
    program.end()
    assert "tap0" in tap.links()


# ---- fork -------------------------------------------------------------------------------------------

FORK = """
import os, errno
sock = stack.create_connection((KERNEL, 7000))
sock.sendall(b"before")
child = os.fork()
if child == 0:
    found = []
    for use in (lambda: sock.send(b"x"), lambda: sock.recv(1), stack.socket, lambda: stack.poll()):
        try:
            use()
            found.append("no error")
        except OSError as error:
            found.append(f"{error.errno} {error}")
    print("\\n".join(found))
    sock.close()
    stack.close()
    sys.exit(0)
os.waitpid(child, 0)
print("child ended")
sock.sendall(b", after")
sock.close()
"""


def test_a_forked_child_is_told_and_the_parent_goes_on(ns):
    program = our_program(ns, "print('stack'); sys.stdin.readline()\n" + FORK)
    assert program.line() == "stack"
    with ns.socket() as listener:
        listener.bind((KERNEL, 7000))
        listener.listen()
        listener.settimeout(20)
        program.say()
        sock, _ = listener.accept()
        with sock:
            sock.settimeout(20)
            for _ in range(4):
                line = program.line()
                assert "process" in line and line.startswith("9 "), line
            assert program.line() == "child ended"
            assert "tap0" in ns.links()
            data = b""
            while part := sock.recv(100):
                data += part
    assert data == b"before, after"
    assert program.end()[0] == 0


def test_what_the_parent_closes_is_free_although_a_child_lives_on(ns):
    """As multiprocessing forks: its children outlive the stack."""
    program = our_program(
        ns,
        "import os\n"
        "told, goes = os.pipe()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os.close(goes); os.read(told, 1); os._exit(0)\n"
        "stack.close()\n"
        "print('closed'); sys.stdin.readline()\n"
        "assert os.waitpid(child, os.WNOHANG) == (0, 0)\n"
        "os.close(goes); os.waitpid(child, 0)\n",
    )
    assert program.line() == "closed"
    until(lambda: "tap0" not in ns.links(), "the child has let go of it")
    program.say()
    assert program.end()[0] == 0


# ---- the device vanishes ----------------------------------------------------------------------------


def test_a_device_that_vanishes_gives_every_socket_an_error(link):
    import errno
    import socket

    ours, _ = link.tcp("we connect")
    idle, _ = link.tcp("we connect")
    udp, _ = link.udp()
    listener = link.our_listener()
    waiting = [Thread(ours.recv, 1), Thread(udp.recv, 1)]
    accepting = Thread(listener.accept)
    link.ns.delete_link("tap0")
    for thread in waiting:
        with pytest.raises(OSError) as caught:
            thread.result()
        assert caught.value.errno == errno.ENETDOWN
    with pytest.raises(OSError) as caught:
        idle.send(b"x")
    assert caught.value.errno == errno.ENETDOWN
    with pytest.raises(OSError) as caught:
        link.ours().connect((KERNEL, 7000))
    assert caught.value.errno in (errno.ENETDOWN, errno.ENETUNREACH)
    link.stack.add_address("127.0.0.2/8", "lo")  # the stack itself lives on: its loopback works
    a, b = link.ours(socket.SOCK_DGRAM), link.ours(socket.SOCK_DGRAM)
    b.bind(("127.0.0.1", 0))
    a.sendto(b"still here", b.getsockname())
    assert b.recv(100) == b"still here"
    listener.close()
    with pytest.raises(OSError):
        accepting.result()


def test_a_program_whose_device_vanishes_says_so_and_ends(ns):
    program = our_program(ns, PHASES["datagrams"])
    assert program.line() == "go"
    until(program.sleeps, "it sleeps")
    ns.delete_link("tap0")
    code, _, err = program.end()
    assert code == 1
    assert err.rstrip().endswith("OSError: [Errno 100] Network is down"), err
