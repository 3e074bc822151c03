"""The metrics: the contract's names, counted rightly, with no label from outside."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from milepost.delivery import HubStats
from milepost.engine import Engine, Write
from milepost.engines import open_engine
from milepost.errors import Conflict
from milepost.jobs import Policy
from milepost.leases import Leases
from milepost.ledger import Ledger
from milepost.server import metrics as module
from milepost.server.metrics import Metrics


def values(metrics: Metrics) -> dict[str, float]:
    """Every sample as `name{label=value}` → number, read back by Prometheus' own parser."""
    return {
        sample.name + "".join(f"{{{name}={text}}}" for name, text in sample.labels.items()): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


@pytest.fixture
async def engine(tmp_path: Path) -> Engine:
    """A real engine on a file of its own."""
    return open_engine(f"sqlite:///{tmp_path}/milepost.db")


async def watching(engine: Engine) -> tuple[Metrics, HubStats, Leases]:
    """Metrics that watch a hub's and the leases' counters."""
    metrics, stats = Metrics(), HubStats()
    leases = Leases(Ledger(engine, policy=Policy()), engine, Policy())
    metrics.watch(stats, leases)
    return metrics, stats, leases


def test_the_contracts_names_and_types() -> None:
    """The four names of the contract, `sse_connections_total` as a gauge although it ends in _total."""
    text = Metrics().render().decode()
    types = dict(line.split()[2:4] for line in text.splitlines() if line.startswith("# TYPE"))
    assert {name: types[name] for name in types if name.startswith("sse_")} == {
        "sse_connections_total": "gauge",
        "sse_messages_sent_total": "counter",
        "sse_connection_duration_seconds": "histogram",
        "sse_reconnection_attempts_total": "counter",
    }
    assert all(name.startswith(("sse_", "milepost_", "process_")) for name in types)
    assert "_created" not in text


def test_every_known_label_is_there_from_the_start() -> None:
    """A rate can be drawn before the first event; labels are the fixed lists."""
    found = values(Metrics())
    for event in ("connected", "job", "notification", "inbox", "live", "heartbeat", "reset", "stream_end"):
        assert found[f"sse_messages_sent_total{{event_type={event}}}"] == 0
    for reason in ("network", "silent", "timeout", "token_expired", "shutdown", "overloaded", "other"):
        assert found[f"sse_reconnection_attempts_total{{reason={reason}}}"] == 0


async def test_what_the_hub_and_the_leases_count_is_shown(engine: Engine) -> None:
    """The present values of the hub's and the leases' own counters, and nothing under a name that nobody knows."""
    metrics, stats, leases = await watching(engine)
    stats.streams, stats.lagging, stats.backstop_found = 3, 2, 1
    stats.sent["job"] += 41
    stats.sent["evil\nname"] += 1
    leases.tally.stalled, leases.tally.failed = 5, 4
    found = values(metrics)
    assert found["sse_connections_total"] == 3
    assert found["sse_messages_sent_total{event_type=job}"] == 41
    assert not any("evil" in name for name in found)
    assert found["milepost_lagging_subscribers"] == 2
    assert found["milepost_backstop_found_total"] == 1
    assert found["milepost_jobs_stalled_total"] == 5
    assert found["milepost_jobs_timed_out_total"] == 4
    stats.streams = 0
    assert values(metrics)["sse_connections_total"] == 0
    await engine.close()


async def test_durations_fall_into_their_buckets(engine: Engine) -> None:
    """Buckets are cumulative, their ends inclusive; sum and count are those of all streams."""
    metrics, stats, _ = await watching(engine)
    for seconds in (0.05, 0.1, 30.0, 100_000.0):
        stats.on_close(seconds)
    found = values(metrics)
    buckets = {
        name: value for name, value in found.items() if name.startswith("sse_connection_duration_seconds_bucket")
    }
    assert buckets["sse_connection_duration_seconds_bucket{le=0.1}"] == 2
    assert buckets["sse_connection_duration_seconds_bucket{le=60.0}"] == 3
    assert buckets["sse_connection_duration_seconds_bucket{le=+Inf}"] == 4
    assert found["sse_connection_duration_seconds_count"] == 4
    assert found["sse_connection_duration_seconds_sum"] == pytest.approx(100_030.15)
    await engine.close()


@pytest.mark.parametrize("reason", ["", "evil", "network\n", "Network", "x" * 1000, "other"])
def test_a_reason_that_is_not_known_is_other(reason: str) -> None:
    """What a client says of itself is a label only if it is on the list."""
    metrics = Metrics()
    before = len(values(metrics))
    metrics.reconnected(reason)
    metrics.reconnected("silent")
    found = values(metrics)
    assert found["sse_reconnection_attempts_total{reason=other}"] == 1
    assert found["sse_reconnection_attempts_total{reason=silent}"] == 1
    assert len(found) == before


def test_requests_by_route_and_class_of_status() -> None:
    """A request without a route is other; one without an answer is gone."""
    metrics = Metrics()
    for route, status in (("/api/jobs", 201), ("/api/jobs", 200), ("/api/jobs", 422), (None, 404), ("/api/jobs", 0)):
        metrics.answered(route, status)
    found = values(metrics)
    assert found["milepost_http_requests_total{route=/api/jobs}{status=2xx}"] == 2
    assert found["milepost_http_requests_total{route=/api/jobs}{status=4xx}"] == 1
    assert found["milepost_http_requests_total{route=/api/jobs}{status=gone}"] == 1
    assert found["milepost_http_requests_total{route=other}{status=4xx}"] == 1


def test_routes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound all further routes are counted as other."""
    monkeypatch.setattr(module, "MAX_ROUTES", 5)
    metrics = Metrics()
    for n in range(1000):
        metrics.answered(f"/{n}", 200)
    found = {name for name in values(metrics) if name.startswith("milepost_http_requests_total")}
    assert len({name.partition("{status")[0] for name in found}) == 6
    assert values(metrics)["milepost_http_requests_total{route=other}{status=2xx}"] == 995


async def test_a_measured_engine_counts_and_is_the_engine(engine: Engine) -> None:
    """Commits, documents, time and reads are counted, a refused commit is not, and all else goes through."""
    metrics = Metrics()
    measured = metrics.measured(engine)
    assert isinstance(measured, Engine)
    assert measured.reach == engine.reach
    writes = [Write(f"k{n}", "note", b"{}", ("everyone",), replaces=0) for n in range(3)]
    await measured.commit("acme", writes)
    with pytest.raises(Conflict):
        await measured.commit("acme", writes)
    page = await measured.changes("acme", None, None, now=time.time())
    assert page.cursor.revision == 3
    found = values(metrics)
    assert found["milepost_commits_total"] == found["milepost_commit_seconds_count"] == 1
    assert found["milepost_publishes_total"] == 3
    assert found["milepost_changes_reads_total"] == 1
    assert 0 < found["milepost_commit_seconds_sum"] < 30
    await measured.close()


def test_two_applications_have_two_sets_of_numbers() -> None:
    """Nothing is global: what one counts the other does not show."""
    first, second = Metrics(), Metrics()
    first.reconnected("network")
    assert values(second)["sse_reconnection_attempts_total{reason=network}"] == 0
