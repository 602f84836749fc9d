"""Scripts and captures: a conversation in a file, and the frames that it caused as Wireshark shows them.

A script is a line of JSON a step: `["say", 0, 16, 100, 0, 0, 65535]`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from barewire.nic_drivers import pipe_pair, with_pcap

from .conversation import Step


def write_script(path: str | os.PathLike[str], steps: Iterable[Step]) -> None:
    lines = [json.dumps([step.op, *step.args]) for step in steps]
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_script(path: str | os.PathLike[str]) -> list[Step]:
    """Raises OSError, and ValueError with file and line for what is no step."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a script: {error}") from None
    steps = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            op, *args = json.loads(line)
        except (ValueError, TypeError):
            raise ValueError(f"{path}:{number}: not a step of a script: {line[:60]!r}") from None
        try:
            steps.append(Step.checked(op, args))
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}") from None
    return steps


def write_capture(path: str | os.PathLike[str], wire: Sequence[tuple[int, bytes]]) -> None:
    """Frames with their times in ns (`Peer.wire`) as a pcap file. Raises DeviceError."""
    ours, other = pipe_pair(offload=False)
    with other, with_pcap(ours, path, wall_offset=0) as device:
        for now, frame in wire:
            device.send(frame, now)
            other.recv()
