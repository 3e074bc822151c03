"""What the fault tests share: a store at the other end of a network that fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from tests.faults.proxy import Proxy, proxy_to


@dataclass
class Far:
    """An empty store, by the network and beside it."""

    url: str
    direct: str
    network: Proxy


@contextmanager
def far_store(direct: str) -> Iterator[Far]:
    """A store that is there, by a network."""
    port = urlsplit(direct).port
    assert port is not None
    with proxy_to(port) as network:
        yield Far(direct.replace(f":{port}/", f":{network.port}/"), direct, network)


@pytest.fixture(params=["redis", "postgres"])
def far(request: pytest.FixtureRequest, new_store: Callable[[str], str]) -> Iterator[Far]:
    """An empty store of each engine that is reached by a network; SQLite has none."""
    with far_store(new_store(request.param)) as store:
        yield store
