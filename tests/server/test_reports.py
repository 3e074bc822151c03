"""Browsers' reports: sums that are counted, within bounds, under names that are known, of nobody."""

from __future__ import annotations

import time
from typing import Any

import pytest

from milepost.model import from_rfc3339
from milepost.server import reports
from tests.server.process import Client, Server, refused

REPORT = {
    "reconnections": {"network": 2, "shutdown": 1},
    "transports": {"poll": 1},
    "actions": {"notified": 3, "inbox_opened": 1},
    "delays": [0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    "delay_seconds": 100.25,
}
ALREADY = {
    'reconnections_total{reason="network"}': 2,
    'reconnections_total{reason="shutdown"}': 1,
    'transport_changes_total{transport="poll"}': 1,
    'actions_total{action="notified"}': 3,
    'actions_total{action="inbox_opened"}': 1,
    'delivery_seconds_bucket{le="0.05"}': 0,
    'delivery_seconds_bucket{le="0.1"}': 4,
    'delivery_seconds_bucket{le="60.0"}': 4,
    "delivery_seconds_count": 5,
    "delivery_seconds_sum": 100.25,
    "reports_total": 1,
}
OTHERS = ('reconnections_total{reason="other"}', 'actions_total{action="other"}')


def counted(server: Server) -> dict[str, float]:
    """The metrics that reports make, by what follows ``milepost_client_``."""
    return {name: server.metric(f"milepost_client_{name}") for name in (*ALREADY, *OTHERS)}


def grown(server: Server, before: dict[str, float]) -> dict[str, float]:
    """What has become more."""
    return {name: round(now - before[name], 6) for name, now in counted(server).items() if now != before[name]}


def names(server: Server) -> set[str]:
    """Every sample's name and labels."""
    headers = {"authorization": f"Bearer {server.someone('root', 'operators', 'admin').token}"}
    text = server.http.get("/metrics", headers=headers).text
    return {line.rpartition(" ")[0] for line in text.splitlines() if line.startswith("milepost_client_")}


def test_a_report_is_counted(me: Client) -> None:
    """Each number of it, once; the answer says the hub's time."""
    before = counted(me.server)
    begun = time.time()
    answer = me.post("/client-reports", REPORT)
    assert list(answer) == ["time"]
    assert begun - 1 < (from_rfc3339(answer["time"]) or 0) < time.time() + 1
    assert grown(me.server, before) == {name: value for name, value in ALREADY.items() if value}


def test_names_that_are_not_known_are_other(me: Client) -> None:
    """Whatever is sent as a name, no label comes of it: not a token, not an id, not of who sent it."""
    server = me.server
    me.post("/client-reports", REPORT)
    before, known = counted(server), names(server)
    canary = "canary-4711"
    someone = server.someone(f"user-{canary}", f"tenant-{canary}")
    report = {"reconnections": {canary: 3, '"} 1\nevil': 1}, "actions": {someone.token[:64]: 1}}
    someone.post("/client-reports", report)
    assert grown(server, before) == {OTHERS[0]: 4, OTHERS[1]: 1, "reports_total": 1}
    assert names(server) == known
    assert not any(canary in name for name in names(server))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"[]", None),
        (b"{", None),
        ({"id": "x"}, "id"),
        ({"reconnections": ["network"]}, "reconnections"),
        ({"reconnections": {"network": "1"}}, "reconnections.network"),
        ({"reconnections": {"network": -1}}, "reconnections.network"),
        ({"reconnections": {"network": 1.5}}, "reconnections.network"),
        ({"reconnections": {"network": True}}, "reconnections.network"),
        ({"reconnections": {"network": reports.MAX_TIMES + 1}}, "reconnections.network"),
        ({"actions": {str(n): 1 for n in range(reports.MAX_NAMES + 1)}}, "actions"),
        ({"delays": [1] * 10}, "delays"),
        ({"delays": [1] * 12}, "delays"),
        ({"delays": [-1] * 11}, "delays.0"),
        ({"delay_seconds": -1}, "delay_seconds"),
        ({"delay_seconds": 5}, "delay_seconds"),
        ({"delays": [1, *[0] * 10], "delay_seconds": 3601}, "delay_seconds"),
    ],
)
def test_what_is_no_report_is_refused(me: Client, body: Any, field: str | None) -> None:
    """With the field that is wrong, and nothing of it is counted."""
    server = me.server
    before = counted(server)
    problem = refused(me.call("POST", "/client-reports", body), 422, "invalid")
    assert problem.get("field") == field
    assert grown(server, before) == {}


def test_a_report_is_small(me: Client) -> None:
    """Far below the limit of other bodies."""
    body = b'{"reconnections":{"%s":1}}' % (b"x" * reports.MAX_BYTES)
    refused(me.call("POST", "/client-reports", body), 413, "too_large")


def test_who_reports_too_often_is_told_when_to_come_back(me: Client) -> None:
    """By user: another one is still heard. What is refused is not counted."""
    before = me.server.metric("milepost_client_reports_total")
    answers = [me.call("POST", "/client-reports", {}) for _ in range(reports.A_MINUTE + 1)]
    assert [answer.status_code for answer in answers[:-1]] == [200] * reports.A_MINUTE
    refused(answers[-1], 429, "rate_limited")
    assert int(answers[-1].headers["retry-after"]) >= 1
    me.other("another").post("/client-reports", {})
    assert me.server.metric("milepost_client_reports_total") == before + reports.A_MINUTE + 1


def test_only_who_is_signed_in_reports(server: Server) -> None:
    """As on every route; a page of another origin cannot with the cookie alone."""
    refused(server.http.post("/api/client-reports", json=REPORT), 401, "token_missing")
    headers = {"cookie": f"milepost_token={server.someone().token}", "origin": "https://elsewhere.example"}
    refused(server.http.post("/api/client-reports", json=REPORT, headers=headers), 403, "origin_refused")


def test_the_body_is_described(server: Server) -> None:
    """In the OpenAPI document, with its bounds."""
    found = server.http.get("/api/openapi.json").json()["paths"]["/api/client-reports"]["post"]
    body = found["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["properties"]) == set(REPORT)
    assert body["additionalProperties"] is False
    assert body["properties"]["delays"]["maxItems"] == 11
