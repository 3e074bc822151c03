"""Break the product in one place at a time and see whether the tests notice: ``python scripts/breaks.py [ID …]``.

Each file of tests/breaks/ is a list of breaks: ``id`` of the requirement, ``what`` is broken, in a sentence, the
``file``, the exact ``text`` in it that is replaced, what it ``becomes``, and the ``tests``, named as in
docs/requirements.md, each of which has to fail then. A break is made in a copy of the tree. A test counts that passes
in a copy where nothing is broken, and then fails: one that could not even begin has noticed nothing.
"""

from __future__ import annotations

import json
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

ROOT: Final = Path(__file__).resolve().parent.parent
BREAKS: Final = ROOT / "tests" / "breaks"
BUILT: Final = ("src/milepost/server/static", "examples/*/built")
AT_ONCE: Final = 2
SECONDS: Final = 600.0  # for the tests of one break; pytest's own limit ends one that hangs long before


@dataclass(frozen=True)
class Break:
    """One entry of tests/breaks/."""

    id: str
    what: str
    file: str
    text: str
    becomes: str
    tests: tuple[str, ...]

    def places(self, root: Path = ROOT) -> int:
        """How often the text stands in its file; a break is fresh where that is once."""
        return (root / self.file).read_text().count(self.text)

    def broken(self, root: Path = ROOT) -> str:
        """What the file then says."""
        return (root / self.file).read_text().replace(self.text, self.becomes)

    @contextmanager
    def made(self, root: Path) -> Iterator[None]:
        """The product in ``root`` is broken meanwhile."""
        path = root / self.file
        whole = path.read_text()
        path.write_text(self.broken(root))
        try:
            yield
        finally:
            path.write_text(whole)


def listed() -> list[Break]:
    """All of them, in the order of their files."""
    return [
        Break(**{**entry, "tests": tuple(entry["tests"])})
        for path in sorted(BREAKS.glob("*.toml"))
        for entry in tomllib.loads(path.read_text())["break"]
    ]


class Copy:
    """The tree as it is now, in a folder of its own, with the packages of the tree that it is of."""

    def __init__(self, root: Path) -> None:
        self.root = root
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        for name in names.split("\0"):
            if (ROOT / name).is_file():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, root / name)
        self.take_built()
        (root / ".venv").symlink_to(ROOT / ".venv")
        # Not a link: vite serves nothing from beyond its root, and keeps what it has made ready in there.
        modules = ROOT / "web" / "node_modules"
        shutil.copytree(
            modules,
            root / "web" / "node_modules",
            symlinks=True,
            ignore=lambda folder, _: [".vite"] if Path(folder) == modules else [],
        )
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MILEPOST_")}
        # before the packages of .venv, one of which leads to the tree that is not broken
        self._environment = {**kept, "PYTHONPATH": str(root / "src"), "PYTHONDONTWRITEBYTECODE": "1"}

    def take_built(self) -> None:
        """What the tree itself has built of the browser client and of the examples' pages."""
        for folder in (found for pattern in BUILT for found in ROOT.glob(pattern)):
            shutil.copytree(folder, self.root / folder.relative_to(ROOT), dirs_exist_ok=True)

    def build(self) -> None:
        """Build the browser client anew. Raises CalledProcessError where it does not build."""
        self._run(["npm", "run", "--silent", "build"], self.root / "web").check_returncode()

    def results(self, tests: Sequence[str]) -> dict[str, str]:
        """What became of each test: ``passed``, ``failed``, or ``not run`` where it is neither."""
        found: dict[str, str] = {}
        titled = [test for test in tests if _title(test)]
        named = [test for test in tests if not _title(test)]
        if named:
            found |= self._pytest(named)
        if titled:
            found |= self._vitest(titled)
        return found

    def _pytest(self, tests: list[str]) -> dict[str, str]:
        report = self.root / "pytest.xml"
        report.unlink(missing_ok=True)
        paths = [f"tests/{test}" for test in tests]
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={report}", *paths]
        self._run(command, self.root)
        cases = list(ET.parse(report).getroot().iter("testcase")) if report.exists() else []  # noqa: S314 - our own
        found: dict[str, str] = {}
        for test in tests:
            path, _, name = test.partition("::")
            module = f"tests.{path.removesuffix('.py').replace('/', '.')}"
            mine = [case for case in cases if case.get("classname") == module and _is(case.get("name", ""), name)]
            found[test] = _sum([_outcome(case) for case in mine])
        return found

    def _vitest(self, tests: list[str]) -> dict[str, str]:
        report = self.root / "vitest.json"
        report.unlink(missing_ok=True)
        files = sorted({f"test/{test.partition(': ')[0]}" for test in tests})
        titles = "|".join(re.escape(_title(test)) for test in tests)
        command = ["npx", "vitest", "run", "-t", titles, "--reporter=json", f"--outputFile.json={report}", *files]
        self._run(command, self.root / "web")
        ran = json.loads(report.read_text())["testResults"] if report.exists() else []
        cases = [(file["name"], case["title"], case["status"]) for file in ran for case in file["assertionResults"]]
        found = {}
        for test in tests:
            path, _, title = test.partition(": ")
            found[test] = _sum([status for file, name, status in cases if file.endswith(path) and name == title])
        return found

    def _run(self, command: list[str], folder: Path) -> subprocess.CompletedProcess[bytes]:
        with (self.root / "output.txt").open("w") as output:
            return subprocess.run(
                command, cwd=folder, env=self._environment, check=False, stdout=output, stderr=output, timeout=SECONDS
            )


def _title(test: str) -> str:
    """Of a test of the browser client; "" for one of pytest's."""
    return test.partition(".test.ts")[2].partition(": ")[2]


def _is(case: str, name: str) -> bool:
    return case == name or case.startswith(f"{name}[")


def _outcome(case: ET.Element) -> str:
    if case.find("failure") is not None:
        return "failed"
    return "passed" if case.find("error") is None and case.find("skipped") is None else "not run"


def _sum(outcomes: list[str]) -> str:
    """Of a test with parameters: one case that fails is enough."""
    if "failed" in outcomes:
        return "failed"
    return "passed" if outcomes and set(outcomes) == {"passed"} else "not run"


def caught(one: Break, copy: Copy) -> str:
    """Nothing, where each of the tests passes as long as nothing is broken, and then fails; else what is wrong."""
    if one.places(copy.root) != 1:
        return f"its text stands {one.places(copy.root)} times in {one.file}"
    bundled = one.file.startswith("web/src/") and not all(_title(test) for test in one.tests)
    whole = copy.results(one.tests)
    if found := [f"{test} {result} with nothing broken" for test, result in whole.items() if result != "passed"]:
        return ", ".join(found)
    with one.made(copy.root):
        if bundled:
            copy.build()
        broken = copy.results(one.tests)
    if bundled:
        copy.take_built()
    return ", ".join(f"{test} {result}" for test, result in broken.items() if result != "failed")


def main() -> int:
    """Try all breaks, or those of the ids that are given; 1 where a test did not notice its one."""
    wanted = set(sys.argv[1:])
    breaks = [one for one in listed() if not wanted or one.id in wanted]
    if missing := wanted - {one.id for one in breaks}:
        sys.exit(f"no break is listed for {', '.join(sorted(missing))}")
    printing = threading.Lock()
    with tempfile.TemporaryDirectory(prefix="milepost-breaks-") as folder:
        copies: queue.SimpleQueue[Copy] = queue.SimpleQueue()
        for number in range(min(AT_ONCE, len(breaks))):
            copies.put(Copy(Path(folder) / str(number)))

        def attempt(one: Break) -> bool:
            copy = copies.get()
            began = time.monotonic()
            try:
                wrong = caught(one, copy)
            except subprocess.SubprocessError as error:  # it takes too long, or does not build
                wrong = str(error)
            finally:
                copies.put(copy)
            with printing:
                verdict = f"NOT CAUGHT: {wrong}" if wrong else "caught"
                print(f"{one.id:8} {one.what} {verdict} ({time.monotonic() - began:.0f} s)", flush=True)
            return not wrong

        with ThreadPoolExecutor(AT_ONCE) as pool:
            results = list(pool.map(attempt, breaks))
    print(f"breaks: {sum(results)} caught, {len(results) - sum(results)} not caught")
    return int(not all(results) or not results)


if __name__ == "__main__":
    sys.exit(main())
