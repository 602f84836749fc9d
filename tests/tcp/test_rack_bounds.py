"""Bounds of RACK and of the tail loss probe (RFC 8985). The round trip is 20 ms."""

from __future__ import annotations

from tests.kit.clock import MS
from tests.kit.packets import Packet
from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import Sock

RENO = 1


def sending(tcp: Tcp, segments: int, *, sack: bool = True, queued: int = 0) -> Sock:
    """That many segments of 1000 bytes left a round trip ago, and more are queued; the SYN,ACK took a
    round trip, too."""
    peer = tcp.peer
    listener = tcp.listens(congestion=RENO)
    peer.sends("S", seq=0, mss=1000, sack_ok=sack, wscale=7)
    tcp.expects("SA", seq=0, ack=1)
    peer.shift = 7
    tcp.run("20ms")
    peer.sends("A", seq=1, ack=1, wnd=1 << 20)
    sock = listener.accept()
    tcp.sends(sock, 1000 * (segments + queued))
    assert sent(tcp.drain("20ms"), peer) == [1 + 1000 * i for i in range(segments)]
    return sock


def sent(packets: list[Packet], peer: TcpPeer) -> list[int]:
    return [p.tcp.seq - peer.irs & 0xFFFFFFFF for p in packets if p.tcp and p.tcp.payload]


def test_what_left_later_than_the_delivered_one_is_not_judged(tcp: Tcp, peer: TcpPeer) -> None:
    """6.2 step 5: RACK_sent_after."""
    sending(tcp, 10)
    again = []
    for ack in (1, 1001, 2001, 6001):
        peer.sends(ack=ack, sack=[(3001, 6001)] if ack < 6001 else ())
        again += sent(tcp.drain("1ms"), peer)
    assert again == [1, 1001, 2001], "and not 6001 and on"


def test_a_widened_window_is_forgotten_after_sixteen_recoveries(tcp: Tcp, peer: TcpPeer) -> None:
    sock = sending(tcp, 2)
    assert sent(tcp.drain("30ms"), peer) == [1001], "a probe in vain"
    peer.sends(ack=2001, sack=[(1001, 2001)])
    at = 2001
    for _ in range(16):
        tcp.sends(sock, 2000)
        tcp.drain("20ms")
        peer.sends(ack=at, sack=[(at + 1000, at + 2000)])
        tcp.expects_nothing("9900us")
        assert sent(tcp.drain("20ms"), peer) == [at]
        at += 2000
        peer.sends(ack=at)
    tcp.sends(sock, 2000)
    tcp.drain("20ms")
    peer.sends(ack=at, sack=[(at + 1000, at + 2000)])
    tcp.expects_nothing("4ms")
    tcp.expects(seq=at, len=1000, within="2ms")


def test_no_probe_outlasts_the_time_out(tcp: Tcp, peer: TcpPeer) -> None:
    """7.2: where two round trips are longer than the time-out."""
    sock = sending(tcp, 1)
    peer.sends(ack=1001)
    for i in range(60):
        tcp.sends(sock, 1000)
        tcp.run("300ms")
        tcp.drain()
        peer.sends(ack=2001 + 1000 * i)
    assert sock.inside.rto < 2 * sock.inside.srtt
    rto = sock.inside.rto
    tcp.sends(sock, 5000)
    tcp.drain("1ms")
    again = [p for p in tcp.drain("1s") if p.tcp and p.tcp.payload]
    assert again[0].time - tcp.clock.now + 1001 * MS <= rto + 2 * MS


def test_without_sack_there_is_no_probe(tcp: Tcp, peer: TcpPeer) -> None:
    """7.2; section 4: SACK is what RACK lives on."""
    sending(tcp, 5, sack=False)
    with tcp.counts("tcp_tail_loss_probes", 0):
        assert sent(tcp.drain("300ms"), peer)[0] == 1
