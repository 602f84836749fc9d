"""The same conversation with two targets: what one answers, the other should answer too.

`compare` plays it and returns the first step at which they differ, `shrink` drops the steps that do not
matter. What may differ stands in a table of `Accepted` differences, each with its reason.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network

from barewire.stack.tcp.segment import Segment

from .conversation import Answer, Place, Player, Step
from .peer import Peer
from .targets import Target

NETWORK = IPv4Network("198.19.0.0/16")  # of the peers, behind the gateway
FIRST_PORT, LAST_PORT = 2000, 40_000


@dataclass(frozen=True, slots=True)
class Difference:
    """At `steps[at]` (the steps before are the way there) the two answered so; `said` are the segments that
    the peer has sent so far."""

    steps: tuple[Step, ...]
    at: int
    answers: tuple[Answer, Answer]
    names: tuple[str, str]
    said: tuple[Segment, ...] = ()

    @property
    def step(self) -> Step:
        return self.steps[self.at]

    def lines(self, which: int) -> list[str]:
        """One answer, without what the other said at another time."""
        return self.answers[which].beside(self.answers[1 - which])

    def only(self, which: int) -> list[str]:
        """The lines of one answer that the other has not."""
        other = self.lines(1 - which)
        return [line for line in self.lines(which) if line not in other]

    @property
    def kind(self) -> str:
        """What differs, without the numbers: alike for those that probably have one cause."""
        return re.sub(r"\d+", "N", f"{self.step.op}: {self.only(0)} and not {self.only(1)}")

    def __str__(self) -> str:
        lines = [f"  {i}. {step}" for i, step in enumerate(self.steps[: self.at + 1])]
        for which, name in enumerate(self.names):
            lines += [f"  {name}:", *(f"    {line}" for line in self.lines(which))]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A difference that is known, and why it may be. `ends`: the two stand differently after it, and the
    rest of the conversation says nothing; otherwise it goes on."""

    name: str
    why: str
    matches: Callable[[Difference], bool]
    ends: bool = True


class Differential:
    """Plays conversations to two targets, each at a place of its own in the network."""

    def __init__(self, ours: Target, reference: Target) -> None:
        self.targets = (ours, reference)
        self.peers = (Peer(ours), Peer(reference))
        self.played = 0

    def compare(self, steps: Sequence[Step], report: Report | None = None) -> Difference | None:
        """The first difference that `report` does not accept."""
        report = report or Report(())
        place = self._next_place()
        said = self.peers[0].said
        said.clear()
        players = [Player(t, p, place) for t, p in zip(self.targets, self.peers, strict=True)]
        try:
            for at, step in enumerate(steps):
                ours, theirs = (player.play(step) for player in players)
                if ours.beside(theirs) == theirs.beside(ours):
                    continue
                names = (self.targets[0].name, self.targets[1].name)
                found = Difference(tuple(steps), at, (ours, theirs), names, tuple(said))
                known = report.accepts(found)
                if known is None:
                    return found
                if known.ends:
                    break
            return None
        finally:
            for player in players:
                player.end()
                player.target.forget()

    def confirmed(self, steps: Sequence[Step], report: Report) -> Difference | None:
        """As `compare`, but seen twice: the kernel's time is real, and a busy machine stretches it."""
        found = self.compare(steps, report)
        return found and self.compare(steps, Report(report.accepted))

    def shrink(self, difference: Difference, accepted: Sequence[Accepted] = ()) -> Difference:
        """The same kind of difference with as few steps as dropping them one by one leaves."""
        steps = list(difference.steps[: difference.at + 1])
        best = difference
        at = len(steps) - 2
        while at >= 0:
            tried = steps[:at] + steps[at + 1 :]
            found = self.compare(tried, Report(accepted))
            if found is not None and found.step == best.step and found.at == len(tried) - 1:
                steps, best = tried, found
            at -= 1
        return best

    def _next_place(self) -> Place:
        """A new port each time, and a new peer, for what a host remembers of one (its path MTU)."""
        n = self.played
        self.played += 1
        address = NETWORK.network_address + 1 + n % (NETWORK.num_addresses - 2)
        return Place(address, FIRST_PORT + 5 * n % (LAST_PORT - FIRST_PORT))


class Report:
    """Counts differences: `known` ones by their name, `new` kinds that no `Accepted` matched."""

    def __init__(self, accepted: Sequence[Accepted]) -> None:
        self.accepted = accepted
        self.known: Counter[str] = Counter()
        self.new: Counter[str] = Counter()

    def accepts(self, difference: Difference) -> Accepted | None:
        """The first entry that matches, and counts it."""
        for one in self.accepted:
            if one.matches(difference):
                self.known[one.name] += 1
                return one
        return None

    def add(self, difference: Difference) -> bool:
        """True: a new kind, seen for the first time."""
        self.new[difference.kind] += 1
        return self.new[difference.kind] == 1

    def __str__(self) -> str:
        lines = [f"{n:6}  known: {name}" for name, n in self.known.most_common()]
        lines += [f"{n:6}  NEW: {kind}" for kind, n in self.new.most_common()]
        return "\n".join(
            [f"{sum(self.new.values())} differences, {len(self.new)} new kinds", *lines]
        )
