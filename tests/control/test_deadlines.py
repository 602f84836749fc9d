"""l2/deadlines.py."""

from __future__ import annotations

from barewire.l2.deadlines import Deadlines


def test_due_keys_come_in_order_of_time_then_of_setting() -> None:
    timers: Deadlines[str] = Deadlines()
    timers.set("late", 30)
    timers.set("first", 10)
    timers.set("second", 10)
    assert timers.next() == 10
    assert timers.due(9) == []
    assert timers.due(10) == ["first", "second"]
    assert timers.next() == 30


def test_setting_again_replaces_and_cancelling_removes() -> None:
    timers: Deadlines[str] = Deadlines()
    timers.set("a", 10)
    timers.set("a", 50)
    timers.set("b", 20)
    timers.cancel("b")
    timers.cancel("never set")
    assert timers.next() == 50
    assert timers.due(49) == []
    assert timers.due(50) == ["a"]
    assert timers.next() is None


def test_replaced_entries_do_not_pile_up() -> None:
    timers: Deadlines[int] = Deadlines()
    for when in range(10_000):
        timers.set(when % 4, when)
    assert len(timers) == 4
    assert len(timers._heap) < 200
    assert timers.due(10_000) == [0, 1, 2, 3]
