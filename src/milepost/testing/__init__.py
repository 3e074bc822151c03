"""What tests of Milepost, and of engines for it, are written with. Needs pytest, and anyio to run the suite.

class TestMine(EngineContract):
    @pytest.fixture
    def url(self) -> str:
        return "mine://an-empty-store"
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from inspect import isawaitable

import pytest

pytest.register_assert_rewrite("milepost.testing.contract", "milepost.testing.shared")  # so that failures show values

from milepost.testing.contract import EngineContract  # noqa: E402

__all__ = ["EngineContract", "FakeClock", "wait_until"]


class FakeClock:
    """A clock that moves only when it is told to: pass it as ``now`` where a real one would be ``time.time``."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """The present time in UNIX seconds."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


async def wait_until(
    condition: Callable[[], object | Awaitable[object]], *, seconds: float = 10.0, every: float = 0.01
) -> None:
    """Return as soon as ``condition`` gives something true; it may be async. At the deadline: ``TimeoutError``."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if isawaitable(answer):
            answer = await answer
        if answer:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s: {getattr(condition, '__name__', condition)}")
        await asyncio.sleep(every)
