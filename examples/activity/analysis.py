"""What can be told of a text: how long and how hard it is, and its dates, amounts, defined terms and repetitions."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

from .reading import Paragraph

WORDS_A_MINUTE: Final = 230
REPEATED_WORDS: Final = 6  # shorter paragraphs are alike without being copies
LISTED: Final = 100  # of each finding; the rest is counted

_MONTHS: Final = (
    "January February March April May June July August September October November December".split()  # noqa: SIM905 - the names of twelve
)
_MONTH: Final = "|".join(f"{name}|{name[:3]}\\.?" for name in _MONTHS)
_DATE: Final = re.compile(
    rf"\b(?P<y1>\d{{4}})-(?P<m1>\d\d)-(?P<d1>\d\d)\b"
    rf"|\b(?P<d2>\d{{1,2}})(?:st|nd|rd|th)?(?: day of)? (?P<m2>{_MONTH}),? (?P<y2>\d{{4}})\b"
    rf"|\b(?P<m3>{_MONTH}) (?P<d3>\d{{1,2}})(?:st|nd|rd|th)?, (?P<y3>\d{{4}})\b"
    r"|\b(?P<d4>\d{1,2})\.(?P<m4>\d{1,2})\.(?P<y4>\d{4})\b"
)
_CURRENCY: Final = {"€": "EUR", "$": "USD", "£": "GBP"}
_NUMBER: Final = r"\d{1,3}(?:[,\u202f\u00a0]\d{3})+(?:\.\d{1,2})?|\d+(?:\.\d{1,2})?"
_SCALE: Final = r"(?:\s?(?P<scale{n}>thousand|million|billion))?"
_MONEY: Final = re.compile(
    rf"(?P<c1>[€$£]|\b(?:EUR|USD|GBP|CHF)\b)\s?(?P<n1>{_NUMBER}){_SCALE.format(n=1)}"
    rf"|\b(?P<n2>{_NUMBER}){_SCALE.format(n=2)}\s?(?P<c2>[€£]|\b(?:EUR|USD|GBP|CHF|euros?|dollars?)\b)"
)
_WORDED: Final = {"euro": "EUR", "euros": "EUR", "dollar": "USD", "dollars": "USD"}
_SCALES: Final = {None: 1, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
# (the “Services”), (together, the "Parties"), or: “Fee” means …
_TERM: Final = re.compile(
    r"[(;,] ?(?:the|each an?|together,? the|collectively,? the) [“\"](?P<a>[^“”\"]{2,60})[”\"](?=[);])"
    r"|[“\"](?P<b>[^“”\"]{2,60})[”\"] (?:means|shall mean|has the meaning)\b"
)


class Analysis:
    """Of one document: ``read`` each of its paragraphs, then ``result``."""

    def __init__(self) -> None:
        self._paragraphs: list[Paragraph] = []
        self._words = self._syllables = self._sentences = 0
        self._dates: list[dict[str, Any]] = []
        self._amounts: list[dict[str, Any]] = []
        self._terms: dict[str, int] = {}  # → the paragraph that defines it
        self._seen: dict[str, int] = {}  # a paragraph's words → the first one that has them
        self._repeated: list[dict[str, int]] = []

    @property
    def counters(self) -> dict[str, float]:
        """What was found so far."""
        return {"dates": len(self._dates), "amounts": len(self._amounts), "terms": len(self._terms)}

    def read(self, paragraph: Paragraph) -> None:
        """Takes the next paragraph in."""
        self._paragraphs.append(paragraph)
        words = paragraph.words
        self._words += len(words)
        self._syllables += sum(map(_syllables, words))
        self._sentences += len(paragraph.sentences)
        self._dates += [{**date, "paragraph": paragraph.number} for date in dates_in(paragraph.text)]
        self._amounts += [{**amount, "paragraph": paragraph.number} for amount in amounts_in(paragraph.text)]
        for found in _TERM.finditer(paragraph.text):
            self._terms.setdefault(found["a"] or found["b"], paragraph.number)
        alike = " ".join(words).casefold()
        if len(words) >= REPEATED_WORDS:
            first = self._seen.setdefault(alike, paragraph.number)
            if first != paragraph.number:
                self._repeated.append({"paragraph": paragraph.number, "first": first})

    def result(self) -> dict[str, Any]:
        """All of it, JSON."""
        sentences = max(self._sentences, 1)
        ease = 206.835 - 1.015 * self._words / sentences - 84.6 * self._syllables / self._words
        return {
            "words": self._words,
            "sentences": self._sentences,
            "paragraphs": len(self._paragraphs),
            "sections": sum(paragraph.is_heading for paragraph in self._paragraphs),
            "reading_seconds": round(self._words / WORDS_A_MINUTE * 60),
            "words_a_sentence": round(self._words / sentences, 1),
            "ease": round(min(max(ease, 0), 100)),
            "dates": sorted(self._dates, key=lambda date: str(date["date"]))[:LISTED],
            "dates_found": len(self._dates),
            "amounts": self._amounts[:LISTED],
            "amounts_found": len(self._amounts),
            "terms": list(self._uses()),
            "terms_found": len(self._terms),
            "repeated": self._repeated[:LISTED],
            "repeated_found": len(self._repeated),
        }

    def _uses(self) -> Iterator[dict[str, Any]]:
        text = "\n".join(paragraph.text for paragraph in self._paragraphs)
        for term, paragraph in sorted(self._terms.items())[:LISTED]:
            times = len(re.findall(rf"(?<!\w){re.escape(term)}s?(?!\w)", text)) - 1  # its definition aside
            yield {"term": term, "paragraph": paragraph, "uses": max(times, 0)}


def summary(result: dict[str, Any]) -> str:
    """A result in one line."""
    told = [_counted(result["words"], "word")]
    told += [
        _counted(count, what)
        for what, count in (("date", result["dates_found"]), ("amount", result["amounts_found"]))
        if count
    ]
    if result["repeated_found"]:
        told.append(_counted(result["repeated_found"], "repeated paragraph"))
    return ", ".join(told)


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def dates_in(text: str) -> Iterator[dict[str, str]]:
    """The days that a text names: ``date`` is ISO 8601, ``text`` as it stands there."""
    for found in _DATE.finditer(text):
        form = next(form for form in "1234" if found[f"y{form}"])
        month = found[f"m{form}"]
        number = int(month) if month.isdigit() else 1 + [name[:3] for name in _MONTHS].index(month[:3])
        try:
            day = dt.date(int(found[f"y{form}"]), number, int(found[f"d{form}"]))
        except ValueError:  # there is no such day
            continue
        yield {"date": day.isoformat(), "text": found.group()}


def amounts_in(text: str) -> Iterator[dict[str, str]]:
    """The sums of money that a text names: ``amount`` is a decimal number of ``currency``."""
    for found in _MONEY.finditer(text):
        form = "1" if found["c1"] else "2"
        sign = found[f"c{form}"]
        number = Decimal(re.sub(r"[^\d.]", "", found[f"n{form}"])) * _SCALES[found[f"scale{form}"]]
        currency = _CURRENCY.get(sign) or _WORDED.get(sign) or sign
        yield {"currency": currency, "amount": f"{number:.2f}", "text": found.group().strip()}


def _syllables(word: str) -> int:
    """As English is spoken, nearly: groups of vowels, without a silent e at the end."""
    plain = word.casefold()
    groups = len(re.findall(r"[aeiouyäöüéèàáíóú]+", plain))
    silent = plain.endswith("e") and not plain.endswith(("le", "ee")) and groups > 1
    return max(groups - silent, 1)
