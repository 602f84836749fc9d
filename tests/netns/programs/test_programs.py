"""Unmodified asyncio programs under `barewire run`, against real peers on the kernel, over tap and xdp."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from barewire.tools import netns
from barewire.tools.netns import Namespace

from tests.kit.privilege import for_machine
from tests.netns.link import KERNEL, OURS, PATIENCE, PREFIX, Program
from tests.netns.programs.servers import Servers

pytestmark = pytest.mark.netns

HERE = Path(__file__).parent
SLOW = pytest.mark.slow(limit=120)
CLEAN = {k: v for k, v in os.environ.items() if k != "BAREWIRE" and "proxy" not in k.lower()}
PROGRAMS = str(HERE / "programs.py")
GOT = sum(range(20))


class Place(NamedTuple):
    """The namespaces of the kernel's end and of the stack's, and the stack's device."""

    kernel: Namespace
    stack: Namespace
    device: str

    def on_kernel(self, *command: str) -> Program:
        return Program(self.kernel, [sys.executable, "-P", *command], cwd=HERE, env=CLEAN)

    def on_stack(self, *command: str) -> Program:
        run = ["-m", "barewire", "run", "--device", self.device, "--address", f"{OURS}/{PREFIX}"]
        return Program(self.stack, [sys.executable, "-P", *run, *command], cwd=HERE, env=CLEAN)


@pytest.fixture(params=["tap", *for_machine("xdp")])
def place(request: pytest.FixtureRequest, make_netns: Callable[..., Namespace]) -> Place:
    kernel = make_netns("kernel")
    if request.param == "tap":
        netns.tap(kernel, f"{KERNEL}/{PREFIX}")
        return Place(kernel, kernel, "tap:tap0")
    stack = make_netns("stack")
    netns.veth(kernel, stack, f"{KERNEL}/{PREFIX}", "192.0.2.1/24")
    kernel.finish_checksums("veth0")
    return Place(kernel, stack, "xdp:veth0")


@pytest.fixture
def servers() -> Iterator[Servers]:
    made = Servers()
    yield made
    made.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file with a certificate of both ends' addresses; its key beside it."""
    from datetime import UTC, datetime, timedelta
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "barewire")])
    now = datetime.now(UTC)
    names = [x509.IPAddress(ip_address(address)) for address in (KERNEL, OURS)]
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("certificate")
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return str(folder / "cert.pem")


def await_server(ns: Namespace, address: str, port: int) -> None:
    """Until it takes connections."""
    end = time.monotonic() + PATIENCE
    while True:
        with ns.socket() as sock:
            sock.settimeout(1)
            with contextlib.suppress(OSError):
                sock.connect((address, port))
                return
        assert time.monotonic() < end, "there is no server"
        time.sleep(0.02)


def check(client: Program, *, on_stack: bool) -> None:
    answer = client.json()
    assert (answer["posted"], answer["got"]) == (True, GOT)
    assert answer["loop"].startswith("barewire.") == on_stack


UVICORN = ["-m", "uvicorn", "asgi:app", "--no-access-log", "--host"]
HYPERCORN = ["-m", "hypercorn", "asgi:app", "--workers", "0", "--bind"]  # one process


# ---- servers on the stack, clients on the kernel --------------------------------------------------


@pytest.mark.parametrize(
    ("command", "client"),
    [
        ([PROGRAMS, "aiohttp_server", OURS, "8000"], "aiohttp_client"),
        ([*UVICORN, OURS, "--http", "httptools"], "httpx_client"),
        pytest.param([*UVICORN, OURS, "--http", "h11"], "aiohttp_client", marks=SLOW),
        pytest.param([*HYPERCORN, f"{OURS}:8000"], "httpx_client", marks=SLOW),
        pytest.param(
            [PROGRAMS, "websockets_server", OURS, "8000"], "websockets_client", marks=SLOW
        ),
    ],
    ids=["aiohttp", "uvicorn", "uvicorn-h11", "hypercorn", "websockets"],
)
def test_server(place: Place, command: list[str], client: str) -> None:
    server = place.on_stack(*command)
    await_server(place.kernel, OURS, 8000)
    check(place.on_kernel(PROGRAMS, client, OURS, "8000"), on_stack=False)
    server.process.terminate()
    _, out, err = server.end()
    assert "Traceback" not in out + err, err


@pytest.mark.parametrize("place", ["tap"], indirect=True)
def test_uvicorn_says_whose_loop_it_got(place: Place) -> None:
    """--loop auto takes uvloop where it is installed: one line says that it is not."""
    server = place.on_stack(*UVICORN, OURS, "--loop", "auto")
    await_server(place.kernel, OURS, 8000)
    server.process.terminate()
    _, _, err = server.end()
    assert err.count("uvloop") == 1 and "Traceback" not in err


@SLOW
@pytest.mark.parametrize("client", ["aiohttp_client", "httpx_client"])
def test_https_server(place: Place, certificate: str, client: str) -> None:
    place.on_stack(PROGRAMS, "aiohttp_server", OURS, "8443", certificate)
    await_server(place.kernel, OURS, 8443)
    check(place.on_kernel(PROGRAMS, client, OURS, "8443", certificate), on_stack=False)


# ---- clients on the stack, servers on the kernel --------------------------------------------------


@pytest.mark.parametrize(
    ("command", "client"),
    [
        ([PROGRAMS, "aiohttp_server", KERNEL, "8000"], "aiohttp_client"),
        pytest.param([*UVICORN, KERNEL], "httpx_client", marks=SLOW),
        pytest.param(
            [PROGRAMS, "websockets_server", KERNEL, "8000"], "websockets_client", marks=SLOW
        ),
    ],
    ids=["aiohttp", "httpx", "websockets"],
)
def test_client(place: Place, command: list[str], client: str) -> None:
    place.on_kernel(*command)
    await_server(place.kernel, KERNEL, 8000)
    check(place.on_stack(PROGRAMS, client, KERNEL, "8000"), on_stack=True)


@SLOW
@pytest.mark.parametrize("client", ["aiohttp_client", "httpx_client"])
def test_https_client(place: Place, certificate: str, client: str) -> None:
    place.on_kernel(PROGRAMS, "aiohttp_server", KERNEL, "8443", certificate)
    await_server(place.kernel, KERNEL, 8443)
    check(place.on_stack(PROGRAMS, client, KERNEL, "8443", certificate), on_stack=True)


@pytest.mark.parametrize(
    ("server", "client"),
    [
        ("redis", "redis_client"),
        pytest.param("postgres", "asyncpg_client", marks=SLOW),
        pytest.param("mosquitto", "aiomqtt_client", marks=SLOW),
    ],
)
def test_client_of_a_systems_server(
    place: Place, servers: Servers, server: str, client: str
) -> None:
    port = servers.start(place.kernel, server, KERNEL)
    await_server(place.kernel, KERNEL, port)
    check(place.on_stack(PROGRAMS, client, KERNEL, str(port)), on_stack=True)


# ---- QUIC ----------------------------------------------------------------------------------------


@SLOW
@pytest.mark.parametrize("side", ["client", "server"])
def test_quic(place: Place, certificate: str, side: str) -> None:
    """Datagrams, which get lost while the server is not there yet: QUIC sends them again."""
    where, other = (KERNEL, place.on_kernel) if side == "client" else (OURS, place.on_stack)
    other(PROGRAMS, "aioquic_server", where, "4433", certificate)
    run: Any = place.on_stack if side == "client" else place.on_kernel
    check(run(PROGRAMS, "aioquic_client", where, "4433", certificate), on_stack=side == "client")
