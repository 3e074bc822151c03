"""tests/breaks/ is complete and fresh. Whether the tests notice each break, ``make check-breaks`` tries."""

from __future__ import annotations

import ast

import pytest

from scripts.breaks import Break, listed
from tests.test_requirements import ROWS

BREAKS = [pytest.param(one, id=one.id) for one in listed()]


def test_every_requirement_with_a_test_has_a_break() -> None:
    """And none has one that is not listed."""
    tested = {name for name, row in ROWS.items() if "::" in row or "“" in row}
    assert {one.id for one in listed()} == tested


@pytest.mark.parametrize("one", BREAKS)
def test_a_break_fits_the_product_as_it_is(one: Break) -> None:
    """What it replaces stands once in its file; it changes that, and no grammar; its tests are the requirement's."""
    assert one.places() == 1
    assert one.text != one.becomes
    if one.file.endswith(".py"):
        ast.parse(one.broken())
    assert one.what.endswith(".")
    assert one.tests
    for test in one.tests:
        file, _, title = test.partition(": ")
        names = [f"`{file}`", f"“{title}”"] if title else [f"`{test.partition('[')[0]}`"]
        assert [name for name in names if name not in ROWS[one.id]] == []
