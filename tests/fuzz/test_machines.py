"""`barewire.fuzz.machines` against a stack over the pipe: the project is their first user."""

from __future__ import annotations

import pytest
from barewire.fuzz import machines

from tests.kit.budget import budget

MACHINES = {
    "Arp": (machines.ArpMachine, 60),
    "Icmp": (machines.IcmpMachine, 60),
    "Udp": (machines.UdpMachine, 60),
    "Tcp": (machines.TcpMachine, 100),
    "Socket": (machines.SocketMachine, 60),
}


@pytest.mark.parametrize("name", MACHINES)
def test_a_stack_over_the_pipe(name: str) -> None:
    machine, examples = MACHINES[name]
    case = machine.TestCase
    case.settings = budget(examples, steps=20)
    case().runTest()
