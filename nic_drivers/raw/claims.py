"""Whose the ports of an interface are, among the raw devices of a network namespace.

A claim is an abstract Unix address, which lasts as long as its socket. Anybody may bind one, so a claim
counts only if the user who made it has the packet socket that it names: that takes CAP_NET_RAW. The
kernel lists addresses, as bytes, with their users (unix_diag, Linux 5.3); what is no claim is passed over.
linux/sock_diag.h, linux/unix_diag.h
"""

from __future__ import annotations

import _socket
import errno
import itertools
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import closing

from ..errors import DeviceError
from .ports import Ports, overlap, ports_text, taken

_PREFIX = b"\0barewire-raw/"
_HEAD, _RANGE = (
    struct.Struct("=IQII"),
    struct.Struct("=HH"),
)  # interface, inode, process, number; ports
_SOCK_DIAG, _BY_FAMILY, _DUMP = 4, 20, 0x301
_SHOW_NAME, _SHOW_UID = 0x01, 0x40
_NAME, _UID = 0, 7  # attributes of an answer
_DONE, _ERROR = 3, 2
_numbers = itertools.count()


def claim_ports(ifindex: int, ports: Ports, receiver: _socket.socket) -> _socket.socket:
    """Claims the ports for as long as the socket that it gives is open; `receiver` is the device's packet
    socket. For the calling thread's network namespace. Raises DeviceError, EADDRINUSE, and OSError."""
    inode = os.fstat(receiver.fileno()).st_ino
    own = _PREFIX + _HEAD.pack(ifindex, inode, os.getpid(), next(_numbers) & 0xFFFFFFFF)
    own += b"".join(_RANGE.pack(*pair) for pair in ports)
    claim = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    try:
        claim.bind(own)
        for name, user in _addresses():
            theirs = _parse(name, ifindex, user) if name != own else None
            if theirs and overlap(ports, theirs[1]):
                text = f"another raw device (process {theirs[0]}) has {ports_text(theirs[1])}"
                raise taken(ports, text)
        return claim
    except BaseException:
        claim.close()
        raise


def _parse(name: bytes, ifindex: int, user: int) -> tuple[int, Ports] | None:
    """(process, ports) of a claim on the interface; None: it is none, or nobody's who may make one."""
    body = name.removeprefix(_PREFIX)
    if body == name or len(body) <= _HEAD.size or (len(body) - _HEAD.size) % _RANGE.size:
        return None
    theirs, inode, process, _ = _HEAD.unpack_from(body)
    if theirs != ifindex or (user, inode) not in _packet_sockets():
        return None
    return process, tuple(_RANGE.iter_unpack(body[_HEAD.size :]))


def _packet_sockets() -> set[tuple[int, int]]:
    """(user, inode) of the namespace's packet sockets."""
    with open("/proc/thread-self/net/packet", encoding="ascii") as table:
        rows = [line.split() for line in table.read().splitlines()[1:]]
    return {(int(row[7]), int(row[8])) for row in rows}


def _addresses() -> Iterator[tuple[bytes, int]]:
    """(address, user) of the namespace's Unix sockets."""
    request = struct.pack("=BBHIII8x", _socket.AF_UNIX, 0, 0, 0xFFFFFFFF, 0, _SHOW_NAME | _SHOW_UID)
    flags = _socket.SOCK_RAW | _socket.SOCK_CLOEXEC
    with closing(_socket.socket(_socket.AF_NETLINK, flags, _SOCK_DIAG)) as kernel:
        kernel.settimeout(5.0)
        kernel.send(struct.pack("=IHHII", 16 + len(request), _BY_FAMILY, _DUMP, 1, 0) + request)
        while True:
            answer = memoryview(kernel.recv(1 << 18))
            while len(answer) >= 16:
                length, kind = struct.unpack_from("=IH", answer)
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    text = "this kernel does not list Unix sockets (unix_diag): raw devices need it"
                    raise DeviceError(errno.ENOTSUP, text)
                found = dict(_attributes(answer[32:length]))
                if _NAME in found and _UID in found:
                    yield found[_NAME], int.from_bytes(found[_UID], sys.byteorder)
                answer = answer[max(length + 3 & ~3, 16) :]


def _attributes(data: memoryview) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        yield kind, bytes(data[4:length])
        data = data[max(length + 3 & ~3, 4) :]
