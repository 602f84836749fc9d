"""Accepted differences below the transports: fragments, ARP, ICMP."""

from __future__ import annotations

import re

from ..conversation import Step
from ..differential import Accepted, Difference
from .normal import LINUX, OURS, at, differs_in_frames, played, same, sends

NOBODY = ("000000000000", "ffffffffffff", "01005e000001")
SURE_WINDOW = 32_000  # bytes that any receive window here has at least


def _pieces(step: Step) -> list[tuple[int, int, int]]:
    numbers = [int(n) for n in step.args[3:]]
    return list(zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True))


def _overlapping(difference: Difference) -> bool:
    """Pieces of one identification that overlap, or say two ends."""
    sent = played(difference, "fragments")
    for ident in {step.args[2] for step in sent}:
        spans = [piece for step in sent if step.args[2] == ident for piece in _pieces(step)]
        if any(
            a < b + n and b < a + m for i, (a, m, _) in enumerate(spans) for b, n, _ in spans[:i]
        ):
            return True
    return False


def _header_in_pieces(difference: Difference) -> bool:
    """TCP whose header is not whole in the first fragment."""
    return any(
        step.args[0] in (0, 3)
        and any(at == 1 or (at == 0 and length < 3) for at, length, _ in _pieces(step))
        for step in played(difference, "fragments")
    )


def _beyond_a_smaller_window(difference: Difference) -> bool:
    """A mutation has moved a segment's sequence number further than either window surely reaches."""
    if difference.step.op != "mutant" or not difference.said:
        return False
    *before, last = difference.said
    ends = [at(one.seq) + one.length for one in before if one.sport == last.sport]
    return at(last.seq) - max(ends, default=0) > SURE_WINDOW and differs_in_frames(difference)


def _path_mtu(difference: Difference) -> bool:
    """After an ICMP error about size that names no MTU, or less than is believed."""
    errors = played(difference, "icmp", "icmp_udp")
    too_big = [one for one in errors if tuple(one.args[-4:-2]) == (3, 4) or one.args[1:3] == (3, 4)]
    told = any(int(one.args[-1]) < 552 or int(one.args[3]) == 0 for one in too_big)
    size = re.compile(r"( no)? df$|(?<= )mss \d+|^(sends: A seq |fragment at ).*|^call: EMSGSIZE$")
    return told and same(difference, lambda line: size.sub("", line))


def _text_as_options(difference: Difference) -> bool:
    """A mutation has made text into options."""
    return any(
        step.args[0] in (0, 3) and int(step.args[2]) == 32 for step in played(difference, "mutant")
    )


def _sent_again_for_its_size(difference: Difference) -> bool:
    """An ICMP error about size, and what is in flight would fit."""
    step, ours = difference.step, sends(difference, OURS)
    return (
        step.op == "icmp"
        and tuple(step.args[1:3]) == (3, 4)
        and bool(ours)
        and all(re.match(r"sends: F?AU? seq ", line) for line in ours)
        and not sends(difference, LINUX)
        and differs_in_frames(difference)
    )


def _arp_of_nobody(difference: Difference) -> bool:
    step = difference.step
    return (
        step.op == "arp"
        and (step.args[1] in NOBODY or step.args[2] == "198.18.0.255")
        and not sends(difference, OURS)
        and all(line.startswith("sends: ARP reply") for line in sends(difference, LINUX))
    )


PACKETS: tuple[Accepted, ...] = (
    Accepted(
        "overlapping fragments",
        "A datagram whose fragments overlap is dropped, and so is what still comes of it (RFC 5722 4); "
        "Linux passes over a piece inside one that it has, and begins anew after an overlap.",
        _overlapping,
    ),
    Accepted(
        "size of the window",
        "How far a window reaches is each stack's own: what lies in one may lie beyond the other.",
        _beyond_a_smaller_window,
    ),
    Accepted(
        "a header longer than its options",
        "Options that cannot be read count for nothing; Linux drops the segment, or sends no reset for it, "
        "if they might be broken ones of authentication.",
        _text_as_options,
    ),
    Accepted(
        "what a smaller path MTU sends again",
        "All that is in flight; Linux looks which segments are too long.",
        _sent_again_for_its_size,
    ),
    Accepted(
        "an MTU that is not named, or too small",
        "The first is guessed by the plateaus of RFC 1191 7.1, and both are believed of half-open "
        "connections, too; Linux takes its smallest, not of those, and says it in its MSS.",
        _path_mtu,
    ),
    Accepted(
        "TCP header in two fragments",
        "A first fragment has a whole TCP header (RFC 1858, RFC 3128); Linux takes any.",
        _header_in_pieces,
    ),
    Accepted(
        "ARP from nobody's address",
        "Zero, broadcast and groups are nobody's, and get no answer; Linux answers.",
        _arp_of_nobody,
        ends=False,
    ),
)
