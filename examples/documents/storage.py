"""Where finished documents go. Every failure is the operating system's own ``OSError``: the job reports it as
STORAGE_WRITE_FAIL.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

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

    def zip(self, name: str, files: Mapping[str, str]) -> Path:
        """Packs files (name in the zip → name on disk) into ``name``. Raises OSError."""
        path = self._folder / name
        beside = self._folder / f".{name}.{os.getpid()}"
        with zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED) as archive:
            for inside, stored in files.items():
                # A fixed time, so that the same case always gives the same bytes.
                archive.writestr(zipfile.ZipInfo(inside, (1980, 1, 1, 0, 0, 0)), (self._folder / stored).read_bytes(),
                                 zipfile.ZIP_DEFLATED)  # fmt: skip
        beside.replace(path)
        return path
