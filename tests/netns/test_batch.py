"""Batches of datagrams between a stack and the kernel."""

from __future__ import annotations

import socket

import pytest
from barewire import Batch

from tests.netns.link import KERNEL, OURS, PREFIX, pattern

pytestmark = pytest.mark.netns

ROUNDS, BURST = 100, 100  # bursts that no receive buffer is too small for
LARGEST = 1472


def message(number: int) -> bytes:
    """Sizes from 4 bytes to the largest that needs no fragments."""
    return number.to_bytes(4, "little") + pattern(number * 13 % (LARGEST - 3))


def greet(ours, kernels):
    """Only so many datagrams may wait for a neighbour's address: this one does."""
    ours.sendto(b"hello", kernels.getsockname())
    assert kernels.recv(64) == b"hello"


def test_ten_thousand_in(link):
    ours, kernels = link.udp()
    batch = Batch(BURST, LARGEST)
    for first in range(0, ROUNDS * BURST, BURST):
        sent = [message(first + i) for i in range(BURST)]
        for data in sent:
            kernels.sendto(data, ours.getsockname())
        assert ours.recv_batch(batch, flags=socket.MSG_WAITALL) == BURST
        assert [bytes(batch[i]) for i in range(BURST)] == sent
        assert {batch.address(i) for i in range(BURST)} == {kernels.getsockname()}
    assert link.counters()["udp_datagrams_received"] == ROUNDS * BURST


def test_ten_thousand_out(link):
    ours, kernels = link.udp()
    batch = Batch(BURST, LARGEST)
    batch.set_address(kernels.getsockname())
    greet(ours, kernels)
    for first in range(0, ROUNDS * BURST, BURST):
        for i in range(BURST):
            batch[i] = message(first + i)
        assert ours.send_batch(batch) == BURST
        for i in range(BURST):
            assert kernels.recvfrom(2048) == (message(first + i), ours.getsockname())


def test_the_first_batch_to_a_neighbour_waits_for_its_address(link):
    """It is sent whole, before anybody knows where to."""
    ours, kernels = link.udp()
    batch = Batch(BURST, 64)
    batch.set_address(kernels.getsockname())
    for i in range(BURST):
        batch[i] = b"%d" % i
    assert ours.send_batch(batch) == BURST
    assert [kernels.recv(64) for _ in range(BURST)] == [b"%d" % i for i in range(BURST)]


def test_each_to_another_socket(link):
    """One call, a hundred peers."""
    ours = link.ours(socket.SOCK_DGRAM)
    ours.bind((OURS, 0))
    peers = [link.kernels(socket.SOCK_DGRAM) for _ in range(BURST)]
    batch = Batch(BURST, 64)
    for i, peer in enumerate(peers):
        peer.bind((KERNEL, 0))
        batch[i] = b"%d" % i
        batch.set_address(peer.getsockname(), i)
    greet(ours, peers[0])
    assert ours.send_batch(batch) == BURST
    for i, peer in enumerate(peers):
        data, address = peer.recvfrom(64)
        assert (data, address) == (b"%d" % i, ours.getsockname())
        peer.sendto(data * 2, address)
    answers = Batch(BURST, 64)
    assert ours.recv_batch(answers, flags=socket.MSG_WAITALL) == BURST
    found = {answers.address(i): bytes(answers[i]) for i in range(BURST)}
    assert found == {peer.getsockname(): b"%d" % i * 2 for i, peer in enumerate(peers)}


def test_fragments(link):
    ours, kernels = link.udp()
    datas = [pattern(size) for size in (1473, 8000, 65_507)]
    batch = Batch(3, 65_507)
    for i, data in enumerate(datas):
        batch[i] = data
    batch.set_address(kernels.getsockname())
    greet(ours, kernels)
    assert ours.send_batch(batch) == 3
    assert [kernels.recv(65536) for _ in datas] == datas
    for data in datas:
        kernels.sendto(data, ours.getsockname())
    assert ours.recv_batch(batch, flags=socket.MSG_WAITALL) == 3
    assert [bytes(batch[i]) for i in range(3)] == datas


def test_nobody_listens(link):
    ours, kernels = link.udp()
    ours.connect(kernels.getsockname())
    kernels.close()
    batch = Batch(2, 8)
    batch[0] = batch[1] = b"anybody?"
    ours.send_batch(batch)
    with pytest.raises(ConnectionRefusedError):
        ours.recv_batch(batch)


def test_a_second_address_of_ours(link):
    link.stack.add_address(f"198.18.0.9/{PREFIX}")
    ours, kernels = link.ours(socket.SOCK_DGRAM), link.kernels(socket.SOCK_DGRAM)
    ours.bind(("198.18.0.9", 0))
    kernels.bind((KERNEL, 0))
    kernels.sendto(b"hello", ours.getsockname())
    batch = Batch(4, 64)
    assert ours.send_batch(batch, ours.recv_batch(batch)) == 1
    assert kernels.recvfrom(100) == (b"hello", ours.getsockname())
