"""Ethernet and ARP as a stack on a wire shows them."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import pytest
from barewire.l2 import ARP_REPLY, ARP_REQUEST, Arp, Ethernet, Mac, Tag
from barewire.stack import lib, worker
from barewire.stack.punt import Punt

from tests.kit import frames
from tests.kit.checks import is_arp, is_echo_reply, is_tcp, is_udp
from tests.kit.wire import Wire
from tests.kit.world import World

BROADCAST = b"\xff" * 6


@pytest.fixture
def silent(world: World) -> Wire:
    """A far end that answers no ARP by itself."""
    return Wire(world, layer=2, arp=False)


def request(wire: Wire, target: str, **fields: object) -> bytes:
    sender = IPv4Address(str(fields.pop("sender", wire.there)))
    return frames.arp(BROADCAST, Arp(ARP_REQUEST, wire.mac, sender, target_ip=IPv4Address(target)))


def test_too_short_for_ethernet(ether: Wire) -> None:
    with ether.counts("drop_eth_short"):
        ether.sends_frame(bytes(13))


def test_a_frame_for_somebody_else(ether: Wire) -> None:
    ping = frames.echo(ether.there, ether.here)
    with ether.counts("drop_eth_not_ours"):
        ether.sends_frame(frames.ethernet(Mac("02:00:00:00:00:77"), ether.mac, ping))
    ether.expects_nothing()


def test_an_unknown_ethertype(ether: Wire) -> None:
    with ether.counts("drop_eth_type"):
        ether.sends_frame(frames.ethernet(ether.stack_mac, ether.mac, b"?", 0x88B5))


def test_ipv6_is_not_spoken_yet(ether: Wire) -> None:
    with ether.counts("drop_ip_version"):
        ether.sends_frame(frames.ethernet(ether.stack_mac, ether.mac, bytes(40), 0x86DD))


def test_a_tag_of_a_vlan_that_is_not_ours(ether: Wire) -> None:
    ping = frames.echo(ether.there, ether.here)
    with ether.counts("drop_vlan_tagged"):
        ether.sends_frame(
            Ethernet(ether.stack_mac, ether.mac, payload=ping, tags=(Tag(5),)).build()
        )
    ether.expects_nothing()


def test_a_priority_tag_is_passed_over(ether: Wire) -> None:
    """VLAN 0 is no VLAN (IEEE 802.1Q 9.6)."""
    ping = frames.echo(ether.there, ether.here)
    ether.sends_frame(
        Ethernet(ether.stack_mac, ether.mac, payload=ping, tags=(Tag(0, pcp=5),)).build()
    )
    ether.expects(is_echo_reply())


def test_tcp_in_a_broadcast_frame_is_dropped(ether: Wire) -> None:
    ether.tcp().bind("0.0.0.0", 80).listen()
    syn = frames.Segment(5000, 80, flags=frames.flags_of("S"))
    with ether.counts("drop_tcp_broadcast"):
        ether.sends(frames.tcp(ether.there, ether.here, syn), broadcast=True)
    ether.expects_nothing()


# ---- ARP -----------------------------------------------------------------------------------------


def test_a_request_is_answered(silent: Wire) -> None:
    with silent.counts("arp_replies_sent"):
        silent.sends_frame(request(silent, silent.here))
    packet = silent.expects(is_arp(op=ARP_REPLY, sender=silent.here, target=silent.there))
    assert packet.arp is not None and packet.eth is not None
    assert (packet.arp.sender_mac, packet.eth.dst) == (silent.stack_mac, silent.mac)


def test_a_request_for_somebody_else(silent: Wire) -> None:
    with silent.counts("drop_arp_not_ours"):
        silent.sends_frame(request(silent, "198.18.0.77"))
    silent.expects_nothing()


def test_what_is_known_is_not_told_again(silent: Wire) -> None:
    """Replies, announcements and requests of a neighbour in the table that say nothing new: no work for
    Python, however many."""
    silent.sends_frame(request(silent, silent.here))
    silent.drain()
    before = silent.stack.counters()["punts_arp"]
    there, here = IPv4Address(silent.there), IPv4Address(silent.here)
    reply = Arp(ARP_REPLY, silent.mac, there, silent.stack_mac, here)
    announcement = Arp(ARP_REQUEST, silent.mac, there, target_ip=there)
    with silent.counts("drop_arp_duplicate", 40), silent.counts("arp_replies_sent", 20):
        for _ in range(20):
            silent.sends_frame(frames.arp(silent.stack_mac, reply))
            silent.sends_frame(frames.arp(BROADCAST, announcement))
            silent.sends_frame(request(silent, silent.here))
    assert silent.stack.counters()["punts_arp"] == before
    moved = Arp(ARP_REPLY, Mac("02:00:00:00:00:77"), there, silent.stack_mac, here)
    silent.sends_frame(frames.arp(silent.stack_mac, moved))
    assert silent.stack.counters()["punts_arp"] == before + 1, "another address is news"


@pytest.mark.parametrize("cut", [0, 10, 27])
def test_malformed_arp(silent: Wire, cut: int) -> None:
    with silent.counts("drop_arp_malformed"):
        silent.sends_frame(request(silent, silent.here)[: 14 + cut])


def test_a_probe_of_our_address_is_answered(silent: Wire) -> None:
    """RFC 5227: whoever probes learns that the address is taken."""
    silent.sends_frame(request(silent, silent.here, sender="0.0.0.0"))
    silent.expects(is_arp(op=ARP_REPLY, sender=silent.here))


def test_what_waits_for_an_answer_is_sent_when_it_comes(silent: Wire) -> None:
    sock = silent.udp(7)
    for i in range(3):
        sock.sendto(bytes([i]), silent.there, 5000)
    silent.expects(is_arp(op=ARP_REQUEST, target=silent.there))
    answer = Arp(
        ARP_REPLY,
        silent.mac,
        IPv4Address(silent.there),
        silent.stack_mac,
        IPv4Address(silent.here),
    )
    silent.sends_frame(frames.arp(silent.stack_mac, answer))
    for i in range(3):
        packet = silent.expects(is_udp(data=bytes([i])))
        assert packet.eth is not None and packet.eth.dst == silent.mac


def test_without_an_answer_the_socket_is_told(silent: Wire) -> None:
    sock = silent.udp().connect(silent.there, 5000).set(recverr=1)
    sock.send(b"x")
    asked = [p for p in silent.drain("10s") if p.arp]
    assert 3 <= len(asked) <= 6
    assert sock.take_error() != 0
    tcp = silent.tcp().connect(silent.there, 80)
    silent.drain("10s")
    assert tcp.state == "CLOSED"


def test_a_connection_lives_through_a_change_of_address(ether: Wire) -> None:
    """A gratuitous ARP moves the peer to another MAC address."""
    ether.tcp().bind("0.0.0.0", 80).listen()
    ether.sends(
        frames.tcp(ether.there, ether.here, frames.Segment(5000, 80, flags=frames.flags_of("S")))
    )
    packet = ether.expects(is_tcp(flags="SA"))
    assert packet.eth is not None and packet.eth.dst == ether.mac
    ether.drain("2s")  # what was just learned is not overwritten by hearsay within a second
    ether.mac = Mac("02:00:00:00:00:99")
    there = IPv4Address(ether.there)
    ether.sends_frame(frames.arp(BROADCAST, Arp(ARP_REQUEST, ether.mac, there, target_ip=there)))
    packet = ether.expects(is_tcp(flags="SA"), within="5s")
    assert packet.eth is not None and packet.eth.dst == ether.mac


def test_a_connection_finds_a_first_hop_that_moved_silently(ether: Wire) -> None:
    """RFC 9293 3.8.3 R1, RFC 1122 3.3.1.4: retransmissions confirm nothing, so the neighbour is asked
    again, and the connection goes on through the new one."""
    ether.tcp().bind("0.0.0.0", 80).listen()
    ether.sends(
        frames.tcp(ether.there, ether.here, frames.Segment(5000, 80, flags=frames.flags_of("S")))
    )
    ether.expects(is_tcp(flags="SA"))
    sock = ether.tcp().connect(ether.there, 5001)
    ether.expects(is_tcp(flags="S"))
    ether.mac = Mac("02:00:00:00:00:99")
    seen = [p for p in ether.drain("3min") if p.tcp and p.tcp.dport == 5001]
    assert sock.state == "SYN_SENT"
    assert seen[0].eth is not None and seen[0].eth.dst != ether.mac
    assert seen[-1].eth is not None and seen[-1].eth.dst == ether.mac


def test_datagrams_that_wait_come_faster_than_python_looks(
    silent: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer they wait for is not lost among them."""
    sock = silent.udp(7)
    sock.sendto(b"1", silent.there, 9)
    question = silent.expects(is_arp(ARP_REQUEST, target=silent.there)).arp
    assert question is not None
    answer = Arp(
        ARP_REPLY, silent.mac, IPv4Address(silent.there), question.sender_mac, question.sender_ip
    )
    silent._put(frames.arp(question.sender_mac, answer))
    lib.host_poll(silent.stack.host)  # C has it, Python not yet
    left = 10_000

    def flooding(*fields: Any) -> Punt:
        """Each piece of work that Python takes brings another one."""
        nonlocal left
        if left:
            left -= 1
            sock.sendto(b"2", silent.there, 9)
        return Punt(*fields)

    monkeypatch.setattr(worker, "Punt", flooding)
    sock.sendto(b"2", silent.there, 9)
    silent.stack.drain()
    assert left > 9_000, "known after a moment, and the rest went out directly or not at all"
    silent.expects(is_udp(7, 9, b"1"))
    silent.drain()
