"""What time does to streams: heartbeats, the end of a credential, the end of a stream's life. One timer for all."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Final

from milepost.delivery import Delivery
from milepost.subscriber import State, Subscriber, Tenant
from milepost.wheel import TICK, Wheel
from milepost.wire import CursorSeal

SLICE_SECONDS: Final = 0.004  # a long fan-out, or thousands of heartbeats, let others run this often
LIFE_SPREAD: Final = 0.8  # each stream lives 80-100 % of its maximum, so that nothing reconnects in step


class Pulse:
    """Turns the wheel of one hub. ``end`` is called with a stream whose time is over, why, and when to come again."""

    def __init__(
        self,
        delivery: Delivery,
        seal: CursorSeal,
        tenants: Mapping[str, Tenant],
        *,
        heartbeat_seconds: float,
        max_stream_seconds: float,
        now: Callable[[], float],
        monotonic: Callable[[], float],
        end: Callable[[Subscriber, str, int], None],
    ) -> None:
        self._delivery = delivery
        self._seal = seal
        self._tenants = tenants
        self._heartbeat_seconds = heartbeat_seconds
        self._max_stream_seconds = max_stream_seconds
        self._now = now
        self._monotonic = monotonic
        self._end = end
        delivery.clock = monotonic()
        self._wheel: Wheel[Subscriber] = Wheel(delivery.clock)

    def beat(self, subscriber: Subscriber) -> float:
        """How often, in seconds, a stream that is quiet gets a heartbeat."""
        return subscriber.dialect.beat_seconds or self._heartbeat_seconds

    def begin(self, subscriber: Subscriber) -> None:
        """A stream begins to age."""
        subscriber.opened_at = subscriber.last_write = now = self._monotonic()
        left = self._max_stream_seconds * random.uniform(LIFE_SPREAD, 1.0)
        if subscriber.identity.expires_at is not None:
            left = min(left, max(0.0, subscriber.identity.expires_at - self._now()))
        subscriber.ends_at = now + left
        self._wheel.add(subscriber, self._next_look(subscriber))

    def age(self, subscriber: Subscriber) -> float:
        """For how many seconds it has been open."""
        return self._monotonic() - subscriber.opened_at

    async def run(self) -> None:
        """Turn the wheel, for ever."""
        while True:
            await asyncio.sleep(TICK)
            now = began = self._delivery.clock = self._monotonic()
            beats: dict[object, bytes] = {}
            for subscriber in self._wheel.expire(now):
                if self._monotonic() - began > SLICE_SECONDS:
                    await asyncio.sleep(0)
                    began = self._monotonic()
                if subscriber.state is State.CLOSED:
                    continue
                if now >= subscriber.ends_at:
                    self._over(subscriber)
                    continue
                quiet = now - subscriber.last_write >= self.beat(subscriber) - TICK
                if quiet and subscriber.state is State.LIVE:
                    self._heartbeat(subscriber, beats)
                if quiet:
                    subscriber.last_write = now
                self._wheel.add(subscriber, self._next_look(subscriber))

    def _next_look(self, subscriber: Subscriber) -> float:
        return min(subscriber.last_write + self.beat(subscriber), subscriber.ends_at)

    def _over(self, subscriber: Subscriber) -> None:
        expires_at = subscriber.identity.expires_at
        if expires_at is not None and expires_at <= self._now() + TICK:
            self._end(subscriber, "token_expired", 1000)
        else:
            self._end(subscriber, "timeout", random.randint(100, 1000))

    def _heartbeat(self, subscriber: Subscriber, beats: dict[object, bytes]) -> None:
        """Write a heartbeat; ``beats`` holds those already encoded in this turn of the wheel."""
        tenant = self._tenants[subscriber.identity.tenant]
        position, seen = tenant.position, subscriber.cursor
        # only the hub's position is true for everyone; whoever is ahead of it by its own read is told nothing
        tell = position is not None and seen is not None and position.revision >= seen.revision
        dialect = subscriber.dialect
        connections = self._delivery.stats.of_user(subscriber.identity) if dialect.counts_connections else 0
        data = beats.get(key := (tenant, dialect, tell, connections))
        if data is None:
            cursor = self._seal.encode(tenant.name, position) if tell and position is not None else None
            data = beats[key] = dialect.heartbeat(
                now=self._now(), cursor=cursor, degraded=tenant.degraded, connections=connections
            )
        if not self._delivery.write(subscriber, "heartbeat", data):
            self._delivery.lags(subscriber)
