"""Who is looking, and for which organisation: chosen at sign-in, kept in a signed cookie.

The tenant of the hub's token is the organisation: what is of the one does not exist in the other. A page holds its own
token, so that an open one stays in its organisation when the browser signs in to the other; the cookie of the same name
is for what is not a page of ours, such as a browser's own EventSource.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from milepost.auth import issue_token

from ..stage.pages import TooLarge, body, refused, same_origin
from ..stage.site import Site
from ..stage.visitors import TOKEN_COOKIE

ORGANIZATIONS: Final = {"bom-northwind": "Northwind Instruments", "bom-harbor": "Harbor Robotics"}

_COOKIE: Final = "bom_member"
_MONTH: Final = 30 * 86_400


@dataclass(frozen=True, slots=True)
class Member:
    """A person in an organisation, which is a tenant of the hub."""

    id: str
    organization: str


class Members:
    """Signs people in, recognises them, gives them tokens."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._key = hmac.digest(site.secret.encode(), b"bom: members", "sha256")

    def known(self, request: Request) -> Member | None:
        """Who it is, None without a cookie that we signed."""
        said, _, signature = request.cookies.get(_COOKIE, "").rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(said).encode()):
            return None
        member, _, organization = said.partition(".")
        return Member(member, organization)

    async def sign_in(self, request: Request) -> Response:
        """Into the organisation of the form (``organization``); who is known stays who they are."""
        if not same_origin(request):
            return refused(403, "This must come from our own page.")
        try:
            form = parse_qs((await body(request, 1024)).decode())
        except (TooLarge, ValueError):
            form = {}
        organization = form.get("organization", [""])[0]
        if organization not in ORGANIZATIONS:
            return refused(422, "Choose one of the organisations.")
        known = self.known(request)
        response = RedirectResponse(f"{self._site.prefix}/", status_code=303)
        self._admit(request, response, Member(known.id if known else f"user-{secrets.token_hex(4)}", organization))
        return response

    async def session(self, request: Request) -> Response:
        """A new token for the hub (``{"token": …}``), for a page that names the organisation it is in.

        Refused where that is not the one that this browser is signed in to any more: a page of the one must never be
        shown what is of the other.
        """
        member = self.known(request)
        if member is None:
            return refused(401, "You are not signed in; load the page again.")
        if not same_origin(request):
            return refused(403, "This must come from our own page.")
        try:
            named = (await body(request, 1024)).decode()
        except (TooLarge, ValueError):
            named = ""
        if named != member.organization:
            return refused(409, "You have changed to another organisation; load the page again.")
        response = JSONResponse({"token": self.token(member)}, headers={"cache-control": "no-store"})
        self._admit(request, response, member)
        return response

    def token(self, member: Member) -> str:
        """With which their page may listen to the hub; its tenant is the organisation."""
        return issue_token(self._site.secret, user=member.id, tenant=member.organization, ttl=self._site.token_seconds)

    async def sign_out(self, request: Request) -> Response:
        """Forgets who it was in this browser."""
        if not same_origin(request):
            return refused(403, "This must come from our own page.")
        response = RedirectResponse(f"{self._site.prefix}/", status_code=303)
        for name in (_COOKIE, TOKEN_COOKIE):
            response.delete_cookie(name, path=self._site.prefix, httponly=True, samesite="lax")
        return response

    def _admit(self, request: Request, response: Response, member: Member) -> None:
        site = self._site
        said = f"{member.id}.{member.organization}"
        for name, value in ((_COOKIE, f"{said}.{self._sign(said)}"), (TOKEN_COOKIE, self.token(member))):
            response.set_cookie(
                name,
                value,
                max_age=_MONTH,
                path=site.prefix,
                httponly=True,
                samesite="lax",
                secure=request.url.scheme == "https",
            )

    def _sign(self, said: str) -> str:
        return hmac.new(self._key, said.encode(), hashlib.sha256).hexdigest()
