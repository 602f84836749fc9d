"""The guard: an nft table of ours that keeps the kernel from answering for the stack's ports.

The kernel has no socket for those ports and would reset TCP, and call UDP unreachable. The table
drops their packets on the way in (a packet socket has seen them before). It is owned by its netlink
socket (NFT_TABLE_F_OWNER, Linux 5.12): nobody else can change it, and it goes with the socket, however
the process ends. Spoken by hand, for pyroute2's sockets live in an event loop of theirs.
linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h
"""

from __future__ import annotations

import _socket
import errno
import os
import struct

from ..errors import DeviceError
from ..kernel import socket
from .ports import Ports

_NETLINK_NETFILTER = 12
_REQUEST, _ACK, _EXCL, _CREATE, _APPEND = 0x1, 0x4, 0x200, 0x400, 0x800
_NLMSG_ERROR, _BATCH_BEGIN, _BATCH_END = 2, 0x10, 0x11
_NFTABLES, _NEW_TABLE, _NEW_CHAIN, _NEW_RULE = 10, 0, 3, 6
_IPV4, _TABLE_OWNER, _LOCAL_IN = 2, 2, 1
_META_IIF, _META_L4PROTO = 4, 16
_EQUAL, _AT_MOST, _AT_LEAST = 0, 3, 5
_TRANSPORT, _DESTINATION_PORT, _DROP = 2, 2, 0
_CHAIN, _PATIENCE = b"input", 5.0


def open_guard(table: str, ifindex: int, ports: Ports) -> _socket.socket:
    """Drops IPv4 TCP and UDP to the ports that come in by the interface, for as long as the socket is
    open. For the calling thread's network namespace. Raises DeviceError."""
    try:
        kernel = _socket.socket(
            _socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, _NETLINK_NETFILTER
        )
    except OSError as error:
        raise DeviceError(error.errno or 0, "this kernel has no nftables") from None
    try:
        kernel.settimeout(_PATIENCE)
        kernel.bind((0, 0))
        _transact(kernel, _table(table.encode(), ifindex, ports))
        return kernel
    except OSError as error:
        kernel.close()
        raise DeviceError(error.errno or errno.EIO, _reason(error)) from None


def _reason(error: OSError) -> str:
    if error.errno == errno.EPERM:
        return "an nft rule needs CAP_NET_ADMIN"
    if error.errno in (errno.EOPNOTSUPP, errno.EINVAL):
        return "this kernel has no nft tables that end with their owner: it takes Linux 5.12"
    return f"the kernel takes no nft rule: {os.strerror(error.errno or errno.EIO)}"


def _transact(kernel: _socket.socket, messages: list[tuple[int, int, bytes]]) -> None:
    """All or nothing: OSError as the kernel says."""
    batch = _message(_BATCH_BEGIN, 0, 0, struct.pack("!BBH", 0, 0, _NFTABLES))
    for number, (kind, flags, attributes) in enumerate(messages, 1):
        head = struct.pack("!BBH", _IPV4, 0, 0)
        batch += _message(_NFTABLES << 8 | kind, flags | _ACK, number, head + attributes)
    batch += _message(_BATCH_END, 0, 0, struct.pack("!BBH", 0, 0, _NFTABLES))
    kernel.send(batch)
    acknowledged = 0
    while acknowledged < len(messages):
        answer = kernel.recv(65536)
        while len(answer) >= 20:
            length, kind = struct.unpack_from("=IH", answer)
            if kind == _NLMSG_ERROR:
                (result,) = struct.unpack_from("=i", answer, 16)
                if result:
                    raise OSError(-result, os.strerror(-result))
                acknowledged += 1
            answer = answer[max(length + 3 & ~3, 20) :]


def _table(table: bytes, ifindex: int, ports: Ports) -> list[tuple[int, int, bytes]]:
    """What makes the table: (message, flags, attributes)."""
    hook = _attribute(1, _be32(_LOCAL_IN)) + _attribute(2, _be32(0))  # number, priority
    chain = _string(1, table) + _string(3, _CHAIN) + _nested(4, hook) + _string(7, b"filter")
    messages = [
        (_NEW_TABLE, _CREATE | _EXCL, _string(1, table) + _attribute(2, _be32(_TABLE_OWNER))),
        (_NEW_CHAIN, _CREATE, chain),
    ]
    for protocol in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
        for first, last in ports:
            rule = _string(1, table) + _string(2, _CHAIN)
            rule += _nested(4, b"".join(_rule(ifindex, protocol, first, last)))
            messages.append((_NEW_RULE, _CREATE | _APPEND, rule))
    return messages


def _rule(ifindex: int, protocol: int, first: int, last: int) -> list[bytes]:
    """`iif N meta l4proto P th dport FIRST-LAST counter drop`"""
    port = [_be32(1), _be32(_TRANSPORT), _be32(_DESTINATION_PORT), _be32(2)]
    verdict = _nested(2, _nested(2, _attribute(1, _be32(_DROP))))
    return [
        _expression(b"meta", _attribute(1, _be32(1)) + _attribute(2, _be32(_META_IIF))),
        _compare(_EQUAL, struct.pack("=I", ifindex)),
        _expression(b"meta", _attribute(1, _be32(1)) + _attribute(2, _be32(_META_L4PROTO))),
        _compare(_EQUAL, bytes([protocol])),
        _expression(b"payload", b"".join(_attribute(i, v) for i, v in enumerate(port, 1))),
        _compare(_AT_LEAST, first.to_bytes(2, "big")),
        _compare(_AT_MOST, last.to_bytes(2, "big")),
        _expression(b"counter", b""),
        _expression(b"immediate", _attribute(1, _be32(0)) + verdict),
    ]


def _compare(operator: int, value: bytes) -> bytes:
    """Register 1 with a value."""
    data = _nested(3, _attribute(1, value))
    return _expression(b"cmp", _attribute(1, _be32(1)) + _attribute(2, _be32(operator)) + data)


def _expression(name: bytes, data: bytes) -> bytes:
    return _nested(1, _string(1, name) + _nested(2, data))


def _message(kind: int, flags: int, number: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags | _REQUEST, number, 0) + body


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _nested(kind: int, value: bytes) -> bytes:
    return _attribute(kind | 0x8000, value)


def _string(kind: int, value: bytes) -> bytes:
    return _attribute(kind, value + b"\0")


def _be32(value: int) -> bytes:
    return value.to_bytes(4, "big")
