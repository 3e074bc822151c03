"""Files that visitors have sent, from the page to the worker. Each lies there until it was imported."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from starlette.concurrency import run_in_threadpool

from ..stage.pages import TooLarge
from ..stage.site import Site

UPLOAD_LIMIT: Final = 20 * 1024**2  # bytes


def upload_of(site: Site, request_id: str) -> Path:
    """The file of a request."""
    return site.folder / "uploads" / f"{request_id}.jsonl"


async def receive(chunks: AsyncIterator[bytes], path: Path) -> int:
    """Writes a body to ``path``, whole or not at all; its size. Raises TooLarge, OSError.

    In a thread: the hub's streams run in this loop, and must not wait for a disk.
    """
    draft = await run_in_threadpool(_draft, path.parent)
    size = 0
    try:
        async for chunk in chunks:
            size += len(chunk)
            if size > UPLOAD_LIMIT:
                raise TooLarge(f"This is larger than {UPLOAD_LIMIT // 1024**2} MiB.")
            await run_in_threadpool(_append, draft, chunk)
        await run_in_threadpool(draft.replace, path)
    finally:
        await run_in_threadpool(draft.unlink, missing_ok=True)
    return size


def _draft(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".part", delete=False) as draft:
        return Path(draft.name)


def _append(path: Path, chunk: bytes) -> None:
    with path.open("ab") as file:
        file.write(chunk)
