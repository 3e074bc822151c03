"""The processes of one server ask each other for their numbers, so that whoever is scraped tells those of all.

Each listens on a socket in a folder of the server's own and says what it counts to whoever connects.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from milepost.server.metrics import Metrics

ANSWER_SECONDS: Final = 1.0  # a sibling that hangs is left out of what the others tell


class Siblings:
    """One process's place among them: its number from 0, and the folder that they share."""

    def __init__(self, folder: Path, number: int, metrics: Metrics) -> None:
        self._folder = folder
        self._number = number
        self._metrics = metrics
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begin to answer; a socket that a process before left behind is replaced."""
        path = self._path(self._number)
        path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._tell, path)

    async def stop(self) -> None:
        """Answer no more."""
        if self._server is not None:
            self._server.close()
            self._path(self._number).unlink(missing_ok=True)

    async def render(self) -> bytes:
        """The numbers of all, in Prometheus' text format, each labelled with its process."""
        others = [int(path.stem) for path in self._folder.glob("*.metrics")]
        told = await asyncio.gather(*(self._ask(number) for number in others if number != self._number))
        return merged({self._number: self._metrics.render(), **{number: text for number, text in told if text}})

    async def _tell(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            writer.write(self._metrics.render())
            await writer.drain()
            writer.close()

    async def _ask(self, number: int) -> tuple[int, bytes]:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                reader, writer = await asyncio.open_unix_connection(self._path(number))
                with contextlib.closing(writer):
                    return number, await reader.read()
        return number, b""

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.metrics"


def merged(texts: Mapping[int, bytes]) -> bytes:
    """Several processes' numbers as one page: each metric described once, its samples labelled ``process``."""
    samples: dict[bytes, list[bytes]] = {}
    for number, text in sorted(texts.items()):
        described = b""
        for line in text.splitlines():
            if line.startswith(b"# HELP "):
                described = line
            elif line.startswith(b"# TYPE "):
                described += b"\n" + line
                samples.setdefault(described, [])
            elif line:
                samples[described].append(_labelled(line, number))
    return b"".join(line + b"\n" for described, lines in samples.items() for line in (described, *lines))


def _labelled(line: bytes, number: int) -> bytes:
    own = b'process="%d"' % number
    name, brace, rest = line.partition(b"{")
    if brace and b" " not in name:
        return b"%b{%b,%b" % (name, own, rest)
    name, _, value = line.partition(b" ")
    return b"%b{%b} %b" % (name, own, value)
