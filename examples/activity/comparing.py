"""Two versions of a text, paragraph by paragraph, and word by word where one was changed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import takewhile
from typing import Any, Final, NamedTuple

from .reading import WORD

ALIKE: Final = 0.4  # two paragraphs with less in common are one that went and one that came
CHANGES: Final = 200  # listed; all of them are counted
RUN: Final = 4_000  # characters of what came or went, shown of each
NEAR: Final = 20  # paragraphs, among which one that was changed is looked for
AROUND: Final = 160  # characters of what stayed, shown on either side of a change
_PIECE: Final = re.compile(r"\s+|\d[\d.,:/-]*\d|\w+|[^\w\s]")


class NoEarlierVersion(Exception):
    """There is nothing to compare with."""

    milepost_code = "NO_EARLIER_VERSION"

    def __init__(self) -> None:
        super().__init__("The document has only one version so far: there is no earlier one to compare with.")


class Pair(NamedTuple):
    """A paragraph before and after; None where there was, or is, none. ``number`` is its place in the later version."""

    before: str | None
    after: str | None
    number: int


def pairs(before: Sequence[str], after: Sequence[str]) -> list[Pair]:
    """All paragraphs of both versions in order, each beside what became of it."""
    found: list[Pair] = []
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    for kind, a, a_end, b, b_end in matcher.get_opcodes():
        if kind == "equal":
            found += [Pair(text, text, place + 1) for place, text in enumerate(after[b:b_end], b)]
        else:
            found += _matched(before[a:a_end], after[b:b_end], b)
    return found


def _matched(gone: Sequence[str], come: Sequence[str], offset: int) -> Iterator[Pair]:
    """Within one change: each new paragraph with the next old one that it resembles."""
    place = 0
    for index, text in enumerate(come):
        ahead = range(place, min(place + NEAR, len(gone)))
        alike = next((at for at in ahead if _resembles(gone[at], text)), None)
        if alike is None:
            yield Pair(None, text, offset + index + 1)
            continue
        yield from (Pair(old, None, offset + index + 1) for old in gone[place:alike])
        yield Pair(gone[alike], text, offset + index + 1)
        place = alike + 1
    yield from (Pair(old, None, offset + len(come)) for old in gone[place:])


def _resembles(old: str, new: str) -> bool:
    matcher = SequenceMatcher(None, WORD.findall(old), WORD.findall(new), autojunk=False)
    return matcher.quick_ratio() >= ALIKE  # how many words they share, in whatever order


def words_of(pair: Pair) -> list[list[str]]:
    """One changed pair as runs of ``[same | gone | come | cut, text]``: what stays far from a change is cut."""
    if pair.before is None or pair.after is None:
        return list(_shortened([["come", pair.after]] if pair.after else [["gone", pair.before or ""]]))
    old, new = _PIECE.findall(pair.before), _PIECE.findall(pair.after)
    head = _alike(old, new)
    tail = _alike(old[head:][::-1], new[head:][::-1])
    gone, come = old[head : len(old) - tail], new[head : len(new) - tail]
    runs = [["same", "".join(new[:head])]]
    # Only what lies between: to match all of two long texts takes the square of their length.
    for kind, a, a_end, b, b_end in SequenceMatcher(None, gone, come, autojunk=False).get_opcodes():
        if kind == "equal":
            runs.append(["same", "".join(come[b:b_end])])
        else:
            runs += [["gone", "".join(gone[a:a_end])], ["come", "".join(come[b:b_end])]]
    runs.append(["same", "".join(new[len(new) - tail :])])
    runs = [[kind, text] for kind, text in runs if text]
    return list(_shortened(_joined(runs)))


def _alike(old: list[str], new: list[str]) -> int:
    """How many pieces are the same from the beginning."""
    return sum(1 for _ in takewhile(lambda both: both[0] == both[1], zip(old, new, strict=False)))


def _joined(runs: list[list[str]]) -> list[list[str]]:
    """A single space that stayed between two changes is part of both: “ten days” became “two weeks”, not two words."""
    found: list[list[str]] = []
    for index, (name, text) in enumerate(runs):
        if name == "same" and not text.strip() and 0 < index < len(runs) - 1:
            found += [["gone", text], ["come", text]]
        else:
            found.append([name, text])
    merged: list[list[str]] = []
    changed: dict[str, str] = {"gone": "", "come": ""}
    for name, text in [*found, ["same", ""]]:
        if name != "same":
            changed[name] += text
            continue
        merged += [[kind, words] for kind, words in changed.items() if words]
        changed = {"gone": "", "come": ""}
        if text:
            merged.append([name, text])
    return merged


def _shortened(runs: list[list[str]]) -> Iterator[list[str]]:
    for index, (name, text) in enumerate(runs):
        if name != "same":
            yield [name, text[:RUN] + "…" * (len(text) > RUN)]
            continue
        if len(text) <= 2 * AROUND + 20:
            yield [name, text]
            continue
        if index:
            yield ["same", text[:AROUND]]
        yield ["cut", "…"]
        if index < len(runs) - 1:
            yield ["same", text[-AROUND:]]


class Comparison:
    """Of two versions: ``take`` each pair, then ``result``."""

    def __init__(self, earlier: int, later: int) -> None:
        self._versions = {"earlier": earlier, "later": later}
        self._counts = {"unchanged": 0, "changed": 0, "added": 0, "removed": 0}
        self._changes: list[dict[str, Any]] = []

    @property
    def counters(self) -> dict[str, float]:
        """What was found so far."""
        return {name: count for name, count in self._counts.items() if name != "unchanged"}

    def take(self, pair: Pair) -> None:
        """Takes the next pair in."""
        kind = (
            "unchanged"
            if pair.before == pair.after
            else "added"
            if pair.before is None
            else "removed"
            if pair.after is None
            else "changed"
        )
        self._counts[kind] += 1
        if kind != "unchanged" and len(self._changes) < CHANGES:
            self._changes.append({"kind": kind, "paragraph": pair.number, "words": words_of(pair)})

    def result(self) -> dict[str, Any]:
        """All of it, JSON."""
        return {**self._versions, **self._counts, "changes": self._changes}


def summary(result: dict[str, Any]) -> str:
    """A result in one line."""
    told = [f"{result[kind]} {kind}" for kind in ("changed", "added", "removed") if result[kind]]
    return f"Version {result['later']}: {', '.join(told) or 'nothing changed'}, {result['unchanged']} unchanged"
