"""tap: real interfaces of the kernel, in a namespace of the test's own."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import re
import select
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from barewire.nic_drivers import Device, DeviceError, TxFrame, available, open_device, tun
from barewire.tools.netns import Namespace

from tests.kit.privilege import without_privilege

pytestmark = pytest.mark.netns

STACK, KERNEL = "198.18.0.2", "198.18.0.1"


@pytest.fixture
def inside(ns: Namespace) -> Iterator[Namespace]:
    """The test runs inside a namespace without IPv6's chatter."""
    ns.sysctl("net.ipv6.conf.default.disable_ipv6", 1)
    with ns.entered():
        yield ns


def wait(device: Device, wanted: Callable[[bytes], bool], seconds: float = 5) -> bytes:
    """The first frame that is wanted."""
    for _ in range(1000):
        for frame in device.rx():
            if wanted(frame.data):
                return frame.data
        armed = device.arm()
        assert select.select([armed.fd], [], [], seconds)[0], "no frame came"
    raise AssertionError("other frames only")


def kernel_mac(name: str) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as kernel:
        return fcntl.ioctl(kernel, 0x8927, struct.pack("16s24x", name.encode()))[18:24]


def link_of(name: str) -> str:
    return subprocess.run(["ip", "-d", "addr", "show", name], capture_output=True, text=True).stdout


def resolve(name: str, mac: bytes) -> None:
    text = mac.hex(":")
    subprocess.run(
        ["ip", "neigh", "replace", STACK, "lladdr", text, "dev", name, "nud", "permanent"],
        check=True,
    )


def udp(payload: bytes, device: Device, to_mac: bytes) -> TxFrame:
    """A UDP datagram to the kernel's port 7000, its checksum left to the device if it can."""
    src, dst = socket.inet_aton(STACK), socket.inet_aton(KERNEL)
    length = 8 + len(payload)
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + length, 0, 0, 64, 17, 0, src, dst)
    head = head[:10] + struct.pack("!H", ~ones(head) & 0xFFFF) + head[12:]
    pseudo = ones(src + dst + struct.pack("!HH", 17, length))
    partial = "tx_csum" in device.cap_names
    field = pseudo
    if not partial:
        whole = struct.pack("!HHHH", 5000, 7000, length, pseudo) + payload
        field = ~ones(whole + b"\0" * (len(whole) & 1)) & 0xFFFF
    link = to_mac + device.mac + b"\x08\x00" if device.layer == 2 else b""
    headers = link + head + struct.pack("!HHHH", 5000, 7000, length, field)
    start = len(link) + 20 if partial else None
    return TxFrame([headers, payload], csum_start=start, csum_offset=6)


def ones(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


# ---- traffic -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    ["", "&vnet=0", "&offload=0", "&mode=tun", "&mode=tun&vnet=0", "&napi=1", "&mode=tun&napi=1"],
)
def test_datagrams_in_and_out(inside: Namespace, options: str) -> None:
    with open_device(f"tap:bw0?host={KERNEL}/24{options}") as device:
        assert device.layer == (3 if "tun" in options else 2) and device.mtu == 1500
        assert ("vnet_hdr" in device.cap_names) == ("vnet=0" not in options)
        mac, offset = b"", 14 if device.layer == 2 else 0
        if device.layer == 2:
            mac = kernel_mac("bw0")
            assert device.mac != mac and device.mac[0] & 3 == 2
            resolve("bw0", device.mac)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as kernel:
            kernel.bind((KERNEL, 7000))
            kernel.settimeout(5)
            for size in (0, 1, 2, 511, 1472):
                payload = bytes(i & 255 for i in range(size))
                assert device.tx([udp(payload, device, mac)]) == 1
                assert kernel.recvfrom(2000) == (payload, (STACK, 5000)), "the checksum is right"
                kernel.sendto(payload, (STACK, 9))
                got = wait(device, lambda data: data[offset + 9] == 17 and len(data) > offset + 27)
                assert got[offset + 28 :][:size] == payload
        assert device.stats["rx_dropped"] == device.stats["tx_dropped"] == 0


def test_the_checksum_state_of_what_the_kernel_sends(inside: Namespace) -> None:
    for options, state in (("", 2), ("&offload=0", 0), ("&vnet=0", 0)):
        with open_device(f"tap:bw0?host={KERNEL}/24{options}") as device:
            resolve("bw0", device.mac)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as kernel:
                kernel.sendto(b"hello", (STACK, 9))
            assert select.select([device.arm().fd], [], [], 5)[0]
            [frame] = [f for f in device.rx() if f.data[23] == 17]
            assert frame.csum == state


@pytest.mark.parametrize("napi", [False, True])
def test_napi(inside: Namespace, napi: bool) -> None:
    tungetiff, iff_napi = 0x800454D2, 0x10
    opened = tun.open_tun(tun.TunRequest("bw0", napi=napi))
    try:
        _, flags = struct.unpack("16sH22x", fcntl.ioctl(opened.fd, tungetiff, bytes(40)))
        assert bool(flags & iff_napi) == napi
    finally:
        opened.close()


def test_bursts(inside: Namespace) -> None:
    with open_device(f"tap:bw0?host={KERNEL}/24") as device:
        resolve("bw0", device.mac)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as kernel:
            kernel.bind((KERNEL, 7000))
            for i in range(100):
                kernel.sendto(bytes([i]) * 10, (STACK, 9))
            first, second = device.rx(), device.rx()
            found = [f.data[42] for f in first + second if f.data[12:14] == b"\x08\x00"]
            assert len(first) == 64 and found == list(range(100))
            mac = kernel_mac("bw0")
            assert device.tx([udp(bytes([i]), device, mac) for i in range(64)]) == 64
            assert [kernel.recv(10)[0] for _ in range(64)] == list(range(64))


def test_what_cannot_be_sent_is_dropped_and_counted(inside: Namespace) -> None:
    with open_device(f"tap:bw0?host={KERNEL}/24") as device:
        too_long, too_short = b"x" * 1519, b"x" * 5
        assert device.tx([too_long, too_short, b"\xff" * 60]) == 3
        assert device.stats["tx_dropped"] == 2 and device.stats["tx_frames"] == 1
        subprocess.run(["ip", "link", "set", "bw0", "down"], check=True)
        assert device.tx([b"\xff" * 60]) == 1, "an interface that is down is no device that is gone"
        assert device.stats["tx_dropped"] == 3
        stats = device.xstats
        assert (stats["tx_too_long"], stats["tx_refused"], stats["tx_down"]) == (1, 1, 1)
        subprocess.run(["ip", "link", "set", "bw0", "up"], check=True)
        assert device.tx([b"\xff" * 60]) == 1
        assert device.stats["tx_frames"] == 2


def test_a_frame_longer_than_the_mtu_we_know_is_dropped_and_counted(inside: Namespace) -> None:
    with open_device(f"tap:bw0?host={KERNEL}/24") as device:
        resolve("bw0", device.mac)
        subprocess.run(["ip", "link", "set", "bw0", "mtu", "3000"], check=True)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as kernel:
            kernel.sendto(b"x" * 2500, (STACK, 9))
            kernel.sendto(b"y" * 100, (STACK, 9))
        assert [f.data[42:43] for f in device.rx() if f.data[23] == 17] == [b"y"]
        assert device.stats["rx_dropped"] == device.xstats["rx_too_long"] == 1


# ---- the device vanishes -------------------------------------------------------------------------


def test_a_deleted_interface_is_gone_for_good_and_wakes_the_sleeper(inside: Namespace) -> None:
    with open_device(f"tap:bw0?host={KERNEL}/24") as device:
        poller = select.poll()
        poller.register(device.arm().fd, select.POLLIN)
        while device.rx():
            pass
        remover = threading.Timer(0.05, subprocess.run, [["ip", "link", "del", "bw0"]])
        remover.start()
        assert poller.poll(5000), "poll says so"
        remover.join()
        for use in (device.rx, lambda: device.tx([b"\xff" * 60])):
            with pytest.raises(DeviceError, match="device tap:bw0 is gone") as caught:
                use()
            assert caught.value.errno == errno.ENETDOWN


# ---- creating, attaching, configuring ------------------------------------------------------------


def test_what_we_made_disappears_with_the_descriptor(inside: Namespace) -> None:
    device = open_device("tap:")
    name = device.name
    assert name in inside.links() and " UP " in link_of(name).replace(",", " ")
    device.close()
    device.close()
    assert name not in inside.links()


def test_host_addresses_and_mtu(inside: Namespace) -> None:
    inside.sysctl("net.ipv6.conf.default.disable_ipv6", 0)
    with open_device(f"tap:bw0?host={KERNEL}/24,2001:db8::1/64&mtu=9000") as device:
        text = link_of("bw0")
        assert f"inet {KERNEL}/24" in text and "inet6 2001:db8::1/64" in text
        assert "mtu 9000" in text and device.mtu == 9000
        [line] = [line for line in text.splitlines() if "2001:db8" in line]
        assert "tentative" not in line, "usable at once"


def test_a_persistent_interface_is_attached_and_left_as_it_was(inside: Namespace) -> None:
    subprocess.run(["ip", "tuntap", "add", "bw0", "mode", "tap"], check=True)
    subprocess.run(["ip", "link", "set", "bw0", "mtu", "1400"], check=True)
    with open_device("tap:bw0") as device:
        assert device.mtu == 1400
        assert "state DOWN" in link_of("bw0"), "not ours to bring up"
        with pytest.raises(DeviceError, match="in use by another program") as caught:
            open_device("tap:bw0")
        assert caught.value.errno == errno.EBUSY
    assert "bw0" in inside.links()


def test_one_of_several_queues_is_attached(inside: Namespace) -> None:
    subprocess.run(["ip", "tuntap", "add", "bw0", "mode", "tap", "multi_queue"], check=True)
    with open_device("tap:bw0") as device:
        assert device.name == "bw0"


def test_several_queues_are_one_device(inside: Namespace) -> None:
    """The kernel spreads flows over the queues; the stack gets them all, and sends."""
    with open_device(f"tap:bw0?host={KERNEL}/24&queues=4") as device:
        assert device.info["queues"] == 4 and "numqueues 4" in link_of("bw0")
        resolve("bw0", device.mac)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as kernel:
            kernel.bind((KERNEL, 7000))
            kernel.settimeout(5)
            assert not device.rx() and not device.arm().ready
            poller = select.poll()
            poller.register(device.arm().fd, select.POLLIN)
            for port in range(100, 164):
                kernel.sendto(b"%d" % port, (STACK, port))
                assert poller.poll(5000)
            found: set[bytes] = set()
            while frames := device.rx():
                found |= {f.data[42:] for f in frames if f.data[23] == 17}
            assert found == {b"%d" % port for port in range(100, 164)}
            assert not poller.poll(0)
            poller.modify(device.arm(want_tx=True).fd, select.POLLIN)
            assert poller.poll(5000), "there is room to send"
            poller.modify(device.arm().fd, select.POLLIN)
            assert not poller.poll(0)
            assert device.tx([udp(b"out", device, kernel_mac("bw0"))]) == 1
            assert kernel.recv(10) == b"out"
        subprocess.run(["ip", "link", "del", "bw0"], check=True)
        assert poller.poll(5000), "a deleted interface wakes the sleeper"
        with pytest.raises(DeviceError, match="is gone"):
            device.rx()


def test_queues_of_an_interface_that_is_there(inside: Namespace) -> None:
    subprocess.run(["ip", "tuntap", "add", "bw0", "mode", "tap", "multi_queue"], check=True)
    subprocess.run(["ip", "tuntap", "add", "bw1", "mode", "tap"], check=True)
    with open_device("tap:bw0?queues=2"):
        assert "numqueues 2" in link_of("bw0")
    assert "numqueues 0" in link_of("bw0")
    with pytest.raises(DeviceError, match="bw1 was made with one queue: make it with several"):
        open_device("tap:bw1?queues=2")


def test_its_owner_attaches_without_privilege(inside: Namespace) -> None:
    open_device(f"tap:bw0?persist=1&owner={os.getuid()}&group={os.getgid()}").close()
    assert re.search(r" user \S+ group ", link_of("bw0")), link_of("bw0")
    without_privilege(lambda: open_device("tap:bw0").close())


@pytest.mark.machine
def test_nobody_else_attaches_without_privilege(inside: Namespace) -> None:
    """An ordinary user's namespace knows no second user."""
    open_device("tap:bw0?persist=1&owner=1").close()
    with pytest.raises(DeviceError, match=r"bw0: run as root.*its owner"):
        without_privilege(lambda: open_device("tap:bw0"))


IN_USER_NAMESPACE = f"""
import subprocess, barewire
with barewire.Stack("tap:tap0?host={KERNEL}/24", addresses=["{STACK}/24"]):
    done = subprocess.run(["ping", "-c2", "-i0.1", "-W2", "{STACK}"], capture_output=True, text=True)
    print(done.stdout, done.stderr)
"""


def test_without_root_in_a_user_namespace() -> None:
    command = ["unshare", "-Urn", sys.executable, "-P", "-c", IN_USER_NAMESPACE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert " 0% packet loss" in done.stdout, done.stdout + done.stderr


def test_persist(inside: Namespace) -> None:
    open_device("tap:bw0?persist=1").close()
    assert "bw0" in inside.links()
    open_device("tap:bw0?persist=0").close()
    assert "bw0" not in inside.links()


def test_an_interface_that_stayed_is_configured_once(inside: Namespace) -> None:
    """host= and mtu= may say again what is so: the second time only what lacks is added."""
    inside.sysctl("net.ipv6.conf.default.disable_ipv6", 0)
    hosts = f"host={KERNEL}/24,2001:db8::1/64"
    open_device(f"tap:bw0?persist=1&mtu=1400&{hosts}").close()
    with open_device(f"tap:bw0?mtu=1400&{hosts},198.18.1.1/24") as device:
        assert device.mtu == 1400
        shown = link_of("bw0")
        for address in (f"{KERNEL}/24", "2001:db8::1/64", "198.18.1.1/24"):
            assert shown.count(f" {address} ") == 1, shown
    with pytest.raises(DeviceError, match="twice, or has it with another prefix") as caught:
        open_device("tap:bw0?host=2001:db8::1/48")
    assert caught.value.errno == errno.EEXIST


def test_what_is_so_already_needs_no_privilege(inside: Namespace) -> None:
    open_device(f"tap:bw0?persist=1&host={KERNEL}/24&mtu=1400").close()
    without_privilege(lambda: open_device(f"tap:bw0?host={KERNEL}/24&mtu=1400").close())
    with pytest.raises(DeviceError, match=r"Operation not permitted.*run as root"):
        without_privilege(lambda: open_device(f"tap:bw0?host={KERNEL}/24&mtu=1300").close())


def test_own_address(inside: Namespace) -> None:
    with open_device("tap:bw0") as device:
        first = device.mac
    with open_device("tap:bw0") as device:
        assert device.mac == first, "stable for a name"
    with open_device("tap:bw0?mac=02:00:00:00:00:77") as device:
        assert device.mac == b"\x02\0\0\0\0\x77"


def test_netns_option(ns: Namespace) -> None:
    with open_device(f"tap:bw0?host={KERNEL}/24&netns=/proc/self/fd/{ns.fd}") as device:
        assert "bw0" in ns.links()
        assert "bw0" not in [name for _, name in socket.if_nameindex()]
        assert device.mtu == 1500
    assert "bw0" not in ns.links()


def test_inside_a_running_event_loop(inside: Namespace) -> None:
    async def main() -> str:
        with open_device(f"tap:bw0?host={KERNEL}/24") as device:
            return device.name

    assert asyncio.run(main()) == "bw0"


def test_a_failed_set_up_leaves_nothing(inside: Namespace) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for wrong in (f"host={KERNEL}/24,{KERNEL}/24", "pcap=/dev/null/x", "netns=/dev/null"):
        with pytest.raises(DeviceError):
            open_device(f"tap:bw0?{wrong}")
        assert "bw0" not in inside.links()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("tap:bw0?host=198.18.0.1", "host=198.18.0.1: expected an address with its prefix length"),
        ("tap:bw0?host=nonsense/24", "expected an address"),
        ("tap:lo", "'lo' exists and is no tap interface: use a new name"),
        ("tap:a-name-of-20-letters", "at most 15 bytes"),
        ("tap:a b", "no space"),
        ("tap:bw0?netns=no-such-namespace", "no network namespace no-such-namespace: /run/netns/"),
        ("tap:bw0?mtu=20", "expected a whole number from 68"),
        ("tap:bw0?mode=l2", "expected tap or tun"),
        ("tap:bw0?owner=no-such-user", "there is no user 'no-such-user' here"),
        ("tap:bw0?group=no-such-group", "there is no group 'no-such-group' here"),
        ("tap:bw0?queues=17", "from 1 to 16"),
        ("tap:bw0?queue=1&queues=2", "queues of a TAP interface have no numbers"),
        ("tap:bw0?hots=1", "unknown option 'hots' of device tap:bw0: known are .*host"),
    ],
)
def test_mistakes(inside: Namespace, name: str, sentence: str) -> None:
    with pytest.raises(DeviceError, match=sentence) as caught:
        open_device(name).close()
    assert caught.value.errno in (errno.EINVAL, errno.ENOENT)


def test_a_missing_tun_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tun, "TUN_PATH", str(tmp_path / "tun"))
    with pytest.raises(DeviceError, match="modprobe tun") as caught:
        open_device("tap:bw0")
    assert caught.value.errno == errno.ENOENT
    [info] = [info for info in available() if info.kind == "tap"]
    assert not info.available and "modprobe tun" in info.reason


WITHOUT_PRIVILEGE = """
from barewire.nic_drivers import DeviceError, available, open_device
try:
    open_device("tap:bw0")
except DeviceError as error:
    print(error.errno, error)
print([info.reason for info in available() if info.kind == "tap"][0])
"""


def test_no_permission(inside: Namespace) -> None:
    # A user namespace that maps nobody has no capability over the network namespace.
    command = ["unshare", "-U", sys.executable, "-P", "-c", WITHOUT_PRIVILEGE]
    result = inside.run(command, capture_output=True, text=True)
    first, second = result.stdout.splitlines()
    assert first.startswith((f"{errno.EACCES} ", f"{errno.EPERM} "))
    assert "run as root, with CAP_NET_ADMIN, or inside `unshare -Urn`" in first
    assert "unshare -Urn" in second


def test_a_child_removes_nothing(inside: Namespace) -> None:
    with open_device("tap:bw0") as device:
        child = os.fork()
        if not child:
            device.close()
            os._exit(0)
        os.waitpid(child, 0)
        assert "bw0" in inside.links()
        assert device.tx([b"\xff" * 60]) == 1
        # A program that was started has no copy of the descriptor.
        subprocess.run([sys.executable, "-c", "pass"], check=True)
    assert "bw0" not in inside.links()
