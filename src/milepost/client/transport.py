"""The one seam between a client's rules and how its words travel: ``Transport``, chosen by the URL's scheme.

``http`` and ``https`` lead to a server, every other scheme straight into an engine. Both take the same verbs and fields
and raise the same errors, so nothing above this line knows which it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

import orjson

from milepost.errors import Invalid, MilepostError, RateLimited, Unavailable

Verb = Literal["start", "advance", "complete", "fail", "cancel", "notify"]
Token = str | Callable[[], str | Awaitable[str]]


class Transport(Protocol):
    """Carries one verb once. No retries, no memory: those belong to ``line``. Use within one event loop."""

    async def send(
        self, verb: Verb, fields: Mapping[str, Any], *, job: str | None = None, key: str | None = None
    ) -> dict[str, Any]:
        """The answer's JSON, as contract section 2 has it. ``key`` makes repeating it harmless.

        Raises ``Unavailable`` where there was no answer (the outcome is then unknown), or what the answer stands for.
        """
        ...

    async def close(self) -> None:
        """Let go of connections. Idempotent."""
        ...


def open_transport(url: str, *, token: Token | None, tenant: str) -> Transport:
    """The transport that a URL asks for. Connects to nothing yet. Raises ``Invalid``."""
    if is_http(url):
        from .http import HttpTransport

        return HttpTransport(url, token=token)
    from .direct import DirectTransport

    return DirectTransport(url, tenant=tenant)


def is_http(url: str) -> bool:
    """Whether the URL names a server rather than an engine."""
    return urlsplit(url).scheme in {"http", "https"}


def check_url(url: str) -> None:
    """Raise ``Invalid`` for a URL that can never work, before the work has begun rather than in its middle."""
    parts = urlsplit(url)
    if "://" not in url:
        raise Invalid("url: must be a server's address or an engine's URL", field="url")
    if is_http(url) and (not parts.hostname or "@" in parts.netloc or parts.query or parts.fragment):
        raise Invalid("url: must be a server's address such as https://live.example", field="url")


def is_passing(error: MilepostError) -> bool:
    """Whether the same request may succeed later."""
    return isinstance(error, Unavailable | RateLimited)


def encode(fields: Mapping[str, Any]) -> bytes:
    """Fields as JSON. Raises ``Invalid`` where they hold something that is not JSON."""
    try:
        return orjson.dumps(fields)
    except orjson.JSONEncodeError as error:
        raise Invalid(f"not JSON: {error}") from None
