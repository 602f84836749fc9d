"""The end of a device in use, for every kind: its interface goes, or its program is killed."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.link import KERNEL, OURS, PATIENCE, PREFIX, KindLink, Program, Thread, until
from tests.nic_drivers.kinds import supported
from tests.nic_drivers.places import Place

pytestmark = pytest.mark.netns

ROOT = str(Path(__file__).parents[2])


@pytest.fixture(scope="module", autouse=True)
def what_stays() -> None:
    """Threads of libraries, which no test leaves behind."""
    for kind in supported().values():
        kind.begin()


@pytest.fixture(params=supported())
def link(request: pytest.FixtureRequest) -> Iterator[KindLink]:
    made = KindLink(supported()[request.param])
    yield made
    made.close()


@pytest.fixture(params=supported())
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    made = supported()[request.param].make()
    yield made
    made.close()


def test_the_interface_goes_and_sockets_get_enetdown(link: KindLink) -> None:
    """A reader that sleeps, a writer with a connection, and who comes afterwards."""
    ours, _ = link.tcp("we connect")
    waiting = Thread(link.udp()[0].recv, 100)
    reading = Thread(ours.recv, 100)
    link.place.breaks()
    for thread in (waiting, reading):
        with pytest.raises(OSError) as caught:
            thread.result()
        assert caught.value.errno == errno.ENETDOWN
    with pytest.raises(OSError) as caught:
        ours.send(b"x")
    assert caught.value.errno in (errno.ENETDOWN, errno.EPIPE)
    until(lambda: link.stack.interfaces[1].gone, "the control plane knows")
    assert not link.stack.interfaces[1].up


def test_an_interface_that_was_down_for_a_while_is_not_gone(link: KindLink) -> None:
    """A cable that is pulled, and put in again: readers wait, and connections go on."""
    ours, kernels = link.tcp("we connect")
    waiting = Thread(link.udp()[0].recv, 100)
    reading = Thread(ours.recv, 100)
    link.place.ip("link", "set", link.place.own, "down")
    ours.sendall(b"later")
    link.place.ip("link", "set", link.place.own, "up")
    assert kernels.recv(10) == b"later"
    kernels.sendall(b"and back")
    assert reading.result() == b"and back"
    assert waiting.alive
    link.place.breaks()
    with pytest.raises(OSError) as caught:
        waiting.result()
    assert caught.value.errno == errno.ENETDOWN


SENDER = f"""
import socket, sys, barewire
stack = barewire.Stack(sys.argv[1], addresses=["{OURS}/{PREFIX}"])
sock = stack.socket(socket.AF_INET, socket.SOCK_DGRAM)
while True:
    sock.sendto(bytes(1000), ("{KERNEL}", 9000))
"""


def test_killed_in_the_middle_of_traffic_the_interface_is_as_it_was(place: Place) -> None:
    """SIGKILL while frames go out and come in: nothing stays attached, set, or in the way."""
    place.prepare()
    before = place.state()
    with place.far.socket(socket.AF_INET, socket.SOCK_DGRAM) as kernel:
        command = [sys.executable, "-P", "-c", SENDER, place.name()]
        program = Program(place.near, command, env={**os.environ, "PYTHONPATH": ROOT})
        until(lambda: place.interface in place.far.links(), "the interface")
        place.configure()
        kernel.bind(("0.0.0.0", 9000))
        kernel.settimeout(PATIENCE)
        for _ in range(200):
            data, whence = kernel.recvfrom(2000)
            kernel.sendto(data, whence)
        os.kill(program.pid, signal.SIGKILL)
        program.process.wait(PATIENCE)
        program.end()
    until(lambda: place.state() == before, "the interface as it was")
    place.open().close()
