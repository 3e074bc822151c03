"""The state machine of the hub over engines that are reached by a network, whose answers take their time.

In fewer runs: what it finds out about the hub alone it finds on SQLite. These are about hub and engine together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytest

from tests.unit.test_hub_model import HubMachine, run_of


class _Afar(HubMachine):
    """A new store for each run."""

    engine_name: ClassVar[str]
    new_store: ClassVar[Callable[[str], str]]

    def empty_store(self) -> str:
        """See ``HubMachine``."""
        return type(self).new_store(self.engine_name)


class _OnRedis(_Afar):
    engine_name = "redis"


class _OnPostgres(_Afar):
    engine_name = "postgres"


@pytest.fixture(autouse=True)
def give_stores(new_store: Callable[[str], str]) -> None:
    """The machines make their stores themselves."""
    _Afar.new_store = new_store


class TestHubOnRedis(_OnRedis.TestCase):  # type: ignore[misc, valid-type]
    """See ``HubMachine``."""

    settings = run_of(100)


class TestHubOnPostgres(_OnPostgres.TestCase):  # type: ignore[misc, valid-type]
    """See ``HubMachine``."""

    settings = run_of(15)  # each in a database of its own
