"""What an installed barewire has to do anywhere, without the tree and without pytest (wheel.py runs it).

Usage: python -P smoke.py [wheel]      wheel: dpdk is not in it, everything else is
"""

from __future__ import annotations

import socket
import sys
import threading

import barewire
from barewire.nic_drivers import available
from barewire.tools import netns

OURS, KERNEL = "198.18.0.2", "198.18.0.1"
TEXT = bytes(range(256)) * 400


def echo(server: socket.socket, client: socket.socket, port: int) -> None:
    """TEXT goes to a server in another thread, and comes back."""

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            while data := connection.recv(65536):
                connection.sendall(data)

    with server, client:
        server.bind((OURS, port))
        server.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        client.settimeout(10)
        client.connect((OURS, port))
        client.sendall(TEXT)
        client.shutdown(socket.SHUT_WR)
        got = b""
        while len(got) < len(TEXT) and (data := client.recv(65536)):
            got += data
        assert got == TEXT, f"{len(got)} of {len(TEXT)} bytes came back"
        thread.join()


def in_memory() -> None:
    with (
        barewire.Stack("pipe:smoke", addresses=[f"{OURS}/24"]) as a,
        barewire.Stack("pipe:smoke", addresses=[f"{KERNEL}/24"]) as b,
    ):
        echo(a.socket(), b.socket(), 7000)


def with_the_kernel(device: str) -> None:
    """The device in a namespace, the kernel at its other end: of a TAP interface, or of a veth pair."""
    with netns.Namespace("near") as near, netns.Namespace("far") as far:
        kernel = near
        if "veth0" in device:
            kernel = far
            netns.veth(near, far, "198.18.0.9/24", f"{KERNEL}/24")
            far.finish_checksums("veth0")
        with near.entered():
            stack = barewire.Stack(device, addresses=[f"{OURS}/24"])
        with stack:
            echo(stack.socket(), kernel.socket(), 7000)


def kinds(from_wheel: bool) -> None:
    for info in available():
        if from_wheel and info.kind == "dpdk":
            assert "the wheel has no dpdk" in info.reason, info.reason
        else:
            for word in ("built without", "does not load", "the wheel has no"):
                assert word not in info.reason, f"{info.kind}: {info.reason}"


def main(from_wheel: bool) -> None:
    kinds(from_wheel)
    in_memory()
    done = ["pipe"]
    if netns.has_privilege():
        tap = f"tap0?host={KERNEL}/24"
        for device in (
            f"tap:{tap}",
            f"tap:{tap}&syn_guard=1000",
            f"uring:{tap}",
            "packet:veth0",
            "xdp:veth0",
        ):
            with_the_kernel(device)
            done.append(device)
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    print(f"barewire {barewire.__version__} works on Python {version}: {', '.join(done)}")


if __name__ == "__main__":
    main("wheel" in sys.argv[1:])
