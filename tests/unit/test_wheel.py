"""One timer for all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from milepost.wheel import TICK, Wheel


def test_due_at_its_tick() -> None:
    """An entry comes out at the first tick at or after it is due, once."""
    wheel: Wheel[str] = Wheel(100.0)
    wheel.add("a", 101.0)
    assert wheel.expire(100.99) == []
    assert wheel.expire(101.0) == ["a"]
    assert wheel.expire(105.0) == []


def test_what_is_due_already() -> None:
    """What is due in the past comes out with the next look, never in a slot that nobody will look at."""
    wheel: Wheel[str] = Wheel(100.0)
    wheel.expire(102.0)
    wheel.add("late", 1.0)
    assert wheel.expire(102.0 + TICK) == ["late"]


def test_missed_ticks() -> None:
    """Whoever looks late gets all that has become due, in the order in which it did."""
    wheel: Wheel[int] = Wheel(0.0)
    for second in (3, 1, 2):
        wheel.add(second, float(second))
    assert wheel.expire(10.0) == [1, 2, 3]


@given(st.lists(st.floats(0, 100)), st.lists(st.floats(0, 120)))
def test_each_once_and_in_time(dues: list[float], looks: list[float]) -> None:
    """However it is looked at: each entry once, never early, and at the latest one tick after it was due."""
    wheel: Wheel[float] = Wheel(0.0)
    for due in dues:
        wheel.add(due, due)
    out: list[float] = []
    for now in [*sorted(looks), 121.0]:
        for due in wheel.expire(now):
            assert due <= now
            out.append(due)
        assert all(due > now - TICK or due in out for due in dues)
    assert sorted(out) == sorted(dues)
