"""Segments that make no sense, by the thousand: nothing breaks, nothing wrong is delivered, and a
correct peer can go on."""

from __future__ import annotations

import random

import pytest

from tests.kit import frames
from tests.kit.peer import Tcp, TcpPeer

FLAGS = ["A", "A", "A", "PA", "FA", "SA", "S", "", "U", "AE", "AU", "F"]


def around(dice: random.Random, at: int) -> int:
    """A sequence number near `at`, at its borders, or anywhere."""
    kind = dice.random()
    if kind < 0.5:
        return max(0, at + dice.randrange(-3000, 3000))
    if kind < 0.8:
        return max(0, at + dice.choice([-1, 0, 1, 65_535, 65_536, -65_536]))
    return dice.getrandbits(32)


def text(seq: int, size: int) -> bytes:
    """The bytes that belong to these sequence numbers; zeros before the first."""
    at = ((seq - 1 + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)
    early = min(size, max(0, -at))
    return bytes(early) + frames.pattern(size - early, max(0, at))


@pytest.mark.parametrize("seed", range(12))
def test_a_connection_bears_any_segments(tcp: Tcp, peer: TcpPeer, seed: int) -> None:
    """Everything but an exact reset or FIN, which would rightly end it."""
    dice = random.Random(seed)
    ts = bool(seed & 1)
    scale = dice.choice([None, 7])
    sock = tcp.established(mss=1000, sack=True, ts=ts, wscale=scale, oobinline=1)
    got = bytearray()
    stamp = peer.tsval
    for _ in range(300):
        flags = dice.choice(FLAGS)
        next_ = len(got) + 1
        seq = around(dice, next_)
        size = dice.choice([0, 0, 1, 10, 500, 1460])
        if "F" in flags and (seq - next_ + 200_000) & 0xFFFFFFFF < 400_000:
            flags = "A"
        peer.sends(
            flags,
            seq=seq,
            ack=dice.choice([1, peer.got, dice.getrandbits(32)]),
            data=text(seq, size),
            wnd=dice.randrange(65_536),
            ts=(stamp + dice.randrange(-5, 5), peer.ts_seen)
            if ts and dice.random() < 0.9
            else False,
            sack=[(dice.randrange(5000), dice.randrange(5000))] if dice.random() < 0.2 else (),
            urgent=dice.randrange(100),
        )
        if dice.random() < 0.1:
            tcp.drain("10ms")
            got += sock.read_all()
        if dice.random() < 0.05 and sock.writable:
            sock.send(bytes(dice.randrange(1, 3000)))
    got += sock.read_all()
    tcp.drain("100ms")
    assert bytes(got) == frames.pattern(len(got))
    assert sock.state == "ESTABLISHED"
    assert tcp.stack.counters()["tcp_bad_state_transition"] == 0
    sock.abort()
    tcp.drain("1s")
    assert tcp.stack.stats()["memory_chunks"] == 0


@pytest.mark.parametrize("seed", range(12))
def test_frames_with_bytes_changed(tcp: Tcp, peer: TcpPeer, seed: int) -> None:
    """Any byte of any packet, with the checksums mended, so that it gets as far as it can."""
    dice = random.Random(seed)
    sock = tcp.established(mss=1000, sack=True, ts=True, wscale=7)
    tcp.wire.udp(7)
    for i in range(300):
        packet = dice.choice(
            [
                peer.packet(seq=peer.next, len=dice.choice([0, 100]), sack=[(1, 2)]),
                peer.packet("S", seq=dice.getrandbits(32), mss=1000, wscale=3, sack_ok=True),
                frames.udp(tcp.wire.there, tcp.wire.here, 5000, 7, bytes(20)),
                frames.echo(tcp.wire.there, tcp.wire.here),
                frames.unreachable(tcp.wire.there, tcp.wire.here, 4, peer.packet(), mtu=600),
            ]
        )
        for _ in range(dice.randrange(1, 4)):
            packet = frames.with_byte(packet, dice.randrange(len(packet)), dice.getrandbits(8))
        if dice.random() < 0.3:
            packet = frames.truncated(packet, dice.randrange(len(packet) + 1))
        if len(packet) >= 40 and dice.random() < 0.8:
            packet = frames.mended(packet)
        if packet:
            tcp.wire.sends(packet)
        if i % 50 == 0:
            tcp.drain("10ms")
    tcp.drain("1s")
    assert tcp.stack.counters()["tcp_bad_state_transition"] == 0
    if sock.state == "ESTABLISHED":
        sock.abort()
    else:
        sock.close()
    tcp.drain("1h")


@pytest.mark.parametrize(
    "state",
    [
        "syn_sent",
        "syn_rcvd",
        "fin_wait_1",
        "fin_wait_2",
        "closing",
        "close_wait",
        "last_ack",
        "time_wait",
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_every_state_bears_any_segments(tcp: Tcp, peer: TcpPeer, seed: int, state: str) -> None:
    """Resets and FINs too; whatever comes of it, all memory and all sockets come back."""
    dice = random.Random(seed)
    if state == "syn_sent":
        sock = tcp.connects()
    elif state == "syn_rcvd":
        tcp.listens()
        peer.sends("S", seq=0)
        sock = None
    else:
        sock = tcp.established()
        if state in ("close_wait", "last_ack"):
            peer.sends("FA")
        if state != "close_wait":
            sock.shutdown()
            tcp.run("0s")
        if state in ("fin_wait_2", "time_wait"):
            peer.sends(ack=2)
        if state in ("closing", "time_wait"):
            peer.sends("FA", ack=1 + (state == "time_wait"))
        assert sock.state == state.upper()
    tcp.drain()
    for _ in range(60):
        peer.sends(
            dice.choice([*FLAGS, "R", "RA", "SF"]),
            seq=around(dice, dice.choice([0, 1, 2])),
            ack=around(dice, dice.choice([0, 1, 2])),
            len=dice.choice([0, 1, 100]),
            wnd=dice.randrange(65_536),
        )
    tcp.drain("1min")
    assert tcp.stack.counters()["tcp_bad_state_transition"] == 0
    if sock is not None:
        sock.close()
    if tcp._listener is not None:
        tcp._listener.close()
    tcp.drain("3h")
    assert (tcp.stack.stats()["sockets"], tcp.stack.stats()["memory_chunks"]) == (0, 0)
