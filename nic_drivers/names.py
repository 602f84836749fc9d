"""How a device is named, `kind:name?option=value&option=value`, and how option values are
read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from .errors import DeviceError, invalid

T = TypeVar("T")

_TIME = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
_POWER = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_BINARY = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"


@dataclass(frozen=True)
class DeviceSpec:
    """A device name taken apart. Option values are still text."""

    kind: str
    name: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        options = "&".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.kind}:{self.name}" + (f"?{options}" if options else "")

    def get(self, option: str, parse: Callable[[str], T], default: T) -> T:
        """The option's value, or the default. `parse` raises ValueError with what it expects."""
        if option not in self.options:
            return default
        text = self.options[option]
        try:
            return parse(text)
        except DeviceError:
            raise
        except ValueError as error:
            raise invalid(
                f"option {option}={text} of device {self.kind}:{self.name}: {error}"
            ) from None


def parse_device_name(text: str) -> DeviceSpec:
    """Takes `kind:name?opt=value&…` apart. Values may be percent-encoded (`%26` is `&`)."""
    head, mark, tail = text.partition("?")
    kind, colon, name = head.partition(":")
    if not colon or not re.fullmatch(r"[a-z][a-z0-9_]*", kind):
        raise invalid(f"device name {text!r} has no kind: write kind:name, such as tap:tap0")
    options: dict[str, str] = {}
    for part in tail.split("&") if mark else []:
        key, equals, value = part.partition("=")
        if not key or not equals:
            raise invalid(
                f"device name {text!r}: write options as ?option=value&option=value, not {part!r}"
            )
        if key in options:
            raise invalid(f"device name {text!r} gives option {key} twice")
        options[key] = _unquoted(value)
    return DeviceSpec(kind, name, options)


def _unquoted(value: str) -> str:
    if "%" not in value:
        return value
    from urllib.parse import unquote  # slow to load

    return unquote(value)


def _scaled(text: str, units: Mapping[str, int], suffix: str, expected: str) -> float:
    match = re.fullmatch(_NUMBER + r"([a-z]*)", text.lower())
    if match:
        unit = match[2]
        if suffix and unit.endswith(suffix) and unit not in units:
            unit = unit.removesuffix(suffix)
        if unit in units:
            return float(match[1]) * units[unit]
    raise ValueError(f"expected {expected}")


def parse_time(text: str) -> int:
    """Nanoseconds: `10ms`, `1.5s`, `500us`, `20ns`; at most an hour."""
    expected = "a time of at most an hour with its unit, such as 10ms, 500us or 2s"
    value = 0 if text == "0" else round(_scaled(text, _TIME, "", expected))
    if value > 3600 * _TIME["s"]:
        raise ValueError(f"expected {expected}")
    return value


def parse_rate(text: str) -> float:
    """Bits per second: `10mbit`, `1gbit`, `64k`, `1000000`."""
    return _scaled(text, _POWER, "bit", "bits per second, such as 10mbit or 1000000")


def parse_size(text: str) -> int:
    """Bytes: `64k` (65,536), `1m`, `1500`."""
    return round(_scaled(text, _BINARY, "", "bytes, such as 65536, 64k or 1m"))


def parse_chance(text: str) -> float:
    """A probability: `0.01` or `1%`."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ValueError("expected a probability from 0 to 1, or from 0% to 100%")
    return value


def parse_flag(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError("expected 0 or 1")
    return text == "1"


def parse_between(low: int, high: int) -> Callable[[str], int]:
    """A parser of whole numbers in low..high."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,20}", text) or not low <= int(text) <= high:
            raise ValueError(f"expected a whole number from {low} to {high}")
        return int(text)

    return parse


def parse_power_of_two(low: int, high: int) -> Callable[[str], int]:
    """A parser of powers of two in low..high."""
    between = parse_between(low, high)

    def parse(text: str) -> int:
        value = between(text)
        if value & (value - 1):
            raise ValueError(f"expected a power of two from {low} to {high}")
        return value

    return parse


def parse_mac(text: str) -> bytes:
    """A unicast MAC address, `02:00:00:00:00:01`."""
    if re.fullmatch(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", text):
        mac = bytes.fromhex(text.replace(":", ""))
        if any(mac) and not mac[0] & 1:
            return mac
    raise ValueError("expected a unicast MAC address such as 02:00:00:00:00:01")


def parse_choice(*choices: str) -> Callable[[str], str]:
    """A parser that takes one of the given words."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"expected {' or '.join(choices)}")
        return text

    return parse


def parse_text(text: str) -> str:
    if not text:
        raise ValueError("expected a value")
    return text
