"""The device contract (netdev.h), held by every device and every middleware around one."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import select
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from barewire.nic_drivers import Device, DeviceError, TxFrame, pipe_pair

from tests.nic_drivers.frames import (
    AWAY,
    CHECKSUM,
    OURS,
    TCP,
    UDP,
    checksum,
    transport_sum,
    unfinished,
)
from tests.nic_drivers.links import TRIES, Link, readable


class TestFrames:
    def test_every_size_arrives_unchanged(self, link: Link) -> None:
        frames = [link.frame(i, size) for i, size in enumerate(sizes_of(link))]
        assert link.device.tx(frames, link.now) == len(frames)
        assert link.received(len(frames)) == link.expected(frames)

    def test_every_size_comes_in_unchanged(self, link: Link) -> None:
        frames = [link.answer(i, size) for i, size in enumerate(sizes_of(link))]
        link.sends(*frames)
        assert [frame.data for frame in link.delivered(len(frames))] == frames
        assert link.device.stats["rx_dropped"] == 0

    def test_nothing_there_is_an_empty_burst(self, link: Link) -> None:
        assert link.device.rx(64, link.now) == []
        assert link.device.recv(link.now) is None

    def test_a_burst_keeps_its_order_and_its_bound(self, link: Link) -> None:
        frames = [link.answer(i) for i in range(128)]
        link.sends(*frames[:64])
        link.sends(*frames[64:])
        first = link.delivered(1)
        assert len(first) <= 64
        found = first + (link.delivered(128 - len(first)) if len(first) < 128 else [])
        assert [frame.data for frame in found] == frames

    def test_bursts_go_out_in_order(self, link: Link) -> None:
        frames = [link.frame(i) for i in range(64)]
        for _ in range(2):
            assert link.device.tx(frames, link.now) == 64
        assert link.received(128) == link.expected(frames * 2)

    def test_a_frame_in_pieces(self, link: Link) -> None:
        frame = link.frame(7, 1000)
        cuts = [0, 14, 15, 48, 49, 500, 501, 777, 900, 999, 1000]
        pieces = [frame[a:b] for a, b in itertools.pairwise(cuts)]
        assert link.device.tx([TxFrame(pieces)], link.now) == 1
        assert link.received(1) == [frame]

    @pytest.mark.parametrize("protocol", [UDP, TCP])
    def test_an_unfinished_checksum_is_finished(self, link: Link, protocol: int) -> None:
        at = link.l2 + 20 + CHECKSUM[protocol]
        data = link.ethernet + unfinished(OURS, AWAY, protocol, bytes(range(200)) * 2)
        for cut in [0, 1, 2, 31, 32, 33, 64, 65, 299]:
            got = self.sent(
                link, protocol, [data[: at + 2], data[at + 2 :][:cut], data[at + 2 + cut :]]
            )
            if not finishes(link):
                assert got == data, "it does not know how, and nobody asks it to"
                continue
            assert got[:at] == data[:at] and got[at + 2 :] == data[at + 2 :]
            assert transport_sum(got[link.l2 :]) == 0

    def test_a_checksum_of_zero_is_sent_as_ffff(self, link: Link) -> None:
        rest = checksum(unfinished(OURS, AWAY, UDP, bytes(2))[20:])
        data = link.ethernet + unfinished(OURS, AWAY, UDP, rest.to_bytes(2, "big"))
        at = link.l2 + 20 + CHECKSUM[UDP]
        got = self.sent(link, UDP, [data])
        assert got[at : at + 2] == (b"\xff\xff" if finishes(link) else data[at : at + 2])

    def sent(self, link: Link, protocol: int, pieces: list[bytes]) -> bytes:
        frame = TxFrame(pieces, csum_start=link.l2 + 20, csum_offset=CHECKSUM[protocol])
        assert link.device.tx([frame], link.now) == 1
        [got] = link.received(1)
        return got

    def test_a_checksum_field_outside_the_frame_is_left_alone(self, link: Link) -> None:
        frame = link.frame(1, 60)
        sent = TxFrame([frame], csum_start=50, csum_offset=9)
        assert link.device.tx([sent, link.frame(2)], link.now) == 2
        if "vnet_hdr" in link.device.cap_names:  # the kernel refuses it: one more frame is lost
            assert link.received(1) == [link.frame(2)]
        else:
            assert link.received(2) == link.expected([frame, link.frame(2)])

    def test_a_frame_too_long_is_dropped_and_counted_and_the_rest_goes_on(self, link: Link) -> None:
        huge = link.frame(1, link.largest + 5)
        frames = [link.frame(0), huge, link.frame(2)]
        before = lost(link.device)
        assert link.device.tx(frames, link.now) == 3
        assert link.received(2) == link.expected([frames[0], frames[2]])
        if (
            link.device.counters.get("late.taken") is None
            and "pcap.frames" not in link.device.counters
        ):
            assert lost(link.device) == before + 1


def lost(device: Device) -> int:
    return device.stats["tx_dropped"] + device.counters.get("fault.tx.no_room", 0)


def finishes(link: Link) -> bool:
    """The pipe finishes checksums even where it is told not to say so."""
    return link.virtual or "tx_csum" in link.device.cap_names


def sizes_of(link: Link) -> list[int]:
    sizes = [1, 20, 59, 60, 63, 64, 65, 127, 511, 1499, 1500]
    jumbo = [2048, 4096, 4097, 8192]
    edges = [link.smallest, link.smallest + 1, link.largest - 1, link.largest]
    return sorted(edges + [n for n in sizes + jumbo if link.smallest < n < link.largest])


class TestBounds:
    def test_a_full_ring_refuses_counts_and_recovers(self, link: Link) -> None:
        if not link.virtual:  # the kernel is at work: what was refused goes out later, in order
            frames = [link.frame(i) for i in range(2000)]
            link.transmit(frames)
            assert link.received(2000) == frames
            assert link.device.stats["tx_frames"] == 2000
            return
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
        link.received(taken)
        assert link.device.tx(frames, link.now) == 64, "there is room again"
        link.received(64)

    def test_statistics(self, link: Link) -> None:
        sizes = [60, 100, 1000]
        link.device.tx([link.frame(i, n) for i, n in enumerate(sizes)], link.now)
        link.sends(*[link.answer(i, n) for i, n in enumerate(sizes)])
        link.received(3)
        link.delivered(3)
        link.settle()
        stats = link.device.stats
        assert (stats["tx_frames"], stats["tx_bytes"]) == (3, 1160)
        assert (stats["rx_frames"], stats["rx_bytes"]) == (3, 1160)
        assert stats["rx_dropped"] == stats["tx_dropped"] == stats["tx_full"] == 0
        assert stats["wakeups"] >= 1

    def test_what_only_the_driver_counts(self, link: Link) -> None:
        if link.virtual:
            assert link.device.xstats == {}, "a pipe has none"
            return
        if link.device.kind == "callback":
            assert link.device.tx([link.frame(1)], link.now) == 1
            link.received(1)
            assert {k: v for k, v in link.device.xstats.items() if v} == {"sent": 1}
            return
        link.device.tx([link.frame(1), link.frame(2, link.largest + 5)], link.now)
        reasons = {k: v for k, v in link.device.xstats.items() if k.startswith("tx_") and v}
        assert sum(reasons.values()) == link.device.stats["tx_dropped"] == 1


class TestArm:
    def test_idle_then_woken_then_idle(self, link: Link) -> None:
        armed = link.device.arm(link.now)
        assert not armed.ready
        assert armed.events & select.POLLIN or armed.fd < 0, "who has nothing to sleep on naps"
        assert armed.deadline is None or not link.virtual
        assert not readable(armed.fd)
        link.sends(link.answer(1))
        assert link.woken(armed), "a frame wakes the sleeper"
        armed = link.device.arm(link.now)
        assert armed.ready or readable(armed.fd), "and is still work"
        link.delivered(1)
        while link.device.rx(64, link.now) or link.device.arm(link.now).ready:
            link.settle()
        armed = link.device.arm(link.now)
        assert not armed.ready and not readable(armed.fd), "the wake-up was taken back"

    def test_a_frame_before_arm_is_seen_by_arm(self, link: Link) -> None:
        link.sends(link.answer(1))
        armed = link.device.arm(link.now)
        assert armed.ready or link.woken(armed)

    def test_who_does_not_sleep_costs_no_kick(self, link: Link) -> None:
        armed = link.device.arm(link.now)
        link.sends(link.answer(1))
        link.delivered(1)
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
    def test_close_twice_and_no_descriptor_is_left(
        self, make_link: Callable[[Path], Link], tmp_path: Path
    ) -> None:
        make_link(tmp_path).close()
        before = len(os.listdir("/proc/self/fd"))
        made = make_link(tmp_path)
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

    def test_descriptors_are_closed_on_exec(
        self, make_link: Callable[[Path], Link], tmp_path: Path
    ) -> None:
        """All that a device has open: a program started meanwhile must not keep an interface."""
        before = inherited()
        with contextlib.closing(make_link(tmp_path)) as link:
            assert inherited() == before or not link.closes_on_exec

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
        assert link.received(1) == [link.frame(1)]

    def test_an_interface_that_is_down_is_a_cable_that_is_pulled(self, link: Link) -> None:
        """What is sent meanwhile is lost, and counted; then the device goes on by itself."""
        if not link.has_interface:
            return
        link.goes(down=True)
        counts = "tx_down" in link.device.xstats  # not where another process knows the interface
        for number in range(TRIES):
            assert link.device.tx([link.frame(number)], link.now) == 1
            link.settle()
            assert link.device.rx(64, link.now) == []
            if not counts or link.device.xstats["tx_down"] >= 2:
                break
        assert link.device.stats["tx_dropped"] == link.device.xstats.get("tx_down", 0)
        assert not counts or link.device.stats["tx_dropped"] >= 2
        link.goes(down=False)
        for number in (
            8,
            9,
        ):  # the kernel tells net_af_packet's first that it was down, and sends it with the next
            assert link.device.tx([link.frame(number)], link.now) == 1
        while link.received(1) != [link.frame(9)]:
            pass  # what a ring had
        link.sends(link.answer(1))
        assert link.answer(1) in [frame.data for frame in link.delivered(1)]

    def test_a_device_whose_other_end_went_for_good_is_gone(self, link: Link) -> None:
        link.sends(link.answer(1))
        armed = link.device.arm(link.now + link.patience)
        link.breaks()
        assert armed.ready or armed.deadline is not None or link.woken(armed)
        with pytest.raises(DeviceError) as caught:
            for _ in range(link.looks):  # what had come may still be received
                found = [frame.data for frame in link.device.rx(64, link.now)]
                assert found in ([link.answer(1)], [])
                link.settle()
        assert caught.value.errno == link.gone


def inherited() -> set[str]:
    """The descriptors that a program started now would have."""
    flags = {}
    for fd in os.listdir("/proc/self/fdinfo"):
        with contextlib.suppress(FileNotFoundError), open(f"/proc/self/fdinfo/{fd}") as info:
            flags[fd] = int(info.read().split("flags:\t")[1].split()[0], 8)
    return {fd for fd, value in flags.items() if not value & os.O_CLOEXEC}


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
