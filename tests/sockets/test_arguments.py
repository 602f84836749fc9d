"""Wrong arguments, and options, get the standard module's answers, word for word.

Each line is evaluated twice, with the kernel's `socket` and with barewire's; `s` is a fresh TCP
socket, `u` a UDP one, `c` a closed one, all with a short timeout.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import Any

import barewire
import barewire.socket
import pytest

from tests.sockets.kit import outcome, own_default_stack

LINES = """
s.connect(("127.0.0.1",))
s.connect(["127.0.0.1", 1])
s.connect("127.0.0.1")
s.connect(("127.0.0.1", 1, 2))
s.connect((3, 4))
s.connect((None, 4))
s.connect(("127.0.0.1", "x"))
s.connect(("127.0.0.1", 1.0))
s.connect(("127.0.0.1", 70000))
s.connect(("127.0.0.1", -1))
s.connect(("127.0.0.1", 1 << 70))
s.connect(("a\\0b", 9))
s.connect(("256.1.1.1", 9))
s.connect_ex(("127.0.0.1", 70000))
s.bind(("127.0.0.1",))
s.bind(("", 70000))
s.bind(None)
s.bind(("192.0.2.1", 0))
s.bind(("127.0.0.1", 0))
s.bind((b"127.0.0.1", 0))
s.bind((bytearray(b"127.0.0.1"), True - 1))
u.connect(("127.1", 9))
u.connect((b"127.0.0.1", 9))
u.connect(("LOCALHOST", 9))
u.sendto(b"x")
u.sendto(b"x", 0, 0, 0)
u.sendto("x", ("127.0.0.1", 1))
u.sendto(b"x", ("127.0.0.1",))
u.sendto(b"x", 0, "127.0.0.1")
s.send("x")
s.send(7)
s.sendall("x")
s.sendall(None)
s.sendmsg(b"x" for _ in ())
s.sendmsg(5)
s.recv(-1)
s.recv(0)
u.recvfrom(-1)
s.recv_into(b"abc")
s.recv_into("abc")
s.recv_into(bytearray(3), -1)
s.recv_into(bytearray(3), 4)
s.recv_into(bytearray(0))
u.recvfrom_into(bytearray(3), 4)
u.recvfrom_into(bytearray(3), -1)
u.recvfrom_into(b"abc")
u.recvmsg(-1)
u.recvmsg(1, -1)
u.recvmsg_into(5)
s.settimeout("x")
s.settimeout(-1)
s.settimeout(float("nan"))
s.setblocking("x")
s.settimeout(3) or s.gettimeout(), s.getblocking()
s.settimeout(0) or s.gettimeout(), s.getblocking()
s.settimeout(None) or s.gettimeout(), s.getblocking()
s.setblocking(False) or s.gettimeout()
s.setblocking(True) or s.gettimeout()
module.setdefaulttimeout(-1)
module.setdefaulttimeout("x")
s.listen("x")
s.listen(-5)
s.listen(0)
s.listen() or s.getsockopt(SOL_SOCKET, SO_ACCEPTCONN)
s.shutdown(5)
s.shutdown(SHUT_RDWR)
u.shutdown(5)
u.shutdown(SHUT_RDWR)
s.getpeername()
u.getpeername()
s.accept()
u.listen()
s.makefile("x")
u.sendfile(open("/dev/null", "rb"))
s.sendfile(open("/dev/null"))
s.sendfile(open("/dev/null", "rb"), 0, -1)
s.sendfile(open("/dev/null", "rb"), 0, "x")
s.__getstate__()
c.recv(1)
c.recvfrom(1)
c.recv_into(bytearray(1))
c.send(b"x")
c.sendall(b"x")
c.sendto(b"x", ("127.0.0.1", 1))
c.bind(("127.0.0.1", 0))
c.bind(("", 70000))
c.connect(("127.0.0.1", 1))
c.connect_ex(("127.0.0.1", 1))
c.getsockname()
c.getpeername()
c.settimeout(3)
c.gettimeout()
c.setblocking(True)
c.listen()
c.accept()
c.shutdown(SHUT_RDWR)
c.detach()
c.fileno()
c.close()
c.getsockopt(SOL_SOCKET, SO_TYPE)
c.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
c.setsockopt(99, 1, 1)
module.socket(AF_INET, SOCK_STREAM, IPPROTO_UDP).close()
module.socket(AF_INET, SOCK_STREAM, 132).close()
module.socket(AF_INET, SOCK_STREAM, IPPROTO_TCP).close()
module.socket(AF_INET, 77).close()
module.socket(AF_INET, 11).close()
module.socket(AF_INET, 0).close()
module.socket(999).close()
module.socket("x").close()
module.socket(AF_INET, "x").close()
module.socket(AF_INET, SOCK_DGRAM, "x").close()
module.socket(fileno=-1)
module.socket(fileno="x")
module.socket(fileno=99999)
s.getsockopt(SOL_SOCKET, SO_TYPE), u.getsockopt(SOL_SOCKET, SO_TYPE)
s.getsockopt(SOL_SOCKET, SO_PROTOCOL), u.getsockopt(SOL_SOCKET, SO_PROTOCOL)
s.getsockopt(SOL_SOCKET, SO_DOMAIN)
s.getsockopt(SOL_SOCKET, SO_ERROR)
s.getsockopt(SOL_SOCKET, SO_ERROR, 8)
s.getsockopt(SOL_SOCKET, SO_ERROR, 2)
s.getsockopt(SOL_SOCKET, SO_ERROR, 0)
s.getsockopt(SOL_SOCKET, SO_ERROR, 2000)
s.getsockopt(SOL_SOCKET, SO_ERROR, -1)
s.getsockopt(SOL_SOCKET, SO_ACCEPTCONN), u.getsockopt(SOL_SOCKET, SO_ACCEPTCONN)
s.getsockopt(SOL_SOCKET, SO_LINGER)
s.getsockopt(SOL_SOCKET, SO_LINGER, 8)
s.setsockopt(SOL_SOCKET, SO_LINGER, linger(1, 5)) or s.getsockopt(SOL_SOCKET, SO_LINGER, 8)
s.setsockopt(SOL_SOCKET, SO_LINGER, linger(1, 0)) or s.getsockopt(SOL_SOCKET, SO_LINGER, 8)
s.setsockopt(SOL_SOCKET, SO_LINGER, linger(1, -1)) or s.getsockopt(SOL_SOCKET, SO_LINGER, 4)
s.setsockopt(SOL_SOCKET, SO_LINGER, linger(1, -1)) or s.getsockopt(SOL_SOCKET, SO_LINGER, 8)[7] >> 7
s.setsockopt(SOL_SOCKET, SO_LINGER, linger(1, 70000)) or s.getsockopt(SOL_SOCKET, SO_LINGER, 8)
s.setsockopt(SOL_SOCKET, SO_LINGER, linger(1, 2**31 - 1)) or s.getsockopt(SOL_SOCKET, SO_LINGER, 8)
s.setsockopt(SOL_SOCKET, SO_LINGER, linger(-1, 3)) or s.getsockopt(SOL_SOCKET, SO_LINGER, 8)
s.setsockopt(SOL_SOCKET, SO_LINGER, linger(0, 0)) or s.getsockopt(SOL_SOCKET, SO_LINGER, 8)
s.setsockopt(SOL_SOCKET, SO_LINGER, 1)
s.getsockopt(SOL_SOCKET, SO_RCVTIMEO, 16), s.getsockopt(SOL_SOCKET, SO_SNDTIMEO, 16)
s.getsockopt(SOL_SOCKET, SO_RCVTIMEO), u.getsockopt(SOL_SOCKET, SO_SNDTIMEO, 8)
s.setsockopt(SOL_SOCKET, SO_RCVTIMEO, timeval(1, 500000)) or s.getsockopt(SOL_SOCKET, SO_RCVTIMEO, 16)
s.setsockopt(SOL_SOCKET, SO_SNDTIMEO, timeval(2, 999999)) or s.getsockopt(SOL_SOCKET, SO_SNDTIMEO, 16)
s.setsockopt(SOL_SOCKET, SO_SNDTIMEO, timeval(2, 0) + b"x") or s.getsockopt(SOL_SOCKET, SO_SNDTIMEO)
u.setsockopt(SOL_SOCKET, SO_RCVTIMEO, timeval(-1, 0)) or u.getsockopt(SOL_SOCKET, SO_RCVTIMEO, 16)
u.setsockopt(SOL_SOCKET, SO_RCVTIMEO, timeval(2**62, 0)) or u.getsockopt(SOL_SOCKET, SO_RCVTIMEO, 16)
u.setsockopt(SOL_SOCKET, SO_RCVTIMEO, timeval(-9, 999999)) or u.recv(5)
s.setsockopt(SOL_SOCKET, SO_RCVTIMEO, timeval(0, 1000000))
s.setsockopt(SOL_SOCKET, SO_RCVTIMEO, timeval(0, -1))
s.setsockopt(SOL_SOCKET, SO_SNDTIMEO, 5)
s.setsockopt(SOL_SOCKET, SO_SNDTIMEO, b"12345678")
u.setsockopt(SOL_SOCKET, SO_PRIORITY, 5) or u.getsockopt(SOL_SOCKET, SO_PRIORITY)
u.setsockopt(SOL_SOCKET, SO_PRIORITY, b"12")
s.getsockopt(SOL_SOCKET, SO_PRIORITY), s.getsockopt(SOL_SOCKET, SO_PRIORITY, 2)
u.setsockopt(IPPROTO_IP, IP_TOS, 0x10) or u.getsockopt(SOL_SOCKET, SO_PRIORITY)
[u.setsockopt(IPPROTO_IP, IP_TOS, t) or u.getsockopt(SOL_SOCKET, SO_PRIORITY) for t in range(256)]
[s.setsockopt(IPPROTO_IP, IP_TOS, t) or s.getsockopt(SOL_SOCKET, SO_PRIORITY) for t in range(256)]
[s.setsockopt(IPPROTO_IP, IP_TOS, t) or s.getsockopt(IPPROTO_IP, IP_TOS) for t in range(256)]
[u.setsockopt(IPPROTO_IP, IP_TOS, t) or u.getsockopt(IPPROTO_IP, IP_TOS) for t in range(256)]
u.connect(("0.0.0.0", 9)) or u.getpeername()
u.bind(("127.0.0.1", 0)) or u.sendto(b"x", ("0.0.0.0", u.getsockname()[1])) and u.recv(9)
s.connect(("0.0.0.0", 1))
u.getsockopt(SOL_SOCKET, 35), u.getsockopt(SOL_SOCKET, 29), s.getsockopt(SOL_SOCKET, 35)
u.setsockopt(SOL_SOCKET, 35, 5) or (u.getsockopt(SOL_SOCKET, 35), u.getsockopt(SOL_SOCKET, 29))
u.setsockopt(SOL_SOCKET, 29, 1) or (u.getsockopt(SOL_SOCKET, 35), u.getsockopt(SOL_SOCKET, 29))
[u.setsockopt(SOL_SOCKET, o, v) or u.getsockopt(SOL_SOCKET, 35) for o, v in ((29, 1), (35, 1), (35, 0))]
[u.setsockopt(SOL_SOCKET, o, v) or u.getsockopt(SOL_SOCKET, 29) for o, v in ((29, 1), (35, 0), (35, 1))]
s.setsockopt(SOL_SOCKET, 35, b"12")
s.getsockopt(IPPROTO_IP, 14)
u.getsockopt(IPPROTO_IP, 14)
u.setsockopt(IPPROTO_IP, 14, 1500)
u.connect(("127.0.0.1", 9)) or u.getsockopt(IPPROTO_IP, 14)
s.getsockopt(SOL_SOCKET, 47), s.getsockopt(SOL_SOCKET, 47, 8), s.getsockopt(SOL_SOCKET, 47, 4)
s.setsockopt(SOL_SOCKET, 47, 1000) or s.getsockopt(SOL_SOCKET, 47)
s.setsockopt(SOL_SOCKET, 47, b"\0" * 5 + b"\1\0\0") or s.getsockopt(SOL_SOCKET, 47, 8)
s.setsockopt(SOL_SOCKET, 47, b"\xff" * 4) or s.getsockopt(SOL_SOCKET, 47, 8)
s.setsockopt(SOL_SOCKET, 47, -1) or s.getsockopt(SOL_SOCKET, 47)
s.setsockopt(SOL_SOCKET, 47, b"ab")
s.setsockopt(SOL_SOCKET, SO_REUSEADDR, 5) or s.getsockopt(SOL_SOCKET, SO_REUSEADDR)
s.setsockopt(SOL_SOCKET, SO_REUSEADDR, b"\\1\\0\\0\\0") or s.getsockopt(SOL_SOCKET, SO_REUSEADDR, 4)
s.setsockopt(SOL_SOCKET, SO_REUSEADDR, b"\\1")
s.setsockopt(SOL_SOCKET, SO_REUSEADDR, b"")
s.setsockopt(SOL_SOCKET, SO_REUSEADDR, "x")
s.setsockopt(SOL_SOCKET, SO_REUSEADDR, None)
s.setsockopt(SOL_SOCKET, SO_REUSEADDR, None, 4)
s.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1, 4)
s.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1 << 40)
s.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1) or s.getsockopt(SOL_SOCKET, SO_REUSEPORT)
s.getsockopt(SOL_SOCKET, SO_KEEPALIVE)
s.setsockopt(SOL_SOCKET, SO_KEEPALIVE, True) or s.getsockopt(SOL_SOCKET, SO_KEEPALIVE)
u.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 3) or u.getsockopt(SOL_SOCKET, SO_KEEPALIVE)
u.setsockopt(SOL_SOCKET, SO_OOBINLINE, 1) or u.getsockopt(SOL_SOCKET, SO_OOBINLINE)
u.setsockopt(SOL_SOCKET, SO_BROADCAST, 1) or u.getsockopt(SOL_SOCKET, SO_BROADCAST)
u.setsockopt(SOL_SOCKET, SO_SNDBUF, 50000) or u.getsockopt(SOL_SOCKET, SO_SNDBUF)
u.setsockopt(SOL_SOCKET, SO_RCVBUF, 50000) or u.getsockopt(SOL_SOCKET, SO_RCVBUF)
s.setsockopt(SOL_SOCKET, SO_SNDBUF, 50000) or s.getsockopt(SOL_SOCKET, SO_SNDBUF)
s.setsockopt(SOL_SOCKET, SO_RCVBUF, 50000) or s.getsockopt(SOL_SOCKET, SO_RCVBUF)
s.getsockopt(SOL_SOCKET, 999)
s.setsockopt(SOL_SOCKET, 999, 1)
s.getsockopt(99, 1)
s.setsockopt(99, 1, 1)
u.getsockopt(IPPROTO_TCP, TCP_NODELAY)
u.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
s.getsockopt(SOL_SOCKET, SO_BINDTODEVICE, 16)
s.setsockopt(SOL_SOCKET, SO_BINDTODEVICE, b"nope")
s.setsockopt(SOL_SOCKET, SO_BINDTODEVICE, b"lo") or s.getsockopt(SOL_SOCKET, SO_BINDTODEVICE, 16)
s.getsockopt(IPPROTO_IP, IP_TTL), u.getsockopt(IPPROTO_IP, IP_TTL)
s.setsockopt(IPPROTO_IP, IP_TTL, 7) or s.getsockopt(IPPROTO_IP, IP_TTL)
s.setsockopt(IPPROTO_IP, IP_TTL, 0)
s.setsockopt(IPPROTO_IP, IP_TTL, 256)
s.setsockopt(IPPROTO_IP, IP_TTL, -1) or s.getsockopt(IPPROTO_IP, IP_TTL)
s.setsockopt(IPPROTO_IP, IP_TTL, b"\\x09") or s.getsockopt(IPPROTO_IP, IP_TTL)
u.setsockopt(IPPROTO_IP, IP_TOS, 0x10) or u.getsockopt(IPPROTO_IP, IP_TOS)
s.getsockopt(IPPROTO_IP, 10), u.getsockopt(IPPROTO_IP, 10)
u.setsockopt(IPPROTO_IP, 10, 2) or u.getsockopt(IPPROTO_IP, 10)
u.setsockopt(IPPROTO_IP, 10, 77)
u.setsockopt(IPPROTO_IP, 11, 1) or u.getsockopt(IPPROTO_IP, 11)
s.getsockopt(IPPROTO_TCP, TCP_NODELAY)
s.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1) or s.getsockopt(IPPROTO_TCP, TCP_NODELAY)
s.setsockopt(IPPROTO_TCP, TCP_CORK, 1) or s.getsockopt(IPPROTO_TCP, TCP_CORK)
s.getsockopt(IPPROTO_TCP, TCP_MAXSEG)
s.setsockopt(IPPROTO_TCP, TCP_MAXSEG, 40)
s.setsockopt(IPPROTO_TCP, TCP_KEEPIDLE, 11) or s.getsockopt(IPPROTO_TCP, TCP_KEEPIDLE)
s.setsockopt(IPPROTO_TCP, TCP_KEEPINTVL, 12) or s.getsockopt(IPPROTO_TCP, TCP_KEEPINTVL)
s.setsockopt(IPPROTO_TCP, TCP_KEEPCNT, 13) or s.getsockopt(IPPROTO_TCP, TCP_KEEPCNT)
s.setsockopt(IPPROTO_TCP, TCP_KEEPIDLE, 0)
s.setsockopt(IPPROTO_TCP, TCP_KEEPIDLE, 40000)
s.setsockopt(IPPROTO_TCP, TCP_KEEPCNT, 200)
s.setsockopt(IPPROTO_TCP, TCP_SYNCNT, 3) or s.getsockopt(IPPROTO_TCP, TCP_SYNCNT)
s.setsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT, 4321) or s.getsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT)
s.setsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT, -1)
s.setsockopt(IPPROTO_TCP, TCP_CONGESTION, b"nope")
s.setsockopt(IPPROTO_TCP, TCP_CONGESTION, b"cubic") or s.getsockopt(IPPROTO_TCP, TCP_CONGESTION, 16)
s.setsockopt(IPPROTO_TCP, TCP_CONGESTION, b"reno") or s.getsockopt(IPPROTO_TCP, TCP_CONGESTION)
s.getsockopt(IPPROTO_TCP, TCP_KEEPIDLE), s.getsockopt(IPPROTO_TCP, TCP_KEEPINTVL)
s.getsockopt(IPPROTO_TCP, TCP_DEFER_ACCEPT), s.getsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT)
s.getsockopt(IPPROTO_TCP, 99)
s.setsockopt(IPPROTO_TCP, 99, 1)
module.create_connection(("127.0.0.1", "nope"))
module.create_connection("x")
module.create_server("x")
module.fromfd(-1, AF_INET, SOCK_STREAM)
module.close(99999)
module.if_nametoindex("nope")
module.if_indextoname(99999)
module.if_indextoname(1), module.if_nametoindex("lo")
module.inet_aton("198.18.0.1"), module.htons(1), module.inet_pton(AF_INET6, "::1")
module.error is OSError, module.timeout is TimeoutError, module.SHUT_WR, module.SOMAXCONN
"""

# Only the kind of exception is the same: the words change with CPython's versions, are cffi's, or say what
# became of the question to a name server.
OTHER_WORDS = """
s.recv("x")
s.recv(1.5)
s.settimeout(float("inf"))
s.settimeout(1e300)
s.getsockopt(SOL_SOCKET, SO_ERROR, "x")
module.create_connection(("256.0.0.0", 80))
"""


@pytest.fixture(autouse=True)
def _stack() -> Iterator[None]:
    with own_default_stack():
        yield


UNKNOWN = (socket.gaierror, socket.EAI_NONAME, "[Errno -2] Name or service not known")


def evaluate(module: Any, line: str) -> object:
    names = dict(vars(socket))
    with module.socket() as s, module.socket(type=socket.SOCK_DGRAM) as u:
        c = module.socket()
        c.close()
        s.settimeout(0.02)
        u.settimeout(0.02)
        names |= {"module": module, "s": s, "u": u, "c": c}
        names["linger"] = lambda on, seconds: struct.pack("ii", on, seconds)
        names["timeval"] = lambda seconds, micros: struct.pack("ll", seconds, micros)
        done = outcome(lambda: eval(line, names))
    if isinstance(done, tuple) and done[:2] == (socket.gaierror, socket.EAI_AGAIN):
        return UNKNOWN  # the kernel's module, where no name server answers
    return done


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # files that the lines open
@pytest.mark.parametrize("line", LINES.strip().splitlines())
def test_same(line: str) -> None:
    assert evaluate(barewire.socket, line) == evaluate(socket, line)


@pytest.mark.parametrize("line", OTHER_WORDS.strip().splitlines())
def test_same_kind(line: str) -> None:
    ours, theirs = evaluate(barewire.socket, line), evaluate(socket, line)
    assert isinstance(ours, tuple) and isinstance(theirs, tuple)
    assert ours[0] is theirs[0]


def test_same_names() -> None:
    assert set(barewire.socket.__all__) == set(socket.__all__) | {"SocketType"}
    missing = [n for n in dir(socket) if not n.startswith("__") and not hasattr(barewire.socket, n)]
    assert not missing


def test_same_methods() -> None:
    theirs = {n for n in dir(socket.socket) if not n.startswith("_")}
    ours = {n for n in dir(barewire.socket.socket) if not n.startswith("_")}
    # Ancillary data and the crypto API of AF_ALG belong to families that are the kernel's.
    assert theirs - ours <= {"sendmsg_afalg"}
    # What a program asks the kernel by ioctl(2), which cannot reach us; what shows a connection; batches.
    more = {"sockatmark", "settrace", "tcp_info", "recv_batch", "send_batch"}
    assert ours - theirs <= more
