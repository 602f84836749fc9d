"""A stack whose device has gone gets another one: in virtual time, with pipes."""

from __future__ import annotations

import errno
import socket

import barewire
import pytest
from barewire.nic_drivers import Device, pipe_pair, with_late
from barewire.stack import lib

A, B = "198.18.0.1", "198.18.0.2"


class Pair:
    """Two stacks in virtual time. A's pipe can break, and be replaced."""

    def __init__(self, layer: int = 2) -> None:
        self.layer, self.now = layer, 10**9
        end, other = pipe_pair(layer)
        self.a = self._stack(end, A)
        self.a.add_route("203.0.113.0/24", B, source=A)
        self.a.add_route("default", B)
        self.b = self._stack(other, B)

    def _stack(self, device: Device, address: str) -> barewire.Stack:
        return barewire.Stack(device, addresses=[f"{address}/24"], clock=lambda: self.now, seed=1)

    def rest(self) -> None:
        for _ in range(100):
            self.now += 1_000_000
            while sum(stack.poll() for stack in (self.a, self.b) if not stack.closed):
                pass

    def break_it(self) -> None:
        self.b.close()
        self.rest()

    def new_end(self) -> Device:
        """The other end of a new pipe is B's."""
        end, other = pipe_pair(self.layer)
        self.b = self._stack(other, B)
        return end

    def close(self) -> None:
        self.a.close()
        self.b.close()


@pytest.fixture(params=[2, 3])
def pair(request: pytest.FixtureRequest):
    made = Pair(request.param)
    yield made
    made.close()


def datagram(pair: Pair) -> bool:
    """Does one get from A to B and back?"""
    with (
        pair.a.socket(type=socket.SOCK_DGRAM) as here,
        pair.b.socket(type=socket.SOCK_DGRAM) as there,
    ):
        for sock in (here, there):
            sock.setblocking(False)
        there.bind((B, 7000))
        here.sendto(b"there", (B, 7000))
        pair.rest()
        data, address = there.recvfrom(100)
        there.sendto(data, address)
        pair.rest()
        return here.recv(100) == b"there"


def test_addresses_and_routes_come_back(pair: Pair) -> None:
    routes, addresses = pair.a.routes, pair.a.addresses
    assert datagram(pair)
    pair.break_it()
    assert [i.up for i in pair.a.interfaces] == [True, False]
    assert len(pair.a.addresses) == 1 and len(pair.a.routes) < len(routes)
    pair.a.reattach(device=pair.new_end())
    pair.rest()
    assert [i.up for i in pair.a.interfaces] == [True, True]
    assert pair.a.addresses == addresses
    assert set(pair.a.routes) == set(routes)
    assert datagram(pair)


def test_sockets_got_enetdown_and_listeners_go_on(pair: Pair) -> None:
    listener = pair.a.create_server((A, 80))
    client = pair.a.socket()
    client.setblocking(False)
    with pytest.raises(BlockingIOError):
        client.connect((B, 81))
    pair.break_it()
    assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ENETDOWN
    pair.a.reattach(pair.a.interfaces[1].name, pair.new_end())
    pair.rest()
    theirs = pair.b.socket()
    theirs.setblocking(False)
    with pytest.raises(BlockingIOError):
        theirs.connect((A, 80))
    pair.rest()
    listener.setblocking(False)
    ours, address = listener.accept()
    assert address[0] == B
    for sock in (ours, theirs, client, listener):
        sock.close()


def test_again_and_again(pair: Pair) -> None:
    for _ in range(20):
        pair.break_it()
        pair.a.reattach(device=pair.new_end())
        pair.rest()
    assert len(pair.a.interfaces) == 2 and datagram(pair)


def test_what_a_late_device_held_is_given_back() -> None:
    pair = Pair()
    pair.a.close()
    end, other = pipe_pair()
    pair.b.close()
    pair.b = pair._stack(other, B)
    pair.a = pair._stack(with_late(end, max_delay=10_000, depth=64), A)
    assert datagram(pair)
    pair.break_it()
    pair.a.reattach(device=pair.new_end())
    pair.rest()
    assert datagram(pair)
    used = pair.a.stats()["memory_chunks"]
    assert used == 0, "no chunk is held for frames of the old device"
    pair.close()


def test_a_thread_bound_device_is_closed_by_its_thread() -> None:
    mine, other = pipe_pair(3)
    mine.peek().caps |= lib.NETDEV_THREAD_BOUND
    with barewire.Stack(mine, addresses=[f"{A}/24"]) as stack:
        for _ in range(3):
            with stack.socket(type=socket.SOCK_DGRAM) as sock:
                sock.settimeout(20)
                sock.connect((B, 7000))
                other.close()
                with pytest.raises(OSError) as caught:
                    sock.recv(1)
                assert caught.value.errno == errno.ENETDOWN
            mine, other = pipe_pair(3)
            mine.peek().caps |= lib.NETDEV_THREAD_BOUND
            stack.reattach(stack.interfaces[1].name, mine)
            other = barewire.Stack(other, addresses=[f"{B}/24"], exit_linger=0.0)
            server = other.create_server((B, 80))
            stack.create_connection((B, 80), timeout=20).close()
            server.close()
        other.close()


def test_changes_in_between_are_kept(pair: Pair) -> None:
    pair.break_it()
    pair.a.remove_route("default")
    pair.a.add_route("203.0.113.0/24", unreachable=True)
    pair.a.reattach(device=pair.new_end())
    routes = {str(r.prefix): r for r in pair.a.routes}
    assert "0.0.0.0/0" not in routes and routes["203.0.113.0/24"].gateway is None


def test_mistakes(pair: Pair) -> None:
    name = pair.a.interfaces[1].name
    end, _other = pipe_pair(pair.layer)
    with end, _other:
        with pytest.raises(OSError, match="not gone: there is nothing to reattach") as caught:
            pair.a.reattach(name, end)
        assert caught.value.errno == errno.EBUSY
        assert end.stats["tx_frames"] == 0, "the device is still the caller's"
    with pytest.raises(OSError, match="no interface 'eth9'"):
        pair.a.reattach("eth9")
    pair.break_it()
    with pytest.raises(OSError, match="give another") as caught:
        pair.a.reattach()
    assert caught.value.errno == errno.EINVAL
    with pytest.raises(OSError, match="unknown kind"):
        pair.a.reattach(device="oops:x")
    pair.a.reattach(device=pair.new_end())
    pair.rest()
    assert datagram(pair)
