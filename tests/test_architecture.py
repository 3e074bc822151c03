"""The plan of the code, held by tests: the page that draws it is docs/architecture.md, the layers are in pyproject."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "milepost"
LONGEST = 500

# Who may import a third party, by the module's name below `milepost`. A part here is a part with one owner: to put
# another one in its place, that file is all there is to read.
HOMES: dict[str, tuple[str, ...]] = {
    "anyio": ("testing",),
    "apsw": ("engines.sqlite",),
    "cryptography": ("auth",),
    "fastapi": ("server", "integrations.fastapi"),
    "httptools": ("server",),
    "httpx2": ("client",),
    "jwt": ("auth", "jwks"),
    "prometheus_client": ("server",),
    "psycopg": ("engines.postgres",),
    "pydantic_settings": ("settings",),
    "pytest": ("testing",),
    "redis": ("engines.redis", "bridge"),
    "rich": ("cli",),
    "sqlalchemy": ("engines.postgres",),
    "starlette": ("server", "integrations.fastapi"),
    "typer": ("cli",),
    "uvicorn": ("server", "cli"),
    "uvloop": ("server", "cli"),
    # words that pass through all layers
    "orjson": ("",),
    "pydantic": ("",),
    "pydantic_core": ("",),
}

TEXT = {
    ".css",
    ".html",
    ".js",
    ".json",
    ".lua",
    ".md",
    ".mjs",
    ".py",
    ".sh",
    ".sql",
    ".toml",
    ".ts",
    ".tsx",
    ".yaml",
    ".yml",
    "",
}
SOURCE = {".css", ".js", ".lua", ".mjs", ".py", ".sql", ".ts", ".tsx"}


def project_files() -> list[Path]:
    """Every file that is, or would be, in the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [path for name in listed.splitlines() if (path := ROOT / name).is_file()]


def modules() -> Iterator[tuple[str, ast.Module]]:
    """(name below `milepost`, syntax tree) of every module of the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        yield name, ast.parse(path.read_text(), filename=str(path))


def imported(tree: ast.AST) -> Iterator[str]:
    """Each absolute import in a module, those within functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module


def within(module: str, home: str) -> bool:
    """Whether a module is its home or below it; the home "" is everywhere."""
    return not home or module == home or module.startswith(home + ".")


def test_every_third_party_has_its_home() -> None:
    """A third party is imported in its home only, and none without a home in the table is imported at all."""
    strays = [
        f"{module or '__init__'} imports {name}"
        for module, tree in modules()
        for name in imported(tree)
        if (root := name.partition(".")[0]) not in sys.stdlib_module_names
        and root != "milepost"
        and not any(within(module, home) for home in HOMES.get(root, ()))
    ]
    assert not strays


def test_every_dependency_is_used() -> None:
    """What an installation has to bring along is imported somewhere, or handed by name to what imports it."""
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.match(r"[\w-]+", line)[0].replace("-", "_") for line in stated}  # type: ignore[index]
    used = {name.partition(".")[0] for _, tree in modules() for name in imported(tree)}
    by_name = {"httptools"}  # uvicorn's parser
    assert {{"pyjwt": "jwt"}.get(name, name) for name in names} - used == by_name


def test_only_the_package_itself_chooses_an_engine() -> None:
    """An engine is named by nobody but `engines/__init__`, which picks it by the URL's scheme."""
    engines = {name.split(".")[1] for name, _ in modules() if name.startswith("engines.")}
    named = re.compile(rf"(milepost)?\.?engines\.({'|'.join(engines)})\b")
    strays = [
        f"{module} imports {name}"
        for module, tree in modules()
        if not within(module, "engines")
        for name in (*imported(tree), *relative(tree))
        if named.match(name)
    ]
    assert engines
    assert not strays


def relative(tree: ast.AST) -> Iterator[str]:
    """Each relative import in a module, as it is written below `milepost`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level > 0:
            yield from (f"{node.module or ''}.{alias.name}".lstrip(".") for alias in node.names)


def test_no_file_is_too_long() -> None:
    """A source file has at most 500 lines: beyond that it holds two things."""
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_bytes().splitlines())
        for path in project_files()
        if path.suffix in SOURCE
    }
    assert lengths
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST} == {}


def test_names_say_what_is_in_a_file() -> None:
    """No file or folder is called by what it is to its author: utils, common, helpers, manager."""
    vague = re.compile(r"(^|[_-])(utils?|common|helpers?|managers?)([_-]|$)")
    strays = [
        str(path.relative_to(ROOT))
        for path in project_files()
        if any(vague.search(part.partition(".")[0]) for part in path.relative_to(ROOT).parts)
    ]
    assert not strays


def test_no_file_names_a_package_registry() -> None:
    """Packages are named, never addressed: a lock file or a link with a registry's host ties the project to it."""
    hosts = re.compile(r"pythonhosted[.]org|pypi[.]org|registry[.](npmjs|yarnpkg)|deb[.]debian[.]org|unpkg[.]com")
    strays = [
        f"{path.relative_to(ROOT)}: {found[0]}"
        for path in project_files()
        if path.suffix in TEXT and (found := hosts.search(path.read_text(errors="replace")))
    ]
    assert not strays
