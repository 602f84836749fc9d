"""A sender that always has data, and a peer that acknowledges a round trip at a time."""

from __future__ import annotations

from collections.abc import Iterator

from tests.kit.clock import SECOND, Time
from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import Sock

MSS = 1000
CUBIC, RENO = 0, 1
BIG = (1 << 24) - 256


def round_trip(tcp: Tcp, peer: TcpPeer, sock: Sock, rtt: str = "100ms", fill: bool = True) -> int:
    """One round trip of a saturated sender: everything in flight is acknowledged, segment by
    segment. Returns the congestion window afterwards, in segments."""
    while fill:
        try:
            tcp.sends(sock, 1 << 16)
        except BlockingIOError:
            break
    tcp.drain(rtt)
    una = sock.inside.snd_una - sock.inside.iss & 0xFFFFFFFF
    acks = [peer.packet(ack=min(at + MSS, peer.got)) for at in range(una, peer.got, MSS)]
    tcp.wire.sends_burst(*acks)
    return sock.inside.cwnd // MSS


def saturated(tcp: Tcp, congestion: int, **options: int) -> Sock:
    sock = tcp.established(
        mss=MSS, wscale=8, wnd=65535, sack=True, congestion=congestion, sndbuf=1 << 22, **options
    )
    for _ in range(16):  # the round trip is known: no probe while round_trip waits
        tcp.sends(sock, 1)
        tcp.drain("100ms")
        tcp.peer.sends(ack=tcp.peer.got)
    return sock


def open_window(peer: TcpPeer) -> None:
    peer.sends(wnd=BIG)


def lose_one(tcp: Tcp, peer: TcpPeer, sock: Sock) -> tuple[int, int]:
    """The first segment in flight is lost and found by SACK; returns cwnd before, ssthresh after."""
    round_trip(tcp, peer, sock)
    before = sock.inside.cwnd
    while True:
        try:
            tcp.sends(sock, 1 << 16)
        except BlockingIOError:
            break
    tcp.drain("100ms")
    una = sock.inside.snd_una - sock.inside.iss & 0xFFFFFFFF
    end = peer.got
    peer.sends(ack=una, sack=[(una + MSS, end)])
    ssthresh = sock.inside.ssthresh
    tcp.drain("100ms")
    peer.sends(ack=peer.got)
    tcp.drain()
    peer.sends(ack=peer.got)
    return before, ssthresh


def fill(tcp: Tcp, sock: Sock) -> None:
    """The program writes until the send queue is full."""
    while sock.writable:
        tcp.sends(sock, 1 << 16)


def acks_each(tcp: Tcp, peer: TcpPeer, sock: Sock, rtt: Time = "100ms") -> float:
    """One round trip in which every segment is acknowledged by itself; by how much the window grew."""
    before = sock.inside.cwnd
    fill(tcp, sock)
    tcp.drain(rtt)
    for end in ends(peer, sock):
        peer.sends(ack=end)
    return float(sock.inside.cwnd) / before


def repairs(tcp: Tcp, peer: TcpPeer, sock: Sock) -> Iterator[None]:
    """After a time-out for a whole window: the peer acknowledges each segment that comes again, and
    reports the new ones that F-RTO tries."""
    begin = unacked(peer, sock)[0]
    end = beyond = peer.got
    while begin < end:
        for packet in tcp.drain("100ms"):
            if packet.tcp is None:
                continue
            seq = packet.tcp.seq - peer.irs & 0xFFFFFFFF
            new = [(end, beyond)] if beyond > end else []
            if seq == begin:
                begin += MSS
                peer.sends(ack=begin if begin < end else beyond, sack=new if begin < end else ())
                yield
            elif seq >= end:
                beyond = seq + len(packet.tcp.payload)
                peer.sends(ack=begin, sack=[(end, beyond)])


def unacked(peer: TcpPeer, sock: Sock) -> range:
    """Where the segments in flight begin."""
    una = sock.inside.snd_una - sock.inside.iss & 0xFFFFFFFF
    return range(una, peer.got, MSS)


def ends(peer: TcpPeer, sock: Sock) -> list[int]:
    """Where they end; the last may be short."""
    return [min(at + MSS, peer.got) for at in unacked(peer, sock)]


def opened(tcp: Tcp, peer: TcpPeer, rtt: float, rounds: int, congestion: int = CUBIC) -> Sock:
    """After the handshake, which takes a round trip, and so many of slow start."""
    listener = tcp.listens(congestion=congestion, sndbuf=1 << 18)
    peer.sends("S", seq=0, mss=MSS, wscale=8, sack_ok=True)
    tcp.expects("SA")
    peer.shift = 8
    tcp.run(round(rtt * SECOND))
    peer.sends(wnd=BIG)
    sock = listener.accept()
    for _ in range(rounds):
        acks_each(tcp, peer, sock, round(rtt * SECOND))
    assert sock.inside.cwnd == (10 << rounds) * MSS
    return sock
