"""The catalogue of parts, and what it knows of one line of a bill of materials.

People write part numbers in many ways, so the same letters and digits are the same part: ``cv-42688`` is ``CV42688``.
What is not found is never guessed: a part that only looks alike is another one, so it is named as a suggestion.
"""

from __future__ import annotations

import csv
import difflib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from .boms import Line

HERE: Final = Path(__file__).parent
NEAR: Final = 0.85  # how alike two part numbers must be for a suggestion

# Read wrongly, or typed so: a letter for a digit.
_ALIKE: Final = str.maketrans("OIL", "011")


class CatalogueFault(Exception):
    """An entry of the catalogue makes no sense; the message says which, and where."""

    milepost_code = "CATALOGUE_FAULT"


@dataclass(frozen=True, slots=True)
class Part:
    """A part as the catalogue has it. ``prices``: from which quantity on which price, in euros; ``source``: where."""

    mpn: str
    manufacturer: str
    description: str
    package: str
    lifecycle: str
    rohs: bool
    stock: int
    replacement: str
    prices: str
    source: str

    def price(self, quantity: int) -> Decimal:
        """Of one, where so many are bought. Raises CatalogueFault."""
        best = None
        for step in self.prices.split("|"):
            least, _, price = step.partition(":")
            try:
                at, value = int(least), Decimal(price)
            except (ValueError, InvalidOperation):
                raise CatalogueFault(f"{self.source}: the price of {self.mpn} is “{step}”.") from None
            if best is None or at <= quantity:
                best = value
        assert best is not None
        return best


class Catalogue:
    """All parts by their number. ``prices`` is a newer list of some of their prices. Raises CatalogueFault."""

    def __init__(self, path: Path = HERE / "catalogue.csv", *, prices: Path | None = None) -> None:
        self._parts: dict[str, Part] = {}
        newer = {plain(row["mpn"]): (row["prices"], source) for source, row in _read(prices)} if prices else {}
        for source, row in _read(path):
            key = plain(row["mpn"])
            price, source_of_price = newer.get(key, (row["prices"], source))
            self._parts[key] = Part(
                row["mpn"],
                row["manufacturer"],
                row["description"],
                row["package"],
                row["lifecycle"],
                row["rohs"] == "yes",
                int(row["stock"]),
                row["replacement"],
                price,
                source_of_price,
            )
        self._alike = {key.translate(_ALIKE): key for key in self._parts}

    def __len__(self) -> int:
        return len(self._parts)

    def find(self, mpn: str) -> Part | None:
        """The part of this number, however it is written."""
        return self._parts.get(plain(mpn))

    def near(self, mpn: str) -> list[str]:
        """Numbers of parts that may be meant, the likeliest first; two at most."""
        key = plain(mpn)
        if key.translate(_ALIKE) in self._alike:
            return [self._parts[self._alike[key.translate(_ALIKE)]].mpn]
        return [self._parts[near].mpn for near in difflib.get_close_matches(key, self._parts, n=2, cutoff=NEAR)]


def enrich(line: Line, catalogue: Catalogue) -> dict[str, Any]:
    """What the catalogue says of a line, as JSON: its ``status``, "enriched" or "error", and a ``message``.

    Raises CatalogueFault.
    """
    if not plain(line.mpn):
        return _error(line, "No part number")
    part = catalogue.find(line.mpn)
    if part is None:
        near = catalogue.near(line.mpn)
        return _error(
            line, f"Not in the catalogue; did you mean {' or '.join(near)}?" if near else "Not in the catalogue"
        )
    price = part.price(line.quantity)
    warnings = list(_warnings(line, part))
    return {
        "line": line.number,
        "status": "enriched",
        "warning": bool(warnings),
        "message": "; ".join(warnings) or f"{part.stock:,} in stock",
        "mpn": part.mpn,
        "manufacturer": part.manufacturer,
        "description": part.description,
        "package": part.package,
        "lifecycle": part.lifecycle,
        "rohs": part.rohs,
        "stock": part.stock,
        "unit_price": f"{price:f}",
        "price": f"{price * line.quantity:.4f}",
    }


def _error(line: Line, message: str) -> dict[str, Any]:
    return {"line": line.number, "status": "error", "warning": False, "message": message}


def _warnings(line: Line, part: Part) -> Iterator[str]:
    if part.lifecycle != "Active":
        yield part.lifecycle + (f", use {part.replacement}" if part.replacement else "")
    if part.stock < line.quantity:
        yield f"Only {part.stock:,} in stock" if part.stock else "None in stock"
    if not part.rohs:
        yield "Not RoHS"
    given = plain(line.manufacturer)
    if given and not plain(part.manufacturer).startswith(given):
        yield f"Made by {part.manufacturer}"


def plain(text: str) -> str:
    """Letters and digits alone, in capitals: what makes two part numbers the same."""
    return "".join(character for character in unicodedata.normalize("NFKC", text).upper() if character.isalnum())


def _read(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        for row in reader:
            yield f"{path.name}, line {reader.line_num}", row
