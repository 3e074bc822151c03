"""Where finished documents go. Every failure is the operating system's own ``OSError``: the job reports it as
STORAGE_WRITE_FAIL.
"""

from __future__ import annotations

import os
import re
import shutil
import unicodedata
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ..stage.workqueue import Request

FULL: Final = Path("/dev/full")  # a device on which every write fails with "No space left on device"


class Storage:
    """One job's files: its PDFs, and the zip of all of them, in a folder of its own."""

    def __init__(self, folder: Path, job_id: str, *, target: str = "files") -> None:
        self._folder = folder / job_id
        self._full = target == "full"

    def save(self, name: str, data: bytes) -> None:
        """Writes one file, whole or not at all. Raises OSError."""
        if self._full:
            with FULL.open("wb", buffering=0) as device:
                device.write(data)
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        # A worker that woke up too late writes the same bytes; neither of the two ever shows half a file.
        beside = self._folder / f".{name}.{os.getpid()}"
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._folder / name)

    def zip(self, name: str, files: Sequence[str]) -> None:
        """Packs saved files into ``name``. Raises OSError."""
        beside = self._folder / f".{name}.{os.getpid()}"
        with zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                inside = zipfile.ZipInfo(file, (1980, 1, 1, 0, 0, 0))  # so that the same case gives the same bytes
                archive.writestr(inside, (self._folder / file).read_bytes(), zipfile.ZIP_DEFLATED)
        beside.replace(self._folder / name)

    def find(self, name: str) -> Path | None:
        """A saved file, None where there is none of this name."""
        path = self._folder / name
        return path if "/" not in name and not name.startswith(".") and path.is_file() else None

    def delete(self) -> None:
        """Removes all of it."""
        shutil.rmtree(self._folder, ignore_errors=True)


def zip_name(request: Request) -> str:
    """The name under which a request's documents are downloaded: plain letters, so that it needs no escaping."""
    plain = unicodedata.normalize("NFKD", request.title).encode("ascii", "ignore").decode()
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', plain).strip('-')[:60] or 'documents'}.zip"
