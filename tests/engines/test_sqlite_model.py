"""The SQLite engine against the specification's plain model."""

from __future__ import annotations

import shutil
import tempfile

from tests.engines.model import EngineAgainstReference, run_of


class SqliteAgainstReference(EngineAgainstReference):
    """A file of its own for each run."""

    def empty_store(self) -> str:
        """A file that is not there yet."""
        self.folder = tempfile.mkdtemp()
        return f"sqlite:///{self.folder}/milepost.db"

    def teardown(self) -> None:
        """Leave nothing behind."""
        super().teardown()
        shutil.rmtree(self.folder)


SqliteAgainstReference.TestCase.settings = run_of(150)
TestSqliteAgainstReference = SqliteAgainstReference.TestCase
