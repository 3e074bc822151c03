"""What can be watched from outside, for Prometheus.

Counters are plain numbers that are read when somebody asks; counting costs the hot path an addition. No label comes
from what a user sent: events, reasons and status classes are fixed lists, and routes are the application's templates,
``MAX_ROUTES`` of them.
"""

from __future__ import annotations

import bisect
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, cast

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from milepost.bridge import Bridge
from milepost.delivery import HubStats
from milepost.engine import Document, Engine, Page, Write
from milepost.leases import Leases, Tally

EVENTS: Final = ("connected", "job", "notification", "inbox", "live", "heartbeat", "reset", "stream_end")
REASONS: Final = ("network", "silent", "timeout", "token_expired", "shutdown", "overloaded", "other")
STATUS_CLASSES: Final = ("2xx", "3xx", "4xx", "5xx", "gone")
STREAM_SECONDS: Final = (0.1, 1, 5, 15, 60, 120, 300, 480, 600, 1800, 3600)
# What browsers report of themselves, by what they call it in a report: metric, description, label, known values.
REPORTED: Final = {
    "reconnections": ("reconnections", "Lost connections made again", "reason", REASONS),
    "transports": ("transport_changes", "Changes to another transport", "transport", ("sse", "long-poll", "poll")),
    "actions": ("actions", "What was shown and done", "action", ("notified", "toast_clicked", "inbox_opened")),
}
DELIVERY_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
COMMIT_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)
MAX_ROUTES: Final = 100
OTHER: Final = "other"


class Histogram:
    """How many observations fell into each bucket; bounds are inclusive upper ends, in seconds."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one."""
        self._counts[bisect.bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add(self, counts: Sequence[int], total: float) -> None:
        """Count what somebody else has observed: how many per bucket, and their sum."""
        self._counts = [mine + theirs for mine, theirs in zip(self._counts, counts, strict=True)]
        self._sum += total

    def family(self, name: str, text: str) -> HistogramMetricFamily:
        """As Prometheus wants it: cumulative."""
        total, buckets = 0, []
        for bound, count in zip((*map(str, map(float, self._bounds)), "+Inf"), self._counts, strict=True):
            total += count
            buckets.append((bound, total))
        family = HistogramMetricFamily(name, text)
        family.add_metric([], buckets, self._sum)
        return family


class Metrics(Collector):
    """One application's numbers, in a registry of their own. Use within one event loop."""

    content_type: Final = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self) -> None:
        self.commits = 0
        self.published = 0
        self.changes_reads = 0
        self.commit_seconds = Histogram(COMMIT_SECONDS)
        self.stream_seconds = Histogram(STREAM_SECONDS)
        self._reconnections = dict.fromkeys(REASONS, 0)
        self._reports = 0
        self._reported = {kind: dict.fromkeys((*known, OTHER), 0) for kind, (_, _, _, known) in REPORTED.items()}
        self._delivery_seconds = Histogram(DELIVERY_SECONDS)
        self._requests: dict[str, dict[str, int]] = {}
        self._hub = HubStats()
        self._tally = Tally()
        self._bridged: Mapping[str, int] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def watch(self, hub: HubStats, leases: Leases, bridge: Bridge | None = None) -> None:
        """Tell of this hub, these leases and this bridge from now on."""
        self._hub, self._tally = hub, leases.tally
        if bridge is not None:
            self._bridged = bridge.messages
        hub.on_close = self.stream_seconds.observe

    def measured(self, engine: Engine) -> Engine:
        """The same engine, its commits and reads counted."""
        return cast("Engine", _Measured(engine, self))

    def reconnected(self, reason: str) -> None:
        """A stream was opened with a cursor; ``reason`` is what the client says, believed only if it is a known one."""
        self._reconnections[reason if reason in self._reconnections else OTHER] += 1

    def reported(self, counted: Mapping[str, Mapping[str, int]], delays: Sequence[int], seconds: float) -> None:
        """A browser has told what it counted, by the names of ``REPORTED``; what it calls otherwise is other.

        ``delays``: how many documents per bucket of ``DELIVERY_SECONDS``; ``seconds``: their sum.
        """
        self._reports += 1
        for kind, counts in counted.items():
            mine = self._reported[kind]
            for name, count in counts.items():
                mine[name if name in mine else OTHER] += count
        self._delivery_seconds.add(delays, seconds)

    def answered(self, route: str | None, status: int) -> None:
        """A request is over. ``route`` is the template, never a path; status 0: the client went before an answer."""
        name = OTHER if route is None else route
        counts = self._requests.get(name)
        if counts is None:
            if len(self._requests) >= MAX_ROUTES:
                name = OTHER
            counts = self._requests.setdefault(name, dict.fromkeys(STATUS_CLASSES, 0))
        counts["gone" if status == 0 else f"{status // 100}xx" if 200 <= status < 600 else "5xx"] += 1

    def render(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """What ``render`` prints. Contract section 6 names the first four, docs/deployment.md all."""
        yield GaugeMetricFamily("sse_connections_total", "Open streams", self._hub.streams)
        yield _labelled("sse_messages_sent", "Events sent", "event_type", _only(self._hub.sent, EVENTS))
        yield self.stream_seconds.family("sse_connection_duration_seconds", "How long streams were open")
        yield _labelled(
            "sse_reconnection_attempts", "Streams opened with a cursor", "reason", self._reconnections.items()
        )
        yield CounterMetricFamily("milepost_commits", "Commits to the engine", self.commits)
        yield CounterMetricFamily("milepost_publishes", "Documents committed", self.published)
        yield self.commit_seconds.family("milepost_commit_seconds", "How long commits took")
        yield CounterMetricFamily("milepost_changes_reads", "Reads of changes from the engine", self.changes_reads)
        yield GaugeMetricFamily("milepost_lagging_subscribers", "Streams whose reader is behind", self._hub.lagging)
        yield CounterMetricFamily("milepost_backstop_found", "Growth no hint told of", self._hub.backstop_found)
        yield CounterMetricFamily("milepost_jobs_stalled", "Jobs that went silent", self._tally.stalled)
        yield CounterMetricFamily(
            "milepost_jobs_timed_out", "Jobs failed for silence or a deadline", self._tally.failed
        )
        yield _labelled("milepost_bridge_messages", "Messages of the bridge", "outcome", self._bridged.items())
        yield CounterMetricFamily("milepost_client_reports", "Reports of browsers", self._reports)
        for kind, (name, text, label, _) in REPORTED.items():
            yield _labelled(f"milepost_client_{name}", f"{text}, by browsers", label, self._reported[kind].items())
        yield self._delivery_seconds.family("milepost_client_delivery_seconds", "From a document's time to the screen")
        requests = CounterMetricFamily("milepost_http_requests", "Requests answered", labels=["route", "status"])
        for route, counts in self._requests.items():
            for status, count in counts.items():
                requests.add_metric([route, status], count)
        yield requests


class _Measured:
    """An engine that counts; all that it does not count is the engine's own."""

    def __init__(self, engine: Engine, metrics: Metrics) -> None:
        self._engine = engine
        self._metrics = metrics

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def commit(self, tenant: str, writes: Sequence[Write]) -> list[Document]:
        begun = time.perf_counter()
        stored = await self._engine.commit(tenant, writes)
        metrics = self._metrics
        metrics.commit_seconds.observe(time.perf_counter() - begun)
        metrics.commits += 1
        metrics.published += len(stored)
        return stored

    async def changes(self, *args: Any, **named: Any) -> Page:
        self._metrics.changes_reads += 1
        return await self._engine.changes(*args, **named)


def _only(counts: dict[str, int], names: Sequence[str]) -> Iterable[tuple[str, int]]:
    return [(name, counts.get(name, 0)) for name in names]


def _labelled(name: str, text: str, label: str, values: Iterable[tuple[str, int]]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, count in values:
        family.add_metric([value], count)
    return family
