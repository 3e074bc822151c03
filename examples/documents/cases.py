"""Case data: what a person types, or uploads as CSV or JSON, as one checked value.

All that is wrong with a file is reported at once, each fault with the place where it stands. A ``Case`` that exists is
fit to print: no control characters, no half surrogates, within its limits. (Whether the font has every character is
the printer's question: see ``typesetting.unprintable``.)
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Final

FILE_LIMIT: Final = 256 * 1024  # bytes of an uploaded file
TEXT_LIMIT: Final = 4_000  # characters of one value
LIST_LIMIT: Final = 200  # entries of one list

TEXTS: Final = ("court", "case_number", "plaintiff", "claim", "attorney", "bar_number", "firm", "address", "date")
LISTS: Final = ("defendants", "facts", "demands", "requests")
DETAILED: Final = ("exhibits", "deponents")
REQUIRED: Final = ("court", "case_number", "plaintiff", "attorney", "date", "defendants")

# A CSV row names one entry of a list, so it is written in the singular there.
_SINGULAR: Final = {name.removesuffix("s"): name for name in LISTS + DETAILED}


@dataclass(frozen=True, slots=True)
class Entry:
    """One exhibit or deponent: its title or name, and what is said of it (a date, a place)."""

    title: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """One case. ``date`` is ISO 8601 (YYYY-MM-DD); lists keep the order in which they were given."""

    court: str
    case_number: str
    plaintiff: str
    attorney: str
    date: str
    defendants: tuple[str, ...]
    claim: str = ""
    bar_number: str = ""
    firm: str = ""
    address: str = ""
    facts: tuple[str, ...] = ()
    demands: tuple[str, ...] = ()
    requests: tuple[str, ...] = ()
    exhibits: tuple[Entry, ...] = ()
    deponents: tuple[Entry, ...] = ()

    @property
    def name(self) -> str:
        """As lawyers cite it: "Reyes v. Harbor Point Builders LLC, et al."."""
        others = ", et al." if len(self.defendants) > 1 else ""
        return f"{self.plaintiff} v. {self.defendants[0]}{others}"

    def to_json(self) -> dict[str, Any]:
        """The JSON object that ``case_from_object`` reads back."""
        return asdict(self)

    def texts(self) -> list[str]:
        """Every piece of text in the case, for checks that look at characters."""
        entries = [text for entry in (*self.exhibits, *self.deponents) for text in (entry.title, entry.detail)]
        lists = [text for name in LISTS for text in getattr(self, name)]
        return [*(getattr(self, name) for name in TEXTS), *lists, *entries]


class BadCase(Exception):
    """The data cannot be used; ``problems`` says why, one sentence each, in the words of who wrote the file."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(problems[0])
        self.problems = problems


def case_from_file(name: str, data: bytes) -> Case:
    """Reads an uploaded file, CSV or JSON by its name's ending.

    Raises BadCase: too large, not UTF-8, not CSV or JSON, unknown or missing fields, values of the wrong kind.
    """
    if len(data) > FILE_LIMIT:
        raise BadCase([f"The file is larger than {FILE_LIMIT // 1024} KiB."])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadCase(
            [f"Line {line}: this is not UTF-8 text. In a spreadsheet, choose “CSV UTF-8” to save it."]
        ) from None
    if not text.strip():
        raise BadCase(["The file is empty."])
    ending = name.lower().rpartition(".")[2]
    if ending == "json":
        return _from_json(text)
    if ending == "csv":
        return _from_csv(text)
    raise BadCase([f"“{name}” is neither a .csv nor a .json file."])


def case_from_object(value: object) -> Case:
    """Checks a decoded JSON value. Raises BadCase, naming every fault."""
    if not isinstance(value, Mapping):
        raise BadCase([f"A case is an object with fields such as “court”; this is {_kind(value)}."])
    problems: list[str] = []
    fields: dict[str, Any] = {}
    for name, given in value.items():
        if name in TEXTS:
            fields[name] = _text(given, name, problems)
        elif name in LISTS:
            fields[name] = tuple(_text(one, f"{name} {i}", problems) for i, one in _entries(given, name, problems))
        elif name in DETAILED:
            fields[name] = tuple(_entry(one, f"{name} {i}", problems) for i, one in _entries(given, name, problems))
        else:
            problems.append(f"Unknown field “{_short(name)}”{_did_you_mean(name, TEXTS + LISTS + DETAILED)}")
    return _checked(fields, problems)


def _from_json(text: str) -> Case:
    problems: list[str] = []

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for name, value in pairs:
            if name in seen:
                problems.append(f"The field “{_short(name)}” is there twice.")
            seen[name] = value
        return seen

    try:
        value = json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise BadCase([f"Line {error.lineno}, column {error.colno}: this is not JSON ({error.msg})."]) from None
    except (RecursionError, ValueError):  # a number of thousands of digits is a ValueError, and no text either
        raise BadCase(["This JSON holds a number or a nesting that no case has."]) from None
    try:
        case = case_from_object(value)
    except BadCase as bad:
        raise BadCase(problems + bad.problems) from None
    if problems:
        raise BadCase(problems)
    return case


def _from_csv(text: str) -> Case:
    """Rows of field, value and detail; a list has one row for each of its entries."""
    head = text.splitlines()[0]
    separator = max(",;\t", key=head.count)  # spreadsheets of many countries write ; and some write tabs
    try:
        rows = list(_csv_rows(text, separator))
    except csv.Error as error:
        raise BadCase([f"This is not CSV ({error})."]) from None
    columns = [name.strip().lower() for name in rows[0][1]] if rows else []
    if columns[:2] != ["field", "value"] or columns[2:] not in ([], ["detail"]):
        raise BadCase(["Line 1: the columns must be “field,value,detail” (“detail” may be left out)."])
    problems: list[str] = []
    fields: dict[str, Any] = {}
    for line, row in rows[1:]:
        if any(cell.strip() for cell in row):
            _add_row(fields, row, f"Line {line}", problems)
    for name in LISTS + DETAILED:
        if name in fields:
            fields[name] = tuple(one for _, one in _entries(fields[name], name, problems))
    return _checked(fields, problems)


def _add_row(fields: dict[str, Any], row: list[str], where: str, problems: list[str]) -> None:
    if len(row) > 3:
        problems.append(f"{where}: {len(row)} columns where 3 are allowed; a value with a comma needs quotes.")
        return
    name, value, detail = (cell.strip() for cell in [*row, "", ""][:3])
    name = _SINGULAR.get(name.lower(), name.lower())
    if detail and name not in DETAILED:
        problems.append(f"{where}: only exhibits and deponents have a detail; a value with a comma needs quotes.")
    elif name in TEXTS and name in fields:
        problems.append(f"{where}: the field “{name}” is there twice.")
    elif name in TEXTS:
        fields[name] = _text(value, where, problems)
    elif name in LISTS:
        fields.setdefault(name, []).append(_text(value, where, problems))
    elif name in DETAILED:
        fields.setdefault(name, []).append(_entry({"title": value, "detail": detail}, where, problems))
    else:
        problems.append(f"{where}: unknown field “{_short(name)}”{_did_you_mean(name, (*TEXTS, *_SINGULAR))}")


def _csv_rows(text: str, separator: str) -> list[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows = []
    line = 1
    for row in reader:
        rows.append((line, row))
        line = (
            reader.line_num + 1
        )  # a quoted value may span lines; a fault is named by the line on which its row begins
    return rows


def _checked(fields: dict[str, Any], problems: list[str]) -> Case:
    for name in REQUIRED:
        given = fields.get(name)
        if given is None or (not given and not problems):
            problems.append(f"“{name}” is missing.")
    day = fields.get("date")
    if day:
        try:
            date.fromisoformat(day)
        except ValueError:
            problems.append(f"“date” must be a day written as YYYY-MM-DD, not “{_short(day)}”.")
    if problems:
        raise BadCase(problems)
    return Case(**fields)


def _entries(given: object, name: str, problems: list[str]) -> list[tuple[int, Any]]:
    if not isinstance(given, list | tuple):
        problems.append(f"“{name}” must be a list, not {_kind(given)}.")
        return []
    if len(given) > LIST_LIMIT:
        problems.append(f"“{name}” has {len(given)} entries; {LIST_LIMIT} are allowed.")
    return list(enumerate(given[:LIST_LIMIT], 1))


def _entry(given: object, where: str, problems: list[str]) -> Entry:
    if isinstance(given, str):
        return Entry(_text(given, where, problems))
    if not isinstance(given, Mapping) or "title" not in given or not given.keys() <= {"title", "detail"}:
        problems.append(f"{where}: an entry is a text, or an object with “title” and “detail”.")
        return Entry("")
    detail = given.get("detail", "")
    return Entry(
        _text(given["title"], where, problems),
        _text(detail, where, problems) if detail != "" else "",
    )


def _text(given: object, where: str, problems: list[str]) -> str:
    if not isinstance(given, str):
        problems.append(f"{where}: this must be a text, not {_kind(given)}.")
        return ""
    text = unicodedata.normalize("NFC", given.replace("\r\n", "\n").replace("\r", "\n")).strip()
    if len(text) > TEXT_LIMIT:
        problems.append(f"{where}: the text has {len(text):,} characters; {TEXT_LIMIT:,} are allowed.")
    # Control characters would break the PDF's text, half surrogates cannot be encoded at all.
    bad = next((c for c in text if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t"), None)
    if bad is not None:
        problems.append(f"{where}: the character U+{ord(bad):04X} cannot be printed.")
    return text


def _kind(value: object) -> str:
    if value is None:
        return "null"
    names: dict[type, str] = {bool: "true or false", int: "a number", float: "a number", str: "a text", list: "a list"}
    return names.get(type(value), "an object")


def _short(text: object) -> str:
    """Somebody else's words, cut to a length that suits a sentence, without half surrogates."""
    clean = str(text).encode("utf-8", "replace").decode()
    return clean if len(clean) <= 40 else clean[:39] + "…"


def _did_you_mean(name: object, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(str(name).lower(), known, n=1)
    return f"; did you mean “{near[0]}”?" if near else "."
