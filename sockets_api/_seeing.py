"""What a stack shows of itself: counters and sockets, each read in one crossing or few."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

from barewire.stack import ffi, lib
from barewire.stack.control import Interface

from . import _errors
from ._address import unpack
from ._kernel import socket as _std

_ROWS = 256  # sockets a crossing
_STATES = {
    lib.BW_TCP_ESTABLISHED: "ESTAB",
    lib.BW_TCP_SYN_SENT: "SYN-SENT",
    lib.BW_TCP_SYN_RCVD: "SYN-RECV",
    lib.BW_TCP_FIN_WAIT_1: "FIN-WAIT-1",
    lib.BW_TCP_FIN_WAIT_2: "FIN-WAIT-2",
    lib.BW_TCP_TIME_WAIT: "TIME-WAIT",
    lib.BW_TCP_CLOSED: "UNCONN",
    lib.BW_TCP_CLOSE_WAIT: "CLOSE-WAIT",
    lib.BW_TCP_LAST_ACK: "LAST-ACK",
    lib.BW_TCP_LISTEN: "LISTEN",
    lib.BW_TCP_CLOSING: "CLOSING",
}


class SocketInfo(NamedTuple):
    """A socket as `ss` lists it.

    state: ss's names (ESTAB, LISTEN, TIME-WAIT, UNCONN ...). local, remote: (host, port), ("0.0.0.0", 0)
    where there is none. recv_queue, send_queue: bytes to read, and unsent or not acknowledged; of a
    listener the connections to accept and its backlog. interface: the index of the one it is bound to, 0:
    none. is_open: the program has it; else it lives on by itself, or waits to be accepted.
    """

    type: _std.SocketKind
    state: str
    local: tuple[str, int]
    remote: tuple[str, int]
    recv_queue: int
    send_queue: int
    interface: int
    is_open: bool


def sockets(host: Any) -> Iterator[SocketInfo]:
    """Of all kinds, in no order."""
    rows = ffi.new("struct bw_sock_info[]", _ROWS)
    at = ffi.new("uint32_t *", 0)
    while at[0] != lib.BW_LIST_END:
        n = lib.host_list(host, at, rows, _ROWS)
        found = [_info(row) for row in rows[0:n]]
        if not found and at[0] == 0:
            return  # the stack has no memory any more
        yield from found


def _info(row: Any) -> SocketInfo:
    return SocketInfo(
        _std.SOCK_DGRAM if row.type == lib.BW_SOCK_UDP else _std.SOCK_STREAM,
        _STATES[row.state],
        unpack(bytes(ffi.buffer(ffi.addressof(row, "local")))),
        unpack(bytes(ffi.buffer(ffi.addressof(row, "remote")))),
        int(row.rcv_queued),
        int(row.snd_queued),
        int(row.ifindex),
        bool(row.open),
    )


@cache
def _names() -> tuple[str, ...]:
    return tuple(ffi.string(lib.bw_counter_name(i)).decode() for i in range(lib.bw_counter_count()))


def counters(host: Any) -> dict[str, int]:
    """The engine's, all of one moment."""
    names = _names()
    values = ffi.new("uint64_t[]", len(names))
    lib.host_counters(host, values, len(names))
    return dict(zip(names, ffi.unpack(values, len(names)), strict=True))


def stats(host: Any) -> dict[str, int]:
    """struct host_stats."""
    found = ffi.new("struct host_stats *")
    _errors.check(lib.host_get_stats(host, found))
    return {n: int(getattr(found, n)) for n, _ in ffi.typeof("struct host_stats").fields}


def interfaces(host: Any, known: Iterable[Interface]) -> tuple[Interface, ...]:
    """The control plane's interfaces, and of each whether it is up now."""
    down = int(lib.host_links_down(host))
    return tuple(replace(i, up=False) if down >> i.index & 1 else i for i in known)
