"""A bad network between two namespaces: two TAP interfaces, joined through the fault device.

Each namespace gets an interface with an address; what the kernel sends there is a frame that the
relay reads, leads through the faults (loss, delay, reordering, a slow link with its queue, an
outage; seeded, each way with dice of its own) and writes to the other. One thread moves the frames
in C, without the interpreter (`pump.c`), before all ordinary threads where it may (SCHED_FIFO), and
records how late it woke up.

Both interfaces are without offloads: the kernel cuts its super-segments and finishes checksums
before it hands a frame over, so every frame is one that could stand on a wire, at most `mtu`
bytes of IP. The two kernels know each other's link address: no ARP gets lost. The
interfaces live as long as the relay, and end with its process however it ends.

`barewire.tools.bench.wire` puts a barewire stack behind one end.
"""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import dataclass

from ...nic_drivers import Device, Faults, open_device, with_faults
from ...nic_drivers.helper_thread import leave_signals_to_others
from ..closing import Closing
from ..netns import Namespace
from ._pump import ffi, lib

ADDRESSES = ("198.18.0.1/24", "198.18.0.2/24")


@dataclass(frozen=True)
class RelayStats:
    """What a relay did so far. Pairs are from the first end to the second, and back."""

    frames: tuple[int, int]
    dropped: tuple[int, int]  # an interface was full: none in a sound run
    wakeups: int
    deadlines: int  # of the fault device, each met with some lateness
    late_p50: float  # seconds
    late_p99: float
    late_max: float
    cpu: float  # seconds of processor time


class Pump:
    """Moves frames between two devices in a thread of its own, from `start` to `close`.

    The devices are driven by that thread alone and closed by `close`. They must give single frames
    with finished checksums (ValueError otherwise).
    """

    def __init__(self, a: Device, b: Device) -> None:
        for device in (a, b):
            if {"rx_csum", "rx_gso", "tx_async"} & set(device.cap_names):
                raise ValueError(f"{device!r} leaves work to a stack: open it without offloads")
        self._devices = (a, b)
        self._stats = ffi.new("struct pump_stats *")
        self._result = 0
        self._stop = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._run, name="barewire-relay", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        leave_signals_to_others()
        with contextlib.suppress(
            PermissionError
        ):  # then its timing is what the machine's load allows
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        a, b = (device.peek() for device in self._devices)
        self._result = lib.pump_run(a, b, self._stop, self._stats)

    def close(self) -> None:
        """Stops the thread and closes the devices. Idempotent. Raises OSError if a device failed
        before (an interface that was removed: ENETDOWN)."""
        if self._stop < 0:
            return
        if self._thread.ident is not None:
            os.eventfd_write(self._stop, 1)
            self._thread.join()
        os.close(self._stop)
        self._stop = -1
        for device in self._devices:
            device.close()
        if self._result < 0:
            raise OSError(-self._result, f"the relay ended early: {os.strerror(-self._result)}")

    @property
    def stats(self) -> RelayStats:
        s = self._stats
        late = list(s.late)
        return RelayStats(
            frames=(s.frames[0], s.frames[1]),
            dropped=(s.dropped[0], s.dropped[1]),
            wakeups=s.wakeups,
            deadlines=sum(late),
            late_p50=_percentile(late, 0.5),
            late_p99=_percentile(late, 0.99),
            late_max=s.late_max / 1e9,
            cpu=s.cpu / 1e9,
        )


def _percentile(buckets: list[int], share: float) -> float:
    """The upper end, in seconds, of the bucket that holds this share of the whole."""
    left = sum(buckets) * share
    for number, count in enumerate(buckets):
        left -= count
        if left <= 0:
            return (number + 1) * int(lib.PUMP_BUCKET_NS) / 1e9
    return float("inf")


class Relay(Closing):
    """A link from namespace `a` to namespace `b`, with `faults` the same both ways.

    name: of the interface in each; addresses: the kernel's, with their prefix. The link is up when
    the constructor returns; a context manager, `close` takes the interfaces away. Raises
    DeviceError, NoPrivilege.
    """

    def __init__(
        self,
        a: Namespace,
        b: Namespace,
        faults: Faults | None = None,
        *,
        seed: int = 1,
        addresses: tuple[str, str] = ADDRESSES,
        name: str = "link0",
        mtu: int = 1500,
        held: int = 4096,
    ) -> None:
        self.name = name
        with contextlib.ExitStack() as opened:
            ends = []
            for namespace, address in zip((a, b), addresses, strict=True):
                with namespace.entered():
                    end = open_device(f"tap:{name}?host={address}&mtu={mtu}&vnet=0")
                ends.append(opened.enter_context(end))
            self._faulty = opened.enter_context(
                with_faults(ends[1], faults or Faults(), seed=seed, held=held)
            )
            self._pump = Pump(ends[0], self._faulty)
            opened.callback(self._pump.close)
            for here, there, address in ((a, b, addresses[1]), (b, a, addresses[0])):
                here.introduce(name, there, address.split("/")[0])
            self._pump.start()
            opened.pop_all()

    def close(self) -> None:
        """Idempotent. Raises OSError if the link failed before."""
        self._pump.close()

    @property
    def stats(self) -> RelayStats:
        return self._pump.stats

    @property
    def faults(self) -> dict[str, int]:
        """What befell the frames: `fault.tx.lost` (first end to second), `fault.rx.lost` (back)."""
        return self._faulty.counters


__all__ = ["ADDRESSES", "Pump", "Relay", "RelayStats"]
