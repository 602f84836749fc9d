"""Devices are told addresses with their family: nobody takes the end of an IPv6 address for IPv4."""

from __future__ import annotations

import errno
import socket
from contextlib import closing
from ipaddress import IPv4Address, IPv6Address

import pytest
from barewire.nic_drivers import Device
from barewire.stack import ffi, lib
from barewire.stack.port import ip16

from tests.kit.privilege import for_machine
from tests.nic_drivers.places import KERNEL, VethPlace

NEAR = VethPlace.beside  # the kernel's own at the end where the devices are
BROADCAST, OTHER = b"\xff" * 6, b"\x02\0\0\0\0\x99"


def like(ip: str) -> IPv6Address:
    """An IPv6 address that ends in the bytes of an IPv4 address."""
    return IPv6Address(b"\x20\x01\x0d\xb8" + bytes(8) + IPv4Address(ip).packed)


def told(device: Device, *ips: IPv4Address | IPv6Address) -> int:
    """What set_addrs answers, as the stack calls it."""
    table = ffi.new("struct netdev_addr[]", len(ips))
    for entry, ip in zip(table, ips, strict=True):
        lib.host_netdev_addr(ffi.addressof(entry), ip16(ip))
    with device.using() as netdev:
        return int(netdev.set_addrs(netdev, table, len(ips)))


def test_an_address_goes_over_with_its_family() -> None:
    entry = ffi.new("struct netdev_addr *")
    lib.host_netdev_addr(entry, ip16(IPv4Address("198.18.0.2")))
    assert (entry.family, bytes(entry.ip)) == (socket.AF_INET, b"\xc6\x12\0\2" + bytes(12))
    lib.host_netdev_addr(entry, ip16(like("198.18.0.2")))
    assert (entry.family, bytes(entry.ip)) == (socket.AF_INET6, like("198.18.0.2").packed)


@pytest.mark.netns
@pytest.mark.parametrize("kind", ["packet", "uring", *for_machine("xdp")])
def test_who_steers_by_ipv4_refuses_others(kind: str) -> None:
    place = VethPlace(f"{kind}:veth0", offloads=False)
    with closing(place), place.open("share=address") as device:
        assert told(device, IPv4Address(NEAR)) == -errno.EADDRINUSE
        assert told(device, like(NEAR)) == -errno.EAFNOSUPPORT
        assert told(device, IPv4Address("198.18.0.77")) == 0


@pytest.mark.netns
def test_raw_has_the_kernels_ipv4_addresses_only() -> None:
    place = VethPlace("raw:veth0", offloads=False)
    with closing(place), place.open("guard=none") as device:
        assert told(device, IPv4Address(NEAR)) == 0
        assert told(device, like(NEAR)) == -errno.EAFNOSUPPORT
        assert told(device, IPv4Address("198.18.0.77")) == -errno.EADDRNOTAVAIL


@pytest.mark.netns
@pytest.mark.machine
def test_arp_for_the_end_of_an_ipv6_address_is_not_the_stacks() -> None:
    place = VethPlace("xdp:veth0", offloads=False)
    with closing(place), place.open() as device:
        assert told(device, like("198.18.0.78"), IPv4Address("198.18.0.77")) == 0
        with (
            place.far.entered(),
            socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as wire,
        ):
            wire.bind(("veth0", 0))
            for ip in ("198.18.0.78", "198.18.0.77"):
                asked = IPv4Address(KERNEL).packed + bytes(6) + IPv4Address(ip).packed
                arp = b"\x08\x06\0\1\x08\0\6\4\0\1" + OTHER + asked
                wire.send((BROADCAST + OTHER + arp).ljust(60, b"\0"))
        counts = device.xstats
        assert counts["arp_to_stack"] == 1
        assert counts["to_kernel"] >= 1
