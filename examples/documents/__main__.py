"""``python examples/documents``: the demo. Its own processes are this file too, as ``hub``, ``worker`` and ``program``.

By path or as a package, from a checkout or an installed wheel: the folder is imported as the package ``documents``.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

if not __package__:  # run or loaded by its path
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    __package__ = "documents"

from . import neighbours
from .supervisor import make_secret, run

__all__ = ["run"]

ROLES = ["demo", "hub", "worker", "program"]


def main() -> None:
    """Reads the command line and does what it says, until it is ended."""
    parser = argparse.ArgumentParser(prog="documents", description="Legal documents from one case, live.")
    parser.add_argument("role", nargs="?", choices=ROLES, default="demo", help=argparse.SUPPRESS)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8470)
    parser.add_argument("--data-dir", type=Path, default=Path("casefile-data"), help="where everything is kept")
    parser.add_argument(
        "--engine",
        help="sqlite, a file in the data folder (the default); redis or postgres, two hubs on one that is started;"
        " or the URL of one that runs",
    )
    parser.add_argument("--output", type=Path, help="where documents are written; a folder of the data by default")
    parser.add_argument("--token-seconds", type=float, default=3600.0, help="how long a visitor's token lives")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--fd", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--stop", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--user", help=argparse.SUPPRESS)
    parser.add_argument("command", nargs="*", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.role == "demo":
        run(
            host=given.host,
            port=given.port,
            data_dir=given.data_dir,
            open_browser=given.open,
            engine=given.engine,
            output=given.output,
            token_seconds=given.token_seconds,
        )
        return
    if given.role == "program":
        program = neighbours.Program("", given.command, given.folder, signal.Signals(given.stop), given.user)
        sys.exit(neighbours.guard(program, started=_watch_parent))
    _watch_parent()
    secret = make_secret(given.data_dir)
    if given.role == "hub":
        from .app import Site, serve

        site = Site(given.url, secret, given.data_dir / "queue", given.output, given.token_seconds)
        serve(site, fd=given.fd)
    else:
        from .worker import work

        work(url=given.url, secret=secret, queue_folder=given.data_dir / "queue", output=given.output)


def _watch_parent() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """The parent holds the other end of standard input: it closes when the parent ends, however it ends."""
    while os.read(0, 1):  # unbuffered: a buffer's lock, held by this thread, would abort the interpreter's own end
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
