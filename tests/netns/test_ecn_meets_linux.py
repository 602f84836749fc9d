"""ECN between barewire and the kernel: who asks and who answers, and marks that a bottleneck (the fault
device) makes in either direction. The kernel knows RFC 3168; accurate ECN falls back to it."""

from __future__ import annotations

import socket
import struct

import pytest

from tests.netns.link import DIRECTIONS, Thread, pattern, receive_exactly

pytestmark = pytest.mark.netns

SIZE = 3_000_000
TCPI_OPT_ECN = 8  # linux/tcp.h


def kernel_uses_ecn(sock: socket.socket) -> bool:
    """tcpi_options of TCP_INFO."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)
    return bool(struct.unpack_from("8B", info)[5] & TCPI_OPT_ECN)


def kernel_counters(ns) -> dict[str, int]:
    """/proc/net/netstat of the namespace."""

    def read() -> list[str]:
        with open("/proc/thread-self/net/netstat", encoding="ascii") as file:
            return file.read().split("\n")

    lines = ns.call(read)
    found: dict[str, int] = {}
    for names, values in zip(lines[::2], lines[1::2], strict=False):
        found.update(zip(names.split()[1:], map(int, values.split()[1:]), strict=True))
    return found


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(
    ("kernel", "ours", "agreed"),
    [
        (1, "on", {"we connect", "the kernel connects"}),
        (2, "on", {"we connect"}),
        (1, "passive", {"the kernel connects"}),
        (2, "passive", set()),
        (0, "on", set()),
        (1, "off", set()),
        (1, "accecn", {"we connect", "the kernel connects"}),
        (0, "accecn", set()),
        (1, "accecn-passive", {"the kernel connects"}),
    ],
)
def test_what_the_two_agree_on(make_link, direction, kernel, ours, agreed):
    """The kernel's tcp_ecn against ours, in each direction."""
    link = make_link(ecn=ours)
    link.ns.sysctl("net.ipv4.tcp_ecn", kernel)
    mine, theirs = link.tcp(direction)
    theirs.sendall(b"hello")
    assert receive_exactly(mine, 5) == b"hello"
    assert kernel_uses_ecn(theirs) == (direction in agreed)
    assert link.counters().get("tcp_ecn_connections", 0) == (direction in agreed)
    assert link.counters().get("tcp_accecn_connections", 0) == 0


def transfer(sender, receiver) -> None:
    thread = Thread(sender.sendall, pattern(SIZE))
    assert receive_exactly(receiver, SIZE) == pattern(SIZE)
    thread.result()


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_kernel_tells_of_marks_and_we_answer(make_link, direction):
    """Every 200th of our segments is marked: the kernel says ECE until our CWR, and our window goes
    down once each time; nothing is lost."""
    link = make_link(device="tx_mark=0.5%&tx_delay=1ms", ecn="on")
    link.ns.sysctl("net.ipv4.tcp_ecn", 1)
    mine, theirs = link.tcp(direction)
    transfer(mine, theirs)
    ours, kernels = link.counters(), kernel_counters(link.ns)
    assert kernels["InCEPkts"] > 0 and kernels["InECT0Pkts"] > 0
    assert 1 <= ours["tcp_ecn_reductions"] <= kernels["InCEPkts"] + 1
    assert "tcp_segments_retransmitted" not in ours


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_we_tell_of_marks_and_the_kernel_answers(make_link, direction):
    """The kernel counts segments whose ACK says ECE (TCPDeliveredCE), and its CWR ends our echo: were
    it not heard, every later segment would count."""
    link = make_link(device="rx_mark=0.3%&rx_delay=1ms", ecn="on")
    link.ns.sysctl("net.ipv4.tcp_ecn", 1)
    mine, theirs = link.tcp(direction)
    transfer(theirs, mine)
    ours, kernels = link.counters(), kernel_counters(link.ns)
    assert ours["tcp_ecn_marks_received"] > 0
    assert 0 < kernels["TCPDeliveredCE"] < SIZE / 1448 * 0.9
    assert kernels["TCPFastRetrans"] == 0, "marks are no losses"


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_dctcp_meets_a_kernel_without_it(make_link, direction):
    """RFC 8257 asks of a DCTCP sender what RFC 3168 does, so that any receiver serves, if coarsely."""
    link = make_link(device="mark=0.5%&delay=1ms", congestion="dctcp")
    link.ns.sysctl("net.ipv4.tcp_ecn", 1)
    mine, theirs = link.tcp(direction)
    transfer(mine, theirs)
    transfer(theirs, mine)
    ours, kernels = link.counters(), kernel_counters(link.ns)
    assert ours["tcp_ecn_reductions"] > 0
    assert ours["tcp_ecn_marks_received"] > 0 and kernels["TCPDeliveredCE"] > 0
