"""fault: the distributions it promises, its determinism, its bounds."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest
from barewire.nic_drivers import (
    Device,
    DeviceError,
    Faults,
    TxFrame,
    open_device,
    pipe_pair,
    with_faults,
    with_late,
)
from barewire.stack.ip.ipv4 import IPv4

MS = 1_000_000
HEAD = b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\x00"


def frame(number: int, size: int = 100) -> bytes:
    return (HEAD + number.to_bytes(4, "big") + b"\x45" * size)[:size]


def number(data: bytes) -> int:
    return int.from_bytes(data[14:18], "big")


Arrivals = list[tuple[int, int]]


def run(
    count: int, faults: Faults, seed: int = 1, gap: int = 10_000
) -> tuple[Arrivals, dict[str, int]]:
    """Sends numbered frames, one every gap ns. (time, number) of each arrival, and the counters."""
    a, b = pipe_pair(ring=4096)
    arrived: Arrivals = []
    with with_faults(a, tx=faults, seed=seed) as device, b:
        now = 0
        for i in range(count):
            assert device.tx([frame(i)], now) == 1
            arrived += take(device, b, now)
            now += gap
        while (deadline := device.arm(now).deadline) is not None:
            now = max(now, deadline)
            arrived += take(device, b, now)
        return arrived + take(device, b, now), device.counters


def take(device: Device, peer: Device, now: int) -> Arrivals:
    device.arm(now)
    found = []
    while burst := peer.rx(64, now):
        found += [(now, number(f.data)) for f in burst]
    return found


@pytest.mark.parametrize("chance", [0.0, 0.01, 0.3, 1.0])
def test_loss(chance: float) -> None:
    arrived, counters = run(3000, Faults(loss=chance))
    lost = 3000 - len(arrived)
    assert counters["fault.tx.lost"] == lost
    assert abs(lost - 3000 * chance) <= 4 * (3000 * chance * (1 - chance)) ** 0.5


def test_duplicates_come_right_after_the_original() -> None:
    arrived, counters = run(3000, Faults(duplicate=0.1))
    numbers = [n for _, n in arrived]
    assert numbers == sorted(numbers) and len(set(numbers)) == 3000
    assert len(numbers) - 3000 == counters["fault.tx.duplicated"]
    assert 230 < counters["fault.tx.duplicated"] < 370


def test_a_reordered_frame_is_held_back_for_its_time() -> None:
    arrived, counters = run(2000, Faults(reorder=0.05, hold=55_000))
    late = [(when, n) for when, n in arrived if when != n * 10_000]
    assert len(late) == counters["fault.tx.reordered"] and 60 < len(late) < 140
    assert sorted(n for _, n in arrived) == list(range(2000))
    assert all(n * 10_000 + 50_000 <= when <= n * 10_000 + 60_000 for when, n in late)


def test_delay_and_jitter_keep_the_order() -> None:
    arrived, _ = run(500, Faults(delay=5 * MS, jitter=2 * MS))
    assert [n for _, n in arrived] == list(range(500))
    delays = [when - n * 10_000 for when, n in arrived]
    assert min(delays) >= 5 * MS and max(delays) <= 7 * MS + 10_000


def test_an_outage_loses_what_comes_in_its_span_and_throws_no_dice() -> None:
    faults = Faults(loss=0.2)
    arrived, _ = run(1000, faults)
    down = replace(faults, outage_at=2 * MS, outage=3 * MS)
    left, counters = run(1000, down)
    assert [n for _, n in left if n < 200] == [n for _, n in arrived if n < 200]
    assert not [n for _, n in left if 200 <= n < 500]
    assert counters["fault.tx.outage"] == 300
    dice = [n for _, n in arrived if 200 <= n < 700]
    assert [n - 300 for _, n in left if n >= 500] == dice, "the dice go on where they were"


def test_an_outage_is_counted_from_the_first_frame_of_either_way() -> None:
    a, b = pipe_pair()
    with with_faults(a, Faults(delay=MS, outage_at=MS, outage=MS)) as device, b:
        device.tx([frame(1)], 10 * MS)
        b.send(frame(2))
        assert device.recv(11 * MS) is None and device.counters["fault.rx.outage"] == 1
        assert b.recv() == frame(1), "what is on its way arrives"
        b.send(frame(3))
        assert device.recv(12 * MS) is None and device.recv(13 * MS) == frame(3)


def test_the_deadline_is_when_the_next_frame_is_due() -> None:
    a, b = pipe_pair()
    with with_faults(a, Faults(delay=MS)) as device, b:
        device.tx([frame(1)], 100)
        assert device.arm(200).deadline == MS + 100
        b.send(frame(2))
        assert device.rx(64, 50) == []
        assert device.arm(200)[3] == MS + 50, "the received one is due first"
        armed = device.arm(MS + 50)
        assert armed.ready and armed.deadline == MS + 50
        assert device.recv(MS + 50) == frame(2)
        assert b.recv() is None
        assert device.rx(64, MS + 100) == [] and b.recv() == frame(1)
        assert device.arm(MS + 100).deadline is None


def test_corruption_turns_one_bit_of_the_ip_packet() -> None:
    a, b = pipe_pair()
    with with_faults(a, tx=Faults(corrupt=1)) as device, b:
        for i in range(200):
            device.tx([frame(i)], 0)
            got = b.recv() or b""
            wrong = [x ^ y for x, y in zip(got, frame(i), strict=True)]
            assert sum(bin(x).count("1") for x in wrong) == 1 and not any(wrong[:14])
        assert device.counters["fault.tx.corrupted"] == 200


def test_frames_without_a_checksum_of_their_own_are_not_corrupted() -> None:
    a, b = pipe_pair()
    arp = HEAD[:12] + b"\x08\x06" + bytes(46)
    with with_faults(a, tx=Faults(corrupt=1)) as device, b:
        device.tx([arp, HEAD], 0)
        assert [f.data for f in b.rx()] == [arp, HEAD]
        assert device.counters["fault.tx.corrupted"] == 0


def test_a_corrupted_frame_carries_the_checksum_of_the_right_one() -> None:
    a, b = pipe_pair()
    sent = TxFrame([frame(1)], csum_start=34, csum_offset=16)
    with with_faults(a, tx=Faults(corrupt=1)) as device, b:
        assert "tx_csum" in device.cap_names
        device.tx([sent], 0)
        wrong = b.recv() or b""
    a, b = pipe_pair()
    with a, b:
        a.tx([sent])
        right = b.recv() or b""
    assert sum(bin(x ^ y).count("1") for x, y in zip(wrong, right, strict=True)) == 1


def test_rate_spaces_frames_and_its_queue_drops_at_the_tail() -> None:
    # 100-byte frames at 8 Mbit/s take 100 us each; 1000 bytes may wait.
    arrived, counters = run(100, Faults(rate=8e6, backlog=1000), gap=0)
    assert [n for _, n in arrived] == list(range(10))
    assert [when for when, _ in arrived] == [100_000 * (i + 1) for i in range(10)]
    assert counters["fault.tx.queue_full"] == 90


def test_rate_lets_a_slower_sender_through() -> None:
    arrived, counters = run(100, Faults(rate=8e6, backlog=0), gap=100_000)
    assert len(arrived) == 100 and counters["fault.tx.queue_full"] == 0


# ---- ECN ---------------------------------------------------------------------------------------

HOSTS = {"src": IPv4Address("198.18.0.1"), "dst": IPv4Address("198.18.0.2"), "proto": 17}


def packet(tos: int, size: int = 100) -> bytes:
    return IPv4(**HOSTS, tos=tos, payload=bytes(size - 20)).build()


def marked(packets: list[bytes], layer: int = 3, head: bytes = b"", **faults: Any) -> list[int]:
    """The TOS bytes of those packets after the faults; each must still have a right header."""
    a, b = pipe_pair(layer=layer)
    found: list[int] = []
    with with_faults(a, tx=Faults(**faults)) as device, b:
        device.tx([head + p for p in packets], 0)
        now: int | None = 0
        while now is not None:
            device.arm(now)
            while (got := b.recv(now)) is not None:
                assert got[: len(head)] == head
                found.append(IPv4.parse(got[len(head) :]).tos)
            now = device.arm(now).deadline
        changed = sum(tos != p[1] for tos, p in zip(found, packets, strict=False))
        assert device.counters["fault.tx.marked"] == changed
    return found


@pytest.mark.parametrize("head", [b"", HEAD, HEAD[:12] + b"\x81\x00\x00\x07\x08\x00"])
def test_a_mark_changes_the_ect_codepoints_alone_and_mends_the_checksum(head: bytes) -> None:
    """RFC 3168 section 5: who did not say ECT is not marked; the rest of the TOS byte stays."""
    packets = [packet(dscp << 2 | ecn) for dscp in range(64) for ecn in range(4)]
    wanted = [dscp << 2 | (ecn and 3) for dscp in range(64) for ecn in range(4)]
    layer = 2 if head else 3
    for at in range(0, 256, 64):
        part = slice(at, at + 64)
        assert marked(packets[part], layer, head, mark=1.0) == wanted[part]


def test_mending_the_checksum_gives_what_counting_it_anew_does() -> None:
    """RFC 1624: also where the incremental sum would give the other zero."""
    dice = random.Random(1)
    packets = [
        IPv4(**{**HOSTS, "ident": dice.randrange(1 << 16), "ttl": dice.randrange(1, 256)}, tos=2)
        for _ in range(64)
    ]
    assert marked([p.build() for p in packets], mark=1.0) == [3] * 64


def test_ipv6_packets_and_frames_of_nothing() -> None:
    a, b = pipe_pair(layer=3)
    with with_faults(a, tx=Faults(mark=1.0)) as device, b:
        v6 = b"\x60\x20\x00\x00" + bytes(36)
        device.tx([v6, v6[:20], b"\x45", b"\x45\x02" + bytes(10)], 0)
        assert [f.data for f in b.rx()] == [
            b"\x60\x30\x00\x00" + bytes(36),
            v6[:20],
            b"\x45",
            b"\x45\x02" + bytes(10),
        ]
        assert device.counters["fault.tx.marked"] == 1


def test_other_protocols_are_not_marked() -> None:
    a, b = pipe_pair()
    with with_faults(a, tx=Faults(mark=1.0)) as device, b:
        arp = HEAD[:12] + b"\x08\x06" + b"\x45\x02" + bytes(40)
        device.tx([arp, HEAD, HEAD[:12] + b"\x81\x00"], 0)
        assert [f.data for f in b.rx()] == [arp, HEAD, HEAD[:12] + b"\x81\x00"]


def test_the_chance_of_a_mark() -> None:
    found = []
    for seed in range(20):
        a, b = pipe_pair(layer=3)
        with with_faults(a, tx=Faults(mark=0.3), seed=seed) as device, b:
            device.tx([packet(2)] * 64, 0)
            found += [f.data[1] for f in b.rx(64)]
    assert abs(found.count(3) - 384) < 60


def test_the_step_of_a_queue() -> None:
    """RFC 8257 section 4.1: every packet that finds more than K in the queue."""
    found = marked([packet(2)] * 20, rate=8e6, backlog=1500, mark_above=500)
    assert found == [2] * 6 + [3] * 9, "the seventh finds 600 bytes; the queue is full after 15"
    assert marked([packet(0)] * 20, rate=8e6, backlog=1500, mark_above=500) == [0] * 15


EVERYTHING = Faults(0.1, 0.1, 0.1, 0.1, MS, MS, MS, 1e8)


def test_the_same_seed_gives_the_same_network() -> None:
    first, again, other = (run(500, EVERYTHING, seed) for seed in (7, 7, 8))
    assert first == again and first != other


def test_the_directions_do_not_disturb_each_other() -> None:
    def received(send: bool) -> list[bytes]:
        a, b = pipe_pair()
        found = []
        with with_faults(a, Faults(loss=0.3, corrupt=0.3), seed=3) as device, b:
            for i in range(200):
                if send:
                    device.tx([frame(i)] * (i % 3), 0)
                    while b.rx():
                        pass
                b.send(frame(i))
                found += [f.data for f in device.rx(64, 0)]
        return found

    assert received(False) == received(True)


def test_the_directions_are_set_apart() -> None:
    a, b = pipe_pair()
    with with_faults(a, rx=Faults(loss=1)) as device, b:
        device.tx([frame(1)], 0)
        assert b.recv() == frame(1)
        b.send(frame(2))
        assert device.rx() == []
        assert device.counters["fault.rx.lost"] == 1 and device.counters["fault.tx.lost"] == 0


def test_the_store_is_bounded() -> None:
    a, b = pipe_pair()
    with with_faults(a, Faults(delay=MS), held=16) as device, b:
        assert device.tx([frame(i) for i in range(64)], 0) == 64
        assert device.counters["fault.tx.no_room"] == 48
        for _ in range(2):
            b.tx([frame(i) for i in range(64)])
            device.rx(64, 0)
        assert device.counters["fault.rx.no_room"] == 112
        assert len(device.rx(64, MS)) == 16
        assert [number(f.data) for f in b.rx()] == list(range(16))
        device.tx([frame(99)], MS)
        device.arm(2 * MS)
        assert number(b.recv() or b"") == 99, "slots come back"


def test_back_pressure_of_the_device_goes_through() -> None:
    a, b = pipe_pair(ring=8)
    with with_faults(a) as device, b:
        assert device.tx([frame(i) for i in range(12)], 0) == 12
        assert device.tx([frame(12)], 0) == 0, "four wait for room"
        armed = device.arm(0, want_tx=True)
        assert not armed.ready and armed.deadline is None
        found: list[int] = []
        for _ in range(6):
            found += [number(f.data) for f in b.rx()]
            device.arm(0)
        assert found == list(range(12))
        assert device.counters["fault.tx.no_room"] == 0


def test_around_an_asynchronous_device() -> None:
    a, b = pipe_pair()
    with with_faults(with_late(a, max_delay=1000), held=32) as device, b:
        assert "tx_async" not in device.cap_names
        now, found = 0, []
        for i in range(200):
            assert device.tx([frame(i)], now) == 1
            now += 500
            device.arm(now)
            found += [number(f.data) for f in b.rx()]
        now += 2000
        device.arm(now)
        found += [number(f.data) for f in b.rx()]
        assert sorted(found) == list(range(200))
        assert device.counters["late.corrupted"] == 0 == device.counters["fault.tx.no_room"]


def test_by_name() -> None:
    a = open_device("pipe:fault-by-name?loss=10%&rx_loss=1&delay=2ms&seed=4")
    b = open_device("pipe:fault-by-name")
    with a, b:
        b.tx([frame(i) for i in range(50)])
        a.tx([frame(i) for i in range(50)], 0)
        assert a.rx(64, 2 * MS) == []
        assert a.counters["fault.rx.lost"] == 50
        assert 40 <= len(b.rx()) + a.counters["fault.tx.lost"] <= 50


@pytest.mark.parametrize(
    "wrong",
    [
        {"loss": 1.5},
        {"corrupt": -0.1},
        {"loss": float("nan")},
        {"delay": -1},
        {"jitter": 10**14},
        {"rate": 0.5},
        {"rate": float("inf")},
        {"backlog": -1},
        {"mark": 2.0},
        {"mark_above": -1},
    ],
    ids=lambda wrong: next(iter(wrong.items())).__repr__(),
)
def test_nonsense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(DeviceError):
        Faults(**wrong)  # type: ignore[arg-type]


def test_a_refused_wrapping_leaves_the_device_as_it_was() -> None:
    a, b = pipe_pair()
    with a, b:
        for held in itertools.chain((0, -1), (1 << 21,)):
            with pytest.raises(DeviceError):
                with_faults(a, held=held)
        assert a.send(frame(1)) and b.recv() == frame(1)
