"""The bom example over the bridge: its worker publishes on a Redis, and so may anybody."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.buyer import Open, fixture_arrive
from tests.browser.stage import Stage, until
from tests.engines.redis_server import RedisServer, running_redis

__all__ = ["fixture_arrive"]


@pytest.fixture(name="redis", scope="module")
def fixture_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis."""
    with running_redis(tmp_path_factory.mktemp("bom-redis")) as server:
        yield server


@pytest.fixture(name="bridged", scope="module")
def fixture_bridged(tmp_path_factory: pytest.TempPathFactory, redis: RedisServer) -> Iterator[Stage]:
    """The example, whose worker publishes on that Redis."""
    stage = Stage(tmp_path_factory.mktemp("bridged"), "bom", BOM_REDIS_URL=redis.url)
    until(lambda: redis.do("PUBSUB", "NUMPAT") == 1, what="the bridge subscribes")
    yield stage
    stage.close()


def test_4_7_redis_cli_drives_the_banner(arrive: Open, bridged: Stage, redis: RedisServer) -> None:
    """First the example's worker, which publishes and knows nothing of Milepost; then a person with ``redis-cli``, who
    takes the banner through another run, to its completion.
    """
    buyer = arrive(bridged)
    buyer.sign_in()
    buyer.add()
    buyer.enrich()
    buyer.in_state("completed")
    expect(buyer.banner).to_contain_text("€ 15.47 a board")
    expect(buyer.line(12)).to_have_attribute("data-status", "enriched")

    about = {"bom_id": buyer.bom, "bom_name": "By hand", "organization_id": "bom-northwind", "user_id": buyer.id}

    def publish(event: str, **data: Any) -> None:
        message = json.dumps({"event": event, "data": {**about, "total_items": 40, **data}})
        command = ["redis-cli", "-p", str(redis.port), "PUBLISH", f"enrichment:bom:{buyer.bom}", message]
        heard = subprocess.run(command, capture_output=True, text=True, check=True)
        assert heard.stdout.strip() == "1"

    publish("enrichment.started")
    buyer.in_state("queued")
    item = {"mpn": "BY-HAND-1", "status": "processing", "message": ""}
    publish("progress", processed_items=10, enriched_items=9, error_items=1, current_item=item)
    buyer.in_state("running")
    expect(buyer.banner).to_contain_text("25 %")
    expect(buyer.banner).to_contain_text("9 of 40 enriched")
    expect(buyer.banner).to_contain_text("1 error")
    expect(buyer.banner).to_contain_text("BY-HAND-1")
    buyer.picture("bom-redis-cli")
    publish("enrichment.completed", processed_items=40, enriched_items=38, error_items=2)
    buyer.in_state("completed")
    expect(buyer.banner).to_contain_text("38 of 40 enriched")
    expect(buyer.banner).to_contain_text("2 errors")
