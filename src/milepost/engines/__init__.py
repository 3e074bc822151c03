"""The stores that Milepost can stand on, chosen by the scheme of a URL. Nothing else imports an engine."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, Final, Protocol, runtime_checkable
from urllib.parse import unquote, urlsplit

from milepost.engine import Engine, Write
from milepost.errors import Invalid

__all__ = ["JoinsTransactions", "open_engine"]

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


def open_engine(url: str) -> Engine:
    """Open the store that a URL names and return its engine, ready for use from any thread and event loop.

    ``sqlite:///relative.db`` · ``sqlite:////absolute.db``: a file on this host, made where it is missing.
    ``postgresql://user:password@host/database``: as libpq understands it; connects when it is first used.
    ``redis://user:password@host:port/number`` · ``rediss://…``, with TLS · ``valkey://`` and ``valkeys://``, the same:
    connects when it is first used; one server of a cluster names the cluster.

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
    from milepost.engines.sqlite import SqliteEngine

    return SqliteEngine(path)


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
