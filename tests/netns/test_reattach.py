"""An interface is deleted under a stack; it returns, and the stack takes it again."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import barewire
import pytest
from barewire.nic_drivers import DeviceError
from barewire.tools import netns
from barewire.tools.netns import Namespace

from tests.kit.privilege import for_machine
from tests.netns.link import until

pytestmark = pytest.mark.netns

INTERFACES = ["packet:veth0", *for_machine("xdp:veth0", "xdp:veth0?mode=generic"), "uring:veth0",
              "uring:veth0?over=packet&dedicated=1"]  # fmt: skip
KERNEL, OURS = "198.18.0.1", "198.18.0.2"


class Wire:
    """A stack at the near end of a veth pair, the kernel at the far end."""

    def __init__(self, near: Namespace, far: Namespace) -> None:
        self.near, self.far = near, far
        self.create()

    def create(self) -> None:
        netns.veth(self.near, self.far, "198.18.1.1/24", f"{KERNEL}/24")

    def delete(self) -> None:
        ip("link", "del", "veth0")

    def answers(self) -> bool:
        command = ["ping", "-c1", "-W5", OURS]
        return self.far.run(command, check=False, capture_output=True).returncode == 0


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@pytest.fixture
def wire(make_netns: Callable[..., Namespace]) -> Iterator[Wire]:
    near, far = make_netns("near"), make_netns("far")
    for ns in (near, far):
        ns.sysctl("net.ipv6.conf.default.disable_ipv6", 1)
    with near.entered():
        yield Wire(near, far)


@contextmanager
def loses_its_interface(stack: barewire.Stack) -> Iterator[None]:
    """What is done takes the interface away: a call that waits then gets ENETDOWN."""
    with stack.socket(type=socket.SOCK_DGRAM) as sock:
        sock.settimeout(20)
        sock.connect((KERNEL, 9))
        yield
        with pytest.raises(OSError) as caught:
            sock.recv(1)
        assert caught.value.errno == errno.ENETDOWN
        until(lambda: not stack.interfaces[1].up, "the control plane knows")


def is_served(ns: Namespace, listener: barewire.socket.socket, port: int) -> None:
    """A client of the kernel's connects to the stack and hears from it."""
    with ns.socket() as client:
        client.settimeout(20)
        client.connect((OURS, port))
        server, _ = listener.accept()
        server.sendall(b"again")
        assert client.recv(10) == b"again"
        server.close()


@pytest.mark.parametrize("name", INTERFACES)
def test_an_interface_of_the_kernels(wire: Wire, name: str) -> None:
    with barewire.Stack(name, addresses=[f"{OURS}/24"], gateway=KERNEL) as stack:
        routes = stack.routes
        assert wire.answers()
        for _ in range(2):
            with loses_its_interface(stack):
                wire.delete()
            with pytest.raises(DeviceError) as caught:
                stack.reattach()
            assert caught.value.errno == errno.ENODEV
            wire.create()
            ip("link", "set", "veth0", "down")
            with pytest.raises(DeviceError) as caught:
                stack.reattach()
            assert caught.value.errno == errno.ENETDOWN
            ip("link", "set", "veth0", "up")
            stack.reattach("veth0")
            assert stack.interfaces[1].up and stack.routes == routes
            assert until(wire.answers, "the stack answers again")
        assert stack.interface_stats()["rx_frames"] > 0


def test_some_ports_of_the_kernels_address(wire: Wire) -> None:
    """The guard is a new one, for the interface as it is now."""
    ip("addr", "add", f"{OURS}/24", "dev", "veth0")
    with (
        barewire.Stack("raw:veth0", addresses=[f"{OURS}/24"]) as stack,
        stack.create_server((OURS, 61_000)) as listener,
    ):
        for _ in range(2):
            with loses_its_interface(stack):
                wire.delete()
            wire.create()
            ip("addr", "replace", f"{OURS}/24", "dev", "veth0")
            stack.reattach()
            is_served(wire.far, listener, 61_000)


def test_a_device_that_leaves_other_ports_is_not_the_same(wire: Wire) -> None:
    ip("addr", "add", f"{OURS}/24", "dev", "veth0")
    with barewire.Stack("raw:veth0", addresses=[f"{OURS}/24"]) as stack:
        with loses_its_interface(stack):
            wire.delete()
        wire.create()
        ip("addr", "add", f"{OURS}/24", "dev", "veth0")
        with pytest.raises(OSError, match=r"leaves other ports than .*61000, 65535") as caught:
            stack.reattach(device="raw:veth0?ports=62000")
        assert caught.value.errno == errno.EINVAL
        stack.reattach()
        assert stack.interfaces[1].up


@pytest.mark.parametrize("name", ["tap:tap0", "tap:tap0?queues=2", "uring:tap0?dedicated=1"])
def test_a_tap_interface(ns: Namespace, name: str) -> None:
    with ns.entered():
        name += f"{'&' if '?' in name else '?'}host={KERNEL}/24"
        with barewire.Stack(name, addresses=[f"{OURS}/24"]) as stack:
            listener = stack.create_server((OURS, 80))
            for _ in range(3):
                with loses_its_interface(stack):
                    ip("link", "del", "tap0")
                stack.reattach()
                is_served(ns, listener, 80)
            listener.close()


def test_a_tap_interface_that_is_down_for_a_while_is_not_gone(ns: Namespace) -> None:
    with ns.entered(), barewire.Stack("tap:tap0", addresses=[f"{OURS}/24"]) as stack:
        ip("addr", "add", f"{KERNEL}/24", "dev", "tap0")
        ip("link", "set", "tap0", "down")
        ip("link", "set", "tap0", "up")
        assert ns.run(["ping", "-c1", "-W5", OURS], capture_output=True).returncode == 0
        with pytest.raises(OSError, match="not gone"):
            stack.reattach()


def refused_until(
    wire: Wire, name: str, number: int, cure: list[str], cause: list[str] | None = None
) -> None:
    """A stack whose address the kernel refuses stays without its device, and takes it later."""
    with barewire.Stack(name, addresses=[f"{OURS}/24"]) as stack:
        addresses = stack.addresses
        with loses_its_interface(stack):
            wire.delete()
        wire.create()
        if cause:
            ip(*cause)
        held = []
        for _ in range(2):
            with pytest.raises(OSError, match="one of the stack's addresses") as caught:
                stack.reattach()
            assert caught.value.errno == number and not stack.interfaces[1].up
            held.append(len(os.listdir("/proc/self/fd")))
        assert held[0] == held[1]
        ip(*cure)
        stack.reattach()
        assert stack.interfaces[1].up and stack.addresses == addresses


def test_a_raw_device_whose_address_the_kernel_lost(wire: Wire) -> None:
    """The interface as it comes back has none."""
    own = ["addr", "add", f"{OURS}/24", "dev", "veth0"]
    ip(*own)
    refused_until(wire, "raw:veth0", errno.EADDRNOTAVAIL, cure=own)


@pytest.mark.parametrize("kind", ["packet", "uring", *for_machine("xdp")])
def test_a_shared_address_that_the_kernel_took(wire: Wire, kind: str) -> None:
    own = [f"{OURS}/24", "dev", "veth0"]
    cause, cure = ["addr", "add", *own], ["addr", "del", *own]
    refused_until(wire, f"{kind}:veth0?share=address", errno.EADDRINUSE, cure, cause)
