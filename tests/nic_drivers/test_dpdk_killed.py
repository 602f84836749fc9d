"""dpdk: the other end of a port is killed in the middle of a burst, in a process of its own."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import barewire
import pytest
from barewire.nic_drivers import Device, DeviceError, open_device

from tests.nic_drivers.dpdk_ports import frame, names, nap, open_ports, start_eal

pytestmark = pytest.mark.netns

PEER = """
import sys
from barewire.nic_drivers import open_device
with open_device(sys.argv[1] + "?hugepages=0") as device:
    print("open", flush=True)
    while True:
        device.rx()
        device.tx([bytes(range(60))] * 64)
"""


@pytest.fixture(scope="module", autouse=True)
def eal_runs(tmp_path_factory: pytest.TempPathFactory) -> None:
    start_eal(tmp_path_factory.mktemp("eal"))


@contextlib.contextmanager
def flooding(name: str, program: str = PEER) -> Iterator[subprocess.Popen[str]]:
    """A process with a port that sends as fast as it can; killed at the end."""
    command = [sys.executable, "-P", "-c", program, name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as peer:
        assert peer.stdout is not None
        try:
            assert peer.stdout.readline() == "open\n"
            yield peer
        finally:
            peer.kill()


def exchange(device: Device) -> None:
    """Until many frames went each way."""
    for _ in range(5000):
        device.rx()
        device.tx([frame(i) for i in range(8)])
        if min(device.stats["rx_frames"], device.stats["tx_frames"]) > 2000:
            return
        nap(0.001)
    raise AssertionError(f"{device.stats}")


def gone(device: Device) -> None:
    """Who uses it or waits for it gets ENETDOWN, soon."""
    with pytest.raises(DeviceError, match="is gone") as caught:
        for tick in range(1, 2000):
            device.rx()
            device.tx([frame(0)])
            device.arm(tick * 1_000_000_000)
            nap(0.001)
    assert caught.value.errno == errno.ENETDOWN


def goes_with(device: Device, peer: subprocess.Popen[str]) -> None:
    exchange(device)
    peer.kill()
    peer.wait()
    gone(device)


def descriptors() -> int:
    """Open ones, but for those that listen: DPDK keeps a net_memif server's (docs/devices.md)."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found += not os.readlink(f"/proc/self/fd/{name}").startswith("socket:") or not listens(
                int(name)
            )
    return found


def listens(fd: int) -> bool:
    twin = os.dup(fd)
    try:
        sock = socket.socket(fileno=twin)
    except OSError:  # one without a name, as XDP's
        os.close(twin)
        return False
    with sock:
        return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


@pytest.mark.parametrize("kind", ["memif", "vhost"])
def test_a_peer_killed_in_a_burst_takes_the_device_down_and_may_come_again(
    kind: str, tmp_path: Path
) -> None:
    """The server survives its client; nothing of the dead port is left open."""
    ours, theirs = names(kind, tmp_path)
    left = []
    for _ in range(3):
        with open_device(ours) as device:
            with flooding(theirs) as peer:
                goes_with(device, peer)
        assert open_ports() == 0
        left.append(descriptors())
    assert left[1] == left[2]


@pytest.mark.parametrize("kind", ["memif", "vhost"])
def test_a_server_killed_in_a_burst_takes_its_client_down(kind: str, tmp_path: Path) -> None:
    theirs, ours = names(kind, tmp_path)
    left = []
    for _ in range(3):
        with flooding(theirs) as peer, open_device(ours) as device:
            goes_with(device, peer)
        assert open_ports() == 0
        left.append(descriptors())
    assert left[1] == left[2]


STACK = """
import socket, sys, barewire
with barewire.Stack(sys.argv[1] + "?hugepages=0", addresses=["198.18.0.2/24"]) as stack:
    sock = stack.socket(type=socket.SOCK_DGRAM)
    sock.bind(("198.18.0.2", 7))
    print("open", flush=True)
    while True:
        sock.sendto(*sock.recvfrom(100))
"""


def answered(stack: barewire.Stack) -> None:
    """A datagram to the other end's stack comes back, once the two have found each other."""
    with stack.socket(type=socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.05)
        for _ in range(200):
            with contextlib.suppress(TimeoutError):
                sock.sendto(b"there?", ("198.18.0.2", 7))
                assert sock.recv(100) == b"there?"
                return
    raise AssertionError("no answer")


@pytest.mark.parametrize("kind", ["memif", "vhost"])
@pytest.mark.parametrize("server", [True, False])
def test_a_stack_whose_peer_was_killed_takes_it_again(
    kind: str, server: bool, tmp_path: Path
) -> None:
    """Who waits gets ENETDOWN; reattach() opens the port anew, and the next peer is there."""
    first, second = names(kind, tmp_path)
    ours, theirs = (first, second) if server else (second, first)
    with contextlib.ExitStack() as peers:
        if not server:
            peer = peers.enter_context(flooding(theirs, STACK))
        with barewire.Stack(ours, addresses=["198.18.0.1/24"]) as stack:
            for _ in range(2):
                if server:
                    peer = peers.enter_context(flooding(theirs, STACK))
                answered(stack)
                with stack.socket(type=socket.SOCK_DGRAM) as sock:
                    sock.settimeout(20)
                    sock.bind(("198.18.0.1", 9))
                    peer.kill()
                    peer.wait()
                    with pytest.raises(OSError) as caught:
                        sock.recv(1)
                    assert caught.value.errno == errno.ENETDOWN
                if not server:
                    peer = peers.enter_context(flooding(theirs, STACK))
                stack.reattach()
                assert stack.interfaces[1].up
            if not server:
                answered(stack)
    assert open_ports() == 0
