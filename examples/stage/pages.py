"""What the pages of every example need: templates in one shell, their files, refusals, bodies within bounds."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from .site import Site

STAGE: Final = Path(__file__).parent / "page"

# Everything comes from here and nothing runs that is not a file of ours: a name with a tag in it stays a name.
SECURITY: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "media-src 'self' blob:; connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
}


class TooLarge(Exception):
    """A body is larger than what it may be; the message is a sentence."""


class Templates:
    """Templates of one example. They extend ``shell.html``, and ``root`` is the prefix that their links begin with."""

    def __init__(self, folder: Path, site: Site | None = None) -> None:
        loader = FileSystemLoader([folder, STAGE])
        self._environment = Environment(
            loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        self._environment.globals["root"] = site.prefix if site else ""

    def text(self, name: str, **values: Any) -> str:
        """One template, filled."""
        return self._environment.get_template(name).render(values)

    def page(self, name: str, *, status: int = 200, **values: Any) -> Response:
        """An answer that no cache keeps: it says who is looking."""
        return HTMLResponse(self.text(name, **values), status_code=status, headers={"cache-control": "no-store"})


def assets(*folders: Path) -> list[Route]:
    """Routes for all scripts, style sheets and pictures that lie in these folders."""
    kinds = {".css", ".js", ".svg", ".png"}
    return [
        Route(f"/{path.name}", _asset(path))
        for folder in folders
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if path.suffix in kinds
    ]


def _asset(path: Path) -> Any:
    media_type = mimetypes.guess_type(path.name)[0]

    async def answer(_request: Request) -> Response:
        return FileResponse(path, media_type=media_type, headers={"cache-control": "no-cache"})

    return answer


async def body(request: Request, limit: int) -> bytes:
    """The body. Raises TooLarge over ``limit`` bytes."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > limit:
            shown = f"{limit // 1024**2} MiB" if limit >= 1024**2 else f"{limit // 1024} KiB"
            raise TooLarge(f"This is larger than {shown}.")
    return bytes(data)


def refused(status: int, *problems: str) -> Response:
    """What a script of ours understands: ``{"problems": [sentence, …]}``."""
    told: Mapping[str, Any] = {"problems": problems}
    return JSONResponse(told, status_code=status)
