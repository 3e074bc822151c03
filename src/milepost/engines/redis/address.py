"""What a Redis URL says: where, as whom, and what an acknowledged commit has to survive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, cast, get_args
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

from redis.asyncio.connection import Connection, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from milepost.errors import Invalid, Unavailable

Durability = Literal["relaxed", "strict", "replicated"]

SCHEMES: Final[Mapping[str, str]] = {"redis": "redis", "rediss": "rediss", "valkey": "redis", "valkeys": "rediss"}
CHANNEL: Final = b"mp:hint"


def away(message: str) -> Unavailable:
    """The one error that leaves this engine when Redis does not answer."""
    return Unavailable(message, code="engine_away", retry_after=1.0)


@dataclass(frozen=True, slots=True)
class Node:
    """One Redis server."""

    host: str
    port: int

    def __str__(self) -> str:
        """As people write it."""
        return f"{self.host}:{self.port}"


class Address:
    """A parsed URL. Raises ``Invalid`` for one that cannot be meant; never shows the password."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        query = parse_qs(parts.query, keep_blank_values=True)
        durability = query.pop("durability", ["relaxed"])[-1]
        if durability not in get_args(Durability):
            raise Invalid(f"durability is one of: {', '.join(get_args(Durability))}", field="engine")
        self.durability = cast("Durability", durability)
        if odd := [name for name in query if not name.startswith("ssl_")]:
            raise Invalid(f"a Redis URL has no parameter {odd[0]!r}; it has durability and ssl_…", field="engine")
        path = parts.path.strip("/")
        if not parts.hostname or parts.fragment or (path and not path.isdecimal()):
            raise Invalid("a Redis URL is redis://user:password@host:port/number", field="engine")
        plain = parts._replace(scheme=SCHEMES[parts.scheme], query=urlencode(query, doseq=True))
        try:
            self._arguments: dict[str, Any] = dict(parse_url(urlunsplit(plain)))
            self._class: type[Connection] = self._arguments.pop("connection_class", Connection)
            self.node = Node(self._arguments.pop("host"), self._arguments.pop("port", 6379))
            self.connection(self.node)
        except (TypeError, ValueError) as error:
            raise Invalid(f"a Redis URL that cannot be read: {error}", field="engine") from None
        self.db: int = self._arguments.get("db", 0)

    def connection(self, node: Node) -> Connection:
        """A connection that nobody has opened yet. It tries nothing twice: what may be repeated is decided above it."""
        kind = SSLConnection if self._class is SSLConnection else Connection
        return kind(
            host=node.host,
            port=node.port,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,  # each round has one deadline for all that it does
            socket_connect_timeout=None,
            driver_info=None,
            **self._arguments,
        )

    @property
    def channel(self) -> bytes:
        """Where hints are published: channels know no databases."""
        return CHANNEL + (b":%d" % self.db if self.db else b"")
