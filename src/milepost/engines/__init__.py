"""The stores that Milepost can stand on, chosen by the scheme of a URL. Nothing else imports an engine."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable
from urllib.parse import unquote, urlsplit

from milepost.engine import Engine, Write
from milepost.errors import Invalid

__all__ = ["Family", "JoinsTransactions", "WritesForOthers", "open_engine"]

_REDIS: Final = ("redis", "rediss", "valkey", "valkeys")
_SCHEMES: Final = ("sqlite", "postgresql", *_REDIS)


@runtime_checkable
class JoinsTransactions(Protocol):
    """An engine in whose store an application has tables of its own."""

    def commit_in(self, connection: Any, tenant: str, writes: Sequence[Write]) -> Coroutine[Any, Any, None] | None:
        """Commit in the transaction that a connection of the application is in; awaited where that is async.

        The writes get their revisions after that commit; one whose ``replaces`` does not hold by then is dropped.
        """
        ...


@runtime_checkable
class WritesForOthers(Protocol):
    """An engine in the one process of a family that writes for the others."""

    async def receive(self) -> None:
        """Begin to, on this event loop, until the engine is closed."""
        ...


@dataclass(frozen=True, slots=True)
class Family:
    """Which of the processes of one server this is.

    ``folder`` is theirs and open to nobody else; ``number`` counts from 0. At the end number 0 waits up to ``patience``
    seconds for the others.
    """

    folder: Path
    number: int
    patience: float


def open_engine(url: str, family: Family | None = None) -> Engine:
    """Open the store that a URL names and return its engine, ready for use from any thread and event loop.

    ``sqlite:///relative.db`` · ``sqlite:////absolute.db``: a file on this host, made where it is missing.
    ``postgresql://user:password@host/database``: as libpq understands it; connects when it is first used.
    ``redis://user:password@host:port/number`` · ``rediss://…``, with TLS · ``valkey://`` and ``valkeys://``, the same:
    connects when it is first used; one server of a cluster names the cluster.

    Of the processes of a ``family`` on SQLite number 0 writes, the others forward to it.

    Raises ``Invalid`` for a URL that no engine understands, ``Unavailable`` where the store cannot be opened. The
    driver is imported here, so only the one that is used has to be installed.
    """
    parts = urlsplit(url)
    if parts.scheme in ("postgresql", "postgres"):
        return _open_postgres(url)
    if parts.scheme in _REDIS:
        return _open_redis(url)
    if parts.scheme != "sqlite":
        raise Invalid(f"no engine for {parts.scheme or url!r}; known: {', '.join(_SCHEMES)}", field="engine")
    path = unquote(parts.path.removeprefix("/"))
    if parts.netloc or parts.query or parts.fragment:
        raise Invalid(
            "a SQLite URL is a path and nothing else: sqlite:///relative.db or sqlite:////absolute.db", field="engine"
        )
    if not path or path.startswith(":memory:"):
        raise Invalid(
            "SQLite needs a file, since every connection to memory would see a store of its own:"
            " sqlite:///relative.db or sqlite:////absolute.db",
            field="engine",
        )
    if family is not None:
        return _open_forwarding(path, family)
    from milepost.engines.sqlite import SqliteEngine

    return SqliteEngine(path)


def _open_forwarding(path: str, family: Family) -> Engine:
    from milepost.engines.sqlite.forwarding import AppointedEngine, ForwardingEngine

    socket = family.folder / "writer"
    if family.number:
        return ForwardingEngine(path, socket)
    return AppointedEngine(path, socket, patience=family.patience)


def _open_postgres(url: str) -> Engine:
    try:
        from milepost.engines.postgres import PostgresEngine
    except ModuleNotFoundError as error:
        raise Invalid(f"PostgreSQL needs {error.name}: pip install 'milepost[postgres]'", field="engine") from None
    return PostgresEngine(url)


def _open_redis(url: str) -> Engine:
    try:
        from milepost.engines.redis import RedisEngine
    except ModuleNotFoundError as error:
        raise Invalid(f"Redis needs {error.name}: pip install 'milepost[redis]'", field="engine") from None
    return RedisEngine(url)
