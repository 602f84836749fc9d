"""raw: some ports of the kernel's own address, with the kernel at the other end as peer."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import barewire
import pytest
from barewire._ping import ping
from barewire.nic_drivers import DeviceError, available, open_device
from barewire.tools.netns import Namespace

from tests.nic_drivers.raw_wire import INSIDE, OURS, OUTSIDE, PEER, Wire

pytestmark = pytest.mark.netns


def tables(ns: Namespace) -> int:
    """How many nft tables there are: the chains' drops are seen from outside, this asks the kernel."""
    from pyroute2.nftables.main import NFTables

    def count() -> int:
        with NFTables() as nft:
            return len(list(nft.get_tables()))

    return ns.call(count)


# ---- traffic -------------------------------------------------------------------------------------


def test_datagrams_of_every_size_both_ways(wire: Wire) -> None:
    with wire.stack() as stack, stack.socket(type=socket.SOCK_DGRAM) as ours, wire.udp() as peer:
        ours.settimeout(5)
        ours.connect(peer.getsockname())
        assert INSIDE <= ours.getsockname()[1] <= 65_535, "the stack chooses among its own ports"
        for size in (0, 1, 100, 1472, 1473, 5000, 30_000):
            data = os.urandom(size)
            ours.send(data)
            got, source = peer.recvfrom(65_536)
            assert (got, source) == (data, ours.getsockname())
            peer.sendto(data, source)
            assert ours.recv(65_536) == data
        assert wire.snmp("OutDestUnreachs") == 0 == wire.snmp("NoPorts")


@pytest.mark.parametrize("direction", ["we connect", "the peer connects"])
def test_tcp_carries_bulk_and_the_kernel_stays_silent(wire: Wire, direction: str) -> None:
    resets = wire.snmp("OutRsts")
    with wire.stack() as stack, contextlib.ExitStack() as closing:
        keep = closing.enter_context
        if direction == "we connect":
            listener = keep(wire.tcp())
            listener.bind((PEER, 7000))
            listener.listen()
            ours = keep(stack.create_connection((PEER, 7000), 5))
            peer = keep(listener.accept()[0])
        else:
            ours_listening = keep(stack.create_server((OURS, 61_234)))
            peer = keep(wire.tcp())
            peer.connect((OURS, 61_234))
            ours = keep(ours_listening.accept()[0])
        data = os.urandom(1 << 20) * 8
        for sender, receiver in ((ours, peer), (peer, ours)):
            thread = threading.Thread(target=sender.sendall, args=(data,))
            thread.start()
            got = bytearray()
            while len(got) < len(data):
                got += receiver.recv(1 << 20)
            thread.join()
            assert got == data
    assert wire.snmp("OutRsts") == resets


def test_ping_and_the_kernel_beside_it(wire: Wire) -> None:
    """The kernel answers echo requests; its own sockets go on, on ports that are not the stack's."""
    with wire.stack() as stack:
        assert ping(stack, PEER, count=1, interval=1, size=56, wait=5) == 0
        wire.far.run(["ping", "-c1", "-W5", OURS], stdout=subprocess.DEVNULL)
        with wire.near.socket() as listener, wire.tcp() as client:
            listener.bind((OURS, OUTSIDE))
            listener.listen()
            client.connect((OURS, OUTSIDE))
            listener.accept()[0].close()
        with wire.udp() as peer:
            peer.connect((OURS, OUTSIDE))
            peer.send(b"nobody is there")
            with pytest.raises(ConnectionRefusedError):
                peer.recv(10)
        assert stack.interface_stats("veth0")["rx_frames"] == 1, "the echo reply alone"


def test_an_error_of_the_network_reaches_its_socket(wire: Wire) -> None:
    with wire.stack() as stack, stack.socket(type=socket.SOCK_DGRAM) as ours:
        ours.settimeout(5)
        ours.connect((PEER, 9))
        ours.send(b"nobody is there")
        with pytest.raises(ConnectionRefusedError):
            ours.recv(10)


def test_no_route_of_the_kernels_loses_the_packet_and_is_counted(wire: Wire) -> None:
    with wire.stack(gateway=PEER) as stack, stack.socket(type=socket.SOCK_DGRAM) as ours:
        ours.sendto(b"lost", ("203.0.113.1", 9))
        stats = stack.interface_stats("veth0")
        assert stats["tx_unreachable"] == 1 == stats["tx_dropped"]


def test_other_ports_are_refused_and_named(wire: Wire) -> None:
    with wire.stack("ports=80,61000-61003") as stack:
        with stack.create_server((OURS, 80)), stack.socket() as sock:
            with pytest.raises(OSError, match="80-80,61000-61003: name 8080 among them") as caught:
                sock.bind((OURS, 8080))
            assert caught.value.errno == errno.EADDRNOTAVAIL
        sockets = [stack.socket(type=socket.SOCK_DGRAM) for _ in range(5)]
        for sock in sockets[:4]:
            sock.bind((OURS, 0))
        assert {s.getsockname()[1] for s in sockets[:4]} == {61_000, 61_001, 61_002, 61_003}
        with pytest.raises(OSError) as caught:
            sockets[4].bind((OURS, 0))
        assert caught.value.errno == errno.EADDRINUSE
        for sock in sockets:
            sock.close()


def test_an_address_that_the_kernel_does_not_have(wire: Wire) -> None:
    with pytest.raises(OSError, match="the kernel does not have one of") as caught:
        barewire.Stack(wire.open(), addresses=["198.18.0.77/24"])
    assert caught.value.errno == errno.EADDRNOTAVAIL


def test_ports_of_the_stack_outside_the_devices(wire: Wire) -> None:
    with pytest.raises(ValueError, match="the device leaves 61000-65535"):
        wire.stack(ports=(40_000, 50_000))
    with wire.stack(ports=(62_000, 62_000)) as stack, stack.socket(type=2) as sock:
        sock.bind((OURS, 0))
        assert sock.getsockname()[1] == 62_000


def test_an_interface_of_bare_packets(ns: Namespace) -> None:
    """A TUN interface: a stack at its far end, and one on the kernel's own address."""
    with ns.entered():
        far, near = open_device(f"tap:tun0?mode=tun&host={OURS}/24"), open_device("raw:tun0")
    with (
        barewire.Stack(far, addresses=[f"{PEER}/24"]) as there,
        barewire.Stack(near, addresses=[f"{OURS}/24"]) as here,
        there.create_server((PEER, 7000)) as server,
        here.create_connection((PEER, 7000), 5) as ours,
        server.accept()[0] as peer,
    ):
        ours.sendall(b"by raw sockets")
        assert peer.recv(100) == b"by raw sockets"
        peer.sendall(b"and a filter")
        assert ours.recv(100) == b"and a filter"


# ---- the guard -----------------------------------------------------------------------------------


def test_the_guard_is_there_with_the_device_and_goes_with_it(wire: Wire) -> None:
    with wire.open() as device:
        assert device.info == {"ports": "61000-65535", "guard": 1}
        assert tables(wire.near) == 1
        with wire.tcp() as peer:
            peer.settimeout(0.3)
            with pytest.raises(TimeoutError):
                peer.connect((OURS, INSIDE))  # a frame for the stack, and no reset from the kernel
        assert [f.data[9] for f in device.rx()] == [socket.IPPROTO_TCP]
    assert tables(wire.near) == 0
    with wire.tcp() as peer, pytest.raises(ConnectionRefusedError):
        peer.connect((OURS, INSIDE))


def test_a_killed_process_leaves_nothing(wire: Wire) -> None:
    program = (
        "import sys, barewire\n"
        "stack = barewire.Stack('raw:veth0', addresses=['198.18.0.2/24'])\n"
        "server = stack.create_server(('198.18.0.2', 61000))\n"
        "print('up', flush=True)\n"
        "sock, _ = server.accept()\n"
        "while True: sock.sendall(bytes(1000))\n"
    )
    child = wire.near.python(program, stdout=subprocess.PIPE)
    with child, wire.tcp() as peer:
        assert child.stdout is not None and child.stdout.readline() == b"up\n"
        assert tables(wire.near) == 1
        peer.connect((OURS, INSIDE))
        assert peer.recv(100)
        os.kill(child.pid, signal.SIGKILL)
        child.wait(5)
    assert tables(wire.near) == 0
    wire.open().close()


@contextlib.contextmanager
def without(wire: Wire, *capabilities: str) -> Iterator[Callable[[str], str]]:
    """A function that runs a program text inside the near end, without these capabilities, and gives
    what it prints."""
    drop = ",".join(f"-{name}" for name in capabilities)
    words = ["setpriv", f"--bounding-set={drop}", f"--inh-caps={drop}", "--"]

    def run(program: str) -> str:
        command = [*words, sys.executable, "-P", "-c", program]
        done = wire.near.run(command, capture_output=True, text=True, check=False, timeout=30)
        assert done.returncode == 0, done.stderr
        return str(done.stdout) + str(done.stderr)

    yield run


UDP_ONLY = """
import barewire, logging, socket
logging.basicConfig()
with barewire.Stack("raw:veth0", addresses=["198.18.0.2/24"]) as stack:
    with stack.socket(type=socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.sendto(b"hello", ("198.18.0.1", 7000))
        print("got", sock.recv(100))
    try:
        stack.socket()
    except PermissionError as error:
        print("refused:", error)
"""


def test_without_net_admin_there_is_udp_and_tcp_is_refused(wire: Wire) -> None:
    with without(wire, "net_admin") as run, wire.udp(7000) as peer:

        def answer() -> None:
            data, source = peer.recvfrom(100)
            peer.sendto(data.upper(), source)

        thread = threading.Thread(target=answer)
        thread.start()
        said = run(UDP_ONLY)
        thread.join()
    why = "raw:veth0 carries no TCP: the kernel would reset its connections, and an nft rule needs "
    assert "got b'HELLO'" in said
    assert f"refused: [Errno 1] {why}CAP_NET_ADMIN" in said
    assert f"WARNING:barewire.raw:{why}CAP_NET_ADMIN, and answers each datagram" in said


def test_without_net_admin_the_guard_may_be_asked_for_or_be_somebody_elses(wire: Wire) -> None:
    asked = (
        "from barewire.nic_drivers import open_device\n"
        "try: open_device('raw:veth0?guard=nft')\n"
        "except OSError as error: print(error.errno, error)\n"
        "with open_device('raw:veth0?guard=none') as device: print(device.limits.no_tcp == '')\n"
    )
    with without(wire, "net_admin") as run:
        said = run(asked)
    assert said.startswith("1 raw:veth0 carries no TCP") and said.endswith("True\n")


def test_without_net_raw_there_is_a_sentence(wire: Wire) -> None:
    asked = (
        "from barewire.nic_drivers import available, open_device\n"
        "try: open_device('raw:veth0')\n"
        "except OSError as error: print(error.errno, error)\n"
        "print([kind.reason for kind in available() if kind.kind == 'raw'])\n"
    )
    with without(wire, "net_raw") as run:
        said = run(asked)
    assert said.startswith("1 no permission to open raw sockets: run as root, with CAP_NET_RAW")
    assert "['no permission to open raw sockets" in said


def test_tcp_is_refused_by_the_driver_too(wire: Wire) -> None:
    program = (
        "from barewire.nic_drivers import open_device\n"
        "with open_device('raw:veth0') as device:\n"
        "    packet = bytes.fromhex('4500002800010000400600000000000000000000') + bytes(20)\n"
        "    device.tx([packet])\n"
        "    print(device.xstats['tx_tcp_unguarded'], device.stats['tx_dropped'])\n"
    )
    with without(wire, "net_admin") as run:
        assert run(program).startswith("1 1\n")


# ---- frames and bounds ---------------------------------------------------------------------------


def udp(size: int, to: str = PEER, port: int = INSIDE) -> bytes:
    """An IPv4 packet of that size, its UDP checksum absent."""
    head = b"\x45\0" + size.to_bytes(2, "big") + b"\0\1\0\0\x40\x11\0\0"
    addresses = socket.inet_aton(OURS) + socket.inet_aton(to)
    ports = port.to_bytes(2, "big") + (7000).to_bytes(2, "big")
    return head + addresses + ports + (size - 20).to_bytes(2, "big") + bytes(2 + size - 28)


def test_what_cannot_be_sent_is_dropped_and_counted_and_the_rest_goes_on(wire: Wire) -> None:
    with wire.open() as device, wire.udp(7000) as peer:
        six = b"\x60" + bytes(39)
        frames = [udp(28), b"\x45" * 19, udp(1501), six, udp(100, "203.0.113.1"), udp(1500)]
        assert device.tx(frames) == 6
        assert [len(peer.recv(2000)) for _ in range(2)] == [0, 1472]
        found = {name: n for name, n in device.xstats.items() if n and name.startswith("tx_")}
        assert found == {"tx_bad_length": 2, "tx_not_ipv4": 1, "tx_unreachable": 1}
        stats = device.stats
        assert (stats["tx_frames"], stats["tx_bytes"], stats["tx_dropped"]) == (2, 1528, 4)


def test_only_what_is_the_stacks_comes_in_and_a_full_queue_is_counted(wire: Wire) -> None:
    with wire.open("ring=8&ports=61000-61001") as device, wire.udp() as peer:
        for port in (OUTSIDE, 60_999, 61_002, 61_001, 61_000):
            peer.sendto(b"x", (OURS, port))
        assert [f.data[22:24] for f in device.rx()] == [b"\xee\x49", b"\xee\x48"]
        assert device.xstats["kernel_rx_seen"] == 2
        for _ in range(2000):
            peer.sendto(bytes(1400), (OURS, 61_000))
        dropped = device.xstats["kernel_rx_dropped"]
        got = 0
        while burst := device.rx():
            got += len(burst)
        assert dropped > 0 and got == 2000 - dropped
        peer.sendto(b"again", (OURS, 61_000))
        assert len(device.rx()) == 1


def test_a_peer_on_the_same_machine_leaves_checksums_to_the_device(wire: Wire) -> None:
    with wire.open() as device, wire.udp() as peer:
        peer.sendto(b"unfinished", (OURS, INSIDE))
        (frame,) = device.rx()
        assert frame.csum == 2


# ---- bad input, and the end ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "number", "sentence"),
    [
        ("raw:nowhere", errno.ENODEV, "there is no interface 'nowhere' here"),
        ("raw:", errno.ENODEV, "there is no interface '' here"),
        ("raw:lo", errno.EINVAL, "loopback is no way to others"),
        ("raw:veth0?ports=0", errno.EINVAL, "expected ports from 1 to 65535"),
        ("raw:veth0?ports=40000", errno.EADDRINUSE, "the kernel chooses ports from 32768 to 60999"),
        ("raw:veth0?guard=yes", errno.EINVAL, "expected auto or nft or none"),
        ("raw:veth0?ring=7", errno.EINVAL, "from 8 to 65536"),
        ("raw:veth0?netns=none", errno.ENOENT, "no network namespace none"),
    ],
)
def test_mistakes(wire: Wire, name: str, number: int, sentence: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with wire.near.entered(), pytest.raises(DeviceError, match=sentence) as caught:
        open_device(name)
    assert caught.value.errno == number
    assert len(os.listdir("/proc/self/fd")) == before
    assert tables(wire.near) == 0


def test_an_interface_that_is_down(wire: Wire) -> None:
    wire.ip("link", "set", "veth0", "down")
    with pytest.raises(DeviceError, match="is down: bring it up") as caught:
        wire.open()
    assert caught.value.errno == errno.ENETDOWN


def test_an_interface_that_is_deleted_says_so_and_wakes_the_sleeper(wire: Wire) -> None:
    with wire.open() as device:
        armed = device.arm()
        wire.ip("link", "del", "veth0")
        poller = select.poll()
        poller.register(armed.fd, armed.events)
        assert poller.poll(5000)
        with pytest.raises(DeviceError, match="is gone") as caught:
            device.arm()
        assert caught.value.errno == errno.ENETDOWN
        for use in (device.rx, lambda: device.tx([udp(28)])):
            with pytest.raises(DeviceError, match="is gone"):
                use()


def test_sockets_get_enetdown(wire: Wire) -> None:
    with wire.stack() as stack, stack.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind((OURS, INSIDE))
        sock.settimeout(5)
        threading.Timer(0.05, wire.ip, ("link", "del", "veth0")).start()
        with pytest.raises(OSError) as caught:
            sock.recv(10)
        assert caught.value.errno == errno.ENETDOWN


def test_under_the_wrappers(wire: Wire, tmp_path) -> None:
    """Faults and a capture around it; the limits are still the device's."""
    with wire.stack(f"delay=1ms&pcap={tmp_path}/raw.pcap") as stack:
        with stack.create_server((OURS, INSIDE)) as server, wire.tcp() as peer:
            peer.connect((OURS, INSIDE))
            with server.accept()[0] as sock:
                peer.sendall(b"captured")
                assert sock.recv(100) == b"captured"
        with pytest.raises(OSError, match="leaves it the ports"), stack.socket() as sock:
            sock.bind((OURS, 80))
    assert b"captured" in (tmp_path / "raw.pcap").read_bytes()


def test_it_is_available_here() -> None:
    (kind,) = [info for info in available() if info.kind == "raw"]
    assert kind.available, kind.reason
