"""The SQLite engine keeps the engine contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from milepost.testing import EngineContract


class TestSqlite(EngineContract):
    """The whole contract, on a file of its own for each test."""

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        """A file that is not there yet."""
        return f"sqlite:///{tmp_path / 'milepost.db'}"
