"""The table of real devices: each one more line here is held by the contract and the traffic tests.

A kind that the machine supports and that is not here, or is here and not available, fails a test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from barewire.nic_drivers.libraries import LIBRARIES

from tests.kit.privilege import is_machines_root
from tests.nic_drivers.places import Place, PortPlace, SharedPlace, TapPlace, TunnelPlace, VethPlace
from tests.nic_drivers.port_places import MemifPlace, VirtioPlace

MB = 1 << 20


@dataclass(frozen=True)
class Kind:
    """One way to drive an interface.

    device: its name; the registry's kind is the first word of it. place: the interfaces around it.
    bulk: bytes each way that the traffic test sends; fewer than 256 MB only with a reason beside.
    begin: what a process does before its first device of the kind, and which stays.
    """

    device: str
    place: Callable[[str], Place] = VethPlace
    bulk: int = 256 * MB
    fragments: bool = True
    begin: Callable[[], object] = bool

    @property
    def registered(self) -> str:
        return self.device.partition(":")[0]

    def make(self) -> Place:
        self.begin()
        return self.place(self.device)


# AF_XDP does not tell unfinished checksums: the veth peer, which is ours, finishes them.
finishing = partial(VethPlace, offloads=False)


def start_eal() -> None:
    """DPDK's threads and memory."""
    from barewire.nic_drivers.dpdk import eal

    eal.start(eal.EalOptions())


dpdk = partial(Kind, begin=start_eal)

KINDS: dict[str, Kind] = {
    "tap": Kind("tap:bw0", TapPlace),
    "tap-plain": Kind("tap:bw0?vnet=0", TapPlace),
    "tun": Kind("tap:bw0?mode=tun", TapPlace),
    "callback": Kind("callback:tests.nic_drivers.tunnels:tap?argument=bw0", TunnelPlace),
    "packet": Kind("packet:veth0"),
    "packet-block": Kind("packet:veth0?rx=block"),
    "dpdk-tap": dpdk("dpdk:net_tap0,iface=dtap0", PortPlace),
    # Its socket joins fragments (PACKET_FANOUT_FLAG_DEFRAG) and cuts the whole off at 2 KB.
    "dpdk-packet": dpdk("dpdk:net_af_packet0,iface=veth0", finishing, fragments=False),
    # Their other ends, memif's server and vhost, stand in dpdk's own tests: there is one of them for
    # all that come, and here it is the process with the kernel's end.
    "dpdk-memif": dpdk(
        "dpdk:net_memif0,role=client,socket={},socket-abstract=no",
        partial(
            MemifPlace,
            peer="dpdk:net_memif1,role=server,socket={},socket-abstract=no",
            vnet=False,
        ),
    ),
    "dpdk-virtio": dpdk(
        "dpdk:net_virtio_user0,path={}",
        partial(VirtioPlace, peer="dpdk:net_vhost0,iface={},tso=1", vnet=True),
    ),
    "raw": Kind("raw:veth0?ports=7000,61000-65535", SharedPlace),
    "uring-tap": Kind("uring:bw0", TapPlace),
    "uring-packet": Kind("uring:veth0"),
    "uring-single": Kind("uring:bw0?multishot=0", TapPlace),
    "uring-dedicated": Kind("uring:bw0?dedicated=1", TapPlace),
    "uring-sqpoll": Kind("uring:bw0?sqpoll=2", TapPlace),
    "xdp-native": Kind("xdp:veth0?mode=native", finishing),
    "xdp-generic": Kind("xdp:veth0?mode=generic", finishing),
    "xdp-pseudo": Kind("xdp:veth0?rx_checksum=pseudo"),
    "xdp-jumbo": Kind("xdp:veth0", partial(finishing, mtu=9000)),
}

VIRTUAL = {"pipe"}  # tests/nic_drivers/links.py


def unsupported(kind: str) -> str:
    """What this machine lacks to build a registered kind (what system.sh installs), or that it is none
    for an ordinary user, or ""."""
    if kind == "xdp" and not is_machines_root():
        return "BPF programs are for root of the machine"
    return LIBRARIES[kind].lacking() if kind in LIBRARIES else ""


def supported() -> dict[str, Kind]:
    return {name: kind for name, kind in KINDS.items() if not unsupported(kind.registered)}


def drivers() -> list[str]:
    """One entry for each registered kind, the first: for what does not depend on its options."""
    first: dict[str, str] = {}
    for name, kind in supported().items():
        first.setdefault(kind.registered, name)
    return list(first.values())
