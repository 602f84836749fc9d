"""The standard library's HTTPS, both ends unmodified, under `barewire run`."""

from __future__ import annotations

import textwrap
from pathlib import Path

import trustme

from tests.sockets.kit import run_python

PROGRAM = """
    import http.client, http.server, ssl, sys, threading, urllib.request
    certificate, authority = sys.argv[1:]
    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            self.wfile.write(b"x" * 100000)
        def log_message(self, *arguments):
            pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    trusts = ssl.create_default_context(cafile=authority)
    url = f"https://127.0.0.1:{server.server_port}/"
    with urllib.request.urlopen(url, context=trusts) as answer:
        print(answer.status, len(answer.read()))
    client = http.client.HTTPSConnection("127.0.0.1", server.server_port, context=trusts)
    client.request("GET", "/")
    kind = type(client.sock).__mro__[2].__module__
    print(len(client.getresponse().read()), kind)
    client.close()
    server.shutdown()
    server.server_close()
"""


def test_programs_of_the_standard_library(
    tmp_path: Path, authority: trustme.CA, certificate: trustme.LeafCert
) -> None:
    files = [str(tmp_path / name) for name in ("certificate.pem", "authority.pem", "program.py")]
    certificate.private_key_and_cert_chain_pem.write_to_path(files[0])
    authority.cert_pem.write_to_path(files[1])
    Path(files[2]).write_text(textwrap.dedent(PROGRAM))
    said = run_python("-m", "barewire", "run", "--device", "pipe:a", files[2], *files[:2])
    assert said == "200 100000\n100000 barewire.socket\n"
