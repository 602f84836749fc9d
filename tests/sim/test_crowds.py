"""Many connections at once, a rate-limited link, memory that is scarce, devices that finish late."""

from __future__ import annotations

import pytest
from barewire.nic_drivers import Device, Faults, pipe_pair, with_faults, with_late

from tests.kit.clock import MS
from tests.kit.programs import Conversation
from tests.kit.sock import Sock
from tests.kit.world import World, lossy_pair


def test_fifty_connections_over_one_lossy_link() -> None:
    with World(7, buffer_bytes=64 << 20) as world:
        a, b = lossy_pair(Faults(loss=0.02, delay=5 * MS, reorder=0.05), seed=7)
        one, two = world.stack(a, "198.18.0.1/24"), world.stack(b, "198.18.0.2/24")
        talks = [
            Conversation(
                world, one, two, "198.18.0.2", upload=20_000 + i, download=10_000 + i, port=80 + i
            )
            for i in range(50)
        ]
        world.run_until(lambda: all(talk.done for talk in talks))
        for talk in talks:
            talk.runs()
        for talk in talks:
            for sock in (talk.client.sock, talk.server.sock, talk.listener):  # type: ignore[union-attr]
                sock.close()
        world.run("10min")
        assert [s.stats()["sockets"] for s in (one, two)] == [0, 0]
        assert [s.stats()["memory_chunks"] for s in (one, two)] == [0, 0]


@pytest.mark.parametrize("congestion", [0, 1], ids=["cubic", "reno"])
def test_a_bottleneck_is_used_well(congestion: int) -> None:
    """10 Mbit/s, 20 ms each way, a queue of 64 KB: at least 80 % of the rate."""
    with World(3, buffer_bytes=64 << 20) as world:
        a, b = lossy_pair(Faults(delay=20 * MS, rate=10e6, backlog=64_000), seed=3)
        one, two = world.stack(a, "198.18.0.1/24"), world.stack(b, "198.18.0.2/24")
        size = 6_000_000
        begin = world.clock.now
        talk = Conversation(
            world, one, two, "198.18.0.2", upload=size, download=0, congestion=congestion
        )
        talk.runs()
        seconds = (world.clock.now - begin) / 1e9
        assert size * 8 / seconds > 8e6, f"{size * 8 / seconds / 1e6:.2f} Mbit/s"


def test_two_flows_share_a_bottleneck() -> None:
    with World(5, buffer_bytes=64 << 20) as world:
        a, b = lossy_pair(Faults(delay=10 * MS, rate=20e6, backlog=64_000), seed=5)
        one, two = world.stack(a, "198.18.0.1/24"), world.stack(b, "198.18.0.2/24")
        talks = [
            Conversation(world, one, two, "198.18.0.2", upload=4_000_000, download=0, port=80 + i)
            for i in range(2)
        ]
        world.run_until(lambda: any(talk.done for talk in talks))
        slower = min(len(talk.server.got) for talk in talks if talk.server)
        assert slower > 4_000_000 * 0.3
        for talk in talks:
            talk.runs()


def test_scarce_memory_slows_down_but_loses_nothing() -> None:
    """Sixty-four chunks in all, thirty connections that each would take a megabyte."""
    with World(11) as world:
        a, b = lossy_pair(Faults(loss=0.01, delay=2 * MS), seed=11)
        one = world.stack(a, "198.18.0.1/24", buffer_bytes=1 << 20)
        two = world.stack(b, "198.18.0.2/24", buffer_bytes=1 << 20)
        talks = [
            Conversation(
                world, one, two, "198.18.0.2", upload=150_000, download=50_000, port=80 + i
            )
            for i in range(30)
        ]
        world.run_until(lambda: all(talk.done for talk in talks))
        for talk in talks:
            talk.runs()
        for talk in talks:
            for sock in (talk.client.sock, talk.server.sock, talk.listener):  # type: ignore[union-attr]
                sock.close()
        world.run("10min")
        assert [s.stats()["memory_chunks"] for s in (one, two)] == [0, 0]


# ---- devices that finish late --------------------------------------------------------------------


def late_pair(seed: int, faults: Faults | None = None) -> tuple[Device, Device]:
    a, b = pipe_pair(layer=3, ring=1024)
    if faults is not None:
        b = with_faults(b, faults, seed=seed)
        return with_late(a, max_delay=2 * MS, seed=seed), b
    return with_late(a, max_delay=2 * MS, seed=seed), with_late(b, max_delay=MS, seed=seed + 1)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("loss", [0.0, 0.05])
def test_transmits_that_finish_late_and_out_of_order(seed: int, loss: float) -> None:
    """Chunks given back are overwritten: a device that still reads one would send that."""
    faults = Faults(loss=loss, delay=3 * MS) if loss else None
    with World(seed, poison=True, buffer_bytes=64 << 20) as world:
        a, b = late_pair(seed, faults)
        one, two = world.stack(a, "198.18.0.1/24"), world.stack(b, "198.18.0.2/24")
        talk = Conversation(world, one, two, "198.18.0.2", upload=400_000, download=200_000)
        talk.runs()
        talk.closes()
        for device, stack in ((a, one), (b, two)):
            assert device.counters.get("late.corrupted", 0) == 0
            assert device.counters.get("late.taken", 0) == device.counters.get("late.reclaimed", 0)
            assert stack.stats()["memory_chunks"] == 0


def test_a_reset_while_transmits_are_under_way() -> None:
    """Chunks stay until the device has let go, though their connection is gone."""
    with World(1, poison=True, buffer_bytes=64 << 20) as world:
        a, b = pipe_pair(layer=3, ring=1024)
        a = with_late(a, max_delay=50 * MS, seed=1)
        one, two = world.stack(a, "198.18.0.1/24"), world.stack(b, "198.18.0.2/24")
        listener = Sock(two).bind("0.0.0.0", 80).listen()
        sock = Sock(one).connect("198.18.0.2", 80)
        world.run("200ms")
        assert listener.accept().state == "ESTABLISHED"
        sock.send(bytes(100_000))
        world.run("1ms")
        sock.abort()
        assert one.stats()["memory_chunks"] > 0
        world.run("1s")
        assert a.counters["late.corrupted"] == 0
        assert one.stats()["memory_chunks"] == 0


def test_datagrams_through_a_late_device() -> None:
    with World(2, poison=True, buffer_bytes=64 << 20) as world:
        a, b = late_pair(2)
        one, two = world.stack(a, "198.18.0.1/24"), world.stack(b, "198.18.0.2/24")
        server = Sock(two, 2).bind("0.0.0.0", 7).set(rcvbuf=4 << 20)
        client = Sock(one, 2)
        sent = [bytes([i]) * (i * 37 % 5000) for i in range(200)]
        for data in sent:
            client.sendto(data, "198.18.0.2", 7)
            world.run("1ms")
        world.run("1s")
        got = []
        while server.readable:
            got.append(server.recvfrom()[0])
        assert sorted(got) == sorted(sent)
        assert a.counters["late.corrupted"] == b.counters["late.corrupted"] == 0
        assert one.stats()["memory_chunks"] == 0
