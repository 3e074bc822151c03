"""Who compares, when all is over, what producers were told, what readers were shown, and what is stored.

It knows neither engines nor HTTP: whoever makes traffic notes it down in these words. So one and the same judge stands
over an engine in the test's process and over hubs that were killed in theirs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

ENDS = frozenset({"completed", "failed", "cancelled"})
NEWEST = 20  # that many a snapshot holds of what is not open


class Seen(NamedTuple):
    """One revision of a document, as stored or as shown to a reader.

    ``once``: the idempotency key that it was first written under, which is told apart from all others. ``order``: the
    revision of its creation. ``attempt`` and ``end``: a job's, 0 and None for everything else. ``open``: whether every
    snapshot holds it. ``audiences`` are known of what is stored only.
    """

    once: str
    key: str
    revision: int
    order: int
    attempt: int = 0
    end: str | None = None
    open: bool = True
    audiences: tuple[str, ...] = ()

    @property
    def repeated(self) -> bool:
        """Whether it was written again although it was asked for once; a job lives through many revisions."""
        return self.attempt > 1 if self.attempt else self.order != self.revision


def seen(kind: str, it: Mapping[str, Any], audiences: tuple[str, ...] = ()) -> Seen:
    """A ``job`` or ``notification`` as the contract shows it; its title is what it was asked for under."""
    if kind == "job":
        end = it["state"] if it["state"] in ENDS else None
        return Seen(it["title"], f"job:{it['id']}", it["rev"], 0, it["attempt"], end, audiences=audiences)
    return Seen(it["title"], f"{kind}:{it['id']}", it["rev"], it["seq"], open=False, audiences=audiences)


@dataclass
class Account:
    """What a producer asked for and what it was told, by idempotency keys.

    ``asked``: all that it ever tried. ``acknowledged``: with the revision that it was told, 0 where it was told none.
    ``ends``: the ends of its jobs that were acknowledged.
    """

    asked: set[str] = field(default_factory=set)
    acknowledged: dict[str, int] = field(default_factory=dict)
    ends: dict[str, str] = field(default_factory=dict)


@dataclass
class Record:
    """What one reader was shown, in its order, over all its connections; None stands for a reset.

    ``audiences``: what it may see; None: everything. It began when nothing was stored yet.
    """

    name: str
    audiences: frozenset[str] | None = None
    shown: list[Seen | None] = field(default_factory=list)

    @property
    def resets(self) -> int:
        """How often it had to begin anew."""
        return self.shown.count(None)

    @property
    def since_reset(self) -> list[Seen]:
        """What it was shown of the present history."""
        found: list[Seen] = []
        for it in self.shown:
            if it is None:
                found = []
            else:
                found.append(it)
        return found

    def may_see(self, it: Seen) -> bool:
        """By the audiences of what is stored."""
        return self.audiences is None or not self.audiences.isdisjoint(it.audiences)


def faults(
    accounts: Iterable[Account], records: Iterable[Record], stored: Sequence[Seen], *, forgets: bool = False
) -> list[str]:
    """Every promise that was broken, its name first; none where all is well.

    ``forgets``: the store was made to forget acknowledged commits, so that a reader is owed no more than the truth.
    """
    accounts, records = list(accounts), list(records)
    found: list[str] = []
    if not forgets:
        found += [*_lost(accounts, stored), *_ends(accounts, stored)]
    found += [*_unasked(accounts, stored), *_repeated("stored", stored), *_one_end(records, stored)]
    for record in records:
        found += [*_order(record), *_repeated(record.name, record.since_reset), *_newest(record, stored)]
    return found


def _lost(accounts: Iterable[Account], stored: Sequence[Seen]) -> Iterable[str]:
    """Acknowledged ⊆ stored."""
    there = {it.once: it for it in stored}
    for account in accounts:
        for once, revision in account.acknowledged.items():
            if once not in there:
                yield f"lost: {once} was acknowledged and is not stored"
            elif there[once].revision < revision:
                yield f"lost: {once} was acknowledged at {revision} and is stored at {there[once].revision}"


def _ends(accounts: Iterable[Account], stored: Sequence[Seen]) -> Iterable[str]:
    """Every job has an end, and it is the one that was acknowledged."""
    told = {once: end for account in accounts for once, end in account.ends.items()}
    for it in stored:
        if it.attempt and it.end is None:
            yield f"end: {it.key} has none"
        elif it.attempt and told.get(it.once, it.end) != it.end:
            yield f"end: {it.key} is {it.end}, its producer was told {told[it.once]}"


def _one_end(records: Iterable[Record], stored: Sequence[Seen]) -> Iterable[str]:
    """No job ends twice, or goes on after its end."""
    ended: dict[str, set[tuple[int, str]]] = {}
    for it in [*stored, *(each for record in records for each in record.since_reset)]:
        if it.end is not None:
            ended.setdefault(it.key, set()).add((it.revision, it.end))
    yield from (f"end: {key} has several: {sorted(ends)}" for key, ends in ended.items() if len(ends) > 1)
    for it in stored:
        if it.attempt and it.end is None and it.key in ended:
            yield f"end: {it.key} went on after {sorted(ended[it.key])}"


def _unasked(accounts: Iterable[Account], stored: Sequence[Seen]) -> Iterable[str]:
    """Nothing is stored that nobody asked for."""
    asked = set().union(*(account.asked for account in accounts))
    yield from (f"unasked: {it.key}" for it in stored if it.once not in asked)


def _repeated(where: str, seen: Iterable[Seen]) -> Iterable[str]:
    """What was asked for under one idempotency key is there once."""
    keys = Counter(once for once, _ in {(it.once, it.key) for it in seen})
    yield from (f"repeated: {where}: {once} made {count} documents" for once, count in keys.items() if count > 1)
    yield from (f"repeated: {where}: {it.key} at {it.order} and {it.revision}" for it in seen if it.repeated)


def _order(record: Record) -> Iterable[str]:
    """Revisions rise strictly, or a reset came between."""
    last = 0
    for it in record.shown:
        if it is not None and it.revision <= last:
            yield f"order: {record.name} was shown {it.revision} after {last}"
        last = 0 if it is None else it.revision


def _newest(record: Record, stored: Sequence[Seen]) -> Iterable[str]:
    """In the end it holds the newest revision of all that it may see, and nothing that is not so."""
    visible = {it.key: it for it in stored if record.may_see(it)}
    held = {it.key: it for it in record.since_reset}
    owed = list(visible.values())
    if record.resets:  # a snapshot holds what is open, and the newest of the rest
        rest = sorted((it for it in owed if not it.open), key=lambda it: it.order)
        owed = [it for it in owed if it.open] + rest[-NEWEST:]
    yield from (f"missed: {record.name} lacks {it.key} at {it.revision}" for it in owed if it.key not in held)
    for key, it in held.items():
        if key not in visible:
            yield f"untrue: {record.name} holds {key}, which it cannot see"
        elif it.revision != visible[key].revision:
            yield f"missed: {record.name} holds {key} at {it.revision}, stored is {visible[key].revision}"
