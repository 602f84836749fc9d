"""Accurate ECN feedback, RFC 9768: the ACE field, the option, and what is done where the path writes into
them. The handshake has a module of its own."""

from __future__ import annotations

import pytest
from barewire.stack.tcp import AccEcn, Segment, UnknownOption

from tests.kit.ecn import (
    ACCURATE,
    ACCURATE_PASSIVE,
    CE,
    CUBIC,
    DCTCP,
    ECT0,
    ECT1,
    MSS,
    NOT_ECT,
    ON,
    RENO,
    ace,
    client,
    ect,
    option,
    server,
)
from tests.kit.frames import flags_of
from tests.kit.frames import tcp as tcp_packet
from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import Sock

# ---- the receiver: ACE ----------------------------------------------------------------------------


def test_every_mark_is_counted_modulo_eight(tcp: Tcp, peer: TcpPeer) -> None:
    """Sections 3.2, 3.2.2.2."""
    server(tcp, peer)
    for i in range(1, 20):
        peer.sends("A" + ace(5), len=100, tos=CE)
        tcp.drain("50ms")
        peer.sends("A" + ace(5), seq=peer.next - 1, len=1)  # makes it say something
        last = tcp.drain()[-1].tcp
        assert last is not None and last.ace == (5 + i) % 8


def test_marks_on_bare_acks_and_retransmissions_count(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 3.2: every acceptable packet; data outside the window does not."""
    sock = server(tcp, peer)
    tcp.sends(sock, MSS)
    tcp.expects("A" + ace(5), len=MSS)
    peer.sends("A" + ace(5), ack=1 + MSS, tos=CE)
    tcp.sends(sock, MSS)
    tcp.expects("A" + ace(6), len=MSS)
    peer.sends("A" + ace(5), seq=1_000_000, len=10, tos=CE)
    tcp.expects("A" + ace(6), len=0)
    peer.sends("A" + ace(5), seq=1, len=MSS, tos=CE)
    tcp.expects("A" + ace(7), ack=1 + MSS)


def test_the_first_mark_is_told_of_at_once(tcp: Tcp, peer: TcpPeer) -> None:
    """Change-triggered ACKs, section 3.2.2.5.1."""
    quiet(tcp, peer)
    at = peer.next
    peer.sends("A" + ace(5), len=100, tos=ECT0)
    tcp.expects_nothing()
    peer.sends("A" + ace(5), len=100, tos=CE)
    tcp.expects("A" + ace(6), ack=at + 200)


def test_every_second_mark_is_told_of(tcp: Tcp, peer: TcpPeer) -> None:
    """Increment-triggered ACKs: n is 2 with data."""
    quiet(tcp, peer)
    at = peer.next
    peer.sends("A" + ace(5), len=10, tos=CE)
    tcp.expects("A" + ace(6), ack=at + 10, why="the first")
    peer.sends("A" + ace(5), len=10, tos=CE)
    tcp.expects_nothing(why="one untold")
    peer.sends("A" + ace(5), len=10, tos=CE)
    tcp.expects("A" + ace(0), ack=at + 30)


def quiet(tcp: Tcp, peer: TcpPeer, **options: int) -> Sock:
    """A server whose quick ACKs are over."""
    sock = server(tcp, peer, **options)
    for _ in range(20):
        peer.sends("A" + ace(5), len=MSS, tos=ECT0)
    tcp.drain("1s")
    sock.read_all()
    tcp.drain("1s")
    return sock


def test_marked_bare_acks_are_answered_by_the_third(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 3.2.2.5.1: 3 without data, so that ACKs of ACKs die out; no SACK blocks in them."""
    quiet(tcp, peer)
    for _ in range(2):
        peer.sends("A" + ace(5), tos=CE)
        tcp.expects_nothing()
    peer.sends("A" + ace(5), tos=CE)
    tcp.expects("A" + ace(0), len=0, sack=[])


def test_a_burst_of_marks_never_wraps_the_field_unseen(tcp: Tcp, peer: TcpPeer) -> None:
    """n is at most 7, also where segments are merged before TCP sees them."""
    sock = quiet(tcp, peer)
    at, cep = peer.next, 5
    tcp.wire.sends_burst(*(peer.packet("A" + ace(5), len=MSS, tos=CE) for _ in range(40)))
    acks = [p.tcp for p in tcp.drain("100ms") if p.tcp]
    for segment in acks:
        cep += (segment.ace - cep) % 8
    assert cep == 45
    assert acks[-1].ack - peer.iss & 0xFFFFFFFF == at + 40 * MSS
    assert len(sock.read_all()) == 40 * MSS


def test_a_burst_of_marked_bare_acks_is_counted_in_parts(tcp: Tcp, peer: TcpPeer) -> None:
    sock = server(tcp, peer)
    tcp.sends(sock, 10 * MSS)
    tcp.drain()
    acks = (peer.packet("A" + ace(5), ack=1 + i * MSS, tos=CE) for i in range(1, 11))
    tcp.wire.sends_burst(*acks)
    told = [p.tcp.ace for p in tcp.drain("1s") if p.tcp]
    assert told == [(5 + 7) % 8, (5 + 10) % 8]


# ---- the receiver: the option ---------------------------------------------------------------------


def test_the_option_counts_payload_by_codepoint(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 3.2.3.3: the fields that ever changed; the counters begin at 1, 0, 1 (3.2.1)."""
    server(tcp, peer)
    peer.sends("A" + ace(5), len=300, tos=ECT0)
    tcp.expects("A" + ace(5), check=option(301))
    peer.sends("A" + ace(5), len=500, tos=CE)
    tcp.expects("A" + ace(6), check=option(301, 500))
    peer.sends("A" + ace(5), len=100, tos=NOT_ECT)
    tcp.expects("A" + ace(6), check=option(), why="no counter rose")
    peer.sends("A" + ace(5), len=100, tos=ECT1)
    tcp.expects("A" + ace(6), check=option(301, 500, 101))


def test_ect1_alone_uses_the_other_order(tcp: Tcp, peer: TcpPeer) -> None:
    server(tcp, peer)
    peer.sends("A" + ace(5), len=300, tos=ECT1)
    tcp.expects("A" + ace(5), check=option(301, order=1))
    peer.sends("A" + ace(5), len=300, tos=CE)
    tcp.expects("A" + ace(6), check=option(301, 300, order=1))


def test_two_sack_blocks_go_before_the_option(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 3.2.3.3: with timestamps 8 bytes are left, which two counters fit in, but not three."""
    listener = tcp.listens(ecn=ACCURATE_PASSIVE)
    peer.sends("SeCE", seq=0, mss=MSS, sack_ok=True, ts=True)
    tcp.expects("SA" + ace(2))
    peer.ts = True
    peer.sends("A" + ace(2), seq=1, ack=1)
    assert listener.accept().inside.timestamps
    for i in (1, 3, 5):
        peer.sends("A" + ace(5), seq=1 + i * 100, len=50, tos=ECT0)
    tcp.drain()
    peer.sends("A" + ace(5), seq=701, len=50, tos=CE)
    tcp.expects("A" + ace(6), sack=[(701, 751), (501, 551)], check=option(151, 50))
    peer.sends("A" + ace(5), seq=901, len=50, tos=ECT1)
    tcp.expects("A" + ace(6), sack=[(901, 951), (701, 751), (501, 551)], check=option())


def test_small_data_segments_carry_it_and_full_ones_do_not(tcp: Tcp, peer: TcpPeer) -> None:
    """It takes no room from data; ACE goes with every segment."""
    sock = quiet(tcp, peer, nodelay=1)
    told = 20 * MSS + 1
    peer.sends("A" + ace(5), len=100, tos=ECT0)
    tcp.sends(sock, MSS)
    tcp.expects("A" + ace(5), len=MSS, check=option())
    peer.sends("A" + ace(5), ack=1 + MSS, len=100, tos=ECT0)
    tcp.sends(sock, 100)
    tcp.expects("A" + ace(5), len=100, check=option(told + 200))


# ---- the sender -----------------------------------------------------------------------------------


def flying(tcp: Tcp, peer: TcpPeer, congestion: int = RENO) -> Sock:
    """Ten segments in flight."""
    sock = client(tcp, peer, congestion=congestion)
    tcp.sends(sock, 60 * MSS)
    assert [p.ip.tos for p in tcp.drain()] == [ECT0] * 10  # type: ignore[union-attr]
    return sock


@pytest.mark.parametrize(("congestion", "after"), [(CUBIC, 8500), (RENO, 8000)])
def test_the_window_answers_once_a_round_trip_and_says_no_cwr(
    tcp: Tcp, peer: TcpPeer, congestion: int, after: int
) -> None:
    """Sections 3.1.5 and 3.2; ACE of ours stays what it counts."""
    sock = flying(tcp, peer, congestion)
    with tcp.counts("tcp_ecn_reductions"):
        for i in range(1, 11):
            peer.sends("A" + ace((5 + i) % 8), ack=1 + i * MSS)
    assert sock.inside.cwnd == after
    assert all(p.tcp.ace == 5 for p in tcp.drain() if p.tcp)


def test_without_marks_the_window_grows(tcp: Tcp, peer: TcpPeer) -> None:
    sock = flying(tcp, peer)
    peer.sends("A" + ace(5), ack=1 + 4 * MSS)
    assert sock.inside.cwnd == 14 * MSS


def test_retransmissions_are_not_ect(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 3168 6.1.5, which RFC 9768 section 4 leaves."""
    flying(tcp, peer)
    peer.sends("A" + ace(5), ack=1, sack=[(1 + MSS, 1 + 10 * MSS)])
    tcp.expects(seq=1, len=MSS, check=ect(NOT_ECT))


def share(sock: Sock) -> float:
    """What share of its last window DCTCP takes for marked, from one step of alpha."""
    return sock.inside.dctcp_alpha / (1 << 20) * 16 - 15


def window(tcp: Tcp, peer: TcpPeer, code: int, *counters: int) -> float:
    """One window of ten segments acknowledged at once; the share that was taken for marked."""
    sock = flying(tcp, peer, DCTCP)
    options = (AccEcn(counters),) if counters else ()
    peer.sends("A" + ace(code), ack=1 + 10 * MSS, options=options)
    tcp.drain()
    peer.sends("A" + ace(code), ack=1 + 11 * MSS, options=options)
    return share(sock)


def test_a_jump_that_may_have_wrapped_is_taken_at_its_worst(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 3.2.2.5.2: ten packets, ACE one further: nine were marked."""
    assert window(tcp, peer, 6) == pytest.approx(9 / 11, abs=1e-3)


def test_the_option_says_how_many_bytes(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 3.2.3.1: one packet of the ten."""
    assert window(tcp, peer, 6, 9001, 1000) == pytest.approx(1 / 11, abs=1e-3)


def test_the_option_tells_that_it_wrapped(tcp: Tcp, peer: TcpPeer) -> None:
    assert window(tcp, peer, 6, 1001, 9000) == pytest.approx(9 / 11, abs=1e-3)


def test_the_first_field_alone_says_that_none_was_marked(tcp: Tcp, peer: TcpPeer) -> None:
    """An omitted counter has not changed."""
    assert window(tcp, peer, 5, 10_001) == pytest.approx(0, abs=1e-3)


def test_what_ace_has_told_of_before_the_option_counts_once(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 3.2.3.2.5: data that the peer sends have ACE and no room for the option, which comes with
    its next ACK. No contradiction, and not marked twice."""
    sock = flying(tcp, peer, DCTCP)
    with tcp.counts("tcp_ecn_mangled_on_path", 0), tcp.counts("tcp_ecn_reductions"):
        peer.sends("A" + ace(6), ack=1 + 2 * MSS, len=MSS)
        peer.sends("A" + ace(6), ack=1 + 4 * MSS, options=(AccEcn((3001, 1000)),))
        peer.sends("A" + ace(6), ack=1 + 10 * MSS, options=(AccEcn((9001, 1000)),))
    tcp.drain()
    peer.sends("A" + ace(6), ack=1 + 11 * MSS, options=(AccEcn((10_001, 1000)),))
    assert share(sock) == pytest.approx(1 / 11, abs=1e-3)


def test_the_other_order_is_read_as_well(tcp: Tcp, peer: TcpPeer) -> None:
    sock = flying(tcp, peer, DCTCP)
    told = (AccEcn((1, 4000, 6001), order=1),)
    peer.sends("A" + ace(1), ack=1 + 10 * MSS, options=told)
    tcp.drain()
    peer.sends("A" + ace(1), ack=1 + 11 * MSS, options=told)
    assert share(sock) == pytest.approx(4 / 11, abs=1e-3)


def test_counters_of_24_bits_wrap(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 3.2.3: told is the lowest part."""
    sock = client(tcp, peer, congestion=DCTCP)
    told = (1 << 24) - 2000
    tcp.sends(sock, MSS)
    tcp.drain()
    peer.sends("A" + ace(6), ack=1 + MSS, options=(AccEcn((1, told)),))
    tcp.sends(sock, MSS)
    tcp.drain()
    before = sock.inside.dctcp_alpha
    peer.sends("A" + ace(7), ack=1 + 2 * MSS, options=(AccEcn((1, told + 1000)),))
    tcp.sends(sock, MSS)
    tcp.drain()
    peer.sends("A" + ace(0), ack=1 + 3 * MSS, options=(AccEcn((1, 0)),))
    assert sock.inside.dctcp_alpha >= before, "every byte marked"


def test_an_option_of_another_length_is_read_as_far_as_it_goes(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 3.2.3: whole fields are used, the rest is padding."""
    sock = flying(tcp, peer, DCTCP)
    raw = (9001).to_bytes(3, "big") + (1000).to_bytes(3, "big") + b"\x07"
    for i in (10, 11):
        peer.sends("A" + ace(6), ack=1 + i * MSS, options=(UnknownOption(172, raw),))
        tcp.drain()
    assert share(sock) == pytest.approx(1 / 11, abs=1e-3)


def test_ace_above_the_packets_acknowledged_is_believed(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 3.2.2.5.2: bare ACKs of ours may have been marked, which nobody counts here."""
    flying(tcp, peer)
    with tcp.counts("tcp_ecn_reductions"):
        peer.sends("A" + ace(7), ack=1 + MSS)
        peer.sends("A" + ace(7), ack=1 + 10 * MSS)
        tcp.drain()
        peer.sends("A" + ace(7), ack=1 + 11 * MSS)


def test_an_ack_that_delivers_nothing_is_not_looked_at(tcp: Tcp, peer: TcpPeer) -> None:
    """Appendix A.1: it may have been overtaken."""
    sock = flying(tcp, peer)
    peer.sends("A" + ace(5), ack=1 + 2 * MSS)
    with tcp.counts("tcp_ecn_reductions", 0):
        peer.sends("A" + ace(4), ack=1 + 2 * MSS)
    assert sock.inside.cwnd == 12 * MSS


def test_what_people_see(tcp: Tcp, peer: TcpPeer) -> None:
    """TCP_INFO in Linux's names, without the values that the counters begin with."""
    sock = flying(tcp, peer)
    peer.sends("A" + ace(7), ack=1 + 4 * MSS, len=300, tos=ECT0, options=(AccEcn((2001, 2000)),))
    peer.sends("A" + ace(7), len=100, tos=CE)
    found = sock.info
    assert found.tcpi_options & 8
    assert (found.tcpi_received_ce, found.tcpi_received_ce_bytes) == (1, 100)
    assert (found.tcpi_received_e0_bytes, found.tcpi_received_e1_bytes) == (300, 0)
    assert (found.tcpi_delivered_ce, found.tcpi_delivered_ce_bytes) == (2, 2000)
    assert (found.tcpi_delivered_e0_bytes, found.tcpi_accecn_opt_seen) == (2000, 1)


# ---- the path writes ------------------------------------------------------------------------------


def test_a_zeroed_field_switches_ect_off(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 3.2.2.4: the first ACE after the handshake is zero; nothing is believed any more, and
    marks are told of still."""
    sock = flying(tcp, peer)
    with tcp.counts("tcp_ecn_reductions", 0):
        for i in range(1, 5):
            peer.sends("A", ack=1 + i * MSS)
        peer.sends("A" + ace(3), ack=1 + 5 * MSS)
    assert {p.ip.tos for p in tcp.drain()} == {NOT_ECT}  # type: ignore[union-attr]
    assert sock.inside.cwnd == 15 * MSS
    peer.sends("A", len=MSS, tos=CE)
    tcp.expects("A" + ace(6), ack=1 + MSS)


def test_a_zeroed_option_is_ignored(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 3.2.3.2.4: the counters begin above zero; ACE is taken at its worst from then on."""
    assert window(tcp, peer, 6, 0, 0, 0) == pytest.approx(9 / 11, abs=1e-3)


def test_bytes_without_packets_switch_ect_off(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 3.2.3.2.5: the option says marks, ACE none; one of the two was written."""
    flying(tcp, peer)
    with tcp.counts("tcp_ecn_mangled_on_path"):
        peer.sends("A" + ace(5), ack=1 + 3 * MSS, options=(AccEcn((1, 3000)),))
    assert {p.ip.tos for p in tcp.drain()} <= {NOT_ECT}  # type: ignore[union-attr]


def test_eight_small_marked_packets_are_no_contradiction(tcp: Tcp, peer: TcpPeer) -> None:
    """ACE went round once: of small segments nobody knows how many an ACK covers."""
    sock = client(tcp, peer, nodelay=1)
    for _ in range(8):
        tcp.sends(sock, 100)
    tcp.drain()
    with tcp.counts("tcp_ecn_mangled_on_path", 0):
        peer.sends("A" + ace(5), ack=801, options=(AccEcn((1, 800)),))
    tcp.sends(sock, 100)
    tcp.expects(len=100, check=ect(ECT0))


# ---- super-segments -------------------------------------------------------------------------------


def loop(tcp: Tcp, ecn: int) -> tuple[Sock, Sock]:
    """A connection over the stack's loopback, which takes super-segments of 60 segments."""
    listener = tcp.wire.tcp().set(ecn=ecn, rcvbuf=1 << 20).bind("127.0.0.1", 90).listen()
    client = tcp.wire.tcp().set(ecn=ecn, maxseg=MSS, sndbuf=1 << 20, congestion=RENO)
    client.connect("127.0.0.1", 90)
    tcp.wire.world.rest()
    return client, listener.accept()


def hears(tcp: Tcp, sock: Sock, flags: str, tos: int) -> None:
    """A bare ACK that the network, or the peer, has written into."""
    inside = sock.inside
    ack = Segment(
        90, sock.name[1], inside.rcv_nxt, inside.snd_nxt, flags_of("A" + flags), inside.snd_wnd >> 8
    )
    tcp.stack._port.send_packet(tcp_packet("127.0.0.1", "127.0.0.1", ack, tos=tos))
    tcp.wire.world.rest()


def frames_for(tcp: Tcp, client: Sock, server: Sock, size: int = 200 * MSS) -> int:
    """How many frames the loopback carries for so many bytes, ACKs among them."""
    before = tcp.stack.interface_stats("lo")["tx_frames"]
    client.send(bytes(size))
    tcp.wire.world.run("1s")
    assert len(server.read_all()) == size
    return tcp.stack.interface_stats("lo")["tx_frames"] - before


def test_super_segments_keep_ace_in_every_segment(tcp: Tcp) -> None:
    """Section 3.3.4: who cuts one clears CWR in all segments but the first, and ACE has that bit: while
    it is set, segments leave one by one."""
    client, server = loop(tcp, ACCURATE)
    frames_for(tcp, client, server)
    whole = frames_for(tcp, client, server)
    hears(tcp, client, ace(5), CE)  # r.cep is 6: (1,1,0)
    cut = frames_for(tcp, client, server)
    assert whole < 100 < 200 <= cut
    hears(tcp, client, ace(5), CE)
    hears(tcp, client, ace(5), CE)  # 8: (0,0,0)
    assert frames_for(tcp, client, server) < 100


def test_cwr_of_rfc_3168_goes_with_a_segment_of_its_own(tcp: Tcp) -> None:
    """Cut, a super-segment would say it many times."""
    client, server = loop(tcp, ON)
    frames_for(tcp, client, server)
    whole = frames_for(tcp, client, server, 20 * MSS)
    with tcp.counts("tcp_ecn_reductions"):
        hears(tcp, client, "E", NOT_ECT)
    cut = frames_for(tcp, client, server, 20 * MSS)
    assert cut >= whole + 7, "what the smaller window let go at once"
    assert frames_for(tcp, client, server, 20 * MSS) < cut
