"""What programs keep of devices, and what a forked child has of everything."""

from __future__ import annotations

import errno
import gc
import os
import tempfile
import threading
from collections.abc import Callable
from typing import Any

import barewire
from barewire.nic_drivers import (
    CallbackDevice,
    Device,
    DeviceError,
    Faults,
    TxFrame,
    pipe_pair,
    with_faults,
    with_late,
    with_pcap,
)

from .owners import case, connected, in_thread, quiet_stack, raises

ROUNDS = 60  # of what two threads do to one another
FRAME = bytes(60)

# ---- devices -------------------------------------------------------------------------------------


def devices() -> list[tuple[str, Device, Device]]:
    """A pipe's end as it is, and in each wrapper; with its peer."""
    folder = tempfile.mkdtemp()
    found = []
    for name, wrapped in (
        ("pipe", lambda d: d),
        ("fault", lambda d: with_faults(d, Faults(delay=10))),
        ("pcap", lambda d: with_pcap(d, f"{folder}/pcap")),
        ("late", lambda d: with_late(d)),
    ):
        near, peer = pipe_pair()
        found.append((name, wrapped(near), peer))
    return found


USES: dict[str, Callable[[Any], Any]] = {
    "rx": lambda d: d.rx(),
    "recv": lambda d: d.recv(),
    "tx": lambda d: d.tx([FRAME]),
    "send": lambda d: d.send(FRAME),
    "arm": lambda d: d.arm(),
    "reclaim": lambda d: d.reclaim(),
    "stats": lambda d: d.stats,
    "xstats": lambda d: d.xstats,
    "take": lambda d: d.take(),
    "waiting": lambda d: d.waiting,
    "peer_closed": lambda d: d.peer_closed,
}


def usable(device: Any) -> dict[str, Callable[[Any], Any]]:
    """The last two are a pipe's own."""
    return {n: use for n, use in USES.items() if hasattr(type(device), n)}


@case
def closed_devices() -> None:
    for _, device, peer in devices():
        device.close()
        for use in usable(device).values():
            raises(errno.EBADF, lambda use=use, device=device: use(device))
        assert device.counters is not None
        peer.close()


@case
def devices_that_a_stack_took() -> None:
    for _, device, peer in devices():
        counters = device.counters.keys()
        stack = quiet_stack(device)
        stack.close()
        del stack
        gc.collect()
        for use in usable(device).values():
            raises(errno.EBADF, lambda use=use, device=device: use(device))
        assert device.counters.keys() == counters
        peer.close()


@case
def devices_closed_by_another_thread() -> None:
    for name in USES:
        if name == "take":
            continue
        for round in range(ROUNDS):
            for _, device, peer in devices()[: 4 if round < 5 else 1]:
                use = usable(device).get(name)
                if use is None:
                    peer.close()
                    device.close()
                    continue
                peer.tx([FRAME] * 32)
                begun = threading.Event()

                def run(use: Any = use, device: Any = device, begun: Any = begun) -> None:
                    try:
                        while True:
                            use(device)
                            begun.set()
                    except DeviceError as error:
                        assert error.errno == errno.EBADF, error

                thread = in_thread(run)
                begun.wait()
                device.close()
                thread.join(20)
                assert not thread.is_alive()
                peer.close()


@case
def devices_closed_in_the_middle_of_a_call() -> None:
    """As a handler of a signal may: the device lives until the call is over."""
    for _, device, peer in devices():
        peer.tx([FRAME] * 8)
        with device.using() as netdev:
            device.close()
            raises(errno.EBADF, device.rx)
            raises(errno.EBADF, device.take)
            assert netdev.stats.rx_frames == 0
        raises(errno.EBADF, device.rx)
        peer.close()


@case
def devices_taken_in_the_middle_of_a_call() -> None:
    for _, device, peer in devices():
        with device.using():
            raises(errno.EBUSY, device.take)
        device.close()
        peer.close()


@case
def frames_that_a_device_still_reads() -> None:
    near, peer = pipe_pair()
    device = with_late(near)
    device.tx([TxFrame([bytearray(60)], token=7)])
    raises(errno.EBUSY, device.take)
    gc.collect()
    device.close()
    peer.close()


@case
def callback_devices_closed_by_another_thread() -> None:
    uses: dict[str, Callable[[CallbackDevice], Any]] = {
        "receive": lambda d: d.receive(FRAME),
        "transmit": lambda d: d.transmit(),
        "fileno": lambda d: d.fileno(),
        "closed": lambda d: d.closed,
        "rx": lambda d: d.rx(),
    }
    for use in uses.values():
        for round in range(ROUNDS):
            device = CallbackDevice()
            stack = None if round % 3 else quiet_stack(device, addresses=["198.18.0.1/24"])
            done = threading.Event()

            def run(use: Any = use, device: Any = device, done: Any = done) -> None:
                while not done.is_set():
                    try:
                        use(device)
                    except DeviceError:
                        pass

            thread = in_thread(run)
            device.close()
            if stack is not None:
                stack.close()
            done.set()
            thread.join(20)
            assert not thread.is_alive()


@case
def callback_device_that_its_sender_closes() -> None:
    held: list[CallbackDevice] = []
    closed = threading.Event()
    device = CallbackDevice(lambda frame: held[0].close(), on_close=closed.set)
    held.append(device)
    stack = quiet_stack(device, addresses=["198.18.0.1/24"])
    with stack.socket(type=2) as sock:
        try:
            sock.sendto(b"x", ("198.18.0.2", 9))  # asks for the neighbour first
        except OSError:
            pass
    assert closed.wait(20)
    stack.close()


# ---- a forked child's copies ---------------------------------------------------------------------


@case
def copies_of_a_forked_child() -> None:
    child = forked_with_everything()
    gc.collect()
    if not child:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def forked_with_everything() -> int:
    stack = quiet_stack()
    here, there = connected(stack)
    near, _peer = pipe_pair()
    callback = CallbackDevice()
    found = stack.trace()
    poll = barewire.select.poll()
    poll.register(here, 1)
    uses: list[Callable[[], Any]] = [lambda use=use: use(near) for use in usable(near).values()]
    uses += [lambda: here.recv(1), lambda: there.send(b"x"), stack.socket, callback.transmit]
    uses += [lambda: callback.receive(FRAME), poll.poll, lambda: stack.add_address("198.18.0.9/24")]
    child = os.fork()
    if not child:
        for use in uses:
            raises(errno.EBADF, use)
        assert list(found) == []
    stack.close()
    near.close()
    callback.close()
    return child
