"""What the engine contract writes and asks, in few words."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from milepost.engine import Document, Engine, Page, Write
from milepost.engines import open_engine
from milepost.errors import Conflict
from milepost.model import Cursor

NOW: Final = time.time()
SECONDS: Final = 10.0  # for how long the suite waits for what must come

_PROCESS = "import sys, milepost.testing.documents as d; d.write_elsewhere(*sys.argv[1:])"


def write(key: str, *audiences: str, kind: str = "note", body: bytes | None = b"{}", **fields: Any) -> Write:
    """A write of few words."""
    return Write(key, kind, body, audiences or ("user:a",), **fields)


def keys(of: Page | Sequence[Document]) -> list[str]:
    """The keys of documents in their order."""
    return [it.key for it in (of.documents if isinstance(of, Page) else of)]


def revisions(of: Sequence[Document]) -> list[int]:
    """The revisions of documents in their order."""
    return [it.revision for it in of]


async def start(engine: Engine, tenant: str = "t") -> Cursor:
    """The tenant's cursor as it is now."""
    return (await engine.heads([tenant]))[0]


async def read_on(
    engine: Engine, after: Cursor, audiences: Sequence[str] | None = None, *, tenant: str = "t", limit: int = 256
) -> tuple[list[Document], Cursor]:
    """Every document after a cursor, page by page, and the cursor at the end."""
    found: list[Document] = []
    while True:
        page = await engine.changes(tenant, audiences, after, now=NOW, limit=limit)
        assert page.reset is None
        assert len(page.documents) <= limit
        found += page.documents
        after = page.cursor
        if not page.more:
            return found, after


async def add_one(engine: Engine, key: str, times: int) -> None:
    """Count a number in a document up, as often as it takes to do it ``times`` times."""
    while times:
        (it,) = await engine.get("t", [key])
        value = int(it.body) if it else 0
        try:
            await engine.commit("t", [write(key, body=b"%d" % (value + 1), replaces=it.revision if it else 0)])
        except Conflict:
            continue
        times -= 1


@asynccontextmanager
async def writing(url: str, name: str, count: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """Another process that commits ``<name>-0`` … one by one, counts ``shared`` up, and prints what it got."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PROCESS, url, name, str(count), stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001 — or its pipe warns at the end


def write_elsewhere(url: str, name: str, count: str) -> None:
    """The body of that process."""

    async def run() -> None:
        engine = open_engine(url)
        for number in range(int(count)):
            (it,) = await engine.commit("t", [write(f"{name}-{number}")])
            sys.stdout.write(json.dumps([it.key, it.revision]) + "\n")
            sys.stdout.flush()
            await add_one(engine, "shared", 1)
        await engine.close()

    asyncio.run(run())
