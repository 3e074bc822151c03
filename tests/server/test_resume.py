"""Readers that are cut off again and again while others write: nothing is missed and nothing comes twice."""

from __future__ import annotations

import itertools
import json
import random
import threading
from typing import Any, Self

import pytest

from tests.server.process import Client
from tests.server.sse_client import Event

DISCONNECTS = 200


class Checker:
    """What one reader was told over all its connections."""

    def __init__(self) -> None:
        self.cursor = ""
        self.newest = 0
        self.jobs: dict[str, dict[str, Any]] = {}
        self.notes: list[str] = []

    def take(self, event: Event) -> None:
        """Revisions rise strictly over all connections; there is no reason for a reset."""
        assert event.name != "reset"
        if event.name in ("job", "notification"):
            document = event.json[event.name]
            assert document["rev"] > self.newest, "an older or a repeated revision"
            self.newest = document["rev"]
            if event.name == "job":
                self.jobs[document["id"]] = document
            else:
                self.notes.append(document["title"])
        if event.id is not None:
            self.cursor = event.id


class Producer:
    """Writes until it is told to stop: two jobs that move, and numbered notifications, some to everyone."""

    def __init__(self, me: Client, dice: random.Random) -> None:
        self._me = me
        self._dice = dice
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.written: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join(20)

    def _run(self) -> None:
        for number in itertools.count():
            to = {"everyone": True} if number % 5 == 0 else {"user": "me"}
            commands = [
                {"verb": "advance", "job": f"j{number % 2}", "by": 1},
                {"verb": "notify", "title": str(number), **to},
                {"verb": "notify", "title": "not for me", "user": "other"},
            ]
            self._me.post("/batch", {"commands": commands})
            self.written.append(str(number))
            if self._done.wait(self._dice.uniform(0, 0.006)):
                return


def _read(me: Client, checker: Checker, dice: random.Random) -> None:
    """One connection: some events, perhaps none, then the cut, by FIN or RST, wherever the bytes happen to be."""
    with me.stream(headers={"last-event-id": checker.cursor}) as stream:
        for _ in range(dice.choice([0, 1, 2, 3, 5, 8, 20])):
            checker.take(stream.next())
        if dice.random() < 0.3:
            stream.reset()


@pytest.mark.parametrize("seed", [20261121])
def test_random_disconnects(me: Client, seed: int) -> None:
    """Over 200 connections cut at random places: every notification once and in order, every job's newest state."""
    dice = random.Random(seed)
    for job in ("j0", "j1"):
        me.job(job)
    checker = Checker()
    checker.cursor = me.get("/changes")["cursor"]
    with Producer(me, random.Random(seed)) as producer:
        for _ in range(DISCONNECTS):
            _read(me, checker, dice)
    with me.stream(headers={"last-event-id": checker.cursor}) as stream:
        for event in stream.until("live"):
            checker.take(event)
    assert len(producer.written) >= DISCONNECTS / 4, "the writer has to write for this to mean anything"
    assert checker.notes == producer.written
    for job in ("j0", "j1"):
        newest = me.get(f"/jobs/{job}")["job"]
        del newest["steps"]
        assert checker.jobs[job] == newest


def test_polling_between_the_cuts(me: Client) -> None:
    """One cursor serves stream, long poll and poll in turns: together they tell everything once."""
    dice = random.Random(7)
    for job in ("j0", "j1"):
        me.job(job)
    checker = Checker()
    checker.cursor = me.get("/changes")["cursor"]

    def poll(**parameters: Any) -> bool:
        page = me.get("/changes", params={"after": checker.cursor, **parameters})
        assert page["reset"] is None
        for entry in page["changes"]:
            name = next(iter(set(entry) - {"cursor"}))
            if name != "inbox":
                checker.take(Event(name, json.dumps({name: entry[name]}), entry["cursor"], None))
        checker.cursor = page["cursor"]
        return bool(page["more"])

    with Producer(me, random.Random(8)) as producer:
        for _ in range(60):
            choice = dice.randrange(3)
            if choice == 0:
                _read(me, checker, dice)
            else:
                poll(limit=dice.choice([1, 3, 256]), wait=0 if choice == 1 else 0.5)
    while poll():
        pass
    assert checker.notes == producer.written
