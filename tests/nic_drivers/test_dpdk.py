"""dpdk: ports of DPDK's virtual devices, in this process and to others, in namespaces of the test's own."""

from __future__ import annotations

import errno
import itertools
import os
import random
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import barewire
import pytest
from barewire.nic_drivers import Device, DeviceError, RxFrame, TxFrame, available, open_device
from barewire.tools.netns import Namespace

from tests.kit.privilege import for_machine
from tests.netns.link import until
from tests.nic_drivers.dpdk_ports import (
    LOCAL,
    frame,
    meet,
    names,
    nap,
    open_ports,
    pair,
    received,
    start_eal,
)  # fmt: skip
from tests.nic_drivers.frames import AWAY, OURS, TCP, datagram, unfinished

pytestmark = pytest.mark.netns
SIZES = [60, 61, 64, 127, 1000, 1513, 1514]


@pytest.fixture(scope="module", autouse=True)
def eal_runs(tmp_path_factory: pytest.TempPathFactory) -> None:
    start_eal(tmp_path_factory.mktemp("eal"))


@pytest.fixture(autouse=True)
def no_port_is_left(eal_runs: None) -> Iterator[None]:
    yield
    assert open_ports() == 0


@pytest.fixture
def near(veth_pair: tuple[Namespace, Namespace]) -> Namespace:
    return veth_pair[0]


def far_socket(where: Namespace, name: str) -> socket.socket:
    with where.entered():
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(int.from_bytes(LOCAL)))
        raw.bind((name, int.from_bytes(LOCAL)))
    raw.settimeout(5)
    return raw


def opened(where: Namespace, name: str) -> Device:
    with where.entered():
        return open_device(f"dpdk:{name}")


# ---- frames -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["memif", "vhost"])
@pytest.mark.parametrize("options", ["", "?offload=0"])
def test_frames_of_all_sizes_between_ports(kind: str, options: str, tmp_path: Path) -> None:
    frames = [frame(i, size) for i, size in enumerate(SIZES)]
    with pair(kind, tmp_path, options=options) as ends:
        for sender, receiver in itertools.permutations(ends):
            before = sender.stats
            assert sender.tx(frames) == len(frames)
            assert received(receiver, len(frames)) == frames
            cut = [frames[4][:14], frames[4][14:50], frames[4][50:777], frames[4][777:]]
            assert sender.tx([TxFrame(cut)]) == 1
            assert received(receiver, 1) == [frames[4]]
            assert sender.stats["tx_frames"] - before["tx_frames"] == len(frames) + 1
            assert sender.stats["tx_bytes"] - before["tx_bytes"] == sum(SIZES) + SIZES[4]
            assert sender.stats["tx_dropped"] == receiver.stats["rx_dropped"] == 0
            assert sender.xstats["port_tx_good_packets"] >= len(frames)


@pytest.mark.parametrize(
    "name",
    [
        "net_tap0,iface=dtap0",
        "net_af_packet0,iface=veth0",
        *for_machine("net_af_xdp0,iface=veth0"),
    ],
)
def test_frames_of_all_sizes_to_the_kernel(
    name: str, veth_pair: tuple[Namespace, Namespace]
) -> None:
    near, far = veth_pair
    frames = [frame(i, size) for i, size in enumerate(SIZES)]
    ours = name.startswith("net_tap")
    with opened(near, name) as device:
        with far_socket(*((near, "dtap0") if ours else (far, "veth0"))) as raw:
            assert device.mac[0] & 2 and device.mtu == 1500
            assert device.tx(frames) == len(frames)
            assert [raw.recv(2000) for _ in frames] == frames
            for one in frames:
                raw.send(one)
            assert received(device, len(frames)) == frames
            assert device.stats["rx_dropped"] == device.stats["tx_dropped"] == 0
    assert "dtap0" not in near.links()


def test_a_ring_gives_back_what_is_sent() -> None:
    with open_device("dpdk:net_ring0") as device:
        frames = [frame(i) for i in range(64)]
        assert device.tx(frames) == 64
        assert device.arm().ready, "arm() looks once more"
        assert received(device, 64) == frames


def test_jumbo_frames(tmp_path: Path) -> None:
    with pair("vhost", tmp_path, options="?mtu=9000") as (a, b):
        frames = [frame(1, 9014), frame(2, 2049), frame(3)]
        assert (a.mtu, a.tx(frames)) == (9000, 3)
        assert received(b, 3) == frames


@pytest.mark.parametrize("kind", ["memif", "vhost"])
def test_a_frame_too_long_is_dropped_and_the_rest_goes_on(kind: str, tmp_path: Path) -> None:
    with pair(kind, tmp_path) as (a, b):
        assert a.tx([frame(1), frame(2, 1600), frame(3)]) == 3
        assert received(b, 2) == [frame(1), frame(3)]
        assert a.stats["tx_dropped"] == 1


@pytest.mark.parametrize("kind", ["memif", "vhost"])
def test_a_full_ring_refuses_counts_and_recovers(kind: str, tmp_path: Path) -> None:
    with pair(kind, tmp_path, options="?ring=256") as (a, b):
        frames, before, taken = [frame(i) for i in range(64)], a.stats["tx_full"], 0
        for _ in range(200):
            taken += (n := a.tx(frames))
            if n < 64:
                break
        assert a.stats["tx_full"] == before + 1 and taken >= 200
        assert a.arm(want_tx=True).deadline is not None
        assert len(received(b, taken)) == taken
        assert a.tx(frames) == 64, "there is room again"
        assert received(b, 64) == frames


# ---- offloads -----------------------------------------------------------------------------------


def checksum(data: bytes) -> int:
    data += b"\0" * (len(data) & 1)
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def segment(proto: int, payload: int) -> tuple[TxFrame, bytes]:
    """An IPv4 packet whose transport checksum holds the pseudo header's sum; the pseudo header."""
    length = (20 if proto == 6 else 8) + payload
    ends = socket.inet_aton("198.18.0.1") + socket.inet_aton("198.18.0.2")
    ip = bytearray(
        b"\x45\0" + (20 + length).to_bytes(2, "big") + b"\0\0\x40\0\x40" + bytes([proto])
    )
    ip += b"\0\0" + ends
    ip[10:12] = checksum(bytes(ip)).to_bytes(2, "big")
    pseudo = ends + bytes([0, proto]) + length.to_bytes(2, "big")
    partial = (~checksum(pseudo) & 0xFFFF).to_bytes(2, "big")
    if proto == 6:
        head = b"\x13\x88\x13\x89" + bytes(8) + b"\x50\x10\xff\xff" + partial + b"\0\0"
    else:
        head = b"\x13\x88\x13\x89" + length.to_bytes(2, "big") + partial
    ethernet = b"\xff" * 6 + b"\x02\0\0\0\0\x02\x08\0"
    data = bytes(i & 255 for i in range(payload))
    whole = TxFrame([ethernet + bytes(ip) + head, data], 34, 16 if proto == 6 else 6)
    return whole, pseudo


@pytest.mark.parametrize("proto", [6, 17])
@pytest.mark.parametrize("name", ["memif", "vhost", "tap"])
def test_an_unfinished_checksum(name: str, proto: int, tmp_path: Path, near: Namespace) -> None:
    """The port finishes it, or the driver; or the receiver is told that nobody had to."""
    sent, pseudo = segment(proto, 301)
    if name == "tap":
        with opened(near, "net_tap0,iface=dtap0") as device, near.entered():
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)) as raw:
                raw.bind(("dtap0", 0x0800))
                raw.settimeout(5)
                assert device.tx([sent]) == 1
                data, told = raw.recv(2000), 0
    else:
        with pair(name, tmp_path) as ends:
            for a, b in itertools.permutations(ends):
                assert a.tx([sent]) == 1
                got = next(f for f in wait_for(b) if f.data[12:14] == b"\x08\0")
                data, told = got.data, got.csum
    assert data[34 + sent.csum_offset + 2 :] == b"".join(sent.pieces)[34 + sent.csum_offset + 2 :]
    if told != 2:
        assert checksum(pseudo + data[34:]) == 0


def wait_for(device: Device) -> list[RxFrame]:
    for _ in range(2000):
        if found := device.rx():
            return found
        nap()
    raise AssertionError("nothing came")


def test_a_super_segment_from_virtio_to_vhost(tmp_path: Path) -> None:
    """It comes as it is, in several mbufs, which the driver joins."""
    payload = random.Random(3).randbytes(10_000)
    whole = b"\xff" * 6 + b"\x02\0\0\0\0\x02\x08\0" + unfinished(OURS, AWAY, TCP, payload)
    with pair("vhost", tmp_path, ",tso=1") as (vhost, virtio):
        assert "tso4" in virtio.cap_names and "rx_gso" in vhost.cap_names
        sent = TxFrame([whole[:54], whole[54:]], csum_start=34, csum_offset=16, gso_size=1000)
        assert virtio.tx([sent]) == 1
        [got] = [f for f in wait_for(vhost) if f.data[12:14] == b"\x08\0"]
        assert (got.gso_size, got.data[54:]) == (1000, payload) and got.csum in (1, 2)


# ---- waiting, and the end ------------------------------------------------------------------------


def test_a_frame_wakes_who_sleeps_on_vhost(tmp_path: Path) -> None:
    with pair("vhost", tmp_path) as (vhost, virtio):
        for i in range(1, 4):
            armed = vhost.arm(i * 1_000_000_000)
            assert not armed.ready and armed.fd >= 0 and armed.events & select.POLLIN
            assert not select.select([armed.fd], [], [], 0)[0]
            assert virtio.tx([frame(i)]) == 1
            assert select.select([armed.fd], [], [], 5)[0]
            assert received(vhost, 1) == [frame(i)]
            assert virtio.arm().fd == -1


def gone(device: Device) -> None:
    """Soon: virtio learns it within a second."""
    for tick in range(1, 1500):
        try:
            device.arm(tick * 1_000_000_000)
        except DeviceError as error:
            assert error.errno == errno.ENETDOWN and "is gone" in str(error)
            break
        nap()
    for use in (device.rx, lambda: device.tx([frame(0)])):
        with pytest.raises(DeviceError, match="is gone"):
            for _ in range(3):  # what had come may still be received
                use()


@pytest.mark.parametrize("kind", ["memif", "vhost"])
@pytest.mark.parametrize("survivor", [0, 1])
def test_a_peer_that_closes_takes_the_device_down(kind: str, survivor: int, tmp_path: Path) -> None:
    with pair(kind, tmp_path) as ends:
        ends[1 - survivor].close()
        gone(ends[survivor])


@pytest.mark.parametrize("name", ["net_tap0,iface=dtap0", "net_af_packet0,iface=veth0"])
def test_an_interface_that_is_deleted_takes_the_device_down(name: str, near: Namespace) -> None:
    with opened(near, name) as device:
        device.arm()
        near.run(["ip", "link", "del", name.partition("iface=")[2]])
        gone(device)


@pytest.mark.parametrize("name", ["net_ring0", "net_tap0,iface=dtap0"])
def test_a_hundred_times_without_a_leaked_port_or_descriptor(name: str, near: Namespace) -> None:
    opened(near, name).close()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(100):
        with opened(near, name) as device:
            assert device.info["free_buffers"] > 0 and open_ports() == 1
    assert len(os.listdir("/proc/self/fd")) == before and near.links() == ["lo", "veth0"]


def test_a_memif_client_comes_and_goes_a_hundred_times(tmp_path: Path) -> None:
    first, second = names("memif", tmp_path)
    with open_device(first) as server:
        with open_device(second) as client:
            meet(server, client)
        nap(0.02)  # EAL's thread closes what it was reading from
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(100):
            with open_device(second) as client:
                meet(server, client)
        nap(0.02)
        assert len(os.listdir("/proc/self/fd")) == before and open_ports() == 1


def test_the_peer_may_come_again(tmp_path: Path) -> None:
    first, second = names("vhost", tmp_path)
    for _ in range(2):
        with open_device(first) as a, open_device(second) as b:
            meet(a, b)


# ---- queues, and several devices of a port -------------------------------------------------------


def flow(number: int) -> bytes:
    """A datagram of a flow of its own: the kernel chooses the queue by its addresses."""
    ethernet = b"\xff" * 6 + b"\x02\0\0\0\0\x02\x08\0"
    return ethernet + datagram(OURS, f"203.0.113.{number}", number, 60)


def test_a_device_of_two_queues_polls_both(near: Namespace) -> None:
    with opened(near, "net_tap0,iface=dtap0?queues=2") as device:
        with far_socket(near, "dtap0") as raw:
            assert device.info["rx_queues"] == 2
            frames = [flow(i) for i in range(32)]
            for one in frames:
                raw.sendto(one, ("dtap0", 0x0800))
            found: list[bytes] = []
            while len(found) < 32:
                found += [f.data for f in wait_for(device) if f.data in frames]
            assert sorted(found) == sorted(frames)
            queues = [device.xstats[f"port_rx_q{q}_packets"] for q in range(2)]
            assert min(queues) > 0 and sum(queues) >= 32


def test_two_devices_share_a_port_until_the_last_closes(near: Namespace) -> None:
    name = "net_tap0,iface=dtap0"
    with opened(near, f"{name}?queue=0&queues=2") as first:
        with opened(near, f"{name}?queue=1&queues=2") as second, far_socket(near, "dtap0") as raw:
            assert open_ports() == 1
            for device in (first, second):
                assert device.tx([frame(7)]) == 1 and raw.recv(2000) == frame(7)
            with pytest.raises(DeviceError, match=r"queue 1 of port net_tap0 is in use") as caught:
                opened(near, f"{name}?queue=1&queues=2")
            assert caught.value.errno == errno.EBUSY
            with pytest.raises(DeviceError, match="is open in this process with 2 queues, not 1"):
                opened(near, name)
        assert open_ports() == 1 and first.tx([frame(8)]) == 1
    assert "dtap0" not in near.links()


# ---- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "number", "sentence"),
    [
        ("", errno.EINVAL, "name a port, such as"),
        ("net_nothing0", errno.ENODEV, "DPDK does not open net_nothing0"),
        ("0000:ff:1f.7", errno.ENODEV, "DPDK does not open 0000:ff:1f.7"),
        ("net_af_packet0", errno.EINVAL, "needs an interface"),
        ("net_af_xdp0,iface=nowhere", errno.ENODEV, "there is no interface 'nowhere' here"),
        ("net_af_packet0,iface=veth0?mtu=9000", errno.EINVAL, "MTU of at most 1500"),
        ("net_ring0?queues=17", errno.EINVAL, "a whole number from 1 to 16"),
        ("net_ring0?queue=2&queues=2", errno.EINVAL, "queues are numbered from 0"),
        ("net_ring0?ring=1", errno.EINVAL, "a whole number from 64"),
        ("net_ring0?hugepages=1", errno.EINVAL, "already runs in this process with hugepages=0"),
        ("net_ring0?memory=64", errno.EINVAL, "already runs in this process with no memory="),
        ("net_ring0?lcores=0", errno.EINVAL, "already runs in this process with no lcores="),
        ("net_memif0,role=client,socket=/nowhere/m", errno.EIO, "port net_memif0 does not start"),
    ],
)
def test_mistakes(name: str, number: int, sentence: str, near: Namespace) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(DeviceError, match=sentence) as caught:
        opened(near, name)
    assert caught.value.errno == number
    assert near.links() == ["lo", "veth0"] and len(os.listdir("/proc/self/fd")) <= before + 1


def test_an_mtu_is_taken_as_asked_or_refused(near: Namespace) -> None:
    """net_tap of DPDK 22.11 refuses 9000, that of 24.11 takes it: never something between."""
    try:
        device = opened(near, "net_tap0,iface=dtap0?mtu=9000")
    except DeviceError as refused:
        assert refused.errno == errno.EINVAL and "9000" in str(refused)
        return
    with device, far_socket(near, "dtap0") as raw:
        near.run(["ip", "link", "set", "dtap0", "mtu", "9000"])
        assert device.mtu == 9000 and device.tx([frame(1, 9014)]) == 1
        assert raw.recv(10_000) == frame(1, 9014)


def test_an_interface_that_is_down(near: Namespace) -> None:
    near.run(["ip", "link", "set", "veth0", "down"])
    with pytest.raises(DeviceError, match="is down: bring it up") as caught:
        opened(near, "net_af_packet0,iface=veth0")
    assert caught.value.errno == errno.ENETDOWN


def test_a_forked_child_may_not_use_it(near: Namespace) -> None:
    with open_device("dpdk:net_ring0") as device:
        child = os.fork()
        if not child:
            code = 1
            try:
                open_device("dpdk:net_ring1")
            except DeviceError as error:
                code = 0 if "not in a forked child" in str(error) else 2
            device.close()
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert device.tx([frame(1)]) == 1 and received(device, 1) == [frame(1)]


def test_unfinished_checksums_of_a_sender_on_this_machine_are_told(
    near: Namespace, veth_pair: tuple[Namespace, Namespace], caplog: pytest.LogCaptureFixture
) -> None:
    """net_af_packet does not pass on what the kernel knows: connections would hang without a word."""
    device = opened(near, "net_af_packet0,iface=veth0")
    with barewire.Stack(device, addresses=["198.18.0.3/24"]) as stack:
        with veth_pair[1].socket() as client:
            client.setblocking(False)
            assert client.connect_ex(("198.18.0.3", 80)) == errno.EINPROGRESS
            until(lambda: stack.counters()["drop_tcp_checksum_unfinished"], "the SYN is dropped")
            until(lambda: caplog.records, "it is told")
    [record] = caplog.records
    assert "run `ethtool -K PEER tx off`" in record.message


def test_the_kind_is_available() -> None:
    assert [info.reason for info in available() if info.kind == "dpdk"] == [""]


def test_the_namespace_of_an_option(near: Namespace) -> None:
    path = f"/proc/{os.getpid()}/fd/{near.fd}"
    with open_device(f"dpdk:net_tap0,iface=dtap0?netns={path}") as device:
        assert "dtap0" in near.links() and device.name == "net_tap0"
    assert near.links() == ["lo", "veth0"]
