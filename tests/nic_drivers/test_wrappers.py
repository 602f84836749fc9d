"""Any kind of device under the pcap and fault wrappers; what a mistake in their options leaves."""

from __future__ import annotations

import errno
import os
from contextlib import closing
from pathlib import Path

import pytest
from barewire.nic_drivers import Device, DeviceError

from tests.nic_drivers.kinds import drivers
from tests.nic_drivers.links import RealLink
from tests.nic_drivers.places import Place

pytestmark = pytest.mark.netns

BOTH = "delay=1ms&pcap="


def captured(path: Path) -> list[bytes]:
    """The packets of a capture, whatever their time."""
    data, found = path.read_bytes()[24:], []
    while data:
        size = int.from_bytes(data[8:12], "little")
        found.append(data[16 : 16 + size])
        data = data[16 + size :]
    return found


def lasting(device: Device) -> dict[str, int | str]:
    """What a device says of itself, but for what is so at the moment it is opened."""
    passing = ("link_up", "free_buffers")
    return {name: value for name, value in device.info.items() if name not in passing}


def test_frames_pass_both_ways_and_are_captured(place: Place, tmp_path: Path) -> None:
    """A millisecond later, by the caller's clock; the device's own words are still its own."""
    with place.open() as bare:
        plain = (bare.kind, bare.layer, bare.mtu, bare.limits, lasting(bare), [*bare.xstats])
    path = tmp_path / "link.pcap"
    with closing(RealLink(place, BOTH + str(path))) as link:
        device = link.device
        wrapped = device.kind, device.layer, device.mtu, device.limits, lasting(device)
        assert (*wrapped, [*device.xstats]) == plain
        out = [link.frame(i, link.smallest + 10 * i) for i in range(5)]
        link.transmit(out)
        link.now += 2_000_000
        assert link.received(5) == out
        answers = [link.answer(i, link.smallest + 10 * i) for i in range(5)]
        link.sends(*answers)
        found: list[bytes] = []
        while len(found) < 5:
            link.wait()
            link.now += 2_000_000
            found += [frame.data for frame in device.rx(64, link.now)]
        assert found == answers
        assert device.counters["pcap.frames"] == 10 and device.counters["fault.rx.lost"] == 0
    assert captured(path) == out + answers


def test_an_interface_that_goes_is_gone_for_the_wrappers_too(place: Place, tmp_path: Path) -> None:
    with closing(RealLink(place, BOTH + str(tmp_path / "gone.pcap"))) as link:
        armed = link.device.arm(link.now)
        link.breaks()
        assert armed.ready or armed.deadline is not None or link.woken(armed)
        with pytest.raises(DeviceError) as caught:
            for _ in range(link.looks):
                link.device.rx(64, link.now)
                link.settle()
        assert caught.value.errno in (errno.ENETDOWN, link.gone)


@pytest.mark.parametrize("place", drivers(), indirect=True)
@pytest.mark.parametrize(
    ("option", "number", "sentence"),
    [
        ("pcap=/nonexistent/x.pcap", errno.ENOENT, "cannot write the capture"),
        ("pcap=/dev/null&snaplen=0", errno.EINVAL, "option snaplen=0"),
        ("loss=2", errno.EINVAL, "option loss=2"),
        ("delay=1ms&pcap=", errno.EINVAL, "option pcap="),
        ("spin=2000", errno.EINVAL, "option spin=2000"),
        ("sharp=1", errno.EINVAL, "unknown option 'sharp'"),
    ],
)
def test_a_mistake_leaves_nothing(place: Place, option: str, number: int, sentence: str) -> None:
    """The device was open already: it is closed again, and its interface is as it was."""
    place.open().close()
    state, before = place.state(), len(os.listdir("/proc/self/fd"))
    with pytest.raises(DeviceError, match=sentence) as caught:
        place.open(option)
    assert caught.value.errno == number
    assert (place.state(), len(os.listdir("/proc/self/fd"))) == (state, before)
