"""The session of docs/bridge.md, command by command: what ``redis-cli`` publishes is what ``milepost watch`` shows."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.client.hub import Hub, environment, wait_until
from tests.engines.redis_server import running_redis

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "bridge.md").read_text()


def test_4_7_a_plain_publish_shows_in_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each message of the page is published with ``redis-cli`` alone, and each line that the page shows is printed."""
    published = re.findall(r"^\$ (redis-cli PUBLISH .+)$", PAGE, re.MULTILINE)
    shown = re.search(r"^\$ milepost watch 42 \| cat\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert shown
    waits, *expected = shown[1].splitlines()
    assert len(published) == len(expected) == 4
    with running_redis(tmp_path / "redis") as redis:
        monkeypatch.setenv("BOM_REDIS_URL", redis.url)
        hub = Hub(tmp_path, "--bridge", str(ROOT / "examples" / "bom" / "bridge.toml"))
        hub.start()
        try:
            wait_until(lambda: redis.do("PUBSUB", "NUMPAT") == 1, seconds=20, what="the bridge subscribes")
            with subprocess.Popen(
                [sys.executable, "-m", "milepost", "watch", "42"],
                env=environment(MILEPOST_URL=hub.url, MILEPOST_TOKEN=hub.token("u7", "consume")),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            ) as watching:
                assert watching.stdout
                assert watching.stderr
                assert watching.stderr.readline().strip() == waits
                for command, line in zip(published, expected, strict=True):
                    program, *words = shlex.split(command)
                    heard = subprocess.run(
                        [program, "-p", str(redis.port), *words], capture_output=True, text=True, check=True
                    )
                    assert heard.stdout.strip() == "1"  # on a terminal: (integer) 1
                    assert watching.stdout.readline().rstrip() == line
                rest, complaints = watching.communicate(timeout=30)
                assert (watching.returncode, rest, complaints) == (0, "", "")
        finally:
            hub.close()
