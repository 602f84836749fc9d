"""A program of test_bad_input.py: what `open_device` and the commands say to a device, as JSON.

    three_commands.py DEVICE…

For each device the errno of DeviceError (null: it opened), the status and the output of each
command, and how many descriptors are left by all but the first attempt (DPDK starts with that).
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys

from barewire.cli import main
from barewire.nic_drivers import DeviceError, open_device

ADDRESS = ["--address", "198.18.0.2/24"]


def opened(device: str) -> int | None:
    try:
        open_device(device).close()
    except DeviceError as error:
        return error.errno
    return None


def command(*words: str) -> tuple[str, int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(words)
    return words[0], status, out.getvalue(), err.getvalue()


def answers(device: str) -> dict[str, object]:
    number = opened(device)
    before = len(os.listdir("/proc/self/fd"))
    said = [
        command("devices", device),
        command("run", "--device", device, *ADDRESS, "-m", "this"),
        command("ping", "--device", device, *ADDRESS, "-c", "1", "198.18.0.1"),
    ]
    return {"errno": number, "said": said, "left": len(os.listdir("/proc/self/fd")) - before}


json.dump([answers(device) for device in sys.argv[1:]], sys.stdout)
