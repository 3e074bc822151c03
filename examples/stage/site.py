"""Where one example is, and in whose name it speaks to the hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from milepost.auth import issue_token

_YEAR: Final = 365 * 86_400.0


@dataclass(frozen=True, slots=True)
class Site:
    """What the pages and the worker of one example are given.

    ``origin`` is where hub and pages are, without a slash at its end; ``folder`` is the example's own;
    ``output``, where set, is a folder for what it makes. ``redis`` is the URL of a Redis that runs, or empty.
    ``token_seconds`` is how long a visitor's token lives.
    """

    name: str
    origin: str
    secret: str
    folder: Path
    output: Path | None = None
    redis: str = ""
    token_seconds: float = 3600.0

    @property
    def prefix(self) -> str:
        """Below which its pages are, and the hub once more for them: ``/documents``."""
        return f"/{self.name}"

    @property
    def queue(self) -> Path:
        """The folder of the work that lies between pages and worker."""
        return self.folder / "queue"

    @property
    def files(self) -> Path:
        """The folder of what was made."""
        return self.output or self.folder / "files"

    def service_token(self, tenant: str = "") -> str:
        """The token with which pages and worker report: what the one creates the other may report on."""
        return issue_token(self.secret, user=self.name, tenant=tenant or self.name, scope="produce", ttl=_YEAR)
