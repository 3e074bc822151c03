"""The question behind every transport, asked over HTTP: what is newer than my cursor?

One client asks again and again on one connection, on an otherwise idle server; then 64 at once, for what a core can do.
"""

from __future__ import annotations

import statistics
import urllib.request
from collections.abc import Sequence

import orjson

from bench import machine
from bench.load import Producer, Remote
from bench.protocol import get
from bench.report import Figure, Table, p99
from bench.servers import SECRET, Milepost, user
from milepost.auth import issue_token

ASKED = 1_000
SECONDS = 1.0
TIMES = 3
DOCUMENTS = 47


def run() -> Sequence[Table]:
    """Measure."""
    with machine.folder() as folder, Milepost(folder) as server, Remote(Producer) as producer:
        token = issue_token(SECRET, user=user(0))
        producer.call("each", server.address, [server.publish(user(n)) for n in range(200)])
        before = _cursor(server, token)
        producer.call("each", server.address, [server.publish(user(0)) for _ in range(DOCUMENTS)])
        asked = {
            "empty: at the head": get(f"/api/changes?after={_cursor(server, token)}", token),
            f"{DOCUMENTS} documents": get(f"/api/changes?after={before}", token),
            "snapshot: the 20 newest": get("/api/changes", token),
        }
        table = Table("GET /api/changes, server on one core", ("", "p50", "p99", "answers/s, 64 at once"))
        for name, request in asked.items():
            times = [seconds * 1e6 for seconds in producer.call("times", server.address, request, ASKED)]
            rates = []
            for _ in range(TIMES):
                answers, took = producer.call("saturate", server.address, [request], 64, SECONDS)
                rates.append(answers / took)
            table.rows.append(
                (name, f"{statistics.median(times):,.0f} µs", f"{p99(times):,.0f} µs", str(Figure(rates)))
            )
    return [table]


def _cursor(server: Milepost, token: str) -> str:
    """Where the user's history ends now."""
    request = urllib.request.Request(f"{server.url}/api/changes", headers={"authorization": f"Bearer {token}"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - our own
        return str(orjson.loads(answer.read())["cursor"])
