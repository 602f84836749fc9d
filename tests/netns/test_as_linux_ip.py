"""What IP, ICMP, UDP and the routes are said to do as Linux does it, and the numbers that bear its names."""

from __future__ import annotations

import dataclasses
import errno
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from barewire import Stack
from barewire.fuzz.strategies import PEER, PEER_MAC, US, PeerStep
from barewire.l2 import ETH_P_IP, Ethernet
from barewire.stack.icmp import icmp
from barewire.stack.ip.ipv4 import PROTO_ICMP, IPv4
from barewire.stack.tcp.segment import Mss, SackPermitted
from barewire.tools.netns import Namespace

from tests.kit import frames
from tests.netns.as_linux import Side, segments

pytestmark = pytest.mark.netns

RECVERR = 11
ELSEWHERE = "198.18.9.1"  # an address of another interface

NUMBERS = {
    "net.ipv4.tcp_base_mss": 1024,  # mtu_probe.c
    "net.ipv4.tcp_probe_threshold": 8,
    "net.ipv4.tcp_probe_interval": 600,
    "net.ipv4.tcp_mtu_probing": 0,  # off; ours begins after a black hole
    "net.ipv4.tcp_max_reordering": 300,  # tcp.h
    "net.ipv4.tcp_reordering": 3,
    "net.ipv4.tcp_min_snd_mss": 48,
    "net.ipv4.route.min_pmtu": 552,  # icmp/policy.py
    "net.ipv4.icmp_ratelimit": 1000,  # icmp_error.c
    "net.ipv4.icmp_msgs_per_sec": 1000,
    "net.ipv4.icmp_msgs_burst": 50,
    "net.ipv4.ipfrag_time": 30,  # reassembly.c
    "net.ipv4.ip_local_port_range": (32768, 60999),  # bind.c
    "net.ipv4.neigh.lo.locktime": 100,  # l2/neighbour.py, in USER_HZ
}


def _sysctl(name: str) -> Any:
    with open("/proc/sys/" + name.replace(".", "/"), encoding="ascii") as file:
        found = tuple(int(word) for word in file.read().split())
    return found if len(found) > 1 else found[0]


@pytest.mark.parametrize("name", NUMBERS)
def test_the_kernels_numbers(untouched: Namespace, name: str) -> None:
    """Constants that are said to be Linux's: its defaults."""
    assert untouched.call(_sysctl, name) == NUMBERS[name]


@pytest.fixture(scope="module")
def untouched() -> Iterator[Namespace]:
    namespace = Namespace("untouched")
    yield namespace
    namespace.close()


# ---- ICMP errors and datagrams -----------------------------------------------------------------------

ERRORS = [icmp.Unreachable(code) for code in range(17)] + [
    icmp.TimeExceeded(0), icmp.TimeExceeded(1), icmp.ParameterProblem(0), icmp.ParameterProblem(20, code=1),
]  # fmt: skip


@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize("recverr", [True, False])
def test_what_a_datagram_socket_hears(make_side: Any, connected: bool, recverr: bool) -> None:
    heard = {name: _hears(make_side(name), connected, recverr) for name in ("kernel", "barewire")}
    assert heard["barewire"] == heard["kernel"]


def _hears(side: Side, connected: bool, recverr: bool) -> list[str]:
    sock = side.keep(side.target.socket(socket.SOCK_DGRAM))
    sock.bind((str(US), 4000))
    if recverr:
        sock.setsockopt(socket.IPPROTO_IP, RECVERR, 1)
    if connected:
        sock.connect((str(PEER), 53))
    sent = frames.udp(str(US), str(PEER), 4000, 53, b"question")
    found = []
    for message in ERRORS:
        error = dataclasses.replace(message, quoted=sent)
        side.peer.put(side.peer.packet(error.build(), PROTO_ICMP))
        side.peer.settle()
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        found.append(errno.errorcode[number] if number else "")
    return found


def test_the_default_buffers_of_a_datagram_socket(make_side: Any) -> None:
    options = socket.SO_RCVBUF, socket.SO_SNDBUF
    kernel, ours = (
        [sock.getsockopt(socket.SOL_SOCKET, option) for option in options]
        for sock in (
            side.keep(side.target.socket(socket.SOCK_DGRAM))
            for side in (make_side("kernel"), make_side("barewire"))
        )
    )
    assert ours == kernel


@pytest.mark.parametrize("mtu", [68, 300, 551, 552, 600, 1200])
def test_the_least_path_mtu(make_side: Any, mtu: int) -> None:
    """How long the segments are that follow "fragmentation needed"."""
    found = {name: _sizes_after(make_side(name), mtu) for name in ("kernel", "barewire")}
    assert found["barewire"] == found["kernel"]


def _sizes_after(side: Side, mtu: int) -> list[int]:
    sock, flow = side.connected(options=(Mss(1460), SackPermitted()))
    sock.send(bytes(1460))
    (ip,) = [IPv4.parse(f[14:]) for f in side.peer.settle()]
    error = icmp.Unreachable(icmp.UNREACH_FRAG_NEEDED, ip.build()[:576], mtu)
    side.peer.put(side.peer.packet(error.build(), PROTO_ICMP))
    again = side.peer.settle()
    side.peer.say(flow, PeerStep())
    sock.send(bytes(1460))
    return sorted({len(s.payload) for s in segments(again + side.peer.settle())})


@pytest.mark.parametrize("second", [68, 551, 552, 560])
@pytest.mark.parametrize("first", [552, 500, 600])
def test_the_least_path_mtu_told_again(make_side: Any, first: int, second: int) -> None:
    """A path that is as narrow as it gets hears of a link that is narrower still: DF goes."""
    found = {name: _told_twice(make_side(name), first, second) for name in ("kernel", "barewire")}
    assert found["barewire"] == found["kernel"]


def _told_twice(side: Side, *mtus: int) -> list[tuple[int, bool]]:
    """Length and DF of what is sent after each error, and on a later connection."""
    sock, flow = side.connected(options=(Mss(1460), SackPermitted()))
    found = []
    for mtu in mtus:
        sock.send(bytes(500))
        (ip, *_) = [IPv4.parse(f[14:]) for f in side.peer.settle()]
        error = icmp.Unreachable(icmp.UNREACH_FRAG_NEEDED, ip.build()[:576], mtu)
        side.peer.put(side.peer.packet(error.build(), PROTO_ICMP))
        side.peer.settle()
        side.peer.say(flow, PeerStep())
        sock.send(bytes(400))
        found += [(len(f) - 54, IPv4.parse(f[14:]).df) for f in side.peer.settle()]
        side.peer.say(flow, PeerStep())
    return found


# ---- addresses and routes ----------------------------------------------------------------------------


def test_the_weak_host_model(side: Side) -> None:
    """An address is the host's, whichever interface a packet comes by."""
    if side.kernel:
        side.target._namespace.call(
            _netlink, "addr", "add", address=ELSEWHERE, prefixlen=32, index=1
        )
    else:
        side.target.stack.add_address(f"{ELSEWHERE}/32", "lo")
    ping = icmp.Echo(1, 1, b"ping")
    side.peer.put(side.peer.packet(ping.build(), PROTO_ICMP))
    side.peer.settle()  # the neighbour is known
    echo = frames.icmp_message(str(PEER), ELSEWHERE, ping)
    side.target.put(Ethernet(side.target.mac, PEER_MAC, ETH_P_IP, echo).build())
    (reply,) = [Ethernet.parse(f).payload for f in side.target.take() if f[12:14] == b"\x08\0"]
    assert str(IPv4.parse(reply).src) == ELSEWHERE


def _netlink(kind: str, what: str, **arguments: Any) -> str:
    from pyroute2 import IPRoute, NetlinkError

    with IPRoute() as ip:
        try:
            getattr(ip, kind)(what, **arguments)
        except NetlinkError as problem:
            return errno.errorcode[problem.code]
    return ""


LINK, NOWHERE = "198.18.0.99", "198.51.100.1"
CONFIGURATION = [
    ("route", "add", "203.0.113.0/24", LINK),
    ("route", "add", "203.0.113.0/24", LINK),
    ("route", "add", "203.0.113.0/24", "198.18.0.98"),
    ("route", "add", "192.0.2.0/24", NOWHERE),
    ("route", "del", "192.0.2.0/24", None),
    ("route", "del", "203.0.113.0/24", None),
    ("route", "del", "203.0.113.0/24", None),
    ("addr", "add", f"{ELSEWHERE}/32", None),
    ("addr", "add", f"{ELSEWHERE}/32", None),
    ("addr", "del", f"{ELSEWHERE}/32", None),
    ("addr", "del", f"{ELSEWHERE}/32", None),
]


def test_errors_of_routes_and_addresses(make_side: Any) -> None:
    kernel, ours = make_side("kernel").target, make_side("barewire").target
    for step in CONFIGURATION:
        assert _configures(ours.stack, *step) == kernel._namespace.call(_asks_netlink, *step), step


def _asks_netlink(kind: str, what: str, prefix: str, gateway: str | None) -> str:
    if kind == "addr":
        address, length = prefix.split("/")
        return _netlink(kind, what, address=address, prefixlen=int(length), index=1)
    return _netlink(kind, what, dst=prefix, **({"gateway": gateway} if gateway else {}))


def _configures(stack: Stack, kind: str, what: str, prefix: str, gateway: str | None) -> str:
    try:
        if kind == "addr":
            (stack.add_address if what == "add" else stack.remove_address)(prefix, "lo")
        elif what == "add":
            stack.add_route(prefix, gateway)
        else:
            stack.remove_route(prefix)
    except OSError as problem:
        return errno.errorcode[problem.errno or 0]
    return ""
