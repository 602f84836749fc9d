"""What a stack costs that has nothing to do: CPU time, which a busy machine does not stretch."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import barewire
import pytest
from barewire.tools import netns
from barewire.tools.netns import Namespace

from tests.kit.privilege import for_machine

pytestmark = pytest.mark.netns

STACK, KERNEL = "198.18.0.2", "198.18.1.1"
DEVICES = ["tap:bw0?host=198.18.0.1/24", "tap:bw0?host=198.18.0.1/24&queues=2", "packet:veth0",
           "packet:veth0?rx=block", *for_machine("xdp:veth0"), "uring:bw0", "uring:veth0",
           "uring:bw0?dedicated=1", "pipe:idle", "raw:veth0",
           "callback:tests.nic_drivers.tunnels:tap?argument=bw0"]  # fmt: skip
SPAN = 1.0  # seconds
MOST = 0.01  # of a core


@pytest.fixture
def inside(make_netns: Callable[..., Namespace]) -> Iterator[None]:
    """A namespace with one end of a veth pair, and nobody who talks."""
    near, far = make_netns("near"), make_netns("far")
    for ns in (near, far):
        ns.sysctl("net.ipv6.conf.default.disable_ipv6", 1)
    netns.veth(near, far, f"{KERNEL}/24", "198.18.1.2/24")
    with near.entered():
        yield


def address(name: str) -> str:
    """The stack's: over raw it is the kernel's own."""
    return KERNEL if name.startswith("raw") else STACK


def cost(wait: Callable[[float], object]) -> float:
    """CPU seconds a second of the whole process, once all has calmed down."""
    wait(0.1)
    before, begin = time.process_time(), time.monotonic()
    wait(SPAN)
    return (time.process_time() - before) / (time.monotonic() - begin)


@pytest.mark.parametrize("name", DEVICES)
def test_nobody_waits(inside: None, name: str) -> None:
    with barewire.Stack(name, addresses=[f"{address(name)}/24"]):
        assert cost(time.sleep) < MOST


@pytest.mark.parametrize("name", DEVICES)
def test_a_call_waits(inside: None, name: str) -> None:
    with barewire.Stack(name, addresses=[f"{address(name)}/24"]) as stack:
        sock = stack.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((address(name), 61000))

        def receive(seconds: float) -> None:
            sock.settimeout(seconds)
            with pytest.raises(TimeoutError):
                sock.recv(1)

        assert cost(receive) < MOST
        sock.close()
