"""callback: a device that ends in Python."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import select
import socket
import subprocess
import sys
import threading
from array import array
from collections.abc import Callable

import barewire
import pytest
from barewire.nic_drivers import CallbackDevice, DeviceError, open_device, with_faults

ONE, TWO = "198.18.0.1", "198.18.0.2"
FRAME = bytes(range(60))


class Tunnel:
    """Where frames go; `fails` is what send raises."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.fails: Exception | None = None

    def send(self, frame: bytes) -> None:
        if self.fails is not None:
            raise self.fails
        self.frames.append(frame)


class Bulk:
    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []

    def send_batch(self, frames: list[bytes]) -> None:
        self.batches.append(frames)


# ---- by hand -------------------------------------------------------------------------------------


def test_frames_go_to_an_object_a_function_or_in_batches() -> None:
    tunnel, bulk, calls = Tunnel(), Bulk(), list[bytes]()
    sinks: list[tuple[object, Callable[[], object]]] = [
        (tunnel, lambda: tunnel.frames),
        (calls.append, lambda: calls),
        (bulk, lambda: bulk.batches[0]),
    ]
    for sink, seen in sinks:
        with CallbackDevice(sink) as device:
            assert not device.deliver()
            assert device.tx([FRAME, FRAME[:20], FRAME[1:]]) == 3
            assert device.deliver() and not device.deliver()
            assert seen() == [FRAME, FRAME[:20], FRAME[1:]]
            assert device.counters["callback.sent"] == 3
    with pytest.raises(TypeError, match="has no send"):
        CallbackDevice(7)


def test_what_is_received_is_the_stacks_and_the_rest_is_refused_and_counted() -> None:
    with CallbackDevice(ring=4, mtu=100) as device:
        assert device.receive(FRAME) and device.receive(memoryview(FRAME)[2:])
        assert not device.receive(b"") and not device.receive(bytes(119))
        assert device.receive_batch([b"", FRAME, bytearray(118), FRAME, FRAME]) == 2
        assert [len(f.data) for f in device.rx()] == [60, 58, 60, 118]
        assert device.counters["callback.receive_full"] == 2
        assert device.counters["callback.receive_refused"] == 3
        assert device.rx() == []
        assert device.receive_batch([FRAME] * 9) == 4, "there is room again"
        assert len(device.rx()) == 4 and device.rx() == []
        wide = memoryview(FRAME).cast("I")
        assert device.receive(wide) and device.recv() == FRAME
        with pytest.raises(TypeError, match="a frame is bytes"):
            device.receive(array("I", [1, 2]))  # type: ignore[arg-type]


def test_pull_mode_is_level_triggered() -> None:
    with CallbackDevice(ring=256) as device:
        fd = device.fileno()
        assert not readable(fd) and device.transmit() == []
        numbered = [FRAME + bytes([i]) for i in range(150)]
        assert sum(device.tx(numbered[i : i + 50]) for i in (0, 50, 100)) == 150
        assert readable(fd)
        got = device.transmit(4)
        assert len(got) == 4 and readable(fd)
        got += device.transmit(100)
        assert len(got) == 104 and readable(fd)
        got += device.transmit()
        assert got == numbered and not readable(fd)
        device.tx([FRAME])
        assert readable(fd) and readable(device.fileno())
        assert device.transmit() == [FRAME] and not readable(device.fileno())


def test_the_ring_out_is_bounded() -> None:
    with CallbackDevice(ring=8) as device:
        assert device.tx([FRAME] * 20) == 8
        assert device.stats["tx_full"] == 1
        assert len(device.transmit()) == 8
        assert device.tx([FRAME] * 20) == 8


def test_a_send_that_raises_loses_a_frame_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tunnel = Tunnel()
    with CallbackDevice(tunnel, name="tun") as device, caplog.at_level(logging.WARNING):
        for fails in (None, OSError("broken"), OSError("broken"), BlockingIOError(), None):
            tunnel.fails = fails
            device.tx([FRAME])
            assert device.deliver()
        assert len(tunnel.frames) == 2
        assert device.counters["callback.send_failed"] == 2
        assert device.counters["callback.send_full"] == 1
        counted = {"sent": 2, "send_full": 1, "send_failed": 2}
        assert device.xstats == counted | {"receive_full": 0, "receive_refused": 0}
        assert [record.message.count("send failed") for record in caplog.records] == [1]
        tunnel.fails = OSError("again")
        device.tx([FRAME])
        device.deliver()
        assert len(caplog.records) == 2, "the first of a new row"


def test_a_batch_that_fails_is_lost_whole() -> None:
    def fail(frames: list[bytes]) -> None:
        raise OSError

    bulk = Bulk()
    bulk.send_batch = fail  # type: ignore[method-assign]
    with CallbackDevice(bulk) as device:
        device.tx([FRAME] * 3)
        assert device.deliver()
        assert device.counters["callback.send_failed"] == 3


def test_its_far_end_may_be_closed_first() -> None:
    device = CallbackDevice(lambda frame: None)
    device._far.close()
    device.close()
    assert device.closed


def test_closed_is_closed_for_everybody() -> None:
    ends: list[str] = []
    device = CallbackDevice(on_close=lambda: ends.append("end"))
    before = len(os.listdir("/proc/self/fd"))
    device.close()
    device.close()
    assert ends == ["end"]
    assert device.closed and not device.receive(FRAME)
    assert device.counters["callback.receive_refused"] == 1
    with pytest.raises(DeviceError) as caught:
        device.transmit()
    assert caught.value.errno == errno.EBADF
    assert len(os.listdir("/proc/self/fd")) == before - 2


def test_addresses_are_random_unless_named() -> None:
    one, two = CallbackDevice(), CallbackDevice()
    named, same = CallbackDevice(name="wg"), CallbackDevice(name="wg")
    given, bare = CallbackDevice(mac=b"\2\0\0\0\0\7"), CallbackDevice(layer=3)
    assert one.mac != two.mac and named.mac == same.mac
    assert given.mac == b"\2\0\0\0\0\7" and bare.layer == 3
    assert (one.name, named.name) == ("callback", "wg")
    for device in (one, two, named, same, given, bare):
        device.close()


# ---- under a stack -------------------------------------------------------------------------------


def joined() -> tuple[CallbackDevice, CallbackDevice]:
    """Two devices, each of which sends into the other."""
    one = CallbackDevice(name="one")
    two = CallbackDevice(one.receive, name="two")
    one.send_to(two.receive)
    return one, two


@pytest.mark.parametrize("wrapped", [False, True])
def test_virtual_time_delivers_in_poll_and_repeats_itself(wrapped: bool) -> None:
    def run() -> list[bytes]:
        seen: list[bytes] = []
        one, two = CallbackDevice(name="one"), CallbackDevice(name="two", layer=2)

        def across(frame: bytes) -> None:
            seen.append(frame)
            two.receive(frame)

        one.send_to(across)
        two.send_to(one.receive)
        device = with_faults(one) if wrapped else one
        clock = lambda: 10**9  # noqa: E731
        threads = threading.active_count()
        with (
            barewire.Stack(device, addresses=[f"{ONE}/24"], clock=clock, seed=1) as a,
            barewire.Stack(two, addresses=[f"{TWO}/24"], clock=clock, seed=2) as b,
        ):
            server, client = b.create_server((TWO, 80)), a.socket()
            server.setblocking(False)
            client.setblocking(False)
            client.connect_ex((TWO, 80))
            while a.poll() | b.poll():
                pass
            sock, _ = server.accept()
            client.send(b"hello")
            while a.poll() | b.poll():
                pass
            sock.setblocking(False)
            assert sock.recv(10) == b"hello"
            assert threading.active_count() == threads
            for end in (sock, client, server):
                end.close()
        assert one.closed and two.closed
        return seen

    assert run() == run()


def test_a_thread_of_the_device_delivers_and_ends_with_the_stack() -> None:
    one, two = joined()
    with (
        barewire.Stack(one, addresses=[f"{ONE}/24"]) as a,
        barewire.Stack(two, addresses=[f"{TWO}/24"]) as b,
    ):
        with b.create_server((TWO, 80)) as server, a.create_connection((TWO, 80), 10) as client:
            sock, _ = server.accept()
            with sock:
                sender = threading.Thread(target=client.sendall, args=(bytes(3_000_000),))
                sender.start()
                got = 0
                while got < 3_000_000:
                    got += len(sock.recv(1 << 20))
                sender.join()
        pumps = [t for t in threading.enumerate() if t.name in ("barewire-one", "barewire-two")]
        assert len(pumps) == 2
    for thread in pumps:
        thread.join(5)
        assert not thread.is_alive()
    assert one.closed and two.closed


def test_closing_the_device_takes_it_from_the_stack() -> None:
    device = CallbackDevice(lambda frame: None)
    with barewire.Stack(device, addresses=[f"{ONE}/24"]) as stack:
        sock = stack.socket(type=socket.SOCK_DGRAM)
        sock.bind((ONE, 7000))
        sock.settimeout(5)
        threading.Timer(0.05, device.close).start()
        with pytest.raises(OSError) as caught:
            sock.recv(10)
        assert caught.value.errno == errno.ENETDOWN
        assert not device.receive(FRAME)
        sock.close()


async def test_asyncio_pulls() -> None:
    """A stack in this process, its tunnel in this event loop."""
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    one, two = CallbackDevice(), CallbackDevice(far)
    near.setblocking(False)

    def readable() -> None:
        try:
            for frame in one.transmit():
                near.send(frame)
        except DeviceError:
            loop.remove_reader(fd)

    fd = one.fileno()
    loop.add_reader(fd, readable)
    loop.add_reader(near, lambda: one.receive(near.recv(2048)))
    feeding = threading.Thread(target=feed, args=(far, two))
    feeding.start()
    a = barewire.Stack(one, addresses=[f"{ONE}/24"])
    b = barewire.Stack(two, addresses=[f"{TWO}/24"])
    with b.create_server((TWO, 80)) as server:
        with await asyncio.to_thread(a.create_connection, (TWO, 80), 10) as client:
            with server.accept()[0] as sock:
                client.sendall(b"through the loop")
                assert await asyncio.to_thread(sock.recv, 100) == b"through the loop"
    for stack in (a, b):
        await asyncio.to_thread(stack.close)
    loop.remove_reader(near)
    loop.remove_reader(fd)
    far.shutdown(socket.SHUT_RDWR)
    feeding.join(5)
    near.close()
    far.close()
    one.close()


def feed(sock: socket.socket, device: CallbackDevice) -> None:
    while frame := sock.recv(65536):
        device.receive(frame)


PROGRAM = """
import socket, sys, threading
from barewire import Stack
from barewire.nic_drivers import CallbackDevice

tunnel = socket.socket(fileno=int(sys.argv[1]))
device = CallbackDevice(tunnel)

def feed():
    while frame := tunnel.recv(65536):
        device.receive(frame)
    device.close()

threading.Thread(target=feed, daemon=True).start()
with Stack(device, addresses=["198.18.0.2/24"]) as stack, stack.create_server(("198.18.0.2", 80)) as s:
    print("ready", flush=True)
    sock, _ = s.accept()
    with sock:
        while data := sock.recv(65536):
            sock.sendall(data.upper())
"""


def test_two_stacks_in_two_processes() -> None:
    """TCP through a socketpair that carries frames, without any privilege."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-P", "-c", PROGRAM, str(there.fileno())]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=[there.fileno()])
    there.close()
    device = CallbackDevice(here)
    feeding = threading.Thread(target=feed, args=(here, device))
    feeding.start()
    with child, barewire.Stack(device, addresses=[f"{ONE}/24"]) as stack:
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        data = bytes(range(97, 123)) * 20_000
        with stack.create_connection((TWO, 80), 10) as sock:
            sender = threading.Thread(target=lambda: (sock.sendall(data), sock.shutdown(1)))
            sender.start()
            got = bytearray()
            while more := sock.recv(65536):
                got += more
            sender.join()
        assert got == data.upper()
        assert child.wait(10) == 0
    here.shutdown(socket.SHUT_RDWR)
    feeding.join(5)
    here.close()


# ---- by name -------------------------------------------------------------------------------------


def loop_back(device: CallbackDevice, argument: str = "") -> object:
    """For `callback:MODULE:loop_back`."""
    if argument == "fails":
        raise ConnectionRefusedError(errno.ECONNREFUSED, "nobody there")
    return device.receive if argument != "pull" else None


def test_a_tunnel_by_name() -> None:
    name = f"callback:{__name__}:loop_back"
    with open_device(f"{name}?layer=3&mtu=600&argument=x") as device:
        assert (device.kind, device.layer, device.mtu) == ("callback", 3, 600)
        assert isinstance(device, CallbackDevice)
        device.tx([FRAME])
        assert device.deliver() and device.recv() == FRAME
    with open_device(f"{name}?argument=pull&loss=100%") as device:
        assert device.counters["callback.sent"] == 0 == device.counters["fault.tx.lost"]


tunnels: list[tuple[CallbackDevice, Tunnel]] = []


def remembered(device: CallbackDevice) -> Tunnel:
    """For `callback:MODULE:remembered`."""
    tunnels.append((device, Tunnel()))
    return tunnels[-1][1]


def test_a_tunnel_that_ended_is_made_again() -> None:
    tunnels.clear()
    name = f"callback:{__name__}:remembered?layer=3"
    with barewire.Stack(name, addresses=[f"{ONE}/24"], clock=lambda: 10**9) as stack:
        for number in range(3):
            with stack.socket(type=socket.SOCK_DGRAM) as sock:
                sock.sendto(b"%d" % number, (TWO, 7))
                stack.poll()
            device, tunnel = tunnels[-1]
            assert [frame[28:] for frame in tunnel.frames] == [b"%d" % number]
            device.close()
            while stack.poll():
                pass
            assert not stack.interfaces[1].up
            stack.reattach()
    assert len(tunnels) == 4 and all(made.closed for made, _ in tunnels)


@pytest.mark.parametrize(
    ("name", "number", "sentence"),
    [
        ("callback:", errno.EINVAL, "write callback:MODULE:FUNCTION"),
        ("callback:no_such_module:f", errno.EINVAL, "No module named 'no_such_module'"),
        (f"callback:{__name__}:nothing", errno.EINVAL, "has no attribute 'nothing'"),
        (f"callback:{__name__}:loop_back?mtu=67", errno.EINVAL, "from 68 to 65535"),
        (f"callback:{__name__}:readable?argument=x", errno.EINVAL, "takes 1 positional argument"),
        (f"callback:{__name__}:loop_back?argument=fails", errno.ECONNREFUSED, "nobody there"),
    ],
)
def test_mistakes(name: str, number: int, sentence: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(DeviceError, match=sentence) as caught:
        open_device(name)
    assert caught.value.errno == number
    assert len(os.listdir("/proc/self/fd")) == before


def readable(fd: int) -> bool:
    return bool(select.select([fd], [], [], 0)[0])
