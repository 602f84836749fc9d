"""The route table: connected routes, longest prefix, source selection, bounds."""

from __future__ import annotations

import errno
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from barewire.stack.ip.routes import (
    LOOPBACK,
    MAX_ADDRESSES,
    MAX_ROUTES,
    IfAddr,
    Route,
    RouteFlag,
    RouteTable,
)

from tests.control.fake_port import FakePort

ETH, WAN = 2, 3


def net(text: str) -> IPv4Network:
    return IPv4Network(text)


def ip(text: str) -> IPv4Address:
    return IPv4Address(text)


@pytest.fixture
def table() -> RouteTable:
    t = RouteTable()
    t.add_address(LOOPBACK, IPv4Interface("127.0.0.1/8"))
    t.add_address(ETH, IPv4Interface("198.18.0.2/24"))
    t.add_address(WAN, IPv4Interface("203.0.113.5/30"))
    return t


def test_addresses_bring_their_connected_routes(table: RouteTable) -> None:
    assert table.routes() == [
        Route(net("198.18.0.0/24"), ETH, source=ip("198.18.0.2")),
        Route(net("203.0.113.4/30"), WAN, source=ip("203.0.113.5")),
    ]


def test_a_host_address_has_no_subnet(table: RouteTable) -> None:
    table.add_address(ETH, IPv4Interface("192.0.2.1/32"))
    assert len(table.routes()) == 2


def test_publish_replaces_both_tables(table: RouteTable) -> None:
    port = FakePort()
    table.add_address(ETH, IPv4Interface("192.0.2.1/24"), tentative=True)
    table.publish(port)
    assert port.addrs[-1] == IfAddr(ETH, IPv4Interface("192.0.2.1/24"), True)
    assert len(port.routes) == 2, "a tentative address has no route yet"
    table.set_usable(ETH, ip("192.0.2.1"))
    table.publish(port)
    assert port.addrs[-1] == IfAddr(ETH, IPv4Interface("192.0.2.1/24"))
    assert len(port.routes) == 3


def test_the_longest_prefix_wins_then_the_metric_then_the_older(table: RouteTable) -> None:
    default = table.add_route(net("0.0.0.0/0"), ip("198.18.0.1"))
    backup = table.add_route(net("0.0.0.0/0"), ip("203.0.113.6"), metric=10)
    wide = table.add_route(net("198.51.0.0/16"), ip("203.0.113.6"))
    narrow = table.add_route(net("198.51.100.0/24"), ip("198.18.0.9"), metric=99)
    assert table.lookup(ip("192.0.2.1")) == default
    assert table.lookup(ip("198.51.1.1")) == wide
    assert table.lookup(ip("198.51.100.255")) == narrow
    assert table.lookup(ip("198.51.101.0")) == wide
    table.remove_route(net("0.0.0.0/0"))
    assert table.lookup(ip("192.0.2.1")) == backup


def test_the_gateways_subnet_gives_the_interface(table: RouteTable) -> None:
    route = table.add_route(net("0.0.0.0/0"), ip("203.0.113.6"))
    assert (route.ifindex, route.flags) == (WAN, RouteFlag.GATEWAY)


@pytest.mark.parametrize(
    ("dst", "source"),
    [
        ("198.18.0.77", "198.18.0.2"),
        ("203.0.113.6", "203.0.113.5"),
        ("192.0.2.1", "198.18.0.2"),  # by the default route's interface
        ("198.18.0.2", "198.18.0.2"),  # ourselves
        ("127.0.0.1", "127.0.0.1"),
        ("127.9.9.9", "127.0.0.1"),
    ],
)
def test_source_selection(table: RouteTable, dst: str, source: str) -> None:
    table.add_route(net("0.0.0.0/0"), ip("198.18.0.1"))
    assert table.select_source(ip(dst)) == ip(source)


def test_the_next_hops_subnet_is_preferred_and_a_routes_source_before_it(table: RouteTable) -> None:
    table.add_address(ETH, IPv4Interface("198.51.100.7/24"))
    table.add_route(net("192.0.2.0/25"), ip("198.51.100.1"))
    assert table.select_source(ip("192.0.2.1")) == ip("198.51.100.7")
    table.add_route(net("192.0.2.128/25"), ip("198.51.100.1"), source=ip("203.0.113.5"))
    assert table.select_source(ip("192.0.2.129")) == ip("203.0.113.5")


def test_an_interface_without_address_borrows_one(table: RouteTable) -> None:
    table.add_route(net("192.0.2.0/24"), ifindex=4)
    assert table.select_source(ip("192.0.2.1")) == ip("198.18.0.2")


def test_no_route_or_an_unreachable_one_has_no_source(table: RouteTable) -> None:
    assert table.select_source(ip("192.0.2.1")) is None
    table.add_route(net("0.0.0.0/0"), ip("198.18.0.1"))
    table.add_route(net("192.0.2.0/24"), unreachable=True)
    assert table.select_source(ip("192.0.2.1")) is None
    assert table.select_source(ip("192.0.3.1")) == ip("198.18.0.2")


def test_a_tentative_address_is_not_a_source_and_not_ours() -> None:
    t = RouteTable()
    t.add_address(ETH, IPv4Interface("198.18.0.2/24"), tentative=True)
    assert t.select_source(ip("198.18.0.1")) is None
    assert not t.is_own(ip("198.18.0.2"))


def test_broadcast_addresses(table: RouteTable) -> None:
    table.add_address(ETH, IPv4Interface("192.0.2.0/31"))
    table.add_address(ETH, IPv4Interface("192.0.2.9/32"))
    for text in ("255.255.255.255", "198.18.0.255", "203.0.113.7", "224.0.0.1", "239.1.1.1"):
        assert table.is_broadcast(ip(text)), text
    for text in ("198.18.0.0", "198.18.0.2", "203.0.113.5", "192.0.2.1", "192.0.2.9", "8.8.8.8"):
        assert not table.is_broadcast(ip(text)), text


@pytest.mark.parametrize(
    ("code", "change"),
    [
        (errno.EEXIST, lambda t: t.add_address(WAN, IPv4Interface("198.18.0.2/16"))),
        (errno.EADDRNOTAVAIL, lambda t: t.remove_address(ETH, ip("198.18.0.3"))),
        (errno.EADDRNOTAVAIL, lambda t: t.remove_address(WAN, ip("198.18.0.2"))),
        (errno.ENETUNREACH, lambda t: t.add_route(net("0.0.0.0/0"), ip("192.0.2.1"))),
        (errno.EINVAL, lambda t: t.add_route(net("0.0.0.0/0"))),
        (errno.ESRCH, lambda t: t.remove_route(net("192.0.2.0/24"))),
        (
            errno.EADDRNOTAVAIL,
            lambda t: t.add_route(net("0.0.0.0/0"), ip("198.18.0.1"), source=ip("192.0.2.1")),
        ),
    ],
)
def test_wrong_changes_are_refused_and_change_nothing(table, code, change) -> None:
    before = (table.addresses, table.routes())
    with pytest.raises(OSError) as raised:
        change(table)
    assert raised.value.errno == code
    assert (table.addresses, table.routes()) == before


def test_the_same_route_twice_is_refused(table: RouteTable) -> None:
    table.add_route(net("0.0.0.0/0"), ip("198.18.0.1"))
    with pytest.raises(FileExistsError):
        table.add_route(net("0.0.0.0/0"), ip("203.0.113.6"))


def test_removing_an_address_takes_its_routes_along(table: RouteTable) -> None:
    table.add_route(net("192.0.2.0/24"), ip("198.18.0.1"), source=ip("203.0.113.5"))
    table.remove_address(WAN, ip("203.0.113.5"))
    assert [r.prefix for r in table.routes()] == [net("198.18.0.0/24")]


def test_addresses_are_bounded() -> None:
    t = RouteTable()
    for i in range(MAX_ADDRESSES):
        t.add_address(ETH, IPv4Interface((IPv4Address(int(ip("198.18.0.0")) + i), 32)))
    with pytest.raises(OSError) as raised:
        t.add_address(ETH, IPv4Interface("192.0.2.1/32"))
    assert raised.value.errno == errno.ENOSPC
    assert len(t.addresses) == MAX_ADDRESSES


def test_routes_are_bounded_connected_ones_included(table: RouteTable) -> None:
    room = MAX_ROUTES - len(table.routes())
    for i in range(room):
        table.add_route(IPv4Network((int(ip("198.19.0.0")) + i, 32)), ip("198.18.0.1"))
    with pytest.raises(OSError) as raised:
        table.add_route(net("0.0.0.0/0"), ip("198.18.0.1"))
    assert raised.value.errno == errno.ENOSPC
    with pytest.raises(OSError):
        table.add_address(ETH, IPv4Interface("192.0.2.1/24"))
    assert len(table.routes()) == MAX_ROUTES
    assert len(table.addresses) == 3
