"""Where bills of materials lie, and what was found of their parts: a folder for each, below its owner's.

boms/<organization>/<owner>/<id>/   bom.json · run · rows-<attempt>.jsonl · enriched.csv
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .boms import Line

KEPT: Final = 50  # of one owner
KEEP_SECONDS: Final = 7 * 86_400.0  # without a run; with one it is its run that is forgotten
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")

_ENRICHED: Final = (
    "mpn",
    "manufacturer",
    "description",
    "package",
    "lifecycle",
    "rohs",
    "stock",
    "unit_price",
    "price",
)
_HEAD: Final = (
    *("Line", "Designator", "MPN", "Quantity", "Manufacturer", "Description", "Status", "Message"),
    *("Catalogue MPN", "Catalogue manufacturer", "Catalogue description", "Package", "Lifecycle", "RoHS", "Stock"),
    *("Unit price EUR", "Price EUR"),
)


@dataclass(frozen=True, slots=True)
class Bom:
    """A bill of materials of somebody's. ``attempt``: of its newest run, 0 where there was none."""

    id: str
    name: str
    lines: tuple[Line, ...]
    created_at: float
    attempt: int = 0

    def summary(self) -> dict[str, Any]:
        """What a list of them says."""
        return {"id": self.id, "name": self.name, "parts": len(self.lines), "attempt": self.attempt}

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {**self.summary(), "lines": [line.to_json() for line in self.lines]}


class Full(Exception):
    """There is no room for another one."""


class Shelf:
    """What one person has in one organisation."""

    def __init__(self, folder: Path, organization: str, owner: str) -> None:
        assert _ID.fullmatch(organization)
        assert _ID.fullmatch(owner)
        self._folder = folder / "boms" / organization / owner

    def add(self, bom_id: str, name: str, lines: tuple[Line, ...]) -> Bom:
        """Stores one; what is there under this id stays as it is. Raises Full."""
        there = self.find(bom_id)
        if there is not None:
            return there
        for bom in self.all():
            if not bom.attempt and bom.created_at < time.time() - KEEP_SECONDS:
                self.delete(bom.id)
        if len(self.all()) >= KEPT:
            raise Full
        bom = Bom(bom_id, name, lines, time.time())
        self._path(bom_id).mkdir(parents=True, exist_ok=True)
        stored = {"name": name, "created_at": bom.created_at, "lines": [line.to_json() for line in lines]}
        _write(self._path(bom_id) / "bom.json", json.dumps(stored))
        return bom

    def find(self, bom_id: str) -> Bom | None:
        """One of them."""
        if not _ID.fullmatch(bom_id):
            return None
        try:
            stored = json.loads((self._path(bom_id) / "bom.json").read_bytes())
        except FileNotFoundError:
            return None
        lines = tuple(Line(**line) for line in stored["lines"])
        return Bom(bom_id, stored["name"], lines, stored["created_at"], self._attempt(bom_id))

    def all(self) -> list[Bom]:
        """All of them, the newest first."""
        if not self._folder.is_dir():
            return []
        found = [bom for path in self._folder.iterdir() if (bom := self.find(path.name))]
        return sorted(found, key=lambda bom: bom.created_at, reverse=True)

    def began(self, bom_id: str, attempt: int) -> None:
        """A run of it has begun."""
        if attempt > self._attempt(bom_id):
            _write(self._path(bom_id) / "run", str(attempt))

    def rows(self, bom_id: str, attempt: int, start: int = 0) -> list[dict[str, Any]]:
        """What an attempt has found so far, from its row ``start`` on. The last words of a killed worker are no row."""
        try:
            data = (self._path(bom_id) / f"rows-{attempt}.jsonl").read_bytes()
        except FileNotFoundError:
            return []
        return [json.loads(row) for row in data.split(b"\n")[start:-1]]

    def record(self, bom_id: str, attempt: int) -> Record:
        """To go on writing what an attempt finds."""
        return Record(self._path(bom_id) / f"rows-{attempt}.jsonl")

    def finish(self, bom: Bom, rows: list[dict[str, Any]]) -> None:
        """Makes the file to download: the same rows give the same bytes. Raises OSError."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\r\n")
        writer.writerow(_HEAD)
        for line, row in zip(bom.lines, rows, strict=True):
            given = (line.number, line.designator, line.mpn, line.quantity, line.manufacturer, line.description)
            cells = (*given, row["status"], row["message"], *(row.get(name, "") for name in _ENRICHED))
            writer.writerow([_cell(cell) for cell in cells])
        _write(self._path(bom.id) / "enriched.csv", "\N{BYTE ORDER MARK}" + text.getvalue())

    def file(self, bom_id: str) -> Path | None:
        """The file to download, once there is one."""
        path = self._path(bom_id) / "enriched.csv"
        return path if _ID.fullmatch(bom_id) and path.is_file() else None

    def delete(self, bom_id: str) -> None:
        """Removes one."""
        shutil.rmtree(self._path(bom_id), ignore_errors=True)

    def _path(self, bom_id: str) -> Path:
        return self._folder / bom_id

    def _attempt(self, bom_id: str) -> int:
        with contextlib.suppress(FileNotFoundError):
            return int((self._path(bom_id) / "run").read_text())
        return 0


class Record:
    """The rows of one attempt, one after the other; what a killed worker left is read back."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab+")
        self._file.seek(0)
        data = self._file.read()
        whole = data.rfind(b"\n") + 1
        self._file.truncate(whole)  # half a row, of a worker that was killed
        self.rows: list[dict[str, Any]] = [json.loads(row) for row in data[:whole].splitlines()]

    def add(self, row: dict[str, Any]) -> None:
        """One more, at once for everybody to see. Raises OSError."""
        self._file.write(json.dumps(row).encode() + b"\n")
        self._file.flush()
        self.rows.append(row)

    def close(self) -> None:
        """No more of them."""
        self._file.close()


def _cell(value: object) -> str:
    """As a cell: what a spreadsheet would take for a formula is text."""
    text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _write(path: Path, text: str) -> None:
    """Whole or not at all. Raises OSError."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with beside.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
