"""``python -m bench [SCENARIO …]``: all figures of docs/performance.md, or those named, measured here and printed."""

from __future__ import annotations

import argparse
import importlib
import platform
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Final

from bench import machine, report
from bench.servers import Nchan, Pushpin, everybody

SCENARIOS: Final = (
    "fanout",
    "connections",
    "storm",
    "latency",
    "slow",
    "overload",
    "mixed",
    "publish",
    "changes",
    "engine",
    "engines",
    "browser",
)
BY_NAME: Final = ("profile", "compression", "soak")  # explains; was decided; takes ten minutes


def main() -> None:
    """Run what is named, in the order above."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Milepost's figures, measured here.")
    parser.add_argument(
        "scenario", nargs="*", help=f"{', '.join(SCENARIOS)}, {', '.join(BY_NAME)}; all but the last three"
    )
    parser.add_argument("--markdown", type=Path, metavar="PAGE", help="write the figures into this page, too")
    chosen = parser.parse_args()
    if unknown := set(chosen.scenario) - {*SCENARIOS, *BY_NAME}:
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that whatever was started is ended
    machine.prepare()
    began = time.monotonic()
    where = f"{machine.describe()}\n{versions()}"
    print(f"{where}\nEach figure is a median, with the lowest and the highest of its repetitions.\n", flush=True)
    found: list[report.Goal] = []
    for name in chosen.scenario or SCENARIOS:
        tables = importlib.import_module(f"bench.{name}").run()
        found += [goal for table in tables for goal in table.goals]
        print("".join(f"{table}\n\n" for table in tables), flush=True)
        if chosen.markdown:
            for page in report.pages(chosen.markdown, name):
                report.put(page, name, "\n\n".join(table.markdown() for table in tables))
            for table in tables:
                if table.plot:
                    picture, svg = table.plot
                    (chosen.markdown.parent / "images" / f"{picture}.svg").write_text(svg)
    if found:
        print(report.goals(found))
    if chosen.markdown:
        report.put(chosen.markdown, "machine", where.replace("\n", ".\n") + ".")
        report.put_rows(chosen.markdown, "goals", report.goals(found))
    print(f"measured in {time.monotonic() - began:.0f} s", file=sys.stderr)


def versions() -> str:
    """What is measured, and what it runs on."""
    told = [f"CPython {platform.python_version()}"]
    told += [f"{name} {version(name)}" for name in ("milepost", "uvicorn", "uvloop", "sse-starlette", "fastapi")]
    packages = {Nchan: "libnginx-mod-nchan", Pushpin: "pushpin"}
    for kind, package in packages.items():
        if kind in everybody():
            asked = subprocess.run(
                ["dpkg-query", "--show", "--showformat=${Version}", package],
                capture_output=True,
                text=True,
                check=False,
            )
            told.append(f"{kind.name} {asked.stdout.partition('+')[0].removeprefix('1:') or '?'}")
    return " · ".join(told)


if __name__ == "__main__":
    main()
