"""Fixtures every test may use, and the promise every test keeps: it leaves nothing behind."""

from __future__ import annotations

import functools
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import barewire
import pytest
from barewire._config import Config
from barewire.nic_drivers import Device
from barewire.tools import netns

from tests.kit import privilege, session

_devices: weakref.WeakSet[Device] = weakref.WeakSet()
_stacks: weakref.WeakSet[barewire.Stack] = weakref.WeakSet()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the long forms too")


def pytest_configure(config: pytest.Config) -> None:
    """The session gets its own namespaces and SIGINT, and devices and stacks are noted when they are
    made. BAREWIRE_TEST_HEADER_PREDICTION=0: every stack
    that a test makes in this process without a word about it does without TCP's fast path."""
    session.enter_own_namespaces()
    session.restore_interrupt()
    session.find_tools()
    note(Device, _devices)
    note(barewire.Stack, _stacks)
    if os.environ.get("BAREWIRE_TEST_HEADER_PREDICTION", "1") == "0":
        Config.__init__.__kwdefaults__["header_prediction"] = False


def note(kind: Any, made: weakref.WeakSet[Any]) -> None:
    """Every object of a class is in the set from now on."""
    original = kind.__init__

    @functools.wraps(original)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        made.add(self)

    kind.__init__ = init


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not privilege.is_machines_root():
        for item in items:
            if "machine" in item.keywords:
                item.add_marker(pytest.mark.skip("only root of the machine may do that"))
    slow = config.getoption("--slow")
    kept = [item for item in items if slow or "slow" not in item.keywords]
    if len(kept) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
    items[:] = kept


@pytest.fixture
def make_netns() -> Iterator[Callable[..., netns.Namespace]]:
    """A function that makes namespaces; the test's end closes them."""
    made: list[netns.Namespace] = []

    def make(name: str = "netns") -> netns.Namespace:
        made.append(netns.Namespace(name))
        return made[-1]

    yield make
    for namespace in reversed(made):
        namespace.close()


@pytest.fixture
def ns(make_netns) -> netns.Namespace:
    """One namespace with its loopback up."""
    return make_netns("ns")


@pytest.fixture
def veth_pair(make_netns) -> tuple[netns.Namespace, netns.Namespace]:
    """Two namespaces joined by veth: 198.18.0.1/24 and 198.18.0.2/24."""
    a, b = make_netns("a"), make_netns("b")
    netns.veth(a, b, "198.18.0.1/24", "198.18.0.2/24")
    return a, b


# ---- nothing is left behind --------------------------------------------------------------------


@dataclass
class Belongings:
    """What a process holds that outlives a careless test."""

    threads: set[str] = field(default_factory=set)
    tasks: set[str] = field(default_factory=set)
    links: set[str] = field(default_factory=set)
    namespaces: set[str] = field(default_factory=set)
    children: set[str] = field(default_factory=set)

    @classmethod
    def now(cls) -> Belongings:
        tasks = set(os.listdir("/proc/self/task"))
        return cls(
            threads={f"{t.name}:{t.ident}" for t in threading.enumerate()},
            tasks=tasks,
            links=session.links(),
            namespaces=session.named_namespaces() | _held_namespaces(),
            children={pid for task in tasks for pid in _children(task)},
        )

    def added_since(self, before: Belongings) -> dict[str, set[str]]:
        extra = {name: getattr(self, name) - getattr(before, name) for name in vars(self)}
        return {name: values for name, values in extra.items() if values}


def _held_namespaces() -> set[str]:
    held = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if target.startswith("net:["):
            held.add(f"{fd}->{target}")
    return held


def _children(task: str) -> list[str]:
    try:
        with open(f"/proc/self/task/{task}/children", encoding="ascii") as file:
            return file.read().split()
    except OSError:
        return []


@pytest.fixture(autouse=True)
def closes_everything(leaves_nothing_behind: None) -> Iterator[None]:
    """Whatever happens in a test, its stacks and devices are closed: a port or an interface that a failed
    one holds would fail those after it."""
    before = {*_stacks, *_devices}
    yield
    for made in {*_stacks, *_devices} - before:
        made.close(0) if isinstance(made, barewire.Stack) else made.close()


@pytest.fixture(autouse=True)
def leaves_nothing_behind() -> Iterator[None]:
    """Fails a test after which a thread, a process, a link or a namespace is left.

    Things of module and session fixtures are there before and do not count. What is just ending
    (a joined thread's kernel task) is given two seconds.
    """
    before = Belongings.now()
    yield
    patience = time.monotonic() + 2.0
    while left := Belongings.now().added_since(before):
        if time.monotonic() > patience:
            pytest.fail(f"the test left behind: {left}")
        time.sleep(0.01)
