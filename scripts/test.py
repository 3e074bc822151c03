"""Run vitest, then pytest, and say how many tests each counted.

Fails where a test failed, was skipped or expected to fail, or where a runner ran none: a test that did not run has
shown nothing. All run whatever the first one says, so that one look shows all that is broken. What drives a browser
mostly waits, so it goes beside all else; what that prints comes after.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parent.parent
IN_BROWSERS = ["tests/browser", "tests/docs_pages", "tests/examples"]
LAST = "tests/whole"  # looks at what the run before it has left behind


def vitest(report: Path) -> tuple[int, int, int]:
    """(passed, failed, skipped) of the browser client's tests; a crash of the runner counts as one failure."""
    reporters = ["--reporter=default", "--reporter=json", f"--outputFile.json={report}"]
    code = subprocess.run(["npx", "vitest", "run", *reporters], cwd=ROOT / "web", check=False).returncode
    if not report.exists():
        return 0, 1, 0
    counted = json.loads(report.read_text())
    failed = counted["numFailedTests"]
    return counted["numPassedTests"], failed or int(code != 0), counted["numPendingTests"] + counted["numTodoTests"]


def pytest(report: Path, arguments: list[str], output: IO[bytes] | None = None, nice: int = 0) -> tuple[int, int, int]:
    """(passed, failed, skipped) of these, likewise."""
    command = ["nice", "-n", str(nice), sys.executable, "-m", "pytest", f"--junit-xml={report}", *arguments]
    code = subprocess.run(command, cwd=ROOT, check=False, stdout=output).returncode
    if not report.exists():
        return 0, 1, 0
    suites = list(ET.parse(report).getroot().iter("testsuite"))  # noqa: S314 - our own pytest wrote it
    total, skipped = (sum(int(suite.get(name, 0)) for suite in suites) for name in ("tests", "skipped"))
    failed = sum(int(suite.get(name, 0)) for suite in suites for name in ("failures", "errors"))
    return total - failed - skipped, failed or int(code != 0), skipped


def main() -> int:
    """Run all and print the closing lines last, where they are found."""
    # A server under test must behave as it does for a person, whatever this shell has set.
    for name in [name for name in os.environ if name.startswith("MILEPOST_")]:
        del os.environ[name]
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as printed, ThreadPoolExecutor() as beside:
        if sys.argv[1:]:
            counts = {"pytest": pytest(Path(folder) / "pytest.xml", sys.argv[1:])}
        else:
            others = [f"--ignore={name}" for name in IN_BROWSERS]
            rest = beside.submit(pytest, Path(folder) / "others.xml", others, printed)
            counts = {"vitest": vitest(Path(folder) / "vitest.json")}
            # They stand back: others promise times.
            browsers = pytest(Path(folder) / "browsers.xml", [*IN_BROWSERS, LAST], nice=10)
            passed, failed, skipped = (sum(both) for both in zip(browsers, rest.result(), strict=True))
            counts["pytest"] = passed, failed, skipped
            printed.seek(0)
            sys.stdout.flush()
            sys.stdout.buffer.write(printed.read())
            sys.stdout.flush()
    for runner, (passed, failed, skipped) in counts.items():
        print(f"{runner}: {passed} passed, {failed} failed, {skipped} skipped")
    return int(any(failed or skipped or not passed for passed, failed, skipped in counts.values()))


if __name__ == "__main__":
    sys.exit(main())
