"""What ``pip install`` gives: the wheel, unpacked into an empty folder, with nothing of the checkout in reach."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from examples.stage.catalogue import EXAMPLES
from tests.browser.stage import until

ROOT = Path(__file__).parents[2]


@pytest.fixture(name="wheel", scope="module")
def fixture_wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """What is built from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    make = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([*make, str(ROOT)], check=True, cwd=folder)
    (built,) = folder.glob("milepost-*.whl")
    return zipfile.ZipFile(built)


@pytest.fixture(name="installed")
def fixture_installed(wheel: zipfile.ZipFile, tmp_path: Path) -> Path:
    """The folder of an installed wheel."""
    wheel.extractall(tmp_path / "site")
    return tmp_path / "site"


@pytest.fixture(name="demo")
def fixture_demo(installed: Path, tmp_path: Path) -> Iterator[str]:
    """The address of its ``milepost demo``."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MILEPOST_")}
    log = tmp_path / "demo.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "milepost", "demo", "--port", "0"],
            cwd=tmp_path,
            env={**inherited, "PYTHONPATH": str(installed)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield until(lambda: "".join(re.findall(r" at (http://\S+) ", log.read_text())), seconds=30, what="its address")
    finally:
        process.terminate()
        process.wait(30)
    assert process.returncode == 0
    assert "Traceback" not in log.read_text(), log.read_text()


def test_the_demo_of_an_installed_package(demo: str) -> None:
    """Every example is there with all that its page loads, and the page is the wheel's, not the checkout's."""
    with httpx2.Client(base_url=demo, timeout=30, follow_redirects=True) as http:
        assert until(lambda: http.get("/readyz").is_success)
        for name in EXAMPLES:
            page = http.get(f"/{name}/")
            assert page.status_code == 200, name
            links = re.findall(r'(?:src|href)="([^"#?]+\.(?:js|css|svg))"', page.text)
            assert len(links) >= 4, name
            for link in links:
                assert http.get(link if link.startswith("/") else f"/{name}/{link}").status_code == 200, (name, link)


def test_what_the_wheel_carries(wheel: zipfile.ZipFile) -> None:
    """The client with its types, and nothing that only a checkout needs or a run leaves behind."""
    names = wheel.namelist()
    static = "milepost/server/static/"
    assert {f"{static}milepost.{end}" for end in ("js", "mjs", "css", "d.ts")} <= set(names)
    stray = {"__pycache__", "node_modules", "package.json", "tsconfig.json"}
    assert [name for name in names if stray & set(name.split("/"))] == []
