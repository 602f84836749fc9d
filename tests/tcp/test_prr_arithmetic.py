"""Proportional rate reduction: RFC 6937, its arithmetic held against the engine ACK by ACK."""

from __future__ import annotations

from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import Sock

MSS, RENO = 1000, 1


def flight(tcp: Tcp, segments: int, queued: int) -> Sock:
    sock = tcp.established(mss=MSS, sack=True, congestion=RENO, sndbuf=1 << 20)
    tcp.sends(sock, MSS * (segments + queued))
    assert len(tcp.drain()) == segments
    return sock


def data(tcp: Tcp, peer: TcpPeer) -> list[int]:
    return [p.tcp.seq - peer.irs & 0xFFFFFFFF for p in tcp.drain() if p.tcp and p.tcp.payload]


def test_each_ack_lets_go_what_section_3_says(tcp: Tcp, peer: TcpPeer) -> None:
    """The first segment is lost; the ACKs of all others come one by one."""
    sock = flight(tcp, 10, queued=40)
    out, edge = 10, 1
    for _ in range(2):  # limited transmit
        edge += 1
        peer.sends(ack=1, sack=[(1001, 1 + MSS * edge)])
        assert data(tcp, peer) == [1 + MSS * out]
        out += 1
    recover_fs, ssthresh = MSS * out, 5 * MSS
    prr_delivered = prr_out = resent = 0
    while edge < 12:
        edge += 1
        peer.sends(ack=1, sack=[(1001, 1 + MSS * edge)])
        assert sock.inside.ssthresh == ssthresh
        prr_delivered += MSS
        pipe = MSS * (out - (edge - 1) - (0 if resent else 1))
        if pipe > ssthresh:
            sndcnt = -(-prr_delivered * ssthresh // recover_fs) - prr_out
        else:
            limit = max(prr_delivered - prr_out, MSS) + MSS
            sndcnt = min(ssthresh - pipe, limit)
        if not prr_out:
            sndcnt = max(sndcnt, MSS)  # the fast retransmit goes in any case
        found = data(tcp, peer)
        assert len(found) == max(sndcnt, 0) // MSS, (edge, found)
        if found and not resent:
            assert found.pop(0) == 1
            resent, prr_out = 1, prr_out + MSS
        out += len(found)
        prr_out += MSS * len(found)
    peer.sends(ack=1 + MSS * 12)
    assert sock.inside.cwnd == ssthresh, "the end of recovery"


def test_a_window_without_losses_left_is_not_exceeded(tcp: Tcp, peer: TcpPeer) -> None:
    """All the ACKs of a round trip at once: what goes out fills ssthresh and no more."""
    flight(tcp, 10, queued=40)
    peer.sends(ack=1, sack=[(1001, 10_001)])
    assert len(data(tcp, peer)) == 5
