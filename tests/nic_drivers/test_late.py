"""late: the hostile asynchronous transmitter finds what it is there to find."""

from __future__ import annotations

import pytest
from barewire.nic_drivers import DeviceError, TxFrame, pipe_pair, with_late

DELAY = 1_000_000


def numbered(count: int) -> list[TxFrame]:
    return [TxFrame([bytes([i]) * 60], token=i) for i in range(1, count + 1)]


def test_every_token_comes_back_once_late_and_out_of_order() -> None:
    a, b = pipe_pair()
    with with_late(a, max_delay=DELAY, depth=64) as device, b:
        assert "tx_async" in device.cap_names
        assert device.tx(numbered(40), 0) == 40
        assert b.recv() is None and device.reclaim() == []
        armed = device.arm(0)
        assert not armed.ready and armed.deadline is not None and 0 < armed.deadline <= DELAY
        tokens: list[int] = []
        while len(tokens) < 40:
            armed = device.arm(armed.deadline or 0)
            assert armed.ready, "finished frames to reclaim are work"
            tokens += device.reclaim()
            armed = device.arm(armed.deadline or 0)
        assert sorted(tokens) == list(range(1, 41)) and tokens != sorted(tokens)
        assert sorted(frame.data[0] for frame in b.rx()) == sorted(tokens)
        assert device.counters == {
            "late.taken": 40,
            "late.sent": 40,
            "late.corrupted": 0,
            "late.reclaimed": 40,
            "late.outside": 0,
        }


def test_memory_reused_too_early_is_found() -> None:
    a, b = pipe_pair()
    with with_late(a, max_delay=DELAY) as device, b:
        memory = bytearray(b"payload that is still queued" * 3)
        device.tx([TxFrame([b"header" * 5, memory], token=1), TxFrame([b"y" * 60], token=2)], 0)
        memory[40] ^= 1
        device.arm(DELAY)
        assert device.counters["late.corrupted"] == 1
        assert sorted(device.reclaim()) == [1, 2]


def test_at_most_depth_frames_are_held_until_reclaimed() -> None:
    a, b = pipe_pair()
    with with_late(a, max_delay=DELAY, depth=8) as device, b:
        assert device.tx(numbered(10), 0) == 8
        assert device.tx(numbered(1), DELAY) == 0, "sent, but not reclaimed"
        assert len(device.reclaim()) == 8
        assert device.tx(numbered(10), DELAY) == 8
        assert device.stats["tx_full"] == 3


def test_a_full_inner_device_makes_them_later_still() -> None:
    a, b = pipe_pair(ring=4)
    with with_late(a, max_delay=DELAY) as device, b:
        assert device.tx(numbered(10), 0) == 10
        armed = device.arm(DELAY)
        assert armed.ready and len(device.reclaim()) == 4
        assert device.arm(DELAY).deadline is None, "room wakes it, not time"
        found = [frame.data[0] for frame in b.rx()]
        while b.rx():
            pass
        device.arm(DELAY)
        found += [frame.data[0] for frame in b.rx()]
        assert len(set(found)) == 8


def test_the_same_seed_gives_the_same_order() -> None:
    def order(seed: int) -> list[int]:
        a, b = pipe_pair()
        with with_late(a, max_delay=DELAY, seed=seed) as device, b:
            device.tx(numbered(30), 0)
            device.arm(DELAY)
            return [frame.data[0] for frame in b.rx()]

    assert order(5) == order(5) != order(6)


def test_not_around_an_asynchronous_device() -> None:
    a, b = pipe_pair()
    with with_late(a) as device, b:
        with pytest.raises(DeviceError, match="itself"):
            with_late(device)
