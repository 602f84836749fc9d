"""Network devices: the contract (netdev.h), the drivers, and naming them.

`open_device("tap:tap0?host=198.18.0.1/24")` gives a Device, which a stack takes; `available()`
lists the kinds; `with_pcap`, `with_faults` and `with_late` wrap any device. Without a stack, a
Device is driven by hand with `send`, `recv`, `tx` and `rx`. Drivers are loaded at their first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import kernel
from .device import Armed, Device, Limits, RxFrame, Tally, TxFrame, stable_mac
from .errors import DeviceError
from .names import DeviceSpec, parse_device_name
from .registry import (
    DeviceInfo,
    RunningDevice,
    available,
    common_options,
    load_drivers,
    open_device,
    running,
)

if TYPE_CHECKING:
    from .dpdk.dpdk import open_dpdk
    from .fault.fault import Faults, with_faults
    from .late.late import with_late
    from .packet.packet import open_packet
    from .packet_socket import PacketRequest
    from .pcap.pcap import with_pcap
    from .pipe.callback import CallbackDevice
    from .pipe.pipe import PipeEnd, pipe_pair
    from .raw.raw import open_raw
    from .registry import register, register_wrapper
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
    "kernel",
    "load_drivers",
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

_WHERE = {
    "CallbackDevice": "pipe.callback",
    "Faults": "fault.fault",
    "PacketRequest": "packet_socket",
    "PipeEnd": "pipe.pipe",
    "TunRequest": "tun",
    "open_dpdk": "dpdk.dpdk",
    "open_packet": "packet.packet",
    "open_raw": "raw.raw",
    "open_tap": "tap.tap",
    "open_uring": "uring.uring",
    "open_xdp": "xdp.xdp",
    "pipe_pair": "pipe.pipe",
    "register": "registry",
    "register_wrapper": "registry",
    "with_faults": "fault.fault",
    "with_late": "late.late",
    "with_pcap": "pcap.pcap",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _WHERE[name] == "registry":
        load_drivers()  # so that a kind of the program's own comes after ours, and in their place
    value = getattr(import_module(f".{_WHERE[name]}", __name__), name)
    globals()[name] = value
    return value
