"""The recordings: for each a folder with the sound, what was found in it, and whom it is for."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from starlette.concurrency import run_in_threadpool

from ..stage.pages import TooLarge
from .wav import Recording

FILE_LIMIT: Final = 64 * 1024**2
SOUND: Final = "recording.wav"
PICTURE: Final = "waveform.svg"
LISTED: Final = 30
_CHUNK: Final = 1024**2
_RESULT: Final = "result.json"


class Shelf:
    """Recordings below one folder, by the ids of their jobs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._drafts = folder / "drafts"
        self._drafts.mkdir(parents=True, exist_ok=True)

    async def receive(self, job_id: str, owner: str, chunks: AsyncIterator[bytes]) -> None:
        """Keeps a file as it comes, where it can be read. Raises TooLarge, BadAudio; nothing is left then.

        Bytes go to the disk in threads: the hub's streams run in the caller's loop. The same recording twice is one.
        """
        draft = Path(tempfile.mkdtemp(dir=self._drafts))
        try:
            await _write(draft / SOUND, chunks)
            await run_in_threadpool(self._accept, draft, job_id, owner)
        finally:
            await run_in_threadpool(shutil.rmtree, draft, ignore_errors=True)

    def _accept(self, draft: Path, job_id: str, owner: str) -> None:
        with (draft / SOUND).open("rb") as file:
            Recording(file)
        (draft / f"for-{owner}").touch()
        place = self._folder / job_id
        try:
            draft.rename(place)
        except OSError:  # it is there already: a folder that is not empty is never replaced
            if not place.exists():
                raise

    def path(self, job_id: str, name: str) -> Path:
        """A file of a recording; it may not be there."""
        return self._folder / job_id / name

    def keep_result(self, job_id: str, result: dict[str, Any], picture: str) -> None:
        """What was found. Whole or not at all: the result comes last, at once."""
        self.path(job_id, PICTURE).write_text(picture)
        beside = self.path(job_id, f"{_RESULT}.new")
        beside.write_text(json.dumps(result))
        beside.replace(self.path(job_id, _RESULT))

    def result(self, job_id: str) -> dict[str, Any] | None:
        """What was found; None as long as nothing was."""
        try:
            found: dict[str, Any] = json.loads(self.path(job_id, _RESULT).read_bytes())
        except FileNotFoundError:
            return None
        return found

    def share(self, job_id: str, coach: str) -> None:
        """It is for this coach too."""
        self.path(job_id, f"for-{coach}").touch()

    def is_for(self, job_id: str, coach: str) -> bool:
        """Whether it is this coach's, or was shared with them."""
        return self.path(job_id, f"for-{coach}").exists()

    def listed(self, coach: str) -> list[str]:
        """The ids of the newest that are for this coach, newest first."""
        marks = sorted(self._folder.glob(f"*/for-{coach}"), key=lambda mark: mark.stat().st_mtime, reverse=True)
        return [mark.parent.name for mark in marks[:LISTED]]

    def delete(self, job_id: str) -> None:
        """All of one recording."""
        shutil.rmtree(self._folder / job_id, ignore_errors=True)


async def _write(path: Path, chunks: AsyncIterator[bytes]) -> None:
    """Raises TooLarge over the limit."""
    size = 0
    held = bytearray()
    with path.open("wb") as file:
        async for chunk in chunks:
            size += len(chunk)
            if size > FILE_LIMIT:
                raise TooLarge(f"The recording is larger than {FILE_LIMIT // 1024**2} MiB.")
            held += chunk
            if len(held) >= _CHUNK:
                await run_in_threadpool(file.write, bytes(held))
                held.clear()
        await run_in_threadpool(file.write, bytes(held))
        file.flush()
        await run_in_threadpool(os.fsync, file.fileno())
