"""The measured programs, and their peers: one text for the kernel's sockets and for barewire's.

Each function takes `net`, which has the socket module's `socket` (the module itself, or a
barewire.Stack), and the order it was given; it returns plain numbers. In a blocking run a program
waits in `recv`; in a spinning one (`spin`) it asks a non-blocking socket again and again. Messages
are 64 bytes. The server's end says it is ready through `ready()` before it waits.
"""

from __future__ import annotations

import array
import contextlib
import functools
import socket
import time
from collections.abc import Callable
from typing import Any

from barewire import Batch

MESSAGE = bytes(range(1, 65))
STOP = bytes(64)  # a message that ends the peer's loop
BUFFER = 256 * 1024
BATCH = 64  # datagrams a call sends
WARM_UP = 200  # round trips that are not counted

Order = dict[str, Any]
Ready = Callable[[], None]
clock = time.perf_counter_ns


def tcp_socket(net: Any, order: Order) -> Any:
    sock = net.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, order["congestion"].encode())
    return sock


def udp_socket(net: Any) -> Any:
    return net.socket(socket.AF_INET, socket.SOCK_DGRAM)


def congestion_of(sock: Any) -> str:
    name = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
    return str(name.split(b"\0")[0].decode())


def connected(net: Any, order: Order) -> Any:
    sock = tcp_socket(net, order)
    sock.connect((order["host"], order["port"]))
    return sock


def listening(net: Any, order: Order, ready: Ready) -> Any:
    sock = tcp_socket(net, order)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((order["host"], order["port"]))
    sock.listen(128)
    ready()
    return sock


def accepted(net: Any, order: Order, ready: Ready) -> Any:
    listener = listening(net, order, ready)
    sock, _ = listener.accept()
    listener.close()
    return sock


# ---- request and response ------------------------------------------------------------------------


def exchange(sock: Any, buffer: bytearray, spin: bool) -> Callable[[], None]:
    """One round trip of 64 bytes on a connected socket, as a function."""
    send, recv_into = sock.send, sock.recv_into

    def blocking() -> None:
        send(MESSAGE)
        got = recv_into(buffer)
        while got < 64:
            got += recv_into(buffer)

    def spinning() -> None:
        send(MESSAGE)
        got = 0
        while got < 64:
            try:
                got += recv_into(buffer)
            except BlockingIOError:
                pass

    sock.setblocking(not spin)
    return spinning if spin else blocking


def round_trips(sock: Any, order: Order) -> dict[str, Any]:
    """Round trips for `seconds`: rate per second, percentiles in microseconds."""
    once = exchange(sock, bytearray(2048), order["spin"])
    for _ in range(WARM_UP):
        once()
    times = array.array("q")
    note = times.append
    start = before = clock()
    end = start + int(order["seconds"] * 1e9)
    while before < end:
        once()
        now = clock()
        note(now - before)
        before = now
    return {"rate": len(times) * 1e9 / (before - start), **percentiles(times)}


def percentiles(times: array.array[int]) -> dict[str, float]:
    ordered = sorted(times)
    last = len(ordered) - 1
    return {
        f"p{p:g}": ordered[min(last, int(len(ordered) * p / 100))] / 1e3
        for p in (50, 99, 99.9, 99.99)
    }


def answer(sock: Any, spin: bool) -> None:
    """The peer of round_trips: sends back what comes, until STOP or the end of the stream."""
    buffer = bytearray(2048)
    view = memoryview(buffer)
    recv_into, send = sock.recv_into, sock.send
    sock.setblocking(not spin)
    while True:
        try:
            got = recv_into(buffer)
        except BlockingIOError:
            continue
        if got == 0 or not buffer[0]:  # the end, or STOP
            return
        send(view[:got])


def tcp_rr(net: Any, order: Order) -> dict[str, Any]:
    with connected(net, order) as sock:
        return {**round_trips(sock, order), "congestion": congestion_of(sock)}


def tcp_rr_peer(net: Any, order: Order, ready: Ready) -> dict[str, Any]:
    with accepted(net, order, ready) as sock:
        answer(sock, order["spin"])
        return {"congestion": congestion_of(sock)}


def udp_rr(net: Any, order: Order) -> dict[str, Any]:
    with udp_socket(net) as sock:
        sock.connect((order["host"], order["port"]))
        result = round_trips(sock, order)
        with contextlib.suppress(ConnectionRefusedError):
            for _ in range(3):
                sock.send(STOP)
        return result


def udp_rr_peer(net: Any, order: Order, ready: Ready) -> dict[str, Any]:
    with udp_socket(net) as sock:
        sock.bind((order["host"], order["port"]))
        ready()
        first, peer = sock.recvfrom(2048)
        sock.connect(peer)
        sock.send(first)
        answer(sock, order["spin"])
        return {}


# ---- streams -------------------------------------------------------------------------------------


def pour(sock: Any, seconds: float) -> None:
    data = memoryview(bytes(BUFFER))
    end = clock() + int(seconds * 1e9)
    while clock() < end:
        sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)
    sock.recv(1)  # the other side has read to the end


def drain(sock: Any) -> dict[str, Any]:
    """Reads to the end: bytes and seconds from the first byte on, throughput in Gbit/s."""
    buffer = bytearray(BUFFER)
    total = sock.recv_into(buffer)
    start = clock()
    while got := sock.recv_into(buffer):
        total += got
    seconds = (clock() - start) / 1e9
    return {"throughput": total * 8 / seconds / 1e9}


def tcp_stream_out(net: Any, order: Order) -> dict[str, Any]:
    with connected(net, order) as sock:
        pour(sock, order["seconds"])
        return {"congestion": congestion_of(sock)}


def tcp_stream_out_peer(net: Any, order: Order, ready: Ready) -> dict[str, Any]:
    with accepted(net, order, ready) as sock:
        return {**drain(sock), "congestion": congestion_of(sock)}


def tcp_stream_in(net: Any, order: Order) -> dict[str, Any]:
    with connected(net, order) as sock:
        return {**drain(sock), "congestion": congestion_of(sock)}


def tcp_stream_in_peer(net: Any, order: Order, ready: Ready) -> dict[str, Any]:
    with accepted(net, order, ready) as sock:
        pour(sock, order["seconds"])
        return {"congestion": congestion_of(sock)}


# ---- connect, request, response, close -----------------------------------------------------------


def tcp_crr(net: Any, order: Order) -> dict[str, Any]:
    def once(message: bytes) -> None:
        with connected(net, order) as sock:
            sock.send(message)
            while sock.recv(64):  # the response, then the end: the server closes first
                pass

    for _ in range(20):
        once(MESSAGE)
    count, start = 0, clock()
    end = start + int(order["seconds"] * 1e9)
    while (now := clock()) < end:
        once(MESSAGE)
        count += 1
    once(STOP)
    return {"rate": count * 1e9 / (now - start)}


def tcp_crr_peer(net: Any, order: Order, ready: Ready) -> dict[str, Any]:
    message = b""
    with listening(net, order, ready) as listener:
        while message != STOP:
            sock, _ = listener.accept()
            with sock:
                message = sock.recv(64)
                sock.send(message)
                congestion = congestion_of(sock)
    return {"congestion": congestion}


# ---- one-way datagrams ---------------------------------------------------------------------------


def udp_rx(net: Any, order: Order, ready: Ready) -> dict[str, Any]:
    """Counts what arrives, until STOP: per second, and how much of what was sent."""
    buffer = bytearray(2048)
    view = memoryview(buffer)[:64]
    with udp_socket(net) as sock:
        sock.bind((order["host"], order["port"]))
        ready()
        recv_into = sock.recv_into
        recv_into(buffer)
        count, start = 0, clock()
        while view != STOP:
            recv_into(buffer)
            count += 1
        return {"rate": count * 1e9 / (clock() - start), "received": count}


def udp_rx_peer(net: Any, order: Order) -> dict[str, Any]:
    with udp_socket(net) as sock:
        sock.connect((order["host"], order["port"]))
        count, send = 0, sock.send
        end = clock() + int(order["seconds"] * 1e9)
        while clock() < end:
            for _ in range(32):
                send(MESSAGE)
            count += 32
        stop(sock)
        return {"sent": count}


def udp_batch(net: Any, order: Order) -> dict[str, Any]:
    """As many datagrams as go: barewire's by batches, the kernel's one by one, as its sockets do."""
    with udp_socket(net) as sock:
        sock.connect((order["host"], order["port"]))
        count, send = 0, sender(sock)
        end = clock() + int(order["seconds"] * 1e9)
        while clock() < end:
            count += send()
        stop(sock)
        return {"sent": count}


def sender(sock: Any) -> Callable[[], int]:
    """A function that sends 64 messages, or some of them, and says how many."""
    if not hasattr(sock, "send_batch"):
        send = sock.send

        def loop() -> int:
            for _ in range(BATCH):
                send(MESSAGE)
            return BATCH

        return loop
    batch = Batch(BATCH, len(MESSAGE))
    for i in range(BATCH):
        batch[i] = MESSAGE
    return functools.partial(sock.send_batch, batch)


def udp_batch_peer(net: Any, order: Order, ready: Ready) -> dict[str, Any]:
    """Counts what arrives from the first to STOP: per second."""
    with udp_socket(net) as sock:
        sock.bind((order["host"], order["port"]))
        ready()
        count, start = count_batches(sock) if hasattr(sock, "recv_batch") else count_each(sock)
        return {"rate": count * 1e9 / (clock() - start), "received": count}


def count_each(sock: Any) -> tuple[int, int]:
    buffer, recv_into = bytearray(2048), sock.recv_into
    view = memoryview(buffer)[:64]
    recv_into(buffer)
    count, start = 0, clock()
    while view != STOP:
        recv_into(buffer)
        count += 1
    return count, start


def count_batches(sock: Any) -> tuple[int, int]:
    """STOP is looked for at the end of each batch: the last ones come alone."""
    batch, recv_batch = Batch(2 * BATCH, 2048), sock.recv_batch
    n = recv_batch(batch)
    count, start = 0, clock()
    while batch[n - 1] != STOP:
        n = recv_batch(batch)
        count += n
    return count, start


def stop(sock: Any) -> None:
    with contextlib.suppress(ConnectionRefusedError):  # it has stopped already
        for _ in range(50):  # one of them arrives
            time.sleep(0.002)
            sock.send(STOP)


# Which program waits for the other: the peer, but where barewire receives unasked.
WAITING = {
    f"{test}_peer"
    for test in ("tcp_rr", "udp_rr", "tcp_stream_out", "tcp_stream_in", "tcp_crr", "udp_batch")
}
WAITING.add("udp_rx")
PROGRAMS: dict[str, Callable[..., dict[str, Any]]] = {
    fn.__name__: fn
    for fn in (
        tcp_rr, tcp_rr_peer, udp_rr, udp_rr_peer, tcp_stream_out, tcp_stream_out_peer,
        tcp_stream_in, tcp_stream_in_peer, tcp_crr, tcp_crr_peer, udp_rx, udp_rx_peer,
        udp_batch, udp_batch_peer,
    )
}  # fmt: skip
