"""barewire.Stack: one userspace TCP/IP stack, its devices, addresses and sockets."""

from __future__ import annotations

import errno
import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from barewire.nic_drivers import Device
from barewire.stack import ffi, lib
from barewire.stack.control import ControlPlane, Interface
from barewire.stack.ip.routes import IfAddr, Route
from barewire.stack.port import EnginePort
from barewire.stack.worker import ControlWorker

from . import _attachment, _checks, _config, _errors, _limits, _open_stacks, _seeing
from ._checks import Address
from ._config import Config
from ._opening import Opening

if TYPE_CHECKING:
    from ._seeing import SocketInfo
    from ._trace_records import Record

log = logging.getLogger("barewire")
NEVER: int = 2**63 - 1


class Stack(Opening):
    """A TCP/IP stack in this process.

        device: `kind:name?option=value` (`tap:tap0`), an open Device, a list of either, or None: only
            the loopback (127.0.0.0/8 inside the stack).
        clock: a function that returns ns; the stack then lives in virtual time: it has no threads and
            moves only in `poll()`.
        config: the options, as one object; those given by keyword are in its place.

        The options (docs/options.md has them as words, too):

    {options}

        Raises ValueError or TypeError for arguments that make no sense, OSError (DeviceError) for a
        device that cannot be opened or an address that cannot be used. Every method raises OSError
        EBADF once the stack is closed, and in a forked child: a stack belongs to its process.
    """

    def __init__(
        self,
        device: str | Device | Sequence[str | Device] | None = None,
        *,
        clock: Callable[[], int] | None = None,
        config: Config | None = None,
        **options: Any,
    ) -> None:
        self._pid = os.getpid()
        self._closed = True  # until it is whole
        self._clock = clock
        self._close_lock = threading.Lock()
        self.config = replace(config or Config(), **options)
        self.exit_linger = self.config.exit_linger
        self.congestion = _config.congestion_number(self.config)
        self.is_virtual = clock is not None
        self.polling_thread = threading.get_ident()
        self.name = self.config.name
        key = _config.seed_bytes(self.config.seed)
        now = 0 if clock is None else _config.reading(clock)
        made = _config.host_config(self.config, key, now, self.is_virtual)
        devices = _attachment.open_all(_checks.device_list(device))
        try:
            self.limits = _limits.agreed(made, devices, self.config.ports)
            self.spin_ns: int = _attachment.take_wishes(made, devices, self.config.spin)
            out = ffi.new("struct host **")
            _config.check_new(lib.host_new(made, out), self.config.lock_memory)
        except BaseException:
            _attachment.close_all(devices)
            raise
        self.host: Any = out[0]
        """C's side of the stack, `struct host *`."""
        try:
            self._attached = _attachment.Attachments(self.host, self.config.mtu, self.is_virtual)
            interfaces = [self._attached.add(device) for device in devices]
            self._port = EnginePort(self.host)
            plane = ControlPlane(
                self._port, interfaces, self.now(), key, probe=self.config.probe_addresses
            )
            self._worker = ControlWorker(self.host, plane)
            self._closed = False
            if self.config.trace:
                self.settrace(True)
            self._configure()
            if not self.is_virtual:
                _errors.check(lib.host_start(self.host))
                self._worker.start(f"barewire-control{f'-{self.name}' if self.name else ''}")
        except BaseException:
            self._closed = True
            _attachment.close_all(devices)
            lib.host_close(self.host, 0)
            raise
        _open_stacks.stacks.add(self)

    def _configure(self) -> None:
        for address, interface in _checks.addresses("addresses", self.config.addresses):
            self.add_address(address, interface)
        named = [(f"route {prefix!s},{via!s}", prefix, via) for prefix, via in self.config.routes]
        if (gateway := self.config.gateway) is not None:
            named.append((f"gateway {gateway!s}", "default", gateway))
        for name, prefix, via in named:
            try:
                self.add_route(prefix, via)
            except ValueError as problem:
                raise ValueError(f"{name}: {problem}") from None
            except OSError as problem:
                raise OSError(problem.errno, f"{name}: {problem.strerror}") from None

    def __repr__(self) -> str:
        state = "closed" if self._closed else "foreign" if self._pid != os.getpid() else "open"
        names = ", ".join(i.name for i in self._worker.plane.interfaces)
        return f"<barewire.Stack {self.name + ' ' if self.name else ''}on {names}, {state}>"

    # ---- sockets ---------------------------------------------------------------------------

    def open_handle(self, type: int) -> Any:
        """A new socket of C (BW_SOCK_TCP, BW_SOCK_UDP) with this stack's defaults; for the socket
        class, which owns it from here."""
        self._check()
        _limits.check_type(self.limits, type)
        out = ffi.new("struct bw_sock **")
        _errors.check(lib.host_socket(self.host, type, out))
        if self.congestion and type == lib.BW_SOCK_TCP:
            lib.host_setopt(self.host, out[0], lib.BW_OPT_CONGESTION, self.congestion)
        return out[0]

    # ---- time ------------------------------------------------------------------------------

    def now(self) -> int:
        """The stack's clock in ns: CLOCK_MONOTONIC, or what the last poll() read."""
        return int(lib.host_now(self.host))

    def poll(self) -> bool:
        """Virtual time: reads the clock once and runs C and Python to rest at that time, in a fixed
        order; whether anything moved. The thread that polls must not block on this stack."""
        self._check()
        if self._clock is None:
            raise RuntimeError(
                "poll() is for stacks in virtual time: make this one with Stack(clock=…)"
            )
        self.polling_thread = threading.get_ident()
        now = _config.reading(self._clock)
        if lib.host_set_now(self.host, now) < 0:
            raise ValueError(f"the clock went back: from {self.now()} to {now} ns")
        moved = False
        while self._step():
            moved = True
        return moved

    def _step(self) -> bool:
        moved = lib.host_poll(self.host) == 1 or self._worker.drain()
        return self._attached.deliver() or moved

    def next_deadline(self) -> int | None:
        """The earliest time (ns) at which something happens by itself, in C, in Python or to a
        blocked call; None: nothing will. Not after the present: there is work now."""
        self._check()
        found = [int(lib.host_next_deadline(self.host)), self._worker.next_deadline()]
        return min((d for d in found if d is not None and d != NEVER), default=None)

    def drain(self) -> bool:
        """Runs the work that C has for Python, which a thread of the stack's, or `poll()`, does by itself;
        whether there was any. In real time a bounded number of pieces."""
        self._check()
        return self._worker.drain()

    # ---- configuration ---------------------------------------------------------------------

    @property
    def interfaces(self) -> tuple[Interface, ...]:
        """All interfaces, the loopback first. `up` is what the device knows by now: of a TAP interface, whose
        other end is the kernel's, it is always so."""
        return _seeing.interfaces(self.host, self._worker.plane.interfaces)

    @property
    def addresses(self) -> tuple[IfAddr, ...]:
        """All addresses, with interface index, and whether still probed (tentative)."""
        return tuple(self._worker.plane.routes.addresses)

    @property
    def routes(self) -> tuple[Route, ...]:
        """All routes, the connected ones of the addresses first."""
        return tuple(self._worker.plane.routes.routes())

    @property
    def control(self) -> ControlPlane:
        """The control plane, to look at; it is changed only through this class."""
        return self._worker.plane

    def add_address(self, address: Address, interface: str | None = None) -> None:
        """An IPv4 address with prefix length; on the first device if no interface is named."""
        self._check()
        index = self._index(interface)
        own = _checks.address(address)
        self._worker.call(lambda plane: plane.add_address(self.now(), index, own))

    def remove_address(self, address: Address, interface: str | None = None) -> None:
        self._check()
        index = self._index(interface)
        own = _checks.address(address)
        self._worker.call(lambda plane: plane.remove_address(self.now(), index, own))

    def add_route(
        self,
        prefix: str | IPv4Network,
        gateway: str | IPv4Address | None = None,
        *,
        interface: str | None = None,
        source: str | IPv4Address | None = None,
        mtu: int = 0,
        metric: int = 0,
        unreachable: bool = False,
    ) -> Route:
        """A route; prefix "default" is 0.0.0.0/0. Raises OSError as Linux's netlink would."""
        self._check()
        index = None if interface is None else self._index(interface)
        return self._worker.call(
            lambda plane: plane.add_route(prefix, gateway, index, source, mtu, metric, unreachable)
        )

    def remove_route(self, prefix: str | IPv4Network, metric: int | None = None) -> None:
        self._check()
        self._worker.call(lambda plane: plane.remove_route(prefix, metric))

    def reattach(self, interface: str | None = None, device: str | Device | None = None) -> None:
        """Gives an interface a device again whose own is gone (so it says in `interfaces`), by default
        the first such one: opened by its old name, or `device`. One that is down comes back by itself.

        Its addresses and routes come back with it, and listeners go on. Sockets that got ENETDOWN
        stay as they are. Raises OSError EBUSY (the interface is not gone), and DeviceError as from
        opening: try again once it is there.
        """
        self._check()
        self._worker.drain()
        index = self._index(interface or next((i.name for i in self.interfaces if i.gone), None))
        kept = self._worker.call(lambda plane: plane.kept_addresses(index))
        again = self._attached.add_again(index, device, kept)
        self._worker.call(lambda plane: plane.interface_up(self.now(), again))

    def _index(self, name: str | None) -> int:
        interfaces = self.interfaces
        if name is None:
            return interfaces[min(1, len(interfaces) - 1)].index
        for interface in interfaces:
            if interface.name == name:
                return interface.index
        known = ", ".join(i.name for i in interfaces)
        raise OSError(errno.ENODEV, f"no interface {name!r} in this stack: there are {known}")

    # ---- seeing ----------------------------------------------------------------------------

    def counters(self) -> dict[str, int]:
        """Every counter by name: of the engine (drops with their reasons; all read at one moment) and the
        control plane."""
        found = _seeing.counters(self.host)
        for n, value in self._worker.counters.items():
            found[n] = found.get(n, 0) + value
        return found

    def stats(self) -> dict[str, int]:
        """How the stack is driven (bursts, sleeps, hand-overs), the C memory in use (bytes), and how many
        sockets, orphans among them and timers there are."""
        return _seeing.stats(self.host)

    def sockets(self) -> Iterator[SocketInfo]:
        """Every socket there is, the program's and those that live on without it (TIME-WAIT, orphans,
        connections that nobody has accepted yet): addresses, state and queues, as `ss` lists them.

        Read in pieces, so that a crowd delays nobody: what opens or closes meanwhile may be missing.
        """
        self._check()
        return _seeing.sockets(self.host)

    def interface_stats(self, name: str | None = None) -> dict[str, int]:
        """What the device of an interface counted, the first device's if none is named: frames,
        bytes, drops, full rings and wake-ups, alike for every kind; then what only its driver
        counts: drops by reason (`rx_too_long`), the kernel's counters (`kernel_rx_dropped`)."""
        self._check()
        return _attachment.counters(self.host, self._index(name))

    def settrace(self, on: bool, /) -> None:
        """Records what every connection does from here on, and every drop; or no more. A single
        one: `socket.settrace()`."""
        self._check()
        _errors.check(lib.host_trace_all(self.host, bool(on)))

    def trace(self) -> Iterator[Record]:
        """Takes the records that are there now, oldest first (`barewire.trace` has their classes);
        after close() too."""
        from ._trace_records import drain

        return drain(self)

    # ---- the end ---------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self, linger: float | None = None) -> None:
        """Closes every socket and drives on until their data and FINs are acknowledged, at most
        `linger` seconds (exit_linger); resets the rest and closes the devices. Idempotent.

        In a forked child it does nothing. A stack in virtual time runs to rest once, then resets.
        """
        seconds = self.exit_linger if linger is None else _checks.seconds("linger", linger, 3600.0)
        if self._pid != os.getpid():
            return
        with self._close_lock:
            if self._closed:
                return
            try:
                self._drain_sockets(seconds)
            finally:
                self._closed = True
                timed_out = lib.host_close(self.host, 0) == -errno.ETIMEDOUT
                _open_stacks.stacks.discard(self)
                if timed_out and seconds:
                    log.warning(
                        "%r: not all data was acknowledged within %g s, reset", self, seconds
                    )
                self._worker.stop()
                while self._attached.deliver():  # the last resets
                    pass
                lib.host_close_descriptors(self.host)

    def _drain_sockets(self, linger: float) -> None:
        """In C calls that a signal ends, so that Ctrl-C works; Python's work goes on meanwhile."""
        end = self.now() + round(linger * 1e9)
        while lib.host_drain(self.host, max(0, end - self.now())) == -errno.EINTR:
            pass
        if self.is_virtual:
            while self._step():
                pass

    def __enter__(self) -> Self:
        self._check()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self, _free: Any = lib.host_free, _null: Any = ffi.NULL) -> None:
        try:
            if not getattr(self, "_closed", True) and self._pid == os.getpid():
                try:
                    warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
                finally:  # a filter may make an error of the warning
                    self.close()
        finally:
            # By hand: ffi.gc would free it before other finalisers of a garbage cycle have run. What a
            # socket's handle needs stays until that is closed.
            host, self.host = getattr(self, "host", _null), _null
            for part in ("_port", "_worker"):
                if hasattr(self, part):
                    getattr(self, part).detach()
            _free(host)

    def _check(self) -> None:
        if self._pid != os.getpid():
            raise OSError(
                errno.EBADF,
                f"this stack belongs to process {self._pid}: make a new Stack in the child",
            )
        if self._closed:
            raise OSError(errno.EBADF, "this stack is closed")


Stack.__doc__ = (Stack.__doc__ or "").replace("{options}", _config.described())
