"""The neighbour cache: which MAC address is behind a next hop (states of RFC 4861 7.3.2).

ARP uses it and NDP will: whoever asks on the wire is the `solicit` function given. C holds a copy
of each usable entry and forwards by it; an entry stays published until it is withdrawn here. States
move without per-packet work: C notes when an entry was last used and last confirmed by TCP's
progress, and the timers here read that (`neigh_get`).

    INCOMPLETE  asked, no answer yet; packets wait (bounded)
    REACHABLE   confirmed not longer than a random 15 to 45 s ago
    STALE       published, not confirmed lately, not used either
    DELAY       used while stale: 5 s for something to confirm it
    PROBE       asked by unicast; after three unanswered it is withdrawn
    FAILED      nobody answered; the next packet starts over
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable
from random import Random

from .deadlines import SECOND, Deadlines
from .mac import Mac
from .neighbour_table import Key, Neighbour, NeighbourTable, Sender, State
from .port import Address, LinkPort

RETRANS_TIMER = 1 * SECOND  # RFC 4861 section 10
MAX_SOLICIT = 3  # multicast (broadcast) and unicast alike
REACHABLE_TIME = 30 * SECOND
DELAY_FIRST_PROBE = 5 * SECOND
STALE_CHECK = 5 * SECOND  # how often a stale entry is looked at for use
STALE_KEEP = 600 * SECOND  # unused that long: withdrawn and forgotten
FAILED_KEEP = 20 * SECOND
LOCK_TIME = 1 * SECOND  # a MAC address just learned is not overwritten by hearsay (as Linux)
MAX_PENDING = 128  # packets a neighbour, the most of one message (UDP_SEGMENT); the oldest goes
MAX_PENDING_BYTES = 4 << 20  # of all neighbours that one kind of sender caused; the newest goes
MAX_STRANGERS_PENDING = 3  # answers that wait for a stranger's address, and of all strangers:
MAX_STRANGERS_BYTES = 256 << 10
MAX_DUE = 64  # timers served in one call; what is left is due at once
MAX_ENTRIES = 1024

Solicit = Callable[[int, int, Address, Mac | None], None]


class NeighbourCache:
    """All neighbours of one stack. `solicit(now, ifindex, ip, mac)` asks on the wire: with a MAC by
    unicast, with None by broadcast or multicast. Counters are in `counters`."""

    def __init__(
        self,
        port: LinkPort,
        solicit: Solicit,
        rng: Random,
        counters: Counter[str] | None = None,
        max_entries: int = MAX_ENTRIES,
        max_pending: int = MAX_PENDING,
    ) -> None:
        self.counters: Counter[str] = Counter() if counters is None else counters
        self._port = port
        self._solicit = solicit
        self._rng = rng
        self._table = NeighbourTable(port, max_entries)
        self._max_pending = dict.fromkeys(Sender, max_pending)
        self._max_pending[Sender.STRANGER] = MAX_STRANGERS_PENDING
        self._pending_bytes = dict.fromkeys(Sender, 0)
        self._timers: Deadlines[Key] = Deadlines()

    def __len__(self) -> int:
        return len(self._table)

    def get(self, ifindex: int, ip: Address) -> Neighbour | None:
        return self._table.get((ifindex, ip))

    def entries(self) -> list[Neighbour]:
        return self._table.entries()

    # ---- what happens ------------------------------------------------------------------------

    def resolve(
        self,
        now: int,
        ifindex: int,
        ip: Address,
        packet: bytes,
        sender: Sender = Sender.DATAGRAM,
    ) -> None:
        """A packet waits for this next hop: it is sent once the neighbour answers."""
        entry = self.get(ifindex, ip)
        if entry is not None:
            self._adopt(entry, sender)
        if entry is None:
            entry = self._create(now, ifindex, ip, sender)
            if entry is None:
                self._port.local_error(packet, errno.EHOSTUNREACH)
                return
            self._ask(now, entry)
        elif entry.state is State.FAILED:
            self._enter(now, entry, State.INCOMPLETE)
            entry.probes = 0
            self._ask(now, entry)
        elif entry.state is not State.INCOMPLETE:
            # Punted just before the entry was published: it only has to go again.
            self._port.send_via(ifindex, ip, packet)
            return
        self._hold(entry, packet)

    def confirm(self, now: int, ifindex: int, ip: Address, mac: Mac) -> None:
        """The neighbour answered: a reply to us. A new MAC address without an open question is only
        hearsay."""
        entry = self.get(ifindex, ip)
        if entry is None:
            self.counters["neigh_unasked"] += 1
        elif entry.state in (State.INCOMPLETE, State.PROBE) or mac == entry.mac:
            self._learn(now, entry, mac)
            self._reachable(now, entry, now)
        else:
            self.observe(now, ifindex, ip, mac)

    def observe(self, now: int, ifindex: int, ip: Address, mac: Mac, create: bool = False) -> None:
        """The neighbour was heard of (a request of its own, an announcement). Updates what is
        there; a new entry only with create: somebody who asks for us will want to be answered."""
        entry = self.get(ifindex, ip)
        if entry is None:
            if not create or (entry := self._create(now, ifindex, ip, Sender.STRANGER)) is None:
                return
        elif entry.published:
            if entry.mac == mac:
                return  # RFC 4861 7.2.3: no proof that our packets reach it
            if now - entry.updated < LOCK_TIME:
                self.counters["neigh_update_too_soon"] += 1
                return
        self._learn(now, entry, mac)
        self._stale(now, entry)

    def forget(self, ifindex: int, ip: Address | None = None) -> None:
        """Withdraws one neighbour, or all of an interface (its address or link went away)."""
        for entry in self.entries():
            if entry.ifindex == ifindex and ip in (None, entry.ip):
                self._remove(entry)

    def on_timer(self, now: int) -> None:
        for key in self._timers.due(now, MAX_DUE):
            entry = self.get(*key)
            assert entry is not None, "a timer goes with its entry"
            if entry.state is State.INCOMPLETE:
                self._retry(now, entry)
            elif entry.state is State.FAILED:
                self._remove(entry)
            elif not self._confirmed_by_use(now, entry):
                self._move_on(now, entry)

    def next_deadline(self) -> int | None:
        return self._timers.next()

    # ---- the states --------------------------------------------------------------------------

    def _move_on(self, now: int, entry: Neighbour) -> None:
        """The timer of a published entry ran out and nothing confirmed it meanwhile."""
        if entry.state is State.DELAY:
            self._enter(now, entry, State.PROBE)
            entry.probes = 0
            self._ask(now, entry)
        elif entry.state is State.PROBE:
            self._retry(now, entry)
        elif entry.state is State.REACHABLE:
            self._stale(now, entry)
        elif self._used_since(entry):
            self._enter(now, entry, State.DELAY)
            self._set(entry, now + DELAY_FIRST_PROBE)
        elif now - entry.since >= STALE_KEEP:  # unused all that time, or it were in DELAY
            self._remove(entry)
        else:
            self._set(entry, now + STALE_CHECK)

    def _used_since(self, entry: Neighbour) -> bool:
        """Did C send through it since it became stale?"""
        info = self._port.neigh_get(entry.ifindex, entry.ip)
        return info is not None and info.used is not None and info.used > entry.since

    def _confirmed_by_use(self, now: int, entry: Neighbour) -> bool:
        """Forward progress of a connection is as good as an answer (RFC 4861 7.3.1)."""
        info = self._port.neigh_get(entry.ifindex, entry.ip)
        if info is None or info.confirmed is None or info.confirmed > now:
            return False
        if entry.confirmed is not None and info.confirmed <= entry.confirmed:
            return False
        if info.confirmed < entry.updated or now - info.confirmed >= REACHABLE_TIME:
            return False
        self._reachable(now, entry, info.confirmed)
        return True

    def _reachable(self, now: int, entry: Neighbour, confirmed: int) -> None:
        entry.confirmed = confirmed
        entry.probes = 0
        self._enter(now, entry, State.REACHABLE)
        span = self._rng.randrange(REACHABLE_TIME // 2, REACHABLE_TIME * 3 // 2 + 1)
        self._set(entry, max(confirmed + span, now + 1))

    def _stale(self, now: int, entry: Neighbour) -> None:
        self._enter(now, entry, State.STALE)
        self._set(entry, now + STALE_CHECK)

    def _enter(self, now: int, entry: Neighbour, state: State) -> None:
        entry.state = state
        entry.since = now
        self._table.place(entry)

    def _learn(self, now: int, entry: Neighbour, mac: Mac) -> None:
        """Publishes the address and sends what waited."""
        if entry.mac != mac or not entry.published:
            entry.mac = mac
            entry.updated = now
            if not self._port.neigh_set(entry.ifindex, entry.ip, mac):
                self.counters["neigh_publish_failed"] += 1
        for packet in self._waiting(entry):
            self._port.send_via(entry.ifindex, entry.ip, packet)

    def _hold(self, entry: Neighbour, packet: bytes) -> None:
        """The packet waits, within the bounds; strangers have little and nothing of the program's."""
        bound = MAX_STRANGERS_BYTES if entry.sender is Sender.STRANGER else MAX_PENDING_BYTES
        if self._pending_bytes[entry.sender] + len(packet) > bound:
            self.counters["drop_neigh_pending_full"] += 1
            return
        if len(entry.pending) >= self._max_pending[entry.sender]:
            self._pending_bytes[entry.sender] -= len(entry.pending.popleft())
            self.counters["drop_neigh_pending_full"] += 1
        entry.pending.append(packet)
        self._pending_bytes[entry.sender] += len(packet)

    def _adopt(self, entry: Neighbour, sender: Sender) -> None:
        """Somebody sends to it too; the entry is whose counts more."""
        if sender <= entry.sender:
            return
        waiting = sum(map(len, entry.pending))
        self._pending_bytes[entry.sender] -= waiting
        self._pending_bytes[sender] += waiting
        entry.sender = sender
        self._table.place(entry)

    def _waiting(self, entry: Neighbour) -> list[bytes]:
        """Takes what waits."""
        waiting = list(entry.pending)
        entry.pending.clear()
        self._pending_bytes[entry.sender] -= sum(map(len, waiting))
        return waiting

    def _ask(self, now: int, entry: Neighbour) -> None:
        entry.probes += 1
        self.counters["neigh_solicitations"] += 1
        self._set(entry, now + RETRANS_TIMER)
        self._port.neigh_ask(entry.ifindex, entry.ip)
        self._solicit(now, entry.ifindex, entry.ip, entry.mac if entry.published else None)

    def _retry(self, now: int, entry: Neighbour) -> None:
        if entry.probes < MAX_SOLICIT:
            self._ask(now, entry)
            return
        self.counters["neigh_failed"] += 1
        self._port.neigh_del(entry.ifindex, entry.ip)
        self._enter(now, entry, State.FAILED)
        self._set(entry, now + FAILED_KEEP)
        self._give_up(entry)

    def _give_up(self, entry: Neighbour) -> None:
        for packet in self._waiting(entry):
            self._port.local_error(packet, errno.EHOSTUNREACH)

    # ---- the table ---------------------------------------------------------------------------

    def _set(self, entry: Neighbour, when: int) -> None:
        self._timers.set(entry.key, when)

    def _create(self, now: int, ifindex: int, ip: Address, sender: Sender) -> Neighbour | None:
        """A new entry, not published yet; None: the table is full of neighbours that are in use."""
        if len(self._table) >= self._table.size:
            spare = self._table.spare(now, sender)
            if spare is None:
                self.counters["drop_neigh_table_full"] += 1
                return None
            self._remove(spare)
            self.counters["neigh_evicted"] += 1
        entry = Neighbour(ifindex, ip, State.INCOMPLETE, now, sender, updated=now)
        self._table.place(entry)
        return entry

    def _remove(self, entry: Neighbour) -> None:
        if entry.state is not State.FAILED:
            self._port.neigh_del(entry.ifindex, entry.ip)
        self._table.remove(entry)
        self._timers.cancel(entry.key)
        self._give_up(entry)
