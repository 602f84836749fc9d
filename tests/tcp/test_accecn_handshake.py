"""The handshake of accurate ECN, RFC 9768 sections 3.1 and 3.2.2.1 to 3.2.2.3, and its fall-backs."""

from __future__ import annotations

import pytest
from barewire.stack.tcp import AccEcn, Mss

from tests.kit.ecn import (
    ACCURATE,
    ACCURATE_ANSWER,
    ACCURATE_PASSIVE,
    CE,
    DCTCP,
    ECT0,
    ECT1,
    MSS,
    NOT_ECT,
    ON,
    PASSIVE,
    RENO,
    ace,
    client,
    ect,
    option,
)
from tests.kit.peer import Tcp, TcpPeer

CODES = [(NOT_ECT, 2), (ECT1, 3), (ECT0, 4), (CE, 6)]  # Tables 2 and 3


# ---- the client's handshake -----------------------------------------------------------------------


@pytest.mark.parametrize(("field", "code"), CODES)
def test_the_client_tells_how_the_syn_ack_arrived(
    tcp: Tcp, peer: TcpPeer, field: int, code: int
) -> None:
    """Section 3.2.2.1, Table 3; a CE mark counts once in r.cep."""
    sock = tcp.connects(tcp.wire.tcp().set(ecn=ACCURATE))
    tcp.expects("SeCE")
    peer.sends("SA" + ace(2), seq=0, ack=1, mss=MSS, tos=field)
    tcp.expects("A" + ace(code), ack=1)
    assert sock.inside.ecn == 2
    peer.sends("A" + ace(5), len=MSS)
    tcp.expects("A" + ace(6 if field == CE else 5), ack=1 + MSS)


@pytest.mark.parametrize(
    ("answer", "mode", "codepoint"),
    [(0, 0, NOT_ECT), (1, 1, ECT0), (7, 0, NOT_ECT), (5, 2, ECT0), (2, 2, ECT0)],
    ids=["none", "classic", "reflected", "reserved", "accurate"],
)
def test_what_the_answer_agrees_to(
    tcp: Tcp, peer: TcpPeer, answer: int, mode: int, codepoint: int
) -> None:
    """Section 3.1.2, Table 2; and section 3.1.3: (1,0,1) is for future use, and agrees."""
    sock = tcp.connects(tcp.wire.tcp().set(ecn=ACCURATE))
    tcp.expects("SeCE")
    peer.sends("SA" + ace(answer), seq=0, ack=1, mss=MSS)
    tcp.drain()
    assert sock.inside.ecn == mode
    tcp.sends(sock, MSS)
    tcp.expects(len=MSS, check=ect(codepoint))


@pytest.mark.parametrize("answer", [3, 4, 6])
def test_a_syn_whose_field_was_written_on_the_way(tcp: Tcp, peer: TcpPeer, answer: int) -> None:
    """Section 3.2.2.3: our SYN was not ECT; nothing of ours says ECT then, feedback goes on."""
    sock = tcp.connects(tcp.wire.tcp().set(ecn=ACCURATE, congestion=RENO))
    tcp.expects("SeCE")
    with tcp.counts("tcp_ecn_mangled_on_path"):
        peer.sends("SA" + ace(answer), seq=0, ack=1, mss=MSS)
    tcp.expects("A" + ace(2))
    assert sock.inside.ecn == 2
    assert (sock.inside.cwnd < 10 * MSS) == (answer == 6), "CE on the SYN is congestion"
    tcp.sends(sock, MSS)
    tcp.expects(len=MSS, check=ect(NOT_ECT))
    peer.sends("A" + ace(5), len=MSS, tos=CE)
    tcp.expects("A" + ace(6), ack=1 + MSS)


def test_a_lost_syn_asks_once_more_and_then_for_nothing(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 3.1.4.1; and 3.1.5: a client that then hears that its first SYN was understood is in
    accurate mode, and may say ECT."""
    sock = tcp.connects(tcp.wire.tcp().set(ecn=ACCURATE))
    tcp.expects("SeCE", seq=0)
    tcp.expects("SeCE", seq=0, after="1s")
    tcp.expects("S", seq=0, after="2s")
    peer.sends("SA" + ace(2), seq=0, ack=1, mss=MSS)
    tcp.expects("A" + ace(2))
    tcp.sends(sock, MSS)
    tcp.expects(len=MSS, check=ect(ECT0))


def test_a_syn_ack_that_comes_again_is_told_of_again(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 3.2.2.1: with the handshake's code, and the field of the latest (section 3.1.5)."""
    client(tcp, peer)
    peer.sends("SA" + ace(2), seq=0, ack=1, mss=MSS, tos=CE)
    tcp.expects("A" + ace(6), ack=1)
    peer.sends("SA" + ace(2), seq=0, ack=1, mss=MSS, tos=CE)
    tcp.expects("A" + ace(6), ack=1)
    peer.sends("A" + ace(5), len=MSS)
    tcp.expects("A" + ace(6), ack=1 + MSS, why="r.cep rises once")


def test_the_first_ack_of_the_client_has_every_field(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 3.2.3.2.1: so that the server can test the path; later ones have what changed."""
    tcp.connects(tcp.wire.tcp().set(ecn=ACCURATE))
    tcp.expects("SeCE", check=option())
    peer.sends("SA" + ace(2), seq=0, ack=1, mss=MSS)
    tcp.expects("A" + ace(2), check=option(1, 0, 1))
    peer.sends("A" + ace(5), len=100, tos=ECT0)
    tcp.expects("A" + ace(5), check=option(101))


def test_an_option_on_a_syn_means_nothing(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 3.2.3.2.1: a zeroed one does not spoil those that follow."""
    listener = tcp.listens(ecn=ACCURATE_PASSIVE, congestion=DCTCP)
    peer.sends("SeCE", seq=0, options=(Mss(MSS), AccEcn((0, 0, 0))))
    tcp.expects("SA" + ace(2))
    peer.sends("A" + ace(2), seq=1, ack=1, options=(AccEcn((1, 0, 1)),))
    sock = listener.accept()
    tcp.sends(sock, 30 * MSS)
    tcp.drain()
    before = sock.inside.dctcp_alpha
    told = (AccEcn((10_001, 0)),)
    peer.sends("A" + ace(6), ack=1 + 10 * MSS, options=told)
    tcp.drain()
    peer.sends("A" + ace(6), ack=1 + 11 * MSS, options=told)
    assert sock.inside.dctcp_alpha < before, "believed: no byte was marked"


@pytest.mark.parametrize(
    ("mode", "syn"),
    [(ACCURATE, "SeCE"), (ACCURATE_ANSWER, "SCE"), (ACCURATE_PASSIVE, "S"), (ON, "SCE")],
)
def test_what_each_mode_asks_for(tcp: Tcp, peer: TcpPeer, mode: int, syn: str) -> None:
    """The numbers of Linux's tcp_ecn."""
    tcp.connects(tcp.wire.tcp().set(ecn=mode))
    tcp.expects(syn)


# ---- the server's handshake -----------------------------------------------------------------------


@pytest.mark.parametrize(("field", "code"), CODES)
def test_the_server_tells_how_the_syn_arrived(
    tcp: Tcp, peer: TcpPeer, field: int, code: int
) -> None:
    """Table 2; a CE mark on a SYN is not in r.cep (section 3.2.2.2)."""
    tcp.listens(ecn=ACCURATE_PASSIVE)
    peer.sends("SeCE", seq=0, mss=MSS, tos=field)
    tcp.expects("SA" + ace(code), check=ect(NOT_ECT))
    peer.sends("A" + ace(2), seq=1, ack=1)
    peer.sends("A" + ace(5), len=MSS)
    tcp.expects("A" + ace(5), ack=1 + MSS)


@pytest.mark.parametrize(
    ("mode", "syn", "answer"),
    [
        (ACCURATE_PASSIVE, 0, 0),
        (ACCURATE_PASSIVE, 3, 1),
        (ACCURATE_PASSIVE, 1, 2),
        (ACCURATE_PASSIVE, 2, 2),
        (ACCURATE_PASSIVE, 4, 2),
        (ACCURATE_PASSIVE, 5, 2),
        (ACCURATE_PASSIVE, 6, 2),
        (ACCURATE_PASSIVE, 7, 2),
        (ACCURATE_ANSWER, 7, 2),
        (ACCURATE, 7, 2),
        (PASSIVE, 7, 1),
        (ON, 7, 1),
        (0, 7, 0),
    ],
)
def test_what_the_server_answers(tcp: Tcp, peer: TcpPeer, mode: int, syn: int, answer: int) -> None:
    """Section 3.1.2; section 3.1.3: any other use of the three bits asks for accurate ECN."""
    tcp.listens(ecn=mode)
    peer.sends("S" + ace(syn), seq=0)
    tcp.expects("SA" + ace(answer), seq=0)


@pytest.mark.parametrize(
    ("code", "codepoint", "counted"),
    [
        (0, NOT_ECT, None),
        (1, ECT0, 5),
        (2, ECT0, 5),
        (3, NOT_ECT, 5),
        (4, NOT_ECT, 5),
        (5, ECT0, 5),
        (6, NOT_ECT, 6),
        (7, ECT0, 5),
    ],
)
def test_what_the_server_makes_of_the_third_ack(
    tcp: Tcp, peer: TcpPeer, code: int, codepoint: int, counted: int | None
) -> None:
    """Table 4. Our SYN-ACK was not ECT: every other field was written on the way (3.2.2.3). After
    0b000 nothing is believed, and marks are told of still (note 1)."""
    listener = tcp.listens(ecn=ACCURATE_PASSIVE, congestion=RENO)
    peer.sends("SeCE", seq=0, mss=MSS, sack_ok=True)
    tcp.expects("SA" + ace(2))
    peer.sends("A" + ace(code), seq=1, ack=1)
    sock = listener.accept()
    assert (sock.inside.cwnd < 10 * MSS) == (code == 6), "CE on the SYN-ACK is congestion"
    tcp.sends(sock, 2 * MSS)
    for _ in range(2):
        tcp.expects(len=MSS, check=ect(codepoint))
    if counted is not None:
        with tcp.counts("tcp_ecn_reductions", 0):
            peer.sends("A" + ace(counted), ack=1 + MSS)
    with tcp.counts("tcp_ecn_reductions", 0 if counted is None else 1):
        peer.sends("A" + ace((counted or 5) + 1), ack=1 + 2 * MSS)
    peer.sends("A" + ace((counted or 5) + 1), len=MSS, tos=CE)
    tcp.expects("A" + ace(6), ack=1 + MSS)


def test_a_lost_syn_ack_goes_without_option_and_then_without_ecn(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 3.2.3.2.2; 3.1.5: the mode stays, and nothing of ours says ECT."""
    listener = tcp.listens(ecn=ACCURATE_PASSIVE)
    peer.sends("SeCE", seq=0, mss=MSS)
    tcp.expects("SA" + ace(2), check=option(1, 0, 1))
    tcp.expects("SA" + ace(2), check=option(), after="1s")
    tcp.expects("SA", check=option(), after="2s")
    peer.sends("A" + ace(2), seq=1, ack=1)
    sock = listener.accept()
    assert sock.inside.ecn == 2
    tcp.sends(sock, MSS)
    tcp.expects(len=MSS, check=ect(NOT_ECT))
    peer.sends("A" + ace(5), len=MSS, tos=CE)
    tcp.expects("A" + ace(6), ack=1 + MSS, check=option())


def test_a_second_syn_is_answered_with_what_it_met(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 3.1.5: the IP-ECN field of the latest; without option, which may be what was lost."""
    tcp.listens(ecn=ACCURATE_PASSIVE)
    peer.sends("SeCE", seq=0)
    tcp.expects("SA" + ace(2), check=option(1, 0, 1))
    peer.sends("SeCE", seq=0, tos=CE)
    tcp.expects("SA" + ace(6), check=option())


def test_a_syn_that_asks_for_nothing_after_one_that_did(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 3.1.5: the server keeps its mode, answers so once more, and never says ECT."""
    listener = tcp.listens(ecn=ACCURATE_PASSIVE)
    peer.sends("SeCE", seq=0, mss=MSS)
    tcp.expects("SA" + ace(2))
    peer.sends("S", seq=0, mss=MSS)
    tcp.expects("SA" + ace(2))
    peer.sends("A" + ace(2), seq=1, ack=1)
    sock = listener.accept()
    assert sock.inside.ecn == 2
    tcp.sends(sock, MSS)
    tcp.expects(len=MSS, check=ect(NOT_ECT))


@pytest.mark.parametrize(("first", "second"), [("SeCE", "SCE"), ("SCE", "SeCE")])
def test_syns_that_ask_for_both_kinds_are_reset(
    tcp: Tcp, peer: TcpPeer, first: str, second: str
) -> None:
    """Section 3.1.5: the two ends could not know which one the other heard."""
    tcp.listens(ecn=ACCURATE_PASSIVE)
    peer.sends(first, seq=0)
    tcp.drain()
    peer.sends(second, seq=0)
    tcp.expects("RA")
    tcp.expects_nothing("1min")


def test_after_no_ecn_it_stays_at_that(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 3.1.5."""
    tcp.listens(ecn=ACCURATE_PASSIVE)
    peer.sends("S", seq=0)
    tcp.expects("SA")
    peer.sends("SeCE", seq=0)
    tcp.expects("SA")


def test_simultaneous_open(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 3.1.2: each answers the other's SYN as a server would."""
    sock = tcp.connects(tcp.wire.tcp().set(ecn=ACCURATE))
    tcp.expects("SeCE", seq=0)
    peer.sends("SeCE", seq=0, mss=MSS)
    tcp.expects("SA" + ace(2), seq=0, ack=1)
    peer.sends("SA" + ace(2), seq=0, ack=1)
    assert (sock.state, sock.inside.ecn) == ("ESTABLISHED", 2)
    tcp.sends(sock, MSS)
    tcp.expects("A" + ace(5), len=MSS, check=ect(ECT0))
