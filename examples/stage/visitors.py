"""Who is looking: a visitor gets a name of its own on the first look, kept in a signed cookie.

An application has sessions of its own and makes short-lived tokens for the hub from them; so do these. The hub's token
is in a second cookie that no script can read, and ``session`` makes a new one when it has expired. Both are for the
example's own prefix, so that the same browser is somebody else in each example.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from milepost.auth import issue_token

from .pages import refused
from .site import Site

TOKEN_COOKIE: Final = "milepost_token"
NOT_SIGNED_IN: Final = "You are not signed in; load the page again."
_MONTH: Final = 30 * 86_400


class SignedIn:
    """Two cookies for an example's prefix: one that says who it is, signed, and the hub's token."""

    def __init__(self, site: Site, what: str) -> None:
        self._site = site
        self._cookie = f"{site.name}_{what}"
        self._key = hmac.digest(site.secret.encode(), f"{site.name}: {what}s".encode(), "sha256")

    def said(self, request: Request) -> str | None:
        """Who it is, None without a cookie that we signed."""
        said, _, signature = request.cookies.get(self._cookie, "").rpartition(".")
        return said if hmac.compare_digest(signature.encode(), self._sign(said).encode()) else None

    def admit(self, request: Request, response: Response, said: str, token: str) -> None:
        """Puts both cookies on an answer."""
        for name, value in ((self._cookie, f"{said}.{self._sign(said)}"), (TOKEN_COOKIE, token)):
            response.set_cookie(
                name,
                value,
                max_age=_MONTH,
                path=self._site.prefix,
                httponly=True,
                samesite="lax",
                secure=request.url.scheme == "https",
            )

    async def sign_out(self, _request: Request) -> Response:
        """Forgets in this browser who it was."""
        response = RedirectResponse(f"{self._site.prefix}/", status_code=303)
        for name in (self._cookie, TOKEN_COOKIE):
            response.delete_cookie(name, path=self._site.prefix, httponly=True, samesite="lax")
        return response

    def _sign(self, said: str) -> str:
        return hmac.new(self._key, said.encode(), hashlib.sha256).hexdigest()


class Visitors:
    """Signs visitors in, recognises them, gives them tokens."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._signed_in = SignedIn(site, "visitor")
        self.known = self._signed_in.said  # the visitor's id
        self.sign_out = self._signed_in.sign_out  # the next look is another visitor's

    def welcome(self, request: Request) -> str:
        """The visitor's id, a new one for who is not known yet: to be followed by ``sign_in``."""
        return self.known(request) or f"visitor-{secrets.token_hex(4)}"

    def sign_in(self, request: Request, response: Response, visitor: str) -> None:
        """Puts who it is and a token for the hub on an answer."""
        site = self._site
        token = issue_token(site.secret, user=visitor, tenant=site.name, ttl=site.token_seconds)
        self._signed_in.admit(request, response, visitor, token)

    async def session(self, request: Request) -> Response:
        """A new token for the hub, for a visitor who is known."""
        visitor = self.known(request)
        if visitor is None:
            return refused(401, NOT_SIGNED_IN)
        response = Response(status_code=204)
        self.sign_in(request, response, visitor)
        return response
