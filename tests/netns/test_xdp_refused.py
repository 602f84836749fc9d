"""A frame that the interface drops is counted, and holds up none behind it: the far end of the veth is
down."""

from __future__ import annotations

from contextlib import closing

import pytest

from tests.drive.kit import until
from tests.netns.link import KindLink
from tests.nic_drivers.kinds import supported

pytestmark = pytest.mark.netns


@pytest.mark.parametrize("name", [name for name in supported() if name == "xdp-native"])
def test_frames_that_the_interface_drops_are_counted(name: str) -> None:
    with closing(KindLink(supported()[name])) as link:
        ours, kernels = link.udp()
        ours.sendto(b"x", kernels.getsockname())
        assert kernels.recv(10) == b"x"
        link.ns.run(["ip", "link", "set", link.place.interface, "down"])
        for _ in range(5):
            ours.sendto(b"y", kernels.getsockname())
        until(lambda: link.stack.interface_stats()["tx_refused"] == 5, "all to be counted")
