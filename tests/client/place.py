"""Where a producer reports to, and how a test looks at what arrived there."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Protocol

from milepost.engine import Document
from milepost.engines import open_engine
from milepost.model import Job, Notification
from tests.client.hub import Hub


class Place(Protocol):
    """A server or an engine."""

    url: str
    token: str | None

    def job(self, job_id: str) -> dict[str, Any] | None:
        """The job as it is now, with its steps; None where there is none."""
        ...

    def notifications(self, user: str) -> list[dict[str, Any]]:
        """A user's own and everyone's, newest first."""
        ...


@dataclass
class Server:
    """A hub, looked at over HTTP."""

    hub: Hub
    url: str
    token: str | None

    def job(self, job_id: str) -> dict[str, Any] | None:
        """See ``Place``."""
        return self.hub.job(job_id)

    def notifications(self, user: str) -> list[dict[str, Any]]:
        """See ``Place``."""
        found = self.hub.get("/notifications", user)["notifications"]
        assert isinstance(found, list)
        return found


@dataclass
class Store:
    """An engine, looked at through an engine of its own."""

    url: str
    token: str | None = None

    def job(self, job_id: str) -> dict[str, Any] | None:
        """See ``Place``."""
        [document] = asyncio.run(self._get(f"job:{job_id}"))
        return None if document is None else Job.load(document.body, document.private, document.revision).full_json()

    def notifications(self, user: str) -> list[dict[str, Any]]:
        """See ``Place``."""
        found = asyncio.run(self._find(user))
        return [Notification.load(d.body, d.order, d.revision).full_json() for d in found]

    async def _get(self, key: str) -> list[Document | None]:
        engine = open_engine(self.url)
        try:
            return await engine.get("default", [key])
        finally:
            await engine.close()

    async def _find(self, user: str) -> list[Document]:
        engine = open_engine(self.url)
        try:
            page = await engine.find("default", [f"user:{user}", "everyone"], kind="notification")
            return page.documents
        finally:
            await engine.close()
