"""The pages in React, as they are served, and the same pages built with React 18."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.visitor import ROOT

# The script in place of a page's own `main.js`; None: its own, which is built with React 19.
ScriptOf = Callable[[str], Path | None]


@pytest.fixture(name="react_18", scope="session")
def fixture_react_18(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all pages' scripts built with React 18, ``NAME/main.js``."""
    folder = tmp_path_factory.mktemp("react-18")
    command = ["node", "scripts/examples.mjs", "--react=18", f"--out={folder}"]
    built = subprocess.run(command, cwd=ROOT / "web", capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder


@pytest.fixture(name="script_of", params=["react-19", "react-18"])
def fixture_script_of(request: pytest.FixtureRequest) -> ScriptOf:
    """Runs a test with both majors: for the name of an example, what its page runs (``Person(…, script=…)``)."""

    def script_of(name: str) -> Path | None:
        if request.param == "react-19":
            return None
        folder: Path = request.getfixturevalue("react_18")
        script = folder / name / "main.js"
        assert '"18.3.' in script.read_text(), "not built with React 18"
        return script

    return script_of
