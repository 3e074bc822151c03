"""``milepost serve``: uvicorn with our own sockets and our own drain.

uvicorn waits for ever for open streams when it is told to stop, and the lifespan's end comes after that wait; so the
streams are ended here, between "take no more" and uvicorn's own shutdown.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from milepost.engines import Family
from milepost.errors import MilepostError
from milepost.server import logs
from milepost.server.app import Application, create_app
from milepost.server.door import Entrance
from milepost.server.handoff import HandoffProtocol
from milepost.server.services import Services
from milepost.server.siblings import Siblings
from milepost.server.supervisor import Place, Supervisor
from milepost.settings import Settings

log = logging.getLogger("milepost.server")

# a peer that vanished without a word is found by its unacknowledged bytes; a heartbeat is sent every 15 s
USER_TIMEOUT_MS: Final = 10_000
SEND_BUFFER: Final = 64 * 1024  # bytes that the kernel holds for a reader who stopped; by itself it takes up to 4 MB
BACKLOG: Final = 4096
STREAMS_ENDED_PER_SECOND: Final = 500
INTERRUPTED_DRAIN: Final = 1.0  # Ctrl-C is somebody at a terminal
# Longer than proxies keep a connection for the next request (nginx: 60 s). With uvicorn's 5 s, which is HAProxy's time
# too, one now and then sends a request into a connection that is just being closed, and its client gets no answer.
KEEP_ALIVE_SECONDS: Final = 75
CLOSE_SECONDS: Final = 5  # for answers that are being written after the drain
FAMILY_SECONDS: Final = 8.0  # beyond the drain time, for processes that have something to store yet
# A stream is a hundred objects that live long and are no garbage; Python's defaults look through all of them again with
# every few thousand streams that are opened, which is a third of what opening one costs, and stops the loop each time.
GARBAGE_THRESHOLDS: Final = (10_000, 20, 50)


class Server(uvicorn.Server):
    """uvicorn's server, which ends the streams before it waits for connections to end."""

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self._services = services
        self._drain_seconds = services.settings.drain_seconds

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, the second does not wait.

        uvicorn's own way would raise the signal again at the end; a server that was told to stop and did exits with 0.
        """
        del frame
        self._services.draining = True
        if sig == signal.SIGINT:
            self._drain_seconds = min(self._drain_seconds, INTERRUPTED_DRAIN)
        self.force_exit = self.should_exit
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, end the streams spread over the drain time, then uvicorn's own way."""
        for listener in self.servers:
            listener.close()
        began, streams = time.monotonic(), self._services.hub.stats.streams
        drain = asyncio.ensure_future(
            self._services.drain(min(self._drain_seconds, streams / STREAMS_ENDED_PER_SECOND))
        )
        while not drain.done() and not self.force_exit:
            await asyncio.wait((drain,), timeout=0.1)
        drain.cancel()
        # readers that do not read get what is left of the time, and are then cut off
        left = self._drain_seconds - (time.monotonic() - began)
        self.config.timeout_graceful_shutdown = max(1, int(min(CLOSE_SECONDS, left)))
        await super().shutdown(sockets)


class _Admin(uvicorn.Server):
    """The metrics on a listener of their own; signals are the main server's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield


def serve(settings: Settings, application: Application | None = None) -> int:
    """Serve until told to stop; the exit code. Prints one line to standard error once it listens.

    ``application``: one made by ``create_app`` with the same settings, perhaps with an engine or a sign-in of its own.
    """
    problems = settings.problems()
    if problems:
        for problem in problems:
            print(f"milepost: {problem}", file=sys.stderr)  # noqa: T201
        return 2
    many = settings.workers > 1
    try:
        listener = listen(settings.host, settings.port)
        host, port = listener.getsockname()[:2]
        if many:
            listener.close()  # nobody else had the port, so now it can be shared
            listener = listen(settings.host, port, shared=True)
    except OSError as error:
        print(f"milepost: cannot listen on {settings.host}:{settings.port}: {error.strerror}", file=sys.stderr)  # noqa: T201
        return 1
    logs.setup()
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    print(f"milepost: listening on {address}", file=sys.stderr, flush=True)  # noqa: T201
    if not many:
        return _run(settings, application, listener, None)

    def run(place: Place) -> int:
        return _run(settings, application, listen(settings.host, port, shared=True), place)

    return Supervisor(settings.workers, run, drain_seconds=settings.drain_seconds).supervise()


def _run(settings: Settings, application: Application | None, listener: socket.socket, place: Place | None) -> int:
    """The life of a process that serves; its exit code."""
    try:
        app = application or create_app(settings)
        server = Server(_config(app), app.services)
        with asyncio.Runner(loop_factory=_loop) as runner:
            runner.run(_serve(server, listener, app, settings, place))
    except MilepostError as error:
        print(f"milepost: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0 if server.started else 1


async def _serve(
    server: Server, listener: socket.socket, app: Application, settings: Settings, place: Place | None
) -> None:
    services = app.services
    if place is not None:
        services.family = Family(place.folder, place.number, settings.drain_seconds + FAMILY_SECONDS)
    await services.start()
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    siblings = None
    if place is not None:
        siblings = services.siblings = Siblings(place.folder, place.number, services.metrics)
        await siblings.start()
        asyncio.get_running_loop().add_reader(place.parent, _orphaned, server, place)
        place.tell_ready()
    admin = None
    if settings.admin_port is not None:
        admin = _Admin(_config(_admin_app(services)))
        socket_ = listen(settings.admin_host, settings.admin_port, shared=place is not None)
        admin_task = asyncio.ensure_future(admin.serve([socket_]))
    await server.serve([listener])
    if siblings is not None:
        await siblings.stop()
    if admin is not None:
        admin.should_exit = True
        await admin_task


def _orphaned(server: Server, place: Place) -> None:
    """The parent is gone, and with it whoever could stop this process."""
    asyncio.get_running_loop().remove_reader(place.parent)
    server.handle_exit(signal.SIGTERM, None)


def _config(app: Application | Starlette) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=Entrance(app.services, app.answered) if isinstance(app, Application) else HandoffProtocol,  # type: ignore[arg-type] # uvicorn only calls it
        ws="none",
        lifespan="on" if isinstance(app, Application) else "off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=CLOSE_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        backlog=BACKLOG,
    )


def _admin_app(services: Services) -> Starlette:
    async def metrics(_: Request) -> Response:
        return Response(await services.numbers(), media_type=services.metrics.content_type)

    return Starlette(routes=[Route("/metrics", metrics)])


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket to listen on, whose connections notice a peer that is gone. Raises OSError.

    ``shared``: other processes listen on the same port, and the kernel picks one of them for each connection.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    # Linux hands this on to every accepted connection, where it has a heartbeat that nobody acknowledges end it. The
    # kernel's own keepalive would do harm: after a broadcast all its probes are due in the same instant, over loopback
    # (a proxy on this machine) those beyond `net.core.netdev_max_backlog` are dropped, and one that is unanswered
    # counts against TCP_USER_TIMEOUT: healthy streams were cut by the thousand.
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is not None:
        listener.setsockopt(socket.IPPROTO_TCP, option, USER_TIMEOUT_MS)
    try:
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def _loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # Windows
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
