"""Many datagrams in one call: send_batch and recv_batch of the socket class, in virtual time."""

from __future__ import annotations

import array
import errno
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from barewire import Batch
from barewire.batch import ADDRESS_SIZE, pack_address, unpack_address

from tests.kit import frames
from tests.kit.checks import is_ip, is_udp
from tests.kit.wire import Wire
from tests.kit.world import World

PEER = "198.18.0.2"
SHORT = 10  # bytes of the datagrams here


@pytest.fixture
def sock(wire: Wire) -> Iterator[Any]:
    """A non-blocking socket of the wire's stack on port 7."""
    with opened(wire) as sock:
        yield sock


def opened(wire: Wire, port: int = 7, timeout: float | None = 0) -> Any:
    sock = wire.stack.socket(type=socket.SOCK_DGRAM)
    sock.bind((wire.here, port))
    sock.settimeout(timeout)
    return sock


def comes(wire: Wire, *datas: bytes, sport: int = 5000, dport: int = 7) -> None:
    wire.sends_burst(*(frames.udp(wire.there, wire.here, sport, dport, data) for data in datas))


def numbered(n: int) -> list[bytes]:
    return [b"%0*d" % (SHORT, i) for i in range(n)]


def filled(datas: list[bytes], size: int = 64) -> Batch:
    batch = Batch(len(datas), size)
    for i, data in enumerate(datas):
        batch[i] = data
    batch.set_address((PEER, 5000))
    return batch


# ---- receiving -----------------------------------------------------------------------------------


def test_it_takes_what_is_there(wire: Wire, sock: Any) -> None:
    comes(wire, b"one", b"", b"three")
    comes(wire, b"four", sport=5001)
    batch = Batch(8, 64)
    assert sock.recv_batch(batch) == 4
    assert [bytes(batch[i]) for i in range(4)] == [b"one", b"", b"three", b"four"]
    assert list(batch.lengths[:4]) == [3, 0, 5, 4]
    assert [batch.address(i) for i in (0, 3, 4)] == [(PEER, 5000), (PEER, 5001), None]
    with pytest.raises(BlockingIOError):
        sock.recv_batch(batch)


def test_a_full_batch_leaves_the_rest(wire: Wire, sock: Any) -> None:
    datas = numbered(200)
    for at in range(0, 200, 50):
        comes(wire, *datas[at : at + 50])
    batch = Batch(150, SHORT)
    assert sock.recv_batch(batch) == 150
    assert bytes(batch.data) == b"".join(datas[:150])
    assert sock.recv_batch(batch, start=100) == 50
    assert bytes(batch.data) == b"".join(datas[:100] + datas[150:])


def test_only_the_slots_asked_for(wire: Wire, sock: Any) -> None:
    comes(wire, b"one", b"two", b"three")
    batch = Batch(8, 64)
    assert sock.recv_batch(batch, 2, start=3) == 2
    assert [bytes(batch[i]) for i in range(8)] == [b"", b"", b"", b"one", b"two", b"", b"", b""]
    assert sock.recv_batch(batch, 0) == 0, "none are asked for, one is there"
    assert sock.recv(64) == b"three"
    assert sock.recv_batch(batch, 0) == 0, "nothing to wait for"


def test_a_datagram_longer_than_its_slot_is_cut_and_says_so(wire: Wire, sock: Any) -> None:
    comes(wire, b"0123456789", b"next", b"01234567")
    batch = Batch(4, 8)
    assert sock.recv_batch(batch) == 3
    assert [bytes(batch[i]) for i in range(3)] == [b"01234567", b"next", b"01234567"]
    assert list(batch.lengths[:3]) == [10, 4, 8]
    assert [batch.truncated(i) for i in range(3)] == [True, False, False]


def test_a_closed_socket_and_a_shut_one(wire: Wire) -> None:
    batch, sock = Batch(2, 8), opened(wire)
    with pytest.raises(OSError) as caught:
        sock.shutdown(socket.SHUT_RD)
    assert caught.value.errno == errno.ENOTCONN, "and has shut it, as on Linux"
    assert sock.recv_batch(batch) == 0
    sock.close()
    for call in (sock.recv_batch, sock.send_batch):
        with pytest.raises(OSError) as caught:
            call(batch)
        assert caught.value.errno == errno.EBADF


def test_streams_have_no_batches(wire: Wire) -> None:
    with wire.stack.socket() as sock:
        for call in (sock.recv_batch, sock.send_batch):
            with pytest.raises(OSError) as caught:
                call(Batch(2, 8))
            assert caught.value.errno == errno.EOPNOTSUPP


@pytest.mark.parametrize("flags", [socket.MSG_PEEK, socket.MSG_OOB, socket.MSG_TRUNC])
def test_flags_that_mean_nothing_here(sock: Any, flags: int) -> None:
    for call in (sock.recv_batch, sock.send_batch):
        with pytest.raises(OSError) as caught:
            call(Batch(2, 8), flags=flags)
        assert caught.value.errno == errno.EOPNOTSUPP


# ---- waiting -------------------------------------------------------------------------------------


class Call(threading.Thread):
    """A blocking call in a thread of its own; `result` is its value or its exception."""

    def __init__(self, call: Any, *args: Any, **options: Any) -> None:
        super().__init__(daemon=True)
        self.call = (call, args, options)
        self.result: Any = None
        self.start()

    def run(self) -> None:
        call, args, options = self.call
        try:
            self.result = call(*args, **options)
        except Exception as problem:
            self.result = problem

    def waits(self, world: World) -> Call:
        """Returns when the thread has gone to sleep: the stack knows its deadline."""
        while self.is_alive() and world.next_deadline() is None:
            world.rest()
        return self

    def answer(self, world: World) -> Any:
        while self.is_alive():
            world.rest()
        self.join()
        return self.result


def test_it_waits_for_the_first(world: World, wire: Wire) -> None:
    with opened(wire, timeout=60) as sock:
        batch = Batch(8, 64)
        call = Call(sock.recv_batch, batch).waits(world)
        comes(wire, b"one", b"two")
        assert call.answer(world) == 2


def test_the_time_is_over(world: World, wire: Wire) -> None:
    with opened(wire, timeout=5) as sock:
        call = Call(sock.recv_batch, Batch(8, 64)).waits(world)
        world.run("5s")
        assert isinstance(call.answer(world), TimeoutError)


def test_waitall_fills_the_batch(world: World, wire: Wire) -> None:
    with opened(wire, timeout=60) as sock:
        batch = Batch(3, 64)
        comes(wire, b"one")
        call = Call(sock.recv_batch, batch, flags=socket.MSG_WAITALL).waits(world)
        comes(wire, b"two")
        comes(wire, b"three", b"four")
        assert call.answer(world) == 3
        assert [bytes(batch[i]) for i in range(3)] == [b"one", b"two", b"three"]


def test_waitall_within_the_timeout(world: World, wire: Wire) -> None:
    with opened(wire, timeout=5) as sock:
        comes(wire, b"one")
        call = Call(sock.recv_batch, Batch(3, 64), flags=socket.MSG_WAITALL).waits(world)
        world.run("5s")
        assert call.answer(world) == 1


def test_dontwait_on_a_blocking_socket(wire: Wire) -> None:
    with opened(wire, timeout=None) as sock:
        with pytest.raises(BlockingIOError):
            sock.recv_batch(Batch(2, 8), flags=socket.MSG_DONTWAIT)


# ---- sending -------------------------------------------------------------------------------------


def test_each_goes_to_its_address(wire: Wire, sock: Any) -> None:
    batch = filled([b"one", b"", b"three"])
    batch.set_address((PEER, 6000), 1)
    assert sock.send_batch(batch) == 3
    for port, data in ((5000, b"one"), (6000, b""), (5000, b"three")):
        wire.expects(is_udp(7, port, data) & is_ip(src=wire.here, dst=PEER))
    wire.expects_nothing()


def test_without_an_address_to_the_peer(wire: Wire, sock: Any) -> None:
    batch = filled([b"one", b"two"])
    batch.set_address(None)
    with pytest.raises(OSError) as caught:
        sock.send_batch(batch)
    assert caught.value.errno == errno.EDESTADDRREQ
    sock.connect((PEER, 5001))
    assert sock.send_batch(batch, 1, start=1) == 1
    wire.expects(is_udp(7, 5001, b"two"))


def test_what_came_goes_back(wire: Wire, sock: Any) -> None:
    comes(wire, *numbered(40))
    batch = Batch(64, 64)
    assert sock.send_batch(batch, sock.recv_batch(batch)) == 40
    for data in numbered(40):
        wire.expects(is_udp(7, 5000, data))


@pytest.mark.parametrize("size", [1, 82, 83, 1472, 1473, 40_000])
def test_every_size(wire: Wire, sock: Any, size: int) -> None:
    """Beside its headers, in a chunk, and cut into fragments."""
    data = frames.pattern(size)
    assert sock.send_batch(filled([data, data], size)) == 2
    sent = wire.drain()
    if size <= 1472:
        assert [p.udp.payload for p in sent if p.udp] == [data, data]
    else:
        assert len(sent) == 2 * -(-(size + 8) // 1480)


def test_a_full_queue_counts_what_went(world: World) -> None:
    wire = Wire(world, ring=16)
    with opened(wire) as sock:
        batch = filled(numbered(300))
        assert sock.send_batch(batch) == 256, "the places of the transmit queue"
        with pytest.raises(BlockingIOError):
            sock.send_batch(batch, start=256)
        wire.drain()
        assert sock.send_batch(batch, start=256) == 44


def test_a_blocking_socket_sends_them_all(world: World) -> None:
    wire = Wire(world, ring=16)
    with opened(wire, timeout=None) as sock:
        call = Call(sock.send_batch, filled(numbered(1000)))
        assert call.answer(world) == 1000
        assert [p.udp.payload for p in wire.drain() if p.udp] == numbered(1000)


def test_an_error_ends_the_call_and_is_the_next_ones(wire: Wire, sock: Any) -> None:
    batch = filled(numbered(4))
    batch.set_address((PEER, 0), 2)
    assert sock.send_batch(batch) == 2
    with pytest.raises(OSError) as caught:
        sock.send_batch(batch, start=2)
    assert caught.value.errno == errno.EINVAL
    assert sock.send_batch(batch, start=3) == 1


def test_a_length_beyond_the_slot(wire: Wire, sock: Any) -> None:
    batch = filled(numbered(2), SHORT)
    batch.lengths[1] = SHORT + 1
    assert sock.send_batch(batch) == 1
    with pytest.raises(OSError) as caught:
        sock.send_batch(batch, start=1)
    assert caught.value.errno == errno.EMSGSIZE


def test_an_ipv6_address_on_an_ipv4_socket(sock: Any) -> None:
    batch = filled([b"x"])
    batch.set_address(("2001:db8::1", 5000))
    with pytest.raises(OSError) as caught:
        sock.send_batch(batch)
    assert caught.value.errno == errno.EAFNOSUPPORT


# ---- pending errors ------------------------------------------------------------------------------


def refused(wire: Wire, sock: Any) -> None:
    """An ICMP port unreachable about a datagram of the connected socket."""
    sock.send(b"anybody?")
    sent = wire.expects(is_udp(data=b"anybody?"))
    wire.sends(frames.unreachable(wire.there, wire.here, 3, sent.l3))


@pytest.mark.parametrize("name", ["recv_batch", "send_batch"])
def test_port_unreachable(wire: Wire, sock: Any, name: str) -> None:
    sock.connect((PEER, 5000))
    comes(wire, b"before")
    refused(wire, sock)
    batch = filled([b"x"])
    with pytest.raises(ConnectionRefusedError):
        getattr(sock, name)(batch)
    assert getattr(sock, name)(batch) == 1, "told once"


def test_an_error_in_the_middle_waits(world: World, wire: Wire) -> None:
    """What came before it counts; the next call raises."""
    with opened(wire, timeout=60) as sock:
        sock.connect((PEER, 5000))
        comes(wire, b"one")
        batch = Batch(4, 64)
        call = Call(sock.recv_batch, batch, flags=socket.MSG_WAITALL).waits(world)
        refused(wire, sock)
        assert call.answer(world) == 1
        with pytest.raises(ConnectionRefusedError):
            sock.recv_batch(batch)


def test_the_interface_is_gone(world: World, wire: Wire, sock: Any) -> None:
    wire.close()
    world.rest()
    for call in (sock.recv_batch, sock.send_batch):
        with pytest.raises(OSError) as caught:
            call(filled([b"x"]))
        assert caught.value.errno in (errno.ENETDOWN, errno.ENETUNREACH)


# ---- memory of the caller's ----------------------------------------------------------------------


def arrays(count: int, size: int) -> dict[str, Any]:
    return {
        "data": bytearray(count * size),
        "lengths": array.array("I", bytes(4 * count)),
        "addresses": bytearray(count * ADDRESS_SIZE),
    }


def test_everything_lies_in_the_callers_arrays(wire: Wire, sock: Any) -> None:
    mine = arrays(4, 8)
    batch = Batch(4, 8, **mine)
    assert (batch.data, batch.lengths, batch.addresses) == tuple(mine.values())
    comes(wire, b"one", b"two")
    assert sock.recv_batch(batch) == 2
    assert mine["data"][:3] == b"one" and mine["data"][8:11] == b"two"
    assert mine["lengths"][:2].tolist() == [3, 3]
    assert unpack_address(mine["addresses"][24:48]) == (PEER, 5000)
    with pytest.raises(BufferError):
        mine["data"].append(0)


@pytest.mark.parametrize("what", ["data", "lengths", "addresses"])
def test_read_only_arrays_will_do_for_sending(wire: Wire, sock: Any, what: str) -> None:
    mine = arrays(1, 3)
    ready = Batch(1, 3, **mine)
    ready[0] = b"one"
    ready.set_address((PEER, 5000))
    mine[what] = memoryview(mine[what]).toreadonly()
    batch = Batch(1, 3, **mine)
    assert not batch.writable
    assert sock.send_batch(batch) == 1
    wire.expects(is_udp(7, 5000, b"one"))
    with pytest.raises(TypeError, match="writable"):
        sock.recv_batch(batch)


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        ({"data": bytearray(31)}, ValueError, "data has 31 bytes, not 32"),
        ({"data": memoryview(bytearray(64))[::2]}, ValueError, "data must be C-contiguous"),
        ({"data": "text"}, TypeError, "data must be a buffer, not 'str'"),
        ({"data": None, "lengths": [0] * 4}, TypeError, "lengths must be a buffer, not 'list'"),
        ({"lengths": array.array("I", [0])}, ValueError, "lengths has 4 bytes, not 16"),
        ({"lengths": array.array("f", [0] * 4)}, TypeError, "unsigned 32-bit"),
        ({"lengths": bytearray(16)}, TypeError, "unsigned 32-bit"),
        ({"lengths": array.array("Q", [0] * 2)}, TypeError, "unsigned 32-bit"),
        ({"addresses": bytearray(24)}, ValueError, "addresses has 24 bytes, not 96"),
    ],
)
def test_arrays_that_will_not_do(wrong: dict[str, Any], error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        Batch(4, 8, **{**arrays(4, 8), **wrong})


@pytest.mark.parametrize(("count", "size"), [(0, 8), (-1, 8), (1 << 21, 8), (8, 0), (8, 65_536)])
def test_bounds_of_a_batch(count: int, size: int) -> None:
    with pytest.raises(ValueError, match="slots"):
        Batch(count, size)


@pytest.mark.parametrize(("count", "start"), [(5, 0), (1, 4), (-1, 0), (None, 5), (None, -1)])
def test_slots_that_are_not_there(sock: Any, count: int | None, start: int) -> None:
    for call in (sock.recv_batch, sock.send_batch):
        with pytest.raises(ValueError, match="of a batch of 4"):
            call(Batch(4, 8), count, start=start)


def test_slots_as_a_sequence() -> None:
    batch = Batch(3, 4)
    batch[-1] = memoryview(b"last")
    assert (len(batch), bytes(batch[2]), bytes(batch[0])) == (3, b"last", b"")
    batch[2][:2] = b"mo"
    assert bytes(batch[2]) == b"most", "it lies in the batch"
    for i in (3, -4):
        with pytest.raises(IndexError):
            batch[i]
    with pytest.raises(ValueError, match="5 bytes do not fit a slot of 4"):
        batch[0] = b"12345"


# ---- addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "raw"),
    [
        (("198.18.0.1", 80), bytes(10) + b"\xff\xff\xc6\x12\0\1" + bytes(4) + b"\x50\0\0\0"),
        (
            ("fe80::1", 0x1234, 0, 3),
            b"\xfe\x80" + bytes(13) + b"\1\3\0\0\0\x34\x12\0\0",
        ),
        (None, bytes(24)),
    ],
)
def test_addresses_there_and_back(address: Any, raw: bytes) -> None:
    assert pack_address(address) == raw
    assert unpack_address(raw) == address


@pytest.mark.parametrize(
    ("address", "error"),
    [
        (("198.18.0.1", 65_536), OverflowError),
        (("2001:db8::1", 65_536), OverflowError),
        (("2001:db8::x", 1), OSError),
        (("no such name", 1), OSError),
        (("198.18.0.1", 1, 0, 0), TypeError),
        ("198.18.0.1", TypeError),
    ],
)
def test_addresses_that_are_none(address: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        pack_address(address)
