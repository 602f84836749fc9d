"""The rest of the contract, which only real devices have: what the kernel leaves undone in frames,
super-segments, its full rings, and what is left of a device that was closed."""

from __future__ import annotations

import gc
import os
import socket
from contextlib import closing

import pytest
from barewire.nic_drivers import RxFrame, TxFrame, available

from tests.nic_drivers.frames import (
    AWAY,
    CHECKSUM,
    HEADER,
    OURS,
    TCP,
    UDP,
    payloads,
    pseudo_sum,
    transport_sum,
    unfinished,
)
from tests.nic_drivers.kinds import KINDS, VIRTUAL, drivers, unsupported
from tests.nic_drivers.links import RealLink
from tests.nic_drivers.places import FAR_MAC, Place

pytestmark = pytest.mark.netns

UNKNOWN, VALID, PARTIAL = 0, 1, 2
MSS = 1000
PAYLOAD = b"".join(i.to_bytes(4, "big") for i in range(10 * MSS // 4))


# ---- every kind ----------------------------------------------------------------------------------


def test_every_kind_is_in_the_table() -> None:
    assert {info.kind for info in available()} == VIRTUAL | {k.registered for k in KINDS.values()}


def test_every_kind_that_this_machine_supports_is_available() -> None:
    reasons = {i.kind: i.reason for i in available() if not i.available}
    assert {kind: why for kind, why in reasons.items() if not unsupported(kind)} == {}


# ---- checksums and super-segments ----------------------------------------------------------------


def finished_or_said(link: RealLink, frame: RxFrame) -> None:
    """A frame's checksum is right, or the device says that it is not finished."""
    ip = frame.data[link.l2 :]
    ip = ip[: int.from_bytes(ip[2:4], "big")]
    at = 20 + CHECKSUM[ip[9]]
    if frame.csum == PARTIAL:
        assert "rx_csum" in link.device.cap_names
        assert int.from_bytes(ip[at : at + 2], "big") == pseudo_sum(ip)
    else:
        assert transport_sum(ip) == 0


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_an_unfinished_checksum_is_told(real: RealLink, kind: socket.SocketKind) -> None:
    """The kernel's own stack sends, with the offloads that the interface has."""
    for size in (1, 2, 1001):
        finished_or_said(real, real.kernel_sends(kind, (bytes(range(256)) * 4)[:size]))


@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_a_super_segment_out(real: RealLink, protocol: int) -> None:
    caps = real.device.cap_names
    assert bool(real.device.peek().tso_max) == bool({"tso4", "uso4"} & set(caps))
    if {TCP: "tso4", UDP: "uso4"}[protocol] not in caps:
        return  # and so nobody gives it one
    ip = unfinished(OURS, AWAY, protocol, PAYLOAD)
    head = real.l2 + 20 + HEADER[protocol]
    frame = real.ethernet + ip
    sent = TxFrame(
        [frame[:head], frame[head : head + 777], frame[head + 777 :]],
        csum_start=real.l2 + 20,
        csum_offset=CHECKSUM[protocol],
        gso_size=MSS,
    )
    assert real.device.tx([sent], real.now) == 1
    found: list[bytes] = []
    while len(payloads(found)) < len(PAYLOAD):
        more = real.end.received(1)
        assert more, "a part is missing"
        found += [seen.data[real.l2 :] for seen in more]
    assert payloads(found) == PAYLOAD


@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_a_super_segment_in(real: RealLink, protocol: int) -> None:
    """It comes whole to a device that says it takes such; any other gets its segments."""
    link = real.device.mac + FAR_MAC + b"\x08\x00" if real.l2 else b""
    frame = link + unfinished(AWAY, OURS, protocol, PAYLOAD)
    real.end.send(frame, gso_size=MSS, csum_offset=CHECKSUM[protocol])
    found: list[RxFrame] = []
    while len(payloads([f.data[real.l2 :] for f in found])) < len(PAYLOAD):
        found += real.delivered(1)
    assert payloads([f.data[real.l2 :] for f in found]) == PAYLOAD
    if "rx_gso" in real.device.cap_names and real.place.sends_whole:
        assert [f.gso_size for f in found] == [MSS] and found[0].csum != UNKNOWN
    else:
        assert [f.gso_size for f in found] == [0] * 10
        for f in found:
            finished_or_said(real, f)


# ---- bounds --------------------------------------------------------------------------------------


def test_a_full_receive_ring_drops_counts_and_recovers(place: Place) -> None:
    with closing(RealLink(place, place.small_ring)) as link:
        before = place.lost(link.device)
        frames = [link.answer(i, link.l2 + 1500) for i in range(4000)]
        link.sends(*frames)
        found = link.drained()
        assert 0 < len(found) < len(frames)
        rest = iter(frames)
        assert all(frame in rest for frame in found), "whole, and in their order"
        if before is not None:
            assert place.lost(link.device) - before >= len(frames) - len(found)
        link.sends(frames[0])
        assert [frame.data for frame in link.delivered(1)] == [frames[0]]


# ---- nothing is left -----------------------------------------------------------------------------


def held() -> tuple[int, int]:
    """Descriptors and pages of address space of this process."""
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as file:
        return len(os.listdir("/proc/self/fd")), int(file.read().split()[0])


@pytest.mark.parametrize("place", drivers(), indirect=True)
def test_opened_a_hundred_times_nothing_is_left(place: Place) -> None:
    """No descriptor, and less than a page each time: what the allocators keep is kept once."""
    for _ in range(20):
        place.open(place.small_ring).close()
    state, (descriptors, pages) = place.state(), held()
    for _ in range(80):
        place.open(place.small_ring).close()
    assert place.state() == state
    assert held()[0] == descriptors
    assert held()[1] - pages < 80


# ---- fork(2), as multiprocessing does it ---------------------------------------------------------


def descriptors() -> dict[int, str]:
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            found[int(fd)] = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue  # the listing's own
    return found


@pytest.mark.parametrize("place", [*drivers(), "uring-packet", "dpdk-memif"], indirect=True)
def test_a_forked_child_holds_nothing_that_the_parent_closes(place: Place) -> None:
    if place.device.startswith("callback"):
        return  # the interface is the tunnel's, and the tunnel the program's
    place.prepare()
    state, before = place.state(), descriptors()
    device = place.open()
    ours, theirs = os.pipe()
    told, goes = os.pipe()
    child = os.fork()
    if not child:
        os.close(goes)
        kept = [link for fd, link in descriptors().items() if fd not in before]
        os.write(theirs, "\n".join(kept).encode())
        os.close(theirs)
        os.read(told, 1)  # until the parent is done
        os._exit(0)
    os.close(theirs)
    try:
        with open(ours) as pipe:
            kept = pipe.read().split("\n")
        if not place.device.startswith("dpdk"):  # some of its own cannot be told from the program's
            assert not [link for link in kept if not link.startswith("pipe:")]
        device.arm()
        device.close()
        assert place.state() == state
        place.open().close()
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "the child lives on"
    finally:
        os.close(goes)
        os.close(told)
        os.waitpid(child, 0)
