"""Each code of the table in ``errors.CODES``, as a request gets it: one test a row, all of them problem documents."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from milepost.auth import issue_token
from milepost.errors import CODES
from tests.server.process import Client, Server, refused, token, wait_until


def _opens(who: Client) -> bool:
    with who.stream() as stream:
        return stream.status == 200


def test_token_missing(server: Server) -> None:
    """Without a token: 401, and the challenge that HTTP asks for."""
    answer = server.http.get("/api/jobs")
    refused(answer, 401, "token_missing")
    assert answer.headers["www-authenticate"] == "Bearer"


def test_token_malformed(server: Server) -> None:
    """What cannot be read as a token."""
    refused(server.http.get("/api/jobs", headers={"authorization": "Bearer x.y.z"}), 401, "token_malformed")


def test_token_expired(server: Server) -> None:
    """A token whose time is over."""
    short = token(ttl=1)
    headers = {"authorization": f"Bearer {short}"}
    wait_until(lambda: server.http.get("/api/jobs", headers=headers).status_code == 401, seconds=5)
    answer = server.http.get("/api/jobs", headers=headers)
    refused(answer, 401, "token_expired")


def test_token_invalid(server: Server) -> None:
    """A token that somebody else signed."""
    forged = issue_token("another-secret-of-enough-bytes-0123456789", user="u7")
    refused(server.http.get("/api/jobs", headers={"authorization": f"Bearer {forged}"}), 401, "token_invalid")


def test_scope_missing(me: Client) -> None:
    """A reader may not write."""
    reader = me.other("me", "consume")
    for method, path, body in (
        ("POST", "/jobs", {"title": "x"}),
        ("PATCH", "/jobs/j", {}),
        ("POST", "/jobs/j/complete", {}),
        ("POST", "/notifications", {"user": "me", "title": "x"}),
        ("POST", "/batch", {"commands": []}),
    ):
        refused(reader.call(method, path, body), 403, "scope_missing")


def test_origin_refused(server: Server) -> None:
    """A cookie from another site's page."""
    headers = {"cookie": f"milepost_token={token()}", "origin": "https://evil.example"}
    refused(server.http.get("/api/jobs", headers=headers), 403, "origin_refused")


def test_streaming_disabled(server: Server) -> None:
    """A user who is to poll."""
    with server.someone("me", "polls").stream() as stream:
        assert stream.status == 403
        assert stream.body()["code"] == "streaming_disabled"


def test_not_found(me: Client) -> None:
    """What is not there: jobs, notifications, routes."""
    for path in ("/jobs/none", "/jobs/none/stream", "/pipeline-status/none", "/nowhere"):
        refused(me.call("GET", path), 404, "not_found")
    for path in ("/notifications/none/read", "/notifications/none/archive", "/jobs/none/complete"):
        refused(me.call("POST", path, {}), 404, "not_found")
    refused(me.call("POST", "/notifications/read-all", {"up_to": "none"}), 404, "not_found")


@pytest.mark.parametrize("end", ["complete", "fail", "cancel"])
def test_job_ended(me: Client, end: str) -> None:
    """After the end an update or another end is 409 and says how the job ended."""
    me.job("j")
    state = {"complete": "completed", "fail": "failed", "cancel": "cancelled"}[end]
    body = {"code": "UNEXPECTED"} if end == "fail" else {}
    me.post(f"/jobs/j/{end}", body)
    others = {"complete": {}, "fail": {"code": "UNEXPECTED"}, "cancel": {}}
    del others[end]
    before = me.get("/jobs/j")["job"]
    for answer in (
        me.call("PATCH", "/jobs/j", {"current": 1}),
        me.call("PATCH", "/jobs/j", {}),
        *(me.call("POST", f"/jobs/j/{other}", what) for other, what in others.items()),
    ):
        assert refused(answer, 409, "job_ended")["state"] == state
    assert me.get("/jobs/j")["job"] == before


def test_stale_attempt(me: Client) -> None:
    """The worker of an attempt that a newer one has replaced."""
    me.job("j")
    me.post("/jobs/j/fail", {"code": "UNEXPECTED"})
    me.job("j")
    before = me.get("/jobs/j")["job"]
    for method, path, body in (
        ("PATCH", "/jobs/j", {"current": 1, "attempt": 1}),
        ("PATCH", "/jobs/j", {"attempt": 1}),
        ("POST", "/jobs/j/complete", {"attempt": 1}),
        ("POST", "/jobs/j/fail", {"attempt": 1, "code": "UNEXPECTED"}),
        ("POST", "/jobs", {"id": "j", "title": "x", "attempt": 1}),
    ):
        refused(me.call(method, path, body), 409, "stale_attempt")
    assert me.get("/jobs/j")["job"] == before


def test_conflict(me: Client) -> None:
    """An id that is taken: somebody else's job, or a notification."""
    me.job("j")
    refused(me.other("thief").call("POST", "/jobs", {"id": "j", "title": "Mine"}), 409, "conflict")
    me.notify(id="n")
    refused(me.call("POST", "/notifications", {"id": "n", "user": "me", "title": "x"}), 409, "conflict")
    assert me.get("/jobs/j")["job"]["title"] == "Job j"
    assert me.get("/notifications/unread-count")["unread_count"] == 1


def test_too_large(me: Client) -> None:
    """A body over 64 KiB."""
    refused(me.call("POST", "/jobs", b'{"title":"' + b"x" * 65536 + b'"}'), 413, "too_large")


def test_invalid(me: Client) -> None:
    """A request of the wrong form: the answer names the field and speaks to people."""
    problem = refused(me.call("POST", "/jobs", {"title": "x", "totl": 3}), 422, "invalid")
    assert problem["field"] == "totl"
    assert "pydantic" not in str(problem)


def test_idempotency_mismatch(me: Client) -> None:
    """The same key for another body."""
    headers = {"idempotency-key": "k"}
    me.post("/notifications", {"user": "me", "title": "a"}, headers=headers)
    answer = me.call("POST", "/notifications", {"user": "me", "title": "b"}, headers=headers)
    refused(answer, 422, "idempotency_mismatch")
    assert me.get("/notifications/unread-count")["unread_count"] == 1


def test_rate_limited(server: Server) -> None:
    """One stream too many for a user: 429, and when to come again."""
    few = server.someone("me", "few")
    with few.stream() as first, few.stream() as second:
        assert first.status == second.status == 200
        with few.stream() as third:
            assert third.status == 429
            assert third.body()["code"] == "rate_limited"
            assert int(third.headers["retry-after"]) >= 1
        with server.someone("other", "few").stream() as other:
            assert other.status == 200
    wait_until(lambda: _opens(few), what="a place is free again")


def test_connect_rate(server: Server) -> None:
    """One attempt too many within a minute: 429 with a time that is spread, not the same for all."""
    eager = server.someone("me", "slow")
    for _ in range(3):
        eager.stream().close()
    waits = []
    for _ in range(8):
        with eager.stream() as stream:
            assert stream.status == 429
            assert stream.body()["code"] == "rate_limited"
            waits.append(int(stream.headers["retry-after"]))
    assert len(set(waits)) > 1
    assert all(1 <= wait <= 180 for wait in waits)


def test_overloaded(own_server: Callable[..., Server]) -> None:
    """A full process: 503, and when to come again; a place that is given back is taken at once."""
    server = own_server(max_streams=1)
    with server.someone("a").stream() as first:
        assert first.status == 200
        with server.someone("b").stream() as second:
            assert second.status == 503
            assert second.body()["code"] == "overloaded"
            assert int(second.headers["retry-after"]) >= 5
        assert server.someone("a").get("/changes")["changes"]
    wait_until(lambda: _opens(server.someone("b")), what="a place is free again")


def test_engine_away(own_server: Callable[..., Server]) -> None:
    """A store that does not answer: 503 everywhere, not ready, alive; nothing is acknowledged."""
    server = own_server()
    me = server.someone()
    me.job("j")
    for file in server.folder.glob("hub.db*"):
        Path(file).unlink()
    wait_until(lambda: me.call("GET", "/jobs/j").status_code == 503, what="the loss is noticed")
    for answer in (
        me.call("GET", "/jobs/j"),
        me.call("PATCH", "/jobs/j", {"current": 1}),
        me.call("POST", "/notifications", {"user": "u7", "title": "x"}),
        me.call("GET", "/changes"),
        me.call("GET", "/stream"),
    ):
        refused(answer, 503, "engine_away")
        assert int(answer.headers["retry-after"]) >= 1
    assert server.http.get("/readyz").status_code == 503
    assert server.http.get("/healthz").status_code == 200


def test_every_code_has_a_test() -> None:
    """A new code cannot come without its row here."""
    source = inspect.getsource(sys.modules[__name__])
    assert set(re.findall(r'"([a-z_]+)"', source)) >= set(CODES)
