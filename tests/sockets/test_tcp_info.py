"""TCP_INFO on both: what the kernel says of an exchange, ours says too."""

from __future__ import annotations

import dataclasses
import errno
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import barewire
import barewire.socket
import pytest
from barewire import TcpInfo

from tests.sockets.kit import LOCAL, PATIENCE, Barewire, Kernel, own_default_stack, receive

# Not the same on any two machines, or counted in units that are each stack's own.
OWN = {
    "tcpi_rto", "tcpi_rtt", "tcpi_rttvar", "tcpi_min_rtt", "tcpi_rcv_rtt",  # times
    "tcpi_last_data_sent", "tcpi_last_data_recv", "tcpi_last_ack_recv",
    "tcpi_busy_time", "tcpi_pacing_rate", "tcpi_delivery_rate", "tcpi_delivery_rate_app_limited",
    "tcpi_snd_mss", "tcpi_snd_cwnd",  # Linux halves a loopback's MSS; and other windows
    "tcpi_rcv_ssthresh", "tcpi_rcv_space", "tcpi_snd_wnd", "tcpi_rcv_wnd",
    "tcpi_snd_wscale", "tcpi_rcv_wscale",  # of the buffers' bounds
    "tcpi_segs_out", "tcpi_segs_in",  # as many ACKs as each finds right
    "tcpi_reordering",  # Linux remembers more from a connection before (tcp_metrics)
}  # fmt: skip
EQUAL = [f.name for f in dataclasses.fields(TcpInfo) if f.name not in OWN]


def info(sock: Any) -> TcpInfo:
    return TcpInfo.from_bytes(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1000))


def settled(sock: Any) -> TcpInfo:
    """Once all that was sent is acknowledged."""
    until = time.monotonic() + PATIENCE
    while (found := info(sock)).tcpi_unacked:
        assert time.monotonic() < until, "nobody acknowledges"
        time.sleep(0.001)
    return found


@contextmanager
def pair(module: Any) -> Iterator[tuple[Any, Any]]:
    with module.socket() as listener, module.socket() as client:
        listener.bind((LOCAL, 0))
        listener.listen(5)
        client.settimeout(PATIENCE)
        client.connect(listener.getsockname())
        server, _ = listener.accept()
        with server:
            server.settimeout(PATIENCE)
            yield client, server


def exchange(module: Any) -> tuple[TcpInfo, TcpInfo]:
    """Five requests and answers: client's and server's view."""
    with pair(module) as (client, server):
        for n in range(5):
            client.sendall(bytes(100 + n))
            assert len(receive(server, 100 + n)) == 100 + n
            server.sendall(bytes(50))
            receive(client, 50)
        return settled(client), settled(server)


def test_the_same_exchange_says_the_same() -> None:
    with own_default_stack():
        ours = exchange(barewire.socket)
    for mine, kernels in zip(ours, exchange(socket), strict=True):
        for name in EQUAL:
            assert getattr(mine, name) == getattr(kernels, name), name
    client, server = ours
    assert client.tcpi_reordering == server.tcpi_reordering == 3
    assert (client.tcpi_bytes_acked, client.tcpi_bytes_received) == (511, 250)
    assert (server.tcpi_bytes_acked, server.tcpi_bytes_received) == (250, 510)
    assert client.tcpi_data_segs_out == server.tcpi_data_segs_in == 5
    assert 0 < client.tcpi_min_rtt <= client.tcpi_rtt < PATIENCE * 1e6


class InfoTests:
    """On either."""

    socket: Any

    def test_a_listener_says_its_queue(self) -> None:
        listener = self.listener(backlog=7)  # type: ignore[attr-defined]
        client = self.stream()  # type: ignore[attr-defined]
        client.connect(listener.getsockname())
        found = info(listener)
        assert (found.tcpi_state, found.tcpi_unacked, found.tcpi_sacked) == (10, 1, 7)

    def test_states(self) -> None:
        sock = self.stream()  # type: ignore[attr-defined]
        assert info(sock).tcpi_state == 7
        one, other = self.pair()  # type: ignore[attr-defined]
        assert info(one).tcpi_state == info(other).tcpi_state == 1
        one.shutdown(socket.SHUT_WR)
        assert other.recv(1) == b""
        assert info(other).tcpi_state == 8
        assert info(other).tcpi_bytes_received == 1  # the FIN

    def test_the_length_asked_for(self) -> None:
        one, _ = self.pair()  # type: ignore[attr-defined]
        assert len(one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)) == 104
        assert (
            TcpInfo.from_bytes(one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)).tcpi_state
            == 1
        )
        assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO) & 0xFF == 1

    def test_it_cannot_be_set(self) -> None:
        one, _ = self.pair()  # type: ignore[attr-defined]
        with pytest.raises(OSError) as caught:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        assert caught.value.errno == errno.ENOPROTOOPT

    def test_datagram_sockets_have_none(self) -> None:
        with pytest.raises(OSError) as caught:
            info(self.datagram())  # type: ignore[attr-defined]
        assert caught.value.errno == errno.EOPNOTSUPP

    def test_what_a_full_peer_does_to_the_sender(self) -> None:
        """Nobody reads: the sender has data that the peer's window does not let go."""
        one, _ = self.pair()  # type: ignore[attr-defined]
        one.setblocking(False)
        data = bytes(1 << 16)
        until = time.monotonic() + PATIENCE
        while not ((found := info(one)).tcpi_rwnd_limited and found.tcpi_notsent_bytes):
            assert time.monotonic() < until, "the window never closes"
            try:
                one.send(data)
            except BlockingIOError:
                time.sleep(0.01)
        assert found.tcpi_busy_time >= found.tcpi_rwnd_limited


class TestKernel(InfoTests, Kernel):
    pass


class TestBarewire(InfoTests, Barewire):
    def test_the_object(self) -> None:
        one, _ = self.pair()
        found = one.tcp_info()
        assert isinstance(found, TcpInfo)
        assert dataclasses.asdict(found).keys() == dataclasses.asdict(info(one)).keys()
        with pytest.raises(dataclasses.FrozenInstanceError):
            found.tcpi_state = 0
        with pytest.raises(OSError):
            self.datagram().tcp_info()

    def test_a_closed_socket(self) -> None:
        one, _ = self.pair()
        one.close()
        with pytest.raises(OSError) as caught:
            one.tcp_info()
        assert caught.value.errno == errno.EBADF


def test_older_and_newer_kernels() -> None:
    """The first 8 bytes alone, and more than anybody knows."""
    short = TcpInfo.from_bytes(bytes([1, 4, 2, 0, 3, 7, 0xA9, 0b101]))
    assert (short.tcpi_snd_wscale, short.tcpi_rcv_wscale) == (9, 10)
    assert (short.tcpi_delivery_rate_app_limited, short.tcpi_fastopen_client_fail) == (1, 2)
    assert (short.tcpi_backoff, short.tcpi_rtt) == (3, 0)
    long = TcpInfo.from_bytes(bytes(range(1, 256)) * 2)
    assert long.tcpi_rto == int.from_bytes(bytes([9, 10, 11, 12]), "little")
    assert TcpInfo.from_bytes(b"") == TcpInfo()


def test_every_field_has_a_place() -> None:
    """Each of the struct's bytes says one field, and none is said twice."""
    seen: dict[str, int] = {}
    for at in range(280):
        raw = bytearray(280)
        raw[at] = 0xFF
        found = dataclasses.asdict(TcpInfo.from_bytes(bytes(raw)))
        for name in (n for n, value in found.items() if value):
            seen[name] = seen.get(name, 0) + 1
    assert list(dict.fromkeys(f.name for f in dataclasses.fields(TcpInfo))) == list(
        dict.fromkeys(sorted(seen, key=[f.name for f in dataclasses.fields(TcpInfo)].index))
    )
    assert sum(seen.values()) == 280 + 2  # two bytes hold two fields each
