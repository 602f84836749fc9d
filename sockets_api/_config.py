"""What a stack can be told: each option once, with its default, its range and its words.

`Stack()` takes them by keyword, `BAREWIRE` and the command line as words; docs/options.md and the help of
both are written from here.
"""

# ruff: noqa: RUF009  (each default is a dataclasses.field)
from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from ipaddress import IPv4Address, IPv4Network
from typing import Any, NamedTuple

from barewire.stack import ffi, lib
from barewire.stack.congestion import Algorithm, names
from barewire.stack.punt import RATES, PuntClass

from . import _checks, _errors
from ._checks import Address, Check, within

SPIN = 200e-6  # longer than a wake-up of the peer and the way back; see ARCHITECTURE.md
MAX_NEIGHBOURS = 1024
PORTS = (32_768, 60_999)
RECEIVE_BOUNDS = (2304, 256 << 10, 64 << 20)
SEND_BOUNDS = (4608, 256 << 10, 64 << 20)
ECN_MODES = {
    "off": lib.BW_ECN_OFF,
    "passive": lib.BW_ECN_PASSIVE,
    "on": lib.BW_ECN_ON,
    "accecn": lib.BW_ECN_ACCURATE,
    "accecn-passive": lib.BW_ECN_ACCURATE_PASSIVE,
}
MEMORY = {
    "private": lib.BW_MEMORY_PRIVATE,
    "shared": lib.BW_MEMORY_SHARED,
    "huge": lib.BW_MEMORY_HUGE,
}


# ---- what an option is ---------------------------------------------------------------------------


class Option(NamedTuple):
    """`check` says what it may be, `help` what it means. As a word: `parse` makes a value of its text
    (None: there is no such word), `word` is its name there, `metavar` what stands for the text, and
    `repeats` whether it may come again."""

    check: Check
    help: str
    parse: Callable[[str], Any] | None
    word: str
    metavar: str
    repeats: bool


def _option(
    default: Any,
    check: Check,
    parse: Callable[[str], Any] | None,
    metavar: str,
    help: str,
    word: str = "",
) -> Any:
    text = " ".join(help.split())
    if metavar in ("N", "BYTES", "SECONDS") and check.__doc__:
        text += f" ({check.__doc__})"
    option = Option(check, text, parse, word, metavar, bool(word))
    return field(default=default, metadata={"option": option})


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _route(text: str) -> tuple[str, str]:
    prefix, comma, gateway = text.partition(",")
    if not comma:
        raise ValueError("write it as PREFIX,GATEWAY")
    return prefix, gateway


def _flag(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError("0 or 1")
    return text == "1"


@dataclass(frozen=True, kw_only=True)
class Config:
    """The options of a Stack, checked. Raises ValueError or TypeError with a sentence that names one."""

    addresses: Iterable[Address | tuple[Address, str | None]] = _option(
        (), _checks.addresses, str, "ADDRESS/LENGTH", word="address", help="""own addresses: "198.18.0.2/24"
        on the first device, or ("198.18.0.2/24", "tap1") on a named one""")  # fmt: skip
    gateway: str | IPv4Address | None = _option(
        None,
        _checks.or_none(_checks.kind(str, IPv4Address)),
        str,
        "ADDRESS",
        "of the default route",
    )
    routes: Iterable[tuple[str | IPv4Network, str | IPv4Address]] = _option(
        (), _checks.routes, _route, "PREFIX,GATEWAY", word="route", help="(prefix, gateway) pairs"
    )
    name: str | None = _option(
        None, _checks.or_none(_checks.kind(str)), str, "TEXT", "for people: of its thread, in logs"
    )
    mtu: int | None = _option(
        None,
        _checks.or_none(within(68, 65_535)),
        int,
        "BYTES",
        "largest IP packet on the devices, if smaller than theirs",
    )
    congestion: str | type[Algorithm] = _option(
        "cubic",
        _checks.congestion,
        str,
        "NAME",
        """congestion control of new sockets: cubic, reno, bbr,
        dctcp or an algorithm of barewire.congestion""",
    )
    ecn: str = _option(
        "passive",
        _checks.choice(ECN_MODES),
        str,
        "MODE",
        """Explicit Congestion Notification (RFC 3168):
        passive answers a peer that asks for it, on asks for it too, off does neither; accecn and
        accecn-passive do so with accurate feedback (RFC 9768) where the peer can. DCTCP asks whatever
        this says""",
    )
    seed: int | str | bytes | None = _option(
        None,
        _checks.or_none(_checks.kind(int, str, bytes)),
        str,
        "TEXT",
        "number or text that every random choice comes from; without one, from the system",
    )
    spin: float | None = _option(
        None,
        _checks.or_none(_checks.seconds_to(1e-3)),
        float,
        "SECONDS",
        """how long a blocking call looks
        for its answer before it sleeps; without it what the device's name says (spin=, in
        microseconds), else 0.0002""",
    )
    exit_linger: float = _option(
        3.0,
        _checks.seconds_to(3600.0),
        float,
        "SECONDS",
        "that close() and interpreter exit give closed sockets' data to arrive",
    )
    buffer_bytes: int = _option(
        256 << 20,
        within(1 << 20, 1 << 40),
        int,
        "BYTES",
        "bound of what all send and receive queues hold together (committed when used)",
    )
    receive_buffer: tuple[int, int, int] = _option(
        RECEIVE_BOUNDS,
        _checks.buffer_bounds,
        _numbers,
        "MIN,DEFAULT,MAX",
        """bytes of a TCP connection's
        receive queue: it grows by itself from default to max; SO_RCVBUF fixes it between min and max""",
    )
    send_buffer: tuple[int, int, int] = _option(
        SEND_BOUNDS,
        _checks.buffer_bounds,
        _numbers,
        "MIN,DEFAULT,MAX",
        "as receive_buffer, of the send queue; SO_SNDBUF fixes it",
    )
    max_sockets: int = _option(
        65_536, within(1, 1 << 22), int, "N", "sockets at most, of every state"
    )
    max_orphans: int | None = _option(
        None,
        _checks.or_none(within(0, 1 << 22)),
        int,
        "N",
        """connections at most that go on after their
        close() until all is delivered; one more is reset. Without it half of max_sockets""",
    )
    ports: tuple[int, int] | None = _option(
        None,
        _checks.or_none(_checks.port_range),
        _numbers,
        "FIRST,LAST",
        "ephemeral ports, inclusive; without it 32768 to 60999, or what the device leaves",
    )
    mtu_probing: int = _option(
        1,
        within(0, 2),
        int,
        "0|1|2",
        """the path MTU (RFC 4821): 1 looks for it with probes when large
        segments vanish without a word of ICMP, 2 on every connection, 0 never""",
    )
    probe_addresses: bool = _option(
        False,
        _checks.flag,
        _flag,
        "0|1",
        "addresses are probed for some seconds before they are used (RFC 5227)",
    )
    syn_cookies: int = _option(
        1,
        within(0, 2),
        int,
        "0|1|2",
        "0 never, 1 while the half-open connections are at their bound, 2 for every SYN",
    )
    fast_open: int = _option(
        3,
        within(0, 3),
        int,
        "0|1|2|3",
        "1 for clients, 2 for listeners with TCP_FASTOPEN, 3 for both, 0 not at all",
    )
    punt_rates: Mapping[str, tuple[int, int]] | None = _option(
        None,
        _checks.punt_rates,
        None,
        "",
        """{"arp": (rate, burst)}: pieces of work for Python a second,
        and at once, of a class (barewire.stack.punt.PuntClass, in small letters; RATES has the defaults).
        What comes faster is dropped and counted: drop_punt_arp_rate""",
    )
    memory: str = _option(
        "private",
        _checks.choice(MEMORY),
        str,
        "KIND",
        """what the stack's memory is: private, shared (a
        memfd, which a device may hand on), or huge (transparent huge pages, and more of it in use)""",
    )
    lock_memory: bool = _option(
        False,
        _checks.flag,
        _flag,
        "0|1",
        "memory that was used once is never paged out (mlock2(2), bounded by RLIMIT_MEMLOCK)",
    )
    trace: bool = _option(
        False, _checks.flag, _flag, "0|1", "every connection and drop is recorded (Stack.trace())"
    )
    trace_records: int = _option(
        65_536,
        within(16, 1 << 24),
        int,
        "N",
        """records kept until they are taken, the newest (80 bytes
        each, committed when used)""",
    )
    header_prediction: bool = _option(
        True, _checks.flag, _flag, "0|1", "for tests: 0 does without TCP's fast path"
    )
    poison: bool = _option(
        False, _checks.flag, _flag, "0|1", "for tests: 1 overwrites freed memory"
    )

    def __post_init__(self) -> None:
        for name, option in OPTIONS.items():
            object.__setattr__(self, name, option.check(name, getattr(self, name)))


OPTIONS: dict[str, Option] = {f.name: f.metadata["option"] for f in fields(Config)}


# ---- as words, and in documents ------------------------------------------------------------------


def words() -> dict[str, tuple[str, Option]]:
    """The options that can be a word of text, by their name there: (name of the field, option)."""
    return {o.word or name: (name, o) for name, o in OPTIONS.items() if o.parse is not None}


def table() -> str:
    """docs/options.md's table."""
    lines = ["| | default | |", "|---|---|---|"]
    for f in fields(Config):
        option = OPTIONS[f.name]
        name = f"`{f.name}`"
        if option.parse is not None:
            name += f"<br>`{option.word or f.name}={option.metavar}`"
        cells = (name, f"`{f.default!r}`", option.help)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def described() -> str:
    """For Stack's docstring."""
    return "\n".join(f"    {name}: {option.help}." for name, option in OPTIONS.items())


# ---- for C ---------------------------------------------------------------------------------------


def host_config(config: Config, key: bytes, now: int, is_virtual: bool) -> Any:
    """C's struct host_config."""
    made = ffi.new("struct host_config *")
    made.virtual_time, made.cpu = is_virtual, -1
    made.memory = MEMORY[config.memory] | (lib.BW_MEMORY_LOCKED if config.lock_memory else 0)
    engine = made.engine
    engine.seed, engine.now = key, now
    engine.buffer_bytes = config.buffer_bytes
    engine.rcvbuf, engine.sndbuf = config.receive_buffer, config.send_buffer
    engine.max_socks = config.max_sockets
    half = max(64, config.max_sockets // 2)
    engine.max_orphans = half if config.max_orphans is None else config.max_orphans
    engine.max_neighs = MAX_NEIGHBOURS
    engine.port_first, engine.port_last = config.ports or PORTS
    engine.header_prediction, engine.poison = config.header_prediction, config.poison
    engine.fast_open, engine.syn_cookies = config.fast_open, config.syn_cookies
    engine.mtu_probing, engine.ecn = config.mtu_probing, ECN_MODES[config.ecn]
    engine.trace_records = config.trace_records
    rates = config.punt_rates or {}
    for cls, rate in RATES.items():
        engine.punt_rate[cls] = rates.get(PuntClass(cls).name.lower(), rate)
    return made


def congestion_number(config: Config) -> int:
    """The engine's number of the algorithm."""
    return names()[str(config.congestion)]


def check_new(answer: int, locked: bool) -> None:
    """Of host_new(): OSError says what to do."""
    if locked and answer in (-errno.ENOMEM, -errno.EPERM):
        text = (
            "cannot lock the stack's memory: raise RLIMIT_MEMLOCK (ulimit -l) or leave it unlocked"
        )
        raise OSError(-answer, text)
    _errors.check(answer)


def seed_bytes(seed: int | str | bytes | None) -> bytes:
    """32 bytes that stand for the seed."""
    if seed is None:
        return os.urandom(32)
    import hashlib  # slow to load

    return hashlib.blake2b(repr(seed).encode(), digest_size=32).digest()


def reading(clock: Callable[[], int]) -> int:
    """What the clock of a stack in virtual time says."""
    now = clock()
    if not isinstance(now, int):
        raise TypeError(f"clock() must return int nanoseconds, not {type(now).__name__}")
    if not 0 <= now < 2**63 - 1:
        raise ValueError(f"clock() returned {now}: ns from 0 to 2**63 - 2")
    return now
