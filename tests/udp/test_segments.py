"""Datagrams that leave together: messages longer than UDP_SEGMENT (udp(7)), and runs of a batch, cut by
the device or, where it cannot, by the engine."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from barewire import Batch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kit import frames
from tests.kit.checks import is_udp
from tests.kit.wire import Wire
from tests.kit.world import World

PEER, LOCAL = "198.18.0.2", "127.0.0.1"
UDP_SEGMENT, MTU_DISCOVER = 103, 10
PMTUDISC_DONT, PMTUDISC_WANT, PMTUDISC_PROBE = 0, 1, 3
QUEUE = 256  # frames that wait for a device


def sender(wire: Wire, segment: int = 0) -> Any:
    sock = wire.stack.socket(type=socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(("0.0.0.0", 5000))
    sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, segment)
    return sock


def batch_of(datas: list[bytes], ports: list[int], host: str = LOCAL) -> Batch:
    batch = Batch(len(datas), max(1, *map(len, datas)))
    for i, data in enumerate(datas):
        batch[i] = data
        batch.set_address((host, ports[i % len(ports)]), i)
    return batch


# ---- a device that cuts nothing --------------------------------------------------------------------


def test_the_engine_cuts(wire: Wire) -> None:
    message = frames.pattern(2050)
    with sender(wire, 1000) as sock:
        assert sock.sendto(message, (PEER, 7)) == 2050
        for at in (0, 1000, 2000):
            wire.expects(is_udp(dport=7, data=message[at : at + 1000]))
        wire.expects_nothing()


def test_segments_longer_than_the_mtu_are_refused(wire: Wire) -> None:
    with sender(wire, 1473) as sock:
        with pytest.raises(OSError) as caught:
            sock.sendto(bytes(3000), (PEER, 7))
        assert caught.value.errno == errno.EMSGSIZE
        wire.expects_nothing()
        sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1472)
        sock.sendto(bytes(3000), (PEER, 7))
        assert len(wire.drain()) == 3


def test_no_message_is_fragmented(wire: Wire) -> None:
    with sender(wire, 2000) as sock:
        for how in (PMTUDISC_DONT, PMTUDISC_WANT):
            sock.setsockopt(socket.IPPROTO_IP, MTU_DISCOVER, how)
            with pytest.raises(OSError) as caught:
                sock.sendto(bytes(1473), (PEER, 7))
            assert caught.value.errno == errno.EMSGSIZE
            sock.sendto(bytes(1472), (PEER, 7))
            assert len(wire.drain()) == 1


def test_probing_uses_the_mtu_of_the_interface(wire: Wire) -> None:
    wire.stack.add_route("192.0.2.0/24", PEER, mtu=1000)
    with sender(wire, 1200) as sock:
        with pytest.raises(OSError) as caught:
            sock.sendto(bytes(3000), ("192.0.2.1", 7))
        assert caught.value.errno == errno.EMSGSIZE
        sock.setsockopt(socket.IPPROTO_IP, MTU_DISCOVER, PMTUDISC_PROBE)
        sock.sendto(bytes(3000), ("192.0.2.1", 7))
        assert len(wire.drain()) == 3


def test_a_message_is_queued_whole_or_not_at_all(wire: Wire) -> None:
    with sender(wire, 10) as sock:
        sock.sendto(bytes(1280), (PEER, 7))
        sock.sendto(bytes(1270), (PEER, 7))
        with pytest.raises(BlockingIOError):
            sock.sendto(bytes(11), (PEER, 7))
        assert len(wire.drain()) == QUEUE - 1
        assert sock.sendto(bytes(1280), (PEER, 7)) == 1280
        assert len(wire.drain()) == 128


def test_a_next_hop_that_has_to_be_asked_for_gets_all_of_them(ether: Wire) -> None:
    message = frames.pattern(12_800)
    with sender(ether, 100) as sock:
        sock.sendto(message, (PEER, 7))
        assert [packet.udp.payload for packet in ether.drain() if packet.udp] == [
            message[at : at + 100] for at in range(0, 12_800, 100)
        ]


# ---- one that does: the loopback -------------------------------------------------------------------


@pytest.fixture
def frames_of_lo(wire: Wire) -> Iterator[Any]:
    """A function: how many frames a batch was."""
    sock = sender(wire)
    for port in (7, 8, 9):
        wire.udp(port).set(rcvbuf=1 << 22)

    def sent(batch: Batch) -> int:
        before = wire.stack.interface_stats("lo")["tx_frames"]
        assert sock.send_batch(batch) == batch.count
        wire.world.rest()
        return int(wire.stack.interface_stats("lo")["tx_frames"] - before)

    sent.sock = sock  # type: ignore[attr-defined]
    sock.sendto(b"the path is known now", (LOCAL, 9))
    wire.world.rest()
    yield sent
    sock.close()


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([64] * 64, 1),
        ([64] * 63 + [1], 1),
        ([64, 63, 64, 63], 2),
        ([64, 65, 65], 2),
        ([64] * 3 + [0] + [64] * 3, 3),
        ([0, 0, 0], 3),
        ([1000] * 60 + [1], 2),
        ([1] * 64, 1),
    ],
)
def test_runs(frames_of_lo: Any, sizes: list[int], expected: int) -> None:
    assert frames_of_lo(batch_of([bytes(n) for n in sizes], [7])) == expected


def test_a_run_goes_to_one_place(frames_of_lo: Any) -> None:
    assert frames_of_lo(batch_of([bytes(8)] * 6, [7, 7, 8])) == 4


def test_what_may_be_fragmented_goes_one_by_one(frames_of_lo: Any) -> None:
    frames_of_lo.sock.setsockopt(socket.IPPROTO_IP, MTU_DISCOVER, PMTUDISC_DONT)
    assert frames_of_lo(batch_of([bytes(8)] * 6, [7])) == 6


def test_slots_longer_than_the_segment_are_cut_by_themselves(wire: Wire) -> None:
    with sender(wire, 5) as sock:
        ear = wire.udp(7)
        assert sock.send_batch(batch_of([b"onetwo"] * 6, [7])) == 6
        wire.world.rest()
        assert [ear.recvfrom()[0] for _ in range(12)] == [b"onetw", b"o"] * 6


def test_a_refusal_is_raised_by_the_call_that_follows(wire: Wire) -> None:
    with sender(wire) as sock:
        sock.connect((LOCAL, 9))
        batch = Batch(4, 8)
        for i in range(4):
            batch[i] = b"a run"
        assert sock.send_batch(batch) == 4
        wire.world.rest()
        with pytest.raises(ConnectionRefusedError):
            sock.send_batch(batch)


def test_a_super_segment_to_a_closed_port_is_refused_datagram_by_datagram(wire: Wire) -> None:
    """What follows the IP header is no option of it."""
    with sender(wire) as sock:
        sock.sendto(b"x", (LOCAL, 9))
        assert sock.send_batch(batch_of([bytes(range(7, 15))] * 6, [9])) == 6
        with wire.counts("icmp_errors_sent", 7):
            wire.world.rest()


def test_without_memory_the_short_ones_still_go() -> None:
    """A datagram that fits a header slot needs no chunk; a run of them does."""
    with World(buffer_bytes=1 << 20) as world:
        wire = Wire(world)
        ear = wire.udp(8).set(rcvbuf=1 << 24)
        with sender(wire) as sock:
            sock.sendto(b"the path is known now", (LOCAL, 7))
            world.rest()
            with pytest.raises(OSError) as caught:
                for _ in range(200):
                    sock.sendto(bytes(60_000), (LOCAL, 8))
                    world.rest()
            assert caught.value.errno == errno.ENOBUFS
            assert sock.send_batch(batch_of([bytes(16)] * 64, [7])) == 64
        ear.close()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0, 1, 5, 5, 5, 700, 1472, 3000]), st.integers(7, 8)), max_size=90
    )
)
def test_runs_arrive_as_the_datagrams_they_stand_for(plan: list[tuple[int, int]]) -> None:
    with World(buffer_bytes=16 << 20) as world:
        wire = Wire(world)
        with sender(wire) as sock:
            ears = {port: wire.udp(port) for port in (7, 8)}
            for ear in ears.values():
                ear.set(rcvbuf=1 << 22)
            sock.sendto(b"the path is known now", (LOCAL, 9))
            world.rest()
            datas = [frames.pattern(size, at) for at, (size, _) in enumerate(plan)]
            if datas:
                batch = batch_of(datas, [port for _, port in plan])
                assert sock.send_batch(batch) == len(datas)
                world.rest()
            for port, ear in ears.items():
                expected = [data for data, (_, to) in zip(datas, plan, strict=True) if to == port]
                assert [ear.recvfrom()[0] for _ in expected] == expected
                with pytest.raises(BlockingIOError):
                    ear.recvfrom()
