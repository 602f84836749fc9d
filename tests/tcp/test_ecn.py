"""Explicit Congestion Notification, RFC 3168 section 6.1: handshake, codepoints, echo, and the answer of
the window; its smaller reduction after RFC 8511."""

from __future__ import annotations

import pytest

from tests.kit.checks import Check, is_ip
from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import Sock

OFF, ON, PASSIVE = 0, 1, 2
NOT_ECT, ECT1, ECT0, CE = 0, 1, 2, 3
CUBIC, RENO, BBR = 0, 1, 2
MSS = 1000


def tos(value: int) -> Check:
    return is_ip(tos=value)


def active(tcp: Tcp, peer: TcpPeer, **options: int) -> Sock:
    """A connection of ours that uses ECN; `peer` answered with an ECN-setup SYN-ACK."""
    sock = tcp.connects(tcp.wire.tcp().set(ecn=ON, **options))
    tcp.expects("SEC", seq=0, check=tos(NOT_ECT))
    peer.sends("SAE", seq=0, ack=1, mss=MSS, sack_ok=True)
    tcp.expects("A", seq=1, ack=1, check=tos(NOT_ECT))
    return sock


def passive(tcp: Tcp, peer: TcpPeer, **options: int) -> Sock:
    """A connection that the peer opened with an ECN-setup SYN."""
    listener = tcp.listens(**options)
    peer.sends("SEC", seq=0, mss=MSS, sack_ok=True)
    tcp.expects("SAE", seq=0, ack=1, check=tos(NOT_ECT))
    peer.sends("A", seq=1, ack=1)
    return listener.accept()


# ---- the handshake -------------------------------------------------------------------------------


def test_we_ask_and_the_peer_agrees(tcp: Tcp, peer: TcpPeer) -> None:
    sock = active(tcp, peer)
    assert sock.inside.ecn == 1
    tcp.sends(sock, MSS)
    tcp.expects("A", seq=1, len=MSS, check=tos(ECT0))


@pytest.mark.parametrize("answer", ["SA", "SAEC", "SAC"])
def test_we_ask_and_the_peer_declines(tcp: Tcp, peer: TcpPeer, answer: str) -> None:
    """RFC 3168 6.1.1: an ECN-setup SYN-ACK has ECE and not CWR; one with both was reflected."""
    sock = tcp.connects(tcp.wire.tcp().set(ecn=ON))
    tcp.expects("SEC")
    peer.sends(answer, seq=0, ack=1, mss=MSS)
    tcp.expects("A")
    assert sock.inside.ecn == 0
    tcp.sends(sock, MSS)
    tcp.expects("A", len=MSS, check=tos(NOT_ECT))


def test_the_peer_asks_and_we_agree(tcp: Tcp, peer: TcpPeer) -> None:
    """As Linux's tcp_ecn=2, the default: who asks is answered, and nobody is asked."""
    sock = passive(tcp, peer)
    assert sock.inside.ecn == 1
    tcp.sends(sock, MSS)
    tcp.expects("A", len=MSS, check=tos(ECT0))


def test_by_default_nobody_is_asked(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.wire.tcp()
    assert sock.get("ecn") == PASSIVE
    tcp.connects(sock)
    tcp.expects("S", seq=0)
    peer.sends("SAE", seq=0, ack=1)
    tcp.expects("A")
    assert sock.inside.ecn == 0, "an answer to what nobody asked"


@pytest.mark.parametrize("asks", ["S", "SE", "SC"])
def test_a_syn_that_does_not_ask(tcp: Tcp, peer: TcpPeer, asks: str) -> None:
    tcp.listens()
    peer.sends(asks, seq=0)
    tcp.expects("SA")


def test_switched_off_we_decline(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.listens(ecn=OFF)
    peer.sends("SEC", seq=0)
    tcp.expects("SA")


@pytest.mark.parametrize("field", [ECT1, ECT0, CE])
def test_a_syn_that_is_itself_marked_is_declined(tcp: Tcp, peer: TcpPeer, field: int) -> None:
    """As Linux: the field means nothing on a path that writes it into a SYN."""
    tcp.listens()
    peer.sends("SEC", seq=0, tos=field)
    tcp.expects("SA")


def test_a_lost_syn_is_sent_again_without_asking(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 3168 6.1.1.1, as Linux's tcp_ecn_fallback: it may have been dropped for its flags."""
    sock = tcp.connects(tcp.wire.tcp().set(ecn=ON))
    tcp.expects("SEC", seq=0)
    with tcp.counts("tcp_ecn_syn_fallbacks"):
        tcp.expects("S", seq=0, after="1s")
    peer.sends("SA", seq=0, ack=1)
    tcp.expects("A")
    assert sock.inside.ecn == 0


def test_after_a_plain_syn_marks_are_echoed_but_nothing_says_ect(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 3168 6.1.1: a host that has sent a SYN without ECN sends no ECT; but the peer may have
    answered the first SYN, so its marks are heard."""
    sock = tcp.connects(tcp.wire.tcp().set(ecn=ON))
    tcp.expects("SEC")
    tcp.expects("S", after="1s")
    peer.sends("SAE", seq=0, ack=1, mss=MSS)
    tcp.expects("A")
    tcp.sends(sock, MSS)
    tcp.expects("A", len=MSS, check=tos(NOT_ECT))
    peer.sends(len=500, tos=CE)
    tcp.expects("AE", ack=501)


def test_a_second_syn_that_does_not_ask_takes_it_back(tcp: Tcp, peer: TcpPeer) -> None:
    """The peer fell back: our SYN-ACK was lost, and it thinks that its SYN was."""
    listener = tcp.listens()
    peer.sends("SEC", seq=0, mss=MSS)
    tcp.expects("SAE", seq=0)
    peer.sends("S", seq=0, mss=MSS)
    tcp.expects("SA", seq=0)
    peer.sends("A", seq=1, ack=1)
    assert listener.accept().inside.ecn == 0


def test_a_syn_ack_is_sent_again_as_it_was(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.listens()
    peer.sends("SEC", seq=0)
    tcp.expects("SAE", seq=0)
    tcp.expects("SAE", seq=0, after="1s")


def test_simultaneous_open(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.connects(tcp.wire.tcp().set(ecn=ON))
    tcp.expects("SEC", seq=0)
    peer.sends("SEC", seq=0, mss=MSS)
    tcp.expects("SAE", seq=0, ack=1)
    peer.sends("SAE", seq=0, ack=1)
    assert (sock.state, sock.inside.ecn) == ("ESTABLISHED", 1)


def test_a_socket_that_connects_again_begins_anew(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.connects(tcp.wire.tcp().set(ecn=ON))
    tcp.expects("SEC")
    tcp.expects("S", after="1s")
    peer.sends("RA", seq=0, ack=1)
    assert sock.take_error()
    peer.begin()
    tcp.connects_again(sock)
    tcp.expects("SEC", seq=0)


def test_a_stack_chooses_for_its_sockets(tcp: Tcp) -> None:
    """The words of Stack(ecn=…) are Linux's numbers."""
    modes = {"off": 0, "on": 1, "passive": 2, "accecn": 3, "accecn-passive": 5}
    for name, number in modes.items():
        stack = tcp.wire.world.stack(None, ecn=name)
        assert Sock(stack).get("ecn") == number
    with pytest.raises(ValueError, match="known are off, passive, on"):
        tcp.wire.world.stack(None, ecn="perhaps")


def test_the_option_is_for_before_the_syn(tcp: Tcp, peer: TcpPeer) -> None:
    sock = passive(tcp, peer)
    with pytest.raises(OSError):
        sock.set(ecn=ON)
    with pytest.raises(OSError):
        tcp.wire.tcp().set(ecn=77)


# ---- which segments say ECT ----------------------------------------------------------------------


def test_only_new_data_are_ect(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 3168 6.1.4, 6.1.5: not bare ACKs, not retransmissions; nor a FIN alone."""
    sock = active(tcp, peer)
    peer.sends(len=100)
    tcp.expects("A", ack=101, len=0, check=tos(NOT_ECT))
    tcp.sends(sock, 4 * MSS)
    for i in range(4):
        tcp.expects("A", seq=1 + i * MSS, check=tos(ECT0))
    peer.sends(ack=1, sack=[(1 + MSS, 1 + 4 * MSS)])
    tcp.expects("A", seq=1, len=MSS, check=tos(NOT_ECT), why="a retransmission")
    peer.sends(ack=1 + 4 * MSS)
    tcp.reads(sock, 100)
    tcp.closes(sock)
    tcp.expects("FA", len=0, check=tos(NOT_ECT))


def test_a_retransmission_after_a_timeout_is_not_ect(tcp: Tcp, peer: TcpPeer) -> None:
    sock = active(tcp, peer)
    tcp.sends(sock, 100)
    tcp.expects("A", seq=1, len=100, check=tos(ECT0))
    tcp.expects("A", seq=1, len=100, check=tos(NOT_ECT), within="3s")


def test_window_probes_are_not_ect(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 3168 6.1.6."""
    sock = active(tcp, peer)
    peer.sends(wnd=0)
    tcp.sends(sock, MSS)
    tcp.expects("A", seq=0, len=0, check=tos(NOT_ECT), within="5s", why="a probe")


def test_keepalives_are_not_ect(tcp: Tcp, peer: TcpPeer) -> None:
    active(tcp, peer, keepalive=1, keepidle=10)
    tcp.expects("A", seq=0, len=0, check=tos(NOT_ECT), within="11s")


def test_the_users_tos_leaves_the_field_alone(tcp: Tcp, peer: TcpPeer) -> None:
    """Linux's IP_TOS keeps off TCP's two bits (RFC 3168 section 22)."""
    sock = active(tcp, peer)
    sock.set(tos=0xFF)
    assert sock.get("tos") == 0xFC
    tcp.sends(sock, MSS)
    tcp.expects("A", len=MSS, check=tos(0xFC | ECT0))
    other = tcp.wire.tcp().set(tos=0x0B)
    peer.begin()
    tcp.connects(other)
    tcp.expects("S", check=tos(0x08))


# ---- the receiver --------------------------------------------------------------------------------


def test_a_mark_is_echoed_until_cwr(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 3168 6.1.3: ECE on every segment until the sender says that it has reduced."""
    sock = passive(tcp, peer)
    with tcp.counts("tcp_ecn_marks_received"):
        peer.sends(len=MSS, tos=CE)
    tcp.expects("AE", ack=1 + MSS)
    peer.sends(len=MSS, tos=ECT0)
    peer.sends(len=MSS, tos=ECT0)
    tcp.expects("AE", ack=1 + 2 * MSS)
    tcp.expects("AE", ack=1 + 3 * MSS)
    tcp.sends(sock, 10)
    tcp.expects("AE", len=10, why="data say it as well")
    peer.sends("AC", len=MSS, tos=ECT0)
    tcp.expects("A", ack=1 + 4 * MSS)


def test_a_cwr_that_is_itself_marked_begins_the_next_echo(tcp: Tcp, peer: TcpPeer) -> None:
    passive(tcp, peer)
    peer.sends(len=MSS, tos=CE)
    tcp.expects("AE")
    peer.sends("AC", len=MSS, tos=CE)
    tcp.expects("AE", ack=1 + 2 * MSS)


def test_a_mark_is_told_of_at_once(tcp: Tcp, peer: TcpPeer) -> None:
    sock = passive(tcp, peer)
    for _ in range(20):  # quick ACKs are over
        peer.sends(len=100, tos=ECT0)
    tcp.drain("1s")
    sock.read_all()
    peer.sends(len=100, tos=ECT0)
    tcp.expects_nothing(why="delayed")
    peer.sends(len=100, tos=CE)
    tcp.expects("AE", ack=2201)


def test_marks_are_ignored_without_ecn(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.established(mss=MSS)
    with tcp.counts("tcp_ecn_marks_received", 0):
        peer.sends(len=MSS, tos=CE)
    tcp.expects("A", ack=1 + MSS)


def test_a_marked_bare_ack_is_no_congestion(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 3168 6.1.4: bare ACKs are no ECT packets, their mark means nothing."""
    sock = passive(tcp, peer)
    tcp.sends(sock, MSS)
    tcp.expects("A", len=MSS)
    peer.sends(ack=1 + MSS, tos=CE)
    peer.sends(len=MSS, tos=ECT0)
    tcp.expects("A", ack=1 + MSS)


def test_a_mark_outside_the_window_is_ignored(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 3168 6.1.5: against marks that somebody else injects."""
    passive(tcp, peer)
    peer.sends(seq=1, len=MSS)
    tcp.expects("A", ack=1 + MSS)
    peer.sends(seq=1, len=MSS, tos=CE)
    tcp.expects("A", ack=1 + MSS)


def test_a_marked_window_probe_is_heard(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 3168 6.1.6: the byte beyond the closed window is not taken, its mark is."""
    sock = passive(tcp, peer, rcvbuf=4000)
    peer.sends(seq=1, len=4000)
    tcp.drain("1s")
    assert sock.inside.rcv_wnd == 0
    peer.sends(seq=4001, len=1, tos=CE)
    tcp.expects("AE", ack=4001)


def test_marked_and_unmarked_segments_of_a_burst_are_kept_apart(tcp: Tcp, peer: TcpPeer) -> None:
    """Merging loses no mark, and a CWR ends the echo where it stands."""
    passive(tcp, peer)
    with tcp.counts("tcp_ecn_marks_received", 2):
        tcp.wire.sends_burst(
            *(peer.packet(len=MSS, tos=ECT0) for _ in range(2)),
            *(peer.packet(len=MSS, tos=CE) for _ in range(2)),
            *(peer.packet(len=MSS, tos=ECT0) for _ in range(2)),
        )
    assert tcp.drain()[-1].tcp.flags == 0x50  # type: ignore[union-attr]
    tcp.wire.sends_burst(
        peer.packet("AC", len=MSS, tos=ECT0), *(peer.packet(len=MSS, tos=ECT0) for _ in range(3))
    )
    assert tcp.drain()[-1].tcp.flags == 0x10  # type: ignore[union-attr]
    tcp.wire.sends_burst(peer.packet("AC", len=MSS, tos=ECT0), peer.packet(len=MSS, tos=CE))
    tcp.expects("AE", ack=1 + 12 * MSS)


# ---- the sender ----------------------------------------------------------------------------------


def in_flight(tcp: Tcp, peer: TcpPeer, congestion: int) -> Sock:
    """Ten segments in flight, which is the window."""
    sock = active(tcp, peer, congestion=congestion)
    tcp.sends(sock, 60 * MSS)
    assert len(tcp.drain()) == 10
    return sock


@pytest.mark.parametrize(("congestion", "after"), [(CUBIC, 8500), (RENO, 8000)])
def test_the_window_answers_a_mark(tcp: Tcp, peer: TcpPeer, congestion: int, after: int) -> None:
    """RFC 3168 6.1.2 with RFC 8511's factors: 0.85 for CUBIC, 0.8 for Reno."""
    sock = in_flight(tcp, peer, congestion)
    with tcp.counts("tcp_ecn_reductions"):
        peer.sends("AE", ack=1 + MSS)
    assert (sock.inside.cwnd, sock.inside.ssthresh) == (after, after)


@pytest.mark.parametrize("congestion", [CUBIC, RENO])
def test_once_a_round_trip_with_cwr_on_the_next_new_data(
    tcp: Tcp, peer: TcpPeer, congestion: int
) -> None:
    sock = in_flight(tcp, peer, congestion)
    with tcp.counts("tcp_ecn_reductions"):
        for i in range(1, 11):
            peer.sends("AE", ack=1 + i * MSS)
    window = sock.inside.cwnd
    sent = tcp.drain()
    assert [bool(p.tcp.flags & 0x80) for p in sent] == [True] + [False] * (len(sent) - 1)  # type: ignore[union-attr]
    assert all(p.ip.tos == ECT0 for p in sent)  # type: ignore[union-attr]
    assert window == (8500 if congestion == CUBIC else 8000), "and no growth with ECE"
    with tcp.counts("tcp_ecn_reductions"):
        peer.sends("AE", ack=1 + 11 * MSS)
    assert sock.inside.cwnd < window, "a mark of the next round trip"


def test_the_next_acks_let_it_grow_again(tcp: Tcp, peer: TcpPeer) -> None:
    sock = in_flight(tcp, peer, RENO)
    peer.sends("AE", ack=1 + 10 * MSS)
    tcp.drain()
    for i in range(11, 31):
        peer.sends(ack=1 + i * MSS)
    assert sock.inside.cwnd == 8000 + 2 * MSS


def test_an_ack_of_the_whole_window_reduces_what_was_used(tcp: Tcp, peer: TcpPeer) -> None:
    """Not what is left in flight: nothing."""
    sock = in_flight(tcp, peer, RENO)
    peer.sends("AE", ack=1 + 10 * MSS)
    assert sock.inside.cwnd == 8000


def test_the_window_keeps_two_segments(tcp: Tcp, peer: TcpPeer) -> None:
    sock = in_flight(tcp, peer, RENO)
    for _ in range(30):
        tcp.drain("10ms")
        if sock.unacked:
            peer.sends("AE", ack=peer.got)
    assert sock.inside.cwnd == 2 * MSS


def test_who_does_not_answer_marks_does_not_say_ect(tcp: Tcp, peer: TcpPeer) -> None:
    """BBR governs its window by what is delivered: RFC 3168 section 5 lets only who reacts say ECT."""
    sock = active(tcp, peer, congestion=BBR)
    tcp.sends(sock, MSS)
    tcp.expects("A", len=MSS, check=tos(NOT_ECT))
    with tcp.counts("tcp_ecn_reductions", 0):
        peer.sends("AE", ack=1 + MSS)
    peer.sends(len=MSS, tos=CE)
    tcp.expects("AE", ack=1 + MSS, why="as receiver it takes part")
    sock.set(congestion=RENO)
    tcp.sends(sock, MSS)
    tcp.expects("AE", len=MSS, check=tos(ECT0))


def test_ece_without_ecn_is_ignored(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(mss=MSS)
    tcp.sends(sock, 20 * MSS)
    tcp.drain()
    with tcp.counts("tcp_ecn_reductions", 0):
        peer.sends("AE", ack=1 + MSS)
    assert sock.inside.cwnd == 11 * MSS


def test_a_loss_says_cwr_too(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 3168 6.1.2: the window was reduced, for whatever reason; a mark in the same window is
    answered with it."""
    sock = in_flight(tcp, peer, RENO)
    peer.sends(ack=1, sack=[(1 + MSS, 1 + 10 * MSS)])
    assert sock.inside.ssthresh == 5 * MSS
    sent = tcp.drain()
    assert sent[0].tcp.flags & 0x80 == 0 and sent[0].ip.tos == 0, "the retransmission"  # type: ignore[union-attr]
    with tcp.counts("tcp_ecn_reductions", 0):
        peer.sends("AE", ack=1 + 10 * MSS)
    sent += tcp.drain()
    fresh = [p.tcp for p in sent if p.tcp and (p.tcp.seq - peer.irs) & 0xFFFFFFFF > 10 * MSS]
    assert [bool(s.flags & 0x80) for s in fresh][:2] == [True, False]
    assert sock.inside.ssthresh == 5 * MSS


def test_a_mark_and_a_loss_of_one_window_are_answered_once(tcp: Tcp, peer: TcpPeer) -> None:
    sock = in_flight(tcp, peer, RENO)
    peer.sends("AE", ack=1 + MSS)
    assert sock.inside.ssthresh == 8000
    peer.sends("AE", ack=1 + MSS, sack=[(1 + 2 * MSS, 1 + 10 * MSS)])
    assert sock.inside.ssthresh == 8000
    sent = tcp.drain()
    assert [(p.tcp.seq - peer.irs) & 0xFFFFFFFF for p in sent if p.ip.tos == 0] == [1 + MSS]  # type: ignore[union-attr]


def test_a_mark_in_recovery_forbids_its_undoing(tcp: Tcp, peer: TcpPeer) -> None:
    """The retransmission proves needless, but the network did say congestion."""
    sock = in_flight(tcp, peer, RENO)
    peer.sends(ack=1, sack=[(1 + MSS, 1 + 10 * MSS)])
    peer.sends("AE", ack=1, sack=[(1 + MSS, 1 + 10 * MSS)])
    tcp.drain()
    with tcp.counts("tcp_spurious_recoveries_undone", 0):
        peer.sends(ack=1 + 10 * MSS, sack=[(1, 1 + MSS)])
    assert sock.inside.ssthresh == 5 * MSS


def test_an_echo_on_data_counts_that_acknowledge_nothing_new(tcp: Tcp, peer: TcpPeer) -> None:
    """6.1.2: any segment with ECE; also where nothing else about it is news."""
    sock = passive(tcp, peer)
    tcp.sends(sock, 5 * MSS)
    tcp.drain()
    before = sock.inside.cwnd
    peer.sends("AE", ack=1, len=10)
    assert sock.inside.cwnd < before
