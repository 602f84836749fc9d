"""What Python and C must agree on: numbers of the border, and decisions both of them make."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

import pytest
from barewire import Stack
from barewire.nic_drivers import pipe_pair
from barewire.stack import lib
from barewire.stack.ip import routes
from barewire.stack.ip.routes import RouteFlag
from barewire.stack.port import EnginePort
from barewire.stack.punt import PuntClass
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.budget import budget

STACK_H = Path(__file__).resolve().parents[2] / "stack" / "stack.h"
ENGINE_H = Path(__file__).resolve().parents[2] / "stack" / "engine.h"


def test_punt_classes_are_the_engines() -> None:
    assert len(PuntClass) == lib.BW_PUNT_CLASSES
    for cls in PuntClass:
        assert getattr(lib, f"BW_PUNT_{cls.name}") == cls


def test_route_flags_are_the_engines() -> None:
    for flag in RouteFlag:
        assert getattr(lib, f"BW_ROUTE_{flag.name}") == flag


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BW_MAX_ADDRS", routes.MAX_ADDRESSES),
        ("MAX_ROUTES", routes.MAX_ROUTES),
        ("IF_LOOPBACK", routes.LOOPBACK),
    ],
)
def test_bounds_are_the_engines(name: str, value: int) -> None:
    found = re.search(
        rf"\b{name} = (\d+)",
        ENGINE_H.read_text(encoding="utf-8") + STACK_H.read_text(encoding="utf-8"),
    )
    assert found and int(found[1]) == value


# ---- source selection: the same in both languages ------------------------------------------------

few = st.integers(0, 15)
hosts = few.map(lambda n: IPv4Address(int(IPv4Address("198.18.0.0")) + n * 8 + 1))
prefixes = st.tuples(few, st.sampled_from([0, 8, 26, 28, 29, 30, 32])).map(
    lambda p: IPv4Network((int(IPv4Address("198.18.0.0")) + p[0] * 8, p[1]), strict=False)
)
interfaces = st.integers(2, 3)


@budget(60)
@given(
    addresses=st.lists(
        st.tuples(interfaces, hosts, st.sampled_from([26, 28, 29, 30, 32])), max_size=4
    ),
    configured=st.lists(
        st.tuples(
            prefixes,
            st.none() | hosts,
            interfaces,
            st.none() | hosts,
            st.integers(0, 2),
            st.booleans(),
        ),
        max_size=6,
    ),
    destinations=st.lists(hosts | st.just(IPv4Address("127.3.2.1")), min_size=1, max_size=8),
)
def test_source_selection_is_the_engines(addresses, configured, destinations) -> None:
    pairs = [pipe_pair(), pipe_pair()]
    stack = Stack([near for near, _ in pairs], clock=lambda: 0)
    try:
        control = stack.control
        for ifindex, host, length in addresses:
            try:
                control.add_address(0, ifindex, IPv4Interface((host, length)))
            except OSError:
                pass
        for prefix, gateway, ifindex, source, metric, unreachable in configured:
            try:
                control.add_route(
                    prefix, gateway, ifindex, source, metric=metric, unreachable=unreachable
                )
            except OSError:
                pass
        port = EnginePort(stack.host)
        for dst in destinations:
            if control.routes.is_broadcast(dst):
                continue
            assert control.routes.select_source(dst) == port.select_source(dst), dst
    finally:
        stack.close(0)
        for _, far in pairs:
            far.close()
