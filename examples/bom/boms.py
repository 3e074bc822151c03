"""A bill of materials: the CSV file of somebody's CAD program as checked lines.

Every program names its columns otherwise, so the usual names are known. All that is wrong with a file is said at once,
each fault with its line. A line without a part number is no fault: such lines are what an enrichment finds.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

FILE_LIMIT: Final = 256 * 1024  # bytes
LINE_LIMIT: Final = 1_000
TEXT_LIMIT: Final = 300  # characters of one cell
QUANTITY_LIMIT: Final = 1_000_000
TOLD: Final = 20  # problems that are listed

# What a column may be called, as letters and digits.
COLUMNS: Final = {
    "designator": ("designator", "designators", "refdes", "reference", "references", "ref", "refs", "position", "part"),
    "mpn": (
        *("mpn", "partnumber", "partno", "pn", "mfrpartnumber", "mfrpart", "mfgpn", "mfgpartnumber", "orderingcode"),
        *("manufacturerpartnumber", "manufacturerpart", "manufacturerpn", "mfrpn", "mpartnumber"),
    ),
    "quantity": ("quantity", "qty", "count", "amount", "pcs", "number", "qtyperboard"),
    "manufacturer": ("manufacturer", "mfr", "mfg", "maker", "vendor", "brand"),
    "description": ("description", "desc", "comment", "value", "notes", "remark"),
}


@dataclass(frozen=True, slots=True)
class Line:
    """One line: a part, and how many of it. ``number`` counts from 1."""

    number: int
    designator: str
    mpn: str
    quantity: int
    manufacturer: str
    description: str

    def to_json(self) -> dict[str, Any]:
        """The JSON object that ``Line(**object)`` reads back."""
        return asdict(self)


class BadBom(Exception):
    """The file cannot be used; ``problems`` says why, one sentence each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(problems[0])
        more = len(problems) - TOLD
        self.problems = problems[:TOLD] + ([f"And {more} more."] if more > 0 else [])


def lines_from_csv(data: bytes) -> tuple[Line, ...]:
    """Reads a file. Raises BadBom: too large, no text, no CSV, no column of part numbers, lines that make no sense."""
    if len(data) > FILE_LIMIT:
        raise BadBom([f"The file is larger than {FILE_LIMIT // 1024} KiB."])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadBom(
            [f"Line {line}: this is not UTF-8 text. In a spreadsheet, choose “CSV UTF-8” to save it."]
        ) from None
    if not text.strip():
        raise BadBom(["The file is empty."])
    if "\0" in text:
        raise BadBom(["This is not a CSV file."])
    head = next(line for line in text.splitlines() if line.strip())
    separator = max(",;\t", key=head.count)  # spreadsheets of many countries write ; and some write tabs
    rows = _rows(text, separator)
    try:
        head_row = next(rows)[1]
        columns, width = _columns(head_row), len(head_row)
        return _lines(columns, width, rows)
    except csv.Error as error:
        raise BadBom([f"This is not CSV ({error})."]) from None


def _rows(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Each row that has something in it, with the line of the file on which it ends."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    for row in reader:
        if any(cell.strip() for cell in row):
            yield reader.line_num, row


def _columns(head: list[str]) -> dict[str, int]:
    """Where each of our columns is."""
    known = {synonym: name for name, synonyms in COLUMNS.items() for synonym in synonyms}
    found: dict[str, int] = {}
    for number, cell in enumerate(head):
        name = known.get(re.sub(r"[^a-z0-9]", "", cell.lower()))
        if name is not None:
            found.setdefault(name, number)
    if "mpn" not in found:
        raise BadBom(["Line 1: no column is called “MPN” or “Manufacturer Part Number”."])
    if "quantity" not in found and "designator" not in found:
        raise BadBom(["Line 1: there is neither a column “Quantity” nor one “Designator” to count."])
    return found


def _lines(columns: Mapping[str, int], width: int, rows: Iterator[tuple[int, list[str]]]) -> tuple[Line, ...]:
    problems: list[str] = []
    lines: list[Line] = []
    for at, row in rows:
        if len(lines) == LINE_LIMIT:
            raise BadBom([f"The file has more than {LINE_LIMIT:,} parts."])
        if any(cell.strip() for cell in row[width:]):
            problems.append(
                f"Line {at}: {len(row)} columns where the head has {width}; a value with a comma needs quotes."
            )
        cells = [*row, *[""] * (width - len(row))]
        found = {name: _text(cells[column], f"Line {at}", problems) for name, column in columns.items()}
        quantity = _quantity(found, f"Line {at}", problems)
        lines.append(
            Line(
                len(lines) + 1,
                found.get("designator", ""),
                found["mpn"],
                quantity,
                found.get("manufacturer", ""),
                found.get("description", ""),
            )
        )
    if problems:
        raise BadBom(problems)
    if not lines:
        raise BadBom(["There is no part in this file, only its head."])
    return tuple(lines)


def _text(cell: str, where: str, problems: list[str]) -> str:
    text = re.sub(r"\s+", " ", unicodedata.normalize("NFC", cell)).strip()
    if len(text) > TEXT_LIMIT:
        problems.append(f"{where}: a cell has {len(text):,} characters; {TEXT_LIMIT} are allowed.")
    bad = next((character for character in text if unicodedata.category(character) in ("Cc", "Cs")), None)
    if bad is not None:
        problems.append(f"{where}: the character U+{ord(bad):04X} cannot be used.")
    return text


def _quantity(found: Mapping[str, str], where: str, problems: list[str]) -> int:
    """What the column says, else as many as there are designators."""
    given = found.get("quantity", "")
    if "quantity" not in found:
        return designators(found["designator"])
    plain = given.replace(",", "").replace("\N{NO-BREAK SPACE}", "")
    if not re.fullmatch(r"[0-9]{1,12}(\.0+)?", plain):
        problems.append(f"{where}: the quantity “{given[:40]}” is not a whole number.")
        return 0
    quantity = int(plain.partition(".")[0])
    if not 1 <= quantity <= QUANTITY_LIMIT:
        problems.append(f"{where}: the quantity {given} is not between 1 and {QUANTITY_LIMIT:,}.")
    return quantity


def designators(text: str) -> int:
    """How many are meant: “R1-R4, R7” are five. One at least."""
    count = 0
    for word in re.split(r"[,;\s]+", text):
        span = re.fullmatch(r"([A-Za-z]+)([0-9]{1,6})\s*[-–]\s*([A-Za-z]*)([0-9]{1,6})", word)
        if span and span[3] in ("", span[1]) and int(span[4]) >= int(span[2]):
            count += min(int(span[4]) - int(span[2]) + 1, QUANTITY_LIMIT)
        elif word:
            count += 1
    return min(max(count, 1), QUANTITY_LIMIT)
