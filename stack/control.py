"""The control plane of one stack: what Python decides.

It owns addresses, routes, the neighbour cache with ARP, and path MTUs; C does
the rest and hands up what needs a decision, as punts. No I/O and no clock: `on_punt(now, ...)`,
`on_timer(now)`, `next_deadline()`, all in ns, and a `Port` that the decisions go out through. Calls
must not overlap: whoever drives it holds one lock a stack.
"""

from __future__ import annotations

import errno
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, ip_interface, ip_network
from typing import Protocol

from ..l2.arp import ArpProtocol
from ..l2.codec import Malformed
from ..l2.mac import Mac
from ..l2.neighbour import MAX_ENTRIES, NeighbourCache
from ..l2.neighbour_table import Sender
from ..l2.port import Address, LinkPort
from .icmp import icmp
from .icmp.echo import EchoClient
from .icmp.policy import PathMtu, quoted_echo
from .ip.ipv4 import IPv4
from .ip.routes import LOOPBACK, Route, RoutePort, RouteTable
from .keyed import KeyedRandom
from .punt import Punt, PuntClass

log = logging.getLogger("barewire.control")
_PUNTS: dict[int, str] = {cls: f"punts_{cls.name.lower()}" for cls in PuntClass}
# Who sent what waits for a next hop, by the class it comes through.
RESOLVERS: dict[int, Sender] = {
    PuntClass.RESOLVE_ANSWER: Sender.STRANGER,
    PuntClass.RESOLVE: Sender.DATAGRAM,
    PuntClass.RESOLVE_CONNECTED: Sender.CONNECTED,
}


class Port(LinkPort, RoutePort, Protocol):
    """The engine as the control plane sees it (`barewire.stack.port.EnginePort`)."""

    def set_path_mtu(
        self, ip: Address, mtu: int, fragments: bool = False, *, zone: int = 0
    ) -> None:
        """Path MTU towards a destination (of a link-local one, `zone` is the interface); 0 forgets."""

    def echo_open(self, ip: IPv4Address, ident: int) -> bool:
        """Answers from ip with that identifier come up from now on; False: too many sessions."""

    def echo_close(self, ip: IPv4Address, ident: int) -> None:
        """Nobody waits for them any more."""

    def select_source(self, dst: Address, ifindex: int = 0) -> Address | None:
        """C's choice of a source address, by that interface (0: by any); None: unreachable."""


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface of the engine. `layer` 2 has ARP and a MAC address, 3 has neither. Not `up`: nothing
    passes it for now, or its device is `gone`, until it gets another one."""

    index: int
    name: str
    layer: int
    mac: bytes
    mtu: int
    up: bool = True
    gone: bool = False


class ControlPlane:
    """`seed` makes every choice repeatable; with `probe` addresses are probed before use
    (RFC 5227), `give_up` loses an address to a second conflict instead of defending on. The
    loopback (index 1, 127.0.0.1/8) is there from the start, given or not."""

    def __init__(
        self,
        port: Port,
        interfaces: Iterable[Interface],
        now: int,
        seed: int | bytes | str = 0,
        probe: bool = False,
        give_up: bool = False,
        max_neighbours: int = MAX_ENTRIES,
    ) -> None:
        rng = KeyedRandom(seed)
        self.routes = RouteTable()
        self._port = port
        self._counters: Counter[str] = Counter()
        self._interfaces: dict[int, Interface] = {}
        self._macs: dict[int, Mac] = {}
        self._away: dict[int, tuple[list[IPv4Interface], list[Route]]] = {}  # of interfaces down
        self.neighbours = NeighbourCache(
            port, self._solicit, rng, self._counters, max_entries=max_neighbours
        )
        self.arp = ArpProtocol(
            port,
            self.neighbours,
            self._macs,
            rng,
            self._address_usable,
            self._address_lost,
            self._counters,
            probe,
            give_up,
        )
        self.path_mtu = PathMtu(port, self.routes, self._link_mtu, self._counters)
        self.echo = EchoClient(port, self.routes.select_source, rng)
        self._parts = (self.arp, self.neighbours, self.path_mtu)
        self.add_interface(Interface(LOOPBACK, "lo", 3, bytes(6), 65535))
        for interface in interfaces:
            self.add_interface(interface)
        self.add_address(now, LOOPBACK, IPv4Interface("127.0.0.1/8"))

    @property
    def counters(self) -> dict[str, int]:
        """What was decided and dropped here, by name."""
        return dict(self._counters)

    @property
    def interfaces(self) -> list[Interface]:
        return list(self._interfaces.values())

    # ---- configuration: raises OSError as netlink would --------------------------------------

    def add_interface(self, interface: Interface) -> None:
        self._interfaces[interface.index] = interface
        if interface.layer == 2:
            self._macs[interface.index] = Mac(interface.mac)

    def interface_down(self, ifindex: int) -> None:
        """The device is gone: its neighbours and addresses go, what waits there gets an error."""
        self.neighbours.forget(ifindex)
        self._interfaces[ifindex] = replace(self._interfaces[ifindex], up=False, gone=True)
        own = [a.address for a in self.routes.addresses if a.ifindex == ifindex]
        kept = [r for r in self.routes.configured if r.source in [a.ip for a in own]]
        self._away[ifindex] = own, kept
        for address in own:
            self.arp.remove(ifindex, address.ip)
            self.routes.remove_address(ifindex, address.ip)
        self._publish()

    def checksums_unfinished(self, ifindex: int) -> None:
        """C met the first packet whose checksum its sender has left to a card: nobody finishes it,
        all such packets are dropped, and connections hang without a word but this one."""
        log.warning(
            "%s: packets are dropped for unfinished checksums, which their sender on this machine "
            "leaves to its card: run `ethtool -K PEER tx off` for the interface at the other end "
            "(xdp takes them as they are with rx_checksum=pseudo)",
            self._interfaces[ifindex].name,
        )

    def kept_addresses(self, ifindex: int) -> list[IPv4Interface]:
        """Those that come back with an interface that is down."""
        return self._away.get(ifindex, ([], []))[0]

    def interface_up(self, now: int, interface: Interface) -> None:
        """It has a device again: its addresses come back (probed, if they are), and the routes that
        went with them. Raises OSError for an address that the device refuses."""
        self._macs.pop(interface.index, None)
        self.add_interface(interface)
        addresses, routes = self._away.pop(interface.index, ([], []))
        for address in addresses:
            if not any(address.ip == a.address.ip for a in self.routes.addresses):
                self.add_address(now, interface.index, address)
        self.routes.restore(routes)
        self._publish()

    def add_address(self, now: int, ifindex: int, address: str | IPv4Interface) -> None:
        """With its prefix length ("198.18.0.2/24"). Usable at once unless it is probed first. A
        device may refuse it (EADDRINUSE: it is the kernel's); all is then as before."""
        interface = self._interface(ifindex)
        own = _ipv4_interface(address)
        arp = interface.layer == 2
        self.routes.add_address(ifindex, own, tentative=arp)
        try:
            self._publish()
        except OSError:
            self.routes.remove_address(ifindex, own.ip)
            self._publish()
            raise
        if arp:
            self.arp.add(now, ifindex, own)

    def remove_address(self, now: int, ifindex: int, address: str | IPv4Interface) -> None:
        ip = _ipv4_interface(address).ip
        self.routes.remove_address(ifindex, ip)
        self.arp.remove(ifindex, ip)
        self._publish()

    def add_route(
        self,
        prefix: str | IPv4Network,
        gateway: str | IPv4Address | None = None,
        ifindex: int | None = None,
        source: str | IPv4Address | None = None,
        mtu: int = 0,
        metric: int = 0,
        unreachable: bool = False,
    ) -> Route:
        """prefix "default" is 0.0.0.0/0. Without ifindex, the interface of the gateway's subnet."""
        if ifindex is not None:
            self._interface(ifindex)
        route = self.routes.add_route(
            _ipv4_network(prefix),
            None if gateway is None else IPv4Address(gateway),
            ifindex,
            None if source is None else IPv4Address(source),
            mtu,
            metric,
            unreachable,
        )
        self._publish()
        return route

    def remove_route(self, prefix: str | IPv4Network, metric: int | None = None) -> None:
        self.routes.remove_route(_ipv4_network(prefix), metric)
        self._publish()

    def _publish(self) -> None:
        self.routes.publish(self._port)

    def _interface(self, ifindex: int) -> Interface:
        if ifindex not in self._interfaces:
            raise OSError(errno.ENODEV, f"no interface {ifindex}")
        return self._interfaces[ifindex]

    # ---- time --------------------------------------------------------------------------------

    def on_timer(self, now: int) -> None:
        for part in self._parts:
            part.on_timer(now)

    def next_deadline(self) -> int | None:
        deadlines = [part.next_deadline() for part in self._parts]
        return min((d for d in deadlines if d is not None), default=None)

    # ---- work from C -------------------------------------------------------------------------

    def on_punt(self, now: int, punt: Punt, data: bytes) -> None:
        """One piece of work. Never raises for what is in data: it is dropped and counted."""
        self._counters[_PUNTS[punt.cls]] += 1
        if punt.cls in (PuntClass.ARP, PuntClass.ARP_ANSWER):
            self.arp.on_arp(now, punt.ifindex, data)
        elif punt.cls in RESOLVERS:
            if punt.nexthop is not None:
                sender = RESOLVERS[punt.cls]
                self.neighbours.resolve(now, punt.ifindex, punt.nexthop, data, sender)
        elif punt.cls == PuntClass.ICMP:
            self._on_icmp(now, punt, data)

    def _on_icmp(self, now: int, punt: Punt, data: bytes) -> None:
        try:
            packet = IPv4.parse(data)
            message = icmp.parse(packet.payload)
        except Malformed:
            self._counters["drop_icmp_malformed"] += 1
            return
        if isinstance(message, icmp.Echo):
            if not message.reply or not self.echo.on_reply(punt.when, packet, message):
                self._counters["drop_echo_reply_unasked"] += 1
        elif isinstance(message, icmp.Other):
            self._counters["drop_icmp_type"] += 1
        else:
            self._on_icmp_error(now, punt, packet, message)

    def _on_icmp_error(
        self, now: int, punt: Punt, packet: IPv4, message: icmp.ErrorMessage
    ) -> None:
        self._counters["icmp_errors_received"] += 1
        about = quoted_echo(message)
        if about is not None and not self.echo.on_error(punt.when, packet, message, *about):
            self._counters["drop_icmp_no_owner"] += 1
        elif isinstance(message, icmp.Unreachable) and message.code == icmp.UNREACH_FRAG_NEEDED:
            self.path_mtu.on_frag_needed(now, message)

    # ---- what the parts ask for --------------------------------------------------------------

    def _solicit(self, now: int, ifindex: int, ip: Address, mac: Mac | None) -> None:
        if isinstance(ip, IPv6Address) or ifindex not in self._macs:
            self._counters["neigh_no_protocol"] += 1
        else:
            self.arp.solicit(now, ifindex, ip, mac)

    def _address_usable(self, now: int, ifindex: int, ip: IPv4Address) -> None:
        self.routes.set_usable(ifindex, ip)
        self._publish()

    def _address_lost(self, now: int, ifindex: int, ip: IPv4Address) -> None:
        name = self._interfaces[ifindex].name
        log.warning("address %s on %s is used by somebody else: given up", ip, name)
        self.routes.remove_address(ifindex, ip)
        self._publish()

    def _link_mtu(self, dst: IPv4Address) -> int:
        if self.routes.is_own(dst):
            return self._interfaces[LOOPBACK].mtu
        route = self.routes.lookup(dst)
        if route is None:
            return 0
        interface = self._interfaces.get(route.ifindex)
        link = interface.mtu if interface else 0
        return min(route.mtu or link, link)


def _ipv4_interface(address: str | IPv4Interface) -> IPv4Interface:
    own = ip_interface(address)
    if not isinstance(own, IPv4Interface):
        raise OSError(errno.EAFNOSUPPORT, f"{own} is not an IPv4 address")
    return own


def _ipv4_network(prefix: str | IPv4Network) -> IPv4Network:
    network = ip_network("0.0.0.0/0" if prefix == "default" else prefix, strict=False)
    if not isinstance(network, IPv4Network):
        raise OSError(errno.EAFNOSUPPORT, f"{network} is not an IPv4 prefix")
    return network
