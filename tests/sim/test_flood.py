"""A SYN flood in virtual time: an attacker on one interface, honest hosts on another; every bound."""

from __future__ import annotations

import random
from ipaddress import IPv4Address

import pytest
from barewire.nic_drivers import Faults, pipe_pair
from barewire.stack import lib
from barewire.stack.tcp import Flags, Mss, SackPermitted, Segment, Timestamps, WindowScale

from tests.kit import frames
from tests.kit.clock import MS
from tests.kit.programs import Conversation
from tests.kit.sock import Sock
from tests.kit.world import World, lossy_pair

OPTIONS = (Mss(1460), SackPermitted(), Timestamps(1, 0), WindowScale(7))
TICK = MS  # a burst of SYNs each
BURST = 64  # 64,000 a second
MAX_SOCKETS = 2048


class Attacker:
    """Sends bursts of SYNs from made-up sources on its own interface, and throws answers away."""

    def __init__(self, world: World, end: object, target: str, port: int, seed: int) -> None:
        rng = random.Random(seed)
        self.world, self.end = world, end
        self.sent = self.answers = 0
        self.frames = []
        for _ in range(4096):
            source = str(IPv4Address("198.19.0.0") + rng.randrange(1, 65_535))
            ports = (rng.randrange(1024, 65_536), port)
            segment = Segment(*ports, seq=rng.getrandbits(32), flags=Flags.SYN, options=OPTIONS)
            self.frames.append(frames.tcp(source, target, segment))
        self.next = world.clock.now
        world.add_mover(self.move)

    def move(self) -> bool:
        moved = False
        while self.end.recv(self.world.clock.now) is not None:  # type: ignore[attr-defined]
            self.answers += 1
            moved = True
        if self.world.clock.now >= self.next:
            self.next = self.world.clock.now + TICK
            for _ in range(BURST):
                frame = self.frames[self.sent % len(self.frames)]
                self.sent += self.end.send(frame, self.world.clock.now)  # type: ignore[attr-defined]
            moved = True
        return moved


@pytest.mark.parametrize("cookies", [1, 2])
def test_every_bound_holds_under_a_flood(cookies: int) -> None:
    with World(5, buffer_bytes=32 << 20) as world:
        inner, outer = lossy_pair(Faults(delay=2 * MS), seed=5)
        wire, far = pipe_pair(layer=3, mtu=1500, ring=256)
        server = world.stack(
            [inner, wire], "198.18.0.1/24", max_sockets=MAX_SOCKETS, syn_cookies=cookies
        )
        server.add_address("198.18.1.1/24", server.interfaces[2].name)
        server.add_route("198.19.0.0/16", "198.18.1.2")
        client = world.stack(outer, "198.18.0.2/24")
        listener = Sock(server).bind("0.0.0.0", 7000).listen(512)
        talk = Conversation(world, client, server, "198.18.0.1", upload=3_000_000, download=50_000)
        world.add_closer(far.close)
        attacker = Attacker(world, far, "198.18.1.1", 7000, seed=5)
        opened, most = 0, 0
        for _ in range(40):
            sock = Sock(client).connect("198.18.0.1", 7000)
            for _ in range(200):
                world.clock.set(world.clock.now + TICK)
                world.rest()
                most = max(most, server.stats()["sockets"])
                if sock.writable and listener.readable:
                    break
            accepted = listener.accept()
            assert (sock.state, accepted.state) == ("ESTABLISHED", "ESTABLISHED")
            opened += 1
            sock.abort()
            accepted.abort()
        world.remove_mover(attacker.move)
        assert opened == 40
        counters = server.counters()
        bound = MAX_SOCKETS // 4 + 1 if cookies == 1 else 0
        assert most <= bound + 8, "the rest are the honest ones"
        assert attacker.sent > 4096
        assert counters["tcp_syn_cookies_sent"] > 0
        assert attacker.answers <= attacker.sent + 5 * bound
        assert lib.host_memory_used(server.host, 4) <= 8, "no chain of the flow table grows"
        talk.runs()
        talk.closes()
        listener.close()
        world.run("5min")
        assert server.stats()["sockets"] == 0
        assert server.stats()["memory_chunks"] == 0
