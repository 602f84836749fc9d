"""dpdk in processes of its own: what EAL leaves alone, and two processes joined on huge pages."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.nic_drivers.huge_pages import huge_pages

pytestmark = pytest.mark.netns

MEMIF = "net_memif0,socket={},socket-abstract=no"
UNTOUCHED = """
import os
from barewire.nic_drivers import open_device

def state():
    with open("/proc/self/status") as status:
        sets = [line.split()[1] for line in status if line.startswith(("SigCgt", "SigIgn", "SigBlk"))]
    return os.sched_getaffinity(0), [int(word, 16) & 0x7FFFFFFF for word in sets]  # 32, 33: glibc's

before = state()
with open_device("dpdk:net_ring0?hugepages=0") as device:
    assert device.tx([bytes(60)]) == 1 and device.recv() == bytes(60)
    assert state() == before
"""

END = """
import select, sys
from barewire.nic_drivers import open_device
with open_device(sys.argv[1] + "?hugepages=1") as device:
    print("open", flush=True)
    frame, seen = bytes(range(60)), 0
    for _ in range(700):
        device.tx([frame])
        seen += sum(f.data == frame for f in device.rx())
        select.select([], [], [], 0.002)
    print(seen > 50, flush=True)
    sys.stdin.read()
"""


def test_the_process_is_left_as_it_was() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", UNTOUCHED], capture_output=True, text=True, timeout=20
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (MEMIF + ",role=server", MEMIF + ",role=client"),
        ("net_vhost0,iface={}", "net_virtio_user0,path={}"),
    ],
)  # fmt: skip
@pytest.mark.machine
def test_two_processes_on_huge_pages(first: str, second: str, tmp_path: Path) -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with huge_pages(130), contextlib.ExitStack() as stack:
        ends = []
        for name in (first, second):
            command = [sys.executable, "-P", "-c", END, "dpdk:" + name.format(tmp_path / "joint")]
            ends.append(stack.enter_context(subprocess.Popen(command, **pipes)))
            assert ends[-1].stdout.readline() == "open\n"
        for end in ends:
            assert end.stdout.readline() == "True\n"
        for end in ends:
            end.stdin.close()
            assert end.wait(10) == 0
