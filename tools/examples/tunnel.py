"""A stack at the end of a byte stream that carries Ethernet frames, as QEMU speaks it.

    python -m barewire.tools.examples.tunnel listen 127.0.0.1:9000     # 198.18.0.1 answers
    python -m barewire.tools.examples.tunnel connect 127.0.0.1:9000    # 198.18.0.2 asks

Before each frame stands its length, four bytes, big endian: QEMU's `-netdev socket` (or `stream`).
So the other end may be a virtual machine, and the program any that `barewire run` takes:

    qemu-system-x86_64 … -netdev socket,id=n,connect=127.0.0.1:9000 -device virtio-net,netdev=n
    barewire run --address 198.18.0.1/24 \\
        --device 'callback:barewire.tools.examples.tunnel:listen?argument=127.0.0.1:9000' app.py
"""

from __future__ import annotations

import socket
import struct
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from barewire import Stack
from barewire.nic_drivers import CallbackDevice

LENGTH = struct.Struct("!I")
LONGEST = 65_535 + 18
ANSWERS, ASKS = "198.18.0.1", "198.18.0.2"
PATIENCE = 10.0  # seconds


class StreamTunnel:
    """Frames in and out of a connected stream socket of the kernel's, which it owns."""

    def __init__(self, device: CallbackDevice, sock: socket.socket) -> None:
        self.device, self.sock = device, sock
        self.reader = threading.Thread(target=self._read, name="tunnel", daemon=True)
        self.reader.start()

    def send_batch(self, frames: list[bytes]) -> None:
        """Waits for a slow stream: the device's ring then fills, and TCP in the stack slows down."""
        self.sock.sendall(b"".join(LENGTH.pack(len(frame)) + frame for frame in frames))

    def _read(self) -> None:
        with suppress(OSError), self.sock.makefile("rb") as stream:
            while len(head := stream.read(LENGTH.size)) == LENGTH.size:
                (length,) = LENGTH.unpack(head)
                if length > LONGEST or len(frame := stream.read(length)) < length:
                    break
                self.device.receive(frame)
        self.device.close()  # the stack's sockets get ENETDOWN

    def close(self) -> None:
        """When the device has ended: the reader ends too."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


def connect(device: CallbackDevice, address: str) -> StreamTunnel:
    """For `callback:barewire.tools.examples.tunnel:connect?argument=HOST:PORT`."""
    host, _, port = address.rpartition(":")
    sock = socket.create_connection((host, int(port)), 10)
    sock.settimeout(None)
    return StreamTunnel(device, sock)


def listen(device: CallbackDevice, address: str) -> StreamTunnel:
    """For `callback:…:listen?argument=HOST:PORT`: waits for the one that connects."""
    host, _, port = address.rpartition(":")
    with socket.create_server((host, int(port))) as server:
        print(f"tunnel at {host}:{server.getsockname()[1]}", flush=True)
        sock, _ = server.accept()
    return StreamTunnel(device, sock)


def connected(stack: Stack) -> Any:
    """A connection to the other end, whose interface is there a moment before its program listens."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return stack.create_connection((ANSWERS, 7), PATIENCE)
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or arguments[0] not in ("listen", "connect"):
        print("usage: python -m barewire.tools.examples.tunnel listen|connect HOST:PORT")
        return 2
    own = ANSWERS if arguments[0] == "listen" else ASKS
    device = f"callback:{__spec__.name}:{arguments[0]}?argument={arguments[1]}"
    with Stack(device, addresses=[f"{own}/24"]) as stack:
        if own == ANSWERS:
            with stack.create_server((own, 7)) as server:
                sock, peer = server.accept()
                with sock:
                    while data := sock.recv(65_536):
                        sock.sendall(data.upper())
            print(f"answered {peer[0]}")
        else:
            with connected(stack) as sock:
                sock.sendall(b"hello through the tunnel")
                print(sock.recv(100).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
