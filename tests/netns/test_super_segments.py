"""TAP's segmentation offloads: what travels whole between the stack and the kernel, and what the
faults between them see."""

from __future__ import annotations

import socket
import struct

import pytest
from barewire import Batch

from tests.netns.link import Link, Thread, pattern, receive_exactly

pytestmark = pytest.mark.netns

MB = 1 << 20
UDP_SEGMENT = 103  # linux/udp.h
BULK = pattern(8 * MB)
SEGMENTS = len(BULK) // 1460


def bulk_both_ways(link: Link) -> dict[str, int]:
    """8 MB each way, compared; the device's counters afterwards."""
    ours, kernels = link.tcp("we connect")
    sending = Thread(ours.sendall, BULK)
    assert receive_exactly(kernels, len(BULK)) == BULK
    sending.result()
    sending = Thread(kernels.sendall, BULK)
    assert receive_exactly(ours, len(BULK)) == BULK
    sending.result()
    return dict(link.stack.interface_stats())


def test_tcp_travels_in_super_segments_both_ways(link):
    stats = bulk_both_ways(link)
    assert stats["tx_frames"] < SEGMENTS / 4 and stats["rx_frames"] < SEGMENTS, stats
    assert stats["rx_dropped"] == stats["tx_dropped"] == 0


@pytest.mark.parametrize("option", ["gso", "offload", "vnet"])
def test_without_them_each_frame_fits_the_mtu(make_link, option):
    stats = bulk_both_ways(make_link(device=f"{option}=0"))
    assert stats["tx_frames"] > SEGMENTS and stats["rx_frames"] > SEGMENTS, stats
    assert stats["rx_dropped"] == 0


def test_faults_see_the_segments_that_a_super_segment_stands_for(make_link):
    link = make_link(device="loss=1%&reorder=1%&duplicate=1%&corrupt=1%&seed=7")
    stats, counters = bulk_both_ways(link), link.device.counters
    assert stats["rx_frames"] > SEGMENTS and stats["tx_frames"] > SEGMENTS, stats
    for fault in ("lost", "reordered", "duplicated", "corrupted"):
        assert counters[f"fault.rx.{fault}"] > SEGMENTS / 200, counters
    assert counters["fault.rx.no_room"] == 0


@pytest.mark.parametrize("device", ["", "delay=1ms", "gso=0"])
def test_datagrams_leave_whole_where_the_kernel_cuts_them(make_link, device):
    link = make_link(device=device)
    ours, kernels = link.udp()
    payload, batch = pattern(20_500), Batch(64, 100)
    ours.sendto(b"first", kernels.getsockname())  # the neighbour is known now
    assert kernels.recvfrom(4000)[0] == b"first"
    before = link.stack.interface_stats()["tx_frames"]
    ours.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
    ours.sendto(payload, kernels.getsockname())
    for i in range(64):
        batch[i] = b"%100d" % i
    batch.set_address(kernels.getsockname())
    assert ours.send_batch(batch) == 64
    got = [kernels.recvfrom(4000)[0] for _ in range(21 + 64)]
    assert got[:21] == [payload[at : at + 1000] for at in range(0, 20_500, 1000)]
    assert got[21:] == [b"%100d" % i for i in range(64)]
    frames = link.stack.interface_stats()["tx_frames"] - before
    assert frames >= 21 + 64 if device else frames < 10, "2, and an ARP packet now and then"


@pytest.mark.parametrize("wrapped", ["", "delay=1ms"])
def test_datagrams_that_the_kernel_has_merged_arrive_one_by_one(make_link, wrapped):
    link = make_link(device=wrapped)
    ours, kernels = link.udp()
    kernels.setsockopt(socket.SOL_UDP, UDP_SEGMENT, struct.pack("i", 1000))
    payload = pattern(20_500)
    kernels.sendto(b"first", ours.getsockname())  # the neighbour is known now
    assert ours.recvfrom(4000)[0] == b"first"
    before = link.stack.interface_stats()["rx_frames"]
    kernels.sendto(payload, ours.getsockname())
    got = [ours.recvfrom(4000) for _ in range(21)]
    frames = link.stack.interface_stats()["rx_frames"] - before
    assert [data for data, _ in got] == [payload[at : at + 1000] for at in range(0, 20_500, 1000)]
    assert {address for _, address in got} == {kernels.getsockname()}
    assert frames >= 21 if wrapped else frames < 10, "1, and what else the kernel has to say"
