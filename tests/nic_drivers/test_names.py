"""Naming devices: kind:name?option=value, and one clear sentence for every mistake."""

from __future__ import annotations

import errno

import pytest
from barewire.nic_drivers import (
    Device,
    DeviceError,
    DeviceSpec,
    available,
    common_options,
    names,
    open_device,
    parse_device_name,
    pipe_pair,
    register,
    stable_mac,
)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("tap:tap0", DeviceSpec("tap", "tap0")),
        ("pipe:", DeviceSpec("pipe", "")),
        (
            "xdp:eth1?queue=0&mode=native",
            DeviceSpec("xdp", "eth1", {"queue": "0", "mode": "native"}),
        ),
        ("dpdk:net_tap0,iface=dtap0", DeviceSpec("dpdk", "net_tap0,iface=dtap0")),
        ("tap:tap0?host=198.18.0.1/24", DeviceSpec("tap", "tap0", {"host": "198.18.0.1/24"})),
        ("tap:t?host=2001:db8::1/64", DeviceSpec("tap", "t", {"host": "2001:db8::1/64"})),
        ("tap:t?pcap=/tmp/a%26b=c", DeviceSpec("tap", "t", {"pcap": "/tmp/a&b=c"})),
    ],
)
def test_names(text: str, spec: DeviceSpec) -> None:
    assert parse_device_name(text) == spec


def test_a_spec_prints_as_its_name() -> None:
    for text in ("tap:tap0", "xdp:eth1?queue=0&mode=native", "pipe:"):
        assert str(parse_device_name(text)) == text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("tap0", "device name 'tap0' has no kind: write kind:name, such as tap:tap0"),
        ("", "has no kind"),
        ("TAP:x", "has no kind"),
        (":x", "has no kind"),
        ("tap:x?", "write options as"),
        ("tap:x?mtu", "not 'mtu'"),
        ("tap:x?mtu=", None),
        ("tap:x?=1", "write options as"),
        ("tap:x?mtu=1&mtu=2", "gives option mtu twice"),
        ("quic:x", "unknown kind of device 'quic': known are .*packet, pipe, .*tap, .*xdp"),
        ("pipe:x?mtv=9000", "unknown option 'mtv' of device pipe:x: known are layer, mtu, .* every"),
        ("pipe:x?mtu=67", "option mtu=67 of device pipe:x: expected a whole number from 68 to"),
        ("pipe:x?mtu=-5", "expected a whole number"),
        ("pipe:x?ring=0", "expected a whole number from 1 to 65536"),
        ("pipe:x?layer=4", "expected 2 or 3"),
        ("pipe:x?offload=yes", "expected 0 or 1"),
        ("pipe:x?loss=2", "expected a probability"),
        ("pipe:x?loss=lots", "expected a probability"),
        ("pipe:x?delay=10", "expected a time"),
        ("pipe:x?delay=2h", "expected a time"),
        ("pipe:x?rate=fast", "expected bits per second"),
        ("pipe:x?backlog=1x", "expected bytes"),
        ("pipe:x?pcap=/dev/null/x", "cannot write the capture"),
    ],
)  # fmt: skip
def test_mistakes(text: str, sentence: str | None) -> None:
    with pytest.raises(DeviceError, match=sentence) as caught:
        open_device(text).close()
    assert caught.value.errno in (errno.EINVAL, errno.ENODEV, errno.ENOTDIR)
    assert "\n" not in str(caught.value) and "Errno" not in str(caught.value)


def test_values() -> None:
    assert names.parse_time("10ms") == 10_000_000
    assert names.parse_time("1.5s") == 1_500_000_000
    assert names.parse_time("0") == 0 and names.parse_time("20ns") == 20
    assert names.parse_rate("10mbit") == names.parse_rate("10M") == 1e7
    assert names.parse_rate("1gbit") == 1e9 and names.parse_rate("9600") == 9600
    assert names.parse_size("64k") == 65536 and names.parse_size("1.5m") == 3 << 19
    assert names.parse_chance("1%") == 0.01 and names.parse_chance("0.5") == 0.5
    assert names.parse_mac("02:00:00:00:00:0a") == b"\x02\0\0\0\0\x0a"
    for wrong in ("01:00:00:00:00:01", "00:00:00:00:00:00", "02:00", "zz:00:00:00:00:00"):
        with pytest.raises(ValueError, match="unicast"):
            names.parse_mac(wrong)


def test_available_says_what_there_is_and_why_not() -> None:
    kinds = {info.kind: info for info in available()}
    assert list(kinds) == sorted(kinds) and {"pipe", "tap"} <= set(kinds)
    assert kinds["pipe"].available and not kinds["pipe"].reason
    assert all(info.available != bool(info.reason) for info in kinds.values())
    assert all(info.description and info.options for info in kinds.values())


def test_a_kind_can_be_added() -> None:
    def factory(spec: DeviceSpec) -> Device:
        a, b = pipe_pair(mtu=spec.get("mtu", int, 1500), name=spec.name)
        b.close()
        return a

    register(
        "testkind", factory, lambda: "no hardware", description="a test", options={"mtu": "MTU"}
    )
    try:
        [info] = [info for info in available() if info.kind == "testkind"]
        assert (info.available, info.reason) == (False, "no hardware")
        with open_device("testkind:x?mtu=700&loss=1%") as device:
            assert device.mtu == 700 and "fault.tx.lost" in device.counters
        with pytest.raises(DeviceError, match="option mtu=x of device testkind:"):
            open_device("testkind:?mtu=x")
    finally:
        from barewire.nic_drivers import registry

        del registry._kinds["testkind"]


def test_a_device_is_passed_through() -> None:
    a, b = pipe_pair()
    with a, b:
        assert open_device(a) is a


def test_addresses_are_stable_local_and_unicast() -> None:
    assert stable_mac("tap0") == stable_mac("tap0") != stable_mac("tap1")
    for name in ("tap0", "x", ""):
        assert stable_mac(name)[0] & 3 == 2


class TestPipeByName:
    def test_two_users_of_a_name_are_joined(self) -> None:
        with open_device("pipe:joined") as a, open_device("pipe:joined") as b:
            assert a.mac != b.mac
            assert a.send(b"x" * 60) and b.recv() == b"x" * 60
            assert b.send(b"y" * 60) and a.recv() == b"y" * 60

    def test_a_third_user_starts_a_new_pair(self) -> None:
        with open_device("pipe:t") as a, open_device("pipe:t") as b, open_device("pipe:t") as c:
            c.send(b"x" * 60)
            assert a.recv() is None and b.recv() is None
            with open_device("pipe:t") as d:
                assert d.recv() == b"x" * 60

    def test_who_left_before_the_other_came_is_not_joined(self) -> None:
        open_device("pipe:left").close()
        with open_device("pipe:left") as a, open_device("pipe:left") as b:
            assert a.send(b"x" * 60) and b.recv() == b"x" * 60

    def test_both_ends_have_one_shape(self) -> None:
        with open_device("pipe:shape?mtu=9000"):
            with pytest.raises(DeviceError, match="was opened with other options"):
                open_device("pipe:shape")
            with open_device("pipe:shape?mtu=9000") as b:
                assert b.mtu == 9000


def test_an_option_means_one_thing() -> None:
    """What the wrappers read is theirs alone: a driver's option makes no fault."""
    for info in available():
        own = set(info.options) - {"cpu", "spin"}
        assert own & set(common_options()) == set(), info.kind
