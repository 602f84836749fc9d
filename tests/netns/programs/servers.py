"""Servers of the system's packages on the kernel's sockets: each in the test's namespace, as an ordinary
user, from a data folder of its own."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from barewire.tools.netns import Namespace, stop

from tests.kit.users import NOBODY, is_a_user

PORTS = {"redis": 6379, "postgres": 5432, "mosquitto": 1883}


class Servers:
    """Starts them, and ends them."""

    def __init__(self) -> None:
        self._started: list[tuple[subprocess.Popen[Any], Path]] = []

    def start(self, ns: Namespace, name: str, address: str) -> int:
        """A server at an address; its port."""
        data = Path(tempfile.mkdtemp(prefix=f"barewire-{name}-"))
        if is_a_user(NOBODY):
            os.chown(data, NOBODY, NOBODY)
        command = _as_user(getattr(self, f"_{name}")(data, address))
        process = ns.popen(command, cwd=data, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._started.append((process, data))
        return PORTS[name]

    def close(self) -> None:
        for process, data in self._started:
            stop(process)
            shutil.rmtree(data)

    def _redis(self, data: Path, address: str) -> list[str]:
        return ["redis-server", "--bind", address, "--save", "", "--protected-mode", "no"]

    def _mosquitto(self, data: Path, address: str) -> list[str]:
        (data / "conf").write_text(f"listener 1883 {address}\nallow_anonymous true\n")
        (data / "conf").chmod(0o644)
        return ["mosquitto", "-c", str(data / "conf")]

    def _postgres(self, data: Path, address: str) -> list[str]:
        programs = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]
        init = [f"{programs}/initdb", "-D", str(data / "db"), "-U", "postgres", "-A", "trust", "-N"]
        subprocess.run(_as_user(init), cwd=data, check=True, stdout=subprocess.DEVNULL)
        with open(data / "db" / "pg_hba.conf", "a", encoding="ascii") as file:
            file.write("host all all 198.18.0.0/15 trust\n")
        options = ["-c", f"listen_addresses={address}", "-c", "unix_socket_directories="]
        return [f"{programs}/postgres", "-D", str(data / "db"), "-F", *options]


def _as_user(command: list[str]) -> list[str]:
    """nobody, where there is such a user; else one of a user namespace of the command's own."""
    if not is_a_user(NOBODY):
        return ["unshare", "--user", "--map-user=1000", "--map-group=1000", "--", *command]
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *command]
