"""A port that remembers what the control plane asked for, and plays C's neighbour table."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address

from barewire.l2 import ETH_P_ARP, Arp, Ethernet, Mac
from barewire.l2.port import Address, NeighbourInfo
from barewire.stack.ip.ipv4 import IPv4
from barewire.stack.ip.routes import IfAddr, Route

MS = 1_000_000
S = 1_000_000_000
US, PEER, OTHER = IPv4Address("198.18.0.2"), IPv4Address("198.18.0.1"), IPv4Address("198.18.0.3")
OUR_MAC, PEER_MAC = Mac("02:00:00:00:00:02"), Mac("02:00:00:00:00:01")
OTHER_MAC = Mac("02:00:00:00:00:03")


@dataclass
class FakePort:
    """`frames`, `packets`, `errors` fill up in order; a test takes them out."""

    frames: list[tuple[int, bytes]] = field(default_factory=list)
    packets: list[bytes] = field(default_factory=list)
    ways: list[tuple[int, Address]] = field(default_factory=list)  # of packets sent before
    errors: list[tuple[bytes, int]] = field(default_factory=list)
    neighbours: dict[tuple[int, Address], NeighbourInfo] = field(default_factory=dict)
    expected: list[tuple[int, Address]] = field(default_factory=list)  # answers
    path_mtu: dict[Address, int] = field(default_factory=dict)
    addrs: list[IfAddr] = field(default_factory=list)
    routes: list[Route] = field(default_factory=list)
    echoes: set[tuple[Address, int]] = field(default_factory=set)
    room: int = 1 << 30  # neighbour entries C still takes

    def neigh_ask(self, ifindex: int, ip: Address) -> None:
        self.expected.append((ifindex, ip))

    def neigh_set(self, ifindex: int, ip: Address, mac: bytes) -> bool:
        if (ifindex, ip) not in self.neighbours and len(self.neighbours) >= self.room:
            return False
        self.neighbours[ifindex, ip] = NeighbourInfo(mac, None, None, None)
        return True

    def neigh_del(self, ifindex: int, ip: Address) -> None:
        self.neighbours.pop((ifindex, ip), None)

    def neigh_get(self, ifindex: int, ip: Address) -> NeighbourInfo | None:
        return self.neighbours.get((ifindex, ip))

    def send_frame(self, ifindex: int, frame: bytes) -> bool:
        self.frames.append((ifindex, frame))
        return True

    def send_packet(self, packet: bytes) -> bool:
        self.packets.append(packet)
        return True

    def send_via(self, ifindex: int, nexthop: Address, packet: bytes) -> bool:
        self.ways.append((ifindex, nexthop))
        return self.send_packet(packet)

    def local_error(self, packet: bytes, err: int) -> None:
        self.errors.append((packet, err))

    def echo_open(self, ip: Address, ident: int) -> bool:
        self.echoes.add((ip, ident))
        return True

    def echo_close(self, ip: Address, ident: int) -> None:
        self.echoes.discard((ip, ident))

    def set_path_mtu(
        self, ip: Address, mtu: int, fragments: bool = False, *, zone: int = 0
    ) -> None:
        self.path_mtu[ip] = mtu

    def select_source(self, dst: Address, ifindex: int = 0) -> Address | None:
        return US

    def set_addrs(self, addrs: list[IfAddr]) -> None:
        self.addrs = addrs

    def set_routes(self, routes: list[Route]) -> None:
        self.routes = routes

    # ---- what a test says and asks -----------------------------------------------------------

    def touch(
        self,
        ifindex: int,
        ip: Address,
        used: int | None = None,
        confirmed: int | None = None,
        wanted: int | None = None,
    ) -> None:
        """C used the entry, the program did, or TCP made progress through it."""
        old = self.neighbours[ifindex, ip]
        self.neighbours[ifindex, ip] = NeighbourInfo(
            old.mac, used or old.used, wanted or old.wanted, confirmed or old.confirmed
        )

    def taken_arps(self) -> list[tuple[Mac, Arp]]:
        """(Ethernet destination, ARP packet) of the frames since the last time."""
        taken = [Ethernet.parse(frame) for _, frame in self.frames]
        self.frames.clear()
        assert all(frame.ethertype == ETH_P_ARP for frame in taken)
        return [(frame.dst, Arp.parse(frame.payload)) for frame in taken]

    def taken_packets(self) -> list[IPv4]:
        taken = [IPv4.parse(packet) for packet in self.packets]
        self.packets.clear()
        return taken
