"""Hub and pages in one process, on one origin.

``/`` lists the examples; ``/documents/…`` is one of them, and below its prefix the hub answers too, so that the
cookies of an example go to its own pages and its own requests to the hub, and to no other's.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import socket
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from milepost.server import create_app
from milepost.server.run import Server
from milepost.settings import Settings

from .catalogue import EXAMPLES, Example
from .pages import SECURITY, STAGE, Templates, assets, refused
from .site import Site

HUB_PATHS: Final = ("/api", "/milepost.", "/types/", "/healthz", "/readyz", "/metrics", "/dashboard")


def serve(sites: list[Site], *, fd: int) -> None:
    """Hub and pages on a socket that listens already, until SIGTERM. The engine is that of MILEPOST_ENGINE."""
    listener = socket.socket(fileno=fd)
    host, port = listener.getsockname()[:2]
    hub = create_app(Settings.load(secret=sites[0].secret, host=host, port=port, **_settings(sites)))
    config = uvicorn.Config(
        create_stage(sites, hub), ws="none", access_log=False, log_level="warning", timeout_graceful_shutdown=5
    )
    Server(config, hub.services).run(sockets=[listener])


def _settings(sites: list[Site]) -> dict[str, Any]:
    """What the examples want of the hub."""
    examples = [EXAMPLES[site.name] for site in sites]
    tenants = {tenant: example.settings for example in examples for tenant in example.of_tenants if example.settings}
    settings: dict[str, Any] = {"tenants": tenants}
    for site in sites:
        if site.name == "bom" and site.redis:  # whose worker then publishes there, and imports nothing of the hub's
            from ..bom.bridging import bridge_file

            settings["bridge"] = str(bridge_file(site))
    return settings


def create_stage(sites: list[Site], hub: ASGIApp) -> ASGIApp:
    """All pages and the hub as one application. The hub's lifespan is the whole's."""
    pages = {site.name: _pages(site) for site in sites}
    landing = _landing(sites)
    foreign = refused(403, "This must come from our own page.")

    async def stage(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await hub(scope, receive, send)
            return
        path: str = scope["path"]
        name, slash, rest = path[1:].partition("/")
        if name in pages:
            scope = {**scope, "root_path": f"{scope.get('root_path', '')}/{name}"}
            if not slash:
                await RedirectResponse(f"/{name}/")(scope, receive, send)
                return
            path = f"/{rest}"
        if path.startswith(HUB_PATHS):
            await hub(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY)
            await send(message)

        with contextlib.suppress(ClientDisconnect):  # in the middle of an upload: nobody waits for an answer
            answer = foreign if _is_foreign(Request(scope)) else pages.get(name, landing)
            await answer(scope, receive, guarded)

    return stage


def _pages(site: Site) -> ASGIApp:
    """The application of one example."""
    app = importlib.import_module(f"..{site.name}.app", __package__)
    made: ASGIApp = app.application(site)
    return made


def _landing(sites: list[Site]) -> Starlette:
    """The first page, and the files that all pages share."""
    templates = Templates(STAGE)
    listed: list[Example] = [EXAMPLES[site.name] for site in sites]

    async def page(request: Request) -> Response:
        return templates.page("landing.html", examples=listed, local=_is_local(request))

    async def kill(request: Request) -> Response:
        """Kills this process: its supervisor starts another one, and every page goes on from where it was."""
        if not _is_local(request):
            return refused(404, "There is no such page.")
        # Answered first: a browser sends again what got no answer, and would kill the next one too.
        return Response(status_code=204, background=BackgroundTask(os.kill, os.getpid(), signal.SIGKILL))

    return Starlette(routes=[Route("/", page), Route("/kill", kill, methods=["POST"]), *assets(Path(STAGE))])


def _is_foreign(request: Request) -> bool:
    """Whether it changes something and comes from somebody else's page, for which a browser brings our cookies too.

    A program sends no Origin and no stolen cookie.
    """
    origin = request.headers.get("origin")
    if request.method in {"GET", "HEAD"} or origin is None:
        return False
    return urlsplit(origin).netloc != request.headers.get("host")


def _is_local(request: Request) -> bool:
    """Whether the one who looks sits at this machine, whose processes are theirs to kill."""
    return request.client is not None and request.client.host in {"127.0.0.1", "::1"}
