"""A stack under fire: hostile frames, a badly behaved peer, sockets opened, used and closed in any
order, and time passing, with what must hold after every step.

It never crashes or hangs; every frame is accounted for; everything it sends is well formed; at rest
there is nothing to do before its next deadline; what a socket reads is what the peer's stream
holds; when all is closed, nothing is left in memory.
"""

from __future__ import annotations

import errno
from socket import SO_OOBINLINE, SOL_SOCKET
from typing import Any

from barewire.fuzz import strategies as s
from barewire.fuzz.peer import Flow, pattern
from barewire.fuzz.targets import MS, SECOND
from barewire.l2 import ARP_REQUEST, ETH_P_ARP, UNSPECIFIED, Arp
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from tests.fuzz.world import World
from tests.kit.budget import budget

TCP, UDP = 1, 2
TCP_PORT, UDP_PORT = 80, 7
EXPECTED = {
    errno.EAGAIN,
    errno.EINPROGRESS,
    errno.EALREADY,
    errno.EISCONN,
    errno.ENOTCONN,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.ECONNABORTED,
    errno.EPIPE,
    errno.ETIMEDOUT,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.EADDRINUSE,
    errno.EADDRNOTAVAIL,
    errno.EINVAL,
    errno.EMSGSIZE,
    errno.ENOBUFS,
    errno.EDESTADDRREQ,
    errno.EOPNOTSUPP,
}


class Sock:
    """A socket and what it has read. `flow_of` finds the peer's side of it."""

    def __init__(self, sock: Any, kind: int) -> None:
        self.sock = sock
        self.kind = kind
        self.got = b""


class StackMachine(RuleBasedStateMachine):
    sockets = Bundle("sockets")

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.open: list[Sock] = []

    def teardown(self) -> None:
        for sock in self.open:
            sock.sock.close()
        self.world.settle()
        self.world.advance(5 * SECOND)
        self.world.close()

    # ---- a call may fail, in a way a socket program expects ----------------------------------

    def may_fail(self, call: Any, *args: Any) -> Any:
        try:
            return call(*args)
        except OSError as why:
            assert why.errno in EXPECTED, why
            return None
        finally:
            self.world.settle()

    def new(self, sock: Any, kind: int) -> Sock:
        sock.setblocking(False)
        sock.setsockopt(SOL_SOCKET, SO_OOBINLINE, 1)  # urgent bytes are read where they stand
        self.open.append(Sock(sock, kind))
        return self.open[-1]

    # ---- frames ------------------------------------------------------------------------------

    @initialize()
    def neighbours_know_each_other(self) -> None:
        arp = Arp(ARP_REQUEST, s.PEER_MAC, s.PEER, UNSPECIFIED, s.US)
        self.world.send(s.frame(arp.build(), ETH_P_ARP))

    @rule(data=s.hostile_frames)
    def hostile_frame(self, data: bytes) -> None:
        self.world.send(data)

    @rule(burst=st.lists(s.frames, min_size=2, max_size=8))
    def burst(self, burst: list[bytes]) -> None:
        for data in burst:
            self.world.put(data)
        self.world.settle()

    @rule(on=st.booleans())
    def peer_answers_arp(self, on: bool) -> None:
        self.world.answers_arp = on

    # ---- sockets -----------------------------------------------------------------------------

    @rule(target=sockets, backlog=st.integers(0, 3))
    def listen(self, backlog: int) -> Any:
        if len(self.open) > 40:
            return multiple()
        sock = self.new(self.world.stack.socket(type=TCP), TCP)
        self.may_fail(sock.sock.bind, ("", TCP_PORT))
        self.may_fail(sock.sock.listen, backlog)
        return sock

    @rule(target=sockets)
    def udp(self) -> Any:
        if len(self.open) > 40:
            return multiple()
        sock = self.new(self.world.stack.socket(type=UDP), UDP)
        self.may_fail(sock.sock.bind, ("", UDP_PORT))
        return sock

    @rule(target=sockets, kind=st.sampled_from([TCP, UDP]), port=st.sampled_from(s.PORTS))
    def connect(self, kind: int, port: int) -> Any:
        if len(self.open) > 40:
            return multiple()
        sock = self.new(self.world.stack.socket(type=kind), kind)
        self.may_fail(sock.sock.connect, (str(s.PEER), port))
        return sock

    @rule(target=sockets, sock=sockets)
    def accept(self, sock: Sock) -> Any:
        accepted = self.may_fail(sock.sock.accept)
        return self.new(accepted[0], TCP) if accepted else multiple()

    @rule(sock=sockets, size=st.sampled_from([0, 1, 100, 1460, 5000, 100_000]))
    def send(self, sock: Sock, size: int) -> None:
        self.may_fail(sock.sock.send, bytes(size))

    @rule(sock=sockets, size=st.sampled_from([0, 1, 100, 5000]), port=st.sampled_from(s.PORTS))
    def sendto(self, sock: Sock, size: int, port: int) -> None:
        self.may_fail(sock.sock.sendto, bytes(size), (str(s.PEER), port))

    @rule(sock=sockets, size=st.sampled_from([1, 64, 65536]))
    def recv(self, sock: Sock, size: int) -> None:
        data = self.may_fail(sock.sock.recv, size)
        if data and sock.kind == TCP:
            sock.got += data
            assert sock.got == pattern(0, len(sock.got)), "not what the peer's stream holds"

    @rule(sock=sockets, how=st.integers(0, 2))
    def shutdown(self, sock: Sock, how: int) -> None:
        self.may_fail(sock.sock.shutdown, how)

    @rule(sock=consumes(sockets))
    def close(self, sock: Sock) -> None:
        sock.sock.close()
        self.open.remove(sock)
        self.world.settle()

    # ---- the peer's TCP ----------------------------------------------------------------------

    def flow(self, pick: int) -> Flow | None:
        flows = list(self.world.flows.values())
        return flows[pick % len(flows)] if flows else None

    @rule(port=st.integers(1024, 1030), options=s.syn_options)
    def peer_connects(self, port: int, options: Any) -> None:
        if (TCP_PORT, port) not in self.world.flows:
            self.world.open(TCP_PORT, port, options)

    @rule(pick=st.integers(0, 100), options=s.syn_options)
    def peer_accepts(self, pick: int, options: Any) -> None:
        flow = self.flow(pick)
        if flow is not None:
            self.world.answer(flow, options)

    @rule(pick=st.integers(0, 100), step=s.peer_steps)
    def peer_says(self, pick: int, step: s.PeerStep) -> None:
        flow = self.flow(pick)
        if flow is not None:
            self.world.say(flow, step)

    # ---- time --------------------------------------------------------------------------------

    @rule(ns=st.sampled_from([1, MS, 40 * MS, 200 * MS, SECOND, 3 * SECOND, 70 * SECOND]))
    def time_passes(self, ns: int) -> None:
        self.world.advance(ns)

    @invariant()
    def frames_are_counted(self) -> None:
        counters = self.world.stack.counters()
        assert counters["tcp_bad_state_transition"] == 0
        assert counters["tcp_announced_window_not_kept"] == 0


TestStackMachine = StackMachine.TestCase
TestStackMachine.settings = budget(200, steps=30)
