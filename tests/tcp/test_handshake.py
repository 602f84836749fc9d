"""Opening: RFC 9293 3.5, the options of SYNs, retransmission, refusal."""

from __future__ import annotations

import errno

import pytest
from barewire.stack.tcp import Flags

from tests.kit.checks import has_option
from tests.kit.peer import Tcp, TcpPeer

NO = ~has_option("timestamps") & ~has_option("sack_permitted") & ~has_option("wscale")


def test_passive_open(tcp: Tcp, peer: TcpPeer) -> None:
    listener = tcp.listens()
    peer.sends("S", seq=0, mss=1460)
    tcp.expects("SA", seq=0, ack=1, len=0)
    assert not listener.readable
    peer.sends("A", seq=1, ack=1)
    tcp.expects_nothing()
    assert listener.readable
    sock = listener.accept()
    assert sock.state == "ESTABLISHED"
    assert sock.peer == (peer.address, peer.port)
    assert sock.name == (tcp.wire.here, 80)
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_data_on_the_handshakes_third_segment_is_delivered(tcp: Tcp, peer: TcpPeer) -> None:
    listener = tcp.listens()
    peer.sends("S", seq=0)
    tcp.expects("SA")
    peer.sends("A", seq=1, ack=1, len=100)
    tcp.expects("A", ack=101)
    tcp.reads(listener.accept(), 100)


def test_data_on_a_syn_comes_again_after_the_handshake(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.listens()
    peer.sends("S", seq=0, data=b"early")
    tcp.expects("SA", ack=1, why="data of a SYN need not be kept (RFC 9293 3.10.7.2)")


def test_active_open(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.connects()
    assert sock.state == "SYN_SENT"
    assert not sock.writable
    syn = tcp.expects("S", seq=0, ack=None, len=0)
    assert syn.tcp is not None and syn.tcp.ack == 0
    peer.sends("SA", seq=0, ack=1, mss=1460)
    tcp.expects("A", seq=1, ack=1, len=0)
    assert sock.state == "ESTABLISHED"
    assert sock.writable
    assert sock.take_error() == 0


def test_simultaneous_open(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 9293 figure 7."""
    sock = tcp.connects()
    tcp.expects("S", seq=0)
    peer.sends("S", seq=0, mss=1460)
    tcp.expects("SA", seq=0, ack=1)
    assert sock.state == "SYN_RCVD"
    peer.sends("SA", seq=0, ack=1, mss=1460)
    assert sock.state == "ESTABLISHED"
    tcp.drain()
    tcp.sends(sock, 10)
    tcp.expects("A", seq=1, ack=1, len=10)
    peer.sends(seq=1, ack=11, len=20)
    tcp.expects("A", seq=11, ack=21)
    tcp.reads(sock, 20)


def test_simultaneous_open_ends_with_a_plain_ack_too(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.connects()
    tcp.expects("S", seq=0)
    peer.sends("S", seq=0)
    tcp.expects("SA", seq=0, ack=1)
    peer.sends("A", seq=1, ack=1)
    assert sock.state == "ESTABLISHED"


def test_self_connect(tcp: Tcp) -> None:
    """A socket may connect to its own name: simultaneous open with itself, as on Linux."""
    sock = tcp.wire.tcp().bind("127.0.0.1", 4000).connect("127.0.0.1", 4000)
    tcp.run("0s")
    assert sock.state == "ESTABLISHED"
    sock.send(b"to myself")
    tcp.run("1s")
    assert sock.recv() == b"to myself"


# ---- SYN retransmission ------------------------------------------------------------------------


def test_syn_is_retransmitted_with_doubling_times_and_given_up(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 6298 (2.1), (2.5), (5.5): 1 s, doubled up to a minute; three minutes (RFC 9293 MUST-23), then
    ETIMEDOUT."""
    sock = tcp.connects()
    tcp.expects("S", seq=0)
    for pause in ("1s", "2s", "4s", "8s", "16s", "32s", "60s"):
        tcp.expects("S", seq=0, after=pause)
    tcp.run("59s")
    assert sock.state == "SYN_SENT"
    tcp.run("2s")
    assert sock.state == "CLOSED"
    assert sock.take_error() == errno.ETIMEDOUT
    tcp.expects_nothing("10min")


def test_syncnt_bounds_the_retransmissions(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.connects(tcp.wire.tcp().set(syncnt=2))
    tcp.expects("S")
    tcp.expects("S", after="1s")
    tcp.expects("S", after="2s")
    tcp.expects_nothing("10s")
    assert sock.take_error() == errno.ETIMEDOUT


def test_syn_ack_is_retransmitted_and_the_half_open_child_given_up(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.listens()
    peer.sends("S", seq=0)
    tcp.expects("SA", seq=0, ack=1)
    for pause in ("1s", "2s", "4s", "8s", "16s"):
        tcp.expects("SA", seq=0, ack=1, after=pause)
    tcp.expects_nothing("10min", why="five retransmissions")
    assert tcp.stack.stats()["sockets"] == 1


def test_a_syn_that_comes_again_gets_the_same_answer(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.listens()
    peer.sends("S", seq=0)
    first = tcp.expects("SA", seq=0, ack=1)
    peer.sends("S", seq=0)
    again = tcp.expects("SA", seq=0, ack=1)
    assert first.tcp is not None and again.tcp is not None and first.tcp.seq == again.tcp.seq


def test_a_lost_third_segment_is_made_good_by_data(tcp: Tcp, peer: TcpPeer) -> None:
    listener = tcp.listens()
    peer.sends("S", seq=0)
    tcp.expects("SA")
    peer.sends(seq=1, ack=1, len=1000)
    tcp.expects("A", ack=1001)
    tcp.reads(listener.accept(), 1000)


def test_syn_ack_that_comes_again_is_acknowledged(tcp: Tcp, peer: TcpPeer) -> None:
    """Our third segment was lost: the peer says SYN,ACK again (RFC 5961 4: a challenge ACK)."""
    tcp.established(active=True)
    peer.sends("SA", seq=0, ack=1)
    tcp.expects("A", seq=1, ack=1)


def test_no_round_trip_sample_from_a_retransmitted_syn(tcp: Tcp, peer: TcpPeer) -> None:
    """Karn (RFC 6298 section 3), and RFC 6298 (5.7): afterwards the timeout is 3 s."""
    sock = tcp.connects()
    tcp.expects("S")
    tcp.expects("S", after="1s")
    tcp.run("100ms")
    peer.sends("SA", seq=0, ack=1)
    tcp.expects("A")
    assert sock.inside.srtt == 0
    tcp.sends(sock, 10)
    tcp.expects(seq=1, len=10)
    tcp.expects(seq=1, len=10, after="3s", why="RFC 6298 (5.7)")


# ---- options ---------------------------------------------------------------------------------------


def test_the_syn_offers_everything(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.connects()
    syn = tcp.expects(
        "S",
        check=has_option("mss", 1460)
        & has_option("wscale", 10)
        & has_option("sack_permitted")
        & has_option("timestamps"),
    )
    assert syn.tcp is not None and syn.tcp.timestamps is not None
    assert syn.tcp.timestamps[1] == 0, "RFC 7323 3.2: no echo in a SYN"


def test_options_can_be_switched_off(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.connects(tcp.wire.tcp().set(timestamps=0, sack=0, wscale=0))
    tcp.expects("S", check=has_option("mss", 1460) & NO)


def test_the_answer_only_has_what_was_offered(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.listens()
    peer.sends("S", seq=0, mss=1460)
    tcp.expects("SA", check=has_option("mss", 1460) & NO)


def test_the_answer_has_what_both_want(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.listens()
    peer.sends("S", seq=0, mss=1460, wscale=3, sack_ok=True, ts=(7777, 0))
    answer = tcp.expects(
        "SA",
        check=has_option("wscale", 10) & has_option("sack_permitted") & has_option("timestamps"),
    )
    assert answer.tcp is not None and answer.tcp.timestamps is not None
    assert answer.tcp.timestamps[1] == 7777


def test_without_mss_option_segments_have_536_bytes(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 9293 MUST-15."""
    sock = tcp.established(mss=None)
    tcp.sends(sock, 1000)
    tcp.expects(seq=1, len=536)


@pytest.mark.parametrize(
    ("mss", "used"),
    [(500, 500), (1460, 1460), (9000, 1460), (60, 60), (49, 49), (48, 48), (47, 48), (1, 48)],
)
def test_the_peers_mss_bounds_segments(tcp: Tcp, peer: TcpPeer, mss: int, used: int) -> None:
    sock = tcp.established(mss=mss)
    tcp.sends(sock, 3000)
    tcp.expects(seq=1, len=used)


def test_timestamps_take_their_room_from_segments(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 6691."""
    sock = tcp.established(mss=1460, ts=True)
    tcp.sends(sock, 3000)
    tcp.expects(seq=1, len=1448, check=has_option("timestamps"))


def test_maxseg_lowers_both_directions(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.connects(tcp.wire.tcp().set(maxseg=600))
    tcp.expects("S", check=has_option("mss", 600))
    peer.sends("SA", seq=0, ack=1, mss=1460)
    tcp.expects("A")
    tcp.sends(sock, 1000)
    tcp.expects(seq=1, len=600)


def test_window_scale_is_used_both_ways(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(wscale=7, wnd=65535)
    assert (sock.inside.snd_wscale, sock.inside.rcv_wscale) == (7, 10)
    peer.sends(ack=1, wnd=1 << 20)
    assert sock.inside.snd_wnd == 1 << 20


def test_a_window_scale_above_14_is_used_as_14(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 7323 2.3."""
    sock = tcp.established(wscale=200, wnd=65535)
    assert sock.inside.snd_wscale == 14


def test_no_scale_without_the_option_in_both_syns(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(active=True, wscale=None)
    peer.sends(ack=1, wnd=10_000)
    assert sock.inside.snd_wnd == 10_000
    peer.sends(len=1000)
    tcp.expects("A", ack=1001)
    assert sock.inside.rcv_wnd <= 65535


def test_the_window_in_a_syn_is_never_scaled(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 7323 2.2."""
    tcp.connects()
    tcp.expects("S")
    peer.sends("SA", seq=0, ack=1, wscale=10, mss=1000, wnd=2000)
    tcp.expects("A")
    assert tcp.peer.wire.stack.stats()["sockets"] == 1


# ---- refused -------------------------------------------------------------------------------------


def test_refused(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.connects()
    tcp.expects("S")
    peer.sends("RA", seq=0, ack=1)
    assert sock.state == "CLOSED"
    assert sock.take_error() == errno.ECONNREFUSED
    tcp.expects_nothing("1min")


def test_a_reset_that_acknowledges_something_else_is_ignored(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.connects()
    tcp.expects("S")
    with tcp.counts("drop_tcp_unacceptable_ack"):
        peer.sends("RA", seq=0, ack=2)
    with tcp.counts("drop_tcp_rst_not_exact"):
        peer.sends("R", seq=0)
    tcp.expects_nothing()
    assert sock.state == "SYN_SENT"


def test_an_ack_of_something_never_sent_is_reset(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 9293 3.10.7.3, the half-open connection of figure 9."""
    sock = tcp.connects()
    tcp.expects("S")
    with tcp.counts("drop_tcp_unacceptable_ack"):
        peer.sends("A", seq=500, ack=300)
    tcp.expects("R", seq=300)
    assert sock.state == "SYN_SENT"


def test_a_segment_without_syn_or_rst_in_syn_sent_is_dropped(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.connects()
    tcp.expects("S")
    with tcp.counts("drop_tcp_segment_without_ack"):
        peer.sends("A", seq=0, ack=1)
    tcp.expects_nothing()
    assert sock.state == "SYN_SENT"


def test_a_closed_port_resets(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 9293 3.10.7.1, both forms."""
    peer.stack_port = 81
    with tcp.counts("drop_tcp_no_socket", 2):
        peer.sends("S", seq=0)
        tcp.expects("RA", ack=1, check=has_option("timestamps").__invert__())
        peer.sends("A", seq=10, ack=77)
        reset = tcp.wire.expects()
        assert reset.tcp is not None
        assert (reset.tcp.flags, reset.tcp.seq) == (Flags.RST, 77)


def test_a_reset_to_a_closed_port_is_not_answered(tcp: Tcp, peer: TcpPeer) -> None:
    peer.stack_port = 81
    with tcp.counts("drop_tcp_no_socket"):
        peer.sends("R", seq=0)
    tcp.expects_nothing()


def test_a_listener_resets_acks_and_drops_the_rest(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.listens()
    peer.sends("A", seq=10, ack=77)
    assert tcp.wire.expects().tcp.seq == 77  # type: ignore[union-attr]
    peer.sends("R", seq=10)
    with tcp.counts("drop_tcp_segment_without_ack"):
        peer.sends("", seq=10, len=5)
    tcp.expects_nothing()


def test_an_unacceptable_ack_in_syn_received_is_reset(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 9293 3.10.7.4 fifth: a reset with the sequence number of the ACK."""
    tcp.listens()
    peer.sends("S", seq=0)
    tcp.expects("SA")
    with tcp.counts("drop_tcp_unacceptable_ack"):
        peer.sends("A", seq=1, ack=9999)
    tcp.expects("R", seq=9999)


def test_a_reset_ends_a_half_open_child_silently(tcp: Tcp, peer: TcpPeer) -> None:
    listener = tcp.listens()
    peer.sends("S", seq=0)
    tcp.expects("SA")
    peer.sends("R", seq=1)
    tcp.expects_nothing("1min")
    assert not listener.readable
    assert tcp.stack.stats()["sockets"] == 1


def test_connecting_sockets_say_so(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.wire.tcp()
    assert sock.connect_ex(peer.address, peer.port) == errno.EINPROGRESS
    assert sock.connect_ex(peer.address, peer.port) == errno.EALREADY
    tcp.expects("S")
    peer.sends("SA", seq=0, ack=1)
    tcp.expects("A")
    assert sock.connect_ex(peer.address, peer.port) == 0
    assert sock.connect_ex(peer.address, peer.port) == errno.EISCONN


def test_a_refused_socket_may_try_again(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.connects()
    tcp.expects("S")
    peer.sends("RA", seq=0, ack=1)
    assert sock.connect_ex(peer.address, peer.port) == errno.ECONNREFUSED
    peer.begin()
    tcp.connects(sock)
    tcp.expects("S", seq=0)
    peer.sends("SA", seq=0, ack=1)
    tcp.expects("A", seq=1, ack=1)
    assert sock.state == "ESTABLISHED"


def test_a_new_connection_of_a_socket_knows_nothing_of_the_last(tcp: Tcp, peer: TcpPeer) -> None:
    """Not its threshold, nor its clock (RFC 7323 3.2: TSecr is zero without ACK)."""
    sock = tcp.established(active=True, ts=True, sack=True)
    tcp.sends(sock, 3000)
    tcp.drain("5s")
    assert sock.inside.ssthresh < 2**32 - 1
    peer.sends("R", seq=1)
    with pytest.raises(ConnectionResetError):
        sock.recv()
    peer.begin()
    tcp.connects_again(sock)
    syn = tcp.expects("S", seq=0).tcp
    assert syn is not None and syn.timestamps is not None and syn.timestamps[1] == 0
    peer.sends("SA", seq=0, ack=1, mss=1460)
    tcp.expects("A", seq=1, ack=1)
    assert (sock.state, sock.inside.ssthresh) == ("ESTABLISHED", 2**32 - 1)
    tcp.transfers(sock, 100_000)


def test_a_syn_ack_that_went_twice_measures_nothing(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 6298 section 3, Karn: also if the peer's SYN, not our timer, made it go again."""
    listener = tcp.listens()
    peer.sends("S", seq=0)
    tcp.expects("SA")
    tcp.run("500ms")
    peer.sends("S", seq=0)
    tcp.expects("SA")
    tcp.run("20ms")
    peer.sends("A", seq=1, ack=1)
    assert listener.accept().inside.srtt == 0


def test_syns_announce_a_window(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.connects()
    tcp.expects("S", wnd=65535)
    other = tcp.another_peer(6000)
    tcp.listens()
    other.stack_port = 80
    other.sends("S", seq=0, wscale=1)
    tcp.expects("SA", wnd=65535, to=other)


def test_a_small_receive_buffer_is_announced_as_it_is(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.connects(tcp.wire.tcp().set(rcvbuf=4000))
    tcp.expects("S", wnd=4000)


def test_an_ack_that_overtakes_our_second_syn_ack(tcp: Tcp, peer: TcpPeer) -> None:
    """A SYN that came twice and the ACK, in one burst: the answer to the second SYN is still to be
    sent when the ACK of the first one is looked at."""
    listener = tcp.listens()
    peer.sends("S", seq=0)
    tcp.expects("SA")
    tcp.wire.sends_burst(peer.packet("S", seq=0), peer.packet("A", seq=1, ack=1))
    assert not [p for p in tcp.drain() if p.tcp and p.tcp.flags & Flags.RST]
    assert listener.accept().state == "ESTABLISHED"


# ---- what connect and listen go by: Linux's sock->state ------------------------------------------


def test_an_answer_from_an_old_connection_hurries_the_next_syn(tcp: Tcp, peer: TcpPeer) -> None:
    """The reset clears it away at the peer; Linux then says its SYN again at once, once."""
    tcp.connects()
    tcp.expects("S")
    peer.sends("A", seq=5000, ack=90_000)
    tcp.expects("R")
    tcp.expects("S", seq=0, after="2ms")


def test_an_error_told_elsewhere_is_once_an_abort_to_connect(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.connects()
    tcp.expects("S")
    peer.sends("RA", seq=0, ack=1)
    assert sock.take_error() == errno.ECONNREFUSED
    with pytest.raises(OSError) as listening:
        sock.listen()
    assert listening.value.errno == errno.EINVAL
    peer.begin()
    tcp.connects_again(sock)
    tcp.expects("S", seq=0)


@pytest.mark.parametrize("how", [0, 1])
def test_a_connection_that_was_shut_counts_as_connected(tcp: Tcp, peer: TcpPeer, how: int) -> None:
    sock = tcp.established(active=True)
    sock.shutdown(how)
    assert sock.connect_ex(peer.address, peer.port) == errno.EISCONN


def test_shutting_what_failed_to_connect_spoils_it(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.connects()
    tcp.expects("S")
    peer.sends("RA", seq=0, ack=1)
    with pytest.raises(OSError) as shutting:
        sock.shutdown(2)
    assert shutting.value.errno == errno.ENOTCONN
    assert sock.connect_ex(peer.address, peer.port) == errno.EINVAL
