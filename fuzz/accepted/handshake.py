"""Accepted differences while a connection opens."""

from __future__ import annotations

import re
from itertools import combinations

from ..differential import Accepted, Difference
from .normal import (
    ACK,
    BARE_ACK,
    CONNECTS,
    FIN,
    LINUX,
    OURS,
    RST,
    SEGMENTS,
    SYN,
    acks,
    at,
    differs_in_frames,
    flags,
    played,
    same,
    sends,
    size,
    without,
)

SYN_AGAIN = r"^sends: S seq 0 ack 0 of 0 .*"


def _challenged_half_open(difference: Difference) -> bool:
    ours, linux = sends(difference, OURS), sends(difference, LINUX)
    last = difference.said[-1] if difference.said else None
    return (
        difference.step.op in (*SEGMENTS, "answer", "syn", "syn_options", "mutant")
        and last is not None
        and (bool(last.flags & SYN) or at(last.seq) != 1)
        and (
            len(ours) <= len(linux) == 1
            or (len(ours) == 1 and not linux and bool(last.flags & RST))
        )
        and all(BARE_ACK.match(line) or line.startswith("sends: SA ") for line in ours)
        and bool(played(difference, "syn", "syn_options"))
        and all(re.match("sends: RA? seq", line) for line in linux)
        and differs_in_frames(difference)
    )


def _known_syn_acks(difference: Difference) -> bool:
    """SYN,ACK with the number of the SYN in SYN-RECEIVED: to Linux it is a right ACK."""
    last = difference.said[-1] if difference.said else None
    return (
        last is not None
        and last.flags & (SYN | ACK) == SYN | ACK
        and at(last.seq) == 0
        and bool(played(difference, "syn", "syn_options"))
        and any(line.endswith(" listener IN") for line in difference.only(LINUX))
        and acks(difference, OURS)
    )


def _survived_a_reset(difference: Difference) -> bool:
    resets = [one for one in difference.said[:-1] if one.flags & RST]
    return (
        bool(resets)
        and difference.step.op in SEGMENTS
        and any(line.endswith(" listener IN") for line in difference.only(OURS))
        and any(line.endswith(" listener ") for line in difference.only(LINUX))
    )


def _reset_with_old_timestamp(difference: Difference) -> bool:
    resets = [step for step in played(difference, "stamped") if int(step.args[1]) & RST]
    return (
        bool(resets)
        and difference.step.op in SEGMENTS
        and any(line.endswith(" listener ") for line in difference.only(OURS))
        and any(line.endswith(" listener IN") for line in difference.only(LINUX))
    )


def _simultaneous_open(difference: Difference) -> bool:
    offers = re.compile(r"(^sends: SA)E?( .*) scale \w+ sack \w+ ts \w+(?= ttl| tos|$)")
    least = any(step.args[1:3] == (6, 2) for step in played(difference, "option"))  # TCP_MAXSEG
    return bool(played(difference, *CONNECTS)) and same(
        difference,
        lambda line: re.sub(r" mss \d+" if least else "$", "", offers.sub(r"\1\2", line)),
    )


def _cookie(difference: Difference) -> bool:
    """The listener's backlog is 0 or 1, so that Linux answers SYNs with cookies early."""
    small = any(int(step.args[0]) <= 1 for step in played(difference, "listen"))
    scale = re.compile(r"(^sends: SA .*) scale \w+ sack \w+ (ts False)$")
    return small and difference.step.op in ("syn", "syn_options") and same(
        difference, lambda line: scale.sub(r"\1 \2", line)
    )  # fmt: skip


def _syn_again(difference: Difference) -> bool:
    return difference.step.op not in CONNECTS and same(difference, without(SYN_AGAIN))


def _text_on_syn_ack(difference: Difference) -> bool:
    step = difference.step
    return (
        flags(step) & (SYN | ACK) == SYN | ACK
        and (size(step) > 0 or bool(flags(step) & FIN))
        and bool(played(difference, *CONNECTS))
        and same(difference, without(rf"^sends: A .*|{SYN_AGAIN}|^has: \d+ stream .*"))
    )


def _quote_of_the_next(difference: Difference) -> bool:
    step = difference.step
    if step.op == "icmp" and step.args[3] == 0:
        return any(re.search(r"stream  state 2$", line) for line in difference.only(OURS))
    if step.op == "error":
        quotes = any(one.args[3] == 0 for one in played(difference, "icmp"))
        sent = bool(played(difference, "send", "shutdown", "close"))
        return quotes and sent and difference.only(OURS) == ["call: 0"]
    told = any(one.args[1:4] == (3, 4, 0) for one in played(difference, "icmp"))
    return told and any(" no df" in line for line in difference.only(LINUX))


def _shut_listener(difference: Difference) -> bool:
    if not played(difference, "shutdown"):
        return False
    if difference.step.op == "again":
        return "call: EADDRNOTAVAIL" in difference.only(LINUX)
    alive = [line for line in difference.only(LINUX) if line.endswith(" listener IN")]
    return bool(alive) and bool(played(difference, "relisten")) and difference.step.op in SEGMENTS


def _late_tos(difference: Difference) -> bool:
    """Or a path MTU that the listener has stopped to look for, with the child half open."""
    steps = played(difference, "option", "syn", "syn_options")
    late = any(
        a.op != "option" and b.op == "option" and b.args[1:3] == (0, 10)
        for a, b in combinations(steps, 2)
    )
    marks = r"( tos \d+)?( ttl \d+)?" + ("( no df)?$" if late else "$")
    return bool(played(difference, "option")) and same(difference, without(marks))


def _maxseg(difference: Difference) -> bool:
    """TCP_MAXSEG before the handshake has ended."""
    return (
        difference.step.op == "option"
        and difference.step.args[1:3] == (6, 2)
        and same(difference, without(r"^call: \d+$"))
        and any(line.endswith(" state 2") for line in difference.lines(OURS))
    )


def _reset_then_listening(difference: Difference) -> bool:
    return (
        difference.step.op in ("send", "recv", "error")
        and bool(played(difference, "relisten"))
        and "call: ECONNRESET" in difference.only(LINUX)
        and same(difference, without("^call: .*"))
    )


HANDSHAKE: tuple[Accepted, ...] = (
    Accepted(
        "challenge in SYN-RECEIVED",
        "A wrong SYN, SYN,ACK or out-of-window segment in SYN-RECEIVED is answered with an ACK or our"
        " SYN,ACK, in the order of RFC 9293 3.10.7.4 (sequence number first) and with RFC 5961 4.2's "
        "caution; Linux looks at the ACK first, resets, and for a SYN drops the half-open connection.",
        _challenged_half_open,
    ),
    Accepted(
        "SYN,ACK in SYN-RECEIVED",
        "A SYN gets a challenge (RFC 5961 4.2), also with an ACK; Linux cuts off one that it knows, and "
        "takes the ACK.",
        _known_syn_acks,
    ),
    Accepted(
        "half-open after an inexact reset",
        "A reset in the window that is not exact leaves a half-open connection (RFC 5961 3.2), which "
        "a right ACK then opens; Linux has dropped it.",
        _survived_a_reset,
    ),
    Accepted(
        "an old reset of a half-open connection",
        "A reset ends a half-open connection whatever its timestamp says (RFC 7323 5.2); Linux drops one "
        "whose timestamp is old there, and a right ACK then opens what here is gone.",
        _reset_with_old_timestamp,
    ),
    Accepted(
        "simultaneous open offers what both have",
        "The SYN,ACK of a simultaneous open names only what both SYNs named (RFC 7323 2.2 and 3.2, "
        "RFC 2018 2); Linux's names all of its own.",
        _simultaneous_open,
    ),
    Accepted(
        "cookies of a short backlog",
        "Linux answers with SYN cookies as soon as the backlog of 0 or 1 is full, and a cookie "
        "without timestamps keeps neither window scale nor SACK; barewire holds 128 half-open connections "
        "before it does.",
        _cookie,
    ),
    Accepted(
        "when a SYN goes again",
        "A SYN that got a wrong ACK goes again within a few milliseconds: virtual ones here, real "
        "ones there.",
        _syn_again,
        ends=False,
    ),
    Accepted(
        "text on a SYN,ACK",
        "Data and FIN on a SYN,ACK are taken (RFC 9293 3.10.7.3, last step); Linux drops them unless "
        "it asked for Fast Open, and the peer sends them again.",
        _text_on_syn_ack,
    ),
    Accepted(
        "ICMP error about what was not sent",
        "An ICMP error counts if it quotes a sequence number in flight: from SND.UNA to below SND.NXT"
        " (RFC 5927 4.1); Linux takes SND.NXT, too.",
        _quote_of_the_next,
    ),
    Accepted(
        "names of a shut listener",
        "Half-open connections go with their listener, and their names are free at once; in Linux "
        "they stand until their timer ends, and may open if the listener is back.",
        _shut_listener,
    ),
    Accepted(
        "IP_TOS, IP_TTL and IP_MTU_DISCOVER between SYN and ACK",
        "A connection has what its listener had when the SYN came; in Linux, when the handshake ended.",
        _late_tos,
        ends=False,
    ),
    Accepted(
        "TCP_MAXSEG in SYN-SENT",
        "Before the handshake Linux takes off what timestamps might cost (RFC 6691 leaves it to the "
        "sender).",
        _maxseg,
        ends=False,
    ),
    Accepted(
        "an old error of a listening socket",
        "A socket that listens after an aborted connect keeps ECONNRESET for its next call in Linux; "
        "here the call says what is wrong with it now.",
        _reset_then_listening,
    ),
)
