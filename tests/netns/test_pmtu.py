"""A path whose middle is narrow: with routers that say so (RFC 1191), and with routers that do not."""

from __future__ import annotations

import pytest
from barewire.tools import netns

from tests.netns.link import KERNEL, PATIENCE, Thread, listening, pattern, receive_exactly

pytestmark = pytest.mark.netns

HOST, NARROW = "198.18.2.2", 1300
SIZE = 400_000
FR_ACT_BLACKHOLE = 6


def say_nothing():
    """Whatever this router itself would send is thrown away: above all its ICMP errors."""
    from pyroute2 import IPRoute

    with IPRoute() as ip:
        ip.rule("add", priority=10, action=FR_ACT_BLACKHOLE, FRA_IIFNAME="lo")


@pytest.fixture
def path(request, make_link, make_netns):
    """The stack, two routers with a link of MTU 1300 between them, and a host; sockets of either end.
    Indirectly parametrized by whether the routers speak."""
    link = make_link(gateway=KERNEL)
    near, far, host = link.ns, make_netns("far"), make_netns("host")
    names = ("narrow0", "narrow1")
    netns.veth(near, far, "198.18.1.1/24", "198.18.1.2/24", names=names, mtu=NARROW)
    netns.veth(far, host, "198.18.2.1/24", f"{HOST}/24", names=("wide0", "wide1"))
    near.add_route("198.18.2.0/24", "198.18.1.2")
    far.add_route("198.18.0.0/24", "198.18.1.1")
    host.add_route("198.18.0.0/15", "198.18.2.1")
    host.sysctl("net.ipv4.tcp_mtu_probing", 1)
    for router in (near, far):
        router.sysctl("net.ipv4.ip_forward", 1)
        if not request.param:
            router.call(say_nothing)
    made = []

    def connected():
        listener = listening(link.keep(host.socket()), HOST, 0, 1)
        ours = link.ours()
        ours.connect(listener.getsockname())
        made.append(listener.accept()[0])
        made[-1].settimeout(PATIENCE)
        return ours, made[-1]

    yield link, connected
    for sock in made:
        sock.close()


@pytest.mark.parametrize("path", [True, False], indirect=True, ids=["routers speak", "are silent"])
@pytest.mark.parametrize("sender", ["ours", "kernel's"])
def test_a_narrow_middle(path, sender):
    """Every byte arrives; with silent routers after some time-outs, then in segments that fit."""
    link, connected = path
    ours, kernels = connected()
    one, other = (ours, kernels) if sender == "ours" else (kernels, ours)
    thread = Thread(one.sendall, pattern(SIZE))
    assert receive_exactly(other, SIZE) == pattern(SIZE)
    thread.result()
    if sender == "ours":
        counters = link.counters()
        assert ("tcp_mtu_black_holes" in counters) != ("path_mtu_changes" in counters)
