"""The fast path: a stream's connection is taken over from uvicorn, and the hub writes to it directly.

Under any ASGI server a stream is a task, a buffer and a request object for as long as it lives. Here, once it has been
authorised, read and begun, its connection's door (``door.Door``) leaves uvicorn's protocol, the ASGI task ends, and all
that is left is a subscriber and its door.

This reaches into uvicorn's HTTP protocol, so pyproject names the versions that were looked at, and tests fail when
another one behaves otherwise. A request that did not come through this protocol is served the plain way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, cast

from starlette.types import Scope
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from milepost.hub import Hub
from milepost.server.limits import Lease
from milepost.subscriber import Subscriber

if TYPE_CHECKING:
    from milepost.server.door import Door

EXTENSION: Final = "milepost.handoff"
UNWRAPPED: Final = "milepost.unwrapped"  # in the scope: whether the application was called with uvicorn's own ``send``
HIGH_WATER: Final = 64 * 1024  # bytes in this process for a reader who does not keep up; at this it lags
REQUEST_SECONDS: Final = 10.0  # from a request's first byte to its last: whoever trickles is cut off


class HandoffProtocol(HttpToolsProtocol):
    """uvicorn's protocol behind a door, which offers its connection to whoever answers with a stream.

    Without a door, as on the listener of the metrics, it is only uvicorn's, with deadlines.
    """

    door: Door | None = None
    _deadline: asyncio.TimerHandle | None = None
    _incomplete = False

    def data_received(self, data: bytes) -> None:
        """Time what is not complete with its first bytes: uvicorn itself would wait for ever."""
        super().data_received(data)
        if self._incomplete and self._deadline is None:
            self._deadline = self.loop.call_later(REQUEST_SECONDS, self._cut_off)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._met_deadline()
        self._incomplete = True

    def on_headers_complete(self) -> None:
        """Offer the connection with the request."""
        scope = cast("dict[str, Any]", self.scope)
        scope["extensions"] = {EXTENSION: self}
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._met_deadline()
        self._incomplete = False
        super().on_message_complete()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first request's headers have to come in time too, its first byte included.

        uvicorn's own would also look up this end's address, by five system calls and a kilobyte that the transport
        keeps for as long as it lives; nothing here asks for it.
        """
        self.connections.add(self)
        self.transport = transport
        self.flow = FlowControl(transport)
        peer = transport.get_extra_info("peername")
        self.client = (str(peer[0]), int(peer[1])) if isinstance(peer, tuple) else None
        self.scheme = "https" if transport.get_extra_info("sslcontext") is not None else "http"
        self._deadline = self.loop.call_later(REQUEST_SECONDS, self._cut_off)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave no timer behind."""
        self._met_deadline()
        super().connection_lost(exc)

    def answer(self, scope: Scope, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bool:
        """Send a whole response in one write; False where uvicorn has to do it, or somebody else has a say in it.

        Its own way is to check every header and to write head and body each by itself, which costs more than to read
        the request. ``headers`` are names in lower case and values that no client has a part in, the length included.
        """
        cycle = self.cycle
        plain = cycle.scope is scope and scope.get(UNWRAPPED) and cycle.keep_alive and scope["method"] != "HEAD"
        if not plain or cycle.response_started or cycle.disconnected or self.flow.write_paused:
            return False
        parts = [STATUS_LINE[status]]
        for name, value in (*cycle.default_headers, *headers):
            parts += (name, b": ", value, b"\r\n")
        self.transport.write(b"".join((*parts, b"\r\n", body)))
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        cycle.on_response()
        return True

    def hold_head(self) -> None:
        """Keep back the head of the response that comes next, for ``hand_over`` to send with the first events."""
        self.cycle.transport = _Held(self.transport)  # type: ignore[assignment]

    def hand_over(self, hub: Hub, subscriber: Subscriber, lease: Lease) -> bool:
        """Take the connection over for a response whose head was held; False where that cannot be.

        From then on the hub writes to it, and gives back the lease when it is gone.
        """
        cycle, transport, door = self.cycle, self.transport, self.door
        held = cast("_Held", cycle.transport)
        gone = cycle.disconnected or transport.is_closing()
        if door is None or gone or self.pipeline or not cycle.chunked_encoding:
            cycle.transport = transport
            transport.write(held.data)
            return False
        # for uvicorn the request is over, and the connection is none of its own any more
        cycle.response_complete = True
        self.connections.discard(self)
        self._met_deadline()
        self._unset_keepalive_if_required()
        # these hold each other: without this only the garbage collector would find them
        self.parser = self.cycle = self.flow = self.scope = self.transport = self.door = None  # type: ignore[assignment]
        door.begin(hub, subscriber, lease, held.data)
        return True

    def _met_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _cut_off(self) -> None:
        self._deadline = None
        if self.transport is not None:
            self.transport.close()


class _Held:
    """In the place of a transport while a response's head is held."""

    __slots__ = ("_transport", "data")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    def close(self) -> None:
        self._transport.close()
