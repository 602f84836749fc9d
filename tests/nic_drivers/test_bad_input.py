"""What every kind of device says to bad input: one sentence, the right number, and nothing is left."""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest
from barewire.nic_drivers.libraries import LIBRARIES

from tests.nic_drivers.kinds import KINDS, unsupported
from tests.nic_drivers.places import Place, VethPlace

pytestmark = pytest.mark.netns

COMMANDS = Path(__file__).with_name("three_commands.py")

# Kinds of devices; {} is the interface's name.
TAKERS = {
    "packet": "packet:{}",
    "xdp": "xdp:{}",
    "uring-packet": "uring:{}?over=packet",
    "raw": "raw:{}?ports=61000-65535",
    "dpdk-packet": "dpdk:net_af_packet0,iface={}",
    "dpdk-xdp": "dpdk:net_af_xdp0,iface={}",
}
MAKERS = {
    "tap": "tap:{}",
    "uring-tap": "uring:{}?over=tap",
    "dpdk-tap": "dpdk:net_tap0,iface={}",
}
DEVICES = TAKERS | MAKERS


# ---- what is wrong with the interface, or with the machine ---------------------------------------


@contextmanager
def down(place: Place) -> Iterator[None]:
    place.ip("link", "set", place.own, "down")
    try:
        yield
    finally:
        place.ip("link", "set", place.own, "up")


@contextmanager
def large(place: Place) -> Iterator[None]:
    place.ip("link", "set", place.own, "mtu", "16000")
    try:
        yield
    finally:
        place.ip("link", "set", place.own, "mtu", "1500")


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


@contextmanager
def no_huge_pages(_: Place) -> Iterator[None]:
    """This process holds all that are free (none, on most machines), without touching them."""
    with ExitStack() as stack:
        try:
            while True:
                flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000  # MAP_HUGETLB
                stack.enter_context(mmap.mmap(-1, 2 << 20, flags=flags))
        except OSError:
            yield


# ---- the table -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mistake:
    """How a device of a kind is refused: its errno, and a regular expression of what is said. It is
    on `interface`, or makes that."""

    kind: str
    number: int
    sentence: str
    options: str = ""
    interface: str = "veth0"

    @property
    def device(self) -> str:
        name = DEVICES[self.kind].format(self.interface)
        mark = "&" if "?" in name else "?"
        return name + (mark + self.options if self.options else "")


QUEUES = {
    "packet": "device packet:veth0.queue=7: .*give queue= and queues= together",
    "uring-packet": "device uring:veth0.over=packet.queue=7: .*give queue= and queues= together",
    "uring-tap": "option queue of uring:new0 is not for over=tap",
    "xdp": "veth0 has no queue 7: take one of those that `ethtool -l veth0` shows",
    "dpdk-packet": "port net_af_packet0 has 1 of the 8 queues asked for: .*qpairs=8",
    "dpdk-xdp": "port net_af_xdp0 has 1 of the 8 queues asked for: .*queue_count=8",
    "tap": "option queue=7 of device tap:new0.*: use queues= alone",
}
MTUS = {
    "xdp": "the MTU of veth0 is 16000, and XDP devices carry at most .*: lower it",
    "dpdk-packet": "port net_af_packet0 carries an MTU of at most 1500, not 16000: lower that",
    "dpdk-xdp": "port net_af_xdp0 carries an MTU of at most [0-9]+, not 16000: lower that",
}
PERMISSION = {
    "packet": "open a packet socket: .*CAP_NET_RAW",
    "xdp": "open XDP sockets: .*CAP_NET_RAW and CAP_BPF",
    "uring-packet": "open a packet socket: .*CAP_NET_RAW",
    "raw": "open raw sockets: .*CAP_NET_RAW",
    "dpdk-packet": "open port net_af_packet0: .*CAP_NET_ADMIN and CAP_NET_RAW",
    "dpdk-xdp": "open port net_af_xdp0: .*CAP_NET_ADMIN and CAP_NET_RAW",
    "tap": "create or attach tap interface new0: .*CAP_NET_ADMIN",
    "uring-tap": "create or attach tap interface new0: .*CAP_NET_ADMIN",
    "dpdk-tap": "open port net_tap0: .*CAP_NET_ADMIN",
}
HUGE = ("xdp", "uring-packet", "uring-tap", "dpdk-packet", "dpdk-xdp", "dpdk-tap")


def own(kind: str) -> str:
    return "veth0" if kind in TAKERS else "new0"


def plain(kind: str) -> Iterator[Mistake]:
    """With an interface and a machine that are as they should be."""
    name = DEVICES[kind].format(own(kind)).partition("?")[0]
    unknown = f"unknown option 'nonsense' of device {name}: known are "
    ring = f"{'unknown' if kind == 'tap' else 'option ring=7 of device ' + name}.*"
    yield Mistake(kind, errno.EINVAL, unknown, "nonsense=1", own(kind))
    yield Mistake(kind, errno.EINVAL, ring, "ring=7", own(kind))
    if kind in QUEUES:
        yield Mistake(kind, errno.EINVAL, QUEUES[kind], "queue=7", own(kind))
    if kind in TAKERS:
        sentence = "there is no interface 'nowhere' here"
        yield Mistake(kind, errno.ENODEV, sentence, interface="nowhere")


def refused(
    place: Place,
    mistakes: list[Mistake],
    wrong: Callable[[Place], AbstractContextManager[object]] = nullcontext,
    prefix: tuple[str, ...] = (),
) -> None:
    """None of the devices opens, neither in a program nor on the command line: status 2 and one
    line that says it; and nothing has changed."""
    command = [*prefix, sys.executable, "-P", str(COMMANDS), *(m.device for m in mistakes)]
    with wrong(place):
        before = place.state(), place.near.links()
        done = place.near.run(command, capture_output=True, text=True, check=False, timeout=30)
        assert (place.state(), place.near.links()) == before
    assert done.returncode == 0 and done.stderr == "", done.stderr
    for mistake, answer in zip(mistakes, json.loads(done.stdout), strict=True):
        assert (answer["errno"], answer["left"]) == (mistake.number, 0), (mistake, answer)
        for command, status, out, err in answer["said"]:
            assert (status, out) == (2, "") and err.count("\n") == 1, (mistake, answer)
            assert re.match(f"barewire {command}: {mistake.sentence}", err), (mistake, answer)


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    made = VethPlace("packet:veth0")
    made.prepare()
    yield made
    made.close()


def here(kinds: Iterable[str]) -> list[str]:
    return [kind for kind in kinds if not unsupported(DEVICES[kind].partition(":")[0])]


def test_every_kind_is_in_the_table() -> None:
    """Those of other test files: callback (Python's own), and what is no real device."""
    table = {DEVICES[kind].partition(":")[0] for kind in DEVICES}
    assert table == {kind.registered for kind in KINDS.values()} - {"callback"}
    assert set(PERMISSION) == set(DEVICES)


@pytest.mark.parametrize("kind", here(DEVICES))
def test_options_queues_and_an_interface_that_does_not_exist(kind: str, place: Place) -> None:
    refused(place, list(plain(kind)))


@pytest.mark.parametrize("kind", here(TAKERS))
def test_an_interface_that_is_down(kind: str, place: Place) -> None:
    sentence = "interface veth0 is down: bring it up"
    refused(place, [Mistake(kind, errno.ENETDOWN, sentence)], down)


@pytest.mark.parametrize("kind", here(MTUS))
def test_an_mtu_that_the_mode_cannot_carry(kind: str, place: Place) -> None:
    refused(place, [Mistake(kind, errno.EINVAL, MTUS[kind])], large)


@pytest.mark.parametrize("kind", here(["xdp"]))
def test_an_interface_with_another_xdp_program(kind: str, place: Place) -> None:
    sentence = "interface veth0 has an XDP program already: take it off first"
    refused(place, [Mistake(kind, errno.EBUSY, sentence)], another_program)


@pytest.mark.parametrize("kind", here(PERMISSION))
def test_no_permission(kind: str, place: Place) -> None:
    """A user namespace that maps nobody has no capability over the network namespace."""
    sentence = f"no permission to {PERMISSION[kind]}"
    mistake = Mistake(kind, errno.EPERM, sentence, interface=own(kind))
    refused(place, [mistake], prefix=("unshare", "-U"))


@pytest.mark.parametrize("kind", here(HUGE))
def test_no_huge_pages(kind: str, place: Place) -> None:
    sentence = r".*huge pages.*reserve them with .sysctl vm\.nr_hugepages="
    mistake = Mistake(kind, errno.ENOMEM, sentence, "hugepages=1", own(kind))
    refused(place, [mistake], no_huge_pages)


@pytest.mark.parametrize("kind", here(["dpdk-tap"]))
def test_more_queues_than_there_is_memory_for(kind: str, place: Place) -> None:
    sentence = "no memory for .* of port net_tap0 with 8 queues: use fewer, .*huge pages$"
    refused(place, [Mistake(kind, errno.ENOMEM, sentence, "queue=7", "new0")])


# ---- the libraries -------------------------------------------------------------------------------

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
