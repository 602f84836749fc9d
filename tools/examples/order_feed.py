"""A binary order feed: from UDP through a lock-free queue to another thread, no object per packet.

    python -m barewire.tools.examples.order_feed [ORDERS]

A message is 25 bytes, little endian: order id u64, price u64 and quantity u64 (fixed point, units of
10^-8), side u8 (0 buy, 1 sell); a datagram holds any number of them, an empty one ends the feed. One
thread takes datagrams in by batches and moves their messages into the queue, in C; the other parses them
where they lie: as a structured numpy array, or without numpy with struct. Here the feed is made up, and
comes from a second stack at the other end of a pipe; on an interface it is the same program.
"""

from __future__ import annotations

import random
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Any

from barewire import Batch, Stack
from barewire.nic_drivers import pipe_pair
from barewire.spsc import Queue

try:
    import numpy
except ImportError:
    numpy = None  # type: ignore[assignment]

MESSAGE = Struct("<QQQB")
FIELDS = [("id", "<u8"), ("price", "<u8"), ("quantity", "<u8"), ("side", "u1")]  # numpy's words
MESSAGES = 58  # in a datagram at most: 1450 bytes
UNIT = 10**8
FEED = ("198.18.0.2", 9000)
RECEIVE_BUFFER = 16 << 20
PATIENCE = 10.0  # seconds without a datagram, until the feed is given up


@dataclass
class Totals:
    """What a feed adds up to."""

    orders: int = 0
    ids: int = 0  # their sum
    bought: int = 0  # quantities, in units of 10^-8
    sold: int = 0
    highest: int = 0  # price

    def add(self, view: memoryview) -> None:
        """Adds messages that lie side by side."""
        if numpy is not None:
            self._add_array(numpy.frombuffer(view, FIELDS))
            return
        for number, price, quantity, side in MESSAGE.iter_unpack(view):
            self.orders += 1
            self.ids += number
            self.highest = max(self.highest, price)
            if side:
                self.sold += quantity
            else:
                self.bought += quantity

    def _add_array(self, orders: Any) -> None:
        sells = orders["side"] != 0
        self.orders += len(orders)
        self.ids += int(orders["id"].sum())
        self.highest = max(self.highest, int(orders["price"].max()))
        sold = int(orders["quantity"][sells].sum())
        self.sold += sold
        self.bought += int(orders["quantity"].sum()) - sold

    def __str__(self) -> str:
        return (
            f"{self.orders:,} orders, ids {self.ids:,}, bought {self.bought / UNIT:,.8f}, "
            f"sold {self.sold / UNIT:,.8f}, highest price {self.highest / UNIT:,.8f}"
        )


# ---- the two threads -----------------------------------------------------------------------------


def ingest(sock: Any, queue: Queue) -> None:
    """From the socket into the queue, until an empty datagram comes."""
    batch = Batch(64, MESSAGES * MESSAGE.size)
    try:
        n = sock.recv_batch(batch)
        while batch.lengths[n - 1]:
            queue.push_batch(batch, n)
            n = sock.recv_batch(batch)
        queue.push_batch(batch, n)
    finally:
        queue.close()


def read(queue: Queue, totals: Totals) -> None:
    """Adds up what comes through the queue, until it is closed and empty."""
    while queue.wait():
        view = queue.peek()
        totals.add(view)
        queue.release(len(view) // MESSAGE.size)


# ---- a feed to read ------------------------------------------------------------------------------


def datagrams(orders: int, seed: int = 1) -> Iterator[bytes]:
    """Orders around a price that wanders, one to 58 in a datagram."""
    dice = random.Random(seed)
    price, number = 100 * UNIT, 0
    while number < orders:
        count = min(dice.randint(1, MESSAGES), orders - number)
        messages = bytearray()
        for number in range(number + 1, number + count + 1):  # noqa: B020
            price = max(UNIT, price + dice.randint(-UNIT // 100, UNIT // 100))
            messages += MESSAGE.pack(number, price, dice.randint(1, 10 * UNIT), dice.getrandbits(1))
        yield bytes(messages)


def send(sock: Any, feed: list[bytes]) -> None:
    """The feed in batches of 64 datagrams, then the empty one."""
    batch = Batch(64, MESSAGES * MESSAGE.size)
    for first in range(0, len(feed), len(batch)):
        part = feed[first : first + len(batch)]
        for i, data in enumerate(part):
            batch[i] = data
        sock.send_batch(batch, len(part))
    sock.send(b"")


@dataclass
class Outcome:
    """One run: what was sent, what was read, and how long it took."""

    sent: Totals
    read: Totals
    datagrams: int
    dropped: int  # messages that found the queue full
    seconds: float


def run(orders: int = 200_000) -> Outcome:
    """Sends that many orders through. Queue and receive buffer have room for 400,000, however late the
    threads are: up to there nothing can be lost."""
    feed = list(datagrams(orders))
    sent, totals = Totals(), Totals()
    sent.add(memoryview(b"".join(feed)))
    queue = Queue(MESSAGE.size, orders)
    ours, theirs = pipe_pair(layer=3)
    with (
        Stack(ours, addresses=[f"{FEED[0]}/24"]) as stack,
        Stack(theirs, addresses=["198.18.0.1/24"]) as exchange,
        stack.socket(type=socket.SOCK_DGRAM) as receiver,
        exchange.socket(type=socket.SOCK_DGRAM) as sender,
    ):
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        receiver.bind(FEED)
        receiver.settimeout(PATIENCE)
        sender.connect(FEED)
        threads = [
            threading.Thread(target=ingest, args=(receiver, queue)),
            threading.Thread(target=read, args=(queue, totals)),
        ]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        send(sender, feed)
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - start
    return Outcome(sent, totals, len(feed), queue.dropped, seconds)


def main(arguments: list[str]) -> int:
    done = run(int(arguments[0]) if arguments else 200_000)
    print(f"sent: {done.sent}")
    print(f"read: {done.read}")
    print(
        f"{done.read.orders / done.seconds:,.0f} orders/s in {done.datagrams / done.seconds:,.0f} "
        f"datagrams/s, parsed with {'struct' if numpy is None else 'numpy'}; {done.dropped} dropped"
    )
    if done.sent != done.read:
        print("they differ")
        return 1
    print("they match")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
