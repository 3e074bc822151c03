"""``python examples``: the demo. Its own processes are this file too, as ``hub``, ``worker`` and ``program``.

By path from a checkout, or as part of an installed wheel: the folder is imported under a name of its own, so that
nothing else that is called "examples" is in the way.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
import threading
from pathlib import Path

if not __package__:  # run by its path
    here = Path(__file__).resolve().parent
    spec = importlib.util.spec_from_file_location(
        "milepost_examples", here / "__init__.py", submodule_search_locations=[str(here)]
    )
    assert spec
    assert spec.loader
    sys.modules["milepost_examples"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    __package__ = "milepost_examples"

from .stage import neighbours
from .stage.catalogue import EXAMPLES
from .stage.site import Site
from .stage.supervisor import REDIS, make_secret, run

ROLES = ["demo", "hub", "worker", "program"]


def main() -> None:
    """Reads the command line and does what it says, until it is ended."""
    parser = argparse.ArgumentParser(prog="examples", description="Five small applications on one hub.")
    parser.add_argument("names", nargs="*", help=f"which of them, all by default: {', '.join(EXAMPLES)}")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8470)
    parser.add_argument("--data-dir", type=Path, default=Path("milepost-demo"), help="where everything is kept")
    parser.add_argument(
        "--engine",
        help="sqlite, a file in the data folder (the default); redis or postgres, two hubs on one that is started;"
        " or the URL of one that runs",
    )
    parser.add_argument("--output", type=Path, help="where files are written; a folder of the data by default")
    parser.add_argument("--token-seconds", type=float, default=3600.0, help="how long a visitor's token lives")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    parser.add_argument("--role", choices=ROLES, default="demo", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--fd", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--stop", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--user", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.role == "demo":
        run(
            given.names,
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
        program = neighbours.Program("", given.names, given.folder, signal.Signals(given.stop), given.user)
        sys.exit(neighbours.guard(program, started=_watch_parent))
    _watch_parent()
    sites = [
        Site(
            name,
            given.url,
            make_secret(given.data_dir),
            given.data_dir / name,
            given.output and given.output / name,
            os.environ.get(REDIS, ""),
            given.token_seconds,
        )
        for name in given.names
    ]
    if given.role == "hub":
        from .stage.serve import serve

        serve(sites, fd=given.fd)
    else:
        from .stage.work import work

        work(sites[0])


def _watch_parent() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """The parent holds the other end of standard input: it closes when the parent ends, however it ends."""
    while os.read(0, 1):  # unbuffered: a buffer's lock, held by this thread, would abort the interpreter's own end
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
