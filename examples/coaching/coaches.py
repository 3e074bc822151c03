"""Who is signed in: a session that the page keeps, and a JWT for a few minutes that hub and application both take.

A session is signed and lasts until its coach signs out, which ends all of that coach's sessions at once: each is of a
generation, and signing out begins the next. A JWT cannot be called back, which is why it is short.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import jwt
from starlette.requests import Request

from milepost.auth import issue_token

from ..stage.site import Site

TOKEN_SECONDS: Final = 300.0
LINK_SECONDS: Final = 3_600  # how long a link to a file works


@dataclass(frozen=True, slots=True)
class Coach:
    """Somebody with an account."""

    id: str
    name: str
    role: str


COACHES: Final = {
    coach.id: coach
    for coach in (
        Coach("anna", "Anna Lindqvist", "Lead coach"),
        Coach("ben", "Ben Okafor", "Coach"),
        Coach("carla", "Carla Moreno", "Coach in training"),
    )
}


class Sessions:
    """Signs coaches in and out, renews their tokens, recognises them."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._key = hmac.digest(site.secret.encode(), b"coaching: sessions", "sha256")
        self._generations = site.folder / "generations"
        self._generations.mkdir(parents=True, exist_ok=True)

    def sign_in(self, coach_id: object) -> dict[str, Any] | None:
        """A new session; None where there is no such account."""
        if not isinstance(coach_id, str) or coach_id not in COACHES:
            return None
        stem = f"{coach_id}.{self._generation(coach_id)}"
        return self._answer(COACHES[coach_id], f"{stem}.{self._sign(stem)}")

    def renew(self, session: object) -> dict[str, Any] | None:
        """The same session with a new token; None where it is over, or was never ours."""
        coach = self._of(session)
        return self._answer(coach, str(session)) if coach else None

    def sign_out(self, session: object) -> bool:
        """Ends all sessions of its coach; False where it is over already."""
        coach = self._of(session)
        if coach is None:
            return False
        file = self._file(coach.id)
        beside = file.with_suffix(".new")
        beside.write_text(str(self._generation(coach.id) + 1))
        beside.replace(file)
        return True

    def coach_of(self, request: Request) -> Coach | None:
        """Whose token a request carries; None without a good one."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        try:
            claims = jwt.decode(token, self._site.secret, algorithms=["HS256"], options={"require": ["exp", "sub"]})
        except jwt.PyJWTError:
            return None
        ours = scheme.lower() == "bearer" and claims.get("tenant") == self._site.name
        return COACHES.get(claims["sub"]) if ours else None

    # --- links that an <img> or an <audio> can follow: they send no token -------------------------------------------

    def link(self, path: str, now: float) -> str:
        """A path of the site's with a signature that opens it for a while."""
        until = int(now) + LINK_SECONDS
        return f"{self._site.prefix}{path}?{urlencode({'until': until, 'key': self._sign(f'{path} {until}')})}"

    def opens(self, path: str, until: str, key: str, now: float) -> bool:
        """Whether a signature is of that path, and still good."""
        right = hmac.compare_digest(key.encode(), self._sign(f"{path} {until}").encode())
        return right and int(until) > now

    def _answer(self, coach: Coach, session: str) -> dict[str, Any]:
        ttl = min(self._site.token_seconds, TOKEN_SECONDS)
        token = issue_token(self._site.secret, user=coach.id, tenant=self._site.name, ttl=ttl)
        return {"coach": coach.id, "session": session, "token": token, "expires_in": ttl}

    def _of(self, session: object) -> Coach | None:
        if not isinstance(session, str):
            return None
        stem, _, signature = session.rpartition(".")
        if not hmac.compare_digest(signature.encode("utf-8", "replace"), self._sign(stem).encode()):
            return None
        coach_id, _, generation = stem.partition(".")
        return COACHES[coach_id] if generation == str(self._generation(coach_id)) else None

    def _generation(self, coach_id: str) -> int:
        try:
            return int(self._file(coach_id).read_text())
        except FileNotFoundError:
            return 0

    def _file(self, coach_id: str) -> Path:
        return self._generations / coach_id

    def _sign(self, text: str) -> str:
        return hmac.new(self._key, text.encode("utf-8", "replace"), hashlib.sha256).hexdigest()
