"""A proxy between browser and server that does to streams what real ones do, and worse."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, Literal

Mode = Literal["pass", "buffer", "stutter", "away"]
Write = Callable[[bytes], Awaitable[None]]

_AWAY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\nconnection: close\r\n\r\nbusy"
_OLDER = 5


class FaultProxy:
    """Passes requests on to `port` of this machine, one a connection, as long as nobody says otherwise.

    Modes: ``buffer`` keeps the body of a stream to itself until the server has ended it; ``stutter`` sends each job's
    frame twice, then older ones, then that frame again; ``away`` answers 503. `seen` has the target of every request.
    """

    def __init__(self, port: int) -> None:
        self.mode: Mode = "pass"
        self.seen: list[str] = []
        self._behind = port
        self._open: set[asyncio.StreamWriter] = set()
        self._streams: dict[Write, list[bytes]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    def turn(self, mode: Mode) -> None:
        """Treat what comes from now on so. What is open goes on as it began."""
        self.mode = mode

    def cut(self) -> None:
        """Reset every connection that is open."""
        self._run(self._cut())

    def replay(self) -> int:
        """Send the job frames of each open stream again, the newest first, then the oldest first; how many."""
        return int(self._run(self._replay()))

    def close(self) -> None:
        """End it."""
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self, what: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    async def _cut(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _replay(self) -> int:
        sent = 0
        for write, frames in self._streams.items():
            for frame in [*reversed(frames), *frames]:
                await write(frame)
                sent += 1
        return sent

    async def _end(self) -> None:
        self._server.close()
        await self._cut()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:
            await asyncio.wait(left, timeout=5)  # without connections all of them end by themselves

    # --- one request ------------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        body = await reader.readexactly(int(length[1])) if length else b""
        self.seen.append(head.split()[1].decode())
        if self.mode == "away":
            writer.write(_AWAY)
            await writer.drain()
            return
        server, back = await asyncio.open_connection("127.0.0.1", self._behind)
        self._open.add(back)
        try:
            back.write(re.sub(rb"(?i)\r\nconnection:[^\r]*", b"", head[:-2]) + b"connection: close\r\n\r\n" + body)
            answering = asyncio.ensure_future(self._pass_on(server, writer))
            leaving = asyncio.ensure_future(reader.read(1))  # the browser says nothing more, it only goes
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            for task in (answering, leaving):
                task.cancel()
            await asyncio.gather(answering, leaving, return_exceptions=True)
        finally:
            self._open.discard(back)
            back.transport.abort()

    async def _pass_on(self, server: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await server.readuntil(b"\r\n\r\n")
        if b"text/event-stream" in head.lower():
            await self._stream(head, server, writer)
            return
        writer.write(head)
        while data := await server.read(65536):
            writer.write(data)
            await writer.drain()

    # --- streams ----------------------------------------------------------------------------------------------------

    async def _stream(self, head: bytes, server: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mode = self.mode
        held = bytearray()

        async def write(data: bytes) -> None:
            if mode == "buffer":
                held.extend(data)
                return
            writer.write(data)
            await writer.drain()

        writer.write(re.sub(rb"(?i)\r\ntransfer-encoding:[^\r]*", b"", head))
        await writer.drain()
        sent: list[bytes] = []
        self._streams[write] = sent
        try:
            async for frame in _frames(server):
                await write(frame)
                if not re.search(rb"(?m)^event: job$", frame):
                    continue
                if mode == "stutter":
                    for again in [frame, *sent[-_OLDER:], frame]:
                        await write(again)
                sent.append(frame)
        finally:
            del self._streams[write]
        writer.write(held)
        with contextlib.suppress(ConnectionError):
            await writer.drain()


async def _frames(server: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The events of a chunked body, each with its empty line; comments as they come."""
    rest = b""
    while size := int(await server.readuntil(b"\r\n"), 16):
        rest += (await server.readexactly(size + 2))[:-2]
        *whole, rest = re.split(rb"(?<=\n\n)", rest)
        if rest.startswith(b":") and rest.endswith(b"\n"):
            whole, rest = [*whole, rest], b""
        for frame in whole:
            yield frame
