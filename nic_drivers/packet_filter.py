"""Classic BPF for a packet socket: only what is the stack's is copied into its ring."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from .driving import ONE_QUEUE, Queues, Rss

# linux/bpf_common.h: load word, half, byte at an absolute offset; jumps; return
_LDW, _LDH, _LDB, _JEQ, _JSET, _RET = 0x20, 0x28, 0x30, 0x15, 0x45, 0x06
_WHOLE = 0x40000
_ETHERTYPE, _IPV4 = 12, 0x0800

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, k
Step = tuple[int, int | str, int | str, int]  # an instruction whose jumps may name a label
_PKTTYPE, _OTHERHOST = 0xFFFF_F000 + 4, 3  # SKF_AD_OFF + SKF_AD_PKTTYPE
_LDX_IHL, _LDB_X, _LDH_X, _JGT, _JGE = 0xB1, 0x50, 0x48, 0x25, 0x35
_ICMP, _TCP, _UDP = 1, 6, 17
_ICMP_REPLIES = (0, 3, 11, 12)  # echo reply, unreachable, time exceeded, parameter problem
_MOD = 0x94  # by k
_JA, _LD, _LD_MEM, _ST, _TAX, _LDW_X = 0x05, 0x00, 0x60, 0x02, 0x07, 0x40
_XOR, _AND, _RSH, _RSH_X = 0xA4, 0x54, 0x74, 0x7C
_LINK, _FRAGMENT, _PROTOCOL, _ECHO = 14, 20, 23, 8


def own_frames(mac: bytes, queues: Queues = ONE_QUEUE) -> list[Instruction]:
    """Frames to `mac`, and to groups (broadcast, multicast). In a group of stacks only TCP and UDP to
    the stack's ports (or its flows by a card's hash), and echo requests to the first stack; the rest
    (ARP, ICMP errors, fragments, which have no ports) to each."""
    port: list[Step | str] = [
        (_LDH, 0, 0, _ETHERTYPE),
        (_JEQ, 0, "accept", _IPV4),
        (_LDH, 0, 0, _FRAGMENT),
        (_JSET, "accept", 0, 0x3FFF),
        (_LDX_IHL, 0, 0, _LINK),
        (_LDB, 0, 0, _PROTOCOL),
        (_JEQ, "port", 0, _TCP),
        (_JEQ, "port", 0, _UDP),
        (_JEQ, 0, "accept", _ICMP),
        (_LDB_X, 0, 0, _LINK),
        (_JEQ, "refuse" if queues.first else "accept", "accept", _ECHO),
        "port",
        *(
            [(_JA, 0, 0, 2)]  # over the two steps that answer
            if queues.rss
            else [
                (_LDH_X, 0, 0, _LINK + 2),
                (_MOD, 0, 0, queues.group),
                (_JEQ, "accept", "refuse", queues.first),
            ]
        ),
    ]
    return _resolved(
        (_LDW, 0, 0, 2),
        (_JEQ, 0, "group", int.from_bytes(mac[2:], "big")),
        (_LDH, 0, 0, 0),
        (_JEQ, "own", 0, int.from_bytes(mac[:2], "big")),
        "group",
        (_LDB, 0, 0, 0),
        (_JSET, 0, "refuse", 1),
        "own",
        *(port if queues.group > 1 else []),
        "accept",
        (_RET, 0, 0, _WHOLE),
        "refuse",
        (_RET, 0, 0, 0),
        *(_rss_flow(queues.first, queues.rss) if queues.rss else []),
    )


def _rss_flow(mine: int, rss: Rss) -> Iterator[Step]:
    """Whether the flow is of this stack by the card's hash; X is the length of the IPv4 header. The hash
    is in M[0], the word that is looked at in M[1]."""
    key = int.from_bytes(rss.key, "big")
    yield from [(_LD, 0, 0, 0), (_ST, 0, 0, 0)]
    for at, (load, offset) in enumerate([(_LDW, 26), (_LDW, 30), (_LDW_X, _LINK)]):
        yield from [(load, 0, 0, offset), (_ST, 0, 0, 1)]
        for bit in range(32):
            window = key >> (8 * len(rss.key) - 32 - 32 * at - bit) & 0xFFFF_FFFF
            yield from [(_LD_MEM, 0, 0, 1), (_JSET, 0, 3, 1 << (31 - bit))]
            yield from [(_LD_MEM, 0, 0, 0), (_XOR, 0, 0, window), (_ST, 0, 0, 0)]
    owners = (rss.table * 32)[: max(32, len(rss.table))]
    yield from [(_LD_MEM, 0, 0, 0), (_AND, 0, 0, len(owners) - 1), (_ST, 0, 0, 1)]
    yield from [(_AND, 0, 0, 31), (_TAX, 0, 0, 0), (_LD_MEM, 0, 0, 1), (_RSH, 0, 0, 5)]
    for word in range(len(owners) // 32):  # the table as a bit of each entry
        bits = sum(1 << i for i in range(32) if owners[32 * word + i] == mine)
        yield from [(_JEQ, 0, 5, word), (_LD, 0, 0, bits), (_RSH_X, 0, 0, 0), (_JSET, 0, 1, 1)]
        yield from [(_RET, 0, 0, _WHOLE), (_RET, 0, 0, 0)]
    yield (_RET, 0, 0, 0)


def nothing() -> list[Instruction]:
    """No frame: until a stack that shares the interface's MAC address tells its IP addresses
    (packet_share.h)."""
    return [(_RET, 0, 0, 0)]


def own_ports(link: int, ports: Sequence[tuple[int, int]], tcp: bool) -> list[Instruction]:
    """IPv4 to the machine: UDP (and TCP) to one of the port ranges, what ICMP answers or tells of
    errors, and later fragments of anything; behind a link header of so many bytes. For a stack that
    shares the kernel's address, where the kernel answers echo requests."""
    ranges: list[Step] = []
    for first, last in ports:
        ranges += [(_JGE, 0, 1, first), (_JGT, 0, "accept", last)]
    return _resolved(
        (_LDB, 0, 0, _PKTTYPE),
        (_JEQ, "refuse", 0, _OTHERHOST),
        (_LDH, 0, 0, link + 6),
        (_JSET, "accept", 0, 0x1FFF),
        (_LDX_IHL, 0, 0, link),
        (_LDB, 0, 0, link + 9),
        (_JEQ, "port", 0, _UDP),
        (_JEQ, "icmp", 0, _ICMP),
        (_JEQ, "port" if tcp else "refuse", "refuse", _TCP),
        "icmp",
        (_LDB_X, 0, 0, link),
        *((_JEQ, "accept", 0, kind) for kind in _ICMP_REPLIES),
        (_RET, 0, 0, 0),
        "port",
        (_LDH_X, 0, 0, link + 2),
        *ranges,
        "refuse",
        (_RET, 0, 0, 0),
        "accept",
        (_RET, 0, 0, _WHOLE),
    )


def _resolved(*steps: str | Step) -> list[Instruction]:
    """The program with its labels turned into distances."""
    places: dict[str, int] = {}
    program: list[Step] = []
    for step in steps:
        if isinstance(step, str):
            places[step] = len(program)
        else:
            program.append(step)

    def distance(at: int, jump: int | str) -> int:
        return places[jump] - at - 1 if isinstance(jump, str) else jump

    return [(c, distance(i, t), distance(i, f), k) for i, (c, t, f, k) in enumerate(program)]


def assembled(program: list[Instruction]) -> bytes:
    """The program as an array of struct sock_filter."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
