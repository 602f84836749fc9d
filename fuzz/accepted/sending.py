"""Accepted differences in what is sent, and when."""

from __future__ import annotations

import re
from itertools import combinations
from socket import MSG_OOB

from ..conversation import Step
from ..differential import Accepted, Difference
from .normal import (
    ACK,
    BARE_ACK,
    FIN,
    LINUX,
    OURS,
    RST,
    SEGMENTS,
    URG,
    at,
    differs_in_frames,
    flags,
    only_we_ack,
    played,
    same,
    sends,
    size,
    without,
)


def _text(lines: list[str]) -> list[str]:
    """SACK blocks of segments that carry more are gone; data that follows on is one piece."""
    found: list[str] = []
    start = end = 0
    for line in lines:
        data = re.match(
            r"sends: (AU?|FAU?|R|RA) seq (\d+) ack (\d+) of (\d+)(?: urgent \d+)?((?: sack \d+-\d+)*)"
            r"(?: tos \d+)?(?: ttl \d+)?$",
            line,
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
            f"data {data[1]} {start}-{end} ack {data[3]}"
            if size
            else re.sub(r"( sack \d+-\d+)+", "", line)
        )
    return found


def _blocks_beside_data(difference: Difference) -> bool:
    blocks = {
        match for line in sends(difference, LINUX) for match in re.findall(r"( sack .*)", line)
    }
    ours, linux = _text(difference.lines(OURS)), _text(difference.lines(LINUX))
    first = (
        re.match(r"sends: AU? seq \d+ ack \d+ of 0(?: urgent \d+)?( sack .*)$", ours[0])
        if ours
        else None
    )
    if first and first[1] in blocks and len(ours) == len(linux) + 1:
        del ours[0]  # the blocks by themselves
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
    return same and -1460 < int(mine[3]) - int(other[3]) <= 10 * 36


def _tail_probe(difference: Difference) -> bool:
    ours = sends(difference, OURS)
    return (
        difference.step.op == "wait"
        and len(ours) == 1
        and bool(re.match(r"sends: (AU? seq \d+ ack \d+ of [1-9]|FAU? )", ours[0]))
        and not sends(difference, LINUX)
        and differs_in_frames(difference)
    )


def _urgent_in_a_header(difference: Difference) -> bool:
    """The urgent byte is at most as far before the segment as a header is long."""
    if not difference.said or difference.step.op not in (*SEGMENTS, "accept"):
        return False
    last = difference.said[-1]
    marks = [at(one.seq) + max(0, one.urgent - 1) for one in difference.said if one.flags & URG]
    return any(0 < at(last.seq) - mark <= 60 for mark in marks) and same(
        difference, without(r"(?<=[ |])PRI\|")
    )


def _behind_the_fin(difference: Difference) -> bool:
    """Urgent data from a peer that has said FIN."""
    fin = any(one.flags & FIN for one in difference.said[:-1])
    urgent = any(one.flags & URG for one in difference.said)
    if difference.step.op == "recv" and int(difference.step.args[2]) & MSG_OOB:
        return fin and urgent and same(difference, without("^call: .*"))
    return fin and urgent and same(difference, without(r"(?<=[ |])PRI\|"))


def _acceptable_number(difference: Difference) -> bool:
    """The number of an ACK after the peer's window has shrunk."""
    shrunk = any(one.window < 65535 for one in difference.said)
    return shrunk and same(difference, without(r"(?<=^sends: A seq )\d+(?= ack \d+ of 0)"))


def _urgent_reset(difference: Difference) -> bool:
    return same(difference, lambda line: re.sub(r"^(sends: RA)U(.*) urgent \d+", r"\1\2", line))


def _looks_at_no_ack(step: Step) -> bool:
    return bool(flags(step) & RST) or (step.op in ("say", "step") and int(step.args[4]) > 0)


def _small_record(difference: Difference) -> bool:
    """A socket that is closed, its FIN acknowledged: an ACK of what was never sent, or a reset in the window
    that is not exact."""
    step = difference.step
    return (
        bool(played(difference, "close", "shutdown"))
        and step.op in SEGMENTS
        and _looks_at_no_ack(step)
        and only_we_ack(difference)
    )


def _news_of_urgent(difference: Difference) -> bool:
    """A send of urgent data that the peer's window keeps back."""
    waits = difference.step.op == "wait"  # for the probe
    first, second = (LINUX, OURS) if waits else (OURS, LINUX)
    news = sends(difference, first)
    calls = played(difference, "send") if waits else [difference.step]
    return (
        any(step.op == "send" and step.args[2] == MSG_OOB for step in calls)
        and len(news) == 1
        and bool(re.match(r"sends: AU seq \d+ ack \d+ of 0 urgent \d+", news[0]))
        and (not waits or not sends(difference, second))
        and differs_in_frames(difference)
    )


def _shrunk_without_news(difference: Difference) -> bool:
    """The peer's window has become smaller on a segment with no newer number than an earlier one."""
    said = difference.said
    shrunk = any(
        one.seq <= before.seq and 0 <= one.window < before.window
        for before, one in combinations(said, 2)
    )
    data = re.compile(r"sends: (AU? seq \d+ ack \d+ of ([1-9]|0 urgent)|FAU? )")
    sent = sends(difference, OURS) + sends(difference, LINUX)
    return (
        shrunk
        and bool(sent)
        and all(data.match(line) for line in sent)
        and differs_in_frames(difference)
    )


def _window_in_bytes(difference: Difference) -> bool:
    """Some segments more of one, after short ones: those that the other's window has no room for, and in
    Linux those that wait for the rest of a super-segment; or the FIN."""
    more = sends(difference, OURS) or sends(difference, LINUX)
    ends = difference.step.op in ("close", "shutdown")
    line = "sends: FAU? seq " if ends else r"sends: AU? seq \d+ ack \d+ of [1-9]"
    return (
        0 < len(more) <= (4 if len(played(difference, "send")) < 3 else 6)
        and len(sends(difference, OURS) + sends(difference, LINUX)) == len(more)
        and bool(played(difference, "send"))
        and all(re.match(line, one) for one in more)
        and difference.step.op in ("send", "close", "shutdown", *SEGMENTS)
        and differs_in_frames(difference)
    )


def _silly_window(difference: Difference) -> bool:
    """A short segment more, which fills the peer's window, or two that SACK blocks have made of it."""
    linux = sends(difference, LINUX)
    blocks = all(" sack " in line for line in linux)
    return (
        sum(int(length) for length in re.findall(r" of (\d+)", "\n".join(linux))) < 1460
        and any(one.window < 65535 for one in difference.said)
        and 0 < len(linux) <= 1 + blocks
        and all(re.match(r"sends: AU? seq \d+ ack \d+ of [1-9]", line) for line in linux)
        and all(BARE_ACK.match(line) and " sack " in line for line in sends(difference, OURS))
        and differs_in_frames(difference)
    )


def _ack_beside_data(difference: Difference) -> bool:
    """An ACK that goes by itself, and with data, too."""

    def without(line: str) -> str:
        return "" if re.match(r"sends: AU? seq \d+ ack \d+ of 0( urgent \d+)?$", line) else line

    lines = difference.lines(OURS) + difference.lines(LINUX)
    data = any(re.match(r"sends: F?AU? seq \d+ ack \d+ of [1-9]", line) for line in lines)
    return data and same(difference, without)


def _limited_transmit(difference: Difference) -> bool:
    """One more segment for a repeated ACK."""
    ours = sends(difference, OURS)
    return (
        difference.step.op in SEGMENTS
        and flags(difference.step) == ACK
        and not size(difference.step)
        and len(ours) == 1
        and bool(re.match(r"sends: A seq \d+ ack \d+ of [1-9]", ours[0]))
        and not sends(difference, LINUX)
        and differs_in_frames(difference)
    )


SENDING: tuple[Accepted, ...] = (
    Accepted(
        "SACK blocks beside data",
        "SACK blocks go on bare ACKs alone, so that segments keep their full size (RFC 2018 3 says "
        "should for all); Linux puts them on data, FIN and RST, too, and cuts data to make room.",
        _blocks_beside_data,
    ),
    Accepted(
        "urgent byte in a header",
        "An urgent pointer that names a byte shortly before the next segment makes Linux take a byte of "
        "that segment's header for the urgent one.",
        _urgent_in_a_header,
    ),
    Accepted(
        "urgent data behind a FIN",
        "After a FIN the urgent pointer is ignored (RFC 9293 3.10.7.4, sixth step); Linux takes it.",
        _behind_the_fin,
    ),
    Accepted(
        "urgent data at a closed window",
        "The peer hears of it at once, without the data (RFC 9293 3.8.5: the pointer is news for the "
        "reader); from Linux with the next probe.",
        _news_of_urgent,
    ),
    Accepted(
        "a window that shrinks on an old number",
        "Which segment's window counts is as in RFC 9293 3.10.7.4, fifth step; Linux lets one with no new "
        "sequence number only open or shut it, unless it acknowledges something.",
        _shrunk_without_news,
    ),
    Accepted(
        "number of an ACK in a shrunk window",
        "An ACK has SND.NXT (RFC 9293 3.10.7.4), also where the peer's window has shrunk below it; Linux's "
        "has the window's end.",
        _acceptable_number,
        ends=False,
    ),
    Accepted(
        "URG on a reset",
        "A reset says nothing of urgent data; Linux's has the pointer, too.",
        _urgent_reset,
        ends=False,
    ),
    Accepted(
        "a window of bytes",
        "The congestion window counts bytes (RFC 5681 2), and Linux's packets: after short segments more or "
        "less fits.",
        _window_in_bytes,
    ),
    Accepted(
        "silly windows",
        "A short segment that would fill the peer's window waits (RFC 9293 3.8.6.2.1); Linux sends it.",
        _silly_window,
    ),
    Accepted(
        "an ACK beside data",
        "What the next segment acknowledges needs no ACK of its own (RFC 9293 3.8.6.3).",
        _ack_beside_data,
        ends=False,
    ),
    Accepted(
        "limited transmit",
        "A repeated ACK lets one new segment go (RFC 3042); Linux may defer it to make a longer "
        "super-segment.",
        _limited_transmit,
    ),
    Accepted(
        "a closed socket in FIN-WAIT-2",
        "Its connection is a whole one, with RFC 5961 and out-of-order data; Linux's is a small record that "
        "looks at no ACK and takes any reset in the window.",
        _small_record,
    ),
    Accepted(
        "tail loss probe",
        "barewire probes the tail (RFC 8985 7); the kernel's probes are off, for they depend on how "
        "long a step took.",
        _tail_probe,
        ends=False,
    ),
)
