"""The door: what stands at a connection first, before it is known what comes.

A storm of reconnects is thousands of plain requests for a stream. What uvicorn, an ASGI scope, a task and a framework's
request cost for each is several times the work of answering it; so a request for a stream that is in one piece and
has nothing unusual is answered from here, together with those that came in the same turn of the loop. Everything else
goes to uvicorn (``handoff.HandoffProtocol``), byte for byte, and so does whatever comes on that connection later.

Who is let in, what is read and what is refused is decided by the same ``StreamEndpoint`` on both ways. In the end
either way leaves the same: a door that is the sink of a subscriber. ``pause_writing`` and ``resume_writing`` *are* the
edges between live, lagging and catching up.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Coroutine, Generator, Mapping
from contextlib import AbstractContextManager
from types import coroutine
from typing import Any, Final

from starlette.responses import Response
from starlette.routing import Route
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from milepost.errors import MilepostError
from milepost.hub import Hub
from milepost.server import problems
from milepost.server.access import Asker, bearer
from milepost.server.handoff import HIGH_WATER, REQUEST_SECONDS, HandoffProtocol
from milepost.server.limits import Lease
from milepost.server.services import Services
from milepost.server.streams import HEADERS, Admitted, Asked, StreamEndpoint
from milepost.subscriber import Subscriber

PATH: Final = "/api/stream"
AT_ONCE: Final = 32  # requests that are answered in one go, about 5 ms: then others have their turn

# One whole request and nothing behind it. No "%", "+" or ";" in the query: nothing has to be decoded.
_PLAIN = re.compile(
    rb"GET /api/stream(?:\?(\w+=[\w.,:~-]*(?:&\w+=[\w.,:~-]*)*))? HTTP/1\.1\r\n"
    rb"((?:[\w-]+: [!-~](?:[ -~]*[!-~])?\r\n)+)\r\n"
)
_PARAMETERS: Final = frozenset({"dialect", "jobs", "after", "lastEventId", "last_event_id", "reason"})
# Bodies, other protocols and browsers' foreign origins are uvicorn's and the application's affair.
_UNUSUAL: Final = frozenset({"content-length", "transfer-encoding", "expect", "upgrade", "te", "trailer", "origin"})


def plain(data: bytes) -> tuple[Mapping[str, str], Mapping[str, str]] | None:
    """The headers, by names in lower case, and the query of a plain request for a stream; None for anything else."""
    found = _PLAIN.fullmatch(data)
    if found is None:
        return None
    headers: dict[str, str] = {}
    lines = found[2].decode().split("\r\n")
    for line in lines[:-1]:
        name, _, value = line.partition(": ")
        headers[name.lower()] = value
    query: dict[str, str] = {}
    parts = found[1].decode().split("&") if found[1] else []
    for part in parts:
        name, _, value = part.partition("=")
        query[name] = value
    once = len(headers) == len(lines) - 1 and len(query) == len(parts)
    usual = headers.keys().isdisjoint(_UNUSUAL) and headers.get("connection", "keep-alive").lower() == "keep-alive"
    if once and usual and "authorization" in headers and query.keys() <= _PARAMETERS:
        return headers, query
    return None


class Entrance:
    """Makes the doors of one server; uvicorn's ``http``.

    ``answered(scope, status, seconds)`` is told of every request that was answered here.
    """

    def __init__(self, services: Services, answered: problems.Answered) -> None:
        self.services = services
        self._answered = answered
        self._endpoint = StreamEndpoint()
        self._scope = {"method": "GET", "path": PATH, "route": Route(PATH, self._endpoint)}
        self._waiting: list[tuple[Door, Asked]] = []
        self._silent: dict[Door, float] = {}  # since when nothing has come, the oldest first
        self._looking = False
        self._head: tuple[object, bytes] = None, b""
        self._config: Config
        self.state: ServerState
        self._app_state: dict[str, Any]

    def __call__(
        self,
        *,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> Door:
        """The door of a new connection."""
        del _loop
        self._config, self.state, self._app_state = config, server_state, app_state
        return Door(self)

    def uvicorns(self, door: Door) -> HandoffProtocol:
        """What a connection is handed to that is not for a stream, or in another form than the plain one."""
        made = HandoffProtocol(self._config, self.state, self._app_state, asyncio.get_running_loop())
        made.door = door
        return made

    def takes(self, data: bytes, address: str | None) -> Asked | None:
        """What is asked, if it can be answered from here."""
        services = self.services
        found = plain(data)
        if found is None or services.sign_in is not None or services.verifier is None or not services.started:
            return None
        headers, query = found
        # the same rule as for all others, by the same code: a proxy that is trusted says whose request it is
        trusted: Any = getattr(self._config.loaded_app, "trusted_hosts", ())
        if "x-forwarded-for" in headers and address in trusted:
            address = trusted.get_trusted_client_address(headers["x-forwarded-for"])[0] or address
        return Asked(headers, query, None, address)

    def expect(self, door: Door) -> None:
        """Cut the connection off where nothing comes. One timer for all: most wait for a millisecond."""
        loop = asyncio.get_running_loop()
        self._silent[door] = loop.time()
        if not self._looking:
            self._looking = True
            loop.call_later(REQUEST_SECONDS, self._cut_off)

    def heard(self, door: Door) -> bool:
        """Expect it no longer; whether it was expected."""
        return self._silent.pop(door, None) is not None

    def _cut_off(self) -> None:
        loop = asyncio.get_running_loop()
        self._looking = False
        for door, since in list(self._silent.items()):
            left = since + REQUEST_SECONDS - loop.time()
            if left > 0:
                self._looking = True
                loop.call_later(left, self._cut_off)
                return
            del self._silent[door]
            door.shutdown()

    def ask(self, door: Door, asked: Asked) -> None:
        """Have it answered soon, together with all that come in the same turn of the loop."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._answer)
        self._waiting.append((door, asked))

    def _answer(self) -> None:
        waiting, self._waiting = self._waiting[:AT_ONCE], self._waiting[AT_ONCE:]
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._answer)
        together: Callable[[], AbstractContextManager[None]] | None = getattr(self.services.engine, "together", None)
        if together is None:
            for door, asked in waiting:
                self._spawn(self._conversation(door, asked))
            return
        with together():
            for door, asked in waiting:
                begin(self._conversation(door, asked), self._spawn)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.state.tasks.add(task)
        task.add_done_callback(self.state.tasks.discard)

    async def _conversation(self, door: Door, asked: Asked) -> None:
        """One request and its answer. Raises nothing: others are answered after it."""
        began = time.perf_counter()
        try:
            answer = await self._endpoint.admit(self.services, asked, self._asker(asked))
            if isinstance(answer, Admitted):
                door.begin(self.services.hub, *answer, self._response_head())
        except MilepostError as error:
            answer = problems.response(error)
        except Exception as error:  # noqa: BLE001 - as ``problems.Guard``
            answer = problems.unexpected(error)
        if isinstance(answer, Response):
            door.refuse(answer, self.state.default_headers)
            scope = {**self._scope, "client": (asked.address, 0)}
            self._answered(scope, answer.status_code, time.perf_counter() - began)
        else:
            self._answered(self._scope, 200, time.perf_counter() - began)

    async def _asker(self, asked: Asked) -> Asker:
        assert self.services.verifier is not None, "see takes()"
        return Asker(await self.services.verifier.authenticate(bearer(asked.headers["authorization"])))

    def _response_head(self) -> bytes:
        default_headers = self.state.default_headers
        made_of, head = self._head
        if made_of is not default_headers:  # uvicorn makes others every second: they have the date
            lines = [b"%b: %b\r\n" % each for each in (*default_headers, *HEADERS)]
            head = b"%b%btransfer-encoding: chunked\r\n\r\n" % (STATUS_LINE[200], b"".join(lines))
            self._head = default_headers, head
        return head


class Door(asyncio.Protocol):
    """One connection: silent, then uvicorn's or a stream's. As a stream's it is the subscriber's sink."""

    __slots__ = ("_entrance", "_head", "_lease", "_paused", "_subscriber", "_transport", "_uvicorn")

    chunked = True

    def __init__(self, entrance: Entrance) -> None:
        self._entrance = entrance
        self._uvicorn: HandoffProtocol | None = None
        self._subscriber: Subscriber | None = None
        self._lease: Lease | None = None
        self._head = b""  # of the response, until the first write takes it along
        self._paused = False

    # --- protocol -----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Who says nothing is cut off."""
        self._transport = transport
        self._entrance.state.connections.add(self)  # type: ignore[arg-type] # uvicorn calls ``shutdown`` of all of them
        self._entrance.expect(self)

    def data_received(self, data: bytes) -> None:
        """The first bytes decide whose the connection is. Nothing more is asked on a stream's."""
        if self._uvicorn is not None:
            self._uvicorn.data_received(data)
        elif self._entrance.heard(self):
            peer = self._transport.get_extra_info("peername")
            asked = self._entrance.takes(data, peer[0] if isinstance(peer, tuple) else None)
            if asked is not None:
                self._entrance.ask(self, asked)
                return
            self._entrance.state.connections.discard(self)
            self._uvicorn = self._entrance.uvicorns(self)
            self._uvicorn.connection_made(self._transport)
            self._uvicorn.data_received(data)

    def pause_writing(self) -> None:
        """The client reads too slowly: the next write says so, and nothing is added after it."""
        self._paused = True
        if self._uvicorn is not None:
            self._uvicorn.pause_writing()

    def resume_writing(self) -> None:
        """It has read what there was."""
        self._paused = False
        if self._uvicorn is not None:
            self._uvicorn.resume_writing()
        elif self._subscriber is not None:
            self._entrance.services.hub.drained(self._subscriber)

    def connection_lost(self, exc: Exception | None) -> None:
        """Released at once."""
        if self._uvicorn is not None:
            self._uvicorn.connection_lost(exc)
            self._uvicorn = None
        self._entrance.heard(self)
        self._entrance.state.connections.discard(self)
        if self._subscriber is not None and self._lease is not None:
            Admitted(self._subscriber, self._lease).release(self._entrance.services.hub)

    def shutdown(self) -> None:
        """The server ends, and nothing was asked or answered here yet."""
        self._transport.close()

    # --- sink ---------------------------------------------------------------------------------------------------

    def begin(self, hub: Hub, subscriber: Subscriber, lease: Lease, head: bytes) -> None:
        """Be the sink of an admitted stream from now on, and release it in the end.

        ``head`` is the response's, to be sent with the first events.
        """
        if self._transport.is_closing():  # whoever asked did not wait
            Admitted(subscriber, lease).release(hub)
            return
        self._transport.set_write_buffer_limits(high=HIGH_WATER)
        self._uvicorn, self._subscriber, self._lease, self._head = None, subscriber, lease, head
        self._entrance.state.connections.discard(self)
        hub.begin(subscriber, self)

    def write(self, data: bytes) -> bool:
        """See ``Sink.write``."""
        if self._head:
            data, self._head = self._head + data, b""
        self._transport.write(data)
        return not self._paused

    def end(self) -> None:
        """See ``Sink.end``."""
        self._transport.write(b"0\r\n\r\n")
        self._transport.close()

    def refuse(self, answer: Response, default_headers: list[tuple[bytes, bytes]]) -> None:
        """Answer with something else than a stream. The connection ends behind it: who comes again makes a new one."""
        if self._subscriber is not None:  # it failed in the middle of its first events
            self._transport.abort()
            return
        lines = [b"%b: %b\r\n" % each for each in (*default_headers, *answer.raw_headers)]
        head = b"%b%bconnection: close\r\n\r\n" % (STATUS_LINE[answer.status_code], b"".join(lines))
        self._transport.write(head + bytes(answer.body))
        self._transport.close()


def begin(work: Coroutine[Any, Any, None], spawn: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    """Do it as far as it comes without waiting; the rest, if there is one, is a task's."""
    try:
        awaited = work.send(None)
    except StopIteration:
        return
    spawn(_rest(work, awaited))


async def _rest(work: Coroutine[Any, Any, None], awaited: Any) -> None:
    await _steps(work, awaited)


@coroutine
def _steps(work: Coroutine[Any, Any, None], awaited: Any) -> Generator[Any, Any, None]:
    """What ``await work`` would do, had it not been begun."""
    while True:
        try:
            try:
                got = yield awaited
            except BaseException as error:  # noqa: BLE001 - a cancellation: the work's own affair
                awaited = work.throw(error)
            else:
                awaited = work.send(got)
        except StopIteration:
            return
