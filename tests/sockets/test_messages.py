"""sendmsg, recvmsg and recvmsg_into with control messages. Both networks."""

from __future__ import annotations

import errno
import resource
import socket
import struct
import subprocess
import sys
import time
from typing import Any

import pytest

from tests.sockets.kit import LOCAL, PATIENCE, Barewire, Kernel, Network

IP, UDP, SOCKET = socket.IPPROTO_IP, socket.IPPROTO_UDP, socket.SOL_SOCKET
IP_PKTINFO, IP_RECVTTL, IP_RECVTOS, IP_RECVORIGDSTADDR = 8, 12, 13, 20
UDP_SEGMENT, UDP_GRO = 103, 104
SO_TIMESTAMP, SO_TIMESTAMPNS = 29, 35
ROOM = 512
INT = struct.Struct("i")
TTL, TOS = (IP, socket.IP_TTL, INT.pack(64)), (IP, socket.IP_TOS, b"\0")
OPTIONS = [
    (IP, IP_PKTINFO),
    (IP, IP_RECVTTL),
    (IP, IP_RECVTOS),
    (IP, IP_RECVORIGDSTADDR),
    (UDP, UDP_GRO),
]
SECOND = "127.0.0.2"


def info(ifindex: int, source: str, dst: str = "0.0.0.0") -> bytes:
    return INT.pack(ifindex) + socket.inet_aton(source) + socket.inet_aton(dst)


class Messages(Network):
    def ends(self, *options: tuple[int, int]) -> tuple[Any, Any]:
        """A sender that is connected to a receiver with these options on."""
        other, one = self.datagram(), self.datagram()
        for level, name in options:
            other.setsockopt(level, name, 1)
        one.connect(other.getsockname())
        return one, other

    def refused(self, number: int, sock: Any, *ancdata: tuple[int, int, bytes]) -> None:
        with pytest.raises(OSError) as caught:
            sock.sendmsg([b"x"], list(ancdata))
        assert caught.value.errno == number, ancdata

    @pytest.mark.parametrize("option", OPTIONS)
    def test_options_are_kept(self, option: tuple[int, int]) -> None:
        sock = self.datagram()
        assert sock.getsockopt(*option) == 0
        sock.setsockopt(*option, 7)
        assert sock.getsockopt(*option) == 1
        sock.setsockopt(*option, 0)
        assert sock.getsockopt(*option) == 0

    def test_nothing_is_told_unasked(self) -> None:
        one, other = self.ends()
        assert one.sendmsg([b"ab", b"", b"cd"]) == 4
        assert other.recvmsg(10, ROOM) == (b"abcd", [], 0, one.getsockname())

    def test_ttl_and_tos_of_a_datagram(self) -> None:
        one, other = self.ends((IP, IP_RECVTTL), (IP, IP_RECVTOS))
        one.send(b"x")
        assert other.recvmsg(10, ROOM) == (b"x", [TTL, TOS], 0, one.getsockname())
        one.setsockopt(IP, socket.IP_TTL, 9)
        one.setsockopt(IP, socket.IP_TOS, 0x28)
        one.send(b"y")
        records = [(IP, socket.IP_TTL, INT.pack(9)), (IP, socket.IP_TOS, b"\x28")]
        assert other.recvmsg(10, ROOM) == (b"y", records, 0, one.getsockname())

    def test_a_message_has_a_ttl_and_tos_of_its_own(self) -> None:
        one, other = self.ends((IP, IP_RECVTTL), (IP, IP_RECVTOS))
        ttl = (IP, socket.IP_TTL, INT.pack(3))
        for tos in (b"\x10", INT.pack(0x10)):
            assert one.sendmsg([b"x"], [ttl, (IP, socket.IP_TOS, tos)]) == 1
            records = other.recvmsg(10, ROOM)[1]
            assert records == [ttl, (IP, socket.IP_TOS, b"\x10")]
        one.send(b"y")
        assert other.recvmsg(10, ROOM)[1] == [TTL, TOS]

    def test_where_a_datagram_came_in(self) -> None:
        one, other = self.datagram(), self.datagram(bound=False)
        other.bind(("", 0))
        for option in (IP_PKTINFO, IP_RECVORIGDSTADDR):
            other.setsockopt(IP, option, 1)
        port = other.getsockname()[1]
        one.sendto(b"x", (SECOND, port))
        (_, kind, told), name = other.recvmsg(10, ROOM)[1]
        assert kind == IP_PKTINFO and INT.unpack(told[:4])[0] > 0
        assert told[4:] == socket.inet_aton(SECOND) * 2
        where = struct.pack("=H", socket.AF_INET) + struct.pack("!H", port)
        where += socket.inet_aton(SECOND) + bytes(8)
        assert name == (IP, IP_RECVORIGDSTADDR, where)

    def test_a_message_names_its_source(self) -> None:
        """IP_PKTINFO: also of a socket that has no name yet, which keeps none of it."""
        other, one = self.datagram(), self.datagram(bound=False)
        source = (IP, IP_PKTINFO, info(0, SECOND))
        assert one.sendmsg([b"x"], [source], 0, other.getsockname()) == 1
        port = one.getsockname()[1]
        assert one.getsockname()[0] == "0.0.0.0"
        assert other.recvmsg(10)[3] == (SECOND, port)
        assert one.sendto(b"y", other.getsockname()) == 1
        assert other.recvmsg(10)[3] == (LOCAL, port)

    def test_the_echo_of_a_packet_info(self) -> None:
        """What came is what an answer is sent by: the same interface, from where it was sent to."""
        one, other = self.datagram(), self.datagram(bound=False)
        other.bind(("", 0))
        other.setsockopt(IP, IP_PKTINFO, 1)
        one.sendto(b"x", (SECOND, other.getsockname()[1]))
        data, records, _, sender = other.recvmsg(10, ROOM)
        other.sendmsg([data], records, 0, sender)
        assert one.recvmsg(10)[3] == (SECOND, other.getsockname()[1])

    def test_what_is_no_control_message(self) -> None:
        one, other = self.ends((IP, IP_RECVTTL))
        for value in (0, 256, -1):
            self.refused(errno.EINVAL, one, (IP, socket.IP_TTL, INT.pack(value)))
        self.refused(errno.EINVAL, one, (IP, socket.IP_TTL, b"\x40"))
        self.refused(errno.EINVAL, one, (IP, socket.IP_TOS, INT.pack(256)))
        self.refused(errno.EINVAL, one, (IP, socket.IP_TOS, b"ab"))
        self.refused(errno.EINVAL, one, (IP, IP_PKTINFO, b"short"))
        self.refused(errno.ENETUNREACH, one, (IP, IP_PKTINFO, info(0, "192.0.2.77")))
        for group in ("224.0.0.1", "255.255.255.255"):
            self.refused(errno.EINVAL, one, (IP, IP_PKTINFO, info(0, group)))
        self.refused(errno.ENODEV, one, (IP, IP_PKTINFO, info(9999, "0.0.0.0")))
        self.refused(errno.EINVAL, one, (IP, 250, b"1234"))
        self.refused(errno.EINVAL, one, (SOCKET, 250, b"1234"))
        self.refused(errno.EINVAL, one, (UDP, 250, b"1234"))
        self.refused(errno.EINVAL, one, (UDP, UDP_SEGMENT, INT.pack(4)))
        self.refused(errno.EDESTADDRREQ, self.datagram(), (IP, 250, b"1234"))
        assert one.sendmsg([b"x"], [(250, 1, b"of nobody"), (SOCKET, 1, INT.pack(0))]) == 1
        assert other.recvmsg(10, ROOM)[1] == [TTL]

    def test_arguments(self) -> None:
        one, _ = self.ends()
        for ancdata in (5, [5], [(1, 2)], [(1, 2, "text")], [("a", 2, b"")]):
            with pytest.raises(TypeError):
                one.sendmsg([b"x"], ancdata)
        for number in (2**31, -(2**31) - 1, 2**70):
            for ancdata in ([(number, 1, b"")], [(1, number, b"")]):
                with pytest.raises(OverflowError):
                    one.sendmsg([b"x"], ancdata)
        with pytest.raises(ValueError):
            one.recvmsg(1, -1)

    def test_control_messages_are_cut_to_the_byte(self) -> None:
        """With room for each number of bytes: what is told, and MSG_CTRUNC."""
        options = (IP, IP_PKTINFO), (IP, IP_RECVTTL), (IP, IP_RECVTOS)
        one, other = self.ends(*options)
        one.send(b"x")
        whole = other.recvmsg(10, ROOM, self.socket.MSG_PEEK)[1]
        sizes = []
        for room in range(84):
            _, records, flags, _ = other.recvmsg(10, room, self.socket.MSG_PEEK)
            assert flags == (0 if room >= 73 else self.socket.MSG_CTRUNC), room
            at = [0, 32, 56]
            assert records == [
                (level, kind, data[: max(room - start - 16, 0)])
                for (level, kind, data), start in zip(whole, at, strict=True)
                if room - start >= 16
            ], room
            sizes.append(sum(len(data) for _, _, data in records))
        assert sizes[-1] == 12 + 4 + 1

    def test_a_datagram_and_its_control_messages_are_cut(self) -> None:
        s = self.socket
        one, other = self.ends((IP, IP_RECVTTL))
        one.send(b"0123456789")
        buffers = [bytearray(3), bytearray(2)]
        sender = one.getsockname()
        both = s.MSG_TRUNC | s.MSG_CTRUNC
        assert other.recvmsg_into(buffers, 4, s.MSG_PEEK) == (5, [], both, sender)
        assert buffers == [b"012", b"34"]
        assert other.recvmsg(4, ROOM, s.MSG_TRUNC) == (b"0123", [TTL], s.MSG_TRUNC, sender)
        other.settimeout(0)
        with pytest.raises(BlockingIOError):
            other.recvmsg(4, ROOM)

    @pytest.mark.parametrize("size", [SO_TIMESTAMP, SO_TIMESTAMPNS])
    def test_when_it_came(self, size: int) -> None:
        """By the wall clock, as programs compare it with time.time()."""
        one, other = self.ends((SOCKET, size))
        before = time.time()
        one.send(b"x")
        one.send(b"y")
        times = []
        for _ in range(2):
            [(level, kind, data)] = other.recvmsg(10, ROOM)[1]
            assert (level, kind, len(data)) == (SOCKET, size, 16)
            seconds, parts = struct.unpack("qq", data)
            assert 0 <= parts < (10**6 if size == SO_TIMESTAMP else 10**9)
            times.append((seconds, parts))
        assert times == sorted(times)
        assert int(before) - 1 <= times[0][0] <= times[1][0] <= time.time() + 1

    def test_one_message_is_several_datagrams(self) -> None:
        one, other = self.ends()
        segment = (UDP, UDP_SEGMENT, struct.pack("=H", 4))
        assert one.sendmsg([b"0123", b"456789"], [segment]) == 10
        assert [other.recv(100) for _ in range(3)] == [b"0123", b"4567", b"89"]
        assert one.sendmsg([b"0123456789"]) == 10
        assert other.recv(100) == b"0123456789"

    def test_several_datagrams_are_one_message(self) -> None:
        """UDP_GRO with UDP_SEGMENT: how long each of them was stands beside it, unless it is one."""
        one, other = self.ends((UDP, UDP_GRO))
        one.setsockopt(UDP, UDP_SEGMENT, 4)
        one.send(b"0123456789")
        assert other.recvmsg(100, ROOM)[:2] == (b"0123456789", [(UDP, UDP_GRO, INT.pack(4))])
        one.send(b"0123")
        assert other.recvmsg(100, ROOM)[:2] == (b"0123", [])

    def test_the_end_has_no_sender(self) -> None:
        one, _ = self.ends()
        one.shutdown(self.socket.SHUT_RD)
        one.settimeout(None)
        assert one.recvmsg(10, ROOM) == (b"", [], 0, None)

    def test_a_stream_has_no_use_for_them(self) -> None:
        one, other = self.pair()
        assert one.sendmsg([b"ab", b"cd"], [(IP, 250, b"1234"), (SOCKET, 1, INT.pack(0))]) == 4
        assert other.recvmsg(10, ROOM) == (b"abcd", [], 0, None)
        self.refused(errno.EINVAL, one, (SOCKET, 250, b"1234"))
        data = bytes(range(256)) * 1024
        one.settimeout(0)
        sent = one.sendmsg([data[:100], data[100:]])
        assert 0 < sent <= len(data)
        got = b""
        while len(got) < sent:
            got += other.recvmsg(len(data))[0]
        assert got == data[:sent]

    def test_a_listeners_child_has_its_options(self) -> None:
        listener = self.stream()
        for option in OPTIONS[:4]:
            listener.setsockopt(*option, 1)
        listener.bind((LOCAL, 0))
        listener.listen()
        one = self.stream()
        one.connect(listener.getsockname())
        other = self.keep(listener.accept()[0])
        assert [other.getsockopt(*option) for option in OPTIONS[:4]] == [1] * 4

    def test_an_error_ends_it(self) -> None:
        one = self.datagram()
        one.connect((LOCAL, self.unused_port()))
        one.sendmsg([b"x"], [(IP, socket.IP_TTL, INT.pack(3))])
        with pytest.raises(ConnectionRefusedError):
            one.recvmsg(10, ROOM)


class TestKernel(Messages, Kernel):
    pass


SMALL_THREAD = """
import threading
import barewire, barewire.socket as sockets
with barewire.Stack():
    sock = sockets.socket(sockets.AF_INET, sockets.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    threading.stack_size(65536)
    pieces = [b"a", b"b"]
    thread = threading.Thread(target=sock.sendmsg, args=(pieces, [], 0, sock.getsockname()))
    other = threading.Thread(target=lambda: sock.connect(sock.getsockname()) or sock.sendmsg(pieces))
    for each in (thread, other):
        each.start()
        each.join()
    print(sock.recv(10), sock.recv(10))
"""


class TestBarewire(Messages, Barewire):
    def test_a_thread_with_a_small_stack_sends_pieces(self) -> None:
        """64 KiB of them may be gathered, which such a stack has no room for."""
        run = [sys.executable, "-c", SMALL_THREAD]
        assert subprocess.run(run, capture_output=True, text=True, timeout=PATIENCE).stdout == (
            "b'ab' b'ab'\n"
        )

    def test_room_that_nothing_fills_is_not_taken(self) -> None:
        one, other = self.ends((IP, IP_RECVTTL))
        one.send(b"x")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert other.recvmsg(10, 2**31 - 1) == (b"x", [TTL], 0, one.getsockname())
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024
