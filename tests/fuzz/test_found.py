"""What the comparison with the kernel has found, and is mended: the shortest conversations, the answer that
is right, and that the kernel gives the same."""

from __future__ import annotations

import pytest
from barewire.fuzz.conversation import Place, Player, Step
from barewire.fuzz.differential import Differential
from barewire.fuzz.peer import Peer
from barewire.fuzz.targets import KernelTarget, StackTarget

FIN, SYN, RST, PSH, ACK, URG = (1 << n for n in range(6))
OOB = 1
PASSIVE = (Step("listen", (5,)), Step("syn", (0, 3)), Step("say", (0, ACK, 0, 0, 0, 65535)))
ACCEPTED = (*PASSIVE, Step("accept", (0,)))
ACTIVE = (Step("connect", (0,)), Step("answer", (0, 3)))
STAMPED = (Step("listen", (5,)), Step("syn", (0, 2)))

# name: steps, and what the last one is answered with
FOUND: dict[str, tuple[tuple[Step, ...], list[str]]] = {
    "an ICMP error on a narrow path": (
        (
            Step("udp", (0,)),
            Step("icmp_udp", (0, 0, 3, 4, 500)),
            Step("datagram", (2, 2, 1400)),
        ),
        ["sends: ICMP 3/3 of 532 options  tos 192", "has: 0 datagram OUT"],
    ),
    "a reset with text, with the number of the FIN": (
        (
            *ACTIVE,
            Step("say", (0, ACK | FIN, 0, 0, 0, 65535)),
            Step("say", (0, RST, 100, -1, 0, 65535)),
        ),
        ["has: 0 stream IN|OUT|ERR|HUP|RDHUP state 7"],
    ),
    "a reset behind a FIN that came out of order": (
        (
            *ACTIVE,
            Step("say", (0, ACK | FIN, 0, 1400, 0, 65535)),
            Step("say", (0, RST, 0, 1401, 0, 65535)),
        ),
        ["has: 0 stream IN|OUT|ERR|HUP|RDHUP state 7"],
    ),
    "text in TIME-WAIT": (
        (
            *ACTIVE,
            Step("close", (0,)),
            Step("say", (0, ACK | FIN, 0, 0, 0, 65535)),
            Step("say", (0, ACK, 100, 0, 0, 65535)),
        ),
        ["sends: A seq 2 ack 2 of 0"],
    ),
    "a segment ahead in TIME-WAIT": (
        (
            *ACTIVE,
            Step("close", (0,)),
            Step("say", (0, ACK | FIN, 0, 0, 0, 65535)),
            Step("say", (0, ACK, 0, 1400, 0, 65535)),
        ),
        ["sends: A seq 2 ack 2 of 0"],
    ),
    "SYN,ACK with a wrong echo": (
        (Step("connect", (0,)), Step("stamped", (0, SYN | ACK, 0, 0, 0, -100_000))),
        ["sends: R seq 1 ack 0 of 0", "has: 0 stream  state 2"],
    ),
    "a reset of a SYN with a wrong echo": (
        (Step("connect", (0,)), Step("stamped", (0, RST | ACK, 0, 0, 0, 100_000))),
        ["has: 0 stream  state 2"],
    ),
    "the third ACK with a wrong echo": (
        (*STAMPED, Step("stamped", (0, ACK, 0, 0, 0, -100_000))),
        ["sends: A seq 1 ack 1 of 0", "has: 0 listener "],
    ),
    "a segment without ACK says no time": (
        (
            *STAMPED,
            Step("say", (0, ACK, 0, 0, 0, 65535)),
            Step("stamped", (0, URG, 0, 0, 100_000, 0)),
            Step("say", (0, ACK | FIN, 0, 100, 0, 65535)),
        ),
        ["sends: A seq 1 ack 1 of 0 sack 101-102", "has: 0 listener IN"],
    ),
    "an urgent byte that the window has no room for": (
        (
            *ACTIVE,
            Step("send", (0, 536, 0)),
            Step("say", (0, ACK, 1, 0, 0, 50)),
            Step("send", (0, 100, OOB)),
        ),
        ["call: 100", "has: 0 stream IN|OUT state 1"],
    ),
    "a FIN that the window has no room for": (
        (*ACTIVE, Step("say", (0, ACK, 1, 0, 0, 0)), Step("shutdown", (0, 1))),
        ["has: 0 stream IN|OUT state 4"],
    ),
    "the newest block is that of the FIN": (
        (
            *ACTIVE,
            Step("say", (0, ACK, 100, 1400, 0, 65535)),
            Step("say", (0, ACK | FIN, 0, 3000, 0, 65535)),
        ),
        ["sends: A seq 1 ack 1 of 0 sack 3001-3002 sack 1401-1501", "has: 0 stream OUT state 1"],
    ),
    "the newest block is not that of the FIN": (
        (
            *ACTIVE,
            Step("say", (0, ACK | FIN, 0, 3000, 0, 65535)),
            Step("say", (0, ACK, 100, 1400, 0, 65535)),
        ),
        ["sends: A seq 1 ack 1 of 0 sack 1401-1501 sack 3001-3002", "has: 0 stream OUT state 1"],
    ),
    "an urgent byte that will not come": (
        (
            *ACCEPTED,
            Step("urge", (0, ACK | FIN, 100, 0, 5000)),
            Step("recv", (1, 1, OOB)),
        ),
        ["call: 0 bytes 00000000", "has: 0 listener ", "has: 1 stream IN|OUT|RDHUP state 8"],
    ),
    "an urgent byte after a reset": (
        (
            *ACCEPTED,
            Step("urge", (0, ACK, 100, 0, 50)),
            Step("say", (0, RST, 0, 0, 0, 65535)),
            Step("recv", (1, 1, OOB)),
        ),
        ["call: ENOTCONN", "has: 0 listener ", "has: 1 stream IN|PRI|OUT|ERR|HUP|RDHUP state 7"],
    ),
    "a TCP socket that wants no path MTU": (
        (*ACCEPTED, Step("option", (1, 0, 10, 0)), Step("send", (1, 100, 0))),
        [
            "call: 100",
            "sends: A seq 1 ack 1 of 100 no df",
            "has: 0 listener ",
            "has: 1 stream OUT state 1",
        ],
    ),
    "a listener's child wants no path MTU either": (
        (
            Step("listen", (5,)),
            Step("option", (0, 0, 10, 0)),
            *PASSIVE[1:],
            Step("accept", (0,)),
            Step("send", (1, 100, 0)),
        ),
        [
            "call: 100",
            "sends: A seq 1 ack 1 of 100 no df",
            "has: 0 listener ",
            "has: 1 stream OUT state 1",
        ],
    ),
    "its reset does not either": (
        (*ACCEPTED, Step("option", (1, 0, 10, 0)), Step("linger", (1, 0)), Step("close", (1,))),
        ["sends: RA seq 1 ack 1 of 0 no df", "has: 0 listener "],
    ),
    "without a cork Nagle still waits": (
        (
            *ACTIVE,
            Step("send", (0, 1, 0)),
            Step("send", (0, 100, 0)),
            Step("option", (0, 6, 3, 0)),
        ),
        ["call: 0", "has: 0 stream OUT state 1"],
    ),
    "an echo half of all numbers away": (
        (*STAMPED, Step("stamped", (0, ACK, 0, 0, 0, 1 << 31))),
        ["sends: A seq 1 ack 1 of 0", "has: 0 listener "],
    ),
    "an ARP request from the loopback": (
        (Step("arp", (1, "020000000001", "127.0.0.1", "198.18.0.2")),),
        [],
    ),
    "an ARP request from the broadcast address": (
        (Step("arp", (1, "020000000001", "255.255.255.255", "198.18.0.2")),),
        [],
    ),
    "a SYN,ACK goes with DF": (
        (Step("listen", (5,)), Step("option", (0, 0, 10, 0)), Step("syn", (0, 1))),
        ["sends: SA seq 0 ack 1 of 0 mss 1460 scale False sack False ts False", "has: 0 listener "],
    ),
    "a path narrower than any MTU we believe": (
        (*ACCEPTED, Step("send", (1, 536, 0)), Step("icmp", (0, 3, 4, 536, 300))),
        [
            "sends: A seq 1 ack 1 of 512 no df",
            "sends: A seq 513 ack 1 of 24 no df",
            "has: 0 listener ",
            "has: 1 stream OUT state 1",
        ],
    ),
    "a soft error after a reset": (
        (
            *ACTIVE,
            Step("icmp", (0, 3, 9, 0, 1400)),
            Step("say", (0, RST, 1, 0, 0, 65535)),
            Step("recv", (0, 100, 0)),
            Step("error", (0,)),
        ),
        ["call: ENETUNREACH", "has: 0 stream IN|OUT|HUP|RDHUP state 7"],
    ),
    "a soft error after an ACK": (
        (
            *ACTIVE,
            Step("icmp", (0, 3, 9, 0, 1400)),
            Step("say", (0, ACK, 0, 0, 0, 5000)),
            Step("error", (0,)),
        ),
        ["call: 0", "has: 0 stream OUT state 1"],
    ),
    "a soft error after the same ACK once more": (
        (
            *ACTIVE,
            Step("icmp", (0, 3, 9, 0, 1400)),
            Step("say", (0, ACK, 0, 0, 0, 65535)),
            Step("say", (0, ACK, 0, 0, 0, 65535)),
            Step("error", (0,)),
        ),
        ["call: 0", "has: 0 stream OUT state 1"],
    ),
    "an error that IP_RECVERR asked for": (
        (
            *ACCEPTED,
            Step("send", (1, 40000, 0)),
            Step("option", (1, 0, 11, 1)),
            Step("icmp", (0, 3, 9, 1, 0)),
            Step("error", (1,)),
            Step("recv", (1, 100, 0)),
        ),
        ["call: EAGAIN", "has: 0 listener ", "has: 1 stream OUT state 1"],
    ),
    "a FIN out of order that nobody reads up to": (
        (*ACTIVE, Step("shutdown", (0, 2)), Step("say", (0, ACK | FIN, 0, 1400, 0, 65535))),
        ["sends: R seq 2 ack 0 of 0", "has: 0 stream IN|OUT|ERR|HUP|RDHUP state 7"],
    ),
    "the smallest queue of a stream's sender": (
        (*ACTIVE, Step("option", (0, 1, 7, 1))),
        ["call: 4608", "has: 0 stream OUT state 1"],
    ),
    "the smallest queue of a stream's reader": (
        (*ACTIVE, Step("option", (0, 1, 8, 1))),
        ["call: 2304", "has: 0 stream OUT state 1"],
    ),
    "the smallest queue of a datagram sender": (
        (Step("udp", (0,)), Step("option", (0, 1, 7, 1))),
        ["call: 4608", "has: 0 datagram OUT"],
    ),
    "the smallest queue of a datagram reader": (
        (Step("udp", (0,)), Step("option", (0, 1, 8, 1))),
        ["call: 2304", "has: 0 datagram OUT"],
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_the_answer_is_right(name: str) -> None:
    steps, expected = FOUND[name]
    with StackTarget(gateway=True) as target:
        peer = Peer(target)
        player = Player(target, peer, Place(peer.address + 0x10000, 2000))
        answers = [player.play(step) for step in steps]
        player.end()
        target.forget()
    assert answers[-1].lines() == expected


@pytest.mark.netns
def test_the_kernel_gives_the_same() -> None:
    with StackTarget(gateway=True) as ours, KernelTarget(gateway=True) as kernel:
        differential = Differential(ours, kernel)
        for name, (steps, _) in FOUND.items():
            difference = differential.compare(steps)
            assert difference is None, f"{name}:\n{difference}"
