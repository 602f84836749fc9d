"""Many packets, each small: what they may take of memory, transmit queue and time is bounded."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from barewire.stack import lib
from barewire.stack.tcp import Flags, Segment

from tests.kit import frames
from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import Sock
from tests.kit.wire import Wire
from tests.kit.world import World

CHUNK = 16 * 1024


def chunks(tcp: Tcp) -> int:
    return int(tcp.stack.stats()["memory_chunks"]) // CHUNK


# ---- resets and ACKs -------------------------------------------------------------------------------


def test_a_flood_of_resets_has_ten_answers_at_most(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    for _ in range(50):
        tcp.wire.sends_burst(*[peer.packet("R", seq=1000 + i) for i in range(64)])
    assert 1 <= len(tcp.drain()) <= 10
    assert tcp.stack.counters()["tcp_challenge_acks"] == 10
    assert sock.state == "ESTABLISHED"


def test_a_flood_of_resets_to_nobody_has_no_answer(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.listens()
    with tcp.counts("tcp_resets_sent", 0):
        tcp.wire.sends_burst(*[peer.packet("R", seq=i) for i in range(640)])
    tcp.expects_nothing()


def test_a_flood_of_acks_to_nobody_does_not_crowd_out_data(world: World) -> None:
    """One reset each, while the device takes them; 64 at most wait."""
    tcp = Tcp(Wire(world))
    sock = tcp.established()
    strangers = [tcp.another_peer(7000 + i) for i in range(640)]
    for stranger in strangers:
        stranger.stack_port = 9
    world.remove_mover(tcp.wire._collect)
    tcp.wire.sends_burst(*[stranger.packet("A", seq=1, ack=9) for stranger in strangers])
    counters = tcp.stack.counters()
    assert counters["drop_transmit_stateless_share"] + counters["tcp_resets_sent"] == 640
    assert counters["tcp_resets_sent"] <= 256 + 64
    tcp.sends(sock, 10_000)
    world.add_mover(tcp.wire._collect)
    segments = [p.tcp for p in tcp.drain() if p.tcp]
    assert sum(len(s.payload) for s in segments) == 10_000
    assert len([s for s in segments if s.flags & Flags.RST]) == counters["tcp_resets_sent"]


def test_an_answer_is_never_longer_than_the_question(tcp: Tcp, peer: TcpPeer) -> None:
    """Nobody is flooded through us: a reset has a bare header."""
    stranger = tcp.another_peer(7777)
    stranger.stack_port = 9
    for flags in ("S", "A", "FA"):
        stranger.sends(flags, seq=1)
        answer = tcp.wire.next()
        assert answer is not None and answer.tcp is not None
        assert not answer.tcp.options and not answer.tcp.payload


# ---- crumbs -----------------------------------------------------------------------------------------


def test_segments_of_a_byte_share_chunks(tcp: Tcp, peer: TcpPeer) -> None:
    """What is charged is what is held: 10,000 segments of a byte are one chunk, not 10,000 buffers."""
    sock = tcp.established()
    for at in range(0, 10_000, 64):
        tcp.wire.sends_burst(*[peer.packet(len=1) for _ in range(min(64, 10_000 - at))])
    tcp.drain("1s")
    assert (sock.unread, chunks(tcp)) == (10_000, 1)
    tcp.reads(sock, 10_000)
    assert chunks(tcp) == 0


def test_bytes_far_apart_are_charged_by_the_chunk(tcp: Tcp, peer: TcpPeer) -> None:
    """A byte in each chunk of the window holds the whole window, and the account says so."""
    sock = tcp.established(wscale=8)
    tcp.transfers(sock, 100)
    window = sock.inside.rcv_wnd
    places = list(range(2 * CHUNK, window, CHUNK))
    for seq in places:
        peer.sends(seq=seq, ack=101, len=1)
        peer.next = 1
    assert len(places) - 1 <= chunks(tcp) <= len(places) + 1
    sock.abort()
    tcp.drain()
    assert chunks(tcp) == 0


def test_holes_are_bounded(tcp: Tcp, peer: TcpPeer) -> None:
    """Single bytes with a hole before each: 511 are kept, more are dropped; the stream still comes
    through."""
    sock = tcp.established()
    with tcp.counts("drop_tcp_out_of_order_memory", 2000 - 511):
        for i in range(2000):
            peer.sends(seq=3 + 2 * i, len=1)
            tcp.drain()
    peer.next = 1
    peer.sends(seq=1, len=1460)
    peer.sends(seq=1461, len=1460)
    peer.sends(seq=2921, len=1460)
    tcp.drain()
    tcp.reads(sock, 3 * 1460)


def test_out_of_order_data_cannot_take_all_memory(world: World) -> None:
    """Connections that hold the far end of their windows: from 75 % of the pool on new windows are no
    wider than a chunk, above 90 % it is refused; and who sends in order is served."""
    tcp = Tcp(Wire(world, buffer_bytes=2 << 20))
    tcp.listens(backlog=100)
    honest = tcp.another_peer(30_000)
    sock = tcp.established(peer=honest)
    for i in range(60):
        other = tcp.another_peer(20_000 + i)
        tcp.established(peer=other)
        for seq in range(2 * CHUNK, 60_000, 1000):
            other.sends(seq=seq, len=1000)
        tcp.drain(to=other)
    counters = tcp.stack.counters()
    assert counters["drop_tcp_out_of_order_memory"] + counters["drop_tcp_out_of_window"] > 0
    assert tcp.stack.stats()["memory_chunks"] <= (2 << 20) + 2 * 61 * CHUNK
    for i in range(20):
        honest.sends(seq=1 + 500 * i, len=500)
        tcp.drain(to=honest)
        tcp.reads(sock, 500, at=500 * i)


# ---- acknowledgments --------------------------------------------------------------------------------


def busy(tcp: Tcp, n: int = 100_000) -> Sock:
    """A connection with a large flight."""
    sock = tcp.established(sack=True, ts=True, wscale=8, wnd=1 << 20, sndbuf=1 << 20)
    while tcp.peer.got < n:
        tcp.sends(sock, n)
        tcp.drain()
        tcp.peer.sends()
        tcp.drain()
    tcp.sends(sock, n)
    tcp.drain()
    return sock


def test_fabricated_sack_blocks_are_bounded_and_do_no_harm(tcp: Tcp, peer: TcpPeer) -> None:
    """Single bytes all over the flight: the scoreboard keeps 512 ranges; every byte arrives yet."""
    sock = busy(tcp)
    una, end = peer.got - 60_000, peer.got
    sent = tcp.stack.counters()["tcp_segments_sent"]
    blocks = [(una + 40 * i, una + 40 * i + 1) for i in range(1, 1400)]
    for i in range(0, len(blocks) - 3, 3):
        peer.sends(ack=una, sack=blocks[i : i + 3])
        tcp.drain()
    answers = tcp.stack.counters()["tcp_segments_sent"] - sent
    assert answers < 4 * len(blocks), "a few segments for each hole at most"
    peer.sends(ack=end)
    tcp.drain()
    tcp.transfers(sock, 50_000)
    assert sock.state == "ESTABLISHED"


@pytest.mark.parametrize(
    "blocks",
    [
        [(1 << 30, (1 << 30) + 100)],
        [(500, 400)],
        [(0, 1)],
        [(5, 5)],
        [(1, 1 << 31)],
    ],
    ids=["never sent", "backwards", "the SYN", "empty", "too long"],
)
def test_sack_blocks_that_make_no_sense(
    tcp: Tcp, peer: TcpPeer, blocks: list[tuple[int, int]]
) -> None:
    sock = tcp.established(sack=True)
    tcp.sends(sock, 5000)
    tcp.drain()
    before = sock.inside
    for _ in range(10):
        peer.sends(ack=1, sack=blocks)
    assert (sock.inside.cwnd, sock.inside.snd_una) == (before.cwnd, before.snd_una)
    peer.sends(ack=5001)
    tcp.transfers(sock, 10_000)


@pytest.mark.parametrize("congestion", [0, 1], ids=["cubic", "reno"])
def test_acks_cut_into_pieces_open_no_window(tcp: Tcp, peer: TcpPeer, congestion: int) -> None:
    """RFC 3465: the window grows by what is acknowledged, not by how often."""
    sock = tcp.established(congestion=congestion)
    tcp.sends(sock, 30_000)
    tcp.drain()
    before = sock.inside.cwnd
    for ack in range(10, 1461, 10):
        peer.sends(ack=1 + ack)
    peer.sends(ack=1461)
    tcp.drain()
    assert sock.inside.cwnd <= before + 1460


def test_acks_of_what_was_not_sent_open_no_window(tcp: Tcp, peer: TcpPeer) -> None:
    """Optimistic acknowledgments beyond what is out are refused."""
    sock = tcp.established()
    tcp.sends(sock, 30_000)
    got = tcp.drain()
    before = sock.inside.cwnd
    with tcp.counts("drop_tcp_unacceptable_ack", 50):
        for i in range(50):
            peer.sends(ack=30_002 + i * 1460)
    tcp.drain()
    assert got and sock.inside.cwnd == before


def test_a_tiny_mss_is_not_believed(tcp: Tcp, peer: TcpPeer) -> None:
    """CVE-2019-11479: an MSS of less than 48 would make packets of headers; Linux's least too."""
    sock = tcp.established(mss=1, ts=True)
    tcp.sends(sock, 800)
    sizes = [len(p.tcp.payload) for p in tcp.drain() if p.tcp]
    assert sizes and max(sizes) == 48 - 12


# ---- closed windows ---------------------------------------------------------------------------------


def stressed(tcp: Tcp, n: int) -> list[tuple[Sock, TcpPeer]]:
    """Sockstress: connections whose peer asks for much and never opens its window."""
    found = []
    for i in range(n):
        peer = tcp.another_peer(20_000 + i)
        sock = tcp.established(peer=peer)
        peer.sends("A", wnd=0)
        try:
            while True:
                sock.send(bytes(100_000))
        except BlockingIOError:
            pass
        found.append((sock, peer))
    tcp.drain()
    return found


def test_closed_windows_hold_no_more_than_the_pool(world: World) -> None:
    tcp = Tcp(Wire(world, buffer_bytes=2 << 20))
    tcp.listens(backlog=100)
    held = stressed(tcp, 40)
    assert tcp.stack.stats()["memory_chunks"] <= (2 << 20) + 2 * 41 * CHUNK
    honest = tcp.another_peer(30_000)
    sock = tcp.established(peer=honest)
    for _ in range(10):
        tcp.transfers(sock, 5_000, to=honest)
    assert all(sock.state == "ESTABLISHED" for sock, _ in held)


def test_orphans_that_nobody_answers_hold_half_of_the_pool_at_most(world: World) -> None:
    """Clients that ask and are gone: they kept all of it until the last retry, and windows shut."""
    tcp = Tcp(Wire(world, buffer_bytes=2 << 20))
    tcp.listens(backlog=100)
    for i in range(60):
        sock = tcp.established(peer=tcp.another_peer(20_000 + i))
        sock.send(bytes(60_000))
        sock.close()
        tcp.drain()
    assert tcp.stack.stats()["memory_chunks"] > 2 << 20
    tcp.drain("5s")
    assert tcp.stack.stats()["memory_chunks"] <= (1 << 20) + 60 * CHUNK
    assert 0 < tcp.stack.counters()["tcp_orphans_reset"] < 60


def test_an_orphan_at_a_closed_window_is_given_up(tcp: Tcp, peer: TcpPeer) -> None:
    """Although the peer answers each probe: nobody waits for it any more."""
    sock = tcp.established()
    peer.sends("A", wnd=0)
    sock.send(bytes(10_000))
    sock.close()
    resets, begin = 0, tcp.clock.now
    for _ in range(600):
        for packet in tcp.drain("1s"):
            if packet.tcp is None or packet.tcp.flags & Flags.RST:
                resets += 1
            else:
                peer.sends("A", seq=1, ack=1, wnd=0)
        if resets:
            break
    assert resets == 1
    stats = tcp.stack.stats()
    assert (stats["sockets"], stats["memory_chunks"]) == (1, 0)
    assert tcp.clock.now - begin < 300 * 10**9


def test_the_user_timeout_bounds_a_closed_window(tcp: Tcp, peer: TcpPeer) -> None:
    """Although the peer answers (Linux's TCP_USER_TIMEOUT)."""
    sock = tcp.established(user_timeout=30_000)
    peer.sends("A", wnd=0)
    sock.send(bytes(10_000))
    for _ in range(100):
        if tcp.drain("1s"):
            peer.sends("A", seq=1, ack=1, wnd=0)
    assert sock.state == "CLOSED"
    assert tcp.stack.stats()["memory_chunks"] == 0


# ---- tables -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_chosen_four_tuples_do_not_share_a_chain(seed: int) -> None:
    """Addresses and ports that agree in every sum, difference and XOR of their low bits: the table is
    hashed under a secret key, so that they spread like any others."""
    with World(seed, max_sockets=65_536, buffer_bytes=1 << 20) as world:
        wire = Wire(world, prefix=15)
        Sock(wire.stack).bind("0.0.0.0", 80).listen(65_535)
        burst = []
        for i in range(4096):
            low = i & 0x3FFF
            source = IPv4Address("198.19.0.0") + (low ^ 0x2A2A)
            port = 1024 + (low ^ 0x2A2A)
            segment = Segment(port, 80, seq=i, flags=Flags.SYN)
            burst.append(frames.tcp(str(source), wire.here, segment))
        wire.sends_burst(*burst)
        assert wire.stack.stats()["sockets"] == 1 + 4096
        longest = lib.host_memory_used(wire.stack.host, 4)
        assert 1 <= longest <= 6, "4096 of 65536 chains"
