"""Stacks in virtual time: run to rest at one instant, then from deadline to deadline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from barewire import Stack
from barewire.nic_drivers import Device, Faults, pipe_pair, with_faults

from .clock import Time, VirtualClock, ns, text

ROUNDS = 1_000_000  # of polling at one instant, until it is called a livelock
IDLE_TURNS = 1000  # deadlines in the past that move nothing, until it is called a livelock


class Stuck(AssertionError):
    """What the test waits for cannot happen any more: nothing is due, or time is over."""


class World:
    """Stacks and other movers that share one clock. `seed` decides every random choice in it.

    `options` go to every stack that is made here. Use as a context manager: it closes the stacks.
    """

    def __init__(self, seed: int = 1, **options: Any) -> None:
        self.clock = VirtualClock()
        self.seed = seed
        self.options = options
        self.stacks: list[Stack] = []
        self._movers: list[Callable[[], bool]] = []
        self._closers: list[Callable[[], None]] = []

    def stack(self, device: Device | list[Device] | None, *addresses: str, **options: Any) -> Stack:
        """A stack on this clock. Each has a seed of its own, from the world's."""
        key = f"{self.seed}/{len(self.stacks)}"
        chosen = {"seed": key, **self.options, **options}
        made = Stack(device, addresses=addresses, clock=self.clock, **chosen)
        self.stacks.append(made)
        return made

    def add_mover(self, mover: Callable[[], bool]) -> None:
        """A function that is called while the world comes to rest; says whether it did anything."""
        self._movers.append(mover)

    def remove_mover(self, mover: Callable[[], bool]) -> None:
        self._movers.remove(mover)

    def add_closer(self, closer: Callable[[], None]) -> None:
        """A function that is called before the stacks are closed."""
        self._closers.append(closer)

    # ---- time --------------------------------------------------------------------------------

    def rest(self) -> None:
        """Runs everything at this instant until nothing moves any more."""
        for _ in range(ROUNDS):
            moved = [stack.poll() for stack in self.stacks if not stack.closed]
            moved += [mover() for mover in self._movers]
            if not any(moved):
                return
        raise Stuck(f"livelock at {text(self.clock.now)}: frames go round without end")

    def next_deadline(self) -> int | None:
        found = [stack.next_deadline() for stack in self.stacks if not stack.closed]
        return min((d for d in found if d is not None), default=None)

    def step(self, until: int) -> bool:
        """Rests, and goes to the next deadline, if it is not after `until`. False: there is none
        by then."""
        self.rest()
        for _ in range(IDLE_TURNS):
            deadline = self.next_deadline()
            if deadline is None or deadline > until:
                return False
            if deadline > self.clock.now:
                self.clock.set(deadline)
                self.rest()
                return True
            self.rest()
        raise Stuck(f"livelock at {text(self.clock.now)}: a deadline that does not pass")

    def run(self, for_: Time) -> None:
        """Lets so much time pass."""
        end = self.clock.now + ns(for_)
        while self.step(end):
            pass
        self.clock.set(end)
        self.rest()

    def run_until(self, condition: Callable[[], bool], within: Time = "1h") -> None:
        """From deadline to deadline until the condition holds. Raises Stuck."""
        end = self.clock.now + ns(within)
        self.rest()
        while not condition():
            if not self.step(end):
                raise Stuck(f"still not so at {text(self.clock.now)}, and nothing is due")

    # ---- the end -----------------------------------------------------------------------------

    def close(self) -> None:
        for closer in self._closers:
            closer()
        for stack in self.stacks:
            stack.close()

    def __enter__(self) -> World:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def lossy_pair(
    faults: Faults | None = None,
    *,
    seed: int = 1,
    layer: int = 3,
    mtu: int = 1500,
    ring: int = 1024,
) -> tuple[Device, Device]:
    """Two ends of a link; faults happen to frames in both directions."""
    a, b = pipe_pair(layer=layer, mtu=mtu, ring=ring)
    if faults is None:
        return a, b
    return with_faults(a, faults, seed=seed), b
