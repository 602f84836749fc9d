"""How a stack's memory is mapped, and what devices are told of it."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest
from barewire import Stack
from barewire.nic_drivers import Faults, pipe_pair, with_faults, with_late, with_pcap

from .kit import A, B, Thread

SMALL = {"buffer_bytes": 1 << 20, "max_sockets": 64}


def mappings() -> Iterator[tuple[int, str, dict[str, str]]]:
    """Size in KiB, name and fields of each mapping of this process."""
    with open("/proc/self/smaps") as file:
        text = file.read()
    for part in re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", text):
        first, *lines = part.splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        yield int(fields["Size"].split()[0]), first.split(maxsplit=5)[-1], fields


def flags_of_arena(stack: Stack) -> tuple[str, list[str]]:
    """Name and VmFlags of the largest mapping that a fork does not copy."""
    _, name, fields = max(
        (m for m in mappings() if "dc" in m[2]["VmFlags"].split()), key=lambda m: m[0]
    )
    return name, fields["VmFlags"].split()


BIG = {"buffer_bytes": 8 << 30}  # reserved, not used: the largest there is


@pytest.mark.parametrize("memory", ["private", "shared", "huge"])
def test_the_arena_is_mapped_as_asked(memory: str) -> None:
    with Stack(memory=memory, **BIG) as stack:
        name, flags = flags_of_arena(stack)
        assert ("memfd:barewire" in name) == (memory == "shared")
        assert ("sh" in flags) == (memory == "shared")
        assert ("hg" in flags) == (memory == "huge")
        assert "lo" not in flags


@pytest.mark.machine
def test_locked_memory_is_locked_where_it_was_touched() -> None:
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit[1], limit[1]))
    try:
        with Stack(lock_memory=True, memory="shared", **SMALL):
            locked = [fields for _, name, fields in mappings() if "memfd:barewire" in name]
        assert len(locked) == 1
        assert "lo" in locked[0]["VmFlags"].split()
        assert int(locked[0]["Rss"].split()[0]) < int(locked[0]["Size"].split()[0])
    finally:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, limit)


def test_more_than_may_be_locked_is_said_in_a_sentence() -> None:
    without_capability = """
import ctypes, os, resource, sys
resource.setrlimit(resource.RLIMIT_MEMLOCK, (1 << 16, 1 << 16))
ctypes.CDLL(None).prctl(24, 14)  # PR_CAPBSET_DROP, CAP_IPC_LOCK: for root, from the next exec on
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
"""
    program = """
import barewire
try:
    barewire.Stack(lock_memory=True)
except OSError as error:
    print(error.strerror)
"""
    said = subprocess.run(
        [sys.executable, "-c", without_capability, program],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "RLIMIT_MEMLOCK" in said.stdout, said.stderr


def test_there_is_no_other_memory() -> None:
    with pytest.raises(ValueError, match="known are private, shared, huge"):
        Stack(memory="hugetlb")


# ---- devices -------------------------------------------------------------------------------------


def traffic(a: Stack, b: Stack) -> None:
    """Segments with and without payload, datagrams, echo, ARP is of layer 2."""
    with b.create_server((B, 7)) as server, a.create_connection((B, 7), timeout=30) as here:
        there, _ = server.accept()
        with there:
            sending = Thread(here.sendall, bytes(300_000))
            left = 300_000
            while left:
                left -= len(there.recv(1 << 16))
            sending.result()
    with a.socket(type=2) as one, b.socket(type=2) as two:
        two.bind((B, 9))
        one.settimeout(30)
        two.settimeout(30)
        sizes = (0, 1, 1400, 5000)  # the last in fragments

        def echo() -> None:
            for _ in (*sizes, 0):
                two.sendto(*two.recvfrom(9000))
            two.settimeout(0.01)
            with suppress(TimeoutError):
                two.recv(1)  # drives: late has the last one still

        echoing = Thread(echo)
        for size in sizes:
            one.sendto(bytes(size), (B, 9))
            assert len(one.recv(9000)) == size
        one.sendto(b"", (B, 10))  # unreachable
        one.sendto(b"", (B, 9))
        assert one.recv(1) == b""
        echoing.result()


@pytest.mark.parametrize("layer", [2, 3])
@pytest.mark.parametrize("memory", ["private", "shared"])
def test_every_piece_to_transmit_lies_in_registered_memory(layer: int, memory: str) -> None:
    one, two = pipe_pair(layer=layer)
    here, there = (
        with_late(one, max_delay=1000),
        with_pcap(with_late(two, max_delay=1000), "/dev/null"),
    )
    with (
        Stack(here, addresses=[f"{A}/24"], memory=memory) as a,
        Stack(there, addresses=[f"{B}/24"], memory=memory) as b,
    ):
        traffic(a, b)
        assert here.counters["late.taken"] > 10 and there.counters["late.taken"] > 10
        assert here.counters["late.outside"] == there.counters["late.outside"] == 0


def test_a_device_behind_one_that_makes_copies_is_told_of_no_memory() -> None:
    one, two = pipe_pair(layer=3)
    here, there = with_faults(with_late(one, max_delay=1000), Faults(delay=1000)), two
    with Stack(here, addresses=[f"{A}/24"]) as a, Stack(there, addresses=[f"{B}/24"]) as b:
        traffic(a, b)
        assert here.counters["late.taken"] > 10
        assert here.counters["late.outside"] == 0


def test_a_forked_child_has_no_descriptor_of_shared_memory() -> None:
    with Stack(memory="shared", **SMALL):

        def held() -> int:
            found = 0
            for fd in os.listdir("/proc/self/fd"):
                try:
                    found += "memfd:barewire" in os.readlink(f"/proc/self/fd/{fd}")
                except OSError:
                    pass
            return found

        assert held() == 1
        child = os.fork()
        if not child:
            os._exit(held())
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
