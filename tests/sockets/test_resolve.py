"""Names and addresses resolve as in the standard module, as far as that needs no name server."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import barewire.socket
import pytest

from tests.sockets.kit import outcome

V4 = socket.AF_INET
NUMERIC, PASSIVE, CANON = socket.AI_NUMERICHOST, socket.AI_PASSIVE, socket.AI_CANONNAME

GETADDRINFO: list[tuple[Any, ...]] = [
    ("198.18.0.1", 80, V4),
    ("198.18.0.1", 80, V4, socket.SOCK_STREAM),
    ("198.18.0.1", 80, V4, socket.SOCK_DGRAM),
    ("198.18.0.1", 80, V4, 0, socket.IPPROTO_UDP),
    ("198.18.0.1", None, V4),
    ("198.18.0.1", "80", V4),
    ("198.18.0.1", b"80", V4),
    ("198.18.0.1", "http", V4, socket.SOCK_STREAM),
    ("198.18.0.1", "domain", V4, socket.SOCK_DGRAM),
    ("198.18.0.1", "nosuchservice", V4),
    ("198.18.0.1", -1, V4),
    ("198.18.0.1", 70000, V4),
    ("198.18.0.1", 1.5, V4),
    ("198.18.0.1", 80, V4, 0, 0, CANON),
    (b"198.18.0.1", 80),
    ("198.18.0.1", 80),
    ("198.18.0.1", 80, 0, socket.SOCK_STREAM, socket.IPPROTO_UDP),
    ("198.18.0.1", 80, 999),
    ("127.1", 80, V4),
    ("0x7f.1", 80, V4),
    ("256.0.0.1", 80, V4, 0, 0, NUMERIC),
    ("localhost", 80, V4),
    ("localhost", 80, V4, socket.SOCK_STREAM, 0, CANON),
    ("localhost", 80, V4, 0, 0, NUMERIC),
    ("", 80, V4, 0, 0, NUMERIC),
    ("name", 80, V4, 0, 0, NUMERIC),
    (None, 80, V4),
    (None, 80, V4, socket.SOCK_STREAM, 0, PASSIVE),
    (None, "http", V4, socket.SOCK_STREAM),
    (None, None, V4),
    (None, 80, V4, 0, 0, CANON),
    (3, 80),
    ("fd00::1", 80, V4, 0, 0, NUMERIC),
    ("fd00::1", 80, socket.AF_INET6, socket.SOCK_STREAM),
    ("fd00::1", 80, 0, socket.SOCK_STREAM),
    ("::1", 80, 0, 0, 0, NUMERIC),
]

CALLS: dict[str, Callable[[Any], Any]] = {
    "gethostbyname number": lambda m: m.gethostbyname("198.18.0.1"),
    "gethostbyname short": lambda m: m.gethostbyname("127.1"),
    "gethostbyname any": lambda m: m.gethostbyname(""),
    "gethostbyname broadcast": lambda m: m.gethostbyname("<broadcast>"),
    "gethostbyname localhost": lambda m: m.gethostbyname("localhost"),
    "gethostbyname_ex": lambda m: m.gethostbyname_ex("198.18.0.1"),
    "gethostbyname int": lambda m: m.gethostbyname(5)[0],
    "getnameinfo": lambda m: m.getnameinfo(("127.0.0.1", 80), 0),
    "getnameinfo numeric": lambda m: m.getnameinfo(("198.18.0.1", 80), 3),
    "getnameinfo datagram": lambda m: m.getnameinfo(("198.18.0.1", 53), 1 | socket.NI_DGRAM),
    "getnameinfo a name": lambda m: m.getnameinfo(("name.invalid", 80), 3),
    "getnameinfo short": lambda m: m.getnameinfo(("198.18.0.1",), 3),
    "getnameinfo list": lambda m: m.getnameinfo(["198.18.0.1", 80], 3),
    "getservbyname": lambda m: (m.getservbyname("http"), m.getservbyport(53, "udp")),
    "getprotobyname": lambda m: m.getprotobyname("tcp"),
    "gethostname": lambda m: m.gethostname(),
    "getfqdn localhost": lambda m: m.getfqdn("localhost"),
}


@pytest.mark.parametrize("arguments", GETADDRINFO, ids=repr)
def test_getaddrinfo(arguments: tuple[Any, ...]) -> None:
    ours = outcome(lambda: barewire.socket.getaddrinfo(*arguments))
    assert ours == outcome(lambda: socket.getaddrinfo(*arguments))


@pytest.mark.parametrize("name", CALLS)
def test_same(name: str) -> None:
    call = CALLS[name]
    theirs = outcome(lambda: call(socket))
    if isinstance(theirs, tuple) and theirs[0] is TypeError:
        with pytest.raises(TypeError):
            call(barewire.socket)
    else:
        assert outcome(lambda: call(barewire.socket)) == theirs


def test_results_are_enums() -> None:
    info = barewire.socket.getaddrinfo("198.18.0.1", 80)[0]
    assert isinstance(info[0], socket.AddressFamily)
    assert isinstance(info[1], socket.SocketKind)


@pytest.mark.parametrize("flags", [0, PASSIVE, socket.AI_ADDRCONFIG])
def test_only_ipv4_where_both_are_meant(flags: int) -> None:
    for host in (None, "localhost"):
        infos = barewire.socket.getaddrinfo(host, 80, 0, socket.SOCK_STREAM, 0, flags)
        expected = "0.0.0.0" if flags == PASSIVE and host is None else "127.0.0.1"
        assert infos == [(V4, socket.SOCK_STREAM, 6, "", (expected, 80))]


@pytest.mark.parametrize("name", ["barewire.invalid", "nosuchhost", "-"])
def test_names_stay_inside(name: str) -> None:
    for call in (
        lambda: barewire.socket.getaddrinfo(name, 80),
        lambda: barewire.socket.gethostbyname(name),
        lambda: barewire.socket.gethostbyname_ex(name),
    ):
        with pytest.raises(socket.gaierror) as caught:
            call()
        assert caught.value.errno == socket.EAI_NONAME
    assert barewire.socket.getfqdn(name) == name


def test_addresses_without_names() -> None:
    assert barewire.socket.getnameinfo(("198.18.0.1", 80), 0) == ("198.18.0.1", "http")
    with pytest.raises(socket.gaierror):
        barewire.socket.getnameinfo(("198.18.0.1", 80), socket.NI_NAMEREQD)
    with pytest.raises(socket.herror):
        barewire.socket.gethostbyaddr("198.18.0.1")
    assert barewire.socket.gethostbyaddr("127.0.0.1") == ("localhost", [], ["127.0.0.1"])
    assert barewire.socket.getfqdn("198.18.0.1") == "198.18.0.1"
    assert barewire.socket.getfqdn() == socket.gethostname()
