"""packet: an interface of the kernel's through AF_PACKET's mapped rings.

Sets the rings up; packet.c moves the frames. Opening the socket is in ../packet_socket.py.
"""

from __future__ import annotations

import _socket
import os
import struct

from .._netdev import ffi, lib
from ..device import Device
from ..errors import DeviceError
from ..names import DeviceSpec, parse_between, parse_choice
from ..packet_socket import (
    PACKET_OPTIONS,
    SOL_PACKET,
    PacketRequest,
    open_packet_socket,
    packet_probe,
    packet_request,
    vnet_has_uso,
)
from ..registry import register

# linux/if_packet.h
_RX_RING, _VERSION, _TX_RING, _LOSS = 5, 10, 13, 14
_V2, _V3 = 1, 2
_BLOCK = 1 << 20  # bytes of a block of frames; V3 hands whole ones over
_SUPER_FRAME = 66_048  # a super-segment of 64 KB with headers and the ring's own
_BLOCK_MS = 1  # V3: how old a part-filled block may get


def open_packet(request: PacketRequest, *, block: bool = False, ring: int = 512) -> Device:
    """Opens an interface. By default (TPACKET_V2) each frame comes at once, with `block` (TPACKET_V3)
    whole blocks of them, at most 1 ms late: for bulk and capture. `ring` is the number of frames
    received that may wait. Raises DeviceError: ENODEV, ENETDOWN, EPERM, EADDRINUSE, EINVAL, …"""
    opened = open_packet_socket(request, lambda sock: _set_up_rings(sock, block, ring))
    config = ffi.new("struct packet_config *")
    label = ffi.new("char[]", request.name.encode())
    config.name, config.mtu, config.layer, config.mac = label, opened.mtu, opened.layer, opened.mac
    config.uso = vnet_has_uso()
    config.version, config.offload = (_V3 if block else _V2), request.offload
    config.share, config.filter = request.share, request.filtered
    config.rx_block_size = config.tx_block_size = _BLOCK
    config.rx_frame_size = config.tx_frame_size = _SUPER_FRAME
    config.rx_blocks, config.tx_blocks = _blocks(ring)
    netdev = lib.packet_new(opened.fd, config)
    if netdev == ffi.NULL:
        number = ffi.errno
        os.close(opened.fd)
        text = f"cannot map the rings of packet:{request.name}: {os.strerror(number)}"
        raise DeviceError(number, text)
    return Device("packet", netdev, queues=request.queues)


def _blocks(ring: int) -> tuple[int, int]:
    """Blocks of the receive ring and of the transmit ring."""
    frames = _BLOCK // _SUPER_FRAME
    return max(2, -(-ring // frames)), max(2, -(-(ring // 4) // frames))


def _set_up_rings(sock: _socket.socket, block: bool, ring: int) -> None:
    sock.setsockopt(SOL_PACKET, _VERSION, _V3 if block else _V2)
    sock.setsockopt(SOL_PACKET, _LOSS, 1)
    for kind, blocks in zip((_RX_RING, _TX_RING), _blocks(ring), strict=True):
        plan = [_BLOCK, blocks, _SUPER_FRAME, blocks * (_BLOCK // _SUPER_FRAME)]
        if block:
            plan += [_BLOCK_MS if kind == _RX_RING else 0, 0, 0]
        sock.setsockopt(SOL_PACKET, kind, struct.pack(f"{len(plan)}I", *plan))


def _factory(spec: DeviceSpec) -> Device:
    return open_packet(
        packet_request(spec),
        block=spec.get("rx", parse_choice("frame", "block"), "frame") == "block",
        ring=spec.get("ring", parse_between(8, 16_384), 512),
    )


register(
    "packet",
    _factory,
    packet_probe,
    description="an interface of the Linux kernel through AF_PACKET rings",
    options={
        **PACKET_OPTIONS,
        "rx": "frame (each at once, default) or block (in blocks, for bulk and capture)",
        "ring": "frames received that may wait (512)",
    },
)
