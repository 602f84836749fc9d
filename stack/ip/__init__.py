"""The Internet Protocol: codec, routes, reassembly; the C beside it moves the packets."""

from .ipv4 import PROTO_ICMP, PROTO_TCP, PROTO_UDP, IPv4, IPv4Option

__all__ = ["PROTO_ICMP", "PROTO_TCP", "PROTO_UDP", "IPv4", "IPv4Option"]
