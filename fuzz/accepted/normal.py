"""What matchers of accepted differences are made of: a difference in its normal form, the steps and segments
that led to it."""

from __future__ import annotations

import re
from collections.abc import Callable

from ..conversation import Step
from ..differential import Difference
from ..peer import PEER_ISS, SEQ

FIN, SYN, RST, _PSH, ACK, URG = (1 << n for n in range(6))
CONNECTS = ("connect", "again", "udp_connect")
OURS, LINUX = 0, 1
BARE_ACK = re.compile(
    r"sends: AU? seq \d+ ack \d+ of 0( urgent \d+)?( sack \d+-\d+)*( tos \d+)?( ttl \d+)?( no df)?$"
)
SEGMENTS = (
    "say",
    "urge",
    "stamped",
    "options",
    "step",
)  # flow, flags and size are their first arguments
Change = Callable[[str], str]  # of a line; to "": it goes


def same(difference: Difference, change: Change) -> bool:
    """Are the answers equal in that normal form?"""
    ours, linux = ([change(line) for line in difference.lines(which)] for which in (OURS, LINUX))
    return [line for line in ours if line] == [line for line in linux if line]


def without(pattern: str) -> Change:
    """Drops what the pattern finds in a line."""
    return lambda line: re.sub(pattern, "", line)


def flags(step: Step) -> int:
    return int(step.args[1]) if step.op in SEGMENTS else 0


def size(step: Step) -> int:
    return int(step.args[2]) if step.op in SEGMENTS else 0


def at(number: int) -> int:
    """A sequence number of the peer's, counted from its first."""
    return (number - PEER_ISS + SEQ // 2) % SEQ - SEQ // 2


def contradicts_the_end(difference: Difference) -> bool:
    """The peer has put text at or behind a FIN of its, or two FINs at different places."""
    flows = {(one.sport, one.dport) for one in difference.said}
    for flow in flows:
        mine = [one for one in difference.said if (one.sport, one.dport) == flow]
        ends = {at(one.seq) + len(one.payload) for one in mine if one.flags & FIN}
        if ends and any(at(one.seq) + len(one.payload) > min(ends) for one in mine):
            return True
    return bool(
        difference.step.op in ("fragments", "mutant")
        and any(s.flags & FIN for s in difference.said)
    )


def played(difference: Difference, *ops: str) -> list[Step]:
    """The steps of those operations up to the difference."""
    return [step for step in difference.steps[: difference.at + 1] if step.op in ops]


def sends(difference: Difference, which: int) -> list[str]:
    """The frames that only one has sent."""
    return [line for line in difference.only(which) if line.startswith("sends: ")]


def differs_in_frames(difference: Difference) -> bool:
    return same(difference, without("^sends: .*"))


def acks(difference: Difference, which: int) -> bool:
    """Bare ACKs are all that only this one sent."""
    return all(BARE_ACK.match(line) for line in sends(difference, which))


def only_we_ack(difference: Difference) -> bool:
    """Bare ACKs of ours, where Linux sent nothing, are the whole difference."""
    return acks(difference, OURS) and not sends(difference, LINUX) and differs_in_frames(difference)


def closed(line: str) -> str:
    return line.replace("state 6", "state 7")
