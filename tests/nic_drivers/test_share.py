"""share=address with as many addresses as a stack has: filters and maps that steer by them hold them all."""

from __future__ import annotations

import errno
import socket
from contextlib import closing
from ipaddress import IPv4Network

import barewire
import pytest
from barewire.stack.ip.routes import MAX_ADDRESSES

from tests.kit.privilege import for_machine
from tests.nic_drivers.places import KERNEL, VethPlace

pytestmark = pytest.mark.netns

THEIRS = {KERNEL, VethPlace.beside}
HERE = [str(host) for host in IPv4Network("198.18.0.0/24").hosts() if str(host) not in THEIRS]
ELSEWHERE = [str(host) for host in IPv4Network("203.0.113.0/24").hosts()]
FULL = MAX_ADDRESSES - 1  # the loopback has one


def heard(place: VethPlace, ours: socket.socket, hosts: list[str]) -> set[str]:
    """Which of the addresses datagrams of the far kernel's reach."""
    with place.far.socket(socket.AF_INET, socket.SOCK_DGRAM) as kernel:
        for at in range(0, len(hosts), 50):  # what its queues and ours have room for
            part = hosts[at : at + 50]
            for host in part:
                kernel.sendto(host.encode(), (host, 7000))
            got = {ours.recv(100).decode() for _ in part}
            assert got == set(part)
    return set(hosts)


@pytest.mark.parametrize("kind", ["packet", "uring", *for_machine("xdp")])
def test_all_the_addresses_of_a_stack(kind: str) -> None:
    place = VethPlace(f"{kind}:veth0", offloads=False)
    with closing(place), barewire.Stack(place.open("share=address")) as stack:
        first, others = HERE, ELSEWHERE[: FULL - len(HERE)]
        for host in first + others:
            stack.add_address(f"{host}/24")
        with pytest.raises(OSError) as caught:
            stack.add_address("192.0.2.1/24")
        assert caught.value.errno == errno.ENOSPC
        with closing(stack.socket(socket.AF_INET, socket.SOCK_DGRAM)) as ours:
            ours.settimeout(5)
            ours.bind(("0.0.0.0", 7000))
            assert heard(place, ours, first) == set(first)
            for host in first[1:]:
                stack.remove_address(f"{host}/24")
            for host in ELSEWHERE[len(others) : len(others) + len(first) - 1]:
                stack.add_address(f"{host}/24")
            assert heard(place, ours, first[:1]) == {first[0]}
