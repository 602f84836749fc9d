"""The standard library's network modules run unmodified on a stack, in a fresh interpreter.

Each program is run three times: on the kernel's sockets, with `barewire run`, and with nothing but
`sys.modules["socket"] = barewire.socket`; each must print the same.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest

from tests.sockets.kit import run_python as run

SWAP = 'import sys, barewire.socket; sys.modules["socket"] = barewire.socket\n'

PROGRAMS = {
    "http": """
        import http.server, threading, urllib.request

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self.answer(self.path.encode() * 1000)

            def do_POST(self):
                self.answer(self.rfile.read(int(self.headers["Content-Length"]))[::-1])

            def answer(self, body):
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            url = "http://127.0.0.1:%d/" % server.server_port
            for _ in range(3):
                print(len(urllib.request.urlopen(url + "path", timeout=10).read()))
            print(urllib.request.urlopen(url, data=b"abc" * 100000, timeout=10).read()[:9])
            try:
                urllib.request.urlopen("http://127.0.0.1:1/", timeout=10)
            except urllib.error.URLError as problem:
                print(problem)
            server.shutdown()
            thread.join()
        """,
    "http.client": """
        import http.client, http.server, threading

        with http.server.HTTPServer(("localhost", 0), http.server.SimpleHTTPRequestHandler) as server:
            server.RequestHandlerClass.log_message = lambda *args: None
            threading.Thread(target=server.handle_request, daemon=True).start()
            connection = http.client.HTTPConnection("localhost", server.server_port, timeout=10)
            connection.request("GET", "/nosuchfile")
            answer = connection.getresponse()
            print(answer.status, answer.reason, len(answer.read()) > 0)
            connection.close()
        """,
    "socketserver": """
        import socket, socketserver, threading

        class Stream(socketserver.StreamRequestHandler):
            def handle(self):
                for line in self.rfile:
                    self.wfile.write(line.upper())

        class Datagram(socketserver.DatagramRequestHandler):
            def handle(self):
                self.wfile.write(self.rfile.read().upper())

        tcp = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Stream)
        udp = socketserver.UDPServer(("127.0.0.1", 0), Datagram)
        threads = [threading.Thread(target=s.serve_forever) for s in (tcp, udp)]
        for thread in threads:
            thread.start()
        with socket.create_connection(tcp.server_address, 10) as sock, sock.makefile("rw") as file:
            file.write("hello\\nworld\\n")
            file.flush()
            print(file.readline(), file.readline())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(10)
            sock.sendto(b"datagram", udp.server_address)
            print(sock.recv(100))
        for server in (tcp, udp):
            server.shutdown()
            server.server_close()
        for thread in threads:
            thread.join()
        """,
    "timeout": """
        import socketserver

        class Server(socketserver.TCPServer):
            timeout = 0.05
            def handle_timeout(self):
                print("timeout")

        with Server(("127.0.0.1", 0), None) as server:
            server.handle_request()
        """,
    "xmlrpc": """
        import threading, xmlrpc.client, xmlrpc.server

        with xmlrpc.server.SimpleXMLRPCServer(("127.0.0.1", 0), logRequests=False) as server:
            server.register_function(pow)
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            with xmlrpc.client.ServerProxy("http://127.0.0.1:%d" % server.server_address[1]) as proxy:
                print(proxy.pow(2, 10))
            server.shutdown()
            thread.join()
        """,
    "other modules": """
        import ftplib, imaplib, logging.handlers, poplib, smtplib, ssl, subprocess, telnetlib
        import multiprocessing.connection, socket

        class Mine(ssl.SSLSocket):
            pass

        print(subprocess.run(["echo", "hello"], capture_output=True, timeout=10).stdout)
        one, other = socket.socketpair()
        one.send(b"unix")
        print(other.recv(10), isinstance(one, socket.socket), issubclass(Mine, socket.socket))
        one.close(), other.close()
        try:
            smtplib.SMTP("127.0.0.1", 1, timeout=5)
        except OSError as problem:
            print(problem)
        """,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_same_output(name: str, tmp_path: Path) -> None:
    program = textwrap.dedent(PROGRAMS[name])
    if sys.version_info >= (3, 13):
        program = program.replace(", telnetlib", "")
    plain, swapped = tmp_path / "program.py", tmp_path / "swapped.py"
    plain.write_text(
        "import warnings; warnings.simplefilter('ignore', DeprecationWarning)\n" + program
    )
    swapped.write_text("import barewire.socket\n" + SWAP + plain.read_text())
    expected = run(str(plain))
    assert expected
    assert run("-m", "barewire", "run", "--device", "pipe:a", str(plain)) == expected
    assert run(str(swapped)) == expected


def test_patch_and_back() -> None:
    program = """
        import barewire
        barewire.patch()
        import socket, select, selectors
        assert (socket, select, selectors) == (barewire.socket, barewire.select, barewire.selectors)
        import http.client
        assert http.client.socket is barewire.socket
        assert http.client.socket is barewire.socket
        barewire.unpatch()
        assert http.client.socket.__name__ == "socket"
        import socket
        assert socket.__name__ == "socket" and socket is not barewire.socket
        print("done")
        """
    assert run("-c", textwrap.dedent(program)) == "done\n"


def test_import_is_lazy() -> None:
    program = 'import sys, barewire; print("barewire.stack" in sys.modules, barewire.__version__)'
    lazy, _, version = run("-c", program).partition(" ")
    assert lazy == "False" and version.strip()


def test_modules_loaded_before_are_patched() -> None:
    program = """
        import http.client, select, selectors, socket, socketserver, ssl, urllib.request
        from socket import create_connection, socket as Socket
        from selectors import DefaultSelector
        class Derived(socket.socket): pass
        import logging, barewire
        logging.basicConfig(format="%(message)s")
        standard = [socket.socket]  # a name of its own would be replaced too
        def names():
            return [socket, Socket, create_connection, select.select, DefaultSelector,
                    http.client.socket, socketserver.socket, ssl.create_connection]
        before = names()
        barewire.patch()
        ours = [barewire.socket, barewire.socket.socket, barewire.socket.create_connection,
                barewire.select.select, barewire.selectors.DefaultSelector, barewire.socket,
                barewire.socket, barewire.socket.create_connection]
        assert names() == ours, names()
        assert issubclass(Derived, standard[0])
        import barewire._kernel as kernel
        assert kernel.socket.socket is standard[0]
        barewire.unpatch()
        assert names() == before, (names(), before)
        """
    done = run("-c", textwrap.dedent(program), said="Derived")
    assert not done
