"""What start-up costs, and what it depends on: modules loaded and calls made, counted."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import barewire
import pytest

LARGE = ("pyroute2", "asyncio", "subprocess", "importlib.metadata", "importlib.resources", "ctypes")
LATER = (
    "hashlib",
    "urllib.parse",
    "barewire._tcp_info",
)  # what stacks, some names and some programs need
DRIVERS = ("dpdk", "packet", "raw", "tap", "tun", "uring", "xdp")


def python(program: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, *words, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """What `import barewire.socket` loads beyond what the interpreter has, and `import socket`."""
    return set(
        python("""
import sys, socket
before = set(sys.modules)
import barewire.socket
print(*set(sys.modules) - before)
""").split()
    )


@pytest.mark.parametrize("name", [*LARGE, *LATER, *(f"barewire.nic_drivers.{d}" for d in DRIVERS)])
def test_what_only_some_programs_use_is_not_loaded(loaded: set[str], name: str) -> None:
    assert name not in loaded


def test_few_modules_are_loaded(loaded: set[str]) -> None:
    """Beside ours: 326 when each driver was loaded, with its libraries."""
    theirs = [name for name in loaded if not name.startswith("barewire")]
    assert len(theirs) <= 56, sorted(theirs)


def test_a_device_opened_by_name_loads_the_drivers() -> None:
    assert (
        python("""
import barewire, sys
assert "barewire.nic_drivers.tap.tap" not in sys.modules
with barewire.Stack("pipe:x") as stack:
    print([i.name for i in stack.interfaces])
""").strip()
        == "['lo', 'x.a']"
    )


def test_a_kind_of_the_programs_own_takes_the_place_of_ours() -> None:
    """Also where it is registered before any driver is loaded."""
    assert (
        python("""
from barewire.nic_drivers import DeviceError, open_device, register
def factory(spec):
    raise DeviceError(1, "mine")
register("tap", factory, lambda: "", description="of the program")
try:
    open_device("tap:x")
except DeviceError as error:
    print(error.strerror)
""").strip()
        == "mine"
    )


# ---- a socket ------------------------------------------------------------------------------------


@pytest.fixture
def stack() -> Iterator[barewire.Stack]:
    with barewire.Stack(exit_linger=0) as made:
        yield made


@pytest.mark.parametrize("type", [1, 2], ids=["stream", "datagram"])
def test_a_socket_is_made_and_closed_in_few_calls(stack: barewire.Stack, type: int) -> None:
    """Functions of Python's and of C's, cffi's crossings among them."""
    made = barewire.socket.socket
    made(2, type, stack=stack).close()
    calls: list[Any] = []

    def note(frame: Any, event: str, arg: Any) -> None:
        if event in ("call", "c_call"):
            calls.append(frame.f_code.co_qualname if event == "call" else arg)

    sys.setprofile(note)
    try:
        made(2, type, stack=stack).close()
    finally:
        sys.setprofile(None)
    assert len(calls) <= 28, calls


# ---- the control plane's thread --------------------------------------------------------------------


def test_the_stack_starts_its_control_thread() -> None:
    with barewire.Stack(name="early"):
        assert "barewire-control-early" in {t.name for t in threading.enumerate()}


MEET = """
import barewire
from barewire.nic_drivers import pipe_pair
one, two = pipe_pair()
with (
    barewire.Stack(one, addresses=["198.18.0.1/24"]) as a,
    barewire.Stack(two, addresses=["198.18.0.2/24"]) as b,
    a.socket(2, 2) as there,
    b.socket(2, 2) as here,
):
    there.bind(("198.18.0.1", 7))
    there.settimeout(20)
    here.sendto(b"asked for by ARP", ("198.18.0.1", 7))
    print(there.recv(100).decode())
"""
SWAPS = {
    "patched": "import barewire; barewire.patch()",
    "select alone": "import barewire.select, sys; sys.modules['select'] = barewire.select",
    "by others, before any driver": """
import barewire.select, sys, types
for name in ("select", "socket", "selectors"):
    sys.modules[name] = types.ModuleType(name)
""",
}


@pytest.mark.parametrize("swap", SWAPS.values(), ids=SWAPS)
def test_the_library_of_devices_keeps_the_kernels_sockets(swap: str) -> None:
    """It opens netlink sockets of classes of its own, which barewire's module has not."""
    program = f"""
import barewire.socket, sys
{swap}
from barewire.nic_drivers import kernel
before = dict(sys.modules)
assert kernel.pyroute2() is sys.modules["pyroute2"]
assert all(sys.modules[n] is before[n] for n in ("select", "socket", "selectors") if n in before)
import pyroute2.netlink.core
real = pyroute2.netlink.core.socket
print(real.__name__, hasattr(real, "AF_NETLINK"), real is kernel.socket)
"""
    assert python(program).split() == ["socket", "True", "True"]


@pytest.mark.parametrize("swap", SWAPS.values(), ids=SWAPS)
def test_the_control_plane_works_however_modules_were_swapped(swap: str) -> None:
    assert python(f"{swap}\n{MEET}").strip() == "asked for by ARP"


def test_the_control_plane_works_under_run() -> None:
    program = f"import select; assert select.__name__ == 'barewire.select'\n{MEET}"
    done = subprocess.run(
        [sys.executable, "-m", "barewire", "run", "-c", program],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.strip() == "asked for by ARP", done.stderr
