"""The bridge: what a worker that knows nothing of us publishes on Redis becomes jobs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from milepost.errors import Invalid
from milepost.mapping import read_file, understand
from milepost.settings import Settings
from tests.engines.redis_server import RedisServer, running_redis
from tests.faults.proxy import proxy_to
from tests.server.process import Server, wait_until

EXAMPLE = Path(__file__).parents[2] / "examples" / "bom" / "bridge.toml"

# The worker, as it was before Milepost: a program of its own that imports nothing of ours.
WORKER = """
import json, sys, redis
client = redis.Redis(port=int(sys.argv[1]))
for line in sys.stdin:
    bom, event, keep = json.loads(line)
    message = json.dumps(event)
    if keep:
        client.set(f"enrichment:bom:{bom}:state", message)
    print(client.publish(f"enrichment:bom:{bom}", message), flush=True)
"""


def event(name: str, **data: Any) -> dict[str, Any]:
    """A message of the worker."""
    return {"event": name, "data": data}


def progress(done: int, *, errors: int = 0) -> dict[str, Any]:
    """The worker's progress, with its own names."""
    item = {"mpn": f"LM{done}", "status": "enriched", "message": f"Part {done}"}
    return event(
        "progress",
        bom_id="42",
        total_items=10,
        processed_items=done,
        enriched_items=done - errors,
        error_items=errors,
        percent_complete=10.0 * done,
        current_item=item,
        estimated_time_remaining=10 - done,
    )


class Worker:
    """Publishes what it is told to."""

    def __init__(self, port: int) -> None:
        command = [sys.executable, "-c", WORKER, str(port)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def publish(self, bom: str, message: dict[str, Any], *, keep: bool = False) -> int:
        """How many were listening."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([bom, message, keep]) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End it."""
        self._process.communicate()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """The worker's Redis."""
    with running_redis(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def worker(redis: RedisServer) -> Iterator[Worker]:
    """The worker."""
    worker = Worker(redis.port)
    yield worker
    worker.close()


@pytest.fixture
def bridged(tmp_path: Path, redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server with the example's bridge, which listens."""
    monkeypatch.setenv("BOM_REDIS_URL", redis.url)
    server = Server(tmp_path, bridge=str(EXAMPLE))
    server.start()
    listening(redis)
    yield server
    server.close()


def listening(redis: RedisServer) -> None:
    """Wait until the bridge is subscribed."""
    wait_until(lambda: redis.do("PUBSUB", "NUMPAT") == 1, what="the bridge subscribes")


def job(server: Server, bom: str) -> dict[str, Any]:
    """The job as its owner sees it; empty while there is none."""
    answer = server.someone("u7").call("GET", f"/jobs/{bom}")
    return dict(answer.json()["job"]) if answer.status_code == 200 else {}


def until(server: Server, bom: str, **fields: Any) -> dict[str, Any]:
    """The job as soon as it has these fields."""

    def look() -> dict[str, Any] | None:
        found = job(server, bom)
        return found if found and fields.items() <= found.items() else None

    return wait_until(look, what=f"{bom} has {fields}")


def test_a_run(bridged: Server, worker: Worker) -> None:
    """Start, progress and end of an untouched worker become its owner's job, with every field where it belongs."""
    assert worker.publish("42", event("enrichment.started", bom_id="42", total_items=10)) == 1
    began = until(bridged, "42", state="queued", total=10)
    assert (began["kind"], began["title"], began["owner"]) == ("enrichment", "Enrichment of 42", "u7")
    worker.publish("42", progress(3, errors=1))
    running = until(bridged, "42", state="running", current=3)
    assert running["counters"] == {"enriched": 2, "error": 1}
    assert running["item"] == {"name": "LM3", "status": "enriched", "message": "Part 3"}
    worker.publish("42", event("keepalive"))
    worker.publish("42", {**progress(10, errors=1), "event": "enrichment.completed"})
    ended = until(bridged, "42", state="completed")
    assert (ended["percent"], ended["counters"]) == (100.0, {"enriched": 9, "error": 1})
    worker.publish("42", progress(4))  # late
    worker.publish("43", event("enrichment.failed", bom_id="43", error="no such part", code="PART_UNKNOWN"))
    failed = until(bridged, "43", state="failed")
    assert failed["error"] == {"code": "PART_UNKNOWN", "message": "no such part", "details": None}
    assert job(bridged, "42")["state"] == "completed"
    worker.publish("42", event("enrichment.started", bom_id="42", total_items=5))
    assert until(bridged, "42", attempt=2)["total"] == 5


def test_malformed(bridged: Server, worker: Worker, redis: RedisServer) -> None:
    """What cannot be understood is counted, logged once, without what was in it, and stops nothing."""
    for text in (
        "no JSON",
        "[]",
        '"x"',
        "{}",
        '{"event": "progress", "data": {"total_items": "CANARY"}}',
        "\0",
        "1" * 999,
    ):
        redis.do("PUBLISH", "enrichment:bom:7", text)
    redis.do("PUBLISH", "enrichment:bom:not an id", '{"event": "progress"}')
    worker.publish("8", progress(1))
    until(bridged, "8", current=1)
    assert bridged.metric('milepost_bridge_messages_total{outcome="malformed"}') == 8
    assert bridged.log.count("malformed message") == 1
    assert "CANARY" not in bridged.log


def test_recovers_from_the_state_key(bridged: Server, worker: Worker, redis: RedisServer) -> None:
    """What was published while nobody listened is found in the state key; an ended job is not begun again by it."""
    redis.do("SET", "enrichment:bom:odd:state:x", "no JSON")
    bridged.close()
    assert worker.publish("1", progress(4), keep=True) == 0
    assert worker.publish("2", {**progress(10), "event": "enrichment.completed"}, keep=True) == 0
    bridged.start()
    until(bridged, "1", current=4)
    until(bridged, "2", state="completed", attempt=1)
    listening(redis)
    worker.publish("1", event("enrichment.failed", error="stopped"))
    until(bridged, "1", state="failed")
    redis.do("CLIENT", "KILL", "TYPE", "pubsub")  # the connection breaks, and everything is read again
    wait_until(lambda: bridged.log.count("the bridge follows") >= 2, what="the bridge comes back")
    listening(redis)
    worker.publish("3", progress(5))
    until(bridged, "3", current=5)
    assert (job(bridged, "1")["state"], job(bridged, "1")["attempt"]) == ("failed", 1)


def test_redis_away(bridged: Server, redis: RedisServer) -> None:
    """The worker's Redis is killed and comes back: the server goes on, and so does the bridge, without a restart."""
    redis.kill()
    assert bridged.someone("u7").get("/jobs")["jobs"] == []
    redis.start()
    listening(redis)
    again = Worker(redis.port)
    again.publish("9", progress(2))
    until(bridged, "9", current=2)
    again.close()


def test_engine_away(tmp_path: Path, redis: RedisServer, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is published while the engine is away is applied when it is back: the newest progress, and every end."""
    monkeypatch.setenv("BOM_REDIS_URL", redis.url)
    with running_redis(tmp_path / "engine") as engine, proxy_to(engine.port) as proxy:
        server = Server(tmp_path, bridge=str(EXAMPLE), engine=f"redis://127.0.0.1:{proxy.port}")
        server.start()
        try:
            listening(redis)
            worker.publish("1", progress(1))
            until(server, "1", current=1)
            proxy.refuse()
            for n in range(500):
                worker.publish("1", progress(2 + n // 63))
            worker.publish("2", progress(3, errors=2))
            worker.publish("2", {"event": "enrichment.failed", "data": {"error": "stopped"}})
            proxy.heal()
            until(server, "1", current=9)
            assert until(server, "2", state="failed")["counters"] == {"enriched": 1, "error": 2}
        finally:
            server.close()


def test_one_of_several(bridged: Server, redis: RedisServer, worker: Worker, tmp_path: Path) -> None:
    """Of two processes with the same file one follows it, and when it is killed the other one does."""
    (tmp_path / "second").mkdir()
    second = Server(tmp_path / "second", bridge=str(EXAMPLE), engine=f"sqlite:///{tmp_path}/hub.db")
    second.start()
    try:
        assert worker.publish("1", progress(1)) == 1
        until(second, "1", current=1)
        bridged.close()
        listening(redis)
        wait_until(lambda: "the bridge follows" in second.log, what="the other one follows")
        assert worker.publish("1", progress(2)) == 1
        until(second, "1", current=2)
    finally:
        second.close()


GOOD = """
[[bridge]]
url = "redis://127.0.0.1:6379"
channel = "jobs:{tenant}:{id}"
[bridge.job]
tenant = "{tenant}"
owner = "{user.id}"
title = "{user.name} {year}"
[bridge.event]
name = "{status}"
advance = ["running", "still running"]
"""


def test_the_language(tmp_path: Path) -> None:
    """Paths lead into channel and message, alone they keep their type, in text they are written out."""
    (tmp_path / "b.toml").write_text(GOOD + '[bridge.fields]\ncurrent = "{n}"\nmessage = "{data}"\n')
    (table,) = read_file(str(tmp_path / "b.toml"))
    message = {"status": "still running", "user": {"id": "u1", "name": "A"}, "year": 2026, "n": 2.5, "data": {"a": [1]}}
    with pytest.raises(Invalid, match="message"):
        understand(table, {"tenant": "t", "id": "j"}, json.dumps(message).encode())
    found = understand(table, {"tenant": "t", "id": "j"}, json.dumps({**message, "data": "x"}).encode())
    assert found is not None
    assert (found.tenant, found.job_id, found.start.owner, found.start.title) == ("t", "j", "u1", "A 2026")
    assert (found.advance.current, found.advance.message, found.advance.item) == (2.5, "x", None)
    later = understand(table, {"tenant": "t", "id": "j"}, json.dumps({**message, "data": "y", "n": None}).encode())
    assert later is not None
    assert (found.then(later).advance.current, found.then(later).advance.message) == (2.5, "y")
    with pytest.raises(Invalid, match=r"user\.id"):
        understand(table, {"tenant": "t", "id": "j"}, b'{"status": "running"}')
    assert understand(table, {"tenant": "t", "id": "j"}, b'{"status": "else"}') is None


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('tenant = "{tenant}"\n', "", "job.tenant"),
        ('owner = "{user.id}"\n', "", "job.owner"),
        ('owner = "{user.id}"', 'owner = ""', "must name a owner"),
        ("{user.id}", "{user..id}", "no path"),
        ("{user.id}", "{user.id", "brace"),
        ("jobs:{tenant}:{id}", "jobs", "names"),
        ("redis://127.0.0.1:6379", "${NOT_THERE}", "NOT_THERE"),
        ("redis://127.0.0.1:6379", "http://x", "Redis URL"),
        ("[bridge.event]", "[bridge.events]", "events"),
        ("[[bridge]]", "[[bridge", "line 2"),
        ("advance", "progress", "event.progress"),
    ],
)
def test_a_file_that_is_wrong(tmp_path: Path, old: str, new: str, says: str) -> None:
    """A server with such a file does not start, and says what is wrong with it."""
    assert old in GOOD
    path = tmp_path / "b.toml"
    path.write_text(GOOD.replace(old, new, 1))
    problems = Settings.dev(bridge=str(path)).problems()
    assert len(problems) == 1
    assert problems[0].startswith(f"BRIDGE: {path}")
    assert says in problems[0]
