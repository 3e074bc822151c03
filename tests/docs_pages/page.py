"""A page of docs/ that shows an application and what to change in it: its blocks in a folder, and its command."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.server.process import answers, wait_until

DOCS = Path(__file__).parents[2] / "docs"
COMMAND = "uvicorn app:app"
PACE = "sleep(0.1)"  # of the pages' examples


class Page:
    """One page. Its first ``python`` block is ``app.py``, its first ``html`` block ``page.html``; its ``diff`` blocks
    change them.
    """

    def __init__(self, name: str) -> None:
        self.text = (DOCS / name).read_text()

    def blocks(self, language: str) -> list[str]:
        """The fenced blocks in one language."""
        return re.findall(rf"^```{language}\n(.*?)^```$", self.text, re.MULTILINE | re.DOTALL)

    def write(self, folder: Path) -> None:
        """The application as it is at first."""
        (folder / "app.py").write_text(self.blocks("python")[0])
        (folder / "page.html").write_text(self.blocks("html")[0])

    def change(self, folder: Path, *names: str) -> None:
        """What the page says to change: its first diffs in their order, each of the file of that name."""
        for name, diff in zip(names, self.blocks("diff"), strict=False):
            file = folder / name
            file.write_text(changed(file.read_text(), diff))


def changed(text: str, diff: str) -> str:
    """A file after a diff, each of whose hunks fits in exactly one place."""
    for hunk in re.split(r"^@@.*\n", diff, flags=re.MULTILINE)[1:]:
        lines = hunk.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] in " -")
        after = "".join(line[1:] for line in lines if line[0] in " +")
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    return text


def slow_down(folder: Path, seconds: float) -> None:
    """Let the work take longer, so that a slow machine sees its middle too."""
    app = folder / "app.py"
    assert PACE in app.read_text()
    app.write_text(app.read_text().replace(PACE, f"sleep({seconds})"))


@contextmanager
def running(folder: Path, **environment: str) -> Iterator[str]:
    """The application, run by the command of the pages, in a folder with nothing else in it; its address.

    In the end it is told to stop by Ctrl-C, and must in time.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program, *rest = shlex.split(COMMAND)
    known = {name: value for name, value in os.environ.items() if not name.startswith(("MILEPOST_", "PYTHON"))}
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [Path(sys.executable).with_name(program), *rest, "--port", str(port)],
            cwd=folder,
            env={**known, **environment},
            stdout=out,
            stderr=out,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: answers(url), seconds=60, what="the application answers")
        yield url
        process.send_signal(signal.SIGINT)
        process.wait(15)
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        process.kill()
        process.wait()
