"""Large segments for a device that does not cut them: what each frame says, and where there is no room."""

from __future__ import annotations

import pytest
from barewire.stack.tcp import Flags

from tests.kit import frames
from tests.kit.peer import Tcp, TcpPeer
from tests.kit.wire import Wire
from tests.kit.world import World

MSS = 1000


@pytest.mark.parametrize("ts", [False, True], ids=["plain", "timestamps"])
@pytest.mark.parametrize("size", [1000, 1001, 5000, 9999], ids=str)
def test_each_frame_is_a_segment_of_its_own(tcp: Tcp, peer: TcpPeer, size: int, ts: bool) -> None:
    """The wire checks checksums and lengths; PSH stands on the last one."""
    mss = MSS + 12 * ts
    sock = tcp.established(mss=mss, ts=ts)
    tcp.sends(sock, size)
    left = list(range(0, size, MSS))
    while left:
        at = left.pop(0)
        n = min(MSS, size - at)
        sent = tcp.expects("PA" if at + n == size else "A", seq=1 + at, len=n).tcp
        assert sent is not None
        assert bool(sent.flags & Flags.PSH) == (at + n == size)
        assert (sent.ack, sent.window) == (peer.iss + 1 & 0xFFFFFFFF, 65535)
        assert (sent.timestamps is not None) == ts
    tcp.expects_nothing()


def test_the_fin_goes_with_the_last_one(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(mss=MSS, wnd=1500)
    tcp.sends(sock, 3500)
    tcp.drain()
    sock.shutdown()
    peer.sends(ack=1001, wnd=60_000)
    flags = {p.tcp.seq - peer.irs - 1 & 0xFFFFFFFF: p.tcp.flags for p in tcp.drain() if p.tcp}
    assert sorted(at for at, f in flags.items() if f & Flags.FIN) == [max(flags)]
    assert sock.state == "FIN_WAIT_1"


def test_a_run_that_finds_no_room_goes_on_later() -> None:
    """The transmit queue takes 240 of TCP's frames: what did not fit follows, and nothing is sent twice."""
    size = 400 * MSS
    with World(1, buffer_bytes=64 << 20) as world:
        tcp = Tcp(Wire(world, ring=16))
        sock = tcp.established(mss=MSS, wscale=8, wnd=2 << 20, sndbuf=1 << 20)
        while sock.inside.cwnd < size:
            tcp.transfers(sock, 200 * MSS)
        begin = tcp.peer.stack_next
        with tcp.counts("tcp_segments_retransmitted", 0):
            tcp.sends(sock, size)
            got = {p.tcp.seq - tcp.peer.irs & 0xFFFFFFFF: p.tcp for p in tcp.drain("1ms") if p.tcp}
        assert sorted(got) == list(range(begin, begin + size, MSS))
        assert [at for at, s in got.items() if s.flags & Flags.PSH] == [begin + size - MSS]
        assert b"".join(got[at].payload for at in sorted(got)) == frames.pattern(size, begin - 1)


def test_without_df_each_frame_has_an_identification_of_its_own(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 6864: what may be fragmented is put together by it."""
    sock = tcp.established(mss=MSS).set(mtu_discover=0)
    tcp.sends(sock, 5 * MSS)
    sent = [p.ip for p in tcp.drain()]
    assert len(sent) == 5 and not any(ip.df for ip in sent)
    assert len({ip.ident for ip in sent}) == 5
