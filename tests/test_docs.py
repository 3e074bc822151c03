"""What the pages say is tried: every example runs, every link leads somewhere, every table has all its rows.

A page's ``python`` blocks run as one program, its ``sh`` blocks in one shell. Each page has its own server, started
as its reader starts it. A ``text`` block right below a ``sh`` block is its output; … stands for what may differ.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.server.process import answers

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "examples/*/*.md", "web/*.md")
    for path in ROOT.glob(pattern)
    if "node_modules" not in path.parts
)
FENCE = re.compile(r"^```(?P<language>\w+)[^\n]*\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
MILEPOST = str(Path(sys.executable).with_name("milepost"))
ADDRESS = "http://127.0.0.1:8470"
BETWEEN = "\x1e"  # the shell says it after each block, so that outputs can be told apart


@dataclass(frozen=True)
class Block:
    """A fenced example: its language, its text, the line it begins on, and the output that stands below it."""

    language: str
    code: str
    line: int
    output: str | None


def blocks(page: Path, language: str) -> list[Block]:
    """The page's examples in one language."""
    text = page.read_text()
    found = []
    for fence in FENCE.finditer(text):
        if fence["language"] == language:
            below = FENCE.match(text, fence.end() + 2)
            output = below["code"] if below and below["language"] == "text" else None
            found.append(Block(language, fence["code"], text.count("\n", 0, fence.start("code")) + 1, output))
    return found


def pages_with(language: str) -> list[object]:
    """Test parameters: the pages that have such examples."""
    return [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES if blocks(page, language)]


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """``milepost serve --dev`` on a free port, with its database in ``folder``; its address, once it is ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    log = folder / "serve.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [MILEPOST, "serve", "--dev", "--port", str(port), "--engine", f"sqlite:///{folder}/docs.db"],
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 20
        while not answers(f"{url}/readyz"):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        yield url
    finally:
        server.kill()
        server.wait()


def environment(folder: Path, url: str) -> dict[str, str]:
    """What a reader of the page has: the command on the path, the server's address, a token; curl fails on 4xx."""
    (folder / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\nmax-time = 30\n")
    known = {name: value for name, value in os.environ.items() if not name.startswith("MILEPOST_")}
    token = [MILEPOST, "token", "--dev", "--user", "u7", "--scope", "consume produce"]
    made = subprocess.run(token, check=True, capture_output=True, text=True, env=known).stdout.strip()
    path = f"{Path(MILEPOST).parent}{os.pathsep}{known['PATH']}"
    return {**known, "PATH": path, "CURL_HOME": str(folder), "MILEPOST_URL": url, "MILEPOST_TOKEN": made}


def agrees(expected: str, got: str) -> bool:
    """Whether an output is what the page shows, where … stands for anything."""
    pattern = ".*".join(re.escape(part) for part in expected.strip().split("…"))
    return re.fullmatch(pattern, got.strip(), re.DOTALL) is not None


@pytest.mark.parametrize("page", pages_with("python"))
def test_python_examples_run(page: Path, tmp_path: Path) -> None:
    """The page's Python, top to bottom, ends without an error and without a warning."""
    program = ""
    for block in blocks(page, "python"):
        program += (
            "\n" * (block.line - 1 - program.count("\n")) + block.code
        )  # so that a traceback names the page's line
    script = tmp_path / f"{page.name}.py"  # fastapi.py would be taken for FastAPI
    with serving(tmp_path) as url:
        script.write_text(program.replace(ADDRESS, url))
        ran = subprocess.run(
            [sys.executable, "-W", "error", str(script)],
            cwd=tmp_path,
            env=environment(tmp_path, url),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("page", pages_with("sh"))
def test_shell_examples_run(page: Path, tmp_path: Path) -> None:
    """The page's shell commands all succeed, and print what the page shows."""
    examples = blocks(page, "sh")
    script = "set -euo pipefail\n" + "".join(f"{block.code}\nprintf '{BETWEEN}'\n" for block in examples)
    with serving(tmp_path) as url:
        ran = subprocess.run(
            ["bash", "-c", script.replace(ADDRESS, url)],
            cwd=tmp_path,
            env=environment(tmp_path, url),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        printed = ran.stdout.replace(url, ADDRESS)
    assert ran.returncode == 0, f"{printed}\n{ran.stderr}"
    for block, got in zip(examples, printed.split(BETWEEN), strict=False):
        if block.output is not None:
            assert agrees(block.output, got), f"line {block.line} printed:\n{got}"


@pytest.mark.parametrize("page", pages_with("json"))
def test_json_examples_parse(page: Path) -> None:
    """What a page shows as JSON is JSON."""
    assert all(json.loads(block.code) is not None for block in blocks(page, "json"))


@pytest.mark.parametrize("page", pages_with("toml"))
def test_toml_examples_parse(page: Path) -> None:
    """What a page shows as TOML is TOML."""
    assert all(tomllib.loads(block.code) for block in blocks(page, "toml"))


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    """Each link within the project names a file that exists, and a heading that is on it."""
    text = FENCE.sub("", page.read_text())
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, heading = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or (heading and heading not in headings(path)):
            dead.append(target)
    assert not dead


def headings(page: Path) -> set[str]:
    """The page's headings as anchors."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def rows(page: str) -> dict[str, list[str]]:
    """The table rows of a page of docs/ by the code in their first cell."""
    lines = (ROOT / "docs" / page).read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| `")]
    return {row[0].strip("` "): row[1:] for row in cells}


def test_errors_page_is_the_table_of_codes() -> None:
    """docs/errors.md has each code with its status and its sentence, as the code has them."""
    from milepost.errors import CODES

    shown = rows("errors.md")
    assert {code: shown.get(code) for code in CODES} == {
        code: [str(status), meaning] for code, (status, meaning) in CODES.items()
    }


def test_configuration_page_has_every_setting() -> None:
    """docs/configuration.md has each setting with its default, as the server itself would read it, and no other."""
    from milepost.settings import Settings

    defaults = {
        name.upper(): field.get_default(call_default_factory=True) for name, field in Settings.model_fields.items()
    }
    by_name = {"KINDS", "TENANTS"}
    shown = {name: row[0].strip("`") for name, row in rows("configuration.md").items()}
    assert set(shown) == set(defaults) - by_name
    for name, text in shown.items():
        if text == "none":
            assert defaults[name] in (None, ()), name
        else:
            assert getattr(Settings.load(**{name.lower(): text}), name.lower()) == defaults[name], name


def test_cli_page_has_every_command() -> None:
    """docs/cli.md has each command, and each of its options but the settings, which have a page of their own."""
    import typer

    from milepost.cli import app
    from milepost.settings import Settings

    group = typer.main.get_command(app)
    commands: dict[str, Any] = vars(group)["commands"]
    page = (ROOT / "docs" / "cli.md").read_text()
    assert set(commands) == set(rows("cli.md"))
    for name, command in commands.items():
        for parameter in command.params:
            if parameter.name not in Settings.model_fields and parameter.param_type_name == "option":
                assert any(re.search(rf"{flag}\b", page) for flag in parameter.opts), f"{name} {parameter.opts}"


def test_http_page_has_every_route(tmp_path: Path) -> None:
    """docs/http.md names each route of the server's OpenAPI document, and none that it does not have."""
    with serving(tmp_path) as url, urllib.request.urlopen(f"{url}/api/openapi.json", timeout=5) as answer:  # noqa: S310
        paths = json.load(answer)["paths"]
    there = {f"{verb.upper()} {path}" for path, verbs in paths.items() for verb in verbs}
    page = (ROOT / "docs" / "http.md").read_text()
    shown = set(re.findall(r"`((?:GET|POST|PATCH) /api/[^`?]*)", page))

    def unnamed(routes: set[str]) -> set[str]:
        return {re.sub(r"{\w+}", "{}", route) for route in routes}

    assert unnamed(shown) == unnamed(there)


def test_engines_page_has_every_promise() -> None:
    """docs/engines.md has each promise of the engine's specification, and no other."""
    import milepost.engine

    promised = set(re.findall(r"^\[(\w+)\]", milepost.engine.__doc__ or "", re.MULTILINE))
    assert promised
    assert promised == {name for name in rows("engines.md") if ":" not in name}


def test_architecture_page_names_every_module() -> None:
    """docs/architecture.md has a row for every module and package directly below `milepost`."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    there = {
        path.stem
        for path in (ROOT / "src" / "milepost").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    shown = set(re.findall(r"^\|[^|]*\| `(\w+)` \|", page, re.MULTILINE))
    assert there - {"__init__", "__main__"} == shown
