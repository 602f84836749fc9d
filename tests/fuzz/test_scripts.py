"""What fails is kept as a script and a capture, and can be played again."""

from __future__ import annotations

from pathlib import Path

import pytest
from barewire.fuzz import __main__ as command
from barewire.fuzz import machines
from barewire.fuzz.conversation import Place, Player, Step
from barewire.fuzz.peer import Peer
from barewire.fuzz.scripts import read_script, write_script
from barewire.fuzz.targets import StackTarget
from scapy.utils import rdpcap

from tests.kit.budget import budget


class Forgetful(StackTarget):
    """A stack that loses every datagram of more than 1,000 bytes."""

    def put(self, frame: bytes) -> bool:
        if len(frame) > 1000 and frame[23] == 17:
            return True
        return super().put(frame)


def test_a_failing_example_leaves_its_shortest_script_and_a_capture(tmp_path: Path) -> None:
    case = machines.UdpMachine.against(Forgetful, keep=tmp_path).TestCase
    case.settings = budget(200, steps=20)
    with pytest.raises(AssertionError, match="1400 bytes should come"):
        case().runTest()
    steps = read_script(tmp_path / "UdpMachine.script")
    assert [step.op for step in steps] == ["udp", "datagram", "recvfrom"]
    assert steps[1].args[2] == 1400
    frames = rdpcap(str(tmp_path / "UdpMachine.pcap"))
    assert any(len(frame) > 1400 for frame in frames), "the datagram that was lost"


def test_a_script_plays_to_the_same_answers(tmp_path: Path) -> None:
    steps = [Step("listen", (5,)), Step("syn", (0, 2)), Step("say", (0, 16, 100, 0, 0, 65535))]
    write_script(tmp_path / "s", steps)
    assert read_script(tmp_path / "s") == steps
    seen = []
    for _ in range(2):
        with StackTarget() as target:
            peer = Peer(target)
            player = Player(target, peer, Place(peer.address, 2000))
            seen.append([player.play(step).lines() for step in read_script(tmp_path / "s")])
            player.end()
    assert seen[0] == seen[1]
    assert "has: 0 listener IN" in seen[0][-1]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("nonsense", "1: not a step of a script: 'nonsense'"),
        ('["fly", 1]', "no operation 'fly': there are accept, "),
        ('["listen"]', "listen: missing a required argument: 'backlog'"),
        ('["listen", [1]]', "listen: arguments are numbers and texts"),
        ("7", "1: not a step of a script"),
    ],
)
def test_what_is_no_script_says_where(tmp_path: Path, line: str, says: str) -> None:
    (tmp_path / "s").write_text(line + "\n")
    with pytest.raises(ValueError) as why:
        read_script(tmp_path / "s")
    assert says in str(why.value) and str(tmp_path / "s") in str(why.value)


def test_what_is_no_text_is_no_script(tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="s: not a script"):
        read_script(tmp_path / "s")


def test_any_number_names_options_of_a_syn(tmp_path: Path, capsys) -> None:
    write_script(
        tmp_path / "s", [Step("listen", (5,)), Step("syn", (0, 99)), Step("answer", (0, -99))]
    )
    assert command.main(["replay", str(tmp_path / "s")]) == 0
    assert "sends: SA seq 0 ack 1 of 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["compare", "--seeds", "5:3"], ["compare", "--seeds", "x"], ["replay"], ["fly"]]
)
def test_the_command_refuses_what_it_does_not_know(arguments: list[str], capsys) -> None:
    with pytest.raises(SystemExit) as end:
        command.main(arguments)
    assert end.value.code == 2
    assert capsys.readouterr().err


@pytest.mark.netns
def test_the_command_replays_and_says_what_it_cannot(tmp_path: Path, capsys) -> None:
    write_script(tmp_path / "s", [Step("listen", (5,)), Step("syn", (0, 2))])
    pcap = tmp_path / "out.pcap"
    assert command.main(["replay", str(tmp_path / "s"), "--pcap", str(pcap)]) == 0
    assert "sends: SA seq 0 ack 1 of 0" in capsys.readouterr().out
    assert len(rdpcap(str(pcap))) >= 2
    assert command.main(["replay", str(tmp_path / "none")]) == 2
    assert "No such file" in capsys.readouterr().err


@pytest.mark.netns
def test_the_kernel_plays_the_same_script(tmp_path: Path, capsys) -> None:
    write_script(tmp_path / "s", [Step("listen", (5,)), Step("syn", (0, 2))])
    assert command.main(["replay", str(tmp_path / "s"), "--target", "kernel"]) == 0
    assert "sends: SA seq 0 ack 1 of 0" in capsys.readouterr().out
