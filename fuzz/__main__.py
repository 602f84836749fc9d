"""`python -m barewire.fuzz`: plays scripts, and compares stacks.

replay SCRIPT [--target stack|kernel] [--pcap FILE]   what the target answers, step by step
compare [--seeds FIRST:LAST] [--minutes N]            barewire beside the kernel
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from barewire.tools import netns

from .accepted import ACCEPTED
from .conversation import Place, Player
from .differential import Differential, Report
from .generate import conversation
from .peer import Peer
from .scripts import read_script, write_capture, write_script
from .targets import KernelTarget, StackTarget, Target

TARGETS: dict[str, Callable[[], Target]] = {"stack": StackTarget, "kernel": KernelTarget}


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    try:
        netns.in_user_namespace()
        return int(options.command(options))
    except (OSError, ValueError) as problem:
        print(f"barewire.fuzz {options.name}: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m barewire.fuzz",
        description="Plays scripts to a network stack, and compares two.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="name")
    replay = commands.add_parser("replay", help="play a script that a machine kept")
    replay.add_argument("script", metavar="SCRIPT")
    replay.add_argument("--target", choices=sorted(TARGETS), default="stack")
    replay.add_argument("--pcap", metavar="FILE", help="keep what passed on the link")
    replay.set_defaults(command=_replay)
    compare = commands.add_parser("compare", help="barewire beside the kernel")
    compare.add_argument("--seeds", type=_seeds, default=(0, 200), metavar="FIRST:LAST",
                         help="conversations to play (0:200)")  # fmt: skip
    compare.add_argument(
        "--minutes", type=float, default=0, help="go on with new seeds for so long"
    )
    compare.add_argument("--keep", metavar="FOLDER", help="keep a script of each new difference")
    compare.set_defaults(command=_compare)
    return parser


def _seeds(text: str) -> tuple[int, int]:
    first, _, last = text.partition(":")
    try:
        seeds = int(first), int(last or int(first) + 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not FIRST:LAST") from None
    if not 0 <= seeds[0] < seeds[1]:
        raise argparse.ArgumentTypeError(f"{text!r}: FIRST is at least 0, and below LAST")
    return seeds


def _replay(options: argparse.Namespace) -> int:
    steps = read_script(options.script)
    target = TARGETS[options.target]()
    try:
        peer = Peer(target)
        player = Player(target, peer, Place(peer.address, 2000))
        for number, step in enumerate(steps):
            print(f"{number}. {step}")
            for line in player.play(step).lines():
                print(f"     {line}")
        player.end()
        if options.pcap:
            write_capture(options.pcap, peer.wire)
    finally:
        target.close()
    return 0


def _compare(options: argparse.Namespace) -> int:
    first, last = options.seeds
    end = time.monotonic() + options.minutes * 60
    report = Report(ACCEPTED)
    with StackTarget(gateway=True) as ours, KernelTarget(gateway=True) as kernel:
        differential = Differential(ours, kernel)
        seed = first
        while seed < last or time.monotonic() < end:
            found = differential.confirmed(conversation(seed), report)
            if found is not None and report.add(found):
                shortest = differential.shrink(found, ACCEPTED)
                print(f"seed {seed}:\n{shortest}", flush=True)
                if options.keep:
                    folder = Path(options.keep)
                    folder.mkdir(parents=True, exist_ok=True)
                    write_script(folder / f"{seed}.script", shortest.steps)
            seed += 1
    print(report)
    return 1 if report.new else 0


if __name__ == "__main__":
    sys.exit(main())
