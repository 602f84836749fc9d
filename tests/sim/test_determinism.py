"""The same seed, commands and frames give the same bytes (DESIGN section 4)."""

from __future__ import annotations

from pathlib import Path

from barewire.nic_drivers import Faults, pipe_pair, with_faults, with_pcap

from tests.kit.clock import MS
from tests.kit.programs import Conversation
from tests.kit.sock import Sock
from tests.kit.world import World

FAULTS = Faults(loss=0.03, delay=5 * MS, jitter=3 * MS, reorder=0.1, duplicate=0.02, corrupt=0.01)


def capture(path: Path, seed: int, network: int) -> bytes:
    """Everything that one stack saw and said in a run with that seed, as a capture file."""
    with World(seed, buffer_bytes=64 << 20) as world:
        a, b = pipe_pair(layer=2)
        a = with_pcap(with_faults(a, FAULTS, seed=network), path, wall_offset=0)
        one, two = world.stack(a, "198.18.0.1/24"), world.stack(b, "198.18.0.2/24")
        talk = Conversation(world, one, two, "198.18.0.2", upload=150_000, download=100_000)
        udp = Sock(one, 2)
        for i in range(20):
            udp.sendto(bytes(i * 200), "198.18.0.2", 7)
        talk.runs()
        talk.closes()
    return path.read_bytes()


def test_two_runs_are_equal_byte_by_byte(tmp_path: Path) -> None:
    runs = [capture(tmp_path / f"{i}.pcap", 1, 1) for i in range(2)]
    assert len(runs[0]) > 250_000
    assert runs[0] == runs[1]


def test_another_seed_of_the_stacks_gives_another_run(tmp_path: Path) -> None:
    assert capture(tmp_path / "1.pcap", 1, 1) != capture(tmp_path / "2.pcap", 2, 1)


def test_another_network_gives_another_run(tmp_path: Path) -> None:
    assert capture(tmp_path / "1.pcap", 1, 1) != capture(tmp_path / "2.pcap", 1, 2)
