"""Accepted differences in what calls say."""

from __future__ import annotations

import re

from ..differential import Accepted, Difference
from .normal import CONNECTS, LINUX, OURS, closed, played, same, sends, without


def _bad_sum_is_ready(difference: Difference) -> bool:
    """A datagram whose checksum is wrong."""
    return any(step.args[0] == 1 for step in played(difference, "mutant")) and same(
        difference, without(r"(?<=datagram )IN\|?")
    )  # fmt: skip


def _error_queue(difference: Difference) -> bool:
    asked = any(step.args[1:3] == (0, 11) for step in played(difference, "option"))  # IP_RECVERR
    return bool(played(difference, "icmp", "icmp_udp")) and same(
        difference, without(r"\|ERR\b" if asked else r"\|ERR(?=\|HUP)")
    )


def _shut_datagrams(difference: Difference) -> bool:
    nothing = re.compile(r"call: 0 bytes 0{8}( from \('0\.0\.0\.0', 0\))?$")
    return (
        difference.step.op in ("recv", "recvfrom")
        and bool(played(difference, "udp", "open"))
        and bool(played(difference, "shutdown"))
        and any(nothing.match(line) for line in difference.only(OURS))
        and difference.only(LINUX) == ["call: EAGAIN"]
        and same(difference, without("^call: .*"))
    )


def _maxseg_of_a_connection(difference: Difference) -> bool:
    return (
        difference.step.op == "option"
        and difference.step.args[1:3] == (6, 2)
        and same(difference, without(r"^call: \d+$"))
    )


def _shown_time_wait(difference: Difference) -> bool:
    return same(difference, closed)


def _shut_before_connected(difference: Difference) -> bool:
    return (
        difference.step.op in (*CONNECTS, "relisten", "shutdown")
        and bool(played(difference, "shutdown"))
        and same(difference, without(r"\S*(?= state [27]$)"))
    )


def _small_send_buffer(difference: Difference) -> bool:
    """SO_SNDBUF near its minimum, and what was sent fills half of it."""
    small = any(
        step.args[1:3] == (1, 7) and int(step.args[3]) <= 4608
        for step in played(difference, "option")
    )
    if difference.step.op == "sendto" and difference.only(LINUX) == ["call: ENOBUFS"]:
        return small
    frames = (
        r"|^sends: AU? seq .*" if any(" sack " in line for line in sends(difference, LINUX)) else ""
    )
    return small and same(difference, without(rf"(?<=[ |])OUT\b\|?{frames}"))


SOCKETS: tuple[Accepted, ...] = (
    Accepted(
        "poll and a bad checksum",
        "A datagram with a wrong checksum is dropped when it comes; Linux looks when it is read, and a "
        "non-blocking socket polls readable until then.",
        _bad_sum_is_ready,
        ends=False,
    ),
    Accepted(
        "TCP_MAXSEG of a connection",
        "It counts for what is sent from now on, as tcp(7) says; Linux takes it when it connects.",
        _maxseg_of_a_connection,
    ),
    Accepted(
        "TIME-WAIT as a socket sees it",
        "TCP_INFO says TIME-WAIT; Linux has moved the connection to a small record, and says CLOSE.",
        _shown_time_wait,
        ends=False,
    ),
    Accepted(
        "shutdown before connect",
        "A shutdown that failed with ENOTCONN changes nothing; in Linux the connection that is made later "
        "is shut down already.",
        _shut_before_connected,
    ),
    Accepted(
        "POLLERR of the error queue",
        "After an ICMP error that ended a connect, Linux keeps POLLERR for its error queue, asked for"
        " or not; there is none here (MSG_ERRQUEUE).",
        _error_queue,
        ends=False,
    ),
    Accepted(
        "reading datagrams after SHUT_RD",
        "The read says the end of data, as a blocking one does in Linux; Linux's non-blocking one "
        "says EAGAIN, though poll says POLLIN.",
        _shut_datagrams,
        ends=False,
    ),
    Accepted(
        "room in a small send buffer",
        "SO_SNDBUF counts bytes; in Linux it counts memory, and a buffer of its least size is full sooner.",
        _small_send_buffer,
    ),
)
