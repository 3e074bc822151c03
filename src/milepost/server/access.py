"""Who asks: from a request to an Identity, by header, cookie, ticket or query, or by the application's own sign-in."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Final, NamedTuple

from starlette.requests import HTTPConnection

from milepost.errors import Forbidden, Unauthenticated
from milepost.model import Identity
from milepost.server.services import Services

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_FROM_BROWSERS: Final = frozenset({"cookie", "origin", "sec-fetch-site"})


class Asker(NamedTuple):
    """An identity, and the jobs that its ticket narrows the stream to (() = not narrowed)."""

    identity: Identity
    only: tuple[str, ...] = ()


async def identify(connection: HTTPConnection, services: Services, *, stream: bool = False) -> Asker:
    """Raises Unauthenticated, Forbidden (``origin_refused``), Unavailable (keys that cannot be fetched).

    The application's own sign-in goes first. ``Authorization`` goes before the cookie, which a browser sends whether
    it was meant or not. A credential in the URL counts on stream routes only, and not beside a header.
    """
    if services.sign_in is not None:
        signed_in = services.sign_in(connection)
        if inspect.isawaitable(signed_in):
            signed_in = await signed_in
        if signed_in is not None:
            # how it knows them is its own affair; a request that no browser can have made needs no origin
            if not _FROM_BROWSERS.isdisjoint(connection.headers.keys()):
                check_origin(connection, services.settings.allowed_origins)
            return Asker(signed_in)
    headers = connection.headers.getlist("authorization")
    in_url: list[str] = []
    if stream:
        query = connection.query_params
        in_url = [name for name in ("ticket", "token") if query.get(name)]
    if len(headers) + len(in_url) > 1 or any(len(query.getlist(name)) > 1 for name in in_url):
        raise Unauthenticated("The request carries more than one credential.", code="token_malformed")
    if in_url == ["ticket"]:
        return Asker(*await services.tickets.redeem(query["ticket"]))
    cookie = None if headers or in_url else connection.cookies.get(services.settings.cookie_name)
    if services.verifier is None or not (headers or in_url or cookie):
        raise Unauthenticated
    if headers:
        return Asker(await services.verifier.authenticate(bearer(headers[0])))
    if in_url:
        return Asker(await services.verifier.authenticate(query["token"], query=True))
    identity = await services.verifier.authenticate(cookie or "")
    check_origin(connection, services.settings.allowed_origins)
    return Asker(identity)


def bearer(authorization: str) -> str:
    """The token in an ``Authorization``. Raises Unauthenticated."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("Authorization must be a Bearer token.", code="token_malformed")
    return token.strip()


def check_origin(connection: HTTPConnection, allowed: Sequence[str]) -> None:
    """A cookie speaks for the user only from our own origin or an allowed one. Raises Forbidden.

    Browsers send ``Origin`` with every unsafe request and with every cross-origin fetch; where a safe request has
    none, ``Sec-Fetch-Site`` tells. The host is compared, not the scheme, which a proxy in front may have changed.
    """
    origin = connection.headers.get("origin")
    if origin is None:
        site = connection.headers.get("sec-fetch-site", "same-origin")
        if connection.scope["method"] in SAFE_METHODS and site in ("same-origin", "none", "same-site"):
            return
        if site == "same-origin" and "sec-fetch-site" in connection.headers:
            return
        raise Forbidden(code="origin_refused")
    if origin in allowed:
        return
    # not by a parser of URLs, which raises for some of what can be sent here
    site = origin.partition("://")[2].lower()
    if not site or site != connection.headers.get("host", "").lower():
        raise Forbidden(code="origin_refused")
