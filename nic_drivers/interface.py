"""An interface of the kernel's as it is, in the calling thread's network namespace."""

from __future__ import annotations

import _socket
import ctypes
import errno
import fcntl
import struct
from dataclasses import dataclass

from .errors import DeviceError

# linux/sockios.h, linux/if.h
_SIOCGIFFLAGS, _SIOCGIFMTU, _SIOCGIFHWADDR = 0x8913, 0x8921, 0x8927
_IFF_UP = 1
_SIOCETHTOOL, _ETHTOOL_GDRVINFO, _DRVINFO_LEN = 0x8946, 3, 196  # linux/ethtool.h


@dataclass(frozen=True)
class KernelInterface:
    """Index, MTU in bytes, hardware type (ARPHRD_*) and address (six bytes), and whether it is up."""

    index: int
    mtu: int
    hardware: int
    mac: bytes
    up: bool


def interface_up(name: str) -> KernelInterface:
    """The interface, which has to be there and up: DeviceError, ENODEV or ENETDOWN."""
    found = interface(name)
    if not found.up:
        text = f"interface {name} is down: bring it up with `ip link set {name} up`"
        raise DeviceError(errno.ENETDOWN, text)
    return found


def interface(name: str) -> KernelInterface:
    """The interface, which has to be there: DeviceError, ENODEV."""
    query = struct.pack("16s24x", name.encode()[:15])
    kernel = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC, 0)
    try:
        flags = struct.unpack_from("H", fcntl.ioctl(kernel.fileno(), _SIOCGIFFLAGS, query), 16)[0]
        mtu = struct.unpack_from("i", fcntl.ioctl(kernel.fileno(), _SIOCGIFMTU, query), 16)[0]
        hardware = fcntl.ioctl(kernel.fileno(), _SIOCGIFHWADDR, query)
        index = _socket.if_nametoindex(name)
    except OSError as error:
        raise DeviceError(error.errno or 0, f"there is no interface {name!r} here") from None
    finally:
        kernel.close()
    kind = struct.unpack_from("H", hardware, 16)[0]
    return KernelInterface(index, mtu, kind, hardware[18:24], bool(flags & _IFF_UP))


def interface_driver(name: str) -> str | None:
    """The name of the kernel's driver ("tun", "veth", …), "" if it does not say, None if there is no
    such interface."""
    info = ctypes.create_string_buffer(struct.pack("I", _ETHTOOL_GDRVINFO), _DRVINFO_LEN)
    query = struct.pack("16sP16x", name.encode()[:15], ctypes.addressof(info))
    kernel = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC, 0)
    try:
        fcntl.ioctl(kernel.fileno(), _SIOCETHTOOL, query)
    except OSError as error:
        return None if error.errno == errno.ENODEV else ""
    finally:
        kernel.close()
    return info.raw[4:36].split(b"\0")[0].decode()
