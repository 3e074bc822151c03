"""``python -m bench [SCENARIO …]``: all figures of docs/performance.md, or those named, measured here and printed."""

from __future__ import annotations

import argparse
import importlib
import platform
import signal
import sys
import time
from importlib.metadata import version
from typing import Final

from bench import machine

SCENARIOS: Final = ("engine", "changes", "publish", "latency", "fanout", "connections", "browser")


def main() -> None:
    """Run what is named, in the order above."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Milepost's figures, measured here.")
    parser.add_argument("scenario", nargs="*", help=f"{', '.join(SCENARIOS)}; all of them by default")
    named = parser.parse_args().scenario
    if unknown := set(named) - set(SCENARIOS):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that whatever was started is ended
    machine.prepare()
    began = time.monotonic()
    versions = " · ".join(f"{name} {version(name)}" for name in ("milepost", "uvicorn", "uvloop", "sse-starlette"))
    print(f"{machine.describe()}\nCPython {platform.python_version()} · {versions}")
    print("Each figure is a median, with the lowest and the highest of its repetitions.\n", flush=True)
    for name in SCENARIOS:
        if not named or name in named:
            for table in importlib.import_module(f"bench.{name}").run():
                print(f"{table}\n", flush=True)
    print(f"measured in {time.monotonic() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
