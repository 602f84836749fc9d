"""A tunnel in Python for the callback device: its frames go to a TAP interface of the kernel's."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import threading

from barewire.nic_drivers import CallbackDevice

_TUNSETIFF, _IFF_TAP, _IFF_NO_PI = 0x400454CA, 2, 0x1000


class TapTunnel:
    """Holds the interface's descriptor; a thread brings in what the kernel sends. What the device
    has no room for waits, so that the kernel's own queue fills."""

    def __init__(self, device: CallbackDevice, name: str) -> None:
        self.device = device
        self.fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(
            self.fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI)
        )
        self.stop, self._stopped = os.pipe2(os.O_CLOEXEC)
        self.reader = threading.Thread(target=self._read, name="tap-tunnel", daemon=True)
        self.reader.start()

    def send(self, frame: bytes) -> None:
        os.write(self.fd, frame)

    def _read(self) -> None:
        poller = select.poll()
        poller.register(self.fd, select.POLLIN)
        poller.register(self.stop, select.POLLIN)
        try:
            while not any(fd == self.stop for fd, _ in poller.poll()):
                frames = self._frames()
                while frames and (taken := self.device.receive_batch(frames)) < len(frames):
                    frames = frames[taken:]
                    if select.select([self.stop], [], [], 0.001)[0]:
                        return
        except OSError:  # the interface was deleted
            self.device.close()

    def _frames(self) -> list[bytes]:
        frames: list[bytes] = []
        try:
            while len(frames) < 64:
                frames.append(os.read(self.fd, 65_536))
        except BlockingIOError:
            pass
        return frames

    def close(self) -> None:
        """When the device has ended."""
        os.close(self._stopped)
        if threading.current_thread() is not self.reader:
            self.reader.join()
        os.close(self.stop)
        os.close(self.fd)


def tap(device: CallbackDevice, name: str) -> TapTunnel:
    """For `callback:tests.nic_drivers.tunnels:tap?argument=INTERFACE`, which is there already."""
    return TapTunnel(device, name)
