"""The frames of the benchmark of strangers are what they are called."""

from __future__ import annotations

import pytest
from barewire.l2 import Arp, Ethernet
from barewire.stack.icmp import icmp
from barewire.stack.ip.ipv4 import IPv4
from barewire.tools.bench import stranger_frames

MAC, HOST = "020000000001", "198.18.0.2"


@pytest.mark.parametrize("kind", stranger_frames.KINDS)
def test_each_is_of_one_length_and_from_an_address_of_its_own(kind: str) -> None:
    frames = stranger_frames.build(kind, MAC, HOST)
    assert len(frames) == stranger_frames.COUNT
    assert len({len(frame) for frame in frames}) == 1
    parsed = [Ethernet.parse(frame) for frame in frames]
    if kind == "arp":
        senders = {Arp.parse(frame.payload).sender_ip for frame in parsed}
    else:
        senders = {IPv4.parse(frame.payload).src for frame in parsed}
    assert len(senders) == stranger_frames.COUNT


def test_kinds() -> None:
    def first(kind: str) -> IPv4:
        return IPv4.parse(Ethernet.parse(stranger_frames.build(kind, MAC, HOST)[0]).payload)

    assert first("fragment").mf
    assert first("udp").proto == 17
    assert first("protocol").proto == stranger_frames.UNKNOWN_PROTOCOL
    assert isinstance(icmp.parse(first("error").payload), icmp.Unreachable)
    reply, ping = icmp.parse(first("reply").payload), icmp.parse(first("ping").payload)
    assert isinstance(reply, icmp.Echo)
    assert reply.reply
    assert isinstance(ping, icmp.Echo)
    assert not ping.reply
    with pytest.raises(ValueError, match="known are"):
        stranger_frames.build("nothing", MAC, HOST)
