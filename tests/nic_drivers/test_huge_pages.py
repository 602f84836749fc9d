"""Devices on huge pages: they say so, work on them, and give them back."""

from __future__ import annotations

from contextlib import closing

import pytest

from tests.netns.link import until
from tests.nic_drivers.huge_pages import free_pages, huge_pages
from tests.nic_drivers.kinds import KINDS
from tests.nic_drivers.links import RealLink

pytestmark = pytest.mark.netns


@pytest.mark.parametrize("kind", ["xdp", "uring"])
@pytest.mark.machine
def test_frames_on_huge_pages(kind: str) -> None:
    name = next(name for name, row in KINDS.items() if row.registered == kind)
    with huge_pages(32), closing(KINDS[name].make()) as place:
        free = free_pages()
        link = RealLink(place, "hugepages=1")
        with closing(link):
            assert link.device.info.get("hugepages", 1) == 1
            assert free_pages() < free
            link.sends(*[link.answer(i) for i in range(100)])
            assert [f.data for f in link.delivered(100)] == [link.answer(i) for i in range(100)]
        until(
            lambda: free_pages() == free, "all of them given back, by an XDP socket a little later"
        )
