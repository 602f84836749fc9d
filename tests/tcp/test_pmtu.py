"""The path MTU: by ICMP (RFC 1191, RFC 5927), and by probes where ICMP does not come (RFC 4821, RFC 8899)."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest
from barewire.nic_drivers import pipe_pair
from barewire.stack.icmp import icmp

from tests.kit import frames
from tests.kit.clock import MS
from tests.kit.packets import Packet
from tests.kit.peer import Tcp, TcpPeer
from tests.kit.programs import Conversation
from tests.kit.sock import Sock
from tests.kit.wire import Wire
from tests.kit.world import World

FRAG_NEEDED = 4
DONT = 0  # IP_PMTUDISC_DONT


def error(tcp: Tcp, code: int, about: Packet | bytes, mtu: int = 0) -> None:
    quoted = about if isinstance(about, bytes) else about.l3
    tcp.wire.sends(frames.unreachable("198.18.0.99", tcp.wire.here, code, quoted, mtu))


def df(packet: Packet) -> bool:
    return packet.ip is not None and packet.ip.df


# ---- by ICMP -------------------------------------------------------------------------------------


def test_fragmentation_needed_lowers_the_mss_and_sends_again(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 1191 section 6.5; the retransmission is no sign of congestion."""
    sock = tcp.established(mss=1460)
    tcp.sends(sock, 2920)
    first = tcp.expects(seq=1, len=1460)
    tcp.expects(seq=1461, len=1460)
    cwnd = sock.inside.ssthresh
    error(tcp, FRAG_NEEDED, first, mtu=1000)
    again = tcp.drain()
    assert [len(p.tcp.payload) for p in again if p.tcp] == [960, 960, 960, 40]
    assert sock.inside.ssthresh == cwnd
    assert sock.inside.mss == 960
    peer.sends(ack=2921)
    tcp.expects_nothing("1min")


def test_later_connections_know_the_path_mtu(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(mss=1460)
    tcp.sends(sock, 1460)
    error(tcp, FRAG_NEEDED, tcp.expects(seq=1), mtu=1000)
    tcp.drain()
    peer.sends(ack=1461)
    other = tcp.another_peer(6000)
    second = tcp.established(mss=1460, peer=other)
    tcp.sends(second, 1920, to=other)
    tcp.expects(seq=1, len=960, to=other)
    tcp.drain()
    other.sends(ack=1921)
    tcp.run("11min")
    third_peer = tcp.another_peer(6001)
    third = tcp.established(mss=1460, peer=third_peer)
    tcp.sends(third, 2000, to=third_peer)
    tcp.expects(seq=1, len=1460, to=third_peer, why="after ten minutes it is tried again")


def test_a_router_that_names_no_mtu(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 1191 section 7.1: the next lower plateau."""
    sock = tcp.established(mss=1460)
    tcp.sends(sock, 1460)
    error(tcp, FRAG_NEEDED, tcp.expects(seq=1), mtu=0)
    assert sock.inside.mss == 1492 - 40


def test_an_absurd_mtu_is_not_followed_below_552(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(mss=1460)
    tcp.sends(sock, 1460)
    error(tcp, FRAG_NEEDED, tcp.expects(seq=1), mtu=68)
    assert sock.inside.mss == 552 - 40
    with tcp.counts("drop_icmp_changes_nothing"), tcp.counts("icmp_errors_applied", 0):
        error(tcp, FRAG_NEEDED, tcp.expects(seq=1, len=512), mtu=68)


def test_a_path_below_552_does_not_become_larger(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.stack.control.add_route(f"{tcp.wire.there}/32", ifindex=2, mtu=300)
    sock = tcp.established(mss=1460)
    assert sock.inside.mss == 300 - 40
    tcp.sends(sock, 100)
    error(tcp, FRAG_NEEDED, tcp.expects(seq=1), mtu=200)
    assert sock.inside.mss == 300 - 40
    again = tcp.expects(seq=1, len=100, why="routers may fragment it now")
    assert not df(again)
    with tcp.counts("drop_icmp_changes_nothing"):
        error(tcp, FRAG_NEEDED, again, mtu=200)


@pytest.mark.parametrize("what", ["larger", "not in flight", "no df"])
def test_a_forged_mtu_is_not_believed(tcp: Tcp, peer: TcpPeer, what: str) -> None:
    sock = tcp.established(mss=1460)
    tcp.sends(sock, 1460)
    data = tcp.expects(seq=1)
    quoted = bytearray(data.l3)
    mtu = 1000
    if what == "larger":
        mtu = 9000
    elif what == "not in flight":
        quoted[24:28] = peer.stack_seq(100_000).to_bytes(4, "big")
    else:
        quoted[6] &= ~0x40 & 0xFF
    error(tcp, FRAG_NEEDED, bytes(quoted), mtu)
    assert sock.inside.mss == 1460


@pytest.mark.parametrize(
    "about",
    [
        frames.tcp(
            "198.18.0.1", "198.18.0.2", frames.Segment(1234, 80, payload=bytes(1400)), df=True
        ),
        frames.udp("198.18.0.1", "198.18.0.2", 1234, 53, bytes(1400), df=True),
        frames.icmp_message("198.18.0.1", "198.18.0.2", icmp.Echo(7, 1, bytes(1400)), df=True),
        frames.icmp_message(
            "198.18.0.1", "198.18.0.2", icmp.Echo(7, 1, bytes(1400), reply=True), df=True
        ),
        frames.ip("198.18.0.1", "198.18.0.2", 47, bytes(1400), df=True),
    ],
    ids=["tcp", "udp", "echo", "echo reply", "another protocol"],
)
def test_a_forged_mtu_about_nothing_of_ours_changes_nothing(
    tcp: Tcp, peer: TcpPeer, about: bytes
) -> None:
    """As on Linux: only what a socket, or a ping, has in flight is believed; new connections go on with
    what the link carries, and nothing counts as applied."""
    with tcp.counts("icmp_errors_applied", 0), tcp.counts("drop_icmp_no_owner"):
        error(tcp, FRAG_NEEDED, about, mtu=552)
    found = tcp.stack.counters()
    assert found.get("path_mtu_changes", 0) == found.get("punts_icmp", 0) == 0
    sock = tcp.established(mss=1460)
    assert sock.inside.mss == 1460


def test_a_datagram_that_was_too_large_tells_everybody(tcp: Tcp, peer: TcpPeer) -> None:
    """One of a socket that is not connected, and hears nothing itself."""
    sock = tcp.wire.udp(7)
    sock.sendto(bytes(1400), peer.address, 9)
    with tcp.counts("icmp_errors_applied"):
        error(tcp, FRAG_NEEDED, tcp.wire.expects(), mtu=1000)
    assert tcp.established(mss=1460).inside.mss == 960


def test_other_paths_stay_what_they_were(tcp: Tcp, peer: TcpPeer) -> None:
    """What one path has taught makes few others be looked up again."""
    socks = [tcp.wire.udp().connect(f"198.18.0.{i}", 9) for i in range(2, 102)]
    for sock in socks:
        sock.send(bytes(1400))
    first = tcp.wire.drain()[0]
    error(tcp, FRAG_NEEDED, first, mtu=1000)
    assert socks[0].take_error() == errno.EMSGSIZE
    before = tcp.stack.counters()["ip_paths_looked_up"]
    for sock in socks[1:]:
        sock.send(bytes(1400))
    assert tcp.stack.counters()["ip_paths_looked_up"] - before < 10
    socks[0].send(bytes(900))
    assert tcp.stack.control.path_mtu.get(IPv4Address(peer.address)) == 1000


def test_a_ping_that_was_too_large_tells_everybody(tcp: Tcp, peer: TcpPeer) -> None:
    results: list[object] = []
    session = tcp.stack.control.echo.open(IPv4Address(peer.address), results.append)
    session.send(tcp.clock.now, bytes(1400), df=True)
    request = tcp.wire.expects()
    assert isinstance(request.icmp, icmp.Echo)
    other = icmp.Echo(request.icmp.ident, 77, bytes(1400))
    forged = frames.icmp_message(tcp.wire.here, peer.address, other, df=True)
    error(tcp, FRAG_NEEDED, forged, mtu=552)
    assert tcp.stack.control.path_mtu.get(IPv4Address(peer.address)) == 1500
    error(tcp, FRAG_NEEDED, request, mtu=1000)
    assert tcp.established(mss=1460).inside.mss == 960
    assert len(results) == 1


def test_a_path_mtu_is_forgotten_after_ten_minutes(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 1191 6.3: also by the connection that learned it; then the path may say it again."""
    sock = tcp.established(mss=1460)
    tcp.sends(sock, 1460)
    error(tcp, FRAG_NEEDED, tcp.expects(seq=1), mtu=1000)
    tcp.drain()
    peer.sends(ack=1461)
    tcp.run("9min")
    tcp.sends(sock, 2000)
    tcp.expects(seq=1461, len=960)
    tcp.drain()
    peer.sends()
    tcp.run("2min")
    tcp.sends(sock, 1460)
    large = tcp.expects(len=1460, why="it is tried again")
    error(tcp, FRAG_NEEDED, large, mtu=1200)
    assert sock.inside.mss == 1160


def test_a_path_mtu_is_not_kept_young_by_repetition(tcp: Tcp, peer: TcpPeer) -> None:
    """Ten minutes count from when it was learned."""
    sock = tcp.established(mss=1460)
    tcp.sends(sock, 1460)
    first = tcp.expects(seq=1)
    error(tcp, FRAG_NEEDED, first, mtu=1000)
    tcp.drain()
    peer.sends(ack=1461)
    for _ in range(9):
        tcp.run("1min")
        error(tcp, FRAG_NEEDED, first, mtu=1000)
    tcp.run("2min")
    tcp.sends(sock, 1460)
    tcp.expects(len=1460)


# ---- by probes -----------------------------------------------------------------------------------


class Path:
    """Two stacks; what is longer than `mtu` vanishes between them without a word."""

    def __init__(self, world: World, mtu: int = 65535, **options: int) -> None:
        self.world, self.mtu = world, mtu
        self.delay = 5 * MS
        self.dropped = 0
        a, self.near = pipe_pair(layer=3, ring=1024, offload=False)
        self.far, b = pipe_pair(layer=3, ring=1024, offload=False)
        self.one = world.stack(a, "198.18.0.1/24", **options)
        self.two = world.stack(b, "198.18.0.2/24", **options)
        self.sizes: list[int] = []
        world.add_mover(self.carries)
        world.add_closer(self.cut)

    def carries(self) -> bool:
        moved = False
        for here, there in ((self.near, self.far), (self.far, self.near)):
            while (frame := here.recv(self.world.clock.now)) is not None:
                moved = True
                if here is self.near:
                    self.sizes.append(len(frame))
                if len(frame) <= self.mtu:
                    there.send(frame, self.world.clock.now)
                else:
                    self.dropped += 1
        return moved

    def cut(self) -> None:
        self.near.close()
        self.far.close()

    def talk(self, upload: int = 2_000_000, **options: int) -> Conversation:
        return Conversation(
            self.world, self.one, self.two, "198.18.0.2", upload=upload, download=0, **options
        )

    def found(self, talk: Conversation) -> int:
        """The sender's MSS with its timestamps: path MTU less 40."""
        return talk.client.sock.inside.mss + 12


@pytest.fixture(params=[True, False], ids=["fast", "full"])
def quiet_world(request: pytest.FixtureRequest) -> Iterator[World]:
    with World(5, header_prediction=request.param, buffer_bytes=64 << 20) as world:
        yield world


@pytest.mark.parametrize("mtu", [1492, 1400, 1280, 1100, 600])
def test_a_black_hole_is_found_and_the_path_searched(quiet_world: World, mtu: int) -> None:
    """Nobody says that the path is narrow. The stream goes on after the third time-out, and uses the
    path's width but for NEAR_ENOUGH bytes."""
    path = Path(quiet_world, mtu)
    talk = path.talk()
    begin = quiet_world.clock.now
    quiet_world.run_until(lambda: path.found(talk) < 1460, within="1min")
    quiet_world.run_until(lambda: talk.done, within="10min")
    assert quiet_world.clock.now - begin < 30_000 * MS
    assert mtu - 40 - 8 <= path.found(talk) <= mtu - 40
    counters = path.one.counters()
    assert counters["tcp_mtu_black_holes"] >= 1
    assert 1 <= counters["tcp_mtu_probes_passed"] < counters["tcp_mtu_probes_sent"] <= 20
    assert counters["tcp_fast_recoveries"] == 0, "a lost probe is no congestion"
    talk.runs()
    talk.closes()


@pytest.mark.parametrize(("mtu", "width"), [(1300, 1260), (65535, 1460)])
def test_probing_always_begins_small(quiet_world: World, mtu: int, width: int) -> None:
    """mtu_probing=2: no time-out on a narrow path, and the whole width on a wide one."""
    path = Path(quiet_world, mtu, mtu_probing=2)
    talk = path.talk()
    talk.runs()
    assert width - 8 <= path.found(talk) <= width
    assert path.one.counters()["tcp_retransmission_timeouts"] == 0
    assert [size for size in path.sizes[:8] if size > 1024 + 40] == [1500], "the first probe"
    talk.closes()


def test_without_sack_the_small_segments_stay(quiet_world: World) -> None:
    """A probe's loss would cost a time-out there."""
    path = Path(quiet_world, 1300)
    talk = path.talk(upload=300_000, sack=0)
    talk.runs()
    assert path.found(talk) == 1024
    assert path.one.counters()["tcp_mtu_probes_sent"] == 0
    talk.closes()


def test_no_probing_no_way_through(quiet_world: World) -> None:
    """mtu_probing=0, as Linux's default: the connection ends by R2."""
    path = Path(quiet_world, 1400, mtu_probing=0)
    talk = path.talk()
    with pytest.raises(OSError, match="timed out"):
        quiet_world.run_until(lambda: talk.done, within="2h")
    assert path.one.counters()["tcp_mtu_probes_sent"] == 0


def test_a_wider_path_is_found_after_ten_minutes(quiet_world: World) -> None:
    """RFC 8899 5.1.1, PMTU_RAISE_TIMER; the search costs no timer."""
    world, path = quiet_world, Path(quiet_world, 1300)
    listener = Sock(path.two).bind("0.0.0.0", 80).listen()
    sock = Sock(path.one).connect("198.18.0.2", 80)
    world.run("1s")
    server = listener.accept()

    def transfer(n: int) -> None:
        left = n
        while left or sock.unacked:
            if left and sock.writable:
                left -= sock.send(bytes(min(left, 10_000)))
            world.rest()
            if not server.read_all() and sock.unacked:
                assert world.step(world.clock.now + 60 * 10**9)

    def mss() -> int:
        return sock.inside.mss + 12

    transfer(300_000)
    assert 1252 <= mss() <= 1260
    path.mtu = 65535
    transfer(300_000)
    assert mss() <= 1260
    world.run("10s")
    assert world.next_deadline() is None
    world.run("10min")
    transfer(300_000)
    assert mss() == 1460


@pytest.mark.parametrize("outage", ["1.5s", "10s"])
def test_an_outage_costs_one_probe(tcp: Tcp, peer: TcpPeer, outage: str) -> None:
    """It looked like a black hole. The first probe is as large as the path promises."""
    sock = tcp.established(mss=1460, sack=True)
    tcp.transfers(sock, 100_000)
    tcp.sends(sock, 20_000)
    assert len(tcp.drain(outage)) > 3
    assert sock.inside.mss == {"1.5s": 1024, "10s": 256}[outage]
    peer.got = 120_001
    peer.sends()
    with tcp.counts("tcp_mtu_probes_sent"), tcp.counts("tcp_mtu_probes_passed"):
        tcp.transfers(sock, 100_000)
    assert sock.inside.mss == 1460


def test_small_segments_make_no_black_hole(tcp: Tcp, peer: TcpPeer) -> None:
    """What is lost is smaller than the base: size is not the reason."""
    sock = tcp.established(mss=1460)
    tcp.sends(sock, 200)
    with tcp.counts("tcp_mtu_black_holes", 0):
        tcp.drain("20s")
    assert sock.inside.mss == 1460


def test_everything_says_dont_fragment(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 1191 section 3: handshake, data, retransmission and reset."""
    sock = tcp.established(mss=1000)
    tcp.sends(sock, 1000)
    sent = tcp.drain("1s")
    sock.abort()
    sent += tcp.drain()
    assert len(sent) >= 3 and all(p.ip is not None and p.ip.df for p in sent)


def test_an_inconclusive_probe_is_tried_again(world: World) -> None:
    """A time-out while a probe is under way says nothing clear; a second later it goes again."""
    tcp = Tcp(Wire(world, mtu_probing=2))
    peer = tcp.peer
    sock = tcp.established(mss=1460, sack=True)
    tcp.sends(sock, 10_000)
    first = tcp.drain()
    assert [len(p.tcp.payload) for p in first[:2] if p.tcp] == [1460, 1024], "a probe in front"
    again = tcp.drain("1.2s")
    assert again and all(len(p.tcp.payload) <= 1024 for p in again if p.tcp)
    with tcp.counts("tcp_mtu_probes_sent", 0):
        for _ in range(3):
            peer.sends()
            tcp.drain()
    tcp.run("1s")
    with tcp.counts("tcp_mtu_probes_passed"):
        tcp.transfers(sock, 60_000)
    assert sock.inside.mss == 1460


def test_a_probe_lost_among_others_has_not_passed(world: World) -> None:
    """RFC 4821 7.6.3: with other losses its own is no news of the path; that its bytes arrive when they
    go again, in pieces, is none either."""
    tcp = Tcp(Wire(world, mtu_probing=2))
    peer = tcp.peer
    sock = tcp.established(mss=1460, sack=True)
    tcp.sends(sock, 1024)
    tcp.expects(seq=1, len=1024)
    peer.sends()
    tcp.sends(sock, 9_000)
    tcp.expects(seq=1025, len=1460, why="the probe")
    after = 1025 + 1460 + 1024
    tcp.drain()
    with tcp.counts("tcp_mtu_probes_passed", 0):
        peer.sends(ack=1025, sack=[(after, after + 2048)])
        tcp.expects(seq=1025, len=1024, within="1ms")
        tcp.drain("1ms")
        peer.sends(ack=peer.stack_next)
    assert sock.inside.mss == 1024


def test_a_probe_says_dont_fragment_where_nothing_else_does(world: World) -> None:
    """RFC 8899 4.1: IP_MTU_DISCOVER is DONT. Were a probe fragmented, its arrival would prove nothing."""
    tcp = Tcp(Wire(world, mtu_probing=2))
    sock = tcp.established(mss=1460, sack=True)
    sock.set(mtu_discover=DONT)
    tcp.sends(sock, 10_000)
    probe, *others = tcp.drain()
    assert [len(p.tcp.payload) for p in (probe, others[0]) if p.tcp] == [1460, 1024]
    assert [df(p) for p in (probe, *others)] == [True] + [False] * len(others)


def test_a_path_at_the_least_mtu_may_be_told_to_fragment(tcp: Tcp, peer: TcpPeer) -> None:
    """First 552, then less: the MSS stays, DF goes, and what is in flight goes again without it; once."""
    sock = tcp.established(mss=1460)
    tcp.sends(sock, 1460)
    error(tcp, FRAG_NEEDED, tcp.expects(seq=1), mtu=552)
    assert all(df(p) for p in tcp.drain())
    peer.sends(ack=1461)
    tcp.sends(sock, 512)
    first = tcp.expects(seq=1461, len=512)
    error(tcp, FRAG_NEEDED, first, mtu=500)
    assert not df(tcp.expects(seq=1461, len=512))
    assert sock.inside.mss == 512
    with tcp.counts("icmp_errors_applied", 0):
        error(tcp, FRAG_NEEDED, first, mtu=400)
