"""A TCP proxy that does to connections what networks do: cut them, hold them up, swallow an answer.

It runs in a thread of its own, so that a test, its servers and other processes can all go through it at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Literal, TypeVar

T = TypeVar("T")
Way = Literal["forth", "back"]

SECONDS = 10.0  # for how long an order to the proxy may take


class Proxy:
    """Passes bytes between who connects to ``port`` and ``target``, until it is told otherwise.

    ``cut`` resets what is open, ``cut_idle`` what has been silent for a while. ``refuse`` also turns away what comes.
    ``mute`` holds bytes back, in both directions or in one, and lets connections stand: a network that drops packets.
    ``lose_reply`` lets one request through and resets its connection instead of answering. ``delay`` holds each packet
    up. ``heal`` ends all of these; what was muted then flows on, as TCP would send it again.

    ``opened`` counts the connections that came, ``sent`` the bytes by direction.
    """

    def __init__(self, target: int, *, host: str = "127.0.0.1") -> None:
        self.target = target
        self.host = host
        self.opened = 0
        self.sent: dict[Way, int] = {"forth": 0, "back": 0}
        self._refusing = False
        self._delay = 0.0
        self._losing: list[tuple[bytes, threading.Event]] = []
        self._pairs: dict[_Pair, None] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._thread.start()
        self._flows: dict[Way, asyncio.Event] = self._in_loop(self._events)
        starting = asyncio.start_server(self._serve, host, 0)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result(SECONDS)
        self.port: int = self._server.sockets[0].getsockname()[1]

    @property
    def open(self) -> int:
        """How many connections stand."""
        return len(self._pairs)

    def cut(self) -> None:
        """Reset every connection that is open; new ones are welcome."""
        self._in_loop(self._cut)

    def cut_idle(self, seconds: float, chosen: Callable[[], bool] = lambda: True) -> int:
        """Reset connections on which nothing came for so long, the ``chosen`` ones, as a pooler does; how many."""

        def cut() -> int:
            idle = [p for p in self._pairs if self._loop.time() - p.used >= seconds and chosen()]
            for pair in idle:
                pair.reset()
            return len(idle)

        return self._in_loop(cut)

    def refuse(self) -> None:
        """Reset every connection, and each one that comes."""
        self._refusing = True
        self.cut()

    def mute(self, *ways: Way) -> None:
        """Pass nothing on, ``forth`` (to the target), ``back``, or both where none is named."""

        def stop() -> None:
            for way in ways or ("forth", "back"):
                self._flows[way].clear()

        self._in_loop(stop)

    def delay(self, seconds: float) -> None:
        """Hold each packet up for so long, in each direction."""
        self._delay = seconds

    def lose_reply(self, of: bytes = b"") -> threading.Event:
        """The next request that contains ``of`` is passed on; where its answer comes, the connection is reset.

        The event is set when that has happened. Each call loses one more.
        """
        lost = threading.Event()
        self._losing.append((of, lost))
        return lost

    def heal(self) -> None:
        """Pass everything again."""

        def healthy() -> None:
            self._refusing = False
            self._delay = 0.0
            self._losing.clear()
            for flow in self._flows.values():
                flow.set()

        self._in_loop(healthy)

    def close(self) -> None:
        """End it, and every connection through it."""

        async def end() -> None:
            self._server.close()
            self._cut()
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            await asyncio.sleep(0)  # what was aborted lets go of its socket in the loop's next round

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SECONDS)
        self._loop.close()

    def _in_loop(self, do: Callable[[], T]) -> T:
        async def doing() -> T:
            return do()

        return asyncio.run_coroutine_threadsafe(doing(), self._loop).result(SECONDS)

    def _events(self) -> dict[Way, asyncio.Event]:
        events: dict[Way, asyncio.Event] = {"forth": asyncio.Event(), "back": asyncio.Event()}
        for event in events.values():
            event.set()
        return events

    def _cut(self) -> None:
        for pair in list(self._pairs):
            pair.reset()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        pair = _Pair(writer, self._loop.time())
        self._pairs[pair] = None
        try:
            if not self._refusing:
                await self._pass_on(pair, reader, writer)
        except (OSError, asyncio.CancelledError):  # cancelled by ``close`` only, and nobody waits for this task
            pass
        finally:
            del self._pairs[pair]
            pair.reset()

    async def _pass_on(self, pair: _Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._flows["forth"].wait()  # to a network that drops packets nobody connects
        back_reader, back = await asyncio.open_connection(self.host, self.target)
        pair.back = back
        copying = [
            asyncio.ensure_future(self._copy("forth", pair, reader, back)),
            asyncio.ensure_future(self._copy("back", pair, back_reader, writer)),
        ]
        try:
            await asyncio.gather(*copying)
        finally:
            for each in copying:
                each.cancel()
            await asyncio.gather(*copying, return_exceptions=True)

    async def _copy(self, way: Way, pair: _Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            pair.used = self._loop.time()
            if self._delay:
                await asyncio.sleep(self._delay)
            await self._flows[way].wait()
            if way == "forth" and pair.lost is None:
                for losing in self._losing:
                    if losing[0] in data:
                        self._losing.remove(losing)
                        pair.lost = losing[1]
                        break
            elif way == "back" and pair.lost is not None:
                pair.lost.set()
                raise ConnectionResetError
            self.sent[way] += len(data)
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


class _Pair:
    """A connection and the one that it goes on by."""

    def __init__(self, front: asyncio.StreamWriter, now: float) -> None:
        self.front = front
        self.used = now
        self.back: asyncio.StreamWriter | None = None
        self.lost: threading.Event | None = None

    def reset(self) -> None:
        """End both at once, with RST rather than FIN: who reads gets an error, as from a machine that went away."""
        for writer in (self.front, self.back):
            if writer is not None:
                with contextlib.suppress(OSError):  # it has ended by itself
                    at_once = struct.pack("ii", 1, 0)
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
                writer.transport.abort()


@contextlib.contextmanager
def proxy_to(target: int) -> Iterator[Proxy]:
    """A proxy to a port of this machine, for as long as the block lasts."""
    proxy = Proxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
