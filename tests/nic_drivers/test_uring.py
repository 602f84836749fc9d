"""uring: what only io_uring has; the rest of the contract is in test_contract.py."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
from array import array
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TypeVar

import barewire
import pytest
from barewire.nic_drivers import Device, DeviceError, available, open_device

from tests.netns.link import until
from tests.nic_drivers.frames import AWAY, CHECKSUM, OURS, TCP, unfinished
from tests.nic_drivers.links import TRIES, RealLink
from tests.nic_drivers.places import FAR_MAC, Place, TapPlace, VethPlace

pytestmark = pytest.mark.netns

T = TypeVar("T")
STACK = "198.18.0.2"


@pytest.fixture(params=["tap", "packet"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    made = TapPlace("uring:bw0") if request.param == "tap" else VethPlace("uring:veth0")
    yield made
    made.close()


@pytest.fixture
def link(place: Place) -> Iterator[RealLink]:
    with closing(RealLink(place)) as made:
        yield made


def in_thread(work: Callable[[], T]) -> T:
    """The result of work() in a thread that has exited when this returns."""
    results: list[T] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    task = f"/proc/self/task/{thread.native_id}"
    until(lambda: not os.path.exists(task), "the kernel's part of the thread has ended too")
    return results[0]


def counted(device: Device, *names: str) -> list[int]:
    return [device.xstats[name] for name in names]


# ---- the request that stands ---------------------------------------------------------------------


def test_one_request_receives_many_frames(link: RealLink) -> None:
    frames = [link.answer(i) for i in range(300)]
    for i in range(0, 300, 50):
        link.sends(*frames[i : i + 50])
        assert [f.data for f in link.delivered(50)] == frames[i : i + 50]
    assert counted(link.device, "rx_requests", "rx_cancelled", "rx_out_of_buffers") == [1, 0, 0]


def test_a_look_at_nothing_costs_no_system_call(link: RealLink) -> None:
    link.device.arm()
    before = counted(link.device, "rx_enters")
    for _ in range(100):
        assert link.device.rx() == []
    assert counted(link.device, "rx_enters") == before


def test_a_thread_that_spins_reads_without_a_request(link: RealLink) -> None:
    """Frames keep their order on the way there, under load and back to sleep."""
    link.device.arm()
    frames = [link.answer(i) for i in range(60)]
    found: list[bytes] = []
    for i in range(0, 60, 20):
        for _ in range(100):
            assert link.device.rx() == []
        assert counted(link.device, "rx_withdrawn") == [i // 20 + 1]
        link.sends(*frames[i : i + 10])
        before = counted(link.device, "rx_requests")[0]
        while len(found) < i + 10:
            found += [f.data for f in link.device.rx()]
        assert counted(link.device, "rx_requests")[0] == before + 1, "many: it stands again"
        link.sends(*frames[i + 10 : i + 20])
        found += [f.data for f in link.delivered(10)]
    assert found == frames
    assert counted(link.device, "rx_cancelled", "rx_moved") == [0, 0]


def test_after_a_super_segment_the_request_stands_for_long(link: RealLink) -> None:
    """More of such a stream follows, if not at once: 4,096 more looks at nothing are borne."""
    link.device.arm()
    for _ in range(100):
        assert link.device.rx() == []
    requests, withdrawn = counted(link.device, "rx_requests", "rx_withdrawn")
    frame = link.device.mac + FAR_MAC + b"\x08\x00" + unfinished(AWAY, OURS, TCP, bytes(5000))
    link.end.send(frame, gso_size=1000, csum_offset=CHECKSUM[TCP])
    (found,) = next(filter(None, (link.device.rx() for _ in range(TRIES))))
    assert (found.data[54:], found.gso_size) == (bytes(5000), 1000)
    for _ in range(4096):
        assert link.device.rx() == []
    assert counted(link.device, "rx_requests", "rx_withdrawn") == [requests + 1, withdrawn]
    for _ in range(100):
        assert link.device.rx() == []
    assert counted(link.device, "rx_requests", "rx_withdrawn") == [requests + 1, withdrawn + 1]


def test_a_request_made_by_a_thread_that_exited_is_made_anew(link: RealLink) -> None:
    armed = in_thread(link.device.arm)
    link.sends(link.answer(1))
    assert link.woken(armed), "the kernel cancels it, and that wakes"
    assert [f.data for f in link.delivered(1)] == [link.answer(1)]
    assert counted(link.device, "rx_requests", "rx_cancelled", "rx_moved") == [2, 1, 0]


def test_who_drives_next_takes_the_request_over(link: RealLink) -> None:
    """The thread before lives on and may compute for long: no frame waits for it."""
    asked, done = threading.Barrier(2), threading.Barrier(2)
    found: list[bytes] = []

    def drives() -> None:
        for i in range(0, 20, 2):
            asked.wait(5)
            found.extend(f.data for f in link.delivered(1))
            assert len(found) == i + 1
            done.wait(5)

    other = threading.Thread(target=drives)
    other.start()
    for i in range(0, 20, 2):
        link.sends(link.answer(i))
        asked.wait(5)
        done.wait(5)
        link.sends(link.answer(i + 1))
        found.extend(f.data for f in link.delivered(1))
    other.join()
    assert found == [link.answer(i) for i in range(20)]
    requests, moved, cancelled = counted(link.device, "rx_requests", "rx_moved", "rx_cancelled")
    assert moved >= 19 and requests == 1 + moved and cancelled == 0


def test_without_a_free_buffer_frames_wait_in_the_kernel(place: Place) -> None:
    with closing(RealLink(place, "ring=16")) as link:
        link.device.arm()
        frames = [link.answer(i) for i in range(100)]
        link.sends(*frames)
        assert [f.data for f in link.delivered(100)] == frames
        assert counted(link.device, "rx_out_of_buffers")[0] > 0


def test_without_multishot_each_frame_is_a_request(place: Place) -> None:
    with closing(RealLink(place, "multishot=0")) as link:
        frames = [link.answer(i) for i in range(100)]
        link.sends(*frames)
        assert [f.data for f in link.delivered(100)] == frames
        assert counted(link.device, "rx_requests")[0] >= 100
        link.transmit([link.frame(i) for i in range(100)])
        assert link.received(100) == [link.frame(i) for i in range(100)]


def test_a_vlan_tag_stays_where_it_was() -> None:
    place = VethPlace("uring:veth0")
    with closing(place):
        for options in ([], ["multishot=0"]):
            with closing(RealLink(place, *options)) as link:
                plain = link.answer(1)
                tagged = plain[:12] + b"\x81\x00\x20\x07" + plain[12:]
                link.sends(tagged, plain)
                assert [f.data for f in link.delivered(2)] == [tagged, plain]


# ---- who drives ----------------------------------------------------------------------------------


def test_of_a_dedicated_device_the_kernel_refuses_a_second_thread(place: Place) -> None:
    with closing(RealLink(place, "dedicated=1")) as link:
        assert "thread_bound" in link.device.cap_names
        link.device.arm()

        def refused() -> int:
            with pytest.raises(DeviceError) as caught:
                link.device.rx()
            return caught.value.errno or 0

        assert in_thread(refused) == errno.EEXIST
        link.sends(link.answer(1))
        assert [f.data for f in link.delivered(1)] == [link.answer(1)]


def exchange(place: Place, stack: barewire.Stack) -> None:
    with closing(stack.socket(socket.AF_INET, socket.SOCK_DGRAM)) as ours:
        ours.bind((STACK, 7000))
        ours.settimeout(5)
        with place.far.socket(socket.AF_INET, socket.SOCK_DGRAM) as kernel:
            kernel.settimeout(5)
            kernel.connect((STACK, 7000))
            for i in range(200):
                kernel.send(b"%d" % i)
                data, peer = ours.recvfrom(100)
                ours.sendto(data * 2, peer)
                assert kernel.recv(100) == b"%d" % i * 2


@pytest.mark.parametrize("options", [[], ["dedicated=1"], ["sqpoll=2"], ["multishot=0"]])
def test_a_stack_that_was_opened_in_a_thread_which_exited(place: Place, options: list[str]) -> None:
    def opened() -> barewire.Stack:
        return barewire.Stack(place.open(*options), addresses=[f"{STACK}/24"])

    with in_thread(opened) as stack:
        exchange(place, stack)
        in_thread(lambda: exchange(place, stack))
        if "dedicated=1" in options:
            stats = stack.stats()
            assert stats["driver_sleeps"] == stats["driver_spins"] == stats["handoffs"] == 0


def test_an_interface_that_is_shared() -> None:
    place = VethPlace("uring:veth0")
    with closing(place), barewire.Stack(place.open("share=address")) as stack:
        stack.add_address(f"{STACK}/24")
        exchange(place, stack)
        with pytest.raises(OSError) as caught:
            stack.add_address("198.18.0.3/24")
        assert caught.value.errno == errno.EADDRINUSE


def test_the_kernels_thread_lags_behind_its_completions(place: Place) -> None:
    """It moves the head of the ring by batches: a slot is free before there is room for its next
    request, which is a full ring as any other."""
    batch = barewire.Batch(1024, 1000)
    batch.lengths[:] = memoryview(array("I", [1000] * 1024))
    with barewire.Stack(place.open("sqpoll=2"), addresses=[f"{STACK}/24"]) as stack:
        exchange(place, stack)
        batch.set_address(("198.18.0.1", 9))
        with closing(stack.socket(socket.AF_INET, socket.SOCK_DGRAM)) as ours:
            ours.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_PMTUDISC_DONT: no super-segments
            assert sum(ours.send_batch(batch) for _ in range(30)) == 30 * 1024
        stats = stack.interface_stats(stack.interfaces[1].name)
        assert stats["tx_full"] > 0 == stats["tx_dropped"]


def test_the_kernels_thread_submits(place: Place) -> None:
    with closing(RealLink(place, "sqpoll=2", "sqpoll_cpu=0")) as link:
        frames = [link.frame(i, 1000) for i in range(500)]
        link.transmit(frames)
        assert link.received(500) == frames
        link.sends(*(link.answer(i) for i in range(200)))
        assert [f.data for f in link.delivered(200)] == [link.answer(i) for i in range(200)]
        assert link.device.stats["tx_frames"] == 500


# ---- opening -------------------------------------------------------------------------------------


def test_what_it_goes_over_is_what_the_interface_is(place: Place) -> None:
    with place.open() as device:
        assert device.info["over"] == ("tap" if isinstance(place, TapPlace) else "packet")
        assert "fallback" not in device.info
    if isinstance(place, TapPlace):
        place.ip("tuntap", "add", "bw1", "mode", "tap")
        place.ip("link", "set", "bw1", "up")
        with place.near.entered():
            with open_device("uring:bw1") as device:
                assert device.info["over"] == "tap"
            with open_device("uring:bw1?over=packet") as device:
                assert device.info["over"] == "packet"


@pytest.mark.parametrize(
    ("options", "number", "sentence"),
    [
        ("over=tap&fanout=3", errno.EINVAL, "option fanout of uring:bw0 is not for over=tap"),
        ("over=tap&queues=2", errno.EINVAL, "option queues of uring:bw0 is not for over=tap"),
        ("over=packet&queues=2", errno.EINVAL, "give queue= and queues= together"),
        (
            "over=packet&host=198.18.0.1/24",
            errno.EINVAL,
            "option host of uring:bw0 is not for over",
        ),
        ("over=wire", errno.EINVAL, "expected tap or packet"),
        ("over=packet", errno.ENODEV, "there is no interface 'bw0'"),
        ("ring=100", errno.EINVAL, "expected a power of two"),
        ("ring=8", errno.EINVAL, "from 16 to 4096"),
        ("sqpoll=5&dedicated=1", errno.EINVAL, "exclude each other"),
        ("sqpoll_cpu=0", errno.EINVAL, "give that too"),
        ("sqpoll=5&sqpoll_cpu=1000", errno.EINVAL, "sqpoll_cpu=1000: there is no such CPU"),
        ("netns=nowhere", errno.ENOENT, "no network namespace nowhere"),
    ],
)
def test_mistakes(options: str, number: int, sentence: str) -> None:
    place = TapPlace("uring:bw0")
    with closing(place):
        before = len(os.listdir("/proc/self/fd"))
        with place.near.entered(), pytest.raises(DeviceError, match=sentence) as caught:
            open_device(f"uring:bw0?{options}")
        assert caught.value.errno == number
        assert "bw0" not in place.near.links()
        assert len(os.listdir("/proc/self/fd")) == before


# A system call answers with an error, or does where its second argument is this; all else is as it was.
FORBID = """
import ctypes, errno, socket, struct, sys
import barewire
from barewire.nic_drivers import DeviceError, available, open_device

def op(code, jt, jf, k):  # linux/filter.h
    return struct.pack("=HBBI", code, jt, jf, k)
def forbid(call, number, second=None):
    asked = op(0x20, 0, 0, 24) + op(0x15, 0, 1, second) if second is not None else b""
    code = op(0x20, 0, 0, 0) + op(0x15, 0, 1 + len(asked) // 8, call) + asked
    code += op(0x06, 0, 0, 0x50000 | number) + op(0x06, 0, 0, 0x7FFF0000)
    kept = ctypes.create_string_buffer(code)
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(kept))
    libc = ctypes.CDLL(None)
    assert not libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    assert not libc.prctl(22, 2, program)  # PR_SET_SECCOMP
"""

NO_SETUP = (
    FORBID
    + """
forbid(425, int(sys.argv[1]))  # io_uring_setup
try:
    open_device("uring:bw0")
except DeviceError as error:
    print(error.errno, error)
print([info.reason for info in available() if info.kind == "uring"][0])
"""
)

NO_PROBE = (
    FORBID
    + """
forbid(427, errno.EINVAL, 8)  # io_uring_register, IORING_REGISTER_PROBE: what it can do is not known
with open_device(sys.argv[1]) as device, barewire.Stack(device, addresses=["198.18.0.2/24"]) as stack:
    print(device.info["fallback"])
    with stack.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
        ours.bind(("198.18.0.2", 7000))
        print("up", flush=True)
        for _ in range(200):
            ours.sendto(*ours.recvfrom(100))
"""
)


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.ENOSYS, "this kernel has no io_uring"),
        (errno.EPERM, "io_uring is not permitted here: the sysctl kernel.io_uring_disabled or the"),
        (errno.EINVAL, "the io_uring of this kernel is too old: it takes Linux 5.19"),
    ],
)
def test_a_kernel_that_has_none(number: int, sentence: str) -> None:
    place = TapPlace("uring:bw0")
    with closing(place):
        command = [sys.executable, "-P", "-c", NO_SETUP, str(number)]
        result = place.near.run(command, capture_output=True, text=True, check=True)
        opened, probed = result.stdout.splitlines()
        assert opened.startswith(f"{number} {sentence}") and probed.startswith(sentence)


def test_a_kernel_that_is_too_old_for_one_request(place: Place) -> None:
    place.prepare()
    tap = isinstance(place, TapPlace)
    command = [sys.executable, "-P", "-c", NO_PROBE, place.name()]
    with place.near.popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        reason = child.stdout.readline()
        assert (
            reason
            == f"each frame is a request of its own: one for many takes Linux 6.{7 if tap else 0}\n"
        )
        assert child.stdout.readline() == "up\n"
        with place.far.socket(socket.AF_INET, socket.SOCK_DGRAM) as kernel:
            kernel.settimeout(5)
            kernel.connect((STACK, 7000))
            for i in range(200):
                kernel.send(b"%d" % i)
                assert kernel.recv(100) == b"%d" % i
        assert child.wait(5) == 0


def test_it_is_available_here() -> None:
    (kind,) = [info for info in available() if info.kind == "uring"]
    assert kind.available, kind.reason


# ---- what is left --------------------------------------------------------------------------------


def mapped() -> int:
    with open("/proc/self/maps", encoding="ascii") as maps:
        return sum("io_uring" in line for line in maps)


def test_a_forked_child_has_none_of_the_rings(link: RealLink) -> None:
    link.device.arm()
    assert mapped() > 0
    child = os.fork()
    if not child:
        os._exit(mapped())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    link.sends(link.answer(1))
    assert [f.data for f in link.delivered(1)] == [link.answer(1)]


def test_a_killed_process_leaves_the_interface_as_it_was() -> None:
    place = VethPlace("uring:veth0")
    with closing(place):
        place.prepare()
        before = place.state()
        program = (
            "import sys, barewire\n"
            f"stack = barewire.Stack('uring:veth0', addresses=['{STACK}/24'])\n"
            "print('up', flush=True); sys.stdin.read()\n"
        )
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with place.near.popen([sys.executable, "-P", "-c", program], **pipes) as child:
            assert child.stdout is not None and child.stdout.readline() == b"up\n"
            assert place.state() != before
            with place.far.socket(socket.AF_INET, socket.SOCK_DGRAM) as kernel:
                kernel.sendto(b"traffic", (STACK, 9))
            os.kill(child.pid, signal.SIGKILL)
            child.wait(5)
        # A worker of the kernel's takes the rings down, and with them the socket: a moment later.
        assert any(place.state() == before for _ in range(TRIES))
