"""A proxy between browser and server that does to streams what real ones do, and worse."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
import zlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Literal

Mode = Literal["pass", "buffer", "mute", "slow", "stutter", "reorder", "compress", "forbid", "away"]

_AWAY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\nconnection: close\r\n\r\nbusy"
_FORBIDDEN = (
    b"HTTP/1.1 403 Forbidden\r\ncontent-type: text/html\r\n"
    b"content-length: 16\r\nconnection: close\r\n\r\n<p>Not this!</p>"
)
_OLDER = 5
_SLOW_BYTES = 64
_SLOW_SECONDS = 0.002
_REORDERED = 3  # frames at once
_REORDER_SECONDS = 0.2  # no frame waits longer for others to change places with


class FaultProxy:
    """Passes requests on to `port` of this machine, one a connection, as long as nobody says otherwise.

    Modes, what happens to streams: ``buffer`` keeps the body to itself until the server has ended it, ``mute`` for
    ever; ``slow`` sends a few bytes at a time; ``stutter`` sends each job's frame twice, then older ones, then that
    frame again; ``reorder`` sends a few frames backwards; ``compress`` packs the body as gzip, frame by frame;
    ``forbid`` answers 403, with a page of its own. ``away`` answers everything with 503. `seen` has the target of every
    request. `url` leads to the page at `path`.
    """

    def __init__(self, port: int, *, path: str = "") -> None:
        self.mode: Mode = "pass"
        self.seen: list[str] = []
        self._behind = port
        self._open: set[asyncio.StreamWriter] = set()
        self._streams: set[_Stream] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}{path}"

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

    def strand(self) -> None:
        """Nothing more comes through any stream that is open, and nobody is told: its peer is gone for good."""
        self._run(self._strand())

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

    async def _strand(self) -> None:
        for stream in self._streams:
            stream.stranded = True

    async def _replay(self) -> int:
        sent = 0
        for stream in self._streams:
            for frame in [*reversed(stream.jobs), *stream.jobs]:
                await stream.write(frame)
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
        if self.mode == "away" or (self.mode == "forbid" and b"/api/stream" in head):
            writer.write(_AWAY if self.mode == "away" else _FORBIDDEN)
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
            await self._pass_stream(head, server, writer)
            return
        writer.write(head)
        while data := await server.read(65536):
            writer.write(data)
            await writer.drain()

    # --- streams ----------------------------------------------------------------------------------------------------

    async def _pass_stream(self, head: bytes, server: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = _Stream(self.mode, writer)
        encoding = b"content-encoding: gzip\r\n" if self.mode == "compress" else b""
        writer.write(re.sub(rb"(?i)\r\ntransfer-encoding:[^\r]*", b"", head)[:-2] + encoding + b"\r\n")
        await writer.drain()
        self._streams.add(stream)
        try:
            async for frame in _frames(server):
                await stream.take(frame)
        finally:
            self._streams.discard(stream)
        with contextlib.suppress(ConnectionError):
            await stream.end()


class _Stream:
    """What becomes of one stream's frames in one mode."""

    def __init__(self, mode: Mode, writer: asyncio.StreamWriter) -> None:
        self.jobs: list[bytes] = []
        self.stranded = False
        self._mode = mode
        self._writer = writer
        self._held: list[bytes] = []
        self._packer = zlib.compressobj(wbits=31)  # gzip
        self._release: asyncio.TimerHandle | None = None

    async def take(self, frame: bytes) -> None:
        """A frame of the server's."""
        is_job = re.search(rb"(?m)^event: job$", frame)
        if self._mode == "buffer":
            self._held.append(frame)
        elif self._mode == "reorder":
            self._held.append(frame)
            if len(self._held) == 1:
                self._release = asyncio.get_running_loop().call_later(_REORDER_SECONDS, self._backwards)
            if len(self._held) == _REORDERED:
                self._backwards()
        elif self._mode != "mute":
            await self.write(frame)
            if self._mode == "stutter" and is_job:
                for again in [frame, *self.jobs[-_OLDER:], frame]:
                    await self.write(again)
        if is_job:
            self.jobs.append(frame)

    async def end(self) -> None:
        """The server has no more."""
        if self._release:
            self._release.cancel()
        await self.write(b"".join(self._held))

    def _backwards(self) -> None:
        if self._release:
            self._release.cancel()
        self._send(b"".join(reversed(self._held)))
        self._held.clear()

    async def write(self, data: bytes) -> None:
        """To the browser, the mode's way."""
        size = _SLOW_BYTES if self._mode == "slow" else len(data) or 1
        for start in range(0, len(data), size):
            self._send(data[start : start + size])
            await self._writer.drain()
            if self._mode == "slow":
                await asyncio.sleep(_SLOW_SECONDS)

    def _send(self, data: bytes) -> None:
        if self.stranded:
            return
        if self._mode == "compress":
            data = self._packer.compress(data) + self._packer.flush(zlib.Z_SYNC_FLUSH)
        self._writer.write(data)


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
