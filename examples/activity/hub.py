"""What the pages read of the hub, as the visitor who looks at them: their jobs, and what they were told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import httpx2

from milepost.auth import issue_token

from ..stage.site import Site

SECONDS: Final = 10.0  # for an answer, and for the token that asks
ENTRIES: Final = 25  # of the feed, at a time
JOBS: Final = 50


class Away(Exception):
    """The hub does not answer now."""


@dataclass(frozen=True, slots=True)
class Feed:
    """Some notifications, the newest first; ``before`` asks for the older ones, empty where there are none."""

    entries: list[dict[str, Any]]
    before: str


class Hub:
    """See the module. Every method raises Away."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._http = httpx2.AsyncClient(base_url=f"{site.origin}/api", timeout=SECONDS)

    async def feed(self, visitor: str, before: str = "") -> Feed:
        """What the visitor was told: the newest, or what came ``before`` a notification."""
        asked = {"limit": ENTRIES + 1, **({"before": before} if before else {})}
        entries = (await self._get(visitor, "/notifications", asked))["notifications"]
        older = entries[ENTRIES - 1]["id"] if len(entries) > ENTRIES else ""
        return Feed(entries[:ENTRIES], older)

    async def jobs(self, visitor: str) -> list[dict[str, Any]]:
        """The visitor's newest jobs, the newest first."""
        found: list[dict[str, Any]] = (await self._get(visitor, "/jobs", {"limit": JOBS}))["jobs"]
        return found

    async def job(self, visitor: str, job: str) -> dict[str, Any] | None:
        """One job with its steps; None where the hub has forgotten it."""
        try:
            found: dict[str, Any] = (await self._get(visitor, f"/jobs/{job}", {}))["job"]
        except LookupError:
            return None
        return found

    async def _get(self, visitor: str, path: str, asked: dict[str, Any]) -> dict[str, Any]:
        token = issue_token(self._site.secret, user=visitor, tenant=self._site.name, ttl=SECONDS)
        try:
            answer = await self._http.get(path, params=asked, headers={"authorization": f"Bearer {token}"})
        except httpx2.HTTPError as error:
            raise Away from error
        if answer.status_code == httpx2.codes.NOT_FOUND:
            raise LookupError(path)
        if not answer.is_success:
            raise Away
        body: dict[str, Any] = answer.json()
        return body
