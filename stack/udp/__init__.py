"""The User Datagram Protocol (RFC 768)."""

from .udp import Udp

__all__ = ["Udp"]
