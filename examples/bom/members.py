"""Who is looking, and for which organisation: chosen at sign-in, kept in a signed cookie.

The tenant of the hub's token is the organisation: what is of the one does not exist in the other. A page holds its own
token, so that an open one stays in its organisation when the browser signs in to the other; the cookie of the same name
is for what is not a page of ours, such as a browser's own EventSource.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from milepost.auth import issue_token

from ..stage.pages import TooLarge, body, refused
from ..stage.site import Site
from ..stage.visitors import NOT_SIGNED_IN, SignedIn

ORGANIZATIONS: Final = {"bom-northwind": "Northwind Instruments", "bom-harbor": "Harbor Robotics"}


@dataclass(frozen=True, slots=True)
class Member:
    """A person in an organisation, which is a tenant of the hub."""

    id: str
    organization: str


class Members:
    """Signs people in, recognises them, gives them tokens."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._signed_in = SignedIn(site, "member")
        self.sign_out = self._signed_in.sign_out

    def known(self, request: Request) -> Member | None:
        """Who it is, None without a cookie that we signed."""
        said = self._signed_in.said(request)
        if said is None:
            return None
        member, _, organization = said.partition(".")
        return Member(member, organization)

    async def sign_in(self, request: Request) -> Response:
        """Into the organisation of the form (``organization``); who is known stays who they are."""
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
            return refused(401, NOT_SIGNED_IN)
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

    def _admit(self, request: Request, response: Response, member: Member) -> None:
        self._signed_in.admit(request, response, f"{member.id}.{member.organization}", self.token(member))
