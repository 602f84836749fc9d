"""Namespaces: made, entered, joined, and gone again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading

import pytest
from barewire.tools import netns

pytestmark = pytest.mark.netns


def current() -> str:
    return os.readlink("/proc/thread-self/ns/net")


def test_entered_changes_only_this_thread_and_comes_back(ns):
    outside = current()
    seen = []
    with ns.entered():
        inside = current()
        thread = threading.Thread(target=lambda: seen.append(current()))
        thread.start()
        thread.join()
        elsewhere = os.readlink("/proc/self/ns/net")
    assert inside != outside == current()
    assert seen == [inside], "a thread is born where its parent is"
    assert elsewhere in (inside, outside)


def test_entered_comes_back_after_an_error(ns):
    outside = current()
    with pytest.raises(ZeroDivisionError), ns.entered():
        _ = 1 // 0
    assert current() == outside


def test_the_loopback_is_up_and_nothing_else_is_there(ns):
    assert ns.links() == ["lo"]
    server, client = ns.socket(), ns.socket()
    with server, client:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client.settimeout(2)
        client.connect(server.getsockname())


def test_tcp_over_a_veth_uses_cubic_whatever_the_machine_prefers(veth_pair):
    a, b = veth_pair
    with a.socket() as server, b.socket() as client:
        server.bind(("198.18.0.1", 0))
        server.listen()
        client.settimeout(5)
        client.connect(server.getsockname())
        accepted, _ = server.accept()
        with accepted:
            for sock in (client, accepted):
                name = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
                assert name.rstrip(b"\0") == b"cubic"


def test_a_sysctl_is_set_inside_and_untouched_outside(ns):
    path = "/proc/sys/net/ipv4/ip_default_ttl"
    with open(path) as file:
        before = file.read()
    ns.sysctl("net.ipv4.ip_default_ttl", 33)
    with ns.entered(), open(path) as file:
        assert file.read().strip() == "33"
    with open(path) as file:
        assert file.read() == before


def test_an_interface_of_a_quiet_namespace_has_no_ipv6(ns):
    ns.quiet()
    netns.tap(ns, "198.18.0.1/24")
    with ns.entered(), open("/proc/thread-self/net/if_inet6") as file:
        assert "tap0" not in file.read()


def test_call_returns_and_raises(ns):
    assert ns.call(lambda a, b: (current(), a + b), 1, b=2)[1] == 3
    with pytest.raises(KeyError):
        ns.call({}.__getitem__, "missing")


def test_programs_run_inside(ns):
    done = ns.run(["readlink", "/proc/self/ns/net"], capture_output=True, text=True)
    with ns.entered():
        assert done.stdout.strip() == current()
    process = ns.python(
        "import os; print(os.readlink('/proc/self/ns/net'))", stdout=subprocess.PIPE
    )
    assert process.communicate(timeout=10)[0].decode() == done.stdout


def test_close_ends_its_programs_and_is_idempotent(make_netns):
    namespace = make_netns()
    process = namespace.popen(["sleep", "60"])
    namespace.close()
    namespace.close()
    assert process.returncode == -signal.SIGTERM


def test_veth_carries_traffic_between_two_namespaces(veth_pair):
    a, b = veth_pair
    with a.socket() as server, b.socket() as client:
        server.bind(("198.18.0.1", 0))
        server.listen()
        server.settimeout(5)
        client.settimeout(5)
        client.connect(server.getsockname())
        accepted, peer = server.accept()
        with accepted:
            accepted.settimeout(5)
            client.sendall(b"hello")
            assert accepted.recv(5, socket.MSG_WAITALL) == b"hello"
        assert peer[0] == "198.18.0.2"


def test_veth_does_not_appear_outside_and_can_be_deleted(veth_pair):
    a, b = veth_pair
    assert "veth0" not in os.listdir("/sys/class/net")
    a.delete_link("veth0")
    a.delete_link("veth0")
    assert b.links() == ["lo"]


def test_a_killed_process_leaves_no_namespace():
    script = (
        "from barewire.tools.netns import Namespace, veth\n"
        "a, b = Namespace('a'), Namespace('b')\n"
        "veth(a, b, '198.18.0.1/24', '198.18.0.2/24')\n"
        "import sys; print('made', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-P", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"made\n"
        process.kill()
    assert process.returncode == -signal.SIGKILL


def test_a_tap_waits_for_a_program_and_has_the_kernels_address(ns):
    netns.tap(ns, "198.18.0.1/24")
    assert sorted(ns.links()) == ["lo", "tap0"]
    with ns.socket(kind=socket.SOCK_DGRAM) as sock:
        sock.bind(("198.18.0.1", 0))
    ns.delete_link("tap0")
    assert ns.links() == ["lo"]


def test_the_program_form_runs_a_command():
    done = subprocess.run(
        [sys.executable, "-P", "-m", "barewire.tools.netns", "echo", "hello"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == "hello\n"


def test_the_program_form_without_a_command_says_how():
    with pytest.raises(SystemExit, match="usage"):
        netns.main([])


@pytest.mark.parametrize("login", [None, "alice"])
def test_who_is_called_root_inside_is_not_told_so_by_name(monkeypatch, login):
    """Two users' folders in /tmp, pytest's for one, must not be the same."""
    started = []
    monkeypatch.setattr(netns, "has_privilege", lambda: False)
    monkeypatch.setattr(os, "execve", lambda *arguments: started.append(arguments))
    monkeypatch.delenv(netns.MARK, raising=False)
    monkeypatch.delenv("LOGNAME", raising=False)
    if login:
        monkeypatch.setenv("LOGNAME", login)
    netns.in_user_namespace(["true"])
    [(_, command, environment)] = started
    assert command[-1] == "true"
    assert environment["LOGNAME"] == (login or str(os.getuid()))
