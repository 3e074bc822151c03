"""The pages in React, as they are served, and the same pages built otherwise: with React 18, or for development."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.visitor import ROOT

# The script in place of a page's own `main.js`; None: its own, which is built with React 19.
ScriptOf = Callable[[str], Path | None]


# What a build for production does not have: React's own complaints. StrictMode does all effects twice only beside them.
_DEVELOPMENT = "Each child in a list should have a unique"


@pytest.fixture(name="pages_of", scope="session")
def fixture_pages_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """For an option of the build: a folder with all pages' scripts built so, ``NAME/main.js``."""

    @functools.cache
    def pages_of(option: str) -> Path:
        folder = tmp_path_factory.mktemp("pages")
        command = ["node", "scripts/examples.mjs", option, f"--out={folder}"]
        built = subprocess.run(command, cwd=ROOT / "web", capture_output=True, text=True, check=False)
        assert built.returncode == 0, built.stderr
        return folder

    return pages_of


@pytest.fixture(name="script_of", params=["react-19", "react-18"])
def fixture_script_of(request: pytest.FixtureRequest, pages_of: Callable[[str], Path]) -> ScriptOf:
    """Runs a test with both majors: for the name of an example, what its page runs (``Person(…, script=…)``).

    A test may also ask for "development": React 19 with StrictMode's double effects, and with its complaints in the
    console.
    """

    def script_of(name: str) -> Path | None:
        if request.param == "react-19":
            return None
        option, sign = {"react-18": ("--react=18", '"18.3.'), "development": ("--development", _DEVELOPMENT)}[
            request.param
        ]
        script = pages_of(option) / name / "main.js"
        assert sign in script.read_text(), f"not built with {option}"
        return script

    return script_of
