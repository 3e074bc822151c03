"""An engine against the specification's plain model: every verb, in any order, by two engines on one store."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from milepost.engine import RECENT, Document, Engine, Question, Write
from milepost.engines import open_engine
from milepost.errors import Conflict
from milepost.model import Cursor
from tests.engines.reference import Expected, Reset, Tenant

Result = TypeVar("Result")

HOUR = 3600.0
TENANTS = ("t", "s")
AUDIENCES = ("u", "v", "everyone")
KEYS = ("a", "b", "c", "a@u", "b@v", "a@u@v", "a!b")
LABELS = (RECENT, "x", "y")
KINDS = ("job", "note")

tenants = st.sampled_from(TENANTS)
which = st.integers(0, 1)
readers = st.none() | st.lists(st.sampled_from((*AUDIENCES, "nobody")), max_size=3)
keys = st.none() | st.lists(st.sampled_from(KEYS), max_size=3, unique=True)
writes = st.fixed_dictionaries(
    {
        "key": st.sampled_from(KEYS),
        "kind": st.sampled_from(KINDS),
        "body": st.none() | st.binary(max_size=3) | st.binary(max_size=3),
        "private": st.binary(max_size=2),
        "audiences": st.lists(st.sampled_from(AUDIENCES), max_size=3),
        "labels": st.lists(st.sampled_from(LABELS), max_size=3),
        "ordered": st.sampled_from((False, False, False, True)),
        "open_hours": st.sampled_from((None, 5, float("inf"))),
        "expiry_hours": st.sampled_from((None, None, 3, 30)),
        "due_hours": st.sampled_from((None, 1, 40)),
        "expects": st.sampled_from(("anything", "anything", "what is there", "nothing", "something else")),
    }
)


class EngineAgainstReference(RuleBasedStateMachine):
    """Two engines on one store, and the model beside them; the clock goes forward only when it is told to.

    To test an engine, inherit it and say where an empty store is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.now = self.began = time.time()
        self.numbers = itertools.count(1)
        self.model = {name: Tenant() for name in TENANTS}
        self.drawn = dict.fromkeys(TENANTS, -1e9)
        self.url = self.empty_store()
        self.engines: list[Engine] = [open_engine(self.url), open_engine(self.url)]

    def empty_store(self) -> str:
        """The URL of a store that nobody has used."""
        raise NotImplementedError

    def wait(self, work: Coroutine[Any, Any, Result]) -> Result:
        """The result of an engine's verb."""
        return self.loop.run_until_complete(work)

    @initialize()
    def know_the_epochs(self) -> None:
        """The epochs are the engine's to draw."""
        self.epochs = {name: self.wait(self.engines[0].heads([name]))[0].epoch for name in TENANTS}

    def teardown(self) -> None:
        """Leave nothing behind."""
        for engine in self.engines:
            self.wait(engine.close())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()

    def write(self, tenant: str, drawn: dict[str, Any]) -> Write:
        """A write as it was drawn, with orders and expiries of which no two are the same."""
        there = self.model[tenant].get(drawn["key"])
        number = next(self.numbers)
        hours = {
            name: None if drawn[name] is None else self.now + drawn[name] * HOUR for name in drawn if "hours" in name
        }
        expects = {
            "anything": None,
            "what is there": there.revision if there else 0,
            "nothing": 0,
            "something else": (there.revision if there else 0) + 1,
        }
        return Write(
            drawn["key"],
            drawn["kind"],
            drawn["body"],
            tuple(drawn["audiences"]),
            private=drawn["private"],
            labels=tuple(drawn["labels"]),
            order=10_000 + number if drawn["ordered"] else None,
            open_until=hours["open_hours"] or 0.0,
            expires_at=None if hours["expiry_hours"] is None else hours["expiry_hours"] + number / 1000,
            due_at=hours["due_hours"],
            replaces=expects[drawn["expects"]],
        )

    @rule(which=which, tenant=tenants, drawn=st.lists(writes, min_size=1, max_size=4))
    def commit(self, which: int, tenant: str, drawn: list[dict[str, Any]]) -> None:
        """[atomic] [dense] [replaces] [order] [left]"""
        todo = [self.write(tenant, each) for each in drawn]
        expected = self.model[tenant].commit(todo, self.began)
        assert self.wait(_commit(self.engines[which], tenant, todo)) == expected

    @rule(which=which, drawn=st.lists(st.tuples(tenants, st.lists(writes, min_size=1, max_size=2)), max_size=5))
    def commit_together(self, which: int, drawn: list[tuple[str, list[dict[str, Any]]]]) -> None:
        """[atomic] Commits of one group have each their own fate, as if they came one after the other."""
        todo = [(tenant, [self.write(tenant, each) for each in some]) for tenant, some in drawn]
        expected = [self.model[tenant].commit(some, self.began) for tenant, some in todo]

        async def together() -> list[list[Document] | None]:
            return await asyncio.gather(*(_commit(self.engines[which], tenant, some) for tenant, some in todo))

        assert self.wait(together()) == expected

    @rule(which=which, tenant=tenants, key=st.sampled_from(KEYS), stale=st.booleans(), hours=st.sampled_from((1, 50)))
    def touch(self, which: int, tenant: str, key: str, stale: bool, hours: int) -> None:
        """[touch]"""
        it = self.model[tenant].documents.get(key)
        revision, due_at = (it.revision if it else 0) - stale, self.now + hours * HOUR
        expected = self.model[tenant].touch(key, revision, due_at)
        assert self.wait(self.engines[which].touch(tenant, key, revision=revision, due_at=due_at)) == expected

    @rule(
        which=which,
        tenant=tenants,
        audiences=readers,
        back=st.none() | st.integers(-1, 12) | st.just(1000),
        stranger=st.sampled_from((False, False, False, True)),
        limit=st.integers(1, 5) | st.just(256),
        recent=st.integers(0, 3),
        keys=keys,
    )
    def changes(
        self,
        which: int,
        tenant: str,
        audiences: list[str] | None,
        back: int | None,
        stranger: bool,
        limit: int,
        recent: int,
        keys: list[str] | None,
    ) -> None:
        """[changes] [audience] [snapshot] [cover] [reset]"""
        model, cursor = self.model[tenant], None
        reset: Reset = None
        if back is not None:
            cursor = Cursor("another" if stranger else self.epochs[tenant], max(0, model.head - back))
            reset = "epoch" if stranger else None
        after = None if cursor is None else cursor.revision
        expected = model.changes(audiences, after, now=self.now, limit=limit, recent=recent, keys=keys, reset=reset)
        page = self.wait(
            self.engines[which].changes(tenant, audiences, cursor, now=self.now, limit=limit, recent=recent, keys=keys)
        )
        assert Expected(page.documents, page.cursor.revision, page.more, page.reset) == expected
        if page.reset == "ahead" and self.now - self.drawn[tenant] >= 60:
            assert page.cursor.epoch != self.epochs[tenant]
            self.epochs[tenant], self.drawn[tenant] = page.cursor.epoch, self.now
        assert page.cursor.epoch == self.epochs[tenant]

    @rule(
        which=which,
        tenant=tenants,
        audiences=readers,
        kind=st.sampled_from(KINDS),
        labels=st.lists(st.sampled_from(LABELS), max_size=2),
        bounds=st.tuples(st.none() | st.integers(0, 30), st.none() | st.integers(0, 10_050)),
        oldest=st.booleans(),
        limit=st.integers(1, 4) | st.just(50),
    )
    def find(
        self,
        which: int,
        tenant: str,
        audiences: list[str] | None,
        kind: str,
        labels: list[str],
        bounds: tuple[int | None, int | None],
        oldest: bool,
        limit: int,
    ) -> None:
        """[order] [cover]"""
        after, before = bounds
        page = self.wait(
            self.engines[which].find(
                tenant, audiences, kind=kind, labels=labels, before=before, after=after, oldest=oldest, limit=limit
            )
        )
        expected = self.model[tenant].find(audiences, kind, labels, before, after, oldest=oldest, limit=limit)
        assert (page.documents, page.more) == expected

    @rule(which=which, tenant=tenants, asked=st.lists(st.tuples(*map(st.sampled_from, (AUDIENCES, LABELS, KEYS)))))
    def count(self, which: int, tenant: str, asked: list[tuple[str, str, str]]) -> None:
        """[count]"""
        questions = [Question(*each) for each in asked]
        counts = self.wait(self.engines[which].count(tenant, questions))
        assert counts.values == [self.model[tenant].count(each) for each in questions]
        assert counts.cursor == Cursor(self.epochs[tenant], self.model[tenant].head)

    @rule(which=which)
    def due(self, which: int) -> None:
        """[touch] What is due, soonest first."""
        got = self.wait(self.engines[which].due(now=self.now))
        assert [it.document.due_at for it in got] == sorted(it.document.due_at or 0 for it in got)
        expected = {(name, it.key): it for name, model in self.model.items() for it in model.due(self.now)}
        assert {(it.tenant, it.document.key): it.document for it in got} == expected

    @rule(which=which, hours=st.sampled_from((0, 2, 7, 26, 60)))
    def prune(self, which: int, hours: float) -> None:
        """[prune]"""
        self.now += hours * HOUR + 120
        expected = sum(model.prune(self.now) for model in self.model.values())
        assert self.wait(self.engines[which].prune(now=self.now)) == expected

    @rule(which=which)
    def reopen(self, which: int) -> None:
        """[durable]"""
        self.wait(self.engines[which].close())
        self.engines[which] = open_engine(self.url)

    @rule(which=which)
    def renew_epoch(self, which: int) -> None:
        """[reset]"""
        self.wait(self.engines[which].renew_epoch())
        heads = self.wait(self.engines[which].heads(TENANTS))
        assert all(head.epoch != self.epochs[name] for name, head in zip(TENANTS, heads, strict=True))
        self.epochs = {name: head.epoch for name, head in zip(TENANTS, heads, strict=True)}

    @invariant()
    def same_heads_and_documents(self) -> None:
        """[tenant] Whatever was done through one connection, the other one holds what the model holds."""
        for engine in self.engines:
            heads = self.wait(engine.heads(TENANTS))
            assert heads == [Cursor(self.epochs[name], self.model[name].head) for name in TENANTS]
        for name, model in self.model.items():
            got = self.wait(self.engines[1].get(name, KEYS))
            assert got == [model.get(key) for key in KEYS]


async def _commit(engine: Engine, tenant: str, todo: list[Write]) -> list[Document] | None:
    try:
        return await engine.commit(tenant, todo)
    except Conflict:
        return None


def run_of(examples: int) -> settings:
    """How long a machine runs: so many stores, each through up to 40 steps."""
    return settings(
        max_examples=examples, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
    )
