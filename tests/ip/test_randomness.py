"""What a peer can see is no clue to what it will see: held against linear solvers, and against models
of ChaCha20 (RFC 8439) and SipHash written from their papers."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address

import pytest
from barewire import _config
from barewire.stack.keyed import KeyedRandom

from tests.kit.wire import Wire
from tests.kit.world import World

LOW, HIGH = (
    49_152,
    65_535,
)  # a range whose size is a power of two shows a number's low bits as they are
BITS = 14
MASK = (1 << 64) - 1


def udp_ports(world: World, n: int) -> list[int]:
    """The low bits of so many random numbers in a row: source ports of UDP sockets."""
    wire, seen = Wire(world, ports=(LOW, HIGH)), []
    for _ in range(n):
        sock = wire.udp()
        sock.connect(wire.there, 53)
        seen.append(sock.name[1] - LOW)
        sock.close()
    return seen


# ---- the attack on xoshiro256**, which the engine once had -------------------------------------------


def xoshiro(state: list[int]) -> Iterator[int]:
    def turn(x: int, n: int) -> int:
        return (x << n | x >> 64 - n) & MASK

    while True:
        yield turn(state[1] * 5 & MASK, 7) * 9 & MASK
        shifted = state[1] << 17 & MASK
        state[2] ^= state[0]
        state[3] ^= state[1]
        state[1] ^= state[2]
        state[0] ^= state[3]
        state[2] ^= shifted
        state[3] = turn(state[3], 45)


def consistent(rows: list[tuple[int, int]]) -> bool:
    """Has the system over GF(2) a solution? A row is a mask of unknowns and their sum."""
    pivots: dict[int, tuple[int, int]] = {}
    for mask, value in rows:
        while mask:
            high = mask.bit_length() - 1
            if high not in pivots:
                pivots[high] = mask, value
                break
            mask, value = mask ^ pivots[high][0], value ^ pivots[high][1]
        else:
            if value:
                return False
    return True


def looks_like_xoshiro(seen: list[int]) -> bool:
    """45 numbers of 14 bits are 315 equations over the 256 bits of the state."""
    s = [[1 << 64 * word + bit for bit in range(64)] for word in range(4)]
    rows = []
    for number in seen:
        low = number * pow(9, -1, 1 << BITS) % (1 << BITS) >> 7
        word = low * pow(5, -1, 1 << BITS - 7) % (1 << BITS - 7)
        rows += [(s[1][bit], word >> bit & 1) for bit in range(BITS - 7)]
        shifted = [0] * 17 + s[1][:47]
        s[2] = [a ^ b for a, b in zip(s[2], s[0], strict=True)]
        s[3] = [a ^ b for a, b in zip(s[3], s[1], strict=True)]
        s[1] = [a ^ b for a, b in zip(s[1], s[2], strict=True)]
        s[0] = [a ^ b for a, b in zip(s[0], s[3], strict=True)]
        s[2] = [a ^ b for a, b in zip(s[2], shifted, strict=True)]
        s[3] = s[3][-45:] + s[3][:-45]
    return consistent(rows)


def test_udp_ports_are_no_equations_for_a_state(world: World) -> None:
    known = xoshiro([1, 2, 3, 4])
    assert looks_like_xoshiro([next(known) % (1 << BITS) for _ in range(45)]), "the attack works"
    assert not looks_like_xoshiro(udp_ports(world, 45))


# ---- any linear generator: a bit of its outputs has a short recurrence (Berlekamp and Massey) --------


def linear_complexity(bits: list[int]) -> int:
    """The length of the shortest linear recurrence over GF(2); of random bits, half their number."""
    now, before, length, since, window = 1, 1, 0, 1, 0
    for i, bit in enumerate(bits):
        window = window << 1 | bit
        if (now & window).bit_count() & 1:
            now, old = now ^ before << since, now
            if 2 * length <= i:
                length, before, since = i + 1 - length, old, 0
        since += 1
    return length


def is_random(numbers: list[int], width: int) -> bool:
    """No bit position, and no sum of two, has a recurrence much shorter than chance gives it."""
    columns = [[n >> bit & 1 for n in numbers] for bit in range(width)]
    columns += [[a ^ b for a, b in zip(columns[0], c, strict=True)] for c in columns[1:]]
    return all(abs(linear_complexity(c) - len(numbers) / 2) < 20 for c in columns)


def test_no_bit_of_the_ports_has_a_linear_recurrence(world: World) -> None:
    known = xoshiro([1, 2, 3, 4])
    words = [(next(known) * pow(9, -1, 1 << 64) & MASK) >> 7 for _ in range(600)]
    assert linear_complexity([w & 1 for w in words]) == 256, "the measure finds one"
    assert is_random(udp_ports(world, 600), BITS)


def test_no_bit_of_the_control_planes_numbers_has_a_linear_recurrence() -> None:
    rng = KeyedRandom(7)
    assert is_random([rng.randrange(0x10000) for _ in range(600)], 16)


def test_initial_sequence_numbers_of_neighbouring_ports_are_no_linear_function(
    world: World,
) -> None:
    """Of four ports that differ in two bits, a linear function's values sum to nothing."""
    wire, seen = Wire(world), []
    for port in range(4096, 4096 + 1024):
        sock = wire.tcp().bind(wire.here, port)
        assert sock.connect_ex(wire.there, 80)
        packet = wire.expects()
        assert packet.tcp is not None
        seen.append(packet.tcp.seq)
        sock.close()
    assert is_random(seen, 32)
    for base in range(0, 1024, 4):
        a, b, c, d = seen[base : base + 4]
        assert a ^ b ^ c ^ d, "affine over GF(2)"


# ---- models -------------------------------------------------------------------------------------------


def chacha20_block(key: bytes, counter: int, nonce: bytes = bytes(12)) -> bytes:
    """RFC 8439 section 2.3."""
    start = list(
        struct.unpack("<16I", b"expand 32-byte k" + key + counter.to_bytes(4, "little") + nonce)
    )
    v = start.copy()

    def quarter(a: int, b: int, c: int, d: int) -> None:
        for x, y, z, n in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            v[x] = (v[x] + v[y]) & 0xFFFFFFFF
            v[z] ^= v[x]
            v[z] = (v[z] << n | v[z] >> 32 - n) & 0xFFFFFFFF

    for _ in range(10):
        for i in range(4):
            quarter(i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return struct.pack("<16I", *((a + b) & 0xFFFFFFFF for a, b in zip(v, start, strict=True)))


def erasing(key: bytes) -> Iterator[bytes]:
    """What the engine gives out under a key, in runs of 224 bytes."""
    while True:
        made = b"".join(chacha20_block(key, i) for i in range(4))
        key = made[:32]
        yield made[32:]


def siphash24(key: bytes, data: bytes) -> int:
    """Aumasson and Bernstein, appendix A."""
    k0, k1 = struct.unpack("<2Q", key)
    v = [
        k0 ^ 0x736F6D6570736575,
        k1 ^ 0x646F72616E646F6D,
        k0 ^ 0x6C7967656E657261,
        k1 ^ 0x7465646279746573,
    ]

    def turn(i: int, n: int) -> None:
        v[i] = (v[i] << n | v[i] >> 64 - n) & MASK

    def rounds(n: int) -> None:
        for _ in range(n):
            for a, b, left in ((0, 1, 13), (2, 3, 16)):
                v[a] = (v[a] + v[b]) & MASK
                turn(b, left)
                v[b] ^= v[a]
            turn(0, 32)
            for a, b, left in ((0, 3, 21), (2, 1, 17)):
                v[a] = (v[a] + v[b]) & MASK
                turn(b, left)
                v[b] ^= v[a]
            turn(2, 32)

    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) & 0xFF])
    for (word,) in struct.iter_unpack("<Q", padded):
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xFF
    rounds(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def test_the_models_give_what_their_papers_say() -> None:
    key = bytes(range(32))
    block = chacha20_block(key, 1, bytes.fromhex("000000090000004a00000000"))
    assert block[:16].hex() == "10f1e7e4d13b5915500fdd1fa32071c4", "RFC 8439 section 2.3.2"
    assert siphash24(key[:16], bytes(range(15))) == 0xA129CA6149BE45E5, "the paper's appendix A"


def stream(seed: str) -> bytes:
    runs = erasing(_config.seed_bytes(seed))
    return b"".join(next(runs) for _ in range(4))


@pytest.mark.parametrize("seed", ["one", "another"])
def test_ports_are_chacha20_of_the_seed(world: World, seed: str) -> None:
    wire, seen = Wire(world, ports=(LOW, HIGH), seed=seed), []
    for _ in range(40):  # over the end of a run, where the key changes
        sock = wire.udp()
        sock.connect(wire.there, 53)
        seen.append(sock.name[1] - LOW)
    words = [w % (1 << BITS) for (w,) in struct.iter_unpack("<Q", stream(seed))]
    assert any(words[i : i + 40] == seen for i in range(len(words))), seen


def test_initial_sequence_numbers_are_siphash_of_the_names(world: World) -> None:
    wire = Wire(world, seed="isn")
    sock = wire.tcp().bind(wire.here, 4000)
    assert sock.connect_ex(wire.there, 80)
    packet = wire.expects()
    assert packet.tcp is not None
    names = b"".join(
        bytes(10) + b"\xff\xff" + IPv4Address(a).packed for a in (wire.here, wire.there)
    )
    names += struct.pack(">HHI", 4000, 80, 0)
    keys = stream("isn")
    clock = world.clock.now >> 12
    made = [(siphash24(keys[i : i + 16], names) + clock) & 0xFFFFFFFF for i in range(0, 96, 16)]
    assert packet.tcp.seq in made


# ---- who learns what of whom ----------------------------------------------------------------------------


def tcp_ports(
    wire: Wire, there: str, n: int, between: Callable[[], object] = lambda: None
) -> list[int]:
    seen = []
    for _ in range(n):
        sock = wire.tcp()
        sock.connect_ex(there, 80)
        seen.append(sock.name[1])
        sock.close()
        between()
    return seen


def test_a_peer_cannot_count_the_connections_to_others() -> None:
    """RFC 6056 algorithm 3 has one counter, which shows itself to everybody."""
    with World() as quiet, World() as busy:
        options = {"ports": (LOW, HIGH), "arp": False, "ring": 1024}
        alone, beside = Wire(quiet, **options), Wire(busy, **options)
        others = iter(range(3, 200))

        def elsewhere() -> None:
            tcp_ports(beside, f"198.18.0.{next(others)}", 3)

        assert tcp_ports(alone, "198.18.0.2", 20) == tcp_ports(beside, "198.18.0.2", 20, elsewhere)


def test_where_ports_begin_changes_every_ten_seconds(world: World) -> None:
    wire = Wire(world, ports=(LOW, HIGH))
    first = tcp_ports(wire, wire.there, 2)
    assert first[1] - first[0] == 1
    world.run("10s")
    assert abs(tcp_ports(wire, wire.there, 1)[0] - first[1]) > 1


def test_equal_seeds_give_equal_numbers() -> None:
    a, b, c = KeyedRandom("x"), KeyedRandom("x"), KeyedRandom("y")
    first = [a.randrange(1 << 40) for _ in range(100)]
    assert first == [b.randrange(1 << 40) for _ in range(100)]
    assert first != [c.randrange(1 << 40) for _ in range(100)]
    values = [a.random() for _ in range(1000)]
    assert 0 <= min(values) < 0.05 < 0.95 < max(values) < 1
