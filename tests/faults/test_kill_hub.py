"""The hub is killed over and over, at random moments, while producers report and readers read."""

from __future__ import annotations

import os
import random
import socket
import time
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from milepost.auth import issue_token
from tests.faults.nursery import Nursery
from tests.faults.people import Producer, Reader, wait_until

KILLS = 100
SECRET = "a-secret-of-the-tests-0123456789abcdef"
ENDED = {"completed", "failed", "cancelled"}


@pytest.fixture
def port() -> int:
    """A port that is free and stays ours in practice: every hub of the test listens on it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


def _has_reached(reader: Reader, revision: int) -> bool:
    return reader.cursor is not None and int(reader.cursor.split(".")[1]) >= revision


def _truth(url: str, token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """All jobs and all notifications of the reader, by id, as the hub lists them."""
    jobs: dict[str, Any] = {}
    notes: dict[str, Any] = {}
    with httpx2.Client(base_url=url, headers={"authorization": f"Bearer {token}"}) as http:
        cursor = None
        while True:
            page = http.get("/api/jobs", params={"limit": 100} | ({"cursor": cursor} if cursor else {})).json()
            jobs |= {job["id"]: job for job in page["jobs"]}
            cursor = page["next"]
            if cursor is None:
                break
        before = None
        while True:
            query = {"limit": 100} | ({"before": before} if before else {})
            page = http.get("/api/notifications", params=query).json()
            for note in page["notifications"]:
                assert note["id"] not in notes, "one notification is listed twice"
                notes[note["id"]] = note
            if not page["more"]:
                break
            before = page["notifications"][-1]["id"]
    return jobs, notes


@pytest.mark.timeout(300)
def test_a_hundred_kills_lose_nothing_that_was_acknowledged(tmp_path: Path, port: int) -> None:
    """After 100 kills every acknowledged document is there, once; every reader has resumed without a gap, a repeat or
    a reset and holds the newest revision of everything; no job is without an end, those whose worker vanished included.
    """
    seed = int(os.environ.get("MILEPOST_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
    print(f"MILEPOST_SEED={seed}")
    dice = random.Random(seed)
    consume = issue_token(SECRET, user="reader", ttl=3600)
    with Nursery(tmp_path, port, secret=SECRET, lease_seconds=2, grace_seconds=2, heartbeat_seconds=1) as hub:
        tokens = [issue_token(SECRET, user=f"worker-{n}", scope="produce", ttl=3600) for n in range(4)]
        producers = [Producer(f"p{n}", hub.url, token, seed) for n, token in enumerate(tokens)]
        readers = [Reader(port, consume) for _ in range(4)]
        for thread in (*readers, *producers):
            thread.start()
        for _ in range(KILLS):
            time.sleep(dice.uniform(0.0, 0.25))  # the moment of the kill is the test's input
            hub.kill()
            hub.start()
        for producer in producers:
            producer.stop.set()
        for producer in producers:
            producer.join(90)
            assert producer.failure is None, f"{producer.name} under seed {seed}"
            assert not producer.is_alive()

        def all_ended() -> bool:
            return all(job["state"] in ENDED for job in _truth(hub.url, consume)[0].values())

        wait_until(all_ended, seconds=30, what=f"every job has an end (seed {seed})")
        jobs, notes = _truth(hub.url, consume)
        newest = max(document["rev"] for document in (*jobs.values(), *notes.values()))
        for reader in readers:
            wait_until(
                partial(_has_reached, reader, newest),
                seconds=20,
                what=f"a reader reaches revision {newest} (seed {seed})",
            )
            reader.stop.set()
            reader.join(10)

    for producer in producers:
        for job, end in producer.acknowledged.jobs.items():
            assert jobs[job]["state"] == (end or "failed"), f"{job} under seed {seed}"
            assert end is not None or jobs[job]["error"]["code"] == "GENERATOR_TIMEOUT"
        assert producer.acknowledged.notifications <= notes.keys(), f"seed {seed}"
    # a job per notification: a retried request that made a second one would show here
    titles = [note["title"] for note in notes.values()]
    assert len(titles) == len(set(titles)), f"a notification was made twice (seed {seed})"
    for reader in readers:
        assert reader.faults == [], f"seed {seed}"
        assert reader.connections > KILLS / 4
        for (kind, name), document in reader.newest.items():
            assert document["rev"] == (jobs if kind == "job" else notes)[name]["rev"], f"{kind} {name}, seed {seed}"
        assert {name for kind, name in reader.newest if kind == "notification"} == notes.keys(), f"seed {seed}"
        assert {name for kind, name in reader.newest if kind == "job"} == jobs.keys(), f"seed {seed}"
    lost = sum(producer.acknowledged.unanswered for producer in producers)
    assert lost > KILLS / 4, "the kills hardly ever met a request: the test has lost its meaning"
    print(f"{len(jobs)} jobs, {len(notes)} notifications, {lost} requests without an answer")
