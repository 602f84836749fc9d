"""Off-path attackers, who know the addresses and guess the rest (RFC 5961, CVE-2016-5696): blind
resets, SYNs, data and FINs; and what their guesses are answered with. Single cases are in
test_reset.py; here the attacker sweeps."""

from __future__ import annotations

import random

import pytest

from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import Sock
from tests.kit.wire import Wire
from tests.kit.world import World

GUESSES = 2000


def sweep(tcp: Tcp, flags: str, **fields: int) -> list[object]:
    """Guesses spread over the whole sequence space, none of them exact; the answers."""
    rng = random.Random(5)
    answers: list[object] = []
    for _ in range(GUESSES):
        seq = rng.randrange(2, 1 << 32)
        tcp.peer.sends(flags, seq=seq, **fields)
        tcp.peer.next = 1
        answers += tcp.drain()
    return answers


def still_works(tcp: Tcp, sock: Sock) -> None:
    assert sock.state == "ESTABLISHED"
    tcp.run("6s")  # a new budget of challenges
    tcp.peer.sends(seq=1, len=100)
    tcp.expects("A", ack=101)
    tcp.reads(sock, 100)
    tcp.transfers(sock, 5000)


@pytest.mark.parametrize("flags", ["R", "RA"])
def test_blind_resets_do_not_close(tcp: Tcp, peer: TcpPeer, flags: str) -> None:
    """RFC 5961 3: one in 2^32 would, not one in a window."""
    sock = tcp.established()
    assert len(sweep(tcp, flags)) <= 10
    still_works(tcp, sock)


def test_resets_all_over_the_window_do_not_close(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    for seq in range(2, 65_535, 97):
        peer.sends("R", seq=seq)
    assert len(tcp.drain()) == 10
    still_works(tcp, sock)


def test_blind_syns_do_not_close(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 5961 4: a challenge ACK, whatever the sequence number."""
    sock = tcp.established()
    assert len(sweep(tcp, "S")) <= 10
    peer.sends("S", seq=1)
    tcp.drain()
    still_works(tcp, sock)


@pytest.mark.parametrize("flags", ["A", "FA", "PA"])
def test_blind_data_is_not_taken(tcp: Tcp, peer: TcpPeer, flags: str) -> None:
    """RFC 5961 5: inside the window, with acknowledgments guessed: only those of the last window's
    worth count, and of these there is none here."""
    sock = tcp.established()
    rng = random.Random(7)
    with tcp.counts("drop_tcp_unacceptable_ack", GUESSES):
        for _ in range(GUESSES):
            peer.sends(flags, seq=1 + rng.randrange(60_000), ack=rng.randrange(2, 1 << 31), len=10)
            peer.next = 1
    assert len(tcp.drain()) == 10
    assert sock.unread == 0
    assert tcp.stack.stats()["memory_chunks"] == 0, "nor is it kept for later"
    still_works(tcp, sock)


def test_data_out_of_the_window_is_not_taken(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    rng = random.Random(8)
    for _ in range(GUESSES):
        peer.sends("A", seq=rng.randrange(200_000, 1 << 31), ack=1, len=10)
        peer.next = 1
    tcp.drain()
    assert (sock.unread, sock.inside.rcv_nxt) == (0, peer.iss + 1 & 0xFFFFFFFF)


def test_resets_in_syn_sent_need_the_right_ack(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 9293 3.10.7.3."""
    sock = tcp.connects()
    tcp.expects("S")
    for ack in (0, 2, 100_000, 1 << 31):
        peer.sends("RA", seq=0, ack=ack)
    peer.sends("R", seq=0)
    assert sock.state == "SYN_SENT"
    peer.sends("RA", seq=0, ack=1)
    assert sock.state == "CLOSED"


def test_resets_in_syn_received_must_be_exact(tcp: Tcp, peer: TcpPeer) -> None:
    listener = tcp.listens()
    peer.sends("S", seq=0)
    tcp.expects("SA")
    for seq in (2, 1000, 60_000, 1 << 31):
        peer.sends("R", seq=seq)
    tcp.drain()
    peer.sends("A", seq=1, ack=1)
    assert listener.accept().state == "ESTABLISHED"


# ---- challenge ACKs --------------------------------------------------------------------------------


def challenges(seed: int) -> int:
    """How many of 1,800 challenges, ten for each of 180 connections, a second of one stack has."""
    with World(seed, buffer_bytes=64 << 20) as world:
        tcp = Tcp(Wire(world))
        tcp.listens(backlog=1000)
        peers = [tcp.another_peer(10_000 + i) for i in range(180)]
        for peer in peers:
            tcp.established(peer=peer)
        for peer in peers:
            for i in range(10):
                peer.sends("R", seq=1000 + i)
        counters = tcp.stack.counters()
        answered = int(counters["tcp_challenge_acks"])
        assert counters["tcp_challenge_acks_limited"] == 1800 - answered
        tcp.drain("6s")
        peers[-1].sends("R", seq=1000)
        assert tcp.stack.counters()["tcp_challenge_acks"] == answered + 1, "and then a new budget"
        return answered


def test_all_connections_have_a_budget_together_that_nobody_can_count() -> None:
    """CVE-2016-5696: a shared limit that is known tells an attacker whether his guess cost one of it.
    Here it is random each second (RFC 5961 7, as Linux did)."""
    found = {challenges(seed) for seed in range(3)}
    assert all(500 <= n < 1500 for n in found)
    assert len(found) == 3


def test_keepalive_probes_of_many_do_not_use_up_the_stacks_budget(world: World) -> None:
    """They are no challenges: each connection answers its own."""
    tcp = Tcp(Wire(world))
    tcp.listens(backlog=1000)
    peers = [tcp.another_peer(10_000 + i) for i in range(160)]
    for peer in peers:
        tcp.established(peer=peer)
    with tcp.counts("tcp_challenge_acks_limited", 0):
        for _ in range(10):
            for peer in peers:
                peer.sends("A", seq=0, ack=1)
    assert len(tcp.drain()) == 1600


def test_two_peers_that_disagree_do_not_answer_each_other_for_ever(tcp: Tcp, peer: TcpPeer) -> None:
    """An ACK loop (Linux's tcp_invalid_ratelimit): every ACK of ours is answered by one that is outside
    of our window, a millisecond later. It runs dry."""
    tcp.established()
    answers, peer_sends = 0, True
    while peer_sends:
        peer.sends("A", seq=500_000)
        got = len(tcp.drain("1ms"))
        answers, peer_sends = answers + got, got > 0
    assert answers == 10
    tcp.expects_nothing("1min")


@pytest.mark.parametrize("active", [False, True], ids=["accepted", "connected"])
@pytest.mark.parametrize("sent", [0, 5])
def test_an_ack_from_before_our_first_byte(
    tcp: Tcp, peer: TcpPeer, active: bool, sent: int
) -> None:
    """RFC 5961 5.2, and as Linux no older than the connection: what we have sent, and the SYN of a
    connect. Data on such an ACK is not taken."""
    sock = tcp.established(active=active)
    if sent:
        tcp.sends(sock, sent)
        peer.sends(ack=1 + sent)
        tcp.drain()
    oldest = 0 if active else 1
    for ack in (oldest - 1, oldest - 2, oldest - 60_000, oldest - 70_000, oldest - 0x7000_0000):
        with tcp.counts("drop_tcp_unacceptable_ack"), tcp.counts("tcp_challenge_acks"):
            peer.sends(seq=1, ack=ack, len=4)
        tcp.expects("A", seq=1 + sent, ack=1)
        tcp.run("6s")
    peer.sends(seq=1, ack=oldest, len=4)
    tcp.expects(ack=5)
    tcp.reads(sock, 4)
