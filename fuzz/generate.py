"""Conversations from a seed: an opening that reaches a state, then steps that a program or a peer might take
there, right ones and wrong ones."""

from __future__ import annotations

import socket
from random import Random

from .conversation import FLUSH, SYN_OPTIONS, Step
from .faults import packet_fault, stream_fault

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << n for n in range(8))
MSG_OOB, MSG_PEEK, MSG_WAITALL = socket.MSG_OOB, socket.MSG_PEEK, socket.MSG_WAITALL
SIZES = (0, 1, 100, 536, 1400)
OFFSETS = (0, 0, 0, 0, -1, 1, -1400, 1400, 100, -70_000, 30_000, 1 << 20, 1 << 31)
WINDOWS = (65535, 65535, 65535, 0, 1, 500)
SHUT_AND_OPEN = (
    0,
    0,
    1,
    2,
    100,
    1459,
    1460,
    3000,
    65535,
)  # what a peer's window may be from step to step
ERRORS = (
    *((3, code) for code in range(16)), (11, 0), (11, 1), (12, 0), (12, 1), (4, 0), (5, 0), (5, 1),
)  # fmt: skip
# IP options of a ping: record route with room for two, a timestamp, a broken length, end and no-operation,
# loose source route, router alert, an unknown one.
IP_OPTIONS = (
    0, 0x070B0400000000000000000000 >> 8, 0x44080500_00000000, 0x07FF0400, 0x01010100, 0x83070400_00000000,
    0x94040000, 0x8E040000,
)  # fmt: skip
OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.SOL_SOCKET, socket.SO_OOBINLINE, 1),
    (socket.SOL_SOCKET, socket.SO_OOBINLINE, 0),
    (socket.SOL_SOCKET, socket.SO_RCVBUF, 1),
    (socket.SOL_SOCKET, socket.SO_RCVBUF, 4096),
    (socket.SOL_SOCKET, socket.SO_RCVBUF, 100_000),
    (socket.SOL_SOCKET, socket.SO_SNDBUF, 1),
    (socket.SOL_SOCKET, socket.SO_SNDBUF, 10_000),
    (socket.SOL_SOCKET, socket.SO_SNDBUF, 100_000),
    (socket.SOL_SOCKET, socket.SO_BROADCAST, 1),
    (socket.IPPROTO_IP, socket.IP_TTL, 9),
    (socket.IPPROTO_IP, socket.IP_TTL, 0),
    (socket.IPPROTO_IP, socket.IP_TOS, 0x10),
    (socket.IPPROTO_IP, 11, 1),  # IP_RECVERR
    (socket.IPPROTO_IP, 10, 0),  # IP_MTU_DISCOVER
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.IPPROTO_TCP, socket.TCP_CORK, 1),
    (socket.IPPROTO_TCP, socket.TCP_CORK, 0),
    (socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1),
    (socket.IPPROTO_TCP, socket.TCP_SYNCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 40_000),
    (socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 0),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 10_000),
    (socket.IPPROTO_TCP, socket.TCP_MAXSEG, 600),
)


def conversation(seed: int, length: int = 12) -> list[Step]:
    """One opening and up to `length` steps."""
    rng = Random(seed)
    opening = rng.choice(OPENINGS)
    steps = opening(rng)
    draw = {_datagrams: _datagram_step, _servers: _server_step}.get(opening, _stream_step)
    wild, faulty = rng.random() < 0.5, rng.choice((0.0, 0.0, 0.2, 0.6))
    for _ in range(rng.randint(2, length)):
        if rng.random() >= faulty:
            steps.append(draw(rng, wild))
        elif opening is _datagrams:
            steps.append(packet_fault(rng, rng.choice((1, 1, 2))))
        else:
            steps.append(stream_fault(rng))
    return [*steps, Step("wait", (FLUSH,))]


def _passive(rng: Random) -> list[Step]:
    steps = [
        Step("listen", (rng.choice((0, 1, 5)),)),
        Step("syn", (0, rng.randrange(len(SYN_OPTIONS)))),
        Step("say", (0, ACK, rng.choice((0, 0, 0, 100)), 0, 0, 65535)),
    ]
    return steps if rng.random() < 0.2 else [*steps, Step("accept", (0,))]


def _active(rng: Random) -> list[Step]:
    return [
        Step("connect", (rng.randrange(3),)),
        Step("answer", (0, rng.randrange(len(SYN_OPTIONS)))),
    ]


def _half_open(rng: Random) -> list[Step]:
    return [Step("listen", (5,)), Step("syn", (0, rng.randrange(len(SYN_OPTIONS))))]


def _syn_sent(rng: Random) -> list[Step]:
    return [Step("connect", (0,))]


def _datagrams(rng: Random) -> list[Step]:
    steps = [Step("udp", (0,))]
    return [*steps, Step("udp_connect", (0, 0))] if rng.random() < 0.5 else steps


def _servers(rng: Random) -> list[Step]:
    """Several sockets that want the same names."""
    kind = rng.randrange(2)
    steps = []
    for _ in range(rng.randint(2, 4)):
        steps.append(
            Step("open", (kind, rng.choice((-1, 0, 0, 0, 1)), rng.randrange(3), rng.randrange(2)))
        )
    return steps


OPENINGS = (
    _passive, _passive, _passive, _active, _active, _half_open, _syn_sent, _datagrams, _servers,
)  # fmt: skip


def _stream_step(rng: Random, wild: bool) -> Step:
    choice = rng.random()
    if choice < 0.45:
        return _segment(rng, wild)
    if choice < 0.53:
        kind, code = rng.choice(ERRORS)
        seq = rng.choice((0, 1, 1, 100, 1400, -1, 1 << 20))
        return Step(
            "icmp", (rng.randrange(2), kind, code, seq, rng.choice((0, 68, 500, 1000, 1400, 9000)))
        )
    if choice < 0.56:
        return Step("syn", (rng.randrange(3), rng.randrange(len(SYN_OPTIONS))))
    if choice < 0.58:
        return Step("answer", (rng.randrange(2), rng.randrange(len(SYN_OPTIONS))))
    return _call(rng)


def _segment(rng: Random, wild: bool) -> Step:
    flow = rng.randrange(2) if rng.random() < 0.2 else 0
    if not wild or rng.random() < 0.5:
        flags = rng.choice((ACK, ACK, ACK | PSH, ACK | FIN, ACK | RST, RST))
        window = rng.choice(SHUT_AND_OPEN) if rng.random() < 0.3 else 65535
        return Step("say", (flow, flags, rng.choice(SIZES), rng.choice((0, 0, 0, 1400)), 0, window))
    flags = rng.choice(
        (ACK, ACK, ACK | FIN, RST, RST | ACK, SYN, SYN | ACK, FIN, 0, ACK | URG, rng.randrange(256))
    )
    return Step(
        "say",
        (
            flow,
            flags,
            rng.choice(SIZES),
            rng.choice(OFFSETS),
            rng.choice(OFFSETS),
            rng.choice(WINDOWS),
            rng.choice((0, 0, 0, 100)),
        ),
    )


def _call(rng: Random) -> Step:
    sock = rng.choice((0, 1, 1, 1, 2))
    calls = (
        Step("send", (sock, rng.choice((0, 1, 100, 1460, 5000, 40_000)), 0)),
        Step("send", (sock, rng.choice((1, 100, 3000)), 0)),
        Step(
            "recv", (sock, rng.choice((1, 100, 65536)), rng.choice((0, 0, MSG_PEEK, MSG_WAITALL)))
        ),
        Step("recv", (sock, 65536, 0)),
        Step("send", (sock, rng.choice((1, 2, 100, 2000)), MSG_OOB)),
        Step("recv", (sock, rng.choice((1, 1, 10)), rng.choice((MSG_OOB, MSG_OOB | MSG_PEEK)))),
        Step("mark", (sock,)),
        Step("shutdown", (sock, rng.randrange(3))),
        Step("close", (sock,)),
        Step("error", (sock,)),
        Step("names", (sock,)),
        Step("accept", (0,)),
        Step("again", (sock,)),
        Step("relisten", (sock,)),
        Step("linger", (sock, rng.choice((-1, 0, 0)))),
        Step("option", (sock, *rng.choice(OPTIONS))),
    )
    return rng.choice(calls)


def _server_step(rng: Random, wild: bool) -> Step:
    sock = rng.randrange(5)
    steps = (
        Step(
            "open",
            (rng.randrange(2), rng.choice((-1, 0, 0, 1)), rng.randrange(3), rng.randrange(2)),
        ),
        Step("relisten", (sock,)),
        Step("relisten", (sock,)),
        Step("again", (sock,)),
        Step("accept", (sock,)),
        Step("close", (sock,)),
        Step("names", (sock,)),
        Step("syn", (rng.randrange(3), rng.randrange(len(SYN_OPTIONS)))),
        Step(
            "say",
            (
                rng.randrange(2),
                rng.choice((ACK, ACK, ACK | FIN)),
                rng.choice((0, 100)),
                0,
                0,
                65535,
            ),
        ),
        Step("datagram", (rng.randrange(2), rng.randrange(2), rng.choice((1, 100)))),
        Step("udp_connect", (sock, rng.randrange(3))),
        Step("recvfrom", (sock, 2000)),
        Step("sendto", (sock, 100, 0)),
        Step("shutdown", (sock, rng.randrange(3))),
    )
    return rng.choice(steps) if rng.random() < 0.9 else _call(rng)


def _datagram_step(rng: Random, wild: bool) -> Step:
    sock = rng.choice((0, 0, 0, 1))
    kind, code = rng.choice(ERRORS)
    steps = (
        Step("datagram", (rng.randrange(3), rng.randrange(3), rng.choice((0, 1, 100, 1400)))),
        Step("datagram", (0, 0, rng.choice((0, 1, 100, 1400)))),
        Step("sendto", (sock, rng.choice((0, 1, 100, 1472, 3000, 65507, 65508)), rng.randrange(3))),
        Step("send", (sock, rng.choice((0, 1, 100, 1472, 3000)), 0)),
        Step(
            "recv",
            (sock, rng.choice((0, 1, 100, 65536)), rng.choice((0, MSG_PEEK))),
        ),
        Step("recvfrom", (sock, 2000)),
        Step("udp_connect", (sock, rng.randrange(3))),
        Step("udp", (rng.randrange(3),)),
        Step("icmp_udp", (0, rng.randrange(3), kind, code, rng.choice((0, 500, 1000)))),
        Step("icmp_udp", (0, 0, *rng.choice(ERRORS), 1000)),
        Step("error", (sock,)),
        Step("names", (sock,)),
        Step("shutdown", (sock, rng.randrange(3))),
        Step("close", (sock,)),
        Step("echo", (rng.choice((0, 8, 56, 1400)), rng.choice(IP_OPTIONS))),
        Step("protocol", (rng.choice((2, 41, 47, 99, 132, 253)),)),
        Step("option", (sock, *rng.choice(OPTIONS))),
    )
    return rng.choice(steps)
