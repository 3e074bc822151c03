"""Who is looking: a visitor gets a name of its own on the first look, kept in a signed cookie.

An application has sessions of its own and makes short-lived tokens for the hub from them; so does this one. The hub's
token is in a second cookie that no script can read, and ``/session`` makes a new one when it has expired.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from milepost.auth import issue_token

COOKIE: Final = "documents_visitor"
TOKEN_COOKIE: Final = "milepost_token"
_MONTH: Final = 30 * 86_400


class Visitors:
    """Signs visitors in, recognises them, gives them tokens."""

    def __init__(self, secret: str, *, token_seconds: float) -> None:
        self._secret = secret
        self._key = hmac.digest(secret.encode(), b"documents: visitors", "sha256")
        self._token_seconds = token_seconds

    def known(self, request: Request) -> str | None:
        """The visitor's id, None without a cookie that we signed."""
        visitor, _, signature = request.cookies.get(COOKIE, "").partition(".")
        return visitor if hmac.compare_digest(signature.encode(), self._sign(visitor).encode()) else None

    def sign_in(self, response: Response, visitor: str | None, *, secure: bool) -> str:
        """Puts both cookies on an answer; a visitor who is not known yet gets an id."""
        visitor = visitor or f"visitor-{secrets.token_hex(4)}"
        token = issue_token(self._secret, user=visitor, ttl=self._token_seconds)
        for name, value in ((COOKIE, f"{visitor}.{self._sign(visitor)}"), (TOKEN_COOKIE, token)):
            response.set_cookie(name, value, max_age=_MONTH, httponly=True, samesite="lax", secure=secure)
        return visitor

    def sign_out(self, response: Response) -> None:
        """Takes both cookies away."""
        for name in (COOKIE, TOKEN_COOKIE):
            response.delete_cookie(name, httponly=True, samesite="lax")

    def _sign(self, visitor: str) -> str:
        return hmac.new(self._key, visitor.encode(), hashlib.sha256).hexdigest()
