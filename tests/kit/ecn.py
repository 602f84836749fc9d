"""Accurate ECN (RFC 9768) as tests write it: the ACE field, the option, and both ends' handshakes."""

from __future__ import annotations

from barewire.stack.tcp import AccEcn

from .checks import Check, is_ip
from .packets import Packet
from .peer import Tcp, TcpPeer
from .sock import Sock

ON, PASSIVE, ACCURATE, ACCURATE_ANSWER, ACCURATE_PASSIVE = 1, 2, 3, 4, 5
NOT_ECT, ECT1, ECT0, CE = 0, 1, 2, 3
CUBIC, RENO, DCTCP = 0, 1, 3
MSS = 1000


def ace(value: int) -> str:
    """The flags that the ACE field is made of."""
    return "".join(c for bit, c in ((4, "e"), (2, "C"), (1, "E")) if value & bit)


def option(*counters: int, order: int = 0) -> Check:
    wanted = AccEcn(counters, order) if counters else None

    def find(p: Packet) -> str | None:
        found = p.tcp.accecn if p.tcp else None
        return None if found == wanted else f"the option is {found}, not {wanted}"

    return Check(f"option{counters}", find)


def ect(value: int) -> Check:
    return is_ip(tos=value)


def client(tcp: Tcp, peer: TcpPeer, **options: int) -> Sock:
    """We opened; the peer's answers carry no option unless a test says so."""
    sock = tcp.connects(tcp.wire.tcp().set(**{"ecn": ACCURATE, **options}))
    tcp.expects("SeCE", seq=0, check=ect(NOT_ECT))
    peer.sends("SA" + ace(2), seq=0, ack=1, mss=MSS, sack_ok=True)
    tcp.expects("A" + ace(2), seq=1, ack=1, check=ect(NOT_ECT) & option(1, 0, 1))
    return sock


def server(tcp: Tcp, peer: TcpPeer, sack: bool = True, **options: int) -> Sock:
    listener = tcp.listens(**{"ecn": ACCURATE_PASSIVE, **options})
    peer.sends("SeCE", seq=0, mss=MSS, sack_ok=sack)
    tcp.expects("SA" + ace(2), seq=0, ack=1, check=ect(NOT_ECT) & option(1, 0, 1))
    peer.sends("A" + ace(2), seq=1, ack=1)
    return listener.accept()
