"""Traffic over every kind of device: a stack on it, and the kernel's stack at the other end.

The kinds, and how many bytes of bulk each carries here, are those of tests/nic_drivers/kinds.py.
"""

from __future__ import annotations

import hashlib
import random
import re
import socket
from collections.abc import Iterator

import pytest
from barewire import Batch

from tests.netns.link import KERNEL, OURS, KindLink, ping, receive_exactly, receive_hash
from tests.nic_drivers.kinds import MB, supported

pytestmark = pytest.mark.netns

CONNECTIONS = 100


@pytest.fixture(scope="module", params=supported())
def link(request: pytest.FixtureRequest) -> Iterator[KindLink]:
    made = KindLink(supported()[request.param])
    yield made
    made.close()


def test_ping_both_ways(link: KindLink) -> None:
    for size in (56, 1472, 8000) if link.kind.fragments else (56, 1472):
        ping(link.ns, OURS, "-i", "0.01", "-s", str(size), count=3)
        reply = link.ping(KERNEL, size)
        assert (reply.error, reply.size) == (None, size)


def test_datagrams_of_all_sizes_are_answered(link: KindLink) -> None:
    """Each in fragments where it is longer than the MTU."""
    ours, kernels = link.udp()
    for size in (0, 1, 2, 64, 511, 1472, 1473, 8973, 20_000, 65_507):
        if size > 1472 and not link.kind.fragments:
            break
        message = bytes(i * 7 & 255 for i in range(size))
        ours.sendto(message, kernels.getsockname())
        data, whence = kernels.recvfrom(65_536)
        assert (data, whence) == (message, ours.getsockname())
        kernels.sendto(message[::-1], whence)
        assert ours.recvfrom(65_536) == (message[::-1], kernels.getsockname())


def test_batches_both_ways(link: KindLink) -> None:
    """Bursts that the kernel's receive buffer has room for, whatever a frame costs there."""
    ours, kernels = link.udp()
    out, back = Batch(32, 64), Batch(32, 64)
    out.set_address(kernels.getsockname())
    for first in range(0, 3200, 32):
        for i in range(32):
            out[i] = b"%64d" % (first + i)
        assert ours.send_batch(out) == 32
        for _ in range(32):
            data, whence = kernels.recvfrom(100)
            kernels.sendto(data, whence)
        assert ours.recv_batch(back, flags=socket.MSG_WAITALL) == 32
        assert back.data == out.data, "all of them, in order"


def test_a_message_in_segments(link: KindLink) -> None:
    """The device cuts it where it can (NETDEV_USO4), otherwise the engine: the kernel gets datagrams."""
    ours, kernels = link.udp()
    ours.setsockopt(socket.IPPROTO_UDP, 103, 1000)  # UDP_SEGMENT
    message = bytes(i * 7 & 255 for i in range(20_500))
    for _ in range(2):  # the first one asks for the neighbour
        assert ours.sendto(message, kernels.getsockname()) == len(message)
        for at in range(0, len(message), 1000):
            assert kernels.recvfrom(9000) == (message[at : at + 1000], ours.getsockname())


def test_bulk_out(link: KindLink) -> None:
    peer = link.peer("sink", "listen", KERNEL, 7000)
    peer.line()
    block, digest = random.Random(5).randbytes(MB), hashlib.sha256()
    with link.ours() as sock:
        sock.connect((KERNEL, 7000))
        for _ in range(link.kind.bulk // MB):
            sock.sendall(block)
            digest.update(block)
    answer = peer.json()
    print(gbits(answer))
    assert (answer["bytes"], answer["sha256"]) == (link.kind.bulk, digest.hexdigest())


def test_bulk_in(link: KindLink) -> None:
    peer = link.peer("source", "listen", KERNEL, 7000, link.kind.bulk)
    peer.line()
    with link.ours() as sock:
        sock.connect((KERNEL, 7000))
        got = receive_hash(sock)
    answer = peer.json()
    print(gbits(answer))
    assert got == (link.kind.bulk, answer["sha256"])


def gbits(answer: dict[str, float]) -> str:
    return f"{answer['bytes'] * 8 / answer['seconds'] / 1e9:.2f} Gbit/s"


def test_a_hundred_connections_out(link: KindLink) -> None:
    """All are open at once; each sends its own line, and gets it back."""
    peer = link.peer("echo", KERNEL, 7000, CONNECTIONS)
    peer.line()
    socks = [link.ours() for _ in range(CONNECTIONS)]
    for sock in socks:
        sock.connect((KERNEL, 7000))
    for i, sock in enumerate(socks):
        sock.sendall(b"line %03d" % i)
    for i, sock in enumerate(socks):
        assert receive_exactly(sock, 8) == b"line %03d" % i
    for sock in socks:
        sock.close()
    assert peer.json() == {"accepted": CONNECTIONS, "peak": CONNECTIONS, "bytes": 800}


def test_a_hundred_connections_in(link: KindLink) -> None:
    listener = link.our_listener(7000, CONNECTIONS)
    peer = link.peer("crowd", OURS, 7000, CONNECTIONS, 50)
    socks = [link.keep(listener.accept()[0]) for _ in range(CONNECTIONS)]
    assert re.search("100", peer.line())
    peer.say()
    for sock in socks:
        sock.sendall(receive_exactly(sock, 12))
    peer.line()
    peer.say()
    assert peer.json()["echoed"] == CONNECTIONS
    for sock in [*socks, listener]:
        sock.close()
