"""The segments of a receive burst that TCP sees as one: eight flows at once, and none loses its order."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.kit import frames
from tests.kit.ecn import CE, ECT0
from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import Sock
from tests.kit.wire import Wire
from tests.kit.world import World

EIGHT = 8  # TCP_MERGES


def flows(tcp: Tcp, n: int, **options: int) -> list[tuple[TcpPeer, Sock]]:
    peers = [tcp.peer] + [tcp.another_peer(6000 + i) for i in range(1, n)]
    found = [(p, tcp.established(peer=p, **options)) for p in peers]
    tcp.drain()
    return found


def interleaved(pairs: list[tuple[TcpPeer, Sock]], each: int, size: int = 100) -> Iterator[bytes]:
    for _ in range(each):
        for peer, _ in pairs:
            yield peer.packet(len=size)


def test_eight_flows_of_a_burst_are_merged_at_once(tcp: Tcp) -> None:
    pairs = flows(tcp, EIGHT)
    with tcp.counts("tcp_segments_merged", EIGHT * 7), tcp.counts("tcp_merges_full", 0):
        tcp.wire.sends_burst(*interleaved(pairs, 8))
    tcp.drain()
    for _, sock in pairs:
        tcp.reads(sock, 800)


def test_of_nine_flows_eight_are_merged(tcp: Tcp) -> None:
    """The bound: each segment of the ninth asks for a place, and goes in by itself."""
    pairs = flows(tcp, EIGHT + 1)
    with tcp.counts("tcp_segments_merged", EIGHT * 6), tcp.counts("tcp_merges_full", 7):
        tcp.wire.sends_burst(*interleaved(pairs, 7))
    tcp.drain()
    for _, sock in pairs:
        tcp.reads(sock, 700)


def test_flows_that_fall_silent_keep_nobody_out(tcp: Tcp) -> None:
    pairs = flows(tcp, EIGHT + 1)
    last, sock = pairs[EIGHT]
    rest = [last.packet(len=100) for _ in range(55)]
    # eight segments find each of the others just begun, the ninth has the place of the first
    with tcp.counts("tcp_segments_merged", 55 - 9), tcp.counts("tcp_merges_full", 9):
        tcp.wire.sends_burst(*interleaved(pairs[:EIGHT], 1), *rest)
    tcp.drain()
    tcp.reads(sock, 5500)
    for _, other in pairs[:EIGHT]:
        tcp.reads(other, 100)


def test_the_places_are_free_again_in_the_next_burst(tcp: Tcp) -> None:
    pairs = flows(tcp, 2 * EIGHT)
    for half in (pairs[:EIGHT], pairs[EIGHT:]):
        with tcp.counts("tcp_segments_merged", EIGHT), tcp.counts("tcp_merges_full", 0):
            tcp.wire.sends_burst(*interleaved(half, 2))
    for _, sock in pairs:
        tcp.reads(sock, 200)


@pytest.mark.parametrize("flags", ["R", "FA"])
def test_an_end_follows_its_own_data_and_lets_others_wait(tcp: Tcp, flags: str) -> None:
    (a, one), (b, two) = flows(tcp, 2)
    head = list(interleaved([(a, one), (b, two)], 3))
    with tcp.counts("tcp_segments_merged", 2 + 5):
        tcp.wire.sends_burst(*head, a.packet(flags), *(b.packet(len=100) for _ in range(3)))
    assert one.state == ("CLOSED" if flags == "R" else "CLOSE_WAIT")
    assert two.state == "ESTABLISHED"
    tcp.reads(one, 300)
    tcp.reads(two, 600)


def test_a_syn_between_two_flows_is_answered(tcp: Tcp) -> None:
    pairs = flows(tcp, 2)
    third = tcp.another_peer(7000)
    burst = list(interleaved(pairs, 4))
    with tcp.counts("tcp_segments_merged", 6):
        tcp.wire.sends_burst(*burst[:3], third.packet("S", seq=0, mss=1460), *burst[3:])
    assert [p.tcp.dport for p in tcp.drain() if p.tcp and "S" in str(p)] == [7000]
    for _, sock in pairs:
        tcp.reads(sock, 400)


def test_a_mark_of_one_flow_stays_with_its_segment(tcp: Tcp) -> None:
    """Two flows in turn; of one the third of six segments is marked: it stays apart, the others do not."""
    (a, one), (b, two) = flows(tcp, 2)
    marks = [ECT0, ECT0, CE, ECT0, ECT0, ECT0]
    burst = [q for tos in marks for q in (a.packet(len=50, tos=tos), b.packet(len=50, tos=ECT0))]
    with tcp.counts("tcp_segments_merged", 1 + 2 + 5):
        tcp.wire.sends_burst(*burst)
    tcp.reads(one, 300)
    tcp.reads(two, 300)


def test_sack_blocks_of_one_flow_are_not_merged_and_the_others_acks_are(tcp: Tcp) -> None:
    (a, one), (b, two) = flows(tcp, 2, mss=1000, sack=True)
    for p, sock in ((a, one), (b, two)):
        tcp.sends(sock, 6000, to=p)
        tcp.drain(to=p)
    burst = []
    for i in range(1, 5):
        burst += [a.packet(ack=1, sack=[(1001, 1001 + 1000 * i)]), b.packet(ack=1 + 1000 * i)]
    with tcp.counts("tcp_segments_merged", 3), tcp.counts("tcp_fast_recoveries"):
        tcp.wire.sends_burst(*burst)
    assert two.unacked == 2000
    tcp.expects(seq=1, len=1000, to=a, why="three segments above the hole are sacked")


def test_bare_acks_are_merged_whatever_their_windows(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(mss=1000, wnd=8000)
    tcp.sends(sock, 8000)
    tcp.drain()
    windows = [7000, 9000, 2000, 3000]
    with tcp.counts("tcp_segments_merged", 3):
        burst = (peer.packet(ack=1 + 1000 * i, wnd=w) for i, w in enumerate(windows, 1))
        tcp.wire.sends_burst(*burst)
    assert sock.unacked == 4000
    assert sock.inside.snd_wnd == 3000, "the last one's"


def test_the_largest_window_counts_though_its_ack_was_merged(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 5961 5.2: an ACK may be older by the largest window that the peer has ever announced."""
    sock = tcp.established(mss=1000, wnd=3000)
    tcp.transfers(sock, 20_000)
    tcp.sends(sock, 3000)
    tcp.drain()
    with tcp.counts("tcp_segments_merged", 1):
        tcp.wire.sends_burst(peer.packet(ack=21_001, wnd=20_000), peer.packet(ack=22_001, wnd=3000))
    tcp.drain()
    with tcp.counts("drop_tcp_unacceptable_ack", 0):
        peer.sends(ack=5001, len=100)
    with tcp.counts("drop_tcp_unacceptable_ack", 1):
        peer.sends(ack=1001, len=100)


def test_a_broadcast_frame_is_no_part_of_a_flow(world: World) -> None:
    """RFC 9293 3.9.2.3, also where it would continue what waits."""
    tcp = Tcp(Wire(world, layer=2))
    sock = tcp.established()
    tcp.drain()
    first, second = tcp.peer.packet(len=100), tcp.peer.packet(len=100)
    to_all = b"\xff" * 6 + frames.ethernet(tcp.wire.stack_mac, tcp.wire.mac, second)[6:]
    with tcp.counts("drop_tcp_broadcast"), tcp.counts("tcp_segments_merged", 0):
        tcp.wire.sends_frames(frames.ethernet(tcp.wire.stack_mac, tcp.wire.mac, first), to_all)
    tcp.reads(sock, 100)


# ---- the same frames, at once and one by one --------------------------------------------------------


def script(dice: random.Random, peer: TcpPeer, sent: int) -> list[bytes]:
    """What one peer says: data in order and out of it, again and corrupted, ACKs, marks, an end."""
    out = []
    acked = 1
    for _ in range(dice.randrange(12, 30)):
        tos, size = dice.choice([0] * 6 + [ECT0, CE]), dice.choice([0, 1, 100, 1000])
        wnd = dice.choice([None, None, 20_000, 40_000])
        what = dice.random()
        if what < 0.15:
            out.append(peer.packet(seq=peer.next + 500, len=100, ack=acked, tos=tos))
            peer.next -= 600
        elif what < 0.25:
            out.append(frames.wrong_sum(peer.packet(len=100, ack=acked)))
            peer.next -= 100
        else:
            if dice.random() < 0.5:
                acked = min(sent + 1, acked + dice.choice([1000, 2000]))
            packet = peer.packet("PA" if what > 0.8 else "A", len=size, ack=acked, wnd=wnd, tos=tos)
            out += [packet] * (2 if what < 0.35 else 1)
    if dice.random() < 0.3:
        out.append(peer.packet(dice.choice(["FA", "R"]), ack=acked))
    return out


def shuffled(dice: random.Random, scripts: list[list[bytes]]) -> list[bytes]:
    """Each script in its order, all of them interleaved."""
    order = [i for i, s in enumerate(scripts) for _ in s]
    dice.shuffle(order)
    each = [iter(s) for s in scripts]
    return [next(each[i]) for i in order]


def outcome(sock: Sock) -> tuple[object, ...]:
    now = sock.inside
    found = (sock.state, now.rcv_nxt - now.irs, now.snd_una - now.iss, now.snd_wnd, sock.unread)
    return (*found, sock.take_error(), sock.recv() if sock.unread else b"")


@pytest.mark.parametrize("seed", range(12))
def test_a_burst_leaves_what_the_same_frames_leave_one_by_one(seed: int) -> None:
    found, merged = [], []
    for at_once in (True, False):
        dice = random.Random(seed)
        with World(seed, buffer_bytes=64 << 20) as world:
            tcp = Tcp(Wire(world))
            pairs = flows(tcp, dice.choice([2, 5, 8, 12]), mss=1000, sack=True)
            for peer, sock in pairs:
                tcp.sends(sock, 5000, to=peer)
                tcp.drain(to=peer)
            burst = shuffled(dice, [script(dice, peer, 5000) for peer, _ in pairs])
            before = tcp.stack.counters()["tcp_segments_merged"]
            if at_once:
                tcp.wire.sends_burst(*burst)
            else:
                for packet in burst:
                    tcp.wire.sends(packet)
            merged.append(tcp.stack.counters()["tcp_segments_merged"] - before)
            found.append([outcome(sock) for _, sock in pairs])
    assert found[0] == found[1]
    assert merged[0] > merged[1] == 0


@pytest.mark.parametrize("layer", [2, 3])
@pytest.mark.parametrize("size", [20, 24, 28, 31])
def test_a_header_that_ends_before_its_options(world: World, size: int, layer: int) -> None:
    """Behind a segment with timestamps comes one that says nothing else, and whose packet ends before
    them: what looks like them is padding of the link."""
    tcp = Tcp(Wire(world, layer=layer))
    sock = tcp.established(mss=1000, ts=True)
    tcp.drain()
    first = tcp.peer.packet(len=100)
    second = frames.ending(tcp.peer.packet(len=100), 20 + size)
    with tcp.counts("drop_tcp_data_offset"):
        tcp.wire.sends_burst(first, second)
    tcp.drain()
    tcp.reads(sock, 100)
    assert not sock.readable
