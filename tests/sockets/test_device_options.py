"""The options that mean the same for every kind of device: cpu, spin, queue and queues."""

from __future__ import annotations

import errno
import os
import socket

import barewire
import pytest
from barewire.nic_drivers import DeviceError, DeviceSpec, open_device, pipe_pair, with_pcap
from barewire.nic_drivers.driving import Driving, Queues, driving_of, queues_of

HERE = sorted(os.sched_getaffinity(0))


def background_threads() -> dict[int, set[int]]:
    """CPUs by number of the stacks' C threads."""
    found = {}
    for task in map(int, os.listdir("/proc/self/task")):
        with open(f"/proc/self/task/{task}/comm", encoding="ascii") as file:
            if file.read() == "barewire\n":
                found[task] = os.sched_getaffinity(task)
    return found


def test_the_background_thread_is_pinned() -> None:
    before = os.sched_getaffinity(0)
    with barewire.Stack(f"pipe:pinned?cpu={HERE[-1]}"):
        assert list(background_threads().values()) == [{HERE[-1]}]
        assert os.sched_getaffinity(0) == before, "the program's own thread is left alone"
    with barewire.Stack("pipe:free"):
        assert list(background_threads().values()) == [before]


def test_spin_of_the_device_and_of_the_stack() -> None:
    with barewire.Stack("pipe:a?spin=50") as stack:
        assert stack.spin_ns == 50_000
    with barewire.Stack("pipe:b?spin=50", spin=1e-5) as stack:
        assert stack.spin_ns == 10_000, "the program's word counts"
    with barewire.Stack(["pipe:c?spin=0", "pipe:d"]) as stack:
        assert stack.spin_ns == 0
    with barewire.Stack("pipe:e") as stack:
        assert stack.spin_ns == 200_000


def test_middleware_and_device_objects_keep_them() -> None:
    device = with_pcap(open_device(f"pipe:a?spin=7&cpu={HERE[0]}&loss=1%"), os.devnull)
    assert device.driving == Driving(HERE[0], 7_000)
    with barewire.Stack(device) as stack:
        assert stack.spin_ns == 7_000


def test_what_devices_do_not_agree_on() -> None:
    with pytest.raises(ValueError, match="different values of spin="):
        barewire.Stack(["pipe:a?spin=1", "pipe:b?spin=2"])
    with pytest.raises(ValueError, match="virtual time has no thread to pin"):
        barewire.Stack(f"pipe:a?cpu={HERE[0]}", clock=lambda: 0)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"cpu": "1023"}, r"cpu=1023: this process may run on CPU [0-9,-]+ only"),
        ({"cpu": "one"}, "expected a whole number"),
        ({"spin": "1001"}, "from 0 to 1000"),
    ],
)
def test_mistakes(options: dict[str, str], sentence: str) -> None:
    with pytest.raises(DeviceError, match=sentence) as caught:
        driving_of(DeviceSpec("tap", "tap0", options))
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize(
    ("options", "meaning"),
    [
        ({}, Queues(0, 1, 1)),
        ({"queues": "4"}, Queues(0, 4, 1)),
        ({"queue": "3"}, Queues(3, 1, 1)),
        ({"queue": "1", "queues": "4"}, Queues(1, 1, 4)),
    ],
)
def test_queue_and_queues(options: dict[str, str], meaning: Queues) -> None:
    assert queues_of(DeviceSpec("tap", "tap0", options), 8) == meaning


def test_queues_are_numbered_from_zero() -> None:
    spec = DeviceSpec("tap", "tap0", {"queue": "2", "queues": "2"})
    with pytest.raises(DeviceError, match="numbered from 0, so at most 1"):
        queues_of(spec, 8)


def test_a_stack_of_a_group_refuses_nothing_for_the_others() -> None:
    """Local ports are its own; what comes for another's port gets no answer."""
    now = 10**9
    mine, other = pipe_pair()
    mine.queues = Queues(1, 1, 2)
    with (
        barewire.Stack(mine, addresses=["198.18.0.1/24"], clock=lambda: now, seed=1) as ours,
        barewire.Stack(other, addresses=["198.18.0.2/24"], clock=lambda: now, seed=2) as peer,
    ):

        def answer(port: int, kind: int) -> int:
            """What the peer hears of a port where nobody is."""
            with peer.socket(type=kind) as sock:
                sock.setblocking(False)
                if sock.connect_ex(("198.18.0.1", port)) == 0:
                    sock.send(b"?")
                while ours.poll() | peer.poll():
                    pass
                return int(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

        for kind, drop in (
            (socket.SOCK_STREAM, "drop_tcp_no_socket"),
            (socket.SOCK_DGRAM, "drop_udp_no_socket"),
        ):
            before = ours.counters()[drop]
            assert answer(7001, kind) == errno.ECONNREFUSED
            assert answer(7000, kind) == 0
            assert ours.counters()[drop] == before + 2
        for _ in range(10):
            with ours.socket(type=socket.SOCK_DGRAM) as sock:
                sock.bind(("198.18.0.1", 0))
                assert sock.getsockname()[1] % 2 == 1
