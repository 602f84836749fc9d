"""Checks on packets that compose: `is_tcp(flags="S") & has_option("mss", 1460) & ~has_df()`.

A check called with a packet gives None if it holds, else a text that says what does not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from barewire.stack.icmp import icmp

from .frames import flags_of, letters_of
from .packets import Packet


class Check:
    """A named condition. `&`, `|` and `~` make new ones."""

    def __init__(self, name: str, find: Callable[[Packet], str | None]) -> None:
        self.name = name
        self._find = find

    def __call__(self, packet: Packet) -> str | None:
        return self._find(packet)

    def holds(self, packet: Packet) -> bool:
        return self(packet) is None

    def __repr__(self) -> str:
        return self.name

    def __and__(self, other: Check) -> Check:
        return Check(f"{self} & {other}", lambda p: self(p) or other(p))

    def __or__(self, other: Check) -> Check:
        def find(p: Packet) -> str | None:
            left = self(p)
            right = other(p) if left else None
            return f"{left}; and {right}" if left and right else None

        return Check(f"({self} | {other})", find)

    def __invert__(self) -> Check:
        return Check(f"~{self}", lambda p: None if self(p) else f"it is {self}")


def _name(kind: str, fields: dict[str, Any]) -> str:
    return f"{kind}({', '.join(f'{k}={v!r}' for k, v in fields.items() if v is not None)})"


def _differences(found: dict[str, Any], wanted: dict[str, Any]) -> str | None:
    wrong = [
        f"{name} is {found[name]!r}, not {value!r}"
        for name, value in wanted.items()
        if value is not None and found[name] != value
    ]
    return ", ".join(wrong) or None


def anything() -> Check:
    return Check("anything", lambda p: None)


def is_tcp(
    flags: str | None = None,
    sport: int | None = None,
    dport: int | None = None,
    seq: int | None = None,
    ack: int | None = None,
    len: int | None = None,
    window: int | None = None,
) -> Check:
    """A segment; numbers as on the wire. PSH is only looked at if `flags` names it."""
    size = len
    wanted = {"sport": sport, "dport": dport, "seq": seq, "ack": ack, "len": size, "window": window}

    def find(p: Packet) -> str | None:
        if p.tcp is None:
            return "it is not TCP"
        t = p.tcp
        seen = t.flags if flags and "P" in flags else t.flags & ~flags_of("P")
        if flags is not None and seen != flags_of(flags):
            return f"flags are {letters_of(t.flags)!r}, not {flags!r}"
        found = {name: getattr(t, name) for name in wanted if name != "len"}
        return _differences({**found, "len": t.payload.__len__()}, wanted)

    return Check(_name("is_tcp", {"flags": flags, **wanted}), find)


_ABSENT = object()


def has_option(name: str, value: Any = _ABSENT) -> Check:
    """A TCP option: mss, wscale, sack_permitted, timestamps, sack; with that value if given."""

    def find(p: Packet) -> str | None:
        found = None if p.tcp is None else getattr(p.tcp, name)
        if found is None or found is False or found == ():
            return f"there is no option {name}"
        return None if value is _ABSENT or found == value else f"{name} is {found!r}, not {value!r}"

    return Check(f"has_option({name!r}{'' if value is _ABSENT else f', {value!r}'})", find)


def is_udp(sport: int | None = None, dport: int | None = None, data: bytes | None = None) -> Check:
    wanted = {"sport": sport, "dport": dport, "payload": data}

    def find(p: Packet) -> str | None:
        if p.udp is None:
            return "it is not UDP"
        return _differences({name: getattr(p.udp, name) for name in wanted}, wanted)

    return Check(_name("is_udp", wanted), find)


def is_echo_reply(
    ident: int | None = None, seq: int | None = None, data: bytes | None = None
) -> Check:
    wanted = {"reply": True, "ident": ident, "seq": seq, "data": data}

    def find(p: Packet) -> str | None:
        if not isinstance(p.icmp, icmp.Echo):
            return "it is not an ICMP echo message"
        return _differences({name: getattr(p.icmp, name) for name in wanted}, wanted)

    return Check(_name("is_echo_reply", wanted), find)


def is_unreachable(code: int | None = None) -> Check:
    def find(p: Packet) -> str | None:
        if not isinstance(p.icmp, icmp.Unreachable):
            return "it is not an ICMP destination unreachable"
        return _differences({"code": p.icmp.code}, {"code": code})

    return Check(_name("is_unreachable", {"code": code}), find)


def is_arp(op: int | None = None, target: str | None = None, sender: str | None = None) -> Check:
    wanted = {"op": op, "target_ip": target, "sender_ip": sender}

    def find(p: Packet) -> str | None:
        if p.arp is None:
            return "it is not ARP"
        a = p.arp
        found = {"op": a.op, "target_ip": str(a.target_ip), "sender_ip": str(a.sender_ip)}
        return _differences(found, wanted)

    return Check(_name("is_arp", wanted), find)


def is_ip(**wanted: Any) -> Check:
    """Fields of the IP header: src, dst (texts), ttl, tos, df, mf, offset, ident, proto."""

    def find(p: Packet) -> str | None:
        if p.ip is None:
            return "it is not IP"
        found = {name: getattr(p.ip, name) for name in wanted}
        for name in ("src", "dst"):
            if name in found:
                found[name] = str(found[name])
        return _differences(found, wanted)

    return Check(_name("is_ip", wanted), find)
