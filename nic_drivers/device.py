"""class Device: an open device, until a stack takes it; and driving one by hand."""

from __future__ import annotations

import errno
import os
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from ._netdev import ffi, lib
from .driving import ONE_QUEUE, Driving, Queues
from .errors import DeviceError
from .names import DeviceSpec

_CAPS = {
    "tx_csum": lib.NETDEV_TX_CSUM,
    "rx_csum": lib.NETDEV_RX_CSUM,
    "tso4": lib.NETDEV_TSO4,
    "tso6": lib.NETDEV_TSO6,
    "rx_gso": lib.NETDEV_RX_GSO,
    "tx_async": lib.NETDEV_TX_ASYNC,
    "thread_bound": lib.NETDEV_THREAD_BOUND,
    "vnet_hdr": lib.NETDEV_VNET_HDR,
    "loopback": lib.NETDEV_LOOPBACK,
    "uso4": lib.NETDEV_USO4,
}


class Tally:
    """Counters of a device or middleware that stay readable after a stack took or closed it."""

    def __init__(self, cdata: Any, names: Sequence[str]) -> None:
        self._cdata = ffi.gc(cdata, lib.tally_drop)
        self._names = tuple(names)

    def read(self) -> dict[str, int]:
        return {name: int(lib.tally_get(self._cdata, i)) for i, name in enumerate(self._names)}


class RxFrame(NamedTuple):
    """A received frame, copied. `csum` is one of BW_CSUM_* (0 unknown, 1 valid, 2 partial)."""

    data: bytes
    csum: int = 0
    gso_size: int = 0


class Armed(NamedTuple):
    """What arm() answered: work is already there; a descriptor and its poll events (or -1); the
    time (ns) at which the device has something to do by itself, or None."""

    ready: bool
    fd: int
    events: int
    deadline: int | None


@dataclass(frozen=True)
class TxFrame:
    """A frame to transmit, in pieces. With `csum_start` the device finishes the checksum at
    csum_start + csum_offset, over everything from csum_start; with `gso_size` it cuts a
    super-segment into segments (devices with tso4) or datagrams (uso4) of so many bytes."""

    pieces: Sequence[bytes | bytearray | memoryview]
    csum_start: int | None = None
    csum_offset: int = 0
    l3_off: int = 14
    token: int = 0
    gso_size: int = 0


@dataclass(frozen=True)
class Limits:
    """What a device leaves its stack: the local ports, as inclusive ranges (none given: all); and why
    it carries no TCP, in a sentence ("": it does)."""

    ports: tuple[tuple[int, int], ...] = ()
    no_tcp: str = ""


def stable_mac(name: str) -> bytes:
    """A locally administered unicast MAC address that is always the same for a device name."""
    import hashlib  # slow to load

    mac = bytearray(hashlib.sha256(b"barewire:" + name.encode()).digest()[:6])
    mac[0] = mac[0] & 0xFC | 0x02
    return bytes(mac)


class Device:
    """An open network device: the owner of a `struct netdev *` until a stack takes it.

    `mtu` is the largest IP packet in bytes, `layer` 2 (Ethernet frames) or 3 (bare IP packets),
    `mac` six bytes. A device belongs to the process that opened it: a forked child's copy refuses
    to work and its close() does nothing; its descriptors are closed, so that nothing of the device
    outlives the parent's close().
    """

    def __init__(
        self,
        kind: str,
        netdev: Any,
        tallies: Sequence[Tally] = (),
        info: Mapping[str, int | str] = MappingProxyType({}),
        inner: Device | None = None,
        queues: Queues = ONE_QUEUE,
    ) -> None:
        self.kind = kind
        self.info = info
        """What it runs as, by its driver: such as the mode of an XDP device."""
        self.queues: Queues = inner.queues if inner else queues
        self.driving: Driving = inner.driving if inner else Driving()
        self.spec: DeviceSpec | None = None
        """The name it was opened by (open_device), for opening the same again: a driver that chose
        something by what it found says so here."""
        self.name: str = ffi.string(netdev.name).decode()
        self.layer = int(netdev.layer)
        self.mtu = int(netdev.mtu)
        self.mac = bytes(ffi.buffer(netdev.mac, 6))
        self.caps = int(netdev.caps)
        self._netdev = netdev
        self._tallies = tuple(tallies)
        self.inner = inner
        """The device that this one is wrapped around, which it has taken; None: it is no wrapper."""
        self.limits: Limits = Limits() if inner is None else inner.limits
        self._pid = os.getpid()
        self._lent: dict[int, list[Any]] = {}
        self._lock = threading.RLock()
        self._users = (
            0  # calls that are in the netdev: of one thread, nested by handlers of signals
        )
        self._ending = False  # close() came meanwhile
        _devices.add(self)

    def __repr__(self) -> str:
        state = "" if self._netdev is not None else " (taken or closed)"
        return f"<Device {self.kind}:{self.name} layer {self.layer} mtu {self.mtu}{state}>"

    @property
    def cap_names(self) -> list[str]:
        return [name for name, bit in _CAPS.items() if self.caps & bit]

    @property
    def xstats(self) -> dict[str, int]:
        """What only this driver counts: its drops by reason (`rx_too_long`), and what the kernel or
        the hardware counted for it (`kernel_rx_dropped`). A stack that took the device reports
        them (`Stack.interface_stats`)."""
        with self.using() as netdev:
            if netdev.xstats == ffi.NULL:
                return {}
            rows = ffi.new("struct netdev_xstat[]", lib.BW_XSTATS)
            n = self._check(netdev.xstats(netdev, rows, lib.BW_XSTATS))
        return {ffi.string(row.name).decode(): int(row.value) for row in rows[0:n]}

    @property
    def counters(self) -> dict[str, int]:
        """What the middleware around the device did: `fault.rx.lost`, `pcap.frames`, … Stays
        readable after a stack took or closed the device."""
        return {name: value for tally in self._tallies for name, value in tally.read().items()}

    @property
    def tallies(self) -> tuple[Tally, ...]:
        return self._tallies

    def take(self) -> Any:
        """Hands the `struct netdev *` over: whoever takes it closes it. Only once. DeviceError EBUSY
        while a call is in it, or frames that were sent by hand have still to be reclaimed."""
        return self.hand_over(lambda netdev: netdev)

    def hand_over(self, make: Callable[[Any], Any]) -> Any:
        """As take(), to what make(netdev) gives; if that is NULL the device stays this object's."""
        self._check_process()
        with self._lock:
            netdev = self._open()
            if self._users or self._lent:
                why = "is in use: let the call end, and reclaim() what was sent"
                raise DeviceError(errno.EBUSY, f"device {self.kind}:{self.name} {why}")
            made = make(netdev)
            if made != ffi.NULL:
                self._netdev = None
            return made

    def attached(self, is_virtual: bool) -> Callable[[], bool] | None:
        """A stack has taken the device, in virtual time or not. What its poll() has to call in
        virtual time to move frames in Python, which says whether any moved; None: nothing."""
        return None if self.inner is None else self.inner.attached(is_virtual)

    def peek(self) -> Any:
        """The `struct netdev *`, still this object's: for a thread that alone drives and closes it."""
        self._check_process()
        return self._open()

    @contextmanager
    def using(self) -> Iterator[Any]:
        """The `struct netdev *`, and no other thread in it: close() waits for the end. In the thread
        itself (a signal handler may call it) it closes then."""
        self._check_process()
        with self._lock:
            netdev = self._open()
            self._users += 1
            try:
                yield netdev
            finally:
                self._users -= 1
                if self._ending:
                    self.close()

    def close(self) -> None:
        """Closes the device unless a stack has taken it. May be called again."""
        if self._pid != os.getpid():
            return
        with self._lock:
            self._ending = self._users > 0
            if self._ending:
                return
            netdev, self._netdev = self._netdev, None
            if netdev is not None:
                netdev.close(netdev)
                self._lent.clear()
        if self.inner is not None:
            self.inner.close()  # what it holds beside the netdev that went with ours

    def forked(self) -> None:
        """In a forked child."""
        netdev, self._netdev = self._netdev, None
        if netdev is not None and netdev.forked != ffi.NULL:
            netdev.forked(netdev)

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_netdev", None) is not None and self._pid == os.getpid():
            try:
                warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
            finally:  # a filter may make an error of the warning
                self.close()

    def _open(self) -> Any:
        if self._netdev is None or self._ending:
            raise self._unusable("is closed or in use by a stack: open another")
        return self._netdev

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            raise self._unusable("belongs to the process that opened it: open one after the fork")

    def _unusable(self, why: str) -> DeviceError:
        return DeviceError(errno.EBADF, f"device {self.kind}:{self.name} {why}")

    # ---- driving it by hand, without a stack: tests and tools -----------------------------------

    @property
    def stats(self) -> dict[str, int]:
        """The device's own counters (struct netdev_stats); a stack that took it reports them
        itself."""
        with self.using() as netdev:
            stats = netdev.stats
            return {name: int(getattr(stats, name)) for name, _ in ffi.typeof(stats).fields}

    def rx(self, max: int = 64, now: int = 0) -> list[RxFrame]:
        """One receive burst, copied. Raises DeviceError, ENETDOWN when the device is gone."""
        frames = ffi.new("struct rx_frame[]", max)
        with self.using() as netdev:
            n = self._check(netdev.rx_burst(netdev, now, frames, max))
            return [
                RxFrame(bytes(ffi.buffer(f.data, f.len)), f.csum, f.gso_size) for f in frames[0:n]
            ]

    def tx(self, frames: Sequence[bytes | TxFrame], now: int = 0) -> int:
        """One transmit burst; how many the device accepted. Frames with a token on a TX_ASYNC
        device are read until reclaim() names the token; mutable pieces show what the device
        reads."""
        burst = ffi.new("struct tx_frame[]", len(frames))
        alive = []
        for slot, frame in zip(burst, frames, strict=True):
            if isinstance(frame, bytes):
                frame = TxFrame([frame])
            views = [ffi.from_buffer("uint8_t[]", piece) for piece in frame.pieces]
            for i, view in enumerate(views):
                slot.piece[i].data, slot.piece[i].len = view, len(view)
            slot.pieces, slot.len = len(views), sum(map(len, views))
            slot.token, slot.l3_off = frame.token, frame.l3_off if self.layer == 2 else 0
            slot.gso_size = frame.gso_size
            if frame.csum_start is not None:
                slot.csum_partial, slot.csum_start, slot.csum_offset = (
                    1,
                    frame.csum_start,
                    frame.csum_offset,
                )
            alive.append((frame.token, views))
        with self.using() as netdev:
            n = self._check(netdev.tx_burst(netdev, now, burst, len(frames)))
            if self.caps & lib.NETDEV_TX_ASYNC:
                for token, views in alive[:n]:
                    self._lent.setdefault(token, []).extend(views)
        return n

    def send(self, frame: bytes, now: int = 0) -> bool:
        """One frame out; False: the device is full."""
        return self.tx([frame], now) == 1

    def recv(self, now: int = 0) -> bytes | None:
        """One frame in; None: there is none now."""
        frames = self.rx(1, now)
        return frames[0].data if frames else None

    def reclaim(self, max: int = 64) -> list[int]:
        """Tokens of finished frames (TX_ASYNC devices; none on others)."""
        tokens = ffi.new("uint32_t[]", max)
        with self.using() as netdev:
            if netdev.reclaim == ffi.NULL:
                return []
            found = [int(tokens[i]) for i in range(netdev.reclaim(netdev, tokens, max))]
            for token in found:
                self._lent.pop(token, None)
        return found

    def arm(self, now: int = 0, want_tx: bool = False) -> Armed:
        """As before a sleep: kicks, re-arms, and says what to sleep on."""
        arm = ffi.new("struct netdev_arm *")
        with self.using() as netdev:
            ready = self._check(netdev.arm(netdev, now, want_tx, arm))
        deadline = None if arm.deadline == 2**63 - 1 else int(arm.deadline)
        return Armed(bool(ready), int(arm.fd), int(arm.events), deadline)

    def _check(self, result: int) -> int:
        if result < 0:
            what = "is gone" if result == -errno.ENETDOWN else os.strerror(-result)
            raise DeviceError(-result, f"device {self.kind}:{self.name} {what}")
        return result


_devices: weakref.WeakSet[Device] = weakref.WeakSet()


def _forked() -> None:
    for device in list(_devices):
        device.forked()
    _devices.clear()


os.register_at_fork(after_in_child=_forked)
