"""Where barewire answers otherwise than Linux, on purpose or for a reason: the differences that a comparison
of the two passes over. docs/fuzz.md shows this table.

Each entry is narrow. Where it can, it brings both answers into a *normal form*, without what may differ, and
accepts the difference only if the two are equal then.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from .conversation import Step
from .differential import Accepted, Difference

FIN, SYN, RST, _PSH, ACK = (1 << n for n in range(5))
OURS, LINUX = 0, 1
BARE_ACK = re.compile(r"sends: A seq \d+ ack \d+ of 0( sack \d+-\d+)*( tos \d+)?$")
Change = Callable[[str], str]  # of a line; to "": it goes


def _same(difference: Difference, change: Change) -> bool:
    """Are the answers equal in that normal form?"""
    ours, linux = ([change(line) for line in difference.lines(which)] for which in (OURS, LINUX))
    return [line for line in ours if line] == [line for line in linux if line]


def _without(pattern: str) -> Change:
    """Drops what the pattern finds in a line."""
    return lambda line: re.sub(pattern, "", line)


def _flags(step: Step) -> int:
    return int(step.args[1]) if step.op == "say" else 0


def _played(difference: Difference, *ops: str) -> list[Step]:
    """The steps of those operations up to the difference."""
    return [step for step in difference.steps[: difference.at + 1] if step.op in ops]


def _sends(difference: Difference, which: int) -> list[str]:
    """The frames that only one has sent."""
    return [line for line in difference.only(which) if line.startswith("sends: ")]


def _differs_in_frames(difference: Difference) -> bool:
    return _same(difference, _without("^sends: .*"))


# ---- the handshake -------------------------------------------------------------------------------


def _challenged_half_open(difference: Difference) -> bool:
    ours, linux = _sends(difference, OURS), _sends(difference, LINUX)
    return (
        difference.step.op in ("say", "answer", "syn")
        and len(ours) <= len(linux) == 1
        and all(BARE_ACK.match(line) or line.startswith("sends: SA ") for line in ours)
        and bool(_played(difference, "syn"))
        and bool(re.match("sends: RA? seq", linux[0]))
        and _differs_in_frames(difference)
    )


def _survived_a_reset(difference: Difference) -> bool:
    resets = [step for step in _played(difference, "say")[:-1] if _flags(step) & RST]
    return (
        bool(resets)
        and difference.step.op == "say"
        and any(line.endswith(" listener IN") for line in difference.only(OURS))
        and any(line.endswith(" listener ") for line in difference.only(LINUX))
    )


def _simultaneous_open(difference: Difference) -> bool:
    offers = re.compile(r"(^sends: SA .*) scale \w+ sack \w+ ts \w+$")
    return bool(_played(difference, "connect", "again")) and _same(
        difference, lambda line: offers.sub(r"\1", line)
    )


def _cookie(difference: Difference) -> bool:
    """The listener's backlog is 0 or 1, so that Linux answers SYNs with cookies early."""
    small = any(int(step.args[0]) <= 1 for step in _played(difference, "listen"))
    scale = re.compile(r"(^sends: SA .*) scale \w+ (sack \w+ ts False)$")
    return small and difference.step.op == "syn" and _same(
        difference, lambda line: scale.sub(r"\1 \2", line)
    )  # fmt: skip


def _syn_again(difference: Difference) -> bool:
    return difference.step.op not in ("connect", "again") and _same(
        difference, _without(r"^sends: S seq 0 ack 0 of 0 .*")
    )


def _text_on_syn_ack(difference: Difference) -> bool:
    step = difference.step
    return (
        step.op == "say"
        and _flags(step) & (SYN | ACK) == SYN | ACK
        and (int(step.args[2]) > 0 or bool(_flags(step) & FIN))
        and bool(_played(difference, "connect", "again"))
        and _same(difference, _without(r"^sends: A .*|^has: \d+ stream .*"))
    )


def _quote_of_the_next(difference: Difference) -> bool:
    step = difference.step
    return step.op == "icmp" and step.args[3] == 0 and any(
        re.search(r"stream  state 2$", line) for line in difference.only(OURS)
    )  # fmt: skip


def _shut_listener(difference: Difference) -> bool:
    return (
        difference.step.op == "again"
        and bool(_played(difference, "shutdown"))
        and "call: EADDRNOTAVAIL" in difference.only(LINUX)
    )


def _late_tos(difference: Difference) -> bool:
    return bool(_played(difference, "option")) and _same(
        difference, _without(r"(?<=^sends: ).* tos \d+$|^sends: .*")
    ) and _same(difference, _without(r" tos \d+$"))  # fmt: skip


def _maxseg(difference: Difference) -> bool:
    """TCP_MAXSEG before the handshake has ended."""
    return (
        difference.step.op == "option"
        and difference.step.args[1:3] == (6, 2)
        and _same(difference, _without(r"^call: \d+$"))
        and any(line.endswith(" state 2") for line in difference.lines(OURS))
    )


def _reset_then_listening(difference: Difference) -> bool:
    return (
        difference.step.op in ("send", "recv", "error")
        and bool(_played(difference, "relisten"))
        and "call: ECONNRESET" in difference.only(LINUX)
        and _same(difference, _without("^call: .*"))
    )


# ---- segments ------------------------------------------------------------------------------------


def _text(lines: list[str]) -> list[str]:
    """SACK blocks of segments that carry more are gone; data that follows on is one piece."""
    found: list[str] = []
    start = end = 0
    for line in lines:
        data = re.match(
            r"sends: (A|FA|R|RA) seq (\d+) ack (\d+) of (\d+)((?: sack \d+-\d+)*)$", line
        )
        if not data or (data[1] == "A" and data[4] == "0"):
            found.append(line)
            continue
        seq, size = int(data[2]), int(data[4])
        if size and found and found[-1].startswith("data ") and end == seq:
            found.pop()
        else:
            start = seq
        end = seq + size
        found.append(
            f"data {data[1]} {start}-{end} ack {data[3]}" if size else re.sub(" sack.*", "", line)
        )
    return found


def _blocks_beside_data(difference: Difference) -> bool:
    blocks = any(" sack " in line for line in _sends(difference, LINUX))
    ours, linux = _text(difference.lines(OURS)), _text(difference.lines(LINUX))
    if not blocks or len(ours) != len(linux):
        return False
    return all(a == b or _cut_by_blocks(a, b) for a, b in zip(ours, linux, strict=True))


def _cut_by_blocks(ours: str, linux: str) -> bool:
    """The window of ten segments holds less where each is shorter."""
    both = [re.match(r"data (\w+) (\d+)-(\d+) ack (\d+)$", text) for text in (ours, linux)]
    if not both[0] or not both[1]:
        return False
    mine, other = both[0], both[1]
    same = (mine[1], mine[2], mine[4]) == (other[1], other[2], other[4])
    return same and 0 < int(mine[3]) - int(other[3]) <= 10 * 36


def _no_flag(difference: Difference) -> bool:
    step = difference.step
    return (
        step.op == "say"
        and not _flags(step) & (ACK | RST | SYN)
        and _differs_in_frames(difference)
        and not _sends(difference, LINUX)
        and all(BARE_ACK.match(line) for line in _sends(difference, OURS))
    )


def _acks(difference: Difference, which: int) -> bool:
    """Bare ACKs are all that only this one sent."""
    return all(BARE_ACK.match(line) for line in _sends(difference, which))


def _old_reset(difference: Difference) -> bool:
    step = difference.step
    return (
        bool(_flags(step) & RST)
        and int(step.args[2]) > 0
        and not _sends(difference, OURS)
        and _acks(difference, LINUX)
        and _differs_in_frames(difference)
    )


def _old_ack_on_text(difference: Difference) -> bool:
    step = difference.step
    return (
        step.op == "say"
        and int(step.args[2]) > 0
        and int(step.args[4]) < 0
        and _acks(difference, OURS)
        and not _sends(difference, LINUX)
        and _differs_in_frames(difference)
    )


def _beside_the_end(difference: Difference) -> bool:
    """Segments that contradict each other about where the stream ends: a FIN, and text in or behind it."""
    fins = [step for step in _played(difference, "say") if _flags(step) & FIN]
    return bool(fins) and difference.step.op in ("say", "answer") and _acks(difference, OURS) and _acks(
        difference, LINUX
    ) and _same(difference, _without(r" sack \d+-\d+"))  # fmt: skip


def _blocks_of_syn_received(difference: Difference) -> bool:
    return not _played(difference, "accept", "connect") and bool(
        re.search(r" sack 0-1$", "\n".join(_sends(difference, OURS)))
    ) and _same(difference, _without(r" sack 0-1$"))  # fmt: skip


def _tail_probe(difference: Difference) -> bool:
    ours = _sends(difference, OURS)
    return (
        difference.step.op == "wait"
        and len(ours) == 1
        and bool(re.match(r"sends: (A seq \d+ ack \d+ of [1-9]|FA )", ours[0]))
        and not _sends(difference, LINUX)
        and _differs_in_frames(difference)
    )


# ---- sockets -------------------------------------------------------------------------------------


def _error_queue(difference: Difference) -> bool:
    return bool(_played(difference, "icmp", "icmp_udp")) and _same(
        difference, _without(r"\|ERR(?=\|HUP)")
    )


def _shut_datagrams(difference: Difference) -> bool:
    nothing = re.compile(r"call: 0 bytes 0{8}( from \('0\.0\.0\.0', 0\))?$")
    return (
        difference.step.op in ("recv", "recvfrom")
        and bool(_played(difference, "udp"))
        and bool(_played(difference, "shutdown"))
        and any(nothing.match(line) for line in difference.only(OURS))
        and difference.only(LINUX) == ["call: EAGAIN"]
        and _same(difference, _without("^call: .*"))
    )


ACCEPTED: tuple[Accepted, ...] = (
    Accepted(
        "challenge in SYN-RECEIVED",
        "A wrong SYN, SYN,ACK or out-of-window segment in SYN-RECEIVED is answered with an ACK or our"
        " SYN,ACK, in the order of RFC 9293 3.10.7.4 (sequence number first) and with RFC 5961 4.2's "
        "caution; Linux looks at the ACK first, resets, and for a SYN drops the half-open connection.",
        _challenged_half_open,
    ),
    Accepted(
        "half-open after an inexact reset",
        "A reset in the window that is not exact leaves a half-open connection (RFC 5961 3.2), which "
        "a right ACK then opens; Linux has dropped it.",
        _survived_a_reset,
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
        "without timestamps keeps no window scale; barewire holds 128 half-open connections before it"
        " does.",
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
        "they stand until their timer ends.",
        _shut_listener,
    ),
    Accepted(
        "IP_TOS between SYN and ACK",
        "A connection has the IP_TOS that its listener had when the SYN came; in Linux, when the "
        "handshake ended.",
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
    Accepted(
        "SACK blocks beside data",
        "SACK blocks go on bare ACKs alone, so that segments keep their full size (RFC 2018 3 says "
        "should for all); Linux puts them on data, FIN and RST, too, and cuts data to make room.",
        _blocks_beside_data,
    ),
    Accepted(
        "a segment without any flag",
        "The sequence number is looked at first, and one outside the window gets an ACK (RFC 9293 "
        "3.10.7.4); Linux first drops what has none of ACK, RST and SYN.",
        _no_flag,
        ends=False,
    ),
    Accepted(
        "a reset before the window",
        "It is dropped (RFC 9293 3.10.7.4, first step); Linux challenges it if it ends where the "
        "window begins.",
        _old_reset,
        ends=False,
    ),
    Accepted(
        "text with an ACK of long ago",
        "It is dropped and challenged (RFC 5961 5.2); Linux's fast path takes text in order.",
        _old_ack_on_text,
    ),
    Accepted(
        "two ends of one stream",
        "Where a peer's segments put text at or behind its FIN, the SACK blocks above the gap differ.",
        _beside_the_end,
    ),
    Accepted(
        "D-SACK of a SYN's number",
        "What came twice in SYN-RECEIVED is reported (RFC 2883 4); Linux has no receiver yet that "
        "could.",
        _blocks_of_syn_received,
        ends=False,
    ),
    Accepted(
        "tail loss probe",
        "barewire probes the tail (RFC 8985 7); the kernel's probes are off, for they depend on how "
        "long a step took.",
        _tail_probe,
        ends=False,
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
)  # fmt: skip
