"""``python -m bench.counted serve …``: ``milepost``, which on SIGUSR1 also says how many asyncio tasks there are."""

from __future__ import annotations

import asyncio
import signal
import sys
from types import FrameType

from milepost.cli import app


def tell(_signal: int, _frame: FrameType | None) -> None:
    """How many tasks the running loop has, on standard error."""
    print(f"tasks: {len(asyncio.all_tasks())}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, tell)
    app(prog_name="milepost")
