"""Accepted differences in what becomes of a segment that arrives, and in the ACK that answers it."""

from __future__ import annotations

import re
from socket import MSG_OOB

from barewire.stack.tcp.segment import Flags

from ..differential import Accepted, Difference
from ..peer import SEQ
from .normal import (
    ACK,
    BARE_ACK,
    FIN,
    LINUX,
    OURS,
    RST,
    SEGMENTS,
    SYN,
    acks,
    at,
    closed,
    contradicts_the_end,
    differs_in_frames,
    flags,
    only_we_ack,
    played,
    same,
    sends,
    size,
    without,
)


def _no_flag(difference: Difference) -> bool:
    step = difference.step
    mutant = step.op == "mutant" and (step.args[0], step.args[2:4]) == (
        0,
        (33, ACK),
    )  # the ACK is off
    return (
        (mutant or (step.op in SEGMENTS and not flags(step) & (ACK | RST | SYN)))
        and differs_in_frames(difference)
        and not sends(difference, LINUX)
        and all(BARE_ACK.match(line) for line in sends(difference, OURS))
    )


def _old_reset(difference: Difference) -> bool:
    step = difference.step
    return (
        bool(flags(step) & RST)
        and size(step) > 0
        and not sends(difference, OURS)
        and acks(difference, LINUX)
        and differs_in_frames(difference)
    )


def _old_ack_on_text(difference: Difference) -> bool:
    step = difference.step
    return (
        step.op in ("say", "step")
        and size(step) > 0
        and int(step.args[4]) < 0
        and acks(difference, OURS)
        and not sends(difference, LINUX)
        and same(difference, without(r"^sends: .*|(?<=stream )IN\|"))
    )


def _beside_the_end(difference: Difference) -> bool:
    """Linux resets when text in order meets the FIN that it has."""
    if not contradicts_the_end(difference):
        return False
    linux = sends(difference, LINUX)
    if linux and re.match("sends: RA? ", linux[0]):
        return len(linux) == 1 and acks(difference, OURS)
    if not acks(difference, OURS) or not acks(difference, LINUX):
        return False
    ended = any(re.search("RDHUP state 8$", line) for line in difference.only(LINUX))
    return ended or same(
        difference,
        lambda line: "" if BARE_ACK.match(line) else re.sub("PRI\\|", "", closed(line)),
    )


def _fin_twice(difference: Difference) -> bool:
    """A block for what came twice ends before the FIN here, and behind it in Linux."""

    def cut(line: str) -> str:
        return re.sub(r"^(sends: A seq \d+ ack \d+ of 0 sack \d+-)\d+", r"\1", line)

    fins = {at(one.seq) + len(one.payload) for one in difference.said if one.flags & FIN}
    mine = [re.search(r"of 0 sack \d+-(\d+)", line) for line in difference.only(OURS)]
    return same(difference, cut) and any(found and int(found[1]) in fins for found in mine)


def _blocks_of_syn_received(difference: Difference) -> bool:
    return not played(difference, "accept", "connect") and bool(
        re.search(r" sack 0-1$", "\n".join(sends(difference, OURS)))
    ) and same(difference, without(r" sack 0-1$"))  # fmt: skip


def _twice_and_late(difference: Difference) -> bool:
    """A block below the acknowledgment tells of what came twice: when, and whether at all with text, is the
    receiver's choice."""

    report = re.compile(r"(sends: A seq \d+ ack (\d+) of 0) sack \d+-(\d+)(.*)$")

    def bare(line: str) -> str:
        found = report.match(line)
        below = found and (int(found[2]) - int(found[3])) % SEQ < SEQ // 2
        return found[1] + found[4] if found and below else line

    def silent(line: str) -> str:
        return "" if bare(line) != line else line

    calls = (*SEGMENTS, "wait", "recv", "fragments", "mutant")
    return difference.step.op in calls and (same(difference, silent) or same(difference, bare))


def _twice_behind_what_joins(difference: Difference) -> bool:
    """The first block lies in another, and what the segment repeats stands behind text that it continues."""

    def bare(line: str) -> str:
        found = re.match(
            r"(sends: A seq \d+ ack \d+ of 0) sack (\d+)-(\d+)(( sack \d+-\d+)+)$", line
        )
        if not found:
            return line
        first, last = int(found[2]), int(found[3])
        within = any(
            int(a) <= first and last <= int(b) for a, b in re.findall(r"(\d+)-(\d+)", found[4])
        )
        return found[1] + found[4] if within else line

    if difference.step.op not in SEGMENTS or not difference.said:
        return False
    start = at(difference.said[-1].seq)
    continues = any(at(one.seq) + len(one.payload) == start for one in difference.said[:-1])
    return continues and same(difference, bare)


def _at_the_edge(difference: Difference) -> bool:
    """The segment has text that came before, all of it, and ends where the window begins."""
    early = any(one.flags & Flags.URG and at(one.seq) < 1 for one in difference.said)
    if difference.step.op == "recv" and int(difference.step.args[2]) & MSG_OOB:
        told = difference.only(OURS), difference.only(LINUX)
        late = told in (
            (["call: EINVAL"], ["call: EAGAIN"]),
            (["call: EINVAL"], ["call: ENOTCONN"]),
        )
        return late or (early and same(difference, without("^call: .*")))  # a mark that came so
    if early and same(difference, without(r"(?<=[ |])PRI\|")):
        return True
    if difference.step.op not in (*SEGMENTS, "mutant") or not difference.said:
        return False
    last = difference.said[-1]
    mine = [
        one for one in difference.said[:-1] if (one.sport, one.dport) == (last.sport, last.dport)
    ]
    end = at(last.seq) + last.length
    beside = bool(played(difference, "fragments"))  # text that `said` does not have
    known = beside or any(at(one.seq) + one.length == end for one in mine)
    return known and acks(difference, OURS)


def _echo_of_a_challenge(difference: Difference) -> bool:
    """A half-open connection with timestamps, and not the first segment after the SYN."""
    stamps = any(int(step.args[1]) in (2, 4) for step in played(difference, "syn"))
    bare = difference.step.op == "stamped" and not flags(difference.step) & ACK
    return (
        (bare or (stamps and len(difference.said) > 2))
        and difference.step.op in (*SEGMENTS, "syn")
        and any(line.endswith("listener ") for line in difference.lines(LINUX))
        and not played(difference, "accept")
    )


def _old_ack_with_old_stamp(difference: Difference) -> bool:
    step = difference.step
    return (
        step.op == "stamped"
        and int(step.args[4]) != 0
        and int(step.args[3]) < 0
        and not difference.said[-1].payload
        and only_we_ack(difference)
    )


ARRIVING: tuple[Accepted, ...] = (
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
        "Where a peer's segments put text at or behind its FIN, it is ignored (RFC 9293 3.10.7.4, seventh "
        "step); Linux keeps it, reports it in SACK blocks, and resets when it comes to the FIN.",
        _beside_the_end,
    ),
    Accepted(
        "D-SACK of a FIN",
        "A block that reports what came twice (RFC 2883) has data only; Linux's has the FIN, too.",
        _fin_twice,
        ends=False,
    ),
    Accepted(
        "when a D-SACK goes",
        "What came twice is reported at once (RFC 2883 4); Linux reports it with the ACK that is due "
        "anyway, or not at all.",
        _twice_and_late,
        ends=False,
    ),
    Accepted(
        "D-SACK behind text that joins",
        "A segment that continues text out of order, and repeats what stands behind it, is reported "
        "(RFC 2883 4.2); Linux joins it to the first without a look at the second.",
        _twice_behind_what_joins,
        ends=False,
    ),
    Accepted(
        "what ends where the window begins",
        "A segment whose text came before, all of it, is dropped and answered (RFC 9293 3.10.7.4, first "
        "step); if it ends where the window begins, Linux takes its ACK and urgent pointer.",
        _at_the_edge,
    ),
    Accepted(
        "echo of a challenge",
        "In SYN-RECEIVED a peer may echo the timestamp of a challenge ACK, too; Linux takes those of its "
        "SYN,ACKs alone.",
        _echo_of_a_challenge,
    ),
    Accepted(
        "an old ACK with an old timestamp",
        "It is answered as any segment that fails PAWS (RFC 7323 5.3 R1); Linux passes over bare ones.",
        _old_ack_with_old_stamp,
    ),
    Accepted(
        "D-SACK of a SYN's number",
        "What came twice in SYN-RECEIVED is reported (RFC 2883 4); Linux has no receiver yet that "
        "could.",
        _blocks_of_syn_received,
        ends=False,
    ),
)
