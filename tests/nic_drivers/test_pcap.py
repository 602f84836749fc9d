"""pcap: what scapy reads back is what passed."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import pytest
from barewire.nic_drivers import DeviceError, TxFrame, open_device, pipe_pair, with_pcap
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import RawPcapReader, rdpcap

WALL = 1_700_000_000_000_000_000


def records(path: Path) -> list[tuple[int, bytes, int]]:
    """(nanoseconds, kept bytes, original length) of each record."""
    with RawPcapReader(str(path)) as reader:
        assert reader.nano
        return [(m.sec * 10**9 + m.usec, data, m.wirelen) for data, m in reader]


def datagram(payload: bytes) -> bytes:
    head = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    return bytes(head / IP(src="198.18.0.1", dst="198.18.0.2") / UDP(sport=1, dport=2) / payload)


def test_both_directions_with_their_times(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    a, b = pipe_pair()
    with with_pcap(a, path, wall_offset=WALL) as device, b:
        device.tx([datagram(b"one"), datagram(b"two")], 5)
        b.send(datagram(b"three"))
        assert device.recv(1_999_999_999) == datagram(b"three")
    assert records(path) == [
        (WALL + 5, datagram(b"one"), len(datagram(b"one"))),
        (WALL + 5, datagram(b"two"), len(datagram(b"two"))),
        (WALL + 1_999_999_999, datagram(b"three"), len(datagram(b"three"))),
    ]
    assert [bytes(p[UDP].payload) for p in rdpcap(str(path))] == [b"one", b"two", b"three"]
    assert device.counters["pcap.frames"] == 3
    assert device.counters["pcap.bytes"] + 24 == path.stat().st_size


def test_header_and_link_types(tmp_path: Path) -> None:
    for layer, linktype in ((2, 1), (3, 101)):
        path = tmp_path / f"{layer}.pcap"
        a, b = pipe_pair(layer)
        with_pcap(a, path).close()
        b.close()
        assert struct.unpack("=IHHIIII", path.read_bytes()) == (
            0xA1B23C4D, 2, 4, 0, int.from_bytes(b"bare", "little"), 262144, linktype,
        )  # fmt: skip
    path = tmp_path / "ip.pcap"
    a, b = pipe_pair(3)
    with with_pcap(a, path) as device, b:
        device.send(bytes(IP(src="198.18.0.1", dst="198.18.0.2") / TCP(sport=80)))
    assert rdpcap(str(path))[0][TCP].sport == 80


def test_checksums_of_sent_frames_are_finished(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    right = datagram(b"payload")
    # What is left to the device: the pseudo-header's sum in the checksum field.
    pseudo = sum(struct.unpack("!4H", right[26:34])) + 17 + len(right) - 34
    pseudo = (pseudo & 0xFFFF) + (pseudo >> 16)
    partial = right[:40] + struct.pack("!H", pseudo) + right[42:]
    a, b = pipe_pair()
    with with_pcap(a, path) as device, b:
        device.tx([TxFrame([partial[:42], partial[42:]], csum_start=34, csum_offset=6)])
        assert b.recv() == right
    assert records(path)[0][1] == right


def test_only_accepted_frames_are_written(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    a, b = pipe_pair(ring=2)
    with with_pcap(a, path) as device, b:
        assert device.tx([datagram(bytes([i])) for i in range(5)]) == 2
    assert len(records(path)) == 2


def test_snaplen_keeps_the_beginning_and_the_length(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    a, b = pipe_pair()
    with with_pcap(a, path, snaplen=60) as device, b:
        device.tx([datagram(b"x" * 1000), b"short"])
        assert b.recv() == datagram(b"x" * 1000)
    assert [(data, length) for _, data, length in records(path)] == [
        (datagram(b"x" * 1000)[:60], 1042),
        (b"short", 5),
    ]


def test_the_file_has_a_bound(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    a, b = pipe_pair()
    with with_pcap(a, path, max_bytes=24 + 3 * 116) as device, b:
        assert device.tx([b"x" * 100] * 10) == 10
        assert len(b.rx()) == 10, "traffic goes on"
        assert device.counters["pcap.skipped"] == 7
    assert path.stat().st_size == 24 + 3 * 116


def test_more_than_the_buffer(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    a, b = pipe_pair()
    with with_pcap(a, path) as device, b:
        for i in range(1000):
            device.tx([bytes([i & 255]) * 1500], i)
            b.recv()
    found = records(path)
    assert len(found) == 1000
    assert all(data == bytes([i & 255]) * 1500 for i, (_, data, _) in enumerate(found))


def test_it_is_written_at_a_sleep_once_a_second(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    a, b = pipe_pair()
    with with_pcap(a, path) as device, b:
        sizes = []
        for now in (0, 1, 999_999_999, 1_000_000_000):
            device.tx([b"x" * 60], now)
            device.arm(now)
            sizes.append(path.stat().st_size)
        assert sizes == [100, 100, 100, 328]


def test_a_disk_that_is_full_does_no_harm() -> None:
    a, b = pipe_pair()
    with with_pcap(a, "/dev/full") as device, b:
        device.tx([b"x" * 60], 0)
        device.arm(0)
        assert device.tx([b"y" * 60], 1) == 1
        assert [f.data[:1] for f in b.rx()] == [b"x", b"y"]
        assert device.counters["pcap.failed"] == 1


def test_a_forked_child_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    a, b = pipe_pair()
    with with_pcap(a, path) as device, b:
        device.tx([b"x" * 60], 0)
        child = os.fork()
        if not child:
            device.close()
            os._exit(0)
        os.waitpid(child, 0)
        assert path.stat().st_size == 0
    assert path.stat().st_size == 100


def test_by_name_outside_the_faults(tmp_path: Path) -> None:
    path = tmp_path / "with space & more.pcap"
    name = str(path).replace("&", "%26")
    a = open_device(f"pipe:pcap-by-name?pcap={name}&loss=1&snaplen=30")
    b = open_device("pipe:pcap-by-name")
    with a, b:
        a.send(b"x" * 60)
        assert b.recv() is None, "lost after it was captured"
    assert records(path)[0][1:] == (b"x" * 30, 60)


def test_a_path_that_cannot_be_written(tmp_path: Path) -> None:
    a, b = pipe_pair()
    with a, b:
        with pytest.raises(DeviceError, match=r"cannot write the capture .*: No such file"):
            with_pcap(a, tmp_path / "no" / "x.pcap")
        with pytest.raises(DeviceError, match="snaplen"):
            with_pcap(a, tmp_path / "x", snaplen=0)
        assert a.send(b"x" * 60) and b.recv() == b"x" * 60


# ---- the file ------------------------------------------------------------------------------------


def captures(path: Path) -> None:
    near, far = pipe_pair()
    with far, near:
        with_pcap(near, path).close()


def test_an_earlier_capture_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    a, b = pipe_pair()
    with b, with_pcap(a, path) as device:
        device.tx([datagram(b"one")])
    captures(path)
    assert records(path) == []
    path.write_bytes(b"")
    captures(path)
    assert path.stat().st_size == 24


@pytest.mark.parametrize("content", [b"precious", b"\x4d\x3c\xb2\xa1" + bytes(20)])
def test_no_other_file_is_touched(tmp_path: Path, content: bytes) -> None:
    """Somebody else's capture neither."""
    path = tmp_path / "notes"
    path.write_bytes(content)
    with pytest.raises(DeviceError, match="no capture of barewire's: give another name") as caught:
        captures(path)
    assert caught.value.errno == errno.EEXIST
    assert path.read_bytes() == content


def test_no_link_is_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    for exists in (False, True):
        link = tmp_path / f"link{exists}"
        link.symlink_to(target)
        if exists:
            target.write_bytes(b"")
        with pytest.raises(DeviceError, match="symbolic link") as caught:
            captures(link)
        assert caught.value.errno == errno.ELOOP
        assert target.exists() == exists
    os.link(target, tmp_path / "hard")
    with pytest.raises(DeviceError, match="another name"):
        captures(tmp_path / "hard")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="cannot write the capture"):
        captures(tmp_path)


def test_a_reader_at_a_fifo(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    captures(path)
    assert len(os.read(reader, 100)) == 24
    os.close(reader)
