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
def flooding(name: str) -> Iterator[subprocess.Popen[str]]:
    """A process with a port that sends as fast as it can; killed at the end."""
    command = [sys.executable, "-P", "-c", PEER, name]
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
    with socket.socket(fileno=os.dup(fd)) as sock:
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
                exchange(device)
                peer.kill()
                peer.wait()
                gone(device)
        assert open_ports() == 0
        left.append(descriptors())
    assert left[1] == left[2]


@pytest.mark.parametrize("kind", ["memif", "vhost"])
def test_a_server_killed_in_a_burst_takes_its_client_down(kind: str, tmp_path: Path) -> None:
    theirs, ours = names(kind, tmp_path)
    left = []
    for _ in range(3):
        with flooding(theirs) as peer, open_device(ours) as device:
            exchange(device)
            peer.kill()
            peer.wait()
            gone(device)
        assert open_ports() == 0
        left.append(descriptors())
    assert left[1] == left[2]
