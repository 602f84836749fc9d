"""The relay: frames cross it, its faults are those asked for, and nothing of it stays."""

from __future__ import annotations

import errno
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from barewire.nic_drivers import DeviceError, Faults, pipe_pair
from barewire.tools.netns import Namespace
from barewire.tools.relay import Pump, Relay

MS = 1_000_000
HERE, THERE = "198.18.0.1", "198.18.0.2"


@pytest.fixture
def ends(make_netns: Callable[[str], Namespace]) -> tuple[Namespace, Namespace]:
    """Two namespaces that say nothing by themselves."""
    found = make_netns("a"), make_netns("b")
    for namespace in found:
        namespace.quiet()
    return found


def datagrams(a: Namespace, b: Namespace, count: int) -> list[int]:
    """Numbers of those that arrive, of `count` sent from a to b."""
    with a.socket(kind=socket.SOCK_DGRAM) as out, b.socket(kind=socket.SOCK_DGRAM) as into:
        into.bind((THERE, 7))
        out.connect((THERE, 7))
        got = []
        for first in range(0, count, 50):
            for number in range(first, min(first + 50, count)):
                out.send(number.to_bytes(4, "big"))
            into.settimeout(0.05)
            try:
                while True:
                    got.append(int.from_bytes(into.recv(64), "big"))
            except TimeoutError:
                pass
        return got


# ---- the pump alone ------------------------------------------------------------------------------


def test_the_pump_moves_frames_both_ways_in_order():
    (near, a), (b, far) = pipe_pair(offload=False), pipe_pair(offload=False)
    pump = Pump(a, b)
    sent = [bytes([n]) * 60 for n in range(100)]
    with near, far:
        pump.start()
        near.tx(sent)
        far.tx(sent)
        limit = time.monotonic() + 10
        got: list[list[bytes]] = [[], []]
        while min(map(len, got)) < 100 and time.monotonic() < limit:
            for end, into in zip((far, near), got, strict=True):
                into += [f.data for f in end.rx()]
        pump.close()
        pump.close()
        assert got == [sent, sent]
        assert pump.stats.frames == (100, 100)
        assert pump.stats.dropped == (0, 0)


def test_a_pump_that_never_started_closes():
    (near, a), (b, far) = pipe_pair(offload=False), pipe_pair(offload=False)
    with near, far:
        Pump(a, b).close()
        assert near.peer_closed and far.peer_closed


def test_a_full_device_drops_and_counts():
    (near, a), (b, far) = pipe_pair(offload=False), pipe_pair(ring=16, offload=False)
    pump = Pump(a, b)
    with near, far:
        near.tx([bytes(60)] * 64)
        pump.start()
        limit = time.monotonic() + 10
        while sum(pump.stats.frames + pump.stats.dropped) < 64 and time.monotonic() < limit:
            pass
        assert pump.stats.frames == (16, 0) and pump.stats.dropped == (48, 0)
        pump.close()


# ---- between namespaces --------------------------------------------------------------------------


@pytest.mark.netns
def test_frames_cross_with_the_delay_of_both_ways(ends):
    a, b = ends
    with Relay(a, b, Faults(delay=20 * MS)) as relay:
        assert "link0" in a.links() and "link0" in b.links()
        with a.socket(kind=socket.SOCK_DGRAM) as one, b.socket(kind=socket.SOCK_DGRAM) as two:
            two.bind((THERE, 7))
            for sock in (one, two):
                sock.settimeout(5)
            for _ in range(2):
                begin = time.monotonic()
                one.sendto(b"ping", (THERE, 7))
                data, peer = two.recvfrom(64)
                two.sendto(data, peer)
                assert one.recv(64) == b"ping"
                assert time.monotonic() - begin >= 0.040
    stats = relay.stats
    assert stats.frames == (2, 2), "nobody asks for link addresses"
    assert stats.deadlines >= 2 and 0 < stats.late_p50 <= stats.late_p99
    assert a.links() == b.links() == ["lo"]


@pytest.mark.netns
def test_the_loss_is_the_one_asked_for_and_the_seed_chooses_the_frames(ends):
    def run(seed: int) -> list[int]:
        with Relay(*ends, Faults(loss=0.2), seed=seed) as relay:
            got = datagrams(*ends, 1000)
        assert relay.stats.frames[0] == 1000 and relay.stats.dropped == (0, 0)
        assert relay.faults["fault.tx.lost"] == 1000 - len(got)
        return got

    first = run(3)
    assert abs(len(first) - 800) < 4 * (1000 * 0.2 * 0.8) ** 0.5
    assert run(3) == first
    assert run(4) != first


@pytest.mark.netns
def test_a_stream_crosses_in_whole_frames_with_finished_checksums(ends):
    """The kernel would like to hand over 64 KB at once, its checksum to be finished by the card."""
    a, b = ends
    size = 2_000_000
    with Relay(a, b) as relay:
        with b.socket() as listener, a.socket() as client:
            listener.bind((THERE, 80))
            listener.listen()
            client.settimeout(10)
            client.connect((THERE, 80))
            server, _ = listener.accept()
            with server:
                server.settimeout(10)
                client.setblocking(False)
                sent = got = 0
                while got < size:
                    if sent < size:
                        try:
                            sent += client.send(bytes(min(size - sent, 65536)))
                        except BlockingIOError:
                            pass
                    try:
                        got += len(server.recv(1 << 20, 0 if sent == size else socket.MSG_DONTWAIT))
                    except BlockingIOError:
                        pass
    assert relay.stats.frames[0] >= size // 1460
    with b.entered(), open("/proc/thread-self/net/snmp") as file:
        names, values = (line.split() for line in file if line.startswith("Tcp:"))
    assert dict(zip(names, values, strict=True))["InCsumErrors"] == "0"


@pytest.mark.netns
def test_an_error_inside_takes_it_all_away(ends):
    with pytest.raises(ZeroDivisionError), Relay(*ends):
        _ = 1 // 0
    assert [n.links() for n in ends] == [["lo"], ["lo"]]


@pytest.mark.netns
@pytest.mark.parametrize("addresses", [("nonsense", "198.18.0.2/24"), ("198.18.0.1/24", "x/24")])
def test_a_relay_that_cannot_be_made_leaves_no_half(ends, addresses):
    with pytest.raises(DeviceError):
        Relay(*ends, addresses=addresses)
    assert [n.links() for n in ends] == [["lo"], ["lo"]]


@pytest.mark.netns
def test_an_interface_that_is_removed_ends_it_and_close_says_so(ends):
    relay = Relay(*ends)
    ends[1].delete_link("link0")
    with pytest.raises(OSError, match="ended early") as info:
        relay.close()
    assert info.value.errno == errno.ENETDOWN
    relay.close()
    assert ends[0].links() == ["lo"]


@pytest.mark.netns
def test_sigterm_ends_a_process_with_a_relay_at_once():
    script = (
        "import sys\n"
        "from barewire.tools.netns import Namespace\n"
        "from barewire.tools.relay import Relay\n"
        "with Namespace('a') as a, Namespace('b') as b, Relay(a, b):\n"
        "    print('up', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-P", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"up\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == -signal.SIGTERM
