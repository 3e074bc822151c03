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

from .pages import refused, same_origin
from .site import Site

TOKEN_COOKIE: Final = "milepost_token"
_MONTH: Final = 30 * 86_400


class Visitors:
    """Signs visitors in, recognises them, gives them tokens."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._cookie = f"{site.name}_visitor"
        self._key = hmac.digest(site.secret.encode(), f"{site.name}: visitors".encode(), "sha256")

    def known(self, request: Request) -> str | None:
        """The visitor's id, None without a cookie that we signed."""
        visitor, _, signature = request.cookies.get(self._cookie, "").partition(".")
        return visitor if hmac.compare_digest(signature.encode(), self._sign(visitor).encode()) else None

    def sign_in(self, request: Request, response: Response) -> str:
        """Puts both cookies on an answer; a visitor who is not known yet gets an id."""
        visitor = self.known(request) or f"visitor-{secrets.token_hex(4)}"
        site = self._site
        token = issue_token(site.secret, user=visitor, tenant=site.name, ttl=site.token_seconds)
        for name, value in ((self._cookie, f"{visitor}.{self._sign(visitor)}"), (TOKEN_COOKIE, token)):
            response.set_cookie(
                name,
                value,
                max_age=_MONTH,
                path=site.prefix,
                httponly=True,
                samesite="lax",
                secure=request.url.scheme == "https",
            )
        return visitor

    async def session(self, request: Request) -> Response:
        """A new token for the hub, for a visitor who is known."""
        if self.known(request) is None:
            return refused(401, "You are not signed in; load the page again.")
        if not same_origin(request):
            return refused(403, "This must come from our own page.")
        response = Response(status_code=204)
        self.sign_in(request, response)
        return response

    async def sign_out(self, request: Request) -> Response:
        """Forgets the visitor in this browser; the next look is another visitor's."""
        if not same_origin(request):
            return refused(403, "This must come from our own page.")
        response = RedirectResponse(f"{self._site.prefix}/", status_code=303)
        for name in (self._cookie, TOKEN_COOKIE):
            response.delete_cookie(name, path=self._site.prefix, httponly=True, samesite="lax")
        return response

    def _sign(self, visitor: str) -> str:
        return hmac.new(self._key, visitor.encode(), hashlib.sha256).hexdigest()
