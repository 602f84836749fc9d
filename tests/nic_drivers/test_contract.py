"""The device contract (netdev.h), held by every device and every middleware around one."""

from __future__ import annotations

import errno
import itertools
import os
import select
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from barewire.nic_drivers import Device, DeviceError, TxFrame, pipe_pair

from tests.nic_drivers.links import LINKS, Link


@pytest.fixture(params=LINKS)
def link(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Link]:
    made = LINKS[request.param](tmp_path)
    yield made
    made.close()


def checksum(data: bytes) -> int:
    """RFC 1071, the slow way: zero for data with a right checksum in it."""
    data += b"\0" * (len(data) & 1)
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class TestFrames:
    def test_every_size_arrives_unchanged(self, link: Link) -> None:
        sizes = [1, 20, 59, 60, 63, 64, 65, 127, 1499, link.largest - 1, link.largest]
        frames = [link.frame(i, size) for i, size in enumerate(sizes)]
        assert link.device.tx(frames, link.now) == len(frames)
        assert link.received() == link.expected(frames)

    def test_both_directions(self, link: Link) -> None:
        frames = [link.frame(i) for i in range(3)]
        assert link.peer.tx(frames, link.now) == 3
        first = [frame.data for frame in link.device.rx(64, link.now)]
        link.settle()
        assert first + [frame.data for frame in link.device.rx(64, link.now)] == frames

    def test_nothing_there_is_an_empty_burst(self, link: Link) -> None:
        assert link.device.rx(64, link.now) == []
        assert link.device.recv(link.now) is None

    def test_a_burst_keeps_its_order_and_its_bound(self, link: Link) -> None:
        frames = [link.frame(i) for i in range(64)]
        for _ in range(2):
            assert link.device.tx(frames, link.now) == 64
        link.settle()
        first = [frame.data for frame in link.peer.rx(64, link.now)]
        assert len(first) == 64
        if link.ordered:
            assert first == frames
        assert sorted(first + link.received()) == sorted(frames * 2)

    def test_a_frame_in_pieces(self, link: Link) -> None:
        frame = link.frame(7, 1000)
        cuts = [0, 14, 15, 48, 49, 500, 501, 777, 900, 999, 1000]
        pieces = [frame[a:b] for a, b in itertools.pairwise(cuts)]
        assert link.device.tx([TxFrame(pieces)], link.now) == 1
        assert link.received() == [frame]

    @pytest.mark.parametrize("offset", [6, 16])  # UDP's, TCP's
    @pytest.mark.parametrize("cut", [0, 1, 2, 31, 32, 33, 64, 65, 299])
    def test_an_unfinished_checksum_is_finished(self, link: Link, cut: int, offset: int) -> None:
        frame = bytearray(link.frame(3, 400))
        start = 34
        pseudo = 0x1234
        frame[start + offset : start + offset + 2] = pseudo.to_bytes(2, "big")
        data = bytes(frame)
        pieces = [data[: start + offset + 2], data[start + offset + 2 :][:cut]]
        pieces.append(data[len(pieces[0]) + cut :])
        sent = TxFrame(pieces, csum_start=start, csum_offset=offset)
        assert link.device.tx([sent], link.now) == 1
        [got] = link.received()
        at = start + offset
        assert got[:at] == data[:at] and got[at + 2 :] == data[at + 2 :]
        # The finished field makes the sum with the pseudo-header come out even.
        assert checksum(got[start:] + pseudo.to_bytes(2, "big")) == 0

    def test_a_checksum_of_zero_is_sent_as_ffff(self, link: Link) -> None:
        frame = bytes(34) + b"\xff\xfe" + bytes(6) + b"\x00\x01" + bytes(18)
        assert link.device.tx([TxFrame([frame], csum_start=34, csum_offset=6)], link.now) == 1
        assert link.received()[0][40:42] == b"\xff\xff"

    def test_a_checksum_field_outside_the_frame_is_left_alone(self, link: Link) -> None:
        frame = link.frame(1, 60)
        assert link.device.tx([TxFrame([frame], csum_start=50, csum_offset=9)], link.now) == 1
        assert link.received() == [frame]

    def test_a_frame_too_long_is_dropped_and_counted_and_the_rest_goes_on(self, link: Link) -> None:
        huge = link.frame(1, link.largest + 5)
        frames = [link.frame(0), huge, link.frame(2)]
        before = lost(link.device)
        assert link.device.tx(frames, link.now) == 3
        assert link.received() == link.expected([frames[0], frames[2]])
        if (
            link.device.counters.get("late.taken") is None
            and "pcap.frames" not in link.device.counters
        ):
            assert lost(link.device) == before + 1


def lost(device: Device) -> int:
    return device.stats["tx_dropped"] + device.counters.get("fault.tx.no_room", 0)


class TestBounds:
    def test_a_full_ring_refuses_counts_and_recovers(self, link: Link) -> None:
        frames = [link.frame(i) for i in range(64)]
        taken = 0
        for _ in range(200):
            link.settle()
            taken += (n := link.device.tx(frames, link.now))
            if n < 64:
                break
        else:
            pytest.fail("no bound found")
        assert link.device.stats["tx_full"] == 1
        assert taken >= 512
        arrived = len(link.received())
        assert link.device.tx(frames, link.now) == 64, "there is room again"
        arrived += len(link.received())
        assert arrived == taken + 64

    def test_statistics(self, link: Link) -> None:
        sizes = [60, 100, 1000]
        link.device.tx([link.frame(i, n) for i, n in enumerate(sizes)], link.now)
        link.peer.tx([link.frame(i, n) for i, n in enumerate(sizes)], link.now)
        link.received()
        link.device.rx(64, link.now)
        link.settle()
        link.device.rx(64, link.now)
        stats = link.device.stats
        assert (stats["tx_frames"], stats["tx_bytes"]) == (3, 1160)
        assert (stats["rx_frames"], stats["rx_bytes"]) == (3, 1160)
        assert stats["rx_dropped"] == stats["tx_dropped"] == stats["tx_full"] == 0
        assert stats["wakeups"] >= 1

    def test_what_only_the_driver_counts_goes_through_middleware(self, link: Link) -> None:
        assert link.device.xstats == {}, "a pipe has none"


class TestArm:
    def test_idle_then_woken_then_idle(self, link: Link) -> None:
        armed = link.device.arm(link.now)
        assert not armed.ready and armed.events & select.POLLIN and armed.deadline is None
        assert not readable(armed.fd)
        assert link.peer.send(link.frame(1), link.now)
        assert readable(armed.fd), "a frame wakes the sleeper"
        assert link.device.arm(link.now).ready, "and is still work"
        while link.device.rx(64, link.now) or link.device.arm(link.now).deadline is not None:
            link.settle()
        armed = link.device.arm(link.now)
        assert not armed.ready and not readable(armed.fd), "the wake-up was taken back"

    def test_a_frame_before_arm_is_seen_by_arm(self, link: Link) -> None:
        assert link.peer.send(link.frame(1), link.now)
        assert link.device.arm(link.now).ready

    def test_who_does_not_sleep_costs_no_kick(self, link: Link) -> None:
        armed = link.device.arm(link.now)
        link.peer.send(link.frame(1), link.now)
        for _ in range(3):
            link.device.rx(64, link.now)
            link.settle()
        while link.device.arm(link.now).ready:
            link.device.rx(64, link.now)
        assert not readable(armed.fd)

    def test_waiting_for_room(self) -> None:
        a, b = pipe_pair(ring=4)
        with a, b:
            assert a.tx([b"x" * 60] * 5) == 4
            armed = a.arm(want_tx=True)
            assert not armed.ready and not readable(armed.fd)
            assert len(b.rx(2)) == 2
            assert not readable(armed.fd), "the frames are only lent"
            assert b.arm().ready, "their room is work left to do"
            assert len(b.rx()) == 2
            assert readable(armed.fd) and a.arm(want_tx=True).ready
            assert a.tx([b"x" * 60] * 5) == 2


class TestLife:
    def test_close_twice_and_no_descriptor_is_left(self, tmp_path: Path) -> None:
        before = len(os.listdir("/proc/self/fd"))
        for make in LINKS.values():
            made = make(tmp_path)
            assert len(os.listdir("/proc/self/fd")) > before
            made.close()
            made.close()
            assert len(os.listdir("/proc/self/fd")) == before

    def test_a_closed_device_says_so(self, link: Link) -> None:
        link.device.close()
        for use in (link.device.rx, link.device.arm, link.device.take, link.device.reclaim):
            with pytest.raises(DeviceError, match="closed or in use") as caught:
                use()
            assert caught.value.errno == errno.EBADF

    def test_taken_once(self, link: Link) -> None:
        netdev = link.device.take()
        with pytest.raises(DeviceError):
            link.device.take()
        link.device.close()  # not ours any more
        assert netdev.mtu == link.device.mtu
        netdev.close(netdev)
        assert all(isinstance(value, int) for value in link.device.counters.values())

    def test_descriptors_are_closed_on_exec(self, link: Link) -> None:
        assert not os.get_inheritable(link.device.arm(link.now).fd)

    def test_a_forked_child_can_do_nothing_and_closes_nothing(self, link: Link) -> None:
        child = os.fork()
        if not child:
            code = 1
            try:
                link.device.rx()
            except DeviceError as error:
                code = 0 if "fork" in str(error) else 2
            link.device.close()
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert link.device.tx([link.frame(1)], link.now) == 1
        assert link.received() == [link.frame(1)]

    def test_a_peer_that_closed_is_a_device_that_is_gone(self, link: Link) -> None:
        link.peer.tx([link.frame(1)], link.now)
        armed = link.device.arm(link.now + link.patience)
        link.peer.close()
        found = link.device.rx(64, link.now)
        link.settle()
        if not found:
            found = link.device.rx(64, link.now)
        assert [frame.data for frame in found] in ([link.frame(1)], [])
        assert armed.ready or readable(armed.fd)
        with pytest.raises(DeviceError, match="is gone") as caught:
            link.device.rx(64, link.now)
        assert caught.value.errno == errno.ENETDOWN


def readable(fd: int) -> bool:
    return bool(select.select([fd], [], [], 0)[0])


def test_no_wake_up_is_lost_between_two_threads() -> None:
    """A sleeper that is not woken while a frame waits would sit in poll until it times out."""
    total, seen, timeouts = 30_000, 0, 0
    a, b = pipe_pair(ring=64)

    def produce() -> None:
        sent = 0
        while sent < total:
            n = a.tx([b"x" * 60] * min(1 + sent % 7, total - sent))
            sent += n
            if not n and not (armed := a.arm(want_tx=True)).ready:
                select.select([armed.fd], [], [], 5)

    with a, b:
        thread = threading.Thread(target=produce)
        thread.start()
        while seen < total and not timeouts:
            seen += (n := len(b.rx()))
            if not n and not (armed := b.arm()).ready:
                timeouts += not select.select([armed.fd], [], [], 5)[0]
        while thread.is_alive():
            b.rx()
            thread.join(0.01)
        assert (seen, timeouts) == (total, 0)
