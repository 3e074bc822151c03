"""Who may come in: by header, cookie, ticket or query; and that nobody else sees a byte of a stream."""

from __future__ import annotations

import base64
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
import pytest

from tests.server.process import SECRET, Client, Server, refused, token
from tests.server.sse_client import Stream

OPEN = ["/stream", "/jobs/j/stream", "/jobs", "/jobs/j", "/notifications", "/notifications/unread-count", "/changes",
        "/client-config", "/pipeline-status/j"]  # fmt: skip


def _signed(claims: dict[str, Any], *, key: str = SECRET, algorithm: str = "HS256", **headers: Any) -> str:
    return jwt.encode(claims, key, algorithm=algorithm, headers=headers or None)


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _claims(**more: Any) -> dict[str, Any]:
    now = int(time.time())
    return {"sub": "u7", "iat": now, "exp": now + 60, **more}


def _unsigned() -> str:
    return f"{_part({'alg': 'none', 'typ': 'JWT'})}.{_part(_claims())}."


def _altered() -> str:
    head, _, signature = _signed(_claims()).split(".")
    return f"{head}.{_part(_claims(sub='root', scope='admin'))}.{signature}"


BAD = {
    "nothing": (None, "token_missing"),
    "no bearer": ("Basic dTpw", "token_malformed"),
    "bearer alone": ("Bearer", "token_malformed"),
    "no token": ("Bearer nonsense", "token_malformed"),
    "not base64": ("Bearer a$.b$.c$", "token_malformed"),
    "very long": ("Bearer " + "a" * 9000, "token_malformed"),
    "unsigned": (f"Bearer {_unsigned()}", "token_invalid"),
    "claims altered": (f"Bearer {_altered()}", "token_invalid"),
    "another key": (f"Bearer {_signed(_claims(), key='another-key-of-at-least-32-bytes!!!')}", "token_invalid"),
    "another algorithm": (f"Bearer {_signed(_claims(), key=SECRET * 2, algorithm='HS512')}", "token_invalid"),
    "key in the header": (f"Bearer {_signed(_claims(), jwk={'kty': 'oct', 'k': 'AAAA'})}", "token_invalid"),
    "expired": (f"Bearer {_signed(_claims(exp=int(time.time()) - 1))}", "token_expired"),
    "no exp": (f"Bearer {_signed({'sub': 'u7'})}", "token_invalid"),
    "no sub": (f"Bearer {_signed({'exp': int(time.time()) + 60})}", "token_invalid"),
    "not yet": (f"Bearer {_signed(_claims(nbf=2**40, exp=2**41))}", "token_invalid"),
    "a user with a line end": (f"Bearer {_signed(_claims(sub='a' + chr(10)))}", "token_invalid"),
    "a tenant of our own": (f"Bearer {_signed(_claims(tenant='!system'))}", "token_invalid"),
}


@pytest.mark.parametrize("name", BAD)
def test_refused_before_the_stream(server: Server, name: str) -> None:
    """401 with a code on every route, as a problem document and never as a stream, native or not."""
    sent, code = BAD[name]
    headers = {} if sent is None else {"authorization": sent}
    for path in OPEN:
        refused(server.http.get(f"/api{path}", headers=headers), 401, code)
    for accept in ("text/event-stream", "text/event-stream, application/problem+json"):
        with server.stream("/stream", headers={**headers, "accept": accept}) as stream:
            assert stream.status == 401
            assert stream.body()["code"] == code
            assert b"event:" not in stream.transcript


def test_writes_are_refused_before_the_body(server: Server) -> None:
    """A write without a token is 401, whatever its body; nothing is read from it."""
    for path in ("/jobs", "/notifications", "/batch", "/tickets", "/notifications/read-all"):
        refused(server.http.post(f"/api{path}", content=b"\xff" * 100_000), 401, "token_missing")


@pytest.mark.parametrize("scope", ["consume", "produce", "produce:any", "admin", "consume produce"])
def test_scopes(me: Client, scope: str) -> None:
    """Every scope may read what is its own; writing needs ``produce`` or ``admin``."""
    one = me.other("one", scope)
    assert one.get("/jobs") == {"jobs": [], "next": None}
    with one.stream() as stream:
        assert stream.status == 200
    writes = scope != "consume"
    assert one.call("POST", "/jobs", {"title": "x"}).status_code == (201 if writes else 403)


def test_produce_writes_its_own_jobs_only(me: Client) -> None:
    """``produce`` writes what it created; another's job is 403 where it may be seen, 404 where not."""
    me.job("mine", owner="boss")
    refused(me.other("boss").call("PATCH", "/jobs/mine", {"current": 1}), 403, "scope_missing")
    refused(me.other("stranger").call("PATCH", "/jobs/mine", {"current": 1}), 404, "not_found")
    refused(me.other("stranger").call("POST", "/jobs/mine/cancel", {}), 404, "not_found")
    assert me.other("helper", "produce:any").patch("/jobs/mine", {"current": 1})["job"]["current"] == 1
    assert me.other("root", "admin").patch("/jobs/mine", {"current": 2})["job"]["current"] == 2


# --- tickets and tokens in the URL ------------------------------------------------------------------------------------


def test_ticket_opens_one_stream(me: Client) -> None:
    """A ticket opens a stream once; the second use is 401."""
    ticket = me.post("/tickets")["ticket"]
    note = me.notify()
    with me.server.stream(f"/stream?ticket={ticket}") as stream:
        assert stream.status == 200
        assert note["id"] in [e.json["notification"]["id"] for e in stream.until("live") if e.name == "notification"]
    with me.server.stream(f"/stream?ticket={ticket}") as stream:
        assert stream.status == 401
        assert stream.body()["code"] == "token_invalid"


def test_ticket_race(me: Client) -> None:
    """Of many uses at the same time exactly one comes in."""
    ticket = me.post("/tickets")["ticket"]

    def attempt(_: int) -> int:
        with me.server.stream(f"/stream?ticket={ticket}") as stream:
            return stream.status

    with ThreadPoolExecutor(10) as pool:
        assert sorted(pool.map(attempt, range(20))) == [200] + [401] * 19


def test_ticket_is_for_streams_only(me: Client) -> None:
    """A ticket is nothing to the other routes, and is not used up there."""
    ticket = me.post("/tickets")["ticket"]
    refused(me.server.http.get(f"/api/jobs?ticket={ticket}"), 401, "token_missing")
    with me.server.stream(f"/stream?ticket={ticket}") as stream:
        assert stream.status == 200


def test_ticket_narrows(me: Client) -> None:
    """A ticket for some jobs opens these jobs and nothing else, and gives nobody what is not theirs."""
    me.job("a")
    me.job("b")
    me.notify()
    ticket = me.post("/tickets", {"jobs": ["a"]})["ticket"]
    with me.server.stream(f"/stream?ticket={ticket}") as stream:
        assert [e.json["job"]["id"] for e in stream.until("live") if e.name not in {"live", "connected"}] == ["a"]
    ticket = me.post("/tickets", {"jobs": ["a"]})["ticket"]
    with me.server.stream(f"/jobs/b/stream?ticket={ticket}") as stream:
        assert stream.status == 404
    ticket = me.other("stranger").post("/tickets", {"jobs": ["a"]})["ticket"]
    with me.server.stream(f"/jobs/a/stream?ticket={ticket}") as stream:
        assert stream.status == 404


@pytest.mark.parametrize("bad", [{"jobs": ["a b"]}, {"jobs": "a"}, {"jobs": ["x"] * 51}, {"job": []}, {"jobs": [1]}])
def test_ticket_for_nonsense(me: Client, bad: dict[str, Any]) -> None:
    """A ticket's jobs are at most 50 ids."""
    refused(me.call("POST", "/tickets", bad), 422, "invalid")


def test_query_token(server: Server) -> None:
    """In a URL only a token whose whole life is at most 120 s counts, on stream routes only."""
    with server.stream(f"/stream?token={token(ttl=120)}") as stream:
        assert stream.status == 200
    with server.stream(f"/stream?token={token(ttl=121)}") as stream:
        assert stream.status == 401
        assert stream.body()["code"] == "token_invalid"
    with server.stream(f"/stream?token={_signed({'sub': 'u7', 'exp': int(time.time()) + 60})}") as stream:
        assert stream.status == 401
    refused(server.http.get(f"/api/jobs?token={token(ttl=60)}"), 401, "token_missing")


def test_more_than_one_credential(me: Client) -> None:
    """Two credentials in one request are an error, not a choice."""
    ticket = me.post("/tickets")["ticket"]
    short = token(ttl=60)
    for path in (
        f"/stream?ticket={ticket}&token={short}",
        f"/stream?token={short}&token={short}",
        f"/stream?ticket={ticket}&ticket={ticket}",
    ):
        with me.server.stream(path) as stream:
            assert stream.status == 401
            assert stream.body()["code"] == "token_malformed"
    with me.stream(f"/stream?ticket={ticket}") as stream:
        assert stream.status == 401
    answer = me.server.http.get(
        "/api/jobs", headers=[("authorization", f"Bearer {me.token}"), ("authorization", f"Bearer {short}")]
    )
    refused(answer, 401, "token_malformed")


def test_no_secret_in_the_log(me: Client) -> None:
    """Tickets and tokens of a URL are in no line of the log, nor is what people wrote."""
    ticket, short = me.post("/tickets")["ticket"], token(ttl=60)
    me.notify(title="canary-in-a-title")
    for path in (f"/stream?ticket={ticket}", f"/stream?token={short}", f"/stream?ticket={ticket}"):
        me.server.stream(path).close()
    log = me.server.log
    assert not [secret for secret in (ticket, short, me.token, "canary-in-a-title") if secret in log]


# --- cookies ----------------------------------------------------------------------------------------------------------

OWN = "http://127.0.0.1:{port}"
READS = [
    ({}, 200),
    ({"origin": OWN}, 200),
    ({"origin": "https://app.example.com"}, 200),
    ({"sec-fetch-site": "same-origin"}, 200),
    ({"sec-fetch-site": "none"}, 200),
    ({"sec-fetch-site": "cross-site"}, 403),
    ({"origin": "null"}, 403),
    ({"origin": "https://evil.example"}, 403),
    ({"origin": "https://app.example.com.evil.example"}, 403),
    ({"origin": "https://app.example.com:444"}, 403),
    ({"origin": "http://app.example.com"}, 403),
    ({"origin": OWN + "0"}, 403),
    ({"origin": OWN + ".evil.example"}, 403),
    ({"origin": "http://["}, 403),
    ({"origin": ""}, 403),
]
WRITES = [({}, 403) if not headers else (headers, status) for headers, status in READS]
WRITES[4] = ({"sec-fetch-site": "none"}, 403)


def _filled(headers: dict[str, str], server: Server) -> dict[str, str]:
    return {name: value.format(port=server.port) for name, value in headers.items()}


@pytest.mark.parametrize(("headers", "status"), READS)
def test_cookie_reads(server: Server, headers: dict[str, str], status: int) -> None:
    """A cookie reads and streams only for a page of our own origin or of an allowed one."""
    sent = {"cookie": f"milepost_token={token()}", **_filled(headers, server)}
    assert server.http.get("/api/jobs", headers=sent).status_code == status
    with server.stream("/stream", headers=sent) as stream:
        assert stream.status == status


@pytest.mark.parametrize(("headers", "status"), WRITES)
def test_cookie_writes(server: Server, headers: dict[str, str], status: int) -> None:
    """A cookie writes only where the browser says that the page is ours or allowed."""
    sent = {"cookie": f"milepost_token={token()}", **_filled(headers, server)}
    answer = server.http.post("/api/jobs", json={"title": "x"}, headers=sent)
    assert answer.status_code == (201 if status == 200 else status)


def test_cookie_that_is_bad(server: Server) -> None:
    """A cookie is checked like any other token; a header beside it goes first."""
    server.http.cookies.clear()
    refused(server.http.get("/api/jobs", headers={"cookie": "milepost_token=x.y.z"}), 401, "token_malformed")
    both = {"cookie": "milepost_token=x.y.z", "authorization": f"Bearer {token()}", "origin": "https://evil.example"}
    assert server.http.get("/api/jobs", headers=both).status_code == 200


def test_cors(server: Server) -> None:
    """Another site's page may read answers only where it is allowed by name; ``*`` is never said."""
    asking = {"origin": "https://app.example.com", "authorization": f"Bearer {token()}"}
    answer = server.http.get("/api/jobs", headers=asking)
    assert answer.headers["access-control-allow-origin"] == "https://app.example.com"
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "Origin" in answer.headers["vary"]
    answer = server.http.get("/api/jobs", headers={**asking, "origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers
    with Stream(server.port, "/api/stream", token(), headers={"origin": "https://app.example.com"}) as stream:
        assert stream.headers["access-control-allow-origin"] == "https://app.example.com"
    refusal = server.http.get("/api/jobs", headers={"origin": "https://app.example.com"})
    assert refusal.status_code == 401
    assert refusal.headers["access-control-allow-origin"] == "https://app.example.com"
