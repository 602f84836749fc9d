"""Ping, ARP and the path's errors, between the kernel and a stack on a TAP interface."""

from __future__ import annotations

import re
import socket
import struct

import pytest
from barewire.nic_drivers import stable_mac
from barewire.stack.icmp import icmp
from barewire.tools import netns

from tests.netns.link import KERNEL, OURS, PATIENCE, ping, until

pytestmark = pytest.mark.netns

ETH_P_ARP = 0x0806
BROADCAST = b"\xff" * 6
# linux/in.h
IP_MTU_DISCOVER, IP_RECVERR = 10, 11
IP_PMTUDISC_DONT, IP_PMTUDISC_DO = 0, 2


def neighbours(ns):
    """The kernel's neighbour table: address -> (MAC, state)."""
    from pyroute2 import IPRoute

    def look():
        with IPRoute() as ip:
            return {
                n.get_attr("NDA_DST"): (n.get_attr("NDA_LLADDR"), n["state"])
                for n in ip.get_neighbours(family=socket.AF_INET)
            }

    return ns.call(look)


@pytest.mark.parametrize("size", [0, 1, 56, 1472, 1473, 8000, 20_000, 65_507])
def test_the_kernel_pings_with_any_size(link, size):
    ping(link.ns, OURS, "-i", "0.01", "-s", str(size), count=3)


def test_a_flood_of_pings_loses_none(link):
    out = ping(link.ns, OURS, "-i", "0.001", "-s", "200", count=1000)
    print(re.search(r"rtt.*", out)[0])


def test_we_ping_the_kernel_with_any_size(link):
    for size in (0, 56, 1472, 1473, 65_507):
        reply = link.ping(KERNEL, size)
        assert (reply.error, reply.size) == (None, size) and reply.rtt > 0


def test_the_kernel_resolves_us_and_we_the_kernel(link):
    ping(link.ns, OURS)
    mac, _ = neighbours(link.ns)[OURS]
    assert mac == ":".join(f"{b:02x}" for b in link.stack.interfaces[1].mac)
    assert link.stack.interfaces[1].mac in (stable_mac("tap0"), link.stack.interfaces[1].mac)


def arp_socket(ns):
    with ns.entered():
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ARP))
        sock.bind(("tap0", ETH_P_ARP))
    sock.settimeout(PATIENCE)
    return sock


def arp(op, mac, sender, target_mac, target, dst=BROADCAST):
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, op)
    body += mac + socket.inet_aton(sender) + target_mac + socket.inet_aton(target)
    return dst + mac + struct.pack("!H", ETH_P_ARP) + body


def next_arp(sock, op, sender):
    while True:
        frame = sock.recv(2048)
        if frame[20:22] == struct.pack("!H", op) and frame[28:32] == socket.inet_aton(sender):
            return frame


def test_an_arp_probe_for_our_address_is_answered(link):
    with arp_socket(link.ns) as sock:
        sock.send(arp(1, b"\x02\0\0\0\0\x77", "0.0.0.0", bytes(6), OURS))
        reply = next_arp(sock, 2, OURS)
    assert reply[:6] == b"\x02\0\0\0\0\x77"
    assert reply[22:28] == link.stack.interfaces[1].mac


def test_an_arp_request_for_somebody_else_is_not_answered(link):
    with arp_socket(link.ns) as sock:
        sock.send(arp(1, b"\x02\0\0\0\0\x77", KERNEL, bytes(6), "198.18.0.3"))
        sock.send(arp(1, b"\x02\0\0\0\0\x77", KERNEL, bytes(6), OURS))
        next_arp(sock, 2, OURS)
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            next_arp(sock, 2, "198.18.0.3")


def test_a_gratuitous_arp_moves_a_neighbour_that_is_known(link):
    ours, kernels = link.udp()
    ours.sendto(b"one", kernels.getsockname())
    assert kernels.recv(10) == b"one"
    with arp_socket(link.ns) as sock:
        with link.ns.entered():
            tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
        with tap:
            tap.settimeout(PATIENCE)
            tap.bind(("tap0", 0x0800))

            def moved():
                sock.send(arp(2, b"\x02\0\0\0\0\x77", KERNEL, BROADCAST, KERNEL))
                ours.sendto(b"two", kernels.getsockname())
                return tap.recv(2048)[:6] == b"\x02\0\0\0\0\x77"

            until(moved, "a new address counts once the old one is a second old (as on Linux)")


def test_we_announce_our_address(ns, make_link):
    """RFC 5227: the kernel, which was told wrong, learns right from the announcement."""
    link = make_link()
    with arp_socket(link.ns) as sock:
        link.stack.add_address("198.18.0.9/24")
        frame = next_arp(sock, 1, "198.18.0.9")
    assert frame[38:42] == socket.inet_aton("198.18.0.9") and frame[:6] == BROADCAST


def test_we_defend_our_address(link):
    """RFC 5227 2.4 (b): somebody else announces it; we announce it again."""
    with arp_socket(link.ns) as sock:
        sock.send(arp(1, b"\x02\0\0\0\0\x77", OURS, bytes(6), OURS))
        frame = next_arp(sock, 1, OURS)
    assert frame[22:28] == link.stack.interfaces[1].mac and frame[38:42] == socket.inet_aton(OURS)


@pytest.fixture
def routed(link, make_netns):
    """The kernel of the link is a router; beyond it 203.0.113.2, on a network with MTU 1000."""
    far = make_netns("far")
    netns.veth(link.ns, far, "203.0.113.1/24", "203.0.113.2/24", names=("veth0", "veth0"), mtu=1000)
    link.ns.sysctl("net.ipv4.ip_forward", 1)
    far.call(add_default_route, "203.0.113.1")
    link.stack.add_route("203.0.113.0/24", KERNEL)
    return far


def add_default_route(gateway):
    from pyroute2 import IPRoute

    with IPRoute() as ip:
        ip.route("add", dst="default", gateway=gateway)


def test_a_router_on_the_way_expires_the_packet(link, routed):
    ours = link.ours(socket.SOCK_DGRAM)
    ours.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
    ours.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    ours.connect(("203.0.113.2", 9))
    ours.send(b"x")
    with pytest.raises(OSError, match="No route to host"):
        ours.recv(10)
    answer = link.ping("203.0.113.2", ttl=1)
    assert isinstance(answer.error, icmp.TimeExceeded) and str(answer.source) == KERNEL
    assert link.ping("203.0.113.2", ttl=2).error is None


def test_path_mtu_is_found_by_tcp(link, routed):
    """Segments of 1500 bytes meet the router's "fragmentation needed", and get smaller."""
    with routed.socket() as listener:
        listener.bind(("203.0.113.2", 0))
        listener.listen()
        listener.settimeout(PATIENCE)
        ours = link.ours()
        ours.connect(listener.getsockname())
        sock, _ = listener.accept()
        with sock:
            sock.settimeout(PATIENCE)
            ours.sendall(bytes(200_000))
            ours.close()
            got = 0
            while n := len(sock.recv(65536)):
                got += n
    assert got == 200_000


def test_path_mtu_is_told_to_a_datagram_socket(link, routed):
    ours = link.ours(socket.SOCK_DGRAM)
    ours.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
    ours.connect(("203.0.113.2", 9))
    ours.send(bytes(1200))
    with pytest.raises(OSError, match="Message too long"):
        ours.recv(10)
    with pytest.raises(OSError, match="Message too long"):
        until(lambda: ours.send(bytes(1200)) < 0, "the path's MTU is remembered")


def test_fragments_of_a_router_are_put_together(link, routed):
    """The router cuts what may be cut to 1000 bytes; the way back is fragmented by its sender."""
    with routed.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
        far.bind(("203.0.113.2", 0))
        far.settimeout(PATIENCE)
        ours = link.ours(socket.SOCK_DGRAM)
        ours.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
        for size in (1200, 5000, 40_000):
            ours.sendto(bytes(size), far.getsockname())
            data, peer = far.recvfrom(65536)
            assert len(data) == size
            far.sendto(data, peer)
            assert ours.recv(65536) == data


def test_we_tell_the_kernel_that_a_port_is_closed(link):
    kernels = link.kernels(socket.SOCK_DGRAM)
    kernels.connect((OURS, 9999))
    kernels.send(b"x")
    with pytest.raises(ConnectionRefusedError):
        kernels.recv(10)


def test_the_kernel_tells_us_that_a_port_is_closed(link):
    ours = link.ours(socket.SOCK_DGRAM)
    ours.connect((KERNEL, 9999))
    ours.send(b"x")
    with pytest.raises(ConnectionRefusedError):
        ours.recv(10)


def test_nobody_at_an_address_is_an_unreachable_host(link):
    ours = link.ours()
    with pytest.raises(OSError, match="No route to host"):
        ours.connect(("198.18.0.77", 80))
