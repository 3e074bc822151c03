"""The samples: half an hour of a small shop, its traces made up but always the same ones.

``python -m examples.traces.sampling > shop.jsonl`` writes what the page offers.
"""

from __future__ import annotations

import functools
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

TRACES: Final = 320
BROKEN_LINE: Final = 1_204
_BEGINNING: Final = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Call:
    """An operation of a service: how long it works by itself in milliseconds, how often it fails, whom it calls."""

    service: str
    name: str
    ms: float
    fails: float = 0.0
    calls: tuple[_Call, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)


def _query(name: str, ms: float) -> _Call:
    return _Call("postgres", name, ms, attributes={"db.system": "postgresql"})


_SESSION: Final = _Call("accounts", "session.read", 2, calls=(_Call("redis", "GET session", 0.6),))
_PRODUCT: Final = _Call("catalog", "product.read", 6, calls=(_query("SELECT product", 4),))
_BROWSE: Final = _Call(
    "web", "GET /products", 9, 0.01, (_SESSION, _Call("search", "products.search", 38, 0.01), _PRODUCT)
)
_BASKET: Final = _Call("web", "POST /basket", 6, 0.01, (_SESSION, _PRODUCT, _query("INSERT basket_item", 5)))
_CHECKOUT: Final = _Call(
    "web",
    "POST /checkout",
    14,
    0.0,
    (
        _SESSION,
        _Call("basket", "basket.total", 7, calls=(_query("SELECT basket_item", 6),)),
        _Call("stock", "stock.reserve", 12, 0.02, (_query("UPDATE stock", 9),)),
        _Call("payment", "card.charge", 160, 0.06, (_Call("bank", "POST /authorize", 240, 0.04),)),
        _Call("shipping", "label.create", 45, 0.02),
        _Call("mail", "receipt.send", 30),
    ),
)
_KINDS: Final = (_BROWSE, _BROWSE, _BROWSE, _BASKET, _CHECKOUT)


@functools.cache
def sample(*, broken: bool = False) -> bytes:
    """A JSONL file of more than 2,000 spans; a ``broken`` one has a line in it whose start is later than its end."""
    spans = sorted(_all_spans(), key=lambda span: (span["start"], span["span_id"]))
    if broken:
        wrong = spans[BROKEN_LINE - 1]
        wrong["start"], wrong["end"] = wrong["end"], wrong["start"]
    return b"".join(orjson.dumps(span) + b"\n" for span in spans)


def _all_spans() -> Iterator[dict[str, Any]]:
    # random() alone promises the same numbers in every version of Python
    chance = random.Random(1851)
    for number in range(TRACES):
        kind = _KINDS[int(chance.random() * len(_KINDS))]
        at = _BEGINNING + timedelta(seconds=1800 * (number + chance.random()) / TRACES)
        slow = 12.0 if chance.random() < 0.012 else 1.0
        yield from _Trace(chance, _hex(chance, 32), slow).spans(kind, at, None)[0]


class _Trace:
    def __init__(self, chance: random.Random, trace_id: str, slow: float) -> None:
        self._chance = chance
        self._id = trace_id
        self._slow = slow

    def spans(self, call: _Call, start: datetime, parent: str | None) -> tuple[list[dict[str, Any]], datetime]:
        """A call with all that it calls, one after the other, and when it has ended."""
        chance = self._chance
        own = timedelta(milliseconds=max(0.05, call.ms * self._slow * (0.5 + chance.random() ** 3 * 3)))
        span_id = _hex(chance, 16)
        inner, at = [], start + own / 2
        for callee in call.calls:
            spans, at = self.spans(callee, at, span_id)
            inner += spans
        end = at + own / 2
        failed = chance.random() < call.fails or (call is _CHECKOUT and any(one["status"] == "error" for one in inner))
        span: dict[str, Any] = {"trace_id": self._id, "span_id": span_id, "parent_id": parent, "name": call.name}
        span |= {"service": call.service, "start": _shown(start), "end": _shown(end)}
        span |= {"status": "error" if failed else "ok"}
        if call.attributes:
            span["attributes"] = call.attributes
        return [span, *inner], end


def _hex(chance: random.Random, digits: int) -> str:
    return "".join("0123456789abcdef"[int(chance.random() * 16)] for _ in range(digits))


def _shown(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


if __name__ == "__main__":
    sys.stdout.buffer.write(sample())
