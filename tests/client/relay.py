"""A relay between client and server that does to connections what networks do."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Literal

from tests.client.hub import free_port

Mode = Literal["pass", "refuse", "mute", "lose answers", "503", "hello"]

_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\nretry-after: 1\r\n"
    b"content-length: 4\r\nconnection: close\r\n\r\nbusy"
)
_HELLO = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello"


class Relay:
    """Passes bytes on to `port`, until it is told otherwise.

    Modes: ``refuse`` closes every connection at once; ``mute`` passes nothing on; ``lose answers`` lets requests
    through and closes instead of answering; ``503`` and ``hello`` answer like a proxy whose server is away, and like a
    page that is no server of ours. `seen` counts the requests that came.
    """

    def __init__(self, port: int) -> None:
        self.mode: Mode = "pass"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.seen = 0
        self._behind = port
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        starting = asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result(10)

    def cut(self) -> None:
        """Reset every connection that is open."""
        self._loop.call_soon_threadsafe(self._cut)

    def _cut(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    def turn(self, mode: Mode) -> None:
        """Cut what is open; what comes from now on is treated so."""
        self.mode = mode
        self.cut()

    def close(self) -> None:
        """End it."""

        async def end() -> None:
            self._server.close()
            self._cut()
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            self._loop.stop()

        asyncio.run_coroutine_threadsafe(end(), self._loop)
        self._thread.join(10)
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            await self._treat(reader, writer, self.mode)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    async def _treat(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, mode: Mode) -> None:
        if mode == "refuse":
            return
        if mode in {"503", "hello"}:
            await reader.readuntil(b"\r\n\r\n")
            self.seen += 1
            writer.write(_BUSY if mode == "503" else _HELLO)
            await writer.drain()
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            return
        if mode == "mute":
            while await reader.read(65536):
                self.seen += 1
            return
        back_reader, back = await asyncio.open_connection("127.0.0.1", self._behind)
        self._open.add(back)
        try:
            forth = asyncio.ensure_future(self._copy(reader, back, count=True))
            answer = asyncio.ensure_future(self._copy(back_reader, writer, lose=mode == "lose answers"))
            await asyncio.wait((forth, answer), return_when=asyncio.FIRST_COMPLETED)
            for task in (forth, answer):
                task.cancel()
            await asyncio.gather(forth, answer, return_exceptions=True)
        finally:
            self._open.discard(back)
            back.transport.abort()

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, count: bool = False, lose: bool = False
    ) -> None:
        while data := await reader.read(65536):
            if count:
                self.seen += data.count(b" HTTP/1.1\r\n")
            if lose:
                return
            writer.write(data)
            await writer.drain()
