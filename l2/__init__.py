"""The link layer: MAC addresses, Ethernet II, ARP, and the neighbour cache that NDP will share."""

from .arp_codec import ARP_REPLY, ARP_REQUEST, Arp
from .codec import Malformed
from .ethernet import ETH_P_ARP, ETH_P_IP, ETH_P_IPV6, Ethernet, Tag
from .mac import BROADCAST, UNSPECIFIED, Mac

__all__ = [
    "ARP_REPLY",
    "ARP_REQUEST",
    "BROADCAST",
    "ETH_P_ARP",
    "ETH_P_IP",
    "ETH_P_IPV6",
    "UNSPECIFIED",
    "Arp",
    "Ethernet",
    "Mac",
    "Malformed",
    "Tag",
]
