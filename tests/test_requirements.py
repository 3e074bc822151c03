"""docs/requirements.md is true: each requirement has its row, and each test that a row names is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
WEB = TESTS.parent / "web" / "test"
PAGE = (TESTS.parent / "docs" / "requirements.md").read_text()
ROWS = dict(re.findall(r"^\| ([1-9]\.\w+) \| [^|]+ \| ([^|]+) \|$", PAGE, re.MULTILINE))
IDS = {
    *(f"1.{number}" for number in range(1, 12)),
    *(f"2.{number}" for number in range(1, 6)),
    *(f"3.{name}" for name in ("kind", "A", "C", "D", "E", "T", "bytes", "pages", "own", "errors")),
    *(f"4.{number}" for number in range(1, 9)),
    *(f"5.{number}" for number in range(1, 17)),
    *(f"7.{number}" for number in range(1, 9)),
    *(f"8.{name}" for name in (*range(1, 9), "C")),
}


def test_every_requirement_has_its_row() -> None:
    """Of the sections that are listed; a row has tests, or says that there are none."""
    assert set(ROWS) == IDS
    assert [row for row, tests in ROWS.items() if not any(sign in tests for sign in ("::", "“", "not tested"))] == []


@pytest.mark.parametrize("id", sorted(IDS))
def test_the_tests_of_a_row_exist(id: str) -> None:
    """Under the name, or the title, that the row has."""
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", ROWS[id])
    assert len(named) == ROWS[id].count("::"), "a test is named as `path::name`"
    for path, name in named:
        tree = ast.parse((TESTS / path).read_text())
        functions = (ast.FunctionDef, ast.AsyncFunctionDef)
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, functions)}, f"{path}::{name}"
    titled = re.findall(r"`([\w/-]+\.test\.tsx?)`: ((?:“[^”]+”(?:, )?)+)", ROWS[id])
    assert sum(titles.count("“") for _, titles in titled) == ROWS[id].count("“"), "titles stand behind their file"
    for path, titles in titled:
        text = (WEB / path).read_text()
        for title in re.findall("“([^”]+)”", titles):
            assert title in text, f"{path}: {title}"
