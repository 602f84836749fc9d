"""Stacks that have flows as a card spreads them: Toeplitz' hash, and the card's indirection table."""

from __future__ import annotations

import ctypes
import errno
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path

import barewire
import pytest
from barewire.nic_drivers import DeviceError, DeviceSpec, open_device, pipe_pair
from barewire.nic_drivers.driving import Queues, Rss, queues_of
from barewire.tools import netns
from barewire.tools.netns import Namespace

from tests.kit.privilege import for_machine
from tests.kit.races import FLAGS, ROOT
from tests.nic_drivers.frames import datagram

# Microsoft, "Verifying the RSS Hash Calculation": key, source, destination, hash with ports
KEY = bytes.fromhex(
    "6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa"
)
VECTORS = [
    ("66.9.149.187", 2794, "161.142.100.80", 1766, 0x51CCC178),
    ("199.92.111.2", 14230, "65.69.140.83", 4739, 0xC626B0EA),
    ("24.19.198.95", 12898, "12.22.207.184", 38024, 0x5C2B394A),
    ("38.27.205.30", 48228, "209.142.163.6", 2217, 0xAFC7327F),
    ("153.39.163.191", 44251, "202.188.127.2", 1303, 0x10E828A2),
    ("3ffe:2501:200:1fff::7", 2794, "3ffe:2501:200:3::1", 1766, 0x40207D3D),
    ("3ffe:501:8::260:97ff:fe40:efab", 14230, "ff02::1", 4739, 0xDDE51BBF),
    ("3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251, "fe80::200:f8ff:fe21:67cf", 38024, 0x02D1FEEF),
]
PEER, OURS = "198.18.0.1", "198.18.0.2"
OWN, OTHER = b"\x02\0\0\0\0\x01", b"\x02\0\0\0\0\x99"
TABLE = (0, 1, 1, 0, 1, 0, 0, 1)
OPTIONS = f"rss_key={KEY.hex()}&rss_table={','.join(map(str, TABLE))}"


def name_of(source: str, sport: int, target: str, dport: int) -> bytes:
    ends = ip_address(source).packed + ip_address(target).packed
    return ends + sport.to_bytes(2, "big") + dport.to_bytes(2, "big")


def hashed(name: bytes) -> int:
    """By the definition: of each bit that is set, the 32 bits of the key from there on."""
    key, bits = int.from_bytes(KEY, "big"), int.from_bytes(name, "big")
    found = 0
    for i in range(8 * len(name)):
        if bits >> (8 * len(name) - 1 - i) & 1:
            found ^= key >> (8 * len(KEY) - 32 - i) & 0xFFFF_FFFF
    return found


def owner(source: str, sport: int, target: str, dport: int) -> int:
    return TABLE[hashed(name_of(source, sport, target, dport)) % len(TABLE)]


def test_the_published_vectors(tmp_path: Path) -> None:
    out = tmp_path / "toeplitz.so"
    source = "tests/nic_drivers/toeplitz.c"
    subprocess.run(["cc", *FLAGS, "-shared", "-fPIC", source, "-o", out], cwd=ROOT, check=True)
    hash_of = ctypes.CDLL(str(out)).hash_of
    hash_of.restype = ctypes.c_uint32
    for *ends, wanted in VECTORS:
        name = name_of(*ends)
        assert hashed(name) == wanted == hash_of(KEY, name, len(name))


def test_how_it_is_told() -> None:
    def queues(**options: str) -> Queues:
        return queues_of(DeviceSpec("xdp", "eth1", {"queue": "1", "queues": "2", **options}), 8)

    table = ",".join(map(str, TABLE))
    assert queues(rss_key=KEY.hex(":"), rss_table=table).rss == Rss(KEY, TABLE)
    assert queues(rss_key=KEY.hex()).rss == Rss(KEY, (0, 1) * 64)
    for wrong in (
        {"rss_table": "0,1"},
        {"rss_key": "6d5a"},
        {"rss_key": "what"},
        {"rss_key": KEY.hex(), "rss_table": "0,1,0"},
        {"rss_key": KEY.hex(), "rss_table": "0,2"},
        {"rss_key": KEY.hex(), "rss_table": ",".join(["0"] * 1024)},
    ):
        with pytest.raises(DeviceError, match="rss_") as caught:
            queues(**wrong)
        assert caught.value.errno == errno.EINVAL


def test_ports_are_chosen_and_strangers_refused_by_the_hash() -> None:
    now = 10**9
    mine, other = pipe_pair()
    mine.queues = Queues(1, 1, 2, Rss(KEY, TABLE))
    with (
        barewire.Stack(mine, addresses=[f"{OURS}/24"], clock=lambda: now, seed=1) as ours,
        barewire.Stack(other, addresses=[f"{PEER}/24"], clock=lambda: now, seed=2) as peer,
    ):

        def rest() -> None:
            while ours.poll() | peer.poll():
                pass

        ports = set()
        for i in range(20):
            with ours.socket(type=socket.SOCK_DGRAM) as sock:
                if i % 3 == 0:
                    sock.connect((PEER, 7000))
                elif i % 3 == 1:
                    sock.sendto(b"first", (PEER, 7000))
                else:
                    ttl = (socket.IPPROTO_IP, socket.IP_TTL, bytes([9, 0, 0, 0]))
                    sock.sendmsg([b"first"], [ttl], 0, (PEER, 7000))
                ports.add(sock.getsockname()[1])
            with ours.socket() as sock:
                sock.setblocking(False)
                assert sock.connect_ex((PEER, 7000)) == errno.EINPROGRESS
                ports.add(sock.getsockname()[1])
        assert len(ports) > 10
        assert all(owner(PEER, 7000, OURS, port) == 1 for port in ports)
        answers = set()
        for port in range(8000, 8040):
            with peer.socket(type=socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.connect((OURS, port))
                sock.send(b"?")
                rest()
                refused = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
                whose = owner(PEER, sock.getsockname()[1], OURS, port)
                answers.add((whose, refused))
            now += 2 * 10**9  # errors to one destination have a rate
        assert answers == {(1, True), (0, False)}


@pytest.fixture
def far(make_netns: Callable[..., Namespace]) -> Iterator[Namespace]:
    near, far = make_netns("near"), make_netns("far")
    for ns in (near, far):
        ns.sysctl("net.ipv6.conf.default.disable_ipv6", 1)
    netns.veth(near, far, "198.18.0.3/24", f"{PEER}/24", queues=2)
    with near.entered():
        yield far


@pytest.mark.netns
@pytest.mark.parametrize(
    "kind", ["packet:veth0?", *for_machine("xdp:veth0?mode=native&", "xdp:veth0?mode=generic&")]
)
def test_each_gets_the_flows_that_the_hash_says(far: Namespace, kind: str) -> None:
    frames: list[list[bytes]] = [[], []]
    for i in range(128):
        data = datagram(PEER, OURS, i, 46, source_port=5000 + i)
        frames[owner(PEER, 5000 + i, OURS, 7000)].append(OWN + OTHER + b"\x08\0" + data)
    assert min(map(len, frames)) > 40
    with ExitStack() as stack:
        names = [f"{kind}mac={OWN.hex(':')}&queue={k}&queues=2&{OPTIONS}" for k in (0, 1)]
        group = [stack.enter_context(open_device(name)) for name in names]
        with far.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as raw:
            raw.bind(("veth0", 0))
            for frame in frames[0] + frames[1]:
                raw.send(frame)
        for device, wanted in zip(group, frames, strict=True):
            found = []
            for i in range(40):
                found += [f.data for f in device.rx(64, now=(i + 1) * 30_000)]
            assert sorted(f for f in found if f[6:12] == OTHER) == sorted(wanted)
