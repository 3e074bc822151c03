"""One timer for all streams: slots of a quarter second, each a list of what is due then. Pure.

A timer per connection would cost more than the connection itself. An entry that is no longer wanted stays where it is
until its slot comes and is then dropped by its owner: nothing is ever searched for or removed.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

TICK: Final = 0.25

T = TypeVar("T")


class Wheel(Generic[T]):
    """Entries by the tick at which they are due. Times are seconds on any one clock."""

    def __init__(self, now: float) -> None:
        self._slots: dict[int, list[T]] = {}
        self._next = int(now / TICK)

    def add(self, entry: T, due: float) -> None:
        """Have ``entry`` come out of ``expire`` at the first tick at or after ``due``; never in a slot already past."""
        slot = max(-int(-due // TICK), self._next)
        self._slots.setdefault(slot, []).append(entry)

    def expire(self, now: float) -> list[T]:
        """What has become due, in the order of its slots. Catches up if ticks were missed."""
        out: list[T] = []
        while self._next * TICK <= now:
            out.extend(self._slots.pop(self._next, ()))
            self._next += 1
        return out
