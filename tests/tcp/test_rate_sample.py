"""Delivery-rate samples (draft-cheng-iccrg-delivery-rate-estimation-02), as TCP_INFO tells them."""

from __future__ import annotations

from typing import Any

from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import Sock

MSS = 1000


def opened(tcp: Tcp, **options: Any) -> Sock:
    """A connection whose round trip of 100 ms is known."""
    sock = tcp.established(mss=MSS, sack=True, nodelay=1, active=True, **options)
    for _ in range(24):
        tcp.sends(sock, MSS)
        tcp.drain("100ms")
        tcp.peer.sends(ack=tcp.peer.got)
    return sock


def rate(sock: Sock) -> int:
    """Bytes a second."""
    return sock.info.tcpi_delivery_rate


def near(found: int, wanted: float) -> bool:
    return abs(found - wanted) < 0.02 * wanted


def test_a_flight_over_a_round_trip(tcp: Tcp, peer: TcpPeer) -> None:
    sock = opened(tcp)
    tcp.sends(sock, 10 * MSS)
    tcp.drain("100ms")
    peer.sends(ack=peer.got)
    assert near(rate(sock), 10 * MSS / 0.1)


def test_what_was_delivered_since_the_segment_left_counts(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 2.2: half of the flight is acknowledged while the other half is on its way."""
    sock = opened(tcp)
    una = peer.got
    tcp.sends(sock, 5 * MSS)
    tcp.drain("50ms")
    tcp.sends(sock, 5 * MSS)
    tcp.drain("50ms")
    peer.sends(ack=una + 5 * MSS)
    assert near(rate(sock), 5 * MSS / 0.1)
    tcp.drain("50ms")
    peer.sends(ack=una + 10 * MSS)
    assert near(rate(sock), 10 * MSS / 0.15), "from the first of the flight on"


def test_acks_that_come_at_once_are_no_faster_path(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 2.3: the sending interval bounds the rate when the ACKs were held up."""
    sock = opened(tcp)
    for _ in range(10):
        tcp.sends(sock, MSS)
        tcp.drain("100ms")
    una = peer.got - 10 * MSS
    peer.sends(ack=una + 9 * MSS)
    peer.sends(ack=una + 10 * MSS)
    assert rate(sock) <= 10 * MSS / 0.9 * 1.02


def test_data_sacked_counts_as_delivered(tcp: Tcp, peer: TcpPeer) -> None:
    sock = opened(tcp)
    una = peer.got
    tcp.sends(sock, 10 * MSS)
    tcp.drain("100ms")
    peer.sends(ack=una, sack=[(una + MSS, una + 10 * MSS)])
    assert near(rate(sock), 9 * MSS / 0.1)


def test_a_sample_shorter_than_the_least_round_trip_is_not_believed(
    tcp: Tcp, peer: TcpPeer
) -> None:
    """The ACK answers an earlier copy: what was taken as lost was only late."""
    sock = opened(tcp)
    una, before = peer.got, rate(sock)
    tcp.sends(sock, 4 * MSS)
    tcp.drain("10ms")
    peer.sends(ack=una, sack=[(una + MSS, una + 4 * MSS)])
    tcp.drain("1ms")
    peer.sends(ack=una + 4 * MSS)
    assert rate(sock) <= max(before, 4 * MSS / 0.011)


def test_the_program_is_told_from_the_network(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 3.4: after the program let the path run dry samples are marked; they count only if
    they are higher, until what was in flight then has been delivered."""
    sock = opened(tcp)
    for _ in range(2):
        tcp.sends(sock, 10 * MSS)
        tcp.drain("100ms")
        peer.sends(ack=peer.got)
    full = rate(sock)
    assert near(full, 10 * MSS / 0.1)
    for _ in range(5):
        tcp.sends(sock, 2 * MSS)
        tcp.drain("100ms")
        peer.sends(ack=peer.got)
        assert rate(sock) == full
    tcp.sends(sock, 10 * MSS)
    tcp.drain("80ms")
    peer.sends(ack=peer.got)
    assert near(rate(sock), 10 * MSS / 0.08), "a higher one counts"


def test_a_new_connection_begins_without_a_sample(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(mss=MSS)
    assert rate(sock) == 0
    sock.close()
