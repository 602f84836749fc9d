"""Conversations: frames of a peer and calls of a program, as data, drawn from a seed and played to a target.

A `Step` names an operation and its arguments, all numbers: the same list can be played to any target, kept
in a file, and shrunk. What a target did in answer is an `Answer`: the result of the call, the frames that
it sent in an order of meaning (numbers relative to the first ones), and what every socket says of itself.
"""

from __future__ import annotations

import errno
import inspect
import select
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from barewire.stack.tcp.segment import Flags

from .calls import Calls
from .frames import SYN_OPTIONS, Frames
from .peer import Peer
from .scene import Place
from .seen import Witness
from .strategies import PeerStep
from .targets import MS, Target

__all__ = ["FLUSH", "SYN_OPTIONS", "Answer", "Place", "Player", "Step"]

FLUSH = 60  # ms after which a delayed ACK has gone


@dataclass(frozen=True, slots=True)
class Step:
    """One operation of `Player` by name, with its arguments: numbers, and text for bytes and addresses."""

    op: str
    args: tuple[int | str, ...] = ()

    @classmethod
    def checked(cls, op: str, args: Iterable[int | str]) -> Step:
        """Raises ValueError for an operation or arguments that `Player` does not know."""
        operation = getattr(Player, f"on_{op}", None)
        if operation is None:
            names = sorted(name[3:] for name in dir(Player) if name.startswith("on_"))
            raise ValueError(f"no operation {op!r}: there are {', '.join(names)}")
        step = cls(op, tuple(args))
        try:
            inspect.signature(operation).bind(None, *step.args)
        except TypeError as error:
            raise ValueError(f"{op}: {error}") from None
        if not all(isinstance(a, (int, str)) for a in step.args):
            raise ValueError(f"{op}: arguments are numbers and texts")
        return step

    def __str__(self) -> str:
        return f"{self.op}({', '.join(map(str, self.args))})"


@dataclass(slots=True)
class Answer:
    """What a target did in answer to a step: the `result` of a call, its `frames`, what each socket says.

    `acks` are the bare ACKs of what came in order, which each stack sends when it likes (RFC 9293 3.8.6.3);
    `heard` is what it has acknowledged so far, by the peer's port, and `again` the bare ACKs among its frames
    that say no more.
    """

    result: str = ""
    frames: list[str] = field(default_factory=list)
    sockets: list[str] = field(default_factory=list)
    acks: list[str] = field(default_factory=list)
    again: dict[str, tuple[int, int]] = field(default_factory=dict)
    heard: dict[int, int] = field(default_factory=dict)

    def lines(self) -> list[str]:
        found = [f"call: {self.result}"] if self.result else []
        return found + [f"sends: {f}" for f in self.frames] + [f"has: {s}" for s in self.sockets]

    def beside(self, other: Answer) -> list[str]:
        """Its lines, without those that the other may have said in an ACK of its own time, or has still to
        say: to it, what came is not old yet."""
        early = {f"sends: {ack}" for ack in other.acks}
        early |= {
            f"sends: {text}"
            for text, (port, ack) in self.again.items()
            if other.heard.get(port, ack) != ack
        }
        return [line for line in self.lines() if line not in early]


class Player(Calls, Frames):
    """Plays steps to one target; sockets and flows are named by the order of their making."""

    def __init__(self, target: Target, peer: Peer, place: Place) -> None:
        super().__init__(target, peer, place)
        self._witness = Witness(peer, place)

    def play(self, step: Step) -> Answer:
        answer = Answer()
        operation: Callable[..., Any] = getattr(self, f"on_{step.op}")
        frames: list[bytes] = []
        try:
            found = operation(*step.args)
            if isinstance(found, list):
                frames = found
            elif found is not None:
                answer.result = str(found)
        except OSError as error:
            answer.result = errno.errorcode.get(error.errno or 0, type(error).__name__)
        except (TypeError, ValueError, OverflowError) as error:
            answer.result = type(error).__name__
        frames += self.peer.settle()
        self._learn_flows()
        for frame in frames:
            text = self._witness.describe(frame)
            if text:
                (answer.acks if self._witness.is_usual_ack else answer.frames).append(text)
            if text and self._witness.is_repeated_ack:
                port = int.from_bytes(frame[36:38], "big")
                answer.again[text] = (port, self._witness.last_ack[port])
        answer.heard = dict(self._witness.last_ack)
        answer.sockets = [self._state(i) for i in range(len(self.sockets)) if self.sockets[i]]
        return answer

    def end(self) -> None:
        """Closes the sockets and resets what the peer has open."""
        for sock in self.sockets:
            if sock is not None:
                sock.close()
        self.peer.settle()
        for flow in self.flows:
            for offset in (0, flow.acked - flow.snd):
                self.peer.say(flow, PeerStep(Flags.RST, seq=offset if abs(offset) < 1 << 20 else 0))
        self.peer.flows.clear()

    def on_wait(self, ms: int) -> list[bytes]:
        return self.peer.advance(ms * MS)

    def _state(self, i: int) -> str:
        sock, kind = self.sockets[i], self.kinds[i]
        poll = self.target.poll()
        poll.register(sock, select.POLLIN | select.POLLOUT | select.POLLPRI | select.POLLRDHUP)
        events = poll.poll(0)
        words = [f"{i} {kind}", "|".join(_event_names(events[0][1] if events else 0))]
        if kind == "stream":
            words.append(f"state {sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]}")
        return " ".join(words)


def _event_names(bits: int) -> list[str]:
    names = ("POLLIN", "POLLPRI", "POLLOUT", "POLLERR", "POLLHUP", "POLLRDHUP")
    return [n[4:] for n in names if bits & getattr(select, n)]
