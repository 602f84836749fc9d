"""`barewire ping`: ping(8) from the stack; C answers and timestamps, Python sends and prints."""

from __future__ import annotations

import queue
import time
from ipaddress import IPv4Address
from typing import Any

from ._address import resolve_host

MAX_SIZE = 65_535 - 20 - 8  # bytes of data: the largest IPv4 packet without its headers


def ping(stack: Any, host: str, count: int | None, interval: float, size: int, wait: float) -> int:
    """Sends echo requests and prints the answers; 0 if there was one, else 1.

    interval, wait: seconds between requests, and for the last one's answer; size: bytes of data.
    Errors: OSError without a route, gaierror for a host that is no address.
    """
    destination = IPv4Address(resolve_host(host))
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    session = stack._worker.call(lambda plane: plane.echo.open(destination, answers.put))
    data = (bytes(range(256)) * (size // 256 + 1))[:size]
    times: list[int] = []
    sent, start = 0, time.monotonic()
    try:
        print(f"PING {host} ({destination}) from {session.src}: {size} bytes of data", flush=True)
        while count is None or sent < count:
            stack._worker.call(lambda plane: session.send(stack.now(), data))
            sent += 1
            last = sent == count
            end = start + (sent - 1) * interval + wait if last else start + sent * interval
            _collect(answers, times, end, sent if last else None)
    except KeyboardInterrupt:
        print()
    finally:
        stack._worker.call(lambda plane: session.close())
    _print_summary(destination, sent, times)
    return 0 if times else 1


def _collect(
    answers: queue.SimpleQueue[Any], times: list[int], end: float, wanted: int | None
) -> None:
    """Prints answers until the time `end`, or until there are `wanted` replies; adds their times in ns,
    each before it is printed: an interrupt loses none."""
    while (left := end - time.monotonic()) > 0 and (wanted is None or len(times) < wanted):
        try:
            result = answers.get(timeout=left)
        except queue.Empty:
            break
        if result.error is None:
            times.append(result.rtt)
            print(
                f"{result.size} bytes from {result.source}: icmp_seq={result.seq} "
                f"ttl={result.ttl} time={result.rtt / 1e6:.3f} ms",
                flush=True,
            )
        else:
            print(f"From {result.source} icmp_seq={result.seq} {result.error}", flush=True)


def _print_summary(destination: IPv4Address, sent: int, times: list[int]) -> None:
    lost = 100 * (sent - len(times)) / sent if sent else 0
    print(f"--- {destination} ping statistics ---")
    print(f"{sent} packets transmitted, {len(times)} received, {lost:.0f}% packet loss")
    if times:
        low, mean, high = min(times), sum(times) / len(times), max(times)
        print(f"rtt min/avg/max = {low / 1e6:.3f}/{mean / 1e6:.3f}/{high / 1e6:.3f} ms")
