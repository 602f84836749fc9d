"""ARP as a state machine (RFC 826), and how an address is claimed and defended (RFC 5227).

C answers requests for our addresses by itself, as long as they are published. Decided here: which
address may be used (probe, announce, defend or lose it), what an ARP packet says about a neighbour,
and the questions the neighbour cache asks. Without `probe` an address is used at once and only
announced. No I/O: frames go out through the port, time comes in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Interface
from random import Random

from .arp_codec import ARP_REPLY, ARP_REQUEST, Arp
from .codec import Malformed
from .deadlines import SECOND, Deadlines
from .ethernet import ETH_P_ARP, Ethernet
from .mac import BROADCAST, UNSPECIFIED, Mac
from .neighbour import NeighbourCache
from .port import LinkPort

PROBE_WAIT = 1 * SECOND  # RFC 5227 1.1, all of these
PROBE_NUM = 3
PROBE_MIN = 1 * SECOND
PROBE_MAX = 2 * SECOND
ANNOUNCE_WAIT = 2 * SECOND
ANNOUNCE_NUM = 2
ANNOUNCE_INTERVAL = 2 * SECOND
MAX_CONFLICTS = 10
RATE_LIMIT_INTERVAL = 60 * SECOND
DEFEND_INTERVAL = 10 * SECOND

Key = tuple[int, IPv4Address]
AddressEvent = Callable[[int, int, IPv4Address], None]


class Claim(Enum):
    """How far an address of ours is."""

    PROBING = "PROBING"  # tentative: not used, not answered for
    ANNOUNCING = "ANNOUNCING"
    OWNED = "OWNED"


@dataclass(slots=True)
class _Own:
    ifindex: int
    address: IPv4Interface
    state: Claim
    sent: int = 0  # probes, then announcements
    defended: int | None = None  # ns of the last defence


class ArpProtocol:
    """ARP on the layer 2 interfaces of one stack; `macs` gives each one's own MAC address.

    `usable(now, ifindex, ip)` is called once an address may be used, `lost(now, ifindex, ip)` when
    somebody else has it. With give_up an address is lost at the second conflict within
    DEFEND_INTERVAL (RFC 5227 2.4 b); without, it is kept and defended once an interval (2.4 c)."""

    def __init__(
        self,
        port: LinkPort,
        neighbours: NeighbourCache,
        macs: Mapping[int, Mac],
        rng: Random,
        usable: AddressEvent,
        lost: AddressEvent,
        counters: Counter[str] | None = None,
        probe: bool = False,
        give_up: bool = False,
    ) -> None:
        self.counters: Counter[str] = Counter() if counters is None else counters
        self._port = port
        self._neighbours = neighbours
        self._macs = macs
        self._rng = rng
        self._usable = usable
        self._lost = lost
        self._probe = probe
        self._give_up = give_up
        self._own: dict[Key, _Own] = {}
        self._timers: Deadlines[Key] = Deadlines()
        self._conflicts: Counter[int] = Counter()  # while probing, by interface
        self._last_conflict: dict[int, int] = {}

    def state(self, ifindex: int, ip: IPv4Address) -> Claim | None:
        own = self._own.get((ifindex, ip))
        return own.state if own else None

    # ---- our addresses -----------------------------------------------------------------------

    def add(self, now: int, ifindex: int, address: IPv4Interface) -> None:
        """Claims an address: `usable` is called now, or after the probes went unanswered."""
        own = _Own(ifindex, address, Claim.PROBING)
        self._own[ifindex, address.ip] = own
        if not self._probe:
            self._announce_first(now, own)
            return
        start = now + self._rng.randrange(PROBE_WAIT + 1)
        if self._conflicts[ifindex] >= MAX_CONFLICTS:  # RFC 5227 2.1.1: slow down
            start = max(start, self._last_conflict[ifindex] + RATE_LIMIT_INTERVAL)
        self._timers.set((ifindex, address.ip), start)

    def remove(self, ifindex: int, ip: IPv4Address) -> None:
        self._own.pop((ifindex, ip), None)
        self._timers.cancel((ifindex, ip))

    def on_timer(self, now: int) -> None:
        for key in self._timers.due(now):
            own = self._own[key]
            if own.state is Claim.PROBING and own.sent < PROBE_NUM:
                self._send_probe(now, own)
            elif own.state is Claim.PROBING:
                self._announce_first(now, own)
            else:
                self._announce(now, own)

    def next_deadline(self) -> int | None:
        return self._timers.next()

    def _send_probe(self, now: int, own: _Own) -> None:
        own.sent += 1
        wait = self._rng.randrange(PROBE_MIN, PROBE_MAX + 1)
        last = own.sent == PROBE_NUM
        self._timers.set((own.ifindex, own.address.ip), now + (ANNOUNCE_WAIT if last else wait))
        self.counters["arp_probes_sent"] += 1
        self._request(own.ifindex, IPv4Address(0), own.address.ip)

    def _announce_first(self, now: int, own: _Own) -> None:
        own.state = Claim.ANNOUNCING
        own.sent = 0
        self._usable(now, own.ifindex, own.address.ip)
        self._announce(now, own)

    def _announce(self, now: int, own: _Own) -> None:
        own.sent += 1
        if own.sent < ANNOUNCE_NUM:
            self._timers.set((own.ifindex, own.address.ip), now + ANNOUNCE_INTERVAL)
        else:
            own.state = Claim.OWNED
        self.counters["arp_announcements_sent"] += 1
        self._request(own.ifindex, own.address.ip, own.address.ip)

    # ---- conflicts (RFC 5227 2.1.1, 2.4) -----------------------------------------------------

    def _conflict(self, now: int, own: _Own) -> None:
        self.counters["arp_conflicts"] += 1
        if own.state is Claim.PROBING:
            self._conflicts[own.ifindex] += 1
            self._last_conflict[own.ifindex] = now
            self._lose(now, own)
        elif own.defended is None or now - own.defended >= DEFEND_INTERVAL:
            own.defended = now
            self.counters["arp_defences"] += 1
            self._request(own.ifindex, own.address.ip, own.address.ip)
        elif self._give_up:
            self._lose(now, own)

    def _lose(self, now: int, own: _Own) -> None:
        self.counters["arp_addresses_lost"] += 1
        self.remove(own.ifindex, own.address.ip)
        self._lost(now, own.ifindex, own.address.ip)

    # ---- packets -----------------------------------------------------------------------------

    def on_arp(self, now: int, ifindex: int, data: bytes) -> None:
        """An ARP packet (an Ethernet payload) that C found worth knowing."""
        try:
            arp = Arp.parse(data)
        except Malformed:
            self.counters["drop_arp_malformed"] += 1
            return
        if arp.op not in (ARP_REQUEST, ARP_REPLY) or not _plausible(arp):
            self.counters["drop_arp_nonsense"] += 1
            return
        if arp.sender_mac == self._macs.get(ifindex):
            return  # our own, come back
        holder = self._own.get((ifindex, arp.sender_ip))
        target = self._own.get((ifindex, arp.target_ip))
        if holder is not None:
            self._conflict(now, holder)
        elif arp.is_probe:
            # Two hosts probe for one address: both lose it (RFC 5227 2.1.1).
            if target is not None and target.state is Claim.PROBING:
                self._conflict(now, target)
        else:
            self._hear(now, ifindex, arp, target)

    def _hear(self, now: int, ifindex: int, arp: Arp, target: _Own | None) -> None:
        """What the packet says about its sender (RFC 826, packet reception)."""
        ours = target is not None and target.state is not Claim.PROBING
        if arp.op == ARP_REPLY and ours:
            self._neighbours.confirm(now, ifindex, arp.sender_ip, arp.sender_mac)
        else:
            self._neighbours.observe(now, ifindex, arp.sender_ip, arp.sender_mac, create=ours)

    def solicit(self, now: int, ifindex: int, ip: IPv4Address, mac: Mac | None) -> None:
        """Who has ip? By unicast to mac, or by broadcast. The neighbour cache calls this."""
        source = self._source(ifindex, ip)
        if source is None:
            self.counters["arp_no_source"] += 1
            return
        self.counters["arp_requests_sent"] += 1
        self._request(ifindex, source, ip, mac)

    def _source(self, ifindex: int, ip: IPv4Address) -> IPv4Address | None:
        """An address of that interface, best one of the target's subnet (RFC 1122 2.3.2)."""
        ours = [
            own.address
            for own in self._own.values()
            if own.ifindex == ifindex and own.state is not Claim.PROBING
        ]
        return next((a.ip for a in ours if ip in a.network), ours[0].ip if ours else None)

    def _request(
        self, ifindex: int, sender: IPv4Address, target: IPv4Address, mac: Mac | None = None
    ) -> None:
        own = self._macs[ifindex]
        arp = Arp(ARP_REQUEST, own, sender, mac or UNSPECIFIED, target)
        frame = Ethernet(mac or BROADCAST, own, ETH_P_ARP, arp.build())
        self._port.send_frame(ifindex, frame.build())


def _plausible(arp: Arp) -> bool:
    """Can the sender be a neighbour (or a prober, who gives no address)?"""
    ip = arp.sender_ip
    group = ip.is_multicast or ip.is_loopback or int(ip) == 0xFFFFFFFF
    return not group and not arp.sender_mac.is_multicast and arp.sender_mac != UNSPECIFIED
