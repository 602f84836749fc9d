"""Whose ports are they: what raw takes, what it leaves, and what others say that they have."""

from __future__ import annotations

import errno
import os
import socket
import struct

import pytest
from barewire.nic_drivers import DeviceError
from barewire.nic_drivers.raw.ports import parse_ports, ports_text

from tests.kit.users import NOBODY, is_a_user
from tests.nic_drivers.raw_wire import Wire

pytestmark = pytest.mark.netns


def test_ports_are_read_and_joined() -> None:
    assert ports_text(parse_ports("443,80,81,61000-65535,80")) == "80-81,443,61000-65535"
    for text in ("", "0", "80-", "90-80", "65536", "a", "1;2", ",".join(map(str, range(1, 40, 2)))):
        with pytest.raises(ValueError, match="expected ports from 1 to 65535"):
            parse_ports(text)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_port_that_the_kernel_has(wire: Wire, kind: int) -> None:
    with wire.near.socket(socket.AF_INET, kind) as kernel:
        kernel.bind(("0.0.0.0", 61_500))
        if kind == socket.SOCK_STREAM:
            kernel.listen()
        with pytest.raises(
            DeviceError, match=r"the kernel has a socket on ... port 61500"
        ) as caught:
            wire.open()
        assert caught.value.errno == errno.EADDRINUSE
        wire.open("ports=62000-62010").close()
    wire.open().close()


def test_ports_reserved_from_the_kernel_may_be_taken(wire: Wire) -> None:
    wire.near.sysctl("net.ipv4.ip_local_reserved_ports", "40000-40010")
    wire.open("ports=40000-40010").close()


def strangers_names(ifindex: int, inode: int) -> list[bytes]:
    """What any local user may bind: nonsense, half a claim, and a whole one of somebody else's socket."""
    claim = (
        b"barewire-raw/" + struct.pack("=IQII", ifindex, inode, 1, 0) + struct.pack("=HH", 1, 65535)
    )
    text = b"barewire-raw/veth0/61000-65535/1.0"
    nonsense = [
        b"barewire-raw/veth0/x/y",
        b"barewire-raw/veth0/" + b"/" * 80,
        b"\xff\xfe\n @x",
        claim[:-1],
    ]
    return [*nonsense, text, b"a\n: 0 0 0 0 0 0 0 @" + text, claim]


def test_names_that_anybody_may_bind_stop_nobody(wire: Wire) -> None:
    bound = []
    with wire.near.entered():
        packet = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)  # of root's, as dhclient has one
        inode, ifindex = os.fstat(packet.fileno()).st_ino, socket.if_nametoindex("veth0")
        names = strangers_names(ifindex, inode)
        if not is_a_user(NOBODY):
            names.pop()  # the whole claim would be our own
        for name in names:
            child, theirs = socket.socketpair()
            if not os.fork():
                status = 1
                try:
                    if is_a_user(NOBODY):
                        os.setresuid(NOBODY, NOBODY, NOBODY)
                    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                        sock.bind(b"\0" + name)
                        theirs.send(b"bound")
                        child.close()
                        theirs.recv(1)
                        status = 0
                finally:
                    os._exit(status)
            theirs.close()
            assert child.recv(5) == b"bound"
            bound.append(child)
    try:
        wire.open("ports=61000-62000").close()
    finally:
        for child in bound:
            child.send(b"x")
            child.close()
            os.wait()
        packet.close()


def test_two_devices_do_not_share_ports(wire: Wire) -> None:
    with wire.open("ports=61000-62000"):
        with pytest.raises(DeviceError, match=r"another raw device .* has 61000-62000") as caught:
            wire.open("ports=61500")
        assert caught.value.errno == errno.EADDRINUSE
        wire.open("ports=63000").close()
