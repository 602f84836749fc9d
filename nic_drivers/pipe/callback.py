"""callback: a device whose other side is Python, so that any tunnel can carry a stack.

It is a pipe (pipe.c) whose second end this object holds: the stack moves frames in C, without the
GIL, into and out of bounded rings; Python takes them out and puts them in when it comes to it.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

from .._netdev import ffi, lib
from ..device import Device, Tally, stable_mac
from ..errors import DeviceError, invalid
from ..kernel import select
from ..names import DeviceSpec, parse_between, parse_choice, parse_mac
from ..registry import register
from .pipe import PipeEnd, pipe_pair

log = logging.getLogger("barewire.callback")
Frame = bytes | bytearray | memoryview
_LINK_HEADER = 14 + 4  # Ethernet's, with a tag
_COUNTERS = (  # as PIPE_* in pipe.h
    "callback.sent",  # frames that send() took
    "callback.send_full",  # lost: it raised BlockingIOError
    "callback.send_failed",  # lost: it raised something else
    "callback.receive_full",  # not taken: the ring was full
    "callback.receive_refused",  # not taken: empty, too long, or the device was closed
)


class CallbackDevice(Device):
    """A device that ends in Python: give it to `Stack(device)`.

    What the stack transmits goes to `send`: an object with `send(frame)`, such as a connected
    datagram socket, or with `send_batch(frames)`, or a function of one frame. A daemon thread of
    the device calls it; in virtual time `Stack.poll()` does. Its exceptions lose the frame and
    nothing else: they are counted, and the first in a row is logged; BlockingIOError, the tunnel is
    full, is only counted. Without `send`, take the frames with `transmit()` when `fileno()` is
    readable, in any event loop. What comes out of the tunnel goes in with `receive(frame)`, from
    any thread.

    `layer` 2: frames are Ethernet, `mac` is the stack's address (by default a stable one of the
    name, or a random one without); 3: bare IP packets. `mtu` is the largest IP packet, `ring` the
    frames that may wait each way. close() takes the device away from a stack too: its sockets get
    ENETDOWN. `on_close` is called once, when either side has ended the device.
    """

    def __init__(
        self,
        send: Any = None,
        *,
        mtu: int = 1500,
        layer: int = 2,
        mac: bytes | None = None,
        ring: int = 512,
        name: str | None = None,
        on_close: Callable[[], object] | None = None,
    ) -> None:
        self._send_batch = _sender(send) if send is not None else None
        near, self._far = pipe_pair(layer, mtu, ring, name=name)
        netdev = near.take()
        netdev.name = (name or "callback").encode()[:31]
        # Both ends of a tunnel may run the same program: an address of "callback" would be twice.
        netdev.mac = mac or stable_mac(f"callback:{name or os.urandom(8).hex()}")
        self._counts = lib.pipe_tally(netdev)
        if self._counts == ffi.NULL:
            netdev.close(netdev)
            self._far.close()
            raise DeviceError(errno.ENOMEM, "no memory for a callback device")
        super().__init__("callback", netdev, [Tally(self._counts, _COUNTERS)])
        self._longest = mtu + (_LINK_HEADER if layer == 2 else 0)
        self._ring = ring
        self._buffer = ffi.new("uint8_t[]", int(lib.BW_RX_BURST) * self._longest)
        self._sizes = ffi.new("uint32_t[]", int(lib.BW_RX_BURST))
        self._putting, self._taking = threading.RLock(), threading.RLock()
        self._delivering = threading.RLock()
        self._failing = self._ended = False
        self._on_close = on_close

    def send_to(self, send: Any, on_close: Callable[[], object] | None = None) -> None:
        """As the constructor's arguments, for a tunnel that needs the device first; before a stack
        has it."""
        self._send_batch, self._on_close = _sender(send), on_close

    # ---- into the stack --------------------------------------------------------------------------

    def receive(self, frame: Frame) -> bool:
        """A frame that came out of the tunnel; whether it was taken. It is copied."""
        return self.receive_batch([frame]) == 1

    def receive_batch(self, frames: Sequence[Frame]) -> int:
        """Frames that came out of the tunnel, in order; how many were taken. A frame that is too
        long or empty is passed over; what the ring has no room for may be tried again."""
        self._check_process()
        sizes = [f.nbytes if isinstance(f, memoryview) else len(f) for f in frames]
        if all(0 < size <= self._longest for size in sizes):
            good, refused = frames, 0
        else:
            good = [f for f, n in zip(frames, sizes, strict=True) if 0 < n <= self._longest]
            sizes = [n for n in sizes if 0 < n <= self._longest]
            refused = len(frames) - len(good)
        data = b"".join(good)
        if len(data) != sum(sizes):
            raise TypeError("a frame is bytes, a bytearray or a memoryview")
        with self._putting:
            if self.closed:
                lib.tally_add(self._counts, lib.PIPE_RECEIVE_REFUSED, refused + len(good))
                return 0
            with self._far.using() as far:
                taken = int(lib.pipe_put(far, data, sizes, len(good)))
            lib.tally_add(self._counts, lib.PIPE_RECEIVE_REFUSED, refused)
            lib.tally_add(self._counts, lib.PIPE_RECEIVE_FULL, len(good) - taken)
            return taken

    # ---- out of the stack ------------------------------------------------------------------------

    def fileno(self) -> int:
        """Readable when transmit() has frames to give, or the stack has closed the device."""
        self._check_process()
        with self._taking, self._far.using() as far:
            armed = self._far.arm()
            if armed.ready:
                lib.pipe_again(far)
            return armed.fd

    def transmit(self, max: int = 1024) -> list[bytes]:
        """Up to max frames that the stack transmitted, oldest first; [] if there are none now.
        Raises DeviceError: ENETDOWN after the last frame of a stack that has closed the device,
        EBADF when this object is closed."""
        self._check_process()
        found: list[bytes] = []
        with self._taking, self._far.using() as far:
            buffer, sizes = self._buffer, self._sizes
            while len(found) < max:
                n = lib.pipe_take(far, buffer, sizes, max - len(found))
                if n < 0:
                    break  # gone; who has nothing more to get is told
                found += _cut(buffer, sizes[0:n])
                if not n and not self._far.arm().ready:
                    return found
            if n < 0 and not found:
                raise DeviceError(errno.ENETDOWN, f"device callback:{self.name} is gone")
            lib.pipe_again(far)
        return found

    def deliver(self) -> bool:
        """Hands what the stack transmitted to `send`, at most a ring's frames; whether there were
        any. For who drives the device by hand: a stack sees to it."""
        try:
            with self._delivering:
                send, frames = self._send_batch, self.transmit(self._ring)
                if frames and send is not None:
                    send(self, frames)
        except DeviceError:
            self.close()
            return False
        return bool(frames)

    def attached(self, is_virtual: bool) -> Callable[[], bool] | None:
        if self._send_batch is None:
            return None
        if is_virtual:
            return self.deliver
        # With the signals that the program has open: what `send` starts inherits them.
        threading.Thread(target=self._pump, name=f"barewire-{self.name}", daemon=True).start()
        return None

    def _pump(self) -> None:
        try:
            fd = os.dup(self.fileno())  # close() may come while this thread sleeps on it
        except DeviceError:
            return
        try:
            poller = select.poll()
            poller.register(fd, select.POLLIN)
            while not self._ended:
                self.deliver()
                poller.poll()
        finally:
            os.close(fd)

    def sent(self, n: int = 1) -> None:
        """For senders: `send` took n frames."""
        self._failing = False
        lib.tally_add(self._counts, lib.PIPE_SENT, n)

    def lost(self, error: Exception, n: int = 1) -> None:
        """For senders: `send` raised, and n frames are lost."""
        if isinstance(error, BlockingIOError):
            lib.tally_add(self._counts, lib.PIPE_SEND_FULL, n)
            return
        lib.tally_add(self._counts, lib.PIPE_SEND_FAILED, n)
        if not self._failing:
            log.warning("%r: send failed, the frame is lost", self, exc_info=error)
        self._failing = True

    # ---- the end ---------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """close() was called, or the stack has closed the device."""
        try:
            return self._far.peer_closed
        except DeviceError:
            return True

    def close(self) -> None:
        """Ends the device, in use or not: a stack that has it sees it gone."""
        super().close()
        if self._pid != os.getpid():
            return
        with self._putting, self._taking:
            if not self._ended:
                self._ended = True
                with suppress(DeviceError), self._far.using() as far:  # it may be closed already
                    lib.pipe_again(far)
                self._far.close()
                self._buffer = self._sizes = self._send_batch = None  # a tunnel refers to us, too
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close()

    def __del__(self) -> None:
        super().__del__()
        far: PipeEnd | None = getattr(self, "_far", None)
        if far is not None:
            far.close()


def _cut(buffer: Any, sizes: Sequence[int]) -> Iterator[bytes]:
    data, at = ffi.buffer(buffer), 0
    for size in sizes:
        yield data[at : at + size]
        at += size


def _sender(send: Any) -> Callable[[CallbackDevice, list[bytes]], None]:
    """What hands frames to the user's object."""
    many = getattr(send, "send_batch", None)
    if many is not None:
        return lambda device, frames: _send_many(device, many, frames)
    one = getattr(send, "send", send)
    if not callable(one):
        raise TypeError(f"{send!r} has no send(frame), no send_batch(frames), and is no function")
    return lambda device, frames: _send_each(device, one, frames)


def _send_many(device: CallbackDevice, send: Callable[[Any], Any], frames: list[bytes]) -> None:
    try:
        send(frames)
    except Exception as error:
        device.lost(error, len(frames))
    else:
        device.sent(len(frames))


def _send_each(device: CallbackDevice, send: Callable[[Any], Any], frames: list[bytes]) -> None:
    for frame in frames:
        try:
            send(frame)
        except Exception as error:
            device.lost(error)
        else:
            device.sent()


# ---- the registry's part -------------------------------------------------------------------------


def _factory(spec: DeviceSpec) -> Device:
    """`callback:MODULE:FUNCTION`: FUNCTION(device), or FUNCTION(device, argument), makes the tunnel
    and gives the object with send(), or None if it calls transmit(). The object's close(), if it
    has one, is called when the device has ended."""
    module, _, name = spec.name.partition(":")
    try:
        function = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        text = f"device {spec.kind}:{spec.name}: write callback:MODULE:FUNCTION ({error})"
        raise invalid(text) from None
    device = CallbackDevice(
        mtu=spec.get("mtu", parse_between(68, 65_535), 1500),
        layer=int(spec.get("layer", parse_choice("2", "3"), "2")),
        mac=spec.get("mac", parse_mac, None),
        ring=spec.get("ring", parse_between(1, 65_536), 512),
    )
    arguments = [spec.options["argument"]] if "argument" in spec.options else []
    try:
        tunnel = function(device, *arguments)
        if tunnel is not None:
            device.send_to(tunnel, getattr(tunnel, "close", None))
    except OSError as error:
        device.close()
        text = f"device {spec.kind}:{spec.name}: {error.strerror or error}"
        raise DeviceError(error.errno or errno.EIO, text) from error
    except (TypeError, ValueError) as error:  # of its arguments
        device.close()
        raise invalid(f"device {spec.kind}:{spec.name}: {error}") from error
    except BaseException:
        device.close()
        raise
    return device


register(
    "callback",
    _factory,
    lambda: "",
    description="a tunnel in Python: callback:MODULE:FUNCTION makes it, or give a CallbackDevice",
    options={
        "argument": "text that FUNCTION gets after the device",
        "mtu": "largest IP packet in bytes (1500)",
        "layer": "2 (Ethernet, default) or 3 (bare IP packets)",
        "mac": "MAC address of the stack (a random one)",
        "ring": "frames that may wait each way (512)",
    },
)
