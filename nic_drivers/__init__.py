"""Network devices: the contract (netdev.h), the drivers, and naming them.

`open_device("tap:tap0?host=198.18.0.1/24")` gives a Device, which a stack takes; `available()`
lists the kinds; `with_pcap`, `with_faults` and `with_late` wrap any device. Without a stack, a
Device is driven by hand with `send`, `recv`, `tx` and `rx`.
"""

from .device import Armed, Device, Limits, RxFrame, Tally, TxFrame, stable_mac
from .dpdk.dpdk import open_dpdk
from .errors import DeviceError
from .fault.fault import Faults, with_faults
from .late.late import with_late
from .names import DeviceSpec, parse_device_name
from .packet.packet import open_packet
from .packet_socket import PacketRequest
from .pcap.pcap import with_pcap
from .pipe.callback import CallbackDevice
from .pipe.pipe import PipeEnd, pipe_pair
from .raw.raw import open_raw
from .registry import (
    DeviceInfo,
    RunningDevice,
    available,
    common_options,
    open_device,
    register,
    register_wrapper,
    running,
)
from .tap.tap import open_tap
from .tun import TunRequest
from .uring.uring import open_uring
from .xdp.xdp import open_xdp

__all__ = [
    "Armed",
    "CallbackDevice",
    "Device",
    "DeviceError",
    "DeviceInfo",
    "DeviceSpec",
    "Faults",
    "Limits",
    "PacketRequest",
    "PipeEnd",
    "RunningDevice",
    "RxFrame",
    "Tally",
    "TunRequest",
    "TxFrame",
    "available",
    "common_options",
    "open_device",
    "open_dpdk",
    "open_packet",
    "open_raw",
    "open_tap",
    "open_uring",
    "open_xdp",
    "parse_device_name",
    "pipe_pair",
    "register",
    "register_wrapper",
    "running",
    "stable_mac",
    "with_faults",
    "with_late",
    "with_pcap",
]
