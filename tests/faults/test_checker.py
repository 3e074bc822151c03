"""The checker of the fault tests finds each broken promise, and nothing where all is well."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.faults.checker import Account, Record, Seen, faults

ME = ("user:a",)
JOB = Seen("job", "job:1", 5, 0, attempt=1, end="completed", audiences=ME)
NOTE = Seen("note", "notification:1", 3, 3, open=False, audiences=ME)
OTHER = Seen("other", "notification:2", 4, 4, open=False, audiences=("user:b",))


@dataclass
class Story:
    """What was asked for, told, shown and stored; as it stands, nothing is wrong with it."""

    acknowledged: dict[str, int] = field(default_factory=lambda: {"job": 5, "note": 3, "other": 4})
    ends: dict[str, str] = field(default_factory=lambda: {"job": "completed"})
    shown: list[Seen | None] = field(default_factory=lambda: [NOTE, JOB])
    stored: list[Seen] = field(default_factory=lambda: [JOB, NOTE, OTHER])
    forgets: bool = False

    def faults(self) -> set[str]:
        """The promises that the checker finds broken."""
        account = Account({"job", "note", "other"}, self.acknowledged, self.ends)
        record = Record("reader", frozenset(ME), self.shown)
        return {it.partition(":")[0] for it in faults([account], [record], self.stored, forgets=self.forgets)}


def test_all_is_well() -> None:
    """A true story has no fault; neither has one in which a reader began anew, or a store forgot and said so."""
    assert Story().faults() == set()
    assert Story(shown=[JOB, None, NOTE, JOB]).faults() == set()
    assert Story(shown=[NOTE, JOB, None], stored=[], forgets=True).faults() == set()


def shown(*more: Seen | None) -> dict[str, Any]:
    """The reader was shown these."""
    return {"shown": list(more)}


@pytest.mark.parametrize(
    ("promise", "change"),
    [
        ("lost", {"stored": [JOB, NOTE]}),
        ("lost", {"acknowledged": {"job": 6}}),
        ("unasked", {"stored": [JOB, NOTE, OTHER, OTHER._replace(once="never", key="notification:3")]}),
        ("repeated", {"stored": [JOB, NOTE, OTHER, OTHER._replace(key="notification:3", revision=6, order=6)]}),
        ("repeated", {"stored": [JOB, NOTE, OTHER._replace(revision=6)]}),
        ("repeated", {"stored": [JOB._replace(attempt=2), NOTE, OTHER]}),
        ("repeated", shown(NOTE._replace(key="notification:0", revision=2, order=2), NOTE, JOB)),
        ("end", {"stored": [JOB._replace(end="failed"), NOTE, OTHER], **shown(NOTE, JOB._replace(end="failed"))}),
        ("end", {"stored": [JOB._replace(end=None), NOTE, OTHER], **shown(NOTE, JOB._replace(end=None)), "ends": {}}),
        ("end", shown(NOTE, JOB._replace(revision=4, end="failed"), JOB)),
        ("order", shown(NOTE, JOB, JOB)),
        ("order", shown(JOB, NOTE)),
        ("missed", shown(NOTE)),
        ("missed", shown(NOTE, JOB._replace(revision=4, end=None))),
        ("missed", shown(NOTE, JOB, None, JOB)),
        ("untrue", shown(NOTE, OTHER, JOB)),
    ],
)
def test_a_broken_promise(promise: str, change: dict[str, Any]) -> None:
    """Each is found, under its own name."""
    assert promise in replace(Story(), **change).faults()


def test_a_store_that_forgets_is_not_believed() -> None:
    """What was lost on purpose is no fault, but who still holds it was not told."""
    assert Story(stored=[NOTE, OTHER], forgets=True).faults() == {"untrue"}
