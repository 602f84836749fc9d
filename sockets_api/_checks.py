"""Checks of what Stack's options may be: each with one clear sentence for each mistake.

A check takes an option's name and value, and gives the value as it is used from there on; what it gives
passes it again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import IPv4Interface
from types import MappingProxyType
from typing import Any

from barewire.nic_drivers import Device
from barewire.stack import lib
from barewire.stack.congestion import Algorithm, names, register
from barewire.stack.punt import PuntClass, Rate

Address = str | IPv4Interface
Check = Callable[[str, Any], Any]


# ---- numbers -------------------------------------------------------------------------------------


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


def within(low: int, high: int) -> Check:
    """An int of this range, which documents name."""
    return _ranged(f"{low} to {high}", lambda name, value: integer(name, value, low, high))


def _ranged(text: str, check: Check) -> Check:
    check.__doc__ = text
    return check


def seconds_to(high: float) -> Check:
    """A number of seconds, at most so many."""
    return _ranged(f"0 to {high:g}", lambda name, value: seconds(name, value, high))


def or_none(check: Check) -> Check:
    """None, or what `check` lets through."""
    return _ranged(
        check.__doc__ or "", lambda name, value: None if value is None else check(name, value)
    )


def flag(name: str, value: Any) -> bool:
    return bool(value)


def kind(*kinds: type) -> Check:
    """A value of these types."""

    def check(name: str, value: Any) -> Any:
        if not isinstance(value, kinds):
            known = " or ".join(k.__name__ for k in kinds)
            raise TypeError(f"{name} must be {known}, not {type(value).__name__}")
        return value

    return check


def choice(known: Iterable[str]) -> Check:
    """One of these names."""
    names = tuple(known)

    def check(name: str, value: Any) -> Any:
        if value not in names:
            raise ValueError(f"{name} {value!r}: known are {', '.join(names)}")
        return value

    return check


# ---- several -------------------------------------------------------------------------------------


def buffer_bounds(name: str, value: tuple[int, int, int]) -> tuple[int, int, int]:
    try:
        least, standard, most = value
    except (TypeError, ValueError):
        raise TypeError(f"{name} {value!r}: give (min, default, max) in bytes") from None
    integer(f"{name}'s min", least, 2048, lib.BW_BUFFER_MAX)
    integer(f"{name}'s default", standard, least, lib.BW_BUFFER_MAX)
    integer(f"{name}'s max", most, standard, lib.BW_BUFFER_MAX)
    return least, standard, most


def port_range(name: str, value: tuple[int, int]) -> tuple[int, int]:
    try:
        first, last = value
    except (TypeError, ValueError):
        raise TypeError(f"{name} {value!r}: give (first, last)") from None
    integer(name, first, 1, 65535)
    integer(name, last, first, 65535)
    return first, last


def punt_rates(name: str, value: Mapping[str, tuple[int, int]] | None) -> Mapping[str, Rate]:
    if not isinstance(value or {}, Mapping):
        raise TypeError(f"{name} must be a dict, not {type(value).__name__}")
    known = [cls.name.lower() for cls in PuntClass]
    found = {}
    for cls, pair in (value or {}).items():
        if cls not in known:
            raise ValueError(f"{name} {cls!r}: known are {', '.join(known)}")
        try:
            rate, burst = pair
        except (TypeError, ValueError):
            raise TypeError(f"{name} {cls!r} {pair!r}: give (a second, at once)") from None
        integer(f"{name} {cls!r}", rate, 1, 1_000_000)
        found[cls] = Rate(rate, integer(f"{name} {cls!r} burst", burst, 1, 1 << 16))
    return MappingProxyType(found)


def congestion(name: str, value: str | type[Algorithm]) -> str:
    """The name of a congestion control algorithm; a class is registered."""
    chosen = register(value).name if isinstance(value, type) else value
    return str(choice(names())(name, chosen))


def addresses(
    name: str, value: Iterable[Address | tuple[Address, str | None]]
) -> tuple[tuple[IPv4Interface, str | None], ...]:
    """(address, interface name or None) for each."""
    if isinstance(value, str):
        raise TypeError(f"{name} must be a list: write {name}=[{value!r}]")
    pairs = (entry if isinstance(entry, tuple) else (entry, None) for entry in value)
    return tuple((address(own), interface) for own, interface in pairs)


def routes(name: str, value: Iterable[tuple[Any, Any]]) -> tuple[tuple[Any, Any], ...]:
    """(prefix, gateway) for each; the routing table knows what they may be."""
    return tuple((prefix, gateway) for prefix, gateway in value)


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


def device_list(device: str | Device | Sequence[str | Device] | None) -> list[str | Device]:
    if device is None:
        return []
    devices: list[Any] = list(device) if isinstance(device, (list, tuple)) else [device]
    for d in devices:
        if not isinstance(d, (str, Device)):
            raise TypeError(f"device must be a name or a Device, not {type(d).__name__}")
    return devices
