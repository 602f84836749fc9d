"""Names and addresses without a name server: numbers, None and 'localhost'.

The kernel's C library does the parsing (AI_NUMERICHOST: it asks nobody), so tuples, their order,
service names and errors are the standard module's own. Other names are EAI_NONAME until there is
DNS inside the stack; they never go out through the kernel's sockets.
"""

from __future__ import annotations

from typing import Any

from . import _kernel
from ._address import resolve_host

_std = _kernel.socket

AddressTuple = tuple[Any, ...]
Info = tuple[Any, Any, int, str, AddressTuple]

_LOCAL: dict[int, str] = {
    _std.AF_INET: "127.0.0.1",
    _std.AF_INET6: "::1",
    _std.AF_UNSPEC: "127.0.0.1",
}


def _unknown_name() -> OSError:
    return _std.gaierror(_std.EAI_NONAME, "Name or service not known")


def _is_localhost(host: Any) -> bool:
    if isinstance(host, (bytes, bytearray)):
        host = host.decode("ascii", "replace")
    return isinstance(host, str) and host.lower() == "localhost"


def getaddrinfo(
    host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
) -> list[Info]:
    """Resolves host and port to address tuples, as socket.getaddrinfo does.

    IPv6 addresses are parsed when they are asked for; where a host means both families (None), only
    IPv4 is answered, as these sockets speak nothing else. Errors: socket.gaierror.
    """
    local = _is_localhost(host) and not flags & _std.AI_NUMERICHOST
    asked = _LOCAL.get(family, "127.0.0.1") if local else host
    asked_flags = (flags | _std.AI_NUMERICHOST) & ~_std.AI_ADDRCONFIG
    infos: list[Info] = list(_std.getaddrinfo(asked, port, family, type, proto, asked_flags))
    if family == _std.AF_UNSPEC:
        infos = [info for info in infos if info[0] == _std.AF_INET] or infos
    if local and infos and flags & _std.AI_CANONNAME:
        infos[0] = (*infos[0][:3], "localhost", infos[0][4])
    return infos


def getnameinfo(sockaddr: Any, flags: int) -> tuple[str, str]:
    """(host, service) of an address: names for 127.0.0.1 and for known ports, else numbers.

    Errors: gaierror EAI_NONAME if NI_NAMEREQD asks for a name that is not known here.
    """
    numeric: tuple[str, str] = _std.getnameinfo(
        sockaddr, flags & ~_std.NI_NAMEREQD | _std.NI_NUMERICHOST
    )
    if flags & _std.NI_NUMERICHOST:
        return numeric
    if numeric[0] in ("127.0.0.1", "::1"):
        return "localhost", numeric[1]
    if flags & _std.NI_NAMEREQD:
        raise _unknown_name()
    return numeric


def gethostbyname(hostname: str) -> str:
    """The IPv4 address of a host argument as dotted quad; gaierror EAI_NONAME."""
    if isinstance(hostname, (bytes, bytearray)):
        hostname = hostname.decode("latin-1")
    elif not isinstance(hostname, str):
        kind = type(hostname).__name__
        raise TypeError(f"gethostbyname() argument 1 must be str, bytes or bytearray, not {kind}")
    return resolve_host(hostname)


def gethostbyname_ex(hostname: str) -> tuple[str, list[str], list[str]]:
    """(name, aliases, addresses) of a host argument."""
    return hostname, [], [gethostbyname(hostname)]


def gethostbyaddr(ip_address: str) -> tuple[str, list[str], list[str]]:
    """(name, aliases, addresses); only 127.0.0.1 has a name here. Errors: herror, gaierror."""
    address = gethostbyname(ip_address)
    if address != "127.0.0.1":
        raise _std.herror(1, "Unknown host")
    return "localhost", [], [address]


def getfqdn(name: str = "") -> str:
    """The fully qualified name: of this machine for '' and '0.0.0.0', else what is known of name."""
    name = name.strip()
    if name in ("", "0.0.0.0", "::"):
        return str(_std.gethostname())
    try:
        return gethostbyaddr(name)[0]
    except OSError:
        return name
