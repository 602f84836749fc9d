"""Two stacks with one address on one interface: queue=K&queues=N of packet, of uring over it, and of xdp."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import barewire
import pytest
from barewire.tools import netns
from barewire.tools.netns import Namespace

from tests.kit.privilege import for_machine

pytestmark = pytest.mark.netns

KERNEL, OURS = "198.18.0.1", "198.18.0.2"
UDP = socket.SOCK_DGRAM
BIG = bytes(range(256)) * 16  # fragmented


@pytest.fixture
def far(make_netns: Callable[..., Namespace]) -> Iterator[Namespace]:
    near, far = make_netns("near"), make_netns("far")
    for ns in (near, far):
        ns.sysctl("net.ipv6.conf.default.disable_ipv6", 1)
    netns.veth(near, far, "198.18.1.1/24", f"{KERNEL}/24", queues=2)
    with near.entered():
        yield far


XDP = for_machine("xdp:veth0?mode=native&", "xdp:veth0?mode=generic&")


@pytest.fixture(params=["packet:veth0?", "uring:veth0?", *XDP])
def stacks(far: Namespace, request: pytest.FixtureRequest) -> Iterator[list[barewire.Stack]]:
    if request.param.startswith("xdp"):
        far.finish_checksums("veth0")
    names = [f"{request.param}queue={k}&queues=2" for k in (0, 1)]
    made = [barewire.Stack(name, addresses=[f"{OURS}/24"]) for name in names]
    yield made
    for stack in made:
        stack.close(0)


def drops(stack: barewire.Stack) -> dict[str, int]:
    return {n: v for n, v in stack.counters().items() if v and n.startswith("drop_")}


def test_each_reaches_out_from_its_own_ports(far: Namespace, stacks: list[barewire.Stack]) -> None:
    with far.socket() as listener:
        listener.bind((KERNEL, 80))
        listener.listen(16)
        listener.settimeout(10)
        for k, stack in enumerate(stacks):
            for _ in range(5):
                with stack.create_connection((KERNEL, 80), timeout=10) as sock:
                    peer, address = listener.accept()
                    with peer:
                        assert address[1] % 2 == k == sock.getsockname()[1] % 2
                        peer.sendall(b"for this one")
                        assert sock.recv(100) == b"for this one"
    for stack in stacks:
        assert stack.counters()["tcp_resets_sent"] == 0
        # Answers to ARP come to both: who did not ask, or knew, leaves them.
        assert not drops(stack).keys() - {"drop_arp_not_ours", "drop_arp_duplicate"}


def test_each_is_reached_at_its_ports(far: Namespace, stacks: list[barewire.Stack]) -> None:
    for k, stack in enumerate(stacks):
        with stack.create_server((OURS, 7000 + k)) as listener, far.socket() as client:
            client.settimeout(10)
            listener.settimeout(10)
            client.connect((OURS, 7000 + k))
            listener.accept()[0].close()
        with stack.socket(type=UDP) as server, far.socket(socket.AF_INET, UDP) as client:
            server.bind((OURS, 7000 + k))
            for sock in (server, client):
                sock.settimeout(10)
            client.connect((OURS, 7000 + k))
            for data in (b"small", BIG, b"small again"):
                client.send(data)
                got, address = server.recvfrom(10_000)
                assert got == data
                server.sendto(data, address)
                assert client.recv(10_000) == data, "the other one does not refuse its fragments"
    with far.socket() as client, pytest.raises(ConnectionRefusedError):
        client.settimeout(10)
        client.connect((OURS, 7002))


def test_one_of_them_answers_echo_requests(far: Namespace, stacks: list[barewire.Stack]) -> None:
    command = ["ping", "-c3", "-i0.1", "-W5", OURS]
    said = far.run(command, capture_output=True, text=True).stdout
    assert " 0% packet loss" in said and "duplicates" not in said
    seen = [stack.interface_stats() for stack in stacks]
    frames = [stats.get("kernel_rx_seen", stats.get("group_frames", 0)) for stats in seen]
    assert [n >= 3 for n in frames] == [True, False]
