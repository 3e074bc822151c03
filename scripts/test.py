"""Run vitest, then pytest, and say how many tests each counted.

Fails where a test failed, was skipped or expected to fail, or where a runner ran none: a test that did not run has
shown nothing. Both run whatever the first one says, so that one look shows all that is broken.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parent.parent


def vitest(report: Path) -> tuple[int, int, int]:
    """(passed, failed, skipped) of the browser client's tests; a crash of the runner counts as one failure."""
    reporters = ["--reporter=default", "--reporter=json", f"--outputFile.json={report}"]
    code = subprocess.run(["npx", "vitest", "run", *reporters], cwd=ROOT / "web", check=False).returncode
    if not report.exists():
        return 0, 1, 0
    counted = json.loads(report.read_text())
    failed = counted["numFailedTests"]
    return counted["numPassedTests"], failed or int(code != 0), counted["numPendingTests"] + counted["numTodoTests"]


def pytest(report: Path, arguments: list[str]) -> tuple[int, int, int]:
    """(passed, failed, skipped) of all the others, likewise."""
    command = [sys.executable, "-m", "pytest", f"--junit-xml={report}", *arguments]
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    if not report.exists():
        return 0, 1, 0
    suites = list(ET.parse(report).getroot().iter("testsuite"))  # noqa: S314 - our own pytest wrote it
    total, skipped = (sum(int(suite.get(name, 0)) for suite in suites) for name in ("tests", "skipped"))
    failed = sum(int(suite.get(name, 0)) for suite in suites for name in ("failures", "errors"))
    return total - failed - skipped, failed or int(code != 0), skipped


def main() -> int:
    """Run both and print their closing lines last, where they are found."""
    # A server under test must behave as it does for a person, whatever this shell has set.
    for name in [name for name in os.environ if name.startswith("MILEPOST_")]:
        del os.environ[name]
    with tempfile.TemporaryDirectory() as folder:
        counts = {
            "vitest": vitest(Path(folder) / "vitest.json"),
            "pytest": pytest(Path(folder) / "pytest.xml", sys.argv[1:]),
        }
    for runner, (passed, failed, skipped) in counts.items():
        print(f"{runner}: {passed} passed, {failed} failed, {skipped} skipped")
    return int(any(failed or skipped or not passed for passed, failed, skipped in counts.values()))


if __name__ == "__main__":
    sys.exit(main())
