"""getsockopt and setsockopt: Linux's numbers and layouts outside, the engine's options inside.

Most options are one int; the tables name those. The few with a layout of their own (SO_LINGER,
TCP_CONGESTION, SO_BINDTODEVICE) or that only say what the socket is have a function each.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial
from operator import index
from struct import Struct
from typing import Any

from barewire.stack import ffi, lib
from barewire.stack.congestion import name_of, names

from ._errors import check, error
from ._kernel import socket as sockets

_INT = Struct("i")
_LINGER = Struct("ii")  # struct linger: l_onoff, l_linger
_LINGER_ENDLESS = -1752346657  # how a kernel of 250 Hz says the longest time that it knows
_TIMEVAL = Struct("ll")  # struct timeval: seconds, microseconds
_NAME_MAX = 16  # TCP_CA_NAME_MAX and IFNAMSIZ
_INT_MAX = 2**31 - 1
_UINT, _ULONG = Struct("I"), Struct("L")
_UINT_MAX = 2**32 - 1
_SO_MAX_PACING_RATE = getattr(sockets, "SO_MAX_PACING_RATE", 47)

SOCKET, IP, TCP = sockets.SOL_SOCKET, sockets.IPPROTO_IP, sockets.IPPROTO_TCP
UDP = sockets.IPPROTO_UDP

# Linux's numbers that not every version of the socket module has.
TCP_FASTOPEN_CONNECT, TCP_FASTOPEN_KEY, TCP_FASTOPEN_NO_COOKIE = 30, 33, 34
UDP_SEGMENT, UDP_GRO = 103, 104
IP_PKTINFO, IP_RECVTTL, IP_RECVTOS, IP_RECVORIGDSTADDR = 8, 12, 13, 20
SO_PRIORITY, SO_TIMESTAMP, SO_TIMESTAMPNS, IP_MTU = 12, 29, 35, 14

# 0 or 1, whatever was written.
_FLAGS = {
    (SOCKET, sockets.SO_REUSEADDR): lib.BW_OPT_REUSEADDR,
    (SOCKET, sockets.SO_REUSEPORT): lib.BW_OPT_REUSEPORT,
    (SOCKET, sockets.SO_KEEPALIVE): lib.BW_OPT_KEEPALIVE,
    (SOCKET, sockets.SO_BROADCAST): lib.BW_OPT_BROADCAST,
    (SOCKET, sockets.SO_OOBINLINE): lib.BW_OPT_OOBINLINE,
    (IP, getattr(sockets, "IP_RECVERR", 11)): lib.BW_OPT_RECVERR,
    (IP, IP_PKTINFO): lib.BW_OPT_PKTINFO,
    (IP, IP_RECVTTL): lib.BW_OPT_RECVTTL,
    (IP, IP_RECVTOS): lib.BW_OPT_RECVTOS,
    (IP, IP_RECVORIGDSTADDR): lib.BW_OPT_RECVORIGDSTADDR,
    (UDP, UDP_GRO): lib.BW_OPT_UDP_GRO,
    (TCP, sockets.TCP_NODELAY): lib.BW_OPT_NODELAY,
    (TCP, sockets.TCP_CORK): lib.BW_OPT_CORK,
    (TCP, sockets.TCP_QUICKACK): lib.BW_OPT_QUICKACK,
}

_NUMBERS = {
    (SOCKET, sockets.SO_SNDBUF): lib.BW_OPT_SNDBUF,
    (SOCKET, sockets.SO_RCVBUF): lib.BW_OPT_RCVBUF,
    (SOCKET, SO_PRIORITY): lib.BW_OPT_PRIORITY,
    (IP, sockets.IP_TTL): lib.BW_OPT_TTL,
    (IP, sockets.IP_TOS): lib.BW_OPT_TOS,
    (IP, getattr(sockets, "IP_MTU_DISCOVER", 10)): lib.BW_OPT_MTU_DISCOVER,
    (TCP, sockets.TCP_MAXSEG): lib.BW_OPT_MAXSEG,
    (TCP, sockets.TCP_KEEPIDLE): lib.BW_OPT_KEEPIDLE,
    (TCP, sockets.TCP_KEEPINTVL): lib.BW_OPT_KEEPINTVL,
    (TCP, sockets.TCP_KEEPCNT): lib.BW_OPT_KEEPCNT,
    (TCP, sockets.TCP_SYNCNT): lib.BW_OPT_SYNCNT,
    (TCP, sockets.TCP_LINGER2): lib.BW_OPT_LINGER2,
    (TCP, sockets.TCP_DEFER_ACCEPT): lib.BW_OPT_DEFER_ACCEPT,
    (TCP, sockets.TCP_USER_TIMEOUT): lib.BW_OPT_USER_TIMEOUT,
    (TCP, getattr(sockets, "TCP_FASTOPEN", 23)): lib.BW_OPT_FASTOPEN,
    (TCP, TCP_FASTOPEN_CONNECT): lib.BW_OPT_FASTOPEN_CONNECT,
    (TCP, TCP_FASTOPEN_NO_COOKIE): lib.BW_OPT_FASTOPEN_NO_COOKIE,
    (UDP, UDP_SEGMENT): lib.BW_OPT_UDP_SEGMENT,
}

# Linux keeps room for its own bookkeeping and says so: what is read is twice what was written.
_DOUBLED = {(SOCKET, sockets.SO_SNDBUF), (SOCKET, sockets.SO_RCVBUF)}


def _engine_get(sock: Any, option: int) -> int:
    value = ffi.new("int64_t *")
    check(lib.host_getopt(sock._host, sock._sock, option, value))
    return int(value[0])


def _engine_set(sock: Any, option: int, value: int) -> None:
    check(lib.host_setopt(sock._host, sock._sock, option, value))


LINGER_OFF, LINGER_ENDLESS = -1, -2  # of BW_OPT_LINGER
_LONGEST_TIME = 2**32 - 1  # ms, of BW_OPT_RCVTIMEO and BW_OPT_SNDTIMEO


# ---- options with a layout, or an answer, of their own ---------------------------------------


def _get_linger(sock: Any) -> bytes:
    seconds = _engine_get(sock, lib.BW_OPT_LINGER)
    if seconds == LINGER_OFF:
        return _LINGER.pack(0, 0)
    return _LINGER.pack(1, _LINGER_ENDLESS if seconds == LINGER_ENDLESS else seconds)


def _set_linger(sock: Any, value: bytes) -> None:
    if len(value) < _LINGER.size:
        raise error(-errno.EINVAL)
    on, seconds = _LINGER.unpack_from(value)
    if not on:
        seconds = LINGER_OFF
    elif seconds < 0:  # as Linux, which reads it as a large number
        seconds = LINGER_ENDLESS
    _engine_set(sock, lib.BW_OPT_LINGER, seconds)


def _get_time(sock: Any, option: int) -> bytes:
    return _TIMEVAL.pack(*divmod(max(_engine_get(sock, option), 0) * 1000, 1_000_000))


def _set_time(sock: Any, option: int, value: bytes) -> None:
    """As Linux: rounded up to the tick, here a millisecond; negative: no wait at all."""
    if len(value) < _TIMEVAL.size:
        raise error(-errno.EINVAL)
    seconds, micros = _TIMEVAL.unpack_from(value)
    if not 0 <= micros < 1_000_000:
        raise error(-errno.EDOM)
    ms = seconds * 1000 - -micros // 1000 if seconds >= 0 else -1
    _engine_set(sock, option, ms if ms < _LONGEST_TIME else 0)


def _get_stamps(sock: Any, kind: int) -> bytes:
    return _INT.pack(_engine_get(sock, lib.BW_OPT_TIMESTAMP) == kind)


def _set_stamps(sock: Any, kind: int, value: bytes) -> None:
    """The two kinds exclude each other, and either's 0 ends both."""
    chosen = kind if _int_of(SOCKET, value) else lib.BW_TIMESTAMP_OFF
    _engine_set(sock, lib.BW_OPT_TIMESTAMP, chosen)


def time_limit(sock: Any, sending: bool) -> float | None:
    """SO_SNDTIMEO or SO_RCVTIMEO in seconds, for sockets without a timeout of Python's."""
    ms = _engine_get(sock, lib.BW_OPT_SNDTIMEO if sending else lib.BW_OPT_RCVTIMEO)
    return max(ms, 0) / 1000 if ms else None


def _get_congestion(sock: Any) -> bytes:
    name = name_of(_engine_get(sock, lib.BW_OPT_CONGESTION))
    return name.encode().ljust(_NAME_MAX, b"\0")


def _set_congestion(sock: Any, value: bytes) -> None:
    name = value.split(b"\0")[0].decode("ascii", "replace")
    number = names().get(name)
    if number is None:
        raise error(-errno.ENOENT)
    _engine_set(sock, lib.BW_OPT_CONGESTION, number)


def _get_pacing(sock: Any) -> bytes:
    """As Linux: 8 bytes, of which an int-sized reader sees the low half, ~0 for "no limit"."""
    rate = _engine_get(sock, lib.BW_OPT_MAX_PACING_RATE)
    return _ULONG.pack(rate or 2**64 - 1)


def _set_pacing(sock: Any, value: bytes) -> None:
    """Bytes a second, as unsigned int or unsigned long; all ones, or 0, is no limit."""
    if len(value) >= _ULONG.size:
        rate, unlimited = _ULONG.unpack_from(value)[0], 2**64 - 1
    elif len(value) >= _UINT.size:
        rate, unlimited = _UINT.unpack_from(value)[0], _UINT_MAX
    else:
        raise error(-errno.EINVAL)
    rate = 0 if rate == unlimited else min(rate, 2**63 - 1)
    _engine_set(sock, lib.BW_OPT_MAX_PACING_RATE, rate)


def _get_device(sock: Any) -> bytes:
    index = _engine_get(sock, lib.BW_OPT_BINDTOIF)
    names = [i.name for i in sock._stack.interfaces if i.index == index]
    return names[0].encode() + b"\0" if names else b""


def _set_device(sock: Any, value: bytes) -> None:
    name = value.split(b"\0")[0].decode("utf-8", "replace")
    index = {i.name: i.index for i in sock._stack.interfaces}.get(name, 0)
    if name and not index:
        raise error(-errno.ENODEV)
    _engine_set(sock, lib.BW_OPT_BINDTOIF, index)


def _get_error(sock: Any) -> bytes:
    return _INT.pack(check(lib.host_take_error(sock._host, sock._sock)))


def _get_protocol(sock: Any) -> bytes:
    stream = sock._type == sockets.SOCK_STREAM
    return _INT.pack(sockets.IPPROTO_TCP if stream else sockets.IPPROTO_UDP)


def _get_accepting(sock: Any) -> bytes:
    stream = sock._type == sockets.SOCK_STREAM
    return _INT.pack(_engine_get(sock, lib.BW_OPT_ACCEPTCONN) if stream else 0)


def _fast_open_key(sock: Any, value: bytes) -> bytes:
    keys = ffi.new("uint8_t[32]")
    n = check(lib.host_fastopen_key(sock._host, sock._sock, value, len(value), keys))
    return bytes(ffi.buffer(keys, n))


def _set_fast_open_key(sock: Any, value: bytes) -> None:
    if not value:
        raise error(-errno.EINVAL)
    _fast_open_key(sock, value)


def tcp_info(sock: Any) -> bytes:
    """struct tcp_info of linux/tcp.h."""
    info = ffi.new("struct bw_tcp_info *")
    check(lib.host_tcp_info(sock._host, sock._sock, info))
    return bytes(ffi.buffer(info))


_GETTERS: dict[tuple[int, int], Callable[[Any], bytes]] = {
    (SOCKET, sockets.SO_ERROR): _get_error,
    (SOCKET, sockets.SO_TYPE): lambda sock: _INT.pack(sock._type),
    (SOCKET, sockets.SO_DOMAIN): lambda sock: _INT.pack(sockets.AF_INET),
    (SOCKET, sockets.SO_PROTOCOL): _get_protocol,
    (SOCKET, sockets.SO_ACCEPTCONN): _get_accepting,
    (SOCKET, sockets.SO_LINGER): _get_linger,
    (SOCKET, sockets.SO_RCVTIMEO): partial(_get_time, option=lib.BW_OPT_RCVTIMEO),
    (SOCKET, sockets.SO_SNDTIMEO): partial(_get_time, option=lib.BW_OPT_SNDTIMEO),
    (SOCKET, SO_TIMESTAMP): partial(_get_stamps, kind=lib.BW_TIMESTAMP_US),
    (SOCKET, SO_TIMESTAMPNS): partial(_get_stamps, kind=lib.BW_TIMESTAMP_NS),
    (IP, IP_MTU): lambda sock: _INT.pack(_engine_get(sock, lib.BW_OPT_MTU)),
    (SOCKET, sockets.SO_BINDTODEVICE): _get_device,
    (SOCKET, _SO_MAX_PACING_RATE): _get_pacing,
    (TCP, sockets.TCP_CONGESTION): _get_congestion,
    (TCP, TCP_FASTOPEN_KEY): lambda sock: _fast_open_key(sock, b""),
    (TCP, sockets.TCP_INFO): tcp_info,
}

_SETTERS: dict[tuple[int, int], Callable[[Any, bytes], None]] = {
    (SOCKET, sockets.SO_LINGER): _set_linger,
    (SOCKET, sockets.SO_RCVTIMEO): lambda sock, value: _set_time(sock, lib.BW_OPT_RCVTIMEO, value),
    (SOCKET, sockets.SO_SNDTIMEO): lambda sock, value: _set_time(sock, lib.BW_OPT_SNDTIMEO, value),
    (SOCKET, SO_TIMESTAMP): lambda sock, value: _set_stamps(sock, lib.BW_TIMESTAMP_US, value),
    (SOCKET, SO_TIMESTAMPNS): lambda sock, value: _set_stamps(sock, lib.BW_TIMESTAMP_NS, value),
    (SOCKET, sockets.SO_BINDTODEVICE): _set_device,
    (SOCKET, _SO_MAX_PACING_RATE): _set_pacing,
    (TCP, sockets.TCP_CONGESTION): _set_congestion,
    (TCP, TCP_FASTOPEN_KEY): _set_fast_open_key,
}


# ---- the two calls -------------------------------------------------------------------------------


def _known_level(sock: Any, level: int) -> bool:
    own = TCP if sock._type == sockets.SOCK_STREAM else UDP
    return level in (SOCKET, IP, own)


def _read(sock: Any, level: int, name: int) -> bytes:
    """The option as the kernel lays it out."""
    check(lib.host_readiness(sock._host, sock._sock))  # a closed socket says EBADF first
    if not _known_level(sock, level):
        raise error(-errno.EOPNOTSUPP)
    key = (level, name)
    getter = _GETTERS.get(key)
    if getter:
        return getter(sock)
    number = _FLAGS.get(key) or _NUMBERS.get(key)
    if number is None:
        raise error(-errno.ENOPROTOOPT)
    return _INT.pack(_engine_get(sock, number))


def getsockopt(sock: Any, level: int, name: int, buflen: int = 0) -> int | bytes:
    """An option's value as int, or with buflen (1-1024) its first buflen bytes.

    Errors: ENOPROTOOPT for an option that is not known, EOPNOTSUPP for such a level.
    """
    if index(buflen) and not 0 < buflen <= 1024:
        raise OSError("getsockopt buflen out of range")
    value = _read(sock, level, name)
    if buflen:
        return value[:buflen]
    return int(_INT.unpack(value[: _INT.size].ljust(_INT.size, b"\0"))[0])


def _int_of(level: int, value: bytes) -> int:
    if len(value) >= _INT.size:
        return int(_INT.unpack_from(value)[0])
    if level == IP and value:
        return value[0]  # ip(7): options of this level take one byte as well
    raise error(-errno.EINVAL)


def _bytes_of(value: Any, optlen: int | None) -> bytes:
    """The value argument in the kernel's layout."""
    if value is None and optlen is not None:
        raise error(-errno.EFAULT)  # a null pointer; no option here takes one
    if optlen is not None:
        raise TypeError("setsockopt() takes exactly 3 arguments (4 given)")
    if isinstance(value, int) and -_INT_MAX - 1 <= value <= _INT_MAX:
        return _INT.pack(value)
    try:
        return bytes(memoryview(value))
    except TypeError:
        kind = type(value).__name__
        raise TypeError(f"a bytes-like object is required, not '{kind}'") from None


def setsockopt(sock: Any, level: int, name: int, value: Any, optlen: int | None = None) -> None:
    """Sets an option from an int or from bytes in the kernel's layout.

    Errors: ENOPROTOOPT for an option that is not known, EINVAL for a value it cannot have.
    """
    raw = _bytes_of(value, optlen)
    key = (level, name)
    if key in _SETTERS and _known_level(sock, level):
        return _SETTERS[key](sock, raw)
    if (key not in _FLAGS and key not in _NUMBERS) or not _known_level(sock, level):
        check(lib.host_readiness(sock._host, sock._sock))
        raise error(-errno.ENOPROTOOPT)
    number = _int_of(level, raw)
    if key in _FLAGS:
        return _engine_set(sock, _FLAGS[key], int(number != 0))
    if key in _DOUBLED:
        number = min(2 * max(number, 0), _INT_MAX) if number >= 0 else _INT_MAX
    return _engine_set(sock, _NUMBERS[key], number)
