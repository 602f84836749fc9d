"""Unmodified programs on a stack: http.server and urllib, through `barewire run`; curl if it is there."""

from __future__ import annotations

import hashlib
import os
import sys
import urllib.request

import pytest

from tests.netns.link import KERNEL, OURS, PREFIX, Program

pytestmark = pytest.mark.netns

SERVER = """
import http.server, sys
handler = http.server.SimpleHTTPRequestHandler
handler.log_message = lambda *args: None
with http.server.ThreadingHTTPServer((sys.argv[1], 8000), handler) as server:
    print("ready", flush=True)
    server.serve_forever()
"""

CLIENT = """
import hashlib, sys, urllib.request
with urllib.request.urlopen(sys.argv[1], timeout=20) as response:
    print(hashlib.sha256(response.read()).hexdigest())
"""


@pytest.fixture
def folder(tmp_path):
    """A folder with a file of 16 MB, and the programs."""
    (tmp_path / "file.bin").write_bytes(os.urandom(1 << 20) * 16)
    (tmp_path / "server.py").write_text(SERVER)
    (tmp_path / "client.py").write_text(CLIENT)
    return tmp_path


def sha256(folder):
    return hashlib.sha256((folder / "file.bin").read_bytes()).hexdigest()


def on_barewire(ns, folder, *command):
    device = f"tap:tap0?host={KERNEL}/{PREFIX}"
    run = ["-m", "barewire", "run", "--device", device, "--address", f"{OURS}/{PREFIX}"]
    return Program(ns, [sys.executable, "-P", *run, *command], cwd=folder)


@pytest.fixture
def server(ns, folder):
    program = on_barewire(ns, folder, "server.py", OURS)
    assert program.line() == "ready"
    return program


def test_urllib_of_the_kernel_fetches_from_our_http_server(ns, folder, server):
    def fetch():
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{OURS}:8000/file.bin", timeout=20) as response:
            return hashlib.sha256(response.read()).hexdigest()

    assert [ns.call(fetch) for _ in range(3)] == [sha256(folder)] * 3


def test_curl_fetches_from_our_http_server(ns, folder, server):
    done = ns.run(
        ["curl", "-sS", "--noproxy", "*", "-m", "20", f"http://{OURS}:8000/file.bin"],
        capture_output=True,
    )
    assert hashlib.sha256(done.stdout).hexdigest() == sha256(folder)


def test_our_urllib_fetches_from_the_kernels_http_server(ns, folder):
    # The interface is there before the stack: it attaches.
    from barewire.tools import netns

    netns.tap(ns, f"{KERNEL}/{PREFIX}")
    kernels = Program(ns, [sys.executable, "-P", "server.py", KERNEL], cwd=folder)
    assert kernels.line() == "ready"
    run = ["-m", "barewire", "run", "--device", "tap:tap0", "--address", f"{OURS}/{PREFIX}"]
    environment = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
    client = Program(
        ns,
        [sys.executable, "-P", *run, "client.py", f"http://{KERNEL}:8000/file.bin"],
        cwd=folder,
        env=environment,
    )
    assert client.line() == sha256(folder)
    assert client.end()[0] == 0


def test_configuration_by_environment_variable(ns, folder):
    value = f"tap:tap0?host={KERNEL}/{PREFIX} address={OURS}/{PREFIX} gateway={KERNEL}"
    script = (
        "import sys, barewire.socket; sys.modules['socket'] = barewire.socket\n"
        f"sys.argv = ['server.py', '{OURS}']\n" + SERVER
    )
    environment = {**os.environ, "BAREWIRE": value}
    program = Program(ns, [sys.executable, "-P", "-c", script], cwd=folder, env=environment)
    assert program.line() == "ready"

    def fetch():
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{OURS}:8000/file.bin", timeout=20) as response:
            return hashlib.sha256(response.read()).hexdigest()

    assert ns.call(fetch) == sha256(folder)
