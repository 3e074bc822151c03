"""Hubs are killed over and over, at random moments, while producers report and readers read."""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from milepost.auth import issue_token
from tests.faults.checker import faults
from tests.faults.nursery import Nursery
from tests.faults.people import Producer, Reader, listed, wait_until

SECRET = "a-secret-of-the-tests-0123456789abcdef"

# Engine, hubs, kills. A hub's own part in this is the same everywhere, and is tried a hundred times on SQLite.
RUNS = [
    ("sqlite", 1, 100),
    ("redis", 1, 8),
    ("postgres", 1, 8),
    ("sqlite", 2, 6),
    ("redis", 2, 8),
    ("postgres", 2, 8),
]


def free_port() -> int:
    """A port that is free and stays ours in practice: every hub of the test that has it listens on it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("engine", "number", "kills"), RUNS)
def test_kills_lose_nothing_that_was_acknowledged(
    tmp_path: Path, new_store: Callable[[str], str], engine: str, number: int, kills: int
) -> None:
    """Every acknowledged document is there, once; every reader has resumed without a gap, a repeat or a reset and holds
    the newest revision of everything; no job is without an end, those whose worker vanished included. With two hubs one
    is killed and the other is there for all.
    """
    seed = int(os.environ.get("MILEPOST_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
    print(f"MILEPOST_SEED={seed}")
    dice = random.Random(seed)
    consume = issue_token(SECRET, user="reader", ttl=3600)
    store = new_store(engine)
    with ExitStack() as running:
        hubs = []
        for n in range(number):
            (folder := tmp_path / str(n)).mkdir()
            terms = {"secret": SECRET, "lease_seconds": 2, "grace_seconds": 2, "heartbeat_seconds": 1}
            hubs.append(running.enter_context(Nursery(folder, free_port(), engine=store, **terms)))
        tokens = [issue_token(SECRET, user=f"worker-{n}", scope="produce", ttl=3600) for n in range(4)]
        producers = [Producer(f"p{n}", [hub.url for hub in hubs], token, seed) for n, token in enumerate(tokens)]
        readers = [Reader(f"r{n}", [hub.port for hub in hubs], consume) for n in range(4)]
        for thread in (*readers, *producers):
            thread.start()
        for _ in range(kills):
            time.sleep(dice.uniform(0.0, 0.25))  # the moment of the kill is the test's input
            hub = dice.choice(hubs)
            hub.kill()
            if number > 1:
                time.sleep(dice.uniform(0.0, 0.5))  # and for how long the other one is alone
            hub.start()
        for producer in producers:
            producer.stop.set()
        for producer in producers:
            producer.join(90)
            assert producer.failure is None, f"{producer.name}: {producer.failure!r}"
            assert not producer.is_alive()

        url = hubs[0].url
        wait_until(lambda: all(it.end for it in listed(url, consume)[0] if it.attempt), seconds=30, what="all jobs end")
        stored, jobs = listed(url, consume)
        newest = max(it.revision for it in stored)
        for reader in readers:
            wait_until(partial(reader.has_reached, newest), seconds=20, what=f"{reader.name} reaches {newest}")
            reader.stop.set()
            reader.join(10)

    records = [reader.record for reader in readers]
    assert faults([producer.account for producer in producers], records, stored) == []
    for reader in readers:
        assert reader.malformed == []
        assert reader.record.resets == 0
        assert reader.connections > kills / 4 / number
    for producer in producers:
        for job in producer.abandoned:
            assert jobs[job]["error"]["code"] == "GENERATOR_TIMEOUT"
    lost = sum(producer.unanswered for producer in producers)
    assert lost > kills / 4 / number, "the kills hardly ever met a request: the test has lost its meaning"
    print(f"{len(jobs)} jobs, {len(stored) - len(jobs)} notifications, {lost} requests without an answer")
