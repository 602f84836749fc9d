"""What Stack's arguments may be: each is checked here, with one clear sentence for each mistake."""

from __future__ import annotations

import errno
import hashlib
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import IPv4Interface
from typing import Any

from barewire.nic_drivers import Device
from barewire.stack import ffi, lib
from barewire.stack.congestion import Algorithm, names, register
from barewire.stack.punt import RATES, PuntClass, Rate

from . import _errors

SPIN = 200e-6  # longer than a wake-up of the peer and the way back; see ARCHITECTURE.md
BUFFER_BYTES = 256 << 20
BUFFER_BOUNDS = (2048, 256 << 10, 64 << 20)
MAX_SOCKETS = 65_536
MAX_NEIGHBOURS = 1024
TRACE_RECORDS = 65_536
PORTS = (32_768, 60_999)

Address = str | IPv4Interface
MEMORY = {
    "private": lib.BW_MEMORY_PRIVATE,
    "shared": lib.BW_MEMORY_SHARED,
    "huge": lib.BW_MEMORY_HUGE,
}


def host_config(
    seed: bytes,
    *,
    now: int,
    is_virtual: bool,
    buffer_bytes: int,
    receive_buffer: tuple[int, int, int],
    send_buffer: tuple[int, int, int],
    max_sockets: int,
    max_orphans: int | None,
    ports: tuple[int, int],
    header_prediction: bool,
    poison: bool,
    memory: str,
    lock_memory: bool,
    syn_cookies: int,
    mtu_probing: int,
    ecn: str,
    trace_records: int,
    fast_open: int,
    punt_rates: Mapping[str, tuple[int, int]],
) -> Any:
    """C's struct host_config."""
    first, last = _port_range(ports)
    config = ffi.new("struct host_config *")
    config.virtual_time, config.cpu = is_virtual, -1
    if memory not in MEMORY:
        raise ValueError(f"memory {memory!r}: known are {', '.join(MEMORY)}")
    config.memory = MEMORY[memory] | (lib.BW_MEMORY_LOCKED if lock_memory else 0)
    engine = config.engine
    engine.seed, engine.now = seed, now
    engine.buffer_bytes = integer("buffer_bytes", buffer_bytes, 1 << 20, 1 << 40)
    engine.rcvbuf = _bounds("receive_buffer", receive_buffer)
    engine.sndbuf = _bounds("send_buffer", send_buffer)
    engine.max_socks = integer("max_sockets", max_sockets, 1, 1 << 22)
    if max_orphans is None:
        max_orphans = max(64, max_sockets // 2)
    engine.max_orphans = integer("max_orphans", max_orphans, 0, 1 << 22)
    engine.max_neighs = MAX_NEIGHBOURS
    engine.port_first, engine.port_last = first, last
    engine.port_mod = 1
    engine.header_prediction = bool(header_prediction)
    engine.poison = bool(poison)
    engine.fast_open = integer("fast_open", fast_open, 0, 3)
    engine.mtu_probing = integer("mtu_probing", mtu_probing, 0, 2)
    engine.syn_cookies = integer("syn_cookies", syn_cookies, 0, 2)
    engine.ecn = ecn_mode(ecn)
    engine.trace_records = integer("trace_records", trace_records, 16, 1 << 24)
    for cls, rate in (RATES | _punt_rates(punt_rates)).items():
        engine.punt_rate[cls] = rate
    return config


def check_new(answer: int, locked: bool) -> None:
    """Of host_new(): OSError says what to do."""
    if locked and answer in (-errno.ENOMEM, -errno.EPERM):
        text = (
            "cannot lock the stack's memory: raise RLIMIT_MEMLOCK (ulimit -l) or leave it unlocked"
        )
        raise OSError(-answer, text)
    _errors.check(answer)


def _punt_rates(given: Mapping[str, tuple[int, int]]) -> dict[PuntClass, Rate]:
    if not isinstance(given, Mapping):
        raise TypeError(f"punt_rates must be a dict, not {type(given).__name__}")
    known = {cls.name.lower(): cls for cls in PuntClass}
    found = {}
    for name, value in given.items():
        if name not in known:
            raise ValueError(f"punt_rates {name!r}: known are {', '.join(known)}")
        try:
            rate, burst = value
        except (TypeError, ValueError):
            raise TypeError(f"punt_rates {name!r} {value!r}: give (a second, at once)") from None
        integer(f"punt_rates {name!r}", rate, 1, 1_000_000)
        found[known[name]] = Rate(rate, integer(f"punt_rates {name!r} burst", burst, 1, 1 << 16))
    return found


def _bounds(name: str, value: tuple[int, int, int]) -> tuple[int, int, int]:
    try:
        least, standard, most = value
    except (TypeError, ValueError):
        raise TypeError(f"{name} {value!r}: give (min, default, max) in bytes") from None
    integer(f"{name}'s min", least, 2048, lib.BW_BUFFER_MAX)
    integer(f"{name}'s default", standard, least, lib.BW_BUFFER_MAX)
    integer(f"{name}'s max", most, standard, lib.BW_BUFFER_MAX)
    return least, standard, most


def integer(name: str, value: int, low: int, high: int) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if not low <= value <= high:
        raise ValueError(f"{name} {value}: it is from {low} to {high}")
    return value


def seconds(name: str, value: float, high: float) -> float:
    if not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
    if not (math.isfinite(value) and 0 <= value <= high):
        raise ValueError(f"{name} {value}: it is from 0 to {high:g} seconds")
    return float(value)


def nanoseconds(name: str, value: float, high: float) -> int:
    return round(seconds(name, value, high) * 1e9)


def seed_bytes(seed: int | str | bytes | None) -> bytes:
    """32 bytes that stand for the seed."""
    if seed is None:
        return os.urandom(32)
    if not isinstance(seed, (int, str, bytes)):
        raise TypeError(f"seed must be int, str, bytes or None, not {type(seed).__name__}")
    return hashlib.blake2b(repr(seed).encode(), digest_size=32).digest()


def reading(clock: Callable[[], int]) -> int:
    """What the clock of a stack in virtual time says."""
    now = clock()
    if not isinstance(now, int):
        raise TypeError(f"clock() must return int nanoseconds, not {type(now).__name__}")
    if not 0 <= now < 2**63 - 1:
        raise ValueError(f"clock() returned {now}: ns from 0 to 2**63 - 2")
    return now


def congestion(chosen: str | type[Algorithm]) -> int:
    """The engine's number of a congestion control algorithm; a class is registered."""
    name = register(chosen).name if isinstance(chosen, type) else chosen
    known = names()
    if name not in known:
        raise ValueError(f"congestion {name!r}: known are {', '.join(known)}")
    return known[name]


ECN_MODES = {
    "off": lib.BW_ECN_OFF,
    "passive": lib.BW_ECN_PASSIVE,
    "on": lib.BW_ECN_ON,
    "accecn": lib.BW_ECN_ACCURATE,
    "accecn-passive": lib.BW_ECN_ACCURATE_PASSIVE,
}


def ecn_mode(name: str) -> int:
    """The engine's number of a way to use ECN."""
    if name not in ECN_MODES:
        raise ValueError(f"ecn {name!r}: known are {', '.join(ECN_MODES)}")
    return int(ECN_MODES[name])


def _port_range(ports: tuple[int, int]) -> tuple[int, int]:
    try:
        first, last = ports
    except (TypeError, ValueError):
        raise TypeError(f"ports {ports!r}: give (first, last)") from None
    integer("ports", first, 1, 65535)
    integer("ports", last, first, 65535)
    return first, last


def device_list(device: str | Device | Sequence[str | Device] | None) -> list[str | Device]:
    if device is None:
        return []
    devices: list[Any] = list(device) if isinstance(device, (list, tuple)) else [device]
    for d in devices:
        if not isinstance(d, (str, Device)):
            raise TypeError(f"device must be a name or a Device, not {type(d).__name__}")
    return devices


def address(value: Address) -> IPv4Interface:
    """An address with its prefix length; without one it would be alone in its network."""
    if isinstance(value, IPv4Interface):
        return value
    if not isinstance(value, str):
        raise TypeError(f"an address must be a str, not {type(value).__name__}")
    if "/" not in value:
        raise ValueError(f"address {value!r} has no prefix length: write it as 198.18.0.2/24")
    try:
        return IPv4Interface(value)
    except ValueError:
        raise ValueError(f"address {value!r} is no IPv4 address with prefix length") from None


def address_list(
    addresses: Iterable[Address | tuple[Address, str]],
) -> list[tuple[Address, str | None]]:
    """(address, interface name or None) for each; addresses are checked."""
    if isinstance(addresses, str):
        raise TypeError(f"addresses must be a list: write addresses=[{addresses!r}]")
    found: list[tuple[Address, str | None]] = []
    for entry in addresses:
        value, name = entry if isinstance(entry, tuple) else (entry, None)
        found.append((address(value), name))
    return found
