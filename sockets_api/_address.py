"""IPv4 socket addresses: Python's ("198.18.0.1", 80) and the engine's struct bw_addr.

Both directions are cached: a program that talks to a thousand peers converts each address once.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import Any

from barewire.stack import ffi

from ._kernel import socket as _std

_MAPPED = bytes(10) + b"\xff\xff"
_FIELDS = Struct("=16sIHH")  # struct bw_addr: ip, zone, port, pad
_WORDS = {"": "0.0.0.0", "<broadcast>": "255.255.255.255"}


def resolve_host(host: str) -> str:
    """A host argument of the socket calls as dotted quad.

    Numbers in every form of inet_aton(3), '' (any), '<broadcast>' and 'localhost'. Other names:
    socket.gaierror EAI_NONAME; there is no name server inside the stack.
    """
    if host in _WORDS:
        return _WORDS[host]
    if host.lower() == "localhost":
        return "127.0.0.1"
    name = host.encode() if host.isascii() else host  # bytes: a number needs no IDNA
    found = _std.getaddrinfo(name, None, _std.AF_INET, _std.SOCK_STREAM, 0, _std.AI_NUMERICHOST)
    return str(found[0][4][0])


def ip16(host: str) -> bytes:
    """The 16 bytes (IPv4 mapped) of a host argument."""
    return _MAPPED + _std.inet_aton(resolve_host(host))


@lru_cache(maxsize=4096, typed=True)
def pack(host: str, port: int) -> Any:
    """The struct bw_addr of a host argument and a port in 0-65535; read-only, as it is shared."""
    addr = ffi.new("struct bw_addr *")
    ffi.buffer(addr)[:] = _FIELDS.pack(ip16(host), 0, port, 0)
    return addr


@lru_cache(maxsize=4096)
def unpack(raw: bytes) -> tuple[str, int]:
    """The Python address of the bytes of a struct bw_addr."""
    ip, _zone, port, _pad = _FIELDS.unpack(raw)
    return _std.inet_ntoa(ip[12:]), port


def argument(caller: str, address: Any) -> Any:
    """The struct bw_addr of an address argument; the errors are the standard module's."""
    if not isinstance(address, tuple):
        kind = type(address).__name__
        raise TypeError(f"{caller}(): AF_INET address must be tuple, not {kind}")
    if len(address) != 2:
        raise TypeError("AF_INET address must be a pair (host, port)")
    host, port = address
    if type(host) is not str:
        host = _text(host)
    if type(port) is not int:
        port = _integer(port)
    if not 0 <= port <= 65535:
        raise OverflowError(f"{caller}(): port must be 0-65535.")
    if "\0" in host:
        raise TypeError("host name must not contain null character")
    return pack(host, port)


def _text(host: Any) -> str:
    if isinstance(host, str):
        return str(host)
    if isinstance(host, (bytes, bytearray)):
        return host.decode("latin-1")
    raise TypeError(f"str, bytes or bytearray expected, not {type(host).__name__}")


def _integer(port: Any) -> int:
    try:
        return int(port.__index__())
    except AttributeError:
        kind = type(port).__name__
        raise TypeError(f"'{kind}' object cannot be interpreted as an integer") from None
