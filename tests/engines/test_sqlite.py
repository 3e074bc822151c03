"""The SQLite engine keeps the engine contract, and the contract holds every promise of the specification."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import milepost.engine
from milepost.testing import EngineContract


class TestSqlite(EngineContract):
    """The whole contract, on a file of its own for each test."""

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        """A file that is not there yet."""
        return f"sqlite:///{tmp_path / 'milepost.db'}"


def test_every_promise_has_a_test() -> None:
    """Each id in brackets of the specification begins the docstring of a test, and no test promises anything else."""
    promised = set(re.findall(r"^\[(\w+)\]", milepost.engine.__doc__ or "", re.MULTILINE))
    tests = [getattr(EngineContract, name) for name in dir(EngineContract) if name.startswith("test_")]
    assert {re.match(r"\[(\w+)\] ", test.__doc__).group(1) for test in tests} == promised  # type: ignore[union-attr]
