"""A Python program that never lets go of the interpreter lock: C alone keeps the flows alive."""

from __future__ import annotations

import fcntl
import hashlib
import struct
import time

import pytest

from tests.netns.link import OURS, our_program, pattern, ping, until

pytestmark = pytest.mark.netns

SIOCOUTQ = 0x5411  # unacknowledged bytes of a TCP socket (tcp(7))

SCRIPT = """
import ctypes, hashlib
listener = stack.create_server((OURS, 7000))
print("ready")
first, _ = listener.accept()
first.settimeout(20)
print("accepted")
assert first.recv(5) == b"begin"
print("held")
ctypes.PyDLL(None).poll(None, 0, int(float(sys.argv[1]) * 1000))  # PyDLL keeps the lock
print("free")
second, _ = listener.accept()
for sock in (first, second):
    digest = hashlib.sha256()
    while data := sock.recv(65536):
        digest.update(data)
    sock.sendall(digest.hexdigest().encode())
    sock.close()
"""


def unacknowledged(sock):
    return struct.unpack("i", fcntl.ioctl(sock.fileno(), SIOCOUTQ, bytes(4)))[0]


def hold(ns, seconds):
    program = our_program(ns, SCRIPT, seconds)
    assert program.line() == "ready"
    first, second = ns.socket(), ns.socket()
    with first, second:
        first.settimeout(20)
        second.settimeout(20)
        first.connect((OURS, 7000))
        assert program.line() == "accepted"
        first.send(b"begin")
        assert program.line() == "held"
        end = time.monotonic() + seconds
        assert exchange_while_held(ns, first, second, end) >= 3
        assert time.monotonic() < end, "all of it happened while the lock was held"
        assert program.line() == "free"
        for sock, data in ((first, FIRST), (second, SECOND)):
            sock.shutdown(1)
            assert sock.recv(100) == hashlib.sha256(data).hexdigest().encode()
    assert program.end()[0] == 0


FIRST, SECOND = pattern(200_000), b"second"


def exchange_while_held(ns, first, second, end):
    """Data within the window is acknowledged, a new connection made, echo and ARP answered."""
    step, sent = len(FIRST) // 10, 0
    second.connect((OURS, 7000))
    second.sendall(SECOND)
    rounds = 0
    wait = (end - time.monotonic()) / 12
    while rounds < 10:
        started = time.monotonic()
        first.sendall(FIRST[sent : sent + step])
        sent += step
        until(lambda: unacknowledged(first) == 0, "the data are acknowledged", 5)
        until(lambda: unacknowledged(second) == 0, "the second's data are acknowledged", 5)
        forget_neighbour(ns)
        ping(ns, OURS, "-i", "0.05", count=2)
        rounds += 1
        until(lambda started=started: time.monotonic() >= started + wait, "time goes by", wait + 5)
    return rounds


def forget_neighbour(ns):
    """The kernel has to ask for our address again."""
    from pyroute2 import IPRoute

    def forget():
        with IPRoute() as ip:
            ip.neigh("del", dst=OURS, ifindex=ip.link_lookup(ifname="tap0")[0])

    ns.call(forget)


def test_flows_live_while_python_is_busy_for_five_seconds(ns):
    hold(ns, 5)


@pytest.mark.slow(limit=200)
def test_flows_live_while_python_is_busy_for_two_minutes(ns):
    hold(ns, 120)
