"""What strangers may send a host per packet: frames of each kind, for the benchmark of floods.

Their sources are in 198.19.0.0/16, behind the gateway, or (arp, ping) invented neighbours of the
stack's own network. Frames of one kind have one length.
"""

from __future__ import annotations

from ipaddress import IPv4Address

from barewire.l2 import Arp, Ethernet, Mac
from barewire.stack.icmp import icmp
from barewire.stack.ip.ipv4 import PROTO_ICMP, PROTO_UDP, IPv4

KINDS = {
    "udp": "datagrams to a closed port",
    "fragment": "first fragments",
    "error": "ICMP errors",
    "reply": "echo replies that nobody waits for",
    "protocol": "unknown protocols",
    "arp": "ARP requests of invented neighbours",
    "ping": "pings of invented neighbours",
}
COUNT = 2048  # frames, each from an address of its own
NEIGHBOURS = IPv4Address("198.18.16.0")  # the first that is invented
STRANGERS = IPv4Address("198.19.0.0")
ROUTER = Mac("02:00:00:00:00:09")
UNKNOWN_PROTOCOL = 253  # RFC 3692: for experiments


def build(kind: str, mac: str, host: str) -> list[bytes]:
    """COUNT frames to the stack with that MAC address (hexadecimal) and IPv4 address."""
    stack, here = Mac(bytes.fromhex(mac)), IPv4Address(host)
    return [_frame(kind, stack, here, i) for i in range(COUNT)]


def _frame(kind: str, stack: Mac, here: IPv4Address, i: int) -> bytes:
    neighbour = Mac(bytes([2, 0, 1, 0, i >> 8, i & 0xFF]))
    if kind == "arp":
        asked = Arp(1, neighbour, NEIGHBOURS + i, Mac(bytes(6)), here)
        return Ethernet(stack, neighbour, 0x0806, asked.build()).build()
    src, via = (NEIGHBOURS, neighbour) if kind == "ping" else (STRANGERS, ROUTER)
    packet = _packet(kind, src + 1 + i, here, i)
    return Ethernet(stack, via, 0x0800, packet.build()).build()


def _packet(kind: str, src: IPv4Address, here: IPv4Address, i: int) -> IPv4:
    proto, payload = PROTO_ICMP, b""
    if kind in ("udp", "fragment"):
        # a source port, the port 9999 or a length of 32, no checksum
        length = 32 if kind == "fragment" else 8
        proto, payload = PROTO_UDP, bytes([0x80 | i >> 8, i & 0xFF, 39, 15, 0, length, 0, 0])
        payload += bytes(16 if kind == "fragment" else 0)
    elif kind == "error":
        datagram = bytes([0x80 | i >> 8, i & 0xFF, 0, 9, 0, 8, 0, 0])
        sent = IPv4(src=here, dst=src, proto=PROTO_UDP, payload=datagram)
        payload = icmp.Unreachable(icmp.UNREACH_PORT, sent.build()).build()
    elif kind in ("reply", "ping"):
        payload = icmp.Echo(1, i, bytes(8), reply=kind == "reply").build()
    elif kind == "protocol":
        proto, payload = UNKNOWN_PROTOCOL, bytes(16)
    else:
        raise ValueError(f"kind {kind!r}: known are {', '.join(KINDS)}")
    return IPv4(
        src=src, dst=here, proto=proto, payload=payload, ident=i & 0xFFFF, mf=kind == "fragment"
    )
