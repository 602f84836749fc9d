"""Super-segments that a device delivers are cut where one wants frames; what cannot be cut is left whole."""

from __future__ import annotations

from typing import Any

import pytest
from barewire.nic_drivers import Device, with_faults
from barewire.nic_drivers._netdev import ffi

from tests.nic_drivers.frames import L2_HEADER

SIZE = 50  # bytes of a segment
LINK = b"\x02\0\0\0\0\x02\x02\0\0\0\0\x01\x08\x00"


def super_segment(offset: int, proto: int = 6) -> bytes:
    """TCP with a data offset (words) that need not be true, or UDP; 100 bytes behind 20 of header."""
    ip = bytearray(20)
    ip[0], ip[8], ip[9] = 0x45, 64, proto
    ip[2:4] = (140).to_bytes(2, "big")
    ip[12:20] = bytes((198, 18, 0, 1, 198, 18, 0, 2))
    tcp = bytearray(20)
    tcp[12] = offset << 4
    return LINK + bytes(ip) + bytes(tcp) + bytes(range(100))


class Delivers:
    """A device that delivers one frame, said to be of segments of SIZE bytes."""

    def __init__(self, frame: bytes) -> None:
        self._data = ffi.new("uint8_t[]", frame)
        self._frames = [(self._data, len(frame))]
        self._calls = [
            ffi.callback("int(struct netdev *, int64_t, struct rx_frame *, int)", self._rx),
            ffi.callback("int(struct netdev *, int64_t, int, struct netdev_arm *)", self._arm),
            ffi.callback("void(struct netdev *)", lambda dev: None),
        ]
        self.netdev = ffi.new("struct netdev *")
        self.netdev.rx_burst, self.netdev.arm, self.netdev.close = self._calls
        self.netdev.layer, self.netdev.mtu = 2, 1500

    def _rx(self, dev: Any, now: int, frames: Any, most: int) -> int:
        if not self._frames:
            return 0
        frames[0].data, frames[0].len = self._frames.pop()
        frames[0].gso_size, frames[0].csum = SIZE, 1
        return 1

    def _arm(self, dev: Any, now: int, want_tx: int, arm: Any) -> int:
        arm.fd, arm.deadline = -1, 2**63 - 1
        return 0


def delivered(frame: bytes) -> list[bytes]:
    inner = Delivers(frame)
    with with_faults(Device("made here", inner.netdev)) as device:
        return [frame.data for frame in device.rx(64, 1)]


def test_a_super_segment_is_cut() -> None:
    cut = delivered(super_segment(5))
    assert [len(frame) for frame in cut] == [L2_HEADER + 40 + SIZE] * 2
    assert b"".join(frame[L2_HEADER + 40 :] for frame in cut) == bytes(range(100))


@pytest.mark.parametrize("offset", [0, 1, 2, 4, 15])
def test_one_whose_header_is_too_short_or_longer_than_it_is_is_not(offset: int) -> None:
    """Found by fuzz/drivers/cut_fuzz.c: the checksum was written beside a header of less than 20 bytes."""
    frame = super_segment(offset)
    if offset == 15:
        frame = frame[: L2_HEADER + 20 + 40]
    assert delivered(frame) == [frame]
