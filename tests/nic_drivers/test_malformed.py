"""What no kernel hands out: wrong virtio-net headers, from a socket in place of a TAP descriptor."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Iterator

import pytest
from barewire.nic_drivers import Device
from barewire.nic_drivers._netdev import ffi, lib
from barewire.nic_drivers.device import stable_mac
from barewire.nic_drivers.uring import uring

NO_GSO, TCPV4, UDP_L4 = 0, 1, 5  # linux/virtio_net.h
LONGEST = 65535 + 18  # of a super-segment: an IP packet behind a tagged Ethernet header
MTU = 1500 + 18


def header(gso_type: int = NO_GSO, gso_size: int = 0) -> bytes:
    return struct.pack("=BBHHHH", 0, gso_type, 0, gso_size, 0, 0)


def tap(fd: int, offload: bool) -> Device:
    config, name = ffi.new("struct tap_config *"), ffi.new("char[]", b"made")
    config.name, config.mtu, config.layer, config.mac = name, 1500, 2, stable_mac("made")
    config.vnet, config.offload, config.gso, config.guard = True, offload, offload, -1
    config.queues, config.fd = 1, [fd]
    return Device("tap", lib.tap_new(config))


def through_uring(fd: int, offload: bool) -> Device:
    config, name = uring.ffi.new("struct uring_config *"), ffi.new("char[]", b"made")
    config.name, config.mtu, config.layer, config.mac = name, 1500, 2, stable_mac("made")
    config.vnet, config.offload, config.gso, config.guard = True, offload, offload, -1
    config.ring, config.multishot = 16, uring.lib.uring_has_multishot(False)
    number, text = ffi.new("int *"), ffi.new("char[]", 1000)
    netdev = uring.lib.uring_new(fd, config, number, text)
    assert netdev != ffi.NULL, ffi.string(text)
    return Device("uring", netdev)


End = tuple[Device, socket.socket]


@pytest.fixture(params=[tap, through_uring])
def ends(request: pytest.FixtureRequest) -> Iterator[list[End]]:
    """A device that takes super-segments and one that does not, each with what is the kernel to it."""
    made: list[End] = []
    for offload in (True, False):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        made.append((request.param(ours.detach(), offload), theirs))
    yield made
    for device, sock in made:
        device.close()
        sock.close()


def received(device: Device, sock: socket.socket, messages: list[bytes]) -> list[bytes]:
    """What the device makes of the messages: all of them, for a good one comes last."""
    found: list[bytes] = []
    for message in [*messages, header() + b"the last"]:
        sock.send(message)
    while b"the last" not in found:
        armed = device.arm()
        assert armed.ready or select.select([armed.fd], [], [], 5)[0]
        found += [frame.data for frame in device.rx()]
    return found[:-1]


WRONG = [b"short", header(), header(TCPV4, 0) + bytes(3000), header(UDP_L4, 0) + bytes(3000)]


def test_wrong_headers_are_counted(ends: list[End]) -> None:
    for device, sock in ends:
        assert received(device, sock, WRONG) == []
        assert device.xstats["rx_malformed"] == device.stats["rx_dropped"] == len(WRONG)


def test_super_segments_that_were_not_agreed_on(ends: list[End]) -> None:
    agreed, refused = ends
    message = header(TCPV4, 1000) + bytes(3000)
    assert received(*agreed, [message]) == [bytes(3000)]
    assert received(*refused, [message]) == []
    assert refused[0].xstats["rx_malformed"] == 1


def test_too_long(ends: list[End]) -> None:
    for (device, sock), most, gso in zip(ends, (LONGEST, MTU), ((TCPV4, 1000), ()), strict=True):
        messages = [header(*gso) + bytes(most), header(*gso) + bytes(most + 1)]
        assert received(device, sock, messages) == [bytes(most)]
        assert device.xstats["rx_too_long"] == device.stats["rx_dropped"] == 1
