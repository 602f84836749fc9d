"""What every kind of device says to bad input: one sentence, the right number, and nothing is left."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from barewire.nic_drivers import DeviceError, open_device
from barewire.nic_drivers.libraries import LIBRARIES
from barewire.tools.netns import Namespace

from tests.nic_drivers.frames import OURS
from tests.nic_drivers.kinds import KINDS, drivers, supported
from tests.nic_drivers.places import KERNEL, Place

pytestmark = pytest.mark.netns

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
XDP = [name for name in supported() if supported()[name].registered == "xdp"][:1]
TAKERS = [name for name, kind in supported().items() if kind.takes_an_interface]
HUGE = [name for name, kind in supported().items() if kind.huge_pages]
PRIVILEGED = [name for name in drivers() if supported()[name].privileged]
QUEUES = [name for name, kind in supported().items() if kind.queues]


def refused(place: Place, device: str, number: int, sentence: str) -> None:
    """The device does not open, in a program and on the command line, and nothing has changed."""
    state, descriptors = place.state(), os.listdir("/proc/self/fd")
    with place.near.entered(), pytest.raises(DeviceError, match=sentence) as caught:
        open_device(device).close()
    assert caught.value.errno == number
    assert len(os.listdir("/proc/self/fd")) == len(descriptors)
    assert place.state() == state
    said = on_the_command_line(place.near, device)
    assert str(caught.value) in said
    assert place.state() == state


def on_the_command_line(ns: Namespace, device: str, *prefix: str) -> str:
    """What `barewire ping` prints that cannot open a device: one line."""
    words = ["ping", "--device", device, "--address", f"{OURS}/24", "-c", "1", KERNEL]
    command = [*prefix, sys.executable, "-P", "-m", "barewire", *words]
    done = ns.run(command, capture_output=True, text=True, check=False, timeout=20, env=ENVIRONMENT)
    assert done.returncode == 2 and done.stdout == "", done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith("barewire ping: ")
    return str(line)


# ---- the interface -------------------------------------------------------------------------------


@pytest.mark.parametrize("place", TAKERS, indirect=True)
def test_an_interface_that_does_not_exist(place: Place) -> None:
    place.prepare()
    name = place.name().replace(place.own, "nowhere")
    refused(place, name, errno.ENODEV, "there is no interface 'nowhere'")


@pytest.mark.parametrize("place", TAKERS, indirect=True)
def test_an_interface_that_is_down(place: Place) -> None:
    place.prepare()
    place.ip("link", "set", place.own, "down")
    try:
        refused(place, place.name(), errno.ENETDOWN, f"interface {place.own} is down: bring it up")
    finally:
        place.ip("link", "set", place.own, "up")


@pytest.mark.parametrize("place", QUEUES, indirect=True)
def test_an_interface_with_too_few_queues(place: Place) -> None:
    place.prepare()
    refused(place, place.name("queue=7"), errno.EINVAL, "queue 7")


@pytest.mark.parametrize("place", XDP, indirect=True)
def test_an_mtu_that_the_mode_cannot_carry(place: Place) -> None:
    place.prepare()
    place.ip("link", "set", place.own, "mtu", "16000")
    try:
        refused(place, place.name(), errno.EINVAL, "the MTU of veth0 is 16000, and XDP devices")
    finally:
        place.ip("link", "set", place.own, "mtu", "1500")


# ---- another XDP program -------------------------------------------------------------------------

_SYS_BPF = 321
_PROG_LOAD, _LINK_CREATE, _TYPE_XDP, _ATTACH_XDP = 5, 28, 6, 37


def bpf(command: int, attributes: bytes) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    block = ctypes.create_string_buffer(attributes, 128)
    fd = libc.syscall(_SYS_BPF, command, block, 128)
    assert fd >= 0, os.strerror(ctypes.get_errno())
    return int(fd)


@contextmanager
def another_program(place: Place) -> Iterator[None]:
    """A program that passes everything, attached to the near side's interface (bpf(2))."""
    code = ctypes.create_string_buffer(bytes.fromhex("b7000000020000009500000000000000"))
    text = ctypes.create_string_buffer(b"GPL")
    words = [_TYPE_XDP | 2 << 32, ctypes.addressof(code), ctypes.addressof(text)]
    program = bpf(_PROG_LOAD, b"".join(word.to_bytes(8, "little") for word in words))
    with place.near.entered():
        index = socket.if_nametoindex(place.own)
        words = [program | index << 32, _ATTACH_XDP]
        link = bpf(_LINK_CREATE, b"".join(word.to_bytes(8, "little") for word in words))
    try:
        yield
    finally:
        os.close(link)
        os.close(program)


@pytest.mark.parametrize("place", XDP, indirect=True)
def test_an_interface_with_another_xdp_program(place: Place) -> None:
    place.prepare()
    with another_program(place):
        sentence = "interface veth0 has an XDP program already: take it off first"
        refused(place, place.name(), errno.EBUSY, sentence)


# ---- the machine ---------------------------------------------------------------------------------


@pytest.mark.parametrize("place", PRIVILEGED, indirect=True)
def test_no_permission(place: Place) -> None:
    """A user namespace that maps nobody has no capability over the network namespace."""
    place.prepare()
    state = place.state()
    said = on_the_command_line(place.near, place.name(), "unshare", "-U")
    assert "permission" in said and "root" in said
    assert place.state() == state


@contextmanager
def no_huge_pages() -> Iterator[None]:
    """This process holds all that are free (none, on most machines), without touching them."""
    with ExitStack() as stack:
        try:
            while True:
                flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000  # MAP_HUGETLB
                stack.enter_context(mmap.mmap(-1, 2 << 20, flags=flags))
        except OSError:
            yield


@pytest.mark.parametrize("place", HUGE, indirect=True)
def test_no_huge_pages(place: Place) -> None:
    place.prepare()
    with no_huge_pages():
        refused(place, place.name("hugepages=1"), errno.ENOMEM, r"huge pages.*vm\.nr_hugepages=")


WITHOUT_LIBRARY = """
import sys
sys.modules[sys.argv[1]] = None
from barewire.nic_drivers import DeviceError, available, open_device
try:
    open_device(sys.argv[2])
except DeviceError as error:
    print(error.errno, error)
[info] = [info for info in available() if info.kind == sys.argv[3]]
print(info.available, info.reason)
"""


@pytest.mark.parametrize("kind", sorted({k.registered for k in KINDS.values()} & set(LIBRARIES)))
def test_a_missing_library(kind: str) -> None:
    """The kind is listed as missing, and says what to install; the others are there."""
    extension = f"barewire.{os.path.dirname(LIBRARIES[kind].build).replace('/', '.')}._{kind}"
    done = subprocess.run(
        [sys.executable, "-P", "-c", WITHOUT_LIBRARY, extension, f"{kind}:veth0", kind],
        capture_output=True, text=True, check=True, timeout=20,
    )  # fmt: skip
    first, second = done.stdout.splitlines()
    advice = f"install {' '.join(LIBRARIES[kind].packages)}"
    assert first.startswith(f"{errno.ENOTSUP} ") and advice in first
    assert second.startswith("False ") and advice in second
