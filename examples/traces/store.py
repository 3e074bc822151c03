"""The database of what was imported. A failed import leaves nothing: its rows come into it in one transaction, or not.

A worker gathers the spans of a file in a table of its own connection, which takes as long as it takes; ``publish`` then
copies all of them at once. So two workers never wait for one another, and the page never sees half a file.
"""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from .spans import Span

SCHEMA: Final = (Path(__file__).parent / "schema.sql").read_text()
IMPORTS: Final = 30  # that are listed, the newest
TRACES: Final = 12  # of an import, the slowest
DRAWN: Final = 300  # spans of a trace
WAIT_SECONDS: Final = 30.0  # for another worker's copying

_TRACES: Final = """
WITH ranked AS (
  SELECT *, row_number() OVER (PARTITION BY trace_id ORDER BY parent_id IS NOT NULL, start, span_id) AS place
  FROM arriving
)
INSERT INTO trace
SELECT ?, trace_id, max(CASE WHEN place = 1 THEN name END), max(CASE WHEN place = 1 THEN service END),
  min(start), max(start + duration) - min(start), count(*), sum(status = 'error')
FROM ranked GROUP BY trace_id
"""


class Store:
    """One connection to the database. Raises OSError where the disk does not do what it should."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with _disk():
            self._sql = sqlite3.connect(folder / "traces.db", timeout=WAIT_SECONDS, isolation_level=None)
            self._sql.row_factory = sqlite3.Row
            self._sql.executescript("PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON;" + SCHEMA)

    def close(self) -> None:
        """Lets go of it; what was gathered and not published is gone."""
        self._sql.close()

    # --- the worker's side ------------------------------------------------------------------------------------------

    def gather(self, spans: Iterable[Span]) -> int:
        """Keeps spans of the file under way; how many of them were new. The first one of an id counts."""
        rows = [
            (
                span.trace_id,
                span.span_id,
                span.parent_id,
                span.name,
                span.service,
                span.start,
                span.duration,
                span.status,
                json.dumps(dict(span.attributes)),
            )
            for span in spans
        ]
        with _disk(), self._transaction():
            before = self._sql.total_changes
            self._sql.executemany("INSERT OR IGNORE INTO arriving VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
            return self._sql.total_changes - before

    def publish(self, import_id: str, *, owner: str, name: str) -> dict[str, Any]:
        """All that was gathered becomes this import, in one transaction; what it holds, as ``summary``."""
        with _disk(), self._transaction():
            self._sql.execute("DELETE FROM import WHERE id = ?", (import_id,))  # of a worker that died at this point
            self._sql.execute("INSERT INTO import VALUES (?, ?, ?, ?, '{}')", (import_id, owner, name, time.time()))
            self._sql.execute("INSERT INTO span SELECT ?, * FROM arriving", (import_id,))
            self._sql.execute(_TRACES, (import_id,))
            summary = self._summary(import_id)
            self._sql.execute("UPDATE import SET summary = ? WHERE id = ?", (json.dumps(summary), import_id))
        return summary

    def delete(self, import_id: str) -> None:
        """Forgets an import and all of its rows."""
        with _disk():
            self._sql.execute("DELETE FROM import WHERE id = ?", (import_id,))

    def _summary(self, import_id: str) -> dict[str, Any]:
        traces = self._sql.execute("SELECT * FROM trace WHERE import_id = ? ORDER BY duration", (import_id,)).fetchall()
        durations = [trace["duration"] for trace in traces]
        spans, services = self._sql.execute("SELECT count(*), count(DISTINCT service) FROM arriving").fetchone()
        slowest = traces[-1]
        return {
            "traces": len(traces),
            "spans": spans,
            "services": services,
            "errors": sum(trace["errors"] for trace in traces),
            "p50_ms": percentile(durations, 50) / 1000,
            "p95_ms": percentile(durations, 95) / 1000,
            "slowest": {"trace_id": slowest["trace_id"], "name": slowest["name"], "ms": slowest["duration"] / 1000},
            "from_ms": min(trace["start"] for trace in traces) / 1000,
            "to_ms": max(trace["start"] + trace["duration"] for trace in traces) / 1000,
        }

    # --- the page's side --------------------------------------------------------------------------------------------

    def imports(self, owner: str) -> list[dict[str, Any]]:
        """The newest imports of a visitor."""
        rows = self._rows("SELECT * FROM import WHERE owner = ? ORDER BY imported_at DESC LIMIT ?", owner, IMPORTS)
        return [
            {
                "id": row["id"],
                "name": row["name"],
                "imported_ms": row["imported_at"] * 1000,
                "summary": json.loads(row["summary"]),
            }
            for row in rows
        ]

    def traces(self, owner: str, import_id: str, *, failed: bool) -> list[dict[str, Any]] | None:
        """The slowest traces of an import, or of those in which something failed; None where it is not theirs."""
        if not self._is_of(owner, import_id):
            return None
        rows = self._rows(
            "SELECT * FROM trace WHERE import_id = ? AND errors >= ? ORDER BY duration DESC, trace_id LIMIT ?",
            import_id,
            int(failed),
            TRACES,
        )
        return [
            {
                "trace_id": row["trace_id"],
                "name": row["name"],
                "service": row["service"],
                "start_ms": row["start"] / 1000,
                "ms": row["duration"] / 1000,
                "spans": row["spans"],
                "errors": row["errors"],
            }
            for row in rows
        ]

    def trace(self, owner: str, import_id: str, trace_id: str) -> list[dict[str, Any]]:
        """The first spans of one trace, each after its parent with its ``depth``; none where it is not theirs."""
        if not self._is_of(owner, import_id):
            return []
        rows = self._rows(
            "SELECT * FROM span WHERE import_id = ? AND trace_id = ? ORDER BY start, span_id LIMIT ?",
            import_id,
            trace_id,
            DRAWN,
        )
        start = min((row["start"] for row in rows), default=0)
        return [
            {
                "span_id": row["span_id"],
                "depth": depth,
                "name": row["name"],
                "service": row["service"],
                "at_ms": (row["start"] - start) / 1000,
                "ms": row["duration"] / 1000,
                "failed": row["status"] == "error",
                "attributes": json.loads(row["attributes"]),
            }
            for depth, row in _in_order(rows)
        ]

    def _is_of(self, owner: str, import_id: str) -> bool:
        return bool(self._rows("SELECT 1 FROM import WHERE id = ? AND owner = ?", import_id, owner))

    def _rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        with _disk():
            return self._sql.execute(query, values).fetchall()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._sql.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._sql.execute("COMMIT")
        finally:
            if self._sql.in_transaction:  # neither then
                self._sql.execute("ROLLBACK")


def percentile(ascending: Sequence[int], percent: float) -> int:
    """The smallest value that so many percent of all do not exceed."""
    return ascending[math.ceil(percent / 100 * len(ascending)) - 1]


def _in_order(rows: list[sqlite3.Row]) -> Iterator[tuple[int, sqlite3.Row]]:
    """Each span with its depth, children after their parent. One whose parent is not there, or is itself, is a root."""
    children: dict[str | None, list[sqlite3.Row]] = {}
    known = {row["span_id"] for row in rows}
    for row in rows:
        parent = row["parent_id"] if row["parent_id"] in known else None
        children.setdefault(parent, []).append(row)
    shown: set[str] = set()
    for first in [*children.get(None, []), *rows]:  # `rows`: those in a circle have no root
        stack = [(0, first)]
        while stack:
            depth, row = stack.pop()
            if row["span_id"] in shown:
                continue
            shown.add(row["span_id"])
            yield depth, row
            stack += [(depth + 1, child) for child in reversed(children.get(row["span_id"], []))]


@contextlib.contextmanager
def _disk() -> Iterator[None]:
    """SQLite's own faults are the disk's: full, locked for too long, not writable."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OSError(f"The database: {error}") from error
