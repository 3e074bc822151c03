"""A process that writes for others, for tests of what forwards to it: one for a whole run, over any number of files."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from milepost.engines import Family, WritesForOthers, open_engine

_CODE = "from tests.engines.writing_process import write_for_others; write_for_others()"
ROOT = Path(__file__).resolve().parent.parent.parent


class WritingProcess:
    """Number 0 of a family: a real process. ``url`` and ``family`` are what another one of the family needs."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp())  # a socket's path is short
        self.url = f"sqlite:///{self.folder}/milepost.db"
        self.family = Family(self.folder, 1, 0.0)
        self.start()

    def start(self) -> None:
        """Start it, and wait until it writes."""
        self.process = subprocess.Popen(
            [sys.executable, "-c", _CODE], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.write_here()

    def write_here(self) -> None:
        """Have it write what is in the folder."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(self.folder, file=self.process.stdin, flush=True)
        assert self.process.stdout.readline() == "writing\n"

    def empty(self) -> None:
        """Have it write in another folder, in which there is nothing."""
        shutil.rmtree(self.folder)
        self.folder.mkdir(mode=0o700)
        self.write_here()

    def close(self) -> None:
        """End it."""
        with self.process as process:  # also closes its pipes
            process.kill()
        shutil.rmtree(self.folder)


def write_for_others() -> None:
    """The body of that process: for each folder that it is told, let go of the one before."""

    async def run() -> None:
        engine = None
        while folder := (await asyncio.to_thread(sys.stdin.readline)).strip():
            if engine is not None:
                await engine.close()
            engine = open_engine(f"sqlite:///{folder}/milepost.db", Family(Path(folder), 0, 0.0))
            assert isinstance(engine, WritesForOthers)
            await engine.receive()
            print("writing", flush=True)

    asyncio.run(run())
