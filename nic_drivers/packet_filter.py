"""Classic BPF for a packet socket: only what is the stack's is copied into its ring."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

# linux/bpf_common.h: load word, half, byte at an absolute offset; jumps; return
_LDW, _LDH, _LDB, _JA, _JEQ, _JSET, _RET = 0x20, 0x28, 0x30, 0x05, 0x15, 0x45, 0x06
_WHOLE = 0x40000
_ETHERTYPE, _ARP_TARGET, _IP_DESTINATION = 12, 38, 30
_IPV4, _ARP = 0x0800, 0x0806

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, k


def own_frames(mac: bytes) -> list[Instruction]:
    """Frames to `mac`, and to groups (broadcast, multicast)."""
    return [
        (_LDW, 0, 0, 2),
        (_JEQ, 0, 2, int.from_bytes(mac[2:], "big")),
        (_LDH, 0, 0, 0),
        (_JEQ, 2, 0, int.from_bytes(mac[:2], "big")),
        (_LDB, 0, 0, 0),
        (_JSET, 0, 1, 1),
        (_RET, 0, 0, _WHOLE),
        (_RET, 0, 0, 0),
    ]


def own_addresses(addresses: list[IPv4Address]) -> list[Instruction]:
    """IPv4 to one of the addresses, and ARP that asks for or tells one of them: for a stack that
    shares the interface's MAC address with the kernel."""
    n = len(addresses)
    lookup = [(_JEQ, n - 1 - i, int(i + 1 == n), int(a)) for i, a in enumerate(addresses)]
    # One lookup serves both: the accumulator holds the destination, or the target of ARP.
    return [
        (_LDH, 0, 0, _ETHERTYPE),
        (_JEQ, 3, 0, _IPV4),
        (_JEQ, 0, n + 4, _ARP),
        (_LDW, 0, 0, _ARP_TARGET),
        (_JA, 0, 0, 1),
        (_LDW, 0, 0, _IP_DESTINATION),
        *lookup,
        (_RET, 0, 0, _WHOLE),
        (_RET, 0, 0, 0),
    ]


def assembled(program: list[Instruction]) -> bytes:
    """The program as an array of struct sock_filter."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
