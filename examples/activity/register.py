"""The register: every visitor's documents with their versions, and what was found in them. One SQLite file.

Pages and workers open it for themselves; every method is one transaction. It may wait for a disk, so pages call it in a
thread.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FILE_LIMIT: Final = 512 * 1024  # bytes
DOCUMENTS: Final = 30  # of one visitor
VERSIONS: Final = 20  # of one document
RUNS: Final = 200  # listed at once
WAIT_SECONDS: Final = 10.0  # for another process that writes

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS documents (
  id TEXT PRIMARY KEY, owner TEXT NOT NULL, name TEXT NOT NULL, created_at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS documents_of ON documents (owner, created_at);
CREATE TABLE IF NOT EXISTS versions (
  document TEXT NOT NULL REFERENCES documents ON DELETE CASCADE, number INTEGER NOT NULL,
  file BLOB NOT NULL, added_at REAL NOT NULL, PRIMARY KEY (document, number));
CREATE TABLE IF NOT EXISTS runs (
  job TEXT PRIMARY KEY, document TEXT NOT NULL REFERENCES documents ON DELETE CASCADE,
  kind TEXT NOT NULL, version INTEGER NOT NULL, asked_at REAL NOT NULL, summary TEXT, result TEXT);
CREATE INDEX IF NOT EXISTS runs_of ON runs (document, asked_at);
"""

_RUN: Final = "job, document, kind, version, asked_at, summary FROM runs JOIN documents ON id = document"


class Refused(Exception):
    """Something that the register does not take; the message is a sentence."""


@dataclass(frozen=True, slots=True)
class Version:
    """One state of a document. ``size`` is in bytes, ``added_at`` in seconds since 1970."""

    number: int
    size: int
    added_at: float


@dataclass(frozen=True, slots=True)
class Run:
    """One job on a document: ``summary``, what it found in one line, is None until it has completed."""

    job: str
    document: str
    kind: str
    version: int
    asked_at: float
    summary: str | None


@dataclass(frozen=True, slots=True)
class Document:
    """A document with its versions, the newest first."""

    id: str
    name: str
    created_at: float
    versions: tuple[Version, ...]

    @property
    def newest(self) -> Version:
        """Its present state."""
        return self.versions[0]


class Register:
    """See the module. ``folder`` is the example's own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "register.db"
        store = sqlite3.connect(self._path, timeout=WAIT_SECONDS)
        store.execute("PRAGMA journal_mode = WAL")
        store.executescript(_SCHEMA)
        store.close()

    @contextmanager
    def _transaction(self, how: str = "DEFERRED") -> Iterator[sqlite3.Connection]:
        # A connection for each: a thread of the pages' pool never meets another one's.
        store = sqlite3.connect(self._path, timeout=WAIT_SECONDS, isolation_level=None)
        try:
            store.execute("PRAGMA foreign_keys = ON")
            store.execute(f"BEGIN {how}")
            yield store
            store.execute("COMMIT")
        finally:
            store.close()

    # --- documents ------------------------------------------------------------------------------------------------

    def add(self, owner: str, name: str, file: bytes) -> str:
        """Takes a new document in; its id. Raises Refused."""
        document, now = f"doc-{secrets.token_hex(6)}", time.time()
        with self._transaction("IMMEDIATE") as store:
            (count,) = store.execute("SELECT count(*) FROM documents WHERE owner = ?", (owner,)).fetchone()
            if count >= DOCUMENTS:
                raise Refused(f"There are {DOCUMENTS} documents already. Delete one first.")
            store.execute("INSERT INTO documents VALUES (?, ?, ?, ?)", (document, owner, name, now))
            store.execute("INSERT INTO versions VALUES (?, 1, ?, ?)", (document, file, now))
        return document

    def add_version(self, owner: str, document: str, file: bytes) -> int | None:
        """Takes a document's next version in; its number, None where the owner has no such document. Raises Refused."""
        with self._transaction("IMMEDIATE") as store:
            found = self._document(store, owner, document)
            if found is None:
                return None
            if len(found.versions) >= VERSIONS:
                raise Refused(f"A document has at most {VERSIONS} versions.")
            number = found.newest.number + 1
            store.execute("INSERT INTO versions VALUES (?, ?, ?, ?)", (document, number, file, time.time()))
        return number

    def delete(self, owner: str, document: str) -> bool:
        """Removes a document with all its versions and results; False where the owner has none of this id."""
        with self._transaction("IMMEDIATE") as store:
            return store.execute("DELETE FROM documents WHERE id = ? AND owner = ?", (document, owner)).rowcount > 0

    def forget(self, older_than: float) -> None:
        """Removes the documents that had neither a new version nor a job for so many seconds."""
        since = time.time() - older_than
        with self._transaction("IMMEDIATE") as store:
            store.execute(
                "DELETE FROM documents WHERE created_at < :since"
                " AND id NOT IN (SELECT document FROM versions WHERE added_at >= :since)"
                " AND id NOT IN (SELECT document FROM runs WHERE asked_at >= :since)",
                {"since": since},
            )

    def find(self, owner: str, document: str) -> Document | None:
        """One document of the owner's."""
        with self._transaction() as store:
            return self._document(store, owner, document)

    def all(self, owner: str) -> list[Document]:
        """The owner's documents, the newest first."""
        with self._transaction() as store:
            ids = store.execute("SELECT id FROM documents WHERE owner = ? ORDER BY created_at DESC", (owner,))
            return [found for (name,) in ids.fetchall() if (found := self._document(store, owner, name))]

    def file(self, owner: str, document: str, version: int) -> bytes | None:
        """The bytes of one version."""
        with self._transaction() as store:
            row = store.execute(
                "SELECT file FROM versions JOIN documents ON id = document WHERE id = ? AND owner = ? AND number = ?",
                (document, owner, version),
            ).fetchone()
        return row[0] if row else None

    def _document(self, store: sqlite3.Connection, owner: str, document: str) -> Document | None:
        row = store.execute(
            "SELECT id, name, created_at FROM documents WHERE id = ? AND owner = ?", (document, owner)
        ).fetchone()
        versions = store.execute(
            "SELECT number, length(file), added_at FROM versions WHERE document = ? ORDER BY number DESC", (document,)
        )
        return Document(row[0], row[1], row[2], tuple(Version(*version) for version in versions)) if row else None

    # --- what was asked of them -----------------------------------------------------------------------------------

    def ask(self, job: str, document: str, kind: str, version: int) -> None:
        """Notes that a job was begun on a document. The same job twice is one."""
        with self._transaction("IMMEDIATE") as store:
            store.execute(
                "INSERT OR IGNORE INTO runs VALUES (?, ?, ?, ?, ?, NULL, NULL)",
                (job, document, kind, version, time.time()),
            )

    def keep(self, job: str, summary: str, result: dict[str, Any]) -> None:
        """Keeps what a job found."""
        with self._transaction("IMMEDIATE") as store:
            store.execute("UPDATE runs SET summary = ?, result = ? WHERE job = ?", (summary, json.dumps(result), job))

    def runs(self, owner: str, document: str = "") -> list[Run]:
        """What the owner asked for, the newest first: of one document, or of all."""
        with self._transaction() as store:
            rows = store.execute(
                f"SELECT {_RUN} WHERE owner = ? AND (document = ? OR ? = '') ORDER BY asked_at DESC LIMIT ?",
                (owner, document, document, RUNS),
            ).fetchall()
        return [Run(*row) for row in rows]

    def run(self, owner: str, job: str) -> Run | None:
        """One of them by its job."""
        with self._transaction() as store:
            row = store.execute(f"SELECT {_RUN} WHERE owner = ? AND job = ?", (owner, job)).fetchone()
        return Run(*row) if row else None

    def found(self, document: str, kind: str) -> tuple[int, dict[str, Any]] | None:
        """The version that a kind of job has last been done with, and all that it found there."""
        with self._transaction() as store:
            row = store.execute(
                "SELECT version, result FROM runs WHERE document = ? AND kind = ? AND result IS NOT NULL"
                " ORDER BY asked_at DESC LIMIT 1",
                (document, kind),
            ).fetchone()
        return (row[0], json.loads(row[1])) if row else None
