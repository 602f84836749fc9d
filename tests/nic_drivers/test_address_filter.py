"""What a device asks of an interface that filters addresses: a macvlan, as a card does. It shows its
filter (`bridge fdb`) and passes it on to the interface below; frames come by it to its own address
only, so this file looks at the filter, and the veth of the other files has the traffic."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from barewire.nic_drivers import Device, open_device
from barewire.tools import netns
from barewire.tools.netns import Namespace

from tests.kit.privilege import for_machine
from tests.netns.link import until

pytestmark = pytest.mark.netns

OWN = b"\x02\x00\x00\x00\x00\x01"


@dataclass
class Filtering:
    """The interface `filter0`, on one end of a veth pair."""

    near: Namespace

    def state(self) -> tuple[str, str]:
        """The addresses let in, and the settings with how often promiscuity was asked for."""
        shown = [
            ["bridge", "fdb", "show", "dev", "filter0"],
            ["ip", "-d", "link", "show", "filter0"],
        ]
        addresses, link = [
            self.near.run(words, capture_output=True, text=True, check=True).stdout
            for words in shown
        ]
        return addresses, link

    def open(self, name: str) -> Device:
        with self.near.entered():
            return open_device(f"{name}mac={OWN.hex(':')}")


@pytest.fixture
def filtering(make_netns: Callable[..., Namespace]) -> Filtering:
    near, far = make_netns("near"), make_netns("far")
    for ns in (near, far):
        ns.sysctl("net.ipv6.conf.default.disable_ipv6", 1)
    netns.veth(near, far, "198.18.0.1/24", "198.18.0.2/24")
    make = "ip link add filter0 link veth0 up type macvlan mode bridge"
    near.run(make.split(), check=True)
    return Filtering(near)


@pytest.mark.parametrize("kind", ["packet", "uring", *for_machine("xdp")])
def test_the_stacks_address_is_let_in_and_no_other(filtering: Filtering, kind: str) -> None:
    before = filtering.state()
    with filtering.open(f"{kind}:filter0?"):
        addresses, link = filtering.state()
        assert OWN.hex(":") in addresses and "promiscuity 0" in link
    assert filtering.state() == before


@pytest.mark.machine
def test_a_killed_process_takes_its_address_with_it(filtering: Filtering) -> None:
    before = filtering.state()
    program = (
        "import sys\nfrom barewire.nic_drivers import open_device\n"
        f"device = open_device('xdp:filter0?mac={OWN.hex(':')}')\n"
        "print('up', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-P", "-c", program]
    with filtering.near.popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline() == b"up\n"
        assert OWN.hex(":") in filtering.state()[0]
        os.kill(child.pid, signal.SIGKILL)
        child.wait(5)
    until(lambda: filtering.state() == before, "the program goes with the last reference")


@pytest.mark.parametrize("kind", ["packet", *for_machine("xdp")])
def test_a_shared_interface_is_asked_for_nothing(filtering: Filtering, kind: str) -> None:
    before = filtering.state()[0]
    with filtering.near.entered(), open_device(f"{kind}:filter0?share=address"):
        assert filtering.state()[0] == before


def test_promiscuous_takes_every_frame(filtering: Filtering) -> None:
    before = filtering.state()
    with filtering.open("packet:filter0?promiscuous=1&"):
        assert "promiscuity 1" in filtering.state()[1]
    assert filtering.state() == before
