"""What TCP is said to do as Linux does it when a connection begins and when it ends."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable
from typing import Any

import pytest
from barewire.fuzz.peer import PEER_ISS, Flow
from barewire.fuzz.strategies import PEER, US, PeerStep
from barewire.fuzz.targets import MS, SECOND
from barewire.stack.ip.ipv4 import PROTO_TCP, IPv4
from barewire.stack.tcp.segment import (
    FastOpen,
    Flags,
    Mss,
    Option,
    SackPermitted,
    Segment,
    Timestamps,
    WindowScale,
)

from tests.netns.as_linux import OFFER, Side, info, segments

pytestmark = pytest.mark.netns

SYN, ACK, FIN, RST = Flags.SYN, Flags.ACK, Flags.FIN, Flags.RST
ECE, CWR = Flags.ECE, Flags.CWR
TIME_WAIT_LENGTH = 60
SCALE, SACK = 0x0F, 0x10  # of a cookie's TSval
Make = Callable[..., Side]


def flow_of(side: Side, port: int, ours: int = 80, options: tuple[Option, ...] = OFFER) -> Flow:
    """The peer's end of a connection of which nothing was said yet."""
    return side.peer.flows.setdefault((ours, port), Flow(ours, port, PEER, options))


def knocks(side: Side, flow: Flow, flags: Flags = SYN, **step: Any) -> list[Segment]:
    """A SYN with the flow's options; what the target answers."""
    return segments(side.peer.say(flow, PeerStep(flags, options=flow.options, **step)))


# ---- ECN -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", [0, 1, 2, 3])
def test_a_syn_that_says_ect_or_ce_is_declined(side: Side, field: int) -> None:
    side.listening(80)
    syn = Segment(5000, 80, PEER_ISS, 0, SYN | ECE | CWR, 65535, OFFER)
    packet = IPv4(src=PEER, dst=US, proto=PROTO_TCP, payload=syn.build(PEER, US), tos=field).build()
    side.peer.put(side.peer.frame(packet))
    (answer,) = segments(side.peer.settle())
    assert answer.flags == SYN | ACK | (Flags(0) if field else ECE)


def test_the_second_syn_asks_for_no_ecn(with_options: Make) -> None:
    side = with_options(sysctls={"tcp_ecn": 1}, ecn="on")
    sock = side.socket()
    assert sock.connect_ex((str(PEER), 6000)) == errno.EINPROGRESS
    said = segments(side.peer.settle()) + segments(side.peer.advance(1200 * MS))
    assert [s.flags for s in said] == [SYN | ECE | CWR, SYN]


def test_a_reset_in_answer_to_ecn_refuses(with_options: Make) -> None:
    side = with_options(sysctls={"tcp_ecn": 1}, ecn="on")
    sock = side.socket()
    side.calls(sock)
    (flow,) = side.peer.flows.values()
    assert side.peer.say(flow, PeerStep(RST | ACK)) == []
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED


def test_marks_leave_two_segments(with_options: Make) -> None:
    side = with_options(sysctls={"tcp_ecn": 1}, ecn="on")
    sock = side.socket()
    side.calls(sock)
    (flow,) = side.peer.flows.values()
    flow.options = OFFER
    knocks(side, flow, SYN | ACK | ECE)
    windows = []
    for _ in range(12):
        side.sends(sock, 1)
        side.peer.say(flow, PeerStep(ACK | ECE))
        windows.append(info(sock).tcpi_snd_cwnd)
    assert windows[0] < 10
    assert min(windows) == windows[-1] == 2


# ---- what a SYN brings -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scale", "sack"), [(None, False), (None, True), (0, False), (3, False), (7, True), (14, True)]
)
def test_a_cookies_timestamp_holds_the_options(
    with_options: Make, scale: int | None, sack: bool
) -> None:
    """The low bits of TSval (the kernel's before its random offset, which tcp_timestamps=2 leaves out). From
    the ACK that echoes them the connection has what the SYN asked for."""
    side = with_options(sysctls={"tcp_syncookies": 2, "tcp_timestamps": 2}, syn_cookies=2)
    listener = side.listening(80)
    offer: tuple[Option, ...] = (OFFER[0], Timestamps(1000, 0))
    offer += (SackPermitted(),) if sack else ()
    offer += (WindowScale(scale),) if scale is not None else ()
    flow = flow_of(side, 5000, options=offer)
    (answer,) = knocks(side, flow)
    assert answer.timestamps is not None
    bits = answer.timestamps[0]
    assert (bits & SCALE, bool(bits & SACK)) == (15 if scale is None else scale, sack)
    side.peer.say(flow, PeerStep())
    found = info(side.keep(listener.accept()[0]))
    assert found.tcpi_options == 1 | sack << 1 | (scale is not None) << 2
    assert found.tcpi_snd_wscale == (scale or 0)


def test_a_cookie_of_fast_open_is_the_addresss(with_options: Make) -> None:
    """What one port of a host gave is shown to its other port."""
    side = with_options(sysctls={"tcp_fastopen": 1})
    cookie = b"12345678"
    for port in (6000, 6001):
        sock = side.socket()
        with pytest.raises(BlockingIOError) if port == 6000 else contextlib.nullcontext():
            sock.sendto(b"data", socket.MSG_FASTOPEN, (str(PEER), port))
        (syn,) = segments(side.peer.settle())
        assert FastOpen(cookie if port == 6001 else b"") in syn.options
        flow = next(f for f in side.peer.flows.values() if f.theirs == port)
        side.peer.answer(flow, (*OFFER, FastOpen(cookie)))


def test_an_answer_of_an_old_connection_costs_no_second(side: Side) -> None:
    """A wrong ACK is reset, and the SYN goes again at once: the peer has forgotten now."""
    sock = side.socket()
    side.calls(sock)
    (flow,) = side.peer.flows.values()
    said = side.peer.say(flow, PeerStep(ACK, ack=-5000)) + side.peer.advance(200 * MS)
    assert [s.flags for s in segments(said)] == [RST, SYN]


def test_a_listener_that_closes(side: Side) -> None:
    """A connection that nobody has accepted is reset at once; a half-open one when it speaks again."""
    listener = side.listening(80)
    accepted, half = side.peer.open(80, 5000, OFFER), flow_of(side, 5001)
    knocks(side, half)
    listener.close()
    assert [(s.flags & ~ACK, s.dport) for s in segments(side.peer.settle())] == [(RST, 5000)]
    assert [s.flags for s in segments(side.peer.say(half, PeerStep()))] == [RST]
    assert [s.flags for s in segments(side.peer.say(accepted, PeerStep(size=1)))] == [RST]


def test_without_their_option_segments_are_taken(side: Side) -> None:
    """RFC 7323 section 3.2 would have them dropped."""
    listener = side.listening(80)
    flow = side.peer.open(80, 5000, (*OFFER, Timestamps(1000, 0)))
    sock = side.keep(listener.accept()[0])
    assert info(sock).tcpi_options & 1
    flow.stamp = None
    side.peer.say(flow, PeerStep(size=10))
    assert len(sock.recv(100)) == 10


# ---- what is received ------------------------------------------------------------------------------


def test_what_came_before_makes_acks_quick(side: Side) -> None:
    sock, flow = side.accepted()

    def asks() -> list[bytes]:
        heard = side.peer.say(flow, PeerStep(size=10))
        assert len(sock.recv(100)) == 10
        return heard

    def answers() -> None:
        sock.send(b"answer")
        side.peer.settle()
        side.peer.say(flow, PeerStep())

    heard = []
    for _ in range(40):  # the answers carry the ACKs
        heard = [*heard[-4:], asks()]
        answers()
    assert [] in heard, "delayed; not each, where this machine halts for 40 ms"
    side.peer.say(flow, PeerStep(size=10, seq=-10))
    assert [[s.flags for s in segments(asks())] for _ in range(3)] == [[ACK]] * 3


@pytest.mark.parametrize("reads", [True, False])
def test_a_window_grows_with_what_is_read(side: Side, reads: bool) -> None:
    """Dynamic right-sizing: a sender that doubles its window each round trip of 10 ms."""
    listener = side.listening(80)
    flow = side.peer.open(80, 5000, (Mss(1460), WindowScale(8)))
    sock = side.keep(listener.accept()[0])
    scale = next(s for s in flow.said if s.flags & SYN).wscale or 0
    windows, held = [1 << 16], 0

    def hears(frames: list[bytes]) -> None:
        windows.extend(s.window << scale for s in segments(frames))

    for turn in range(6):
        for _ in range(10 << turn):
            if held < max(windows):
                hears(side.peer.say(flow, PeerStep(size=1460)))
                held += 1460
        while reads and held:
            held -= len(sock.recv(held))
        side.peer.advance(10 * MS)
        hears(side.peer.settle())
        if turn == 0:
            first = max(windows)
    assert (max(windows) > 2 * first) == reads


# ---- TIME-WAIT -------------------------------------------------------------------------------------


def comes_to_time_wait(side: Side) -> Flow:
    sock, flow = side.accepted()
    sock.close()
    assert [s.flags for s in segments(side.peer.settle())] == [FIN | ACK]
    side.peer.say(flow, PeerStep(ACK | FIN))
    return flow


def time_wait_left() -> float:
    """Of the only one in /proc/net/tcp, in seconds."""
    with open("/proc/thread-self/net/tcp", encoding="ascii") as file:
        (when,) = [line.split()[5] for line in file if line.split()[3] == "06"]
    return int(when.split(":")[1], 16) / 100  # USER_HZ


def test_time_wait_lasts_a_minute(side: Side) -> None:
    flow = comes_to_time_wait(side)
    if side.kernel:
        left = side.target._namespace.call(time_wait_left)
        assert TIME_WAIT_LENGTH - 1 < left <= TIME_WAIT_LENGTH
        return
    side.peer.advance(TIME_WAIT_LENGTH * SECOND - MS)
    assert side.target.stack.stats()["sockets"] == 2, "its listener, and it"
    side.peer.advance(MS)
    assert side.target.stack.stats()["sockets"] == 1
    assert [s.flags & RST for s in segments(side.peer.say(flow, PeerStep()))] == [RST]


def test_a_name_opens_again_a_window_further(side: Side) -> None:
    """The SYN that ends TIME-WAIT: the new first number is beyond all that the old one can have sent."""
    flow = comes_to_time_wait(side)
    old = flow.rcv
    (answer,) = knocks(side, flow, seq=100_000)
    assert answer.flags == SYN | ACK
    assert 65_535 <= (answer.seq - old) % (1 << 32) <= 1 << 31
    assert (answer.seq - old) % (1 << 32) == 65_537 or not side.kernel


# ---- TCP_INFO that differs -------------------------------------------------------------------------


def test_where_tcp_info_differs(side: Side) -> None:
    """docs/trace.md: what is lost is counted once more after it has gone again; the SYN,ACK is a segment;
    a rate is a pacing rate only where something is paced."""
    sock, flow = side.accepted()
    assert info(sock).tcpi_segs_out == (0 if side.kernel else 1)
    assert (info(sock).tcpi_pacing_rate == 2**64 - 1) != side.kernel
    side.sends(sock, 8)
    side.peer.advance(30 * MS)
    side.acks(flow, 0, (1, 8))
    found = info(sock)
    assert (found.tcpi_retrans, found.tcpi_lost) == (1, 1 if side.kernel else 0)


def test_one_may_listen_where_an_attempt_goes_on(side: Side) -> None:
    """With SO_REUSEADDR, which every socket here has."""
    sock = side.socket()
    sock.bind((str(US), 7000))
    side.calls(sock)
    side.listening(7000)
    (answer,) = knocks(side, flow_of(side, 5000, 7000))
    assert answer.flags == SYN | ACK
