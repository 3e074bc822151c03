"""The line to the server: which transport this event loop uses, and how often a request is repeated."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import time
from collections.abc import Mapping
from typing import Any, Final

from milepost.errors import MilepostError, Unavailable

from .transport import Token, Transport, Verb, check_url, is_passing, open_transport

DEFAULT_URL: Final = "http://127.0.0.1:8470"
BACKOFF: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # seconds; the last one repeats. Well below a lease

# Transports inherited through a fork. Closing them, or letting them be collected, would write to sockets and database
# files that the parent still uses; so the child keeps them, untouched, until it ends.
_inherited: list[Transport] = []


def backoff(failures: int, steps: tuple[float, ...] = BACKOFF, *, at_least: float | None = None) -> float:
    """The pause after so many failures in a row (from 1), in seconds. Jitter only shortens it, to 70 % at most."""
    step = steps[min(failures, len(steps)) - 1]
    return max(step * random.uniform(0.7, 1.0), at_least or 0.0)


class Line:
    """One server or engine, for as many event loops, threads and forks as come along, one loop at a time."""

    def __init__(self, url: str | None, token: Token | None, *, tenant: str, deadline: float) -> None:
        self.url = url or os.environ.get("MILEPOST_URL") or DEFAULT_URL
        check_url(self.url)
        self.token = token if token is not None else os.environ.get("MILEPOST_TOKEN") or None
        self.tenant = tenant
        self.deadline = deadline
        self._transport: Transport | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0

    def transport(self) -> Transport:
        """This loop's transport, opened on first use; connections never cross a loop or a fork."""
        loop, pid = asyncio.get_running_loop(), os.getpid()
        if self._transport is not None and self._pid != pid:
            _inherited.append(self._transport)
            self._transport = None
        if self._transport is None or self._loop is not loop:
            self._transport = self.open()
            self._loop, self._pid = loop, pid
        return self._transport

    def open(self) -> Transport:
        """A transport for the running loop."""
        return open_transport(self.url, token=self.token, tenant=self.tenant)

    async def deliver(
        self, verb: Verb, fields: Mapping[str, Any], *, job: str | None = None, deadline: float | None = None
    ) -> dict[str, Any]:
        """Send until it is acknowledged, under one idempotency key.

        Raises what the server refuses it with at once, and ``Unavailable`` or ``RateLimited`` after the deadline
        (seconds): whether it was stored is then unknown.
        """
        until = time.monotonic() + (self.deadline if deadline is None else deadline)
        key = secrets.token_hex(16) if verb != "advance" else None
        failures = 0
        while True:
            failures += 1
            error: MilepostError
            try:
                async with asyncio.timeout(max(until - time.monotonic(), 0)):
                    return await self.transport().send(verb, fields, job=job, key=key)
            except TimeoutError:
                raise Unavailable(f"{verb}: no acknowledgement in time", code="engine_away") from None
            except MilepostError as refused:
                if not is_passing(refused):
                    raise
                error = refused
            pause = backoff(failures, at_least=error.retry_after)
            if time.monotonic() + pause >= until:
                raise error
            await asyncio.sleep(pause)

    async def close(self) -> None:
        """Close this loop's connections. The line opens new ones when it is used again."""
        transport, self._transport = self._transport, None
        if transport is not None and self._pid == os.getpid() and self._loop is asyncio.get_running_loop():
            await transport.close()
