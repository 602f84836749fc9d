"""Datagrams between a stack and the kernel: every size, connected or not, and broadcast."""

from __future__ import annotations

import errno
import socket

import pytest

from tests.netns.link import KERNEL, OURS, PREFIX, Thread, pattern

pytestmark = pytest.mark.netns

SIZES = [0, 1, 2, 1471, 1472, 1473, 2952, 8192, 65_506, 65_507]


@pytest.mark.parametrize("connected", [True, False], ids=["connected", "unconnected"])
@pytest.mark.parametrize("mtu", [576, 1500, 9000])
def test_every_size_there_and_back(make_link, connected, mtu):
    ours, kernels = make_link(mtu=mtu).udp()
    if connected:
        ours.connect(kernels.getsockname())
        kernels.connect(ours.getsockname())
    for size in SIZES:
        data = pattern(size)
        if connected:
            assert ours.send(data) == size
            assert kernels.recv(65536) == data
            assert kernels.send(data) == size
            assert ours.recv(65536) == data
        else:
            assert ours.sendto(data, kernels.getsockname()) == size
            assert kernels.recvfrom(65536) == (data, ours.getsockname())
            kernels.sendto(data, ours.getsockname())
            assert ours.recvfrom(65536) == (data, kernels.getsockname())


def test_a_datagram_that_is_too_long_for_ip(link):
    ours, kernels = link.udp()
    with pytest.raises(OSError) as caught:
        ours.sendto(bytes(65_508), kernels.getsockname())
    assert caught.value.errno == errno.EMSGSIZE


def test_many_at_once_come_in_order(link):
    """Bursts of fifty, so that no receive buffer is full."""
    ours, kernels = link.udp()
    ours.connect(kernels.getsockname())
    kernels.connect(ours.getsockname())
    ours.send(b"first: only so many may wait for a neighbour's address")
    kernels.recv(100)
    for sender, receiver in ((ours, kernels), (kernels, ours)):
        for burst in range(20):
            sent = [f"{burst} {i}".encode() * 20 for i in range(50)]
            for data in sent:
                sender.send(data)
            assert [receiver.recv(2048) for _ in sent] == sent


def test_fragments_in_disorder(make_link):
    """Whole or not at all: datagrams of six fragments on a link that reorders and duplicates."""
    ours, kernels = make_link(device="reorder=20%&hold=1ms&duplicate=10%&seed=2").udp()
    for size in (8000, 8001, 7000) * 10:
        data = pattern(size)
        for sender, receiver in ((ours, kernels), (kernels, ours)):
            sender.sendto(data, receiver.getsockname())
            while receiver.recv(65536) != data:  # a copy of the one before
                pass


def test_a_connected_socket_hears_only_its_peer(link):
    ours, kernels = link.udp()
    stranger = link.kernels(socket.SOCK_DGRAM)
    ours.connect(kernels.getsockname())
    stranger.sendto(b"stranger", ours.getsockname())
    kernels.sendto(b"peer", ours.getsockname())
    assert ours.recv(100) == b"peer"


def test_broadcast_from_us(link):
    kernels = link.kernels(socket.SOCK_DGRAM)
    kernels.bind(("0.0.0.0", 0))
    port = kernels.getsockname()[1]
    ours = link.ours(socket.SOCK_DGRAM)
    with pytest.raises(PermissionError):
        ours.sendto(b"no", ("198.18.0.255", port))
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    for target in ("198.18.0.255", "255.255.255.255"):
        ours.sendto(target.encode(), (target, port))
        assert kernels.recvfrom(100) == (target.encode(), ours_address(ours))


def ours_address(sock):
    return OURS, sock.getsockname()[1]


def test_broadcast_to_us_reaches_every_socket_of_the_port(link):
    receivers = [link.ours(socket.SOCK_DGRAM) for _ in range(2)]
    for sock in receivers:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("0.0.0.0", 7777))
    kernels = link.kernels(socket.SOCK_DGRAM)
    kernels.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    kernels.sendto(b"all", ("198.18.0.255", 7777))
    assert [sock.recv(100) for sock in receivers] == [b"all", b"all"]


def test_echo_in_lock_step(link):
    ours, kernels = link.udp()

    def echo():
        for _ in range(2000):
            data, peer = kernels.recvfrom(2048)
            kernels.sendto(data, peer)

    thread = Thread(echo)
    for i in range(2000):
        message = i.to_bytes(8, "big") * 8
        ours.sendto(message, kernels.getsockname())
        assert ours.recv(2048) == message
    thread.result()


def test_a_full_queue_drops_and_counts_and_goes_on(link):
    ours, kernels = link.udp()
    for _ in range(3000):
        kernels.sendto(bytes(1400), ours.getsockname())
    got = 0
    ours.settimeout(0.2)
    try:
        while True:
            ours.recv(2048)
            got += 1
    except TimeoutError:
        pass
    dropped = {n: v for n, v in link.counters().items() if "udp" in n and "full" in n}
    print(got, dropped)
    assert 0 < got <= 3000
    ours.settimeout(5)
    kernels.sendto(b"after", ours.getsockname())
    assert ours.recv(100) == b"after"


def test_a_second_address_answers_for_itself(link):
    link.stack.add_address(f"198.18.0.9/{PREFIX}")
    ours = link.ours(socket.SOCK_DGRAM)
    ours.bind(("198.18.0.9", 0))
    kernels = link.kernels(socket.SOCK_DGRAM)
    kernels.bind((KERNEL, 0))
    kernels.sendto(b"hello", ours.getsockname())
    data, peer = ours.recvfrom(100)
    ours.sendto(data, peer)
    assert kernels.recvfrom(100) == (b"hello", ours.getsockname())
