"""An interface goes down for a while under a stack, and under the kernel's own sockets beside it.

Linux withdraws the routes of an interface that is down and leaves its connections alone: their timers decide.
"""

from __future__ import annotations

import errno
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import barewire
import pytest
from barewire.tools import netns
from barewire.tools.netns import Namespace

from tests.kit.privilege import for_machine
from tests.netns.link import PATIENCE, Thread, until
from tests.nic_drivers.kinds import start_eal

pytestmark = pytest.mark.netns

DOWN = 0.5  # seconds
PART = bytes(range(256)) * 256
KERNEL, OURS, BESIDE = "198.18.0.1", "198.18.0.2", "198.18.0.3"
KINDS = [
    "packet:veth0",
    "packet:veth0?rx=block",
    "uring:veth0?over=packet",
    "uring:veth0?over=packet&dedicated=1",
    "raw:veth0",
    "dpdk:net_af_packet0,iface=veth0",
    *for_machine("xdp:veth0", "xdp:veth0?mode=generic", "dpdk:net_af_xdp0,iface=veth0"),
]


@pytest.fixture(scope="module", autouse=True)
def what_stays() -> None:
    """DPDK's threads, which no test leaves behind."""
    start_eal()


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@pytest.fixture
def far(make_netns: Callable[..., Namespace]) -> Iterator[Namespace]:
    near, far = make_netns("near"), make_netns("far")
    for ns in (near, far):
        ns.sysctl("net.ipv6.conf.default.disable_ipv6", 1)
    netns.veth(near, far, f"{BESIDE}/24", f"{KERNEL}/24")
    far.finish_checksums("veth0")
    with near.entered():
        yield far


class Talk:
    """One connection, and two UDP sockets: the stack's (`make` is its socket method) or the kernel's."""

    def __init__(self, far: Namespace, make: Callable[..., Any], port: int) -> None:
        with far.socket() as listener:
            listener.bind((KERNEL, port))
            listener.listen()
            self.client = make(socket.AF_INET, socket.SOCK_STREAM)
            self.client.settimeout(PATIENCE)
            self.client.connect((KERNEL, port))
            self.far, _ = listener.accept()
        self.far.settimeout(PATIENCE)
        self.waits, self.sends = (make(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        self.waits.settimeout(PATIENCE)
        for udp in (self.waits, self.sends):
            udp.connect((KERNEL, 9))
        self.make, self.port, self.enough = make, port, False

    def send(self) -> int:
        sent = 0
        while not self.enough:
            self.client.sendall(PART)
            sent += len(PART)
        self.client.shutdown(socket.SHUT_WR)
        return sent

    def receive(self) -> int:
        received, part = 0, bytearray(1 << 16)
        while n := self.far.recv_into(part):
            received += n
        return received

    def sending(self) -> str:
        return errno_of(self.sends.send, b"x")

    def answers_while_down(self) -> list[str]:
        with self.make(socket.AF_INET, socket.SOCK_STREAM) as other:
            other.settimeout(PATIENCE)
            return [
                self.sending(),
                errno_of(self.sends.sendto, b"x", (KERNEL, 9)),
                errno_of(other.connect, (KERNEL, self.port)),
            ]

    def close(self) -> None:
        for sock in (self.client, self.far, self.waits, self.sends):
            sock.close()


def errno_of(call: Callable[..., Any], *arguments: Any) -> str:
    try:
        call(*arguments)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return ""


@pytest.mark.parametrize("name", KINDS)
def test_a_transfer_outlives_it_as_the_kernels_own_does(far: Namespace, name: str) -> None:
    """net_af_xdp takes all frames of the interface: there the kernel has no sockets beside the stack's."""
    ours = BESIDE if name.startswith("raw") else OURS
    with barewire.Stack(name, addresses=[f"{ours}/24"]) as stack:
        talks = [Talk(far, stack.socket, 7001)]
        if "net_af_xdp" not in name:
            talks.append(Talk(far, socket.socket, 7002))
        waiting = [Thread(talk.waits.recv, 100) for talk in talks]
        receiving = [Thread(talk.receive) for talk in talks]
        sending = [Thread(talk.send) for talk in talks]
        ip("link", "set", "veth0", "down")
        until(lambda: talks[0].sending(), "the stack has seen it")
        assert not stack.interfaces[1].up and not stack.interfaces[1].gone
        answers = [talk.answers_while_down() for talk in talks]
        time.sleep(DOWN)  # the kernel's clock is the wall's
        ip("link", "set", "veth0", "up")
        for talk in talks:
            talk.enough = True
        for sender, receiver in zip(sending, receiving, strict=True):
            assert sender.result() == receiver.result()
        assert answers == [["ENETUNREACH"] * 3] * len(talks)
        for talk, thread in zip(talks, waiting, strict=True):
            with far.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
                peer.bind((KERNEL, 9))
                peer.sendto(b"still here", talk.waits.getsockname())
                assert thread.result() == b"still here"
            talk.close()
        assert stack.interfaces[1].up
        assert stack.interface_stats()["tx_frames"] > 0
