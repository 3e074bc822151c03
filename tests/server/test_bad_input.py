"""Bad input: always 4xx with a code, never 5xx, and nothing of it is stored."""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.server.process import Client, refused

DEEP = b"[" * 2000 + b"]" * 2000


@pytest.fixture
def untouched(me: Client) -> Iterator[Client]:
    """A user with a job and a notification, which must be the same afterwards, and all that there is."""
    me.job("j", total=10)
    me.patch("/jobs/j", {"current": 1})
    me.notify(id="n")

    def everything() -> list[Any]:
        # every commit moves the head, which is where the list's cursor stands
        return [me.get("/jobs/j"), me.get("/notifications")["cursor"]]

    before = everything()
    yield me
    assert everything() == before


def texts(value: str) -> dict[str, Any]:
    """A job's start with this title."""
    return {"title": value}


BODIES: dict[str, tuple[str, str, Any]] = {
    # not JSON at all
    "no JSON": ("POST", "/jobs", b"{"),
    "nothing": ("POST", "/jobs", b""),
    "not UTF-8": ("POST", "/jobs", b'{"title":"\xff"}'),
    "UTF-16": ("POST", "/jobs", '{"title":"x"}'.encode("utf-16")),
    "a BOM": ("POST", "/jobs", b'\xef\xbb\xbf{"title":"x"}'),
    "a list": ("POST", "/jobs", b"[]"),
    "null": ("POST", "/jobs", b"null"),
    "two values": ("POST", "/jobs", b'{"title":"x"}{}'),
    "NaN": ("PATCH", "/jobs/j", b'{"current":NaN}'),
    "Infinity": ("PATCH", "/jobs/j", b'{"current":Infinity}'),
    "1e999": ("PATCH", "/jobs/j", b'{"current":1e999}'),
    "a huge whole number": ("PATCH", "/jobs/j", b'{"current":1' + b"0" * 400 + b"}"),
    "beyond 2^53": ("PATCH", "/jobs/j", b'{"current":9007199254740993}'),
    "very deep": ("POST", "/jobs/j/complete", b'{"result":' + DEEP + b"}"),
    "33 deep": ("POST", "/jobs/j/complete", b'{"result":' + b"[" * 33 + b"1" + b"]" * 33 + b"}"),
    "the same field twice": ("POST", "/jobs", b'{"title":"a","title":"b"}'),
    "a lone surrogate": ("POST", "/jobs", b'{"title":"\\ud800"}'),
    "a lone surrogate in a result": ("POST", "/jobs/j/complete", b'{"result":{"a":["\\udfff"]}}'),
    "a lone surrogate as a key": ("POST", "/jobs/j/complete", b'{"result":{"\\ud800":1}}'),
    # unknown fields and wrong types
    "an unknown field": ("POST", "/jobs", {"title": "x", "state": "completed"}),
    "a field of another verb": ("PATCH", "/jobs/j", {"result": 1}),
    "a number as a title": ("POST", "/jobs", {"title": 5}),
    "text as a number": ("PATCH", "/jobs/j", {"current": "5"}),
    "true as a number": ("PATCH", "/jobs/j", {"current": True}),
    "a negative number": ("PATCH", "/jobs/j", {"current": -1}),
    "both current and by": ("PATCH", "/jobs/j", {"current": 2, "by": 1}),
    "a list as an item": ("PATCH", "/jobs/j", {"item": []}),
    "a text as a counter": ("PATCH", "/jobs/j", {"counters": {"a": "1"}}),
    "too many counters": ("PATCH", "/jobs/j", {"counters": {f"c{n}": 1 for n in range(65)}}),
    "attempt 0": ("PATCH", "/jobs/j", {"attempt": 0}),
    "half an attempt": ("PATCH", "/jobs/j", {"attempt": 1.5}),
    "no title": ("POST", "/jobs", {}),
    "an empty title": ("POST", "/jobs", texts("")),
    "a blank title": ("POST", "/jobs", texts(" \t ")),
    "a long title": ("POST", "/jobs", texts("x" * 501)),
    "NUL in a title": ("POST", "/jobs", texts("a\0b")),
    "a long message": ("PATCH", "/jobs/j", {"message": "x" * 5001}),
    "NUL in a message": ("PATCH", "/jobs/j", {"message": "\0"}),
    "too many watchers": ("POST", "/jobs", {"title": "x", "watchers": [f"w{n}" for n in range(31)]}),
    "a deadline of nothing": ("POST", "/jobs", {"title": "x", "deadline_seconds": 0}),
    "a failure without a code": ("POST", "/jobs/j/fail", {"message": "x"}),
    "a code with a blank": ("POST", "/jobs/j/fail", {"code": "A B"}),
    "a new attempt that is not the next": ("POST", "/jobs", {"id": "new", "title": "x", "attempt": 7}),
    # ids
    **{
        f"id {bad!r}": ("POST", "/jobs", {"id": bad, "title": "x"})
        for bad in ["", "a\0b", "a\nb", "a\rb", "a\n", " a", "a b", "ä", "a/b", "../x", "*", "a" * 129, "a!b", "a@b", 5]
    },
    "a kind with a line end": ("POST", "/jobs", {"title": "x", "kind": "a\n"}),
    "an owner with a line end": ("POST", "/jobs", {"title": "x", "owner": "a\r\nb"}),
    "a watcher with NUL": ("POST", "/jobs", {"title": "x", "watchers": ["a\0"]}),
    "a counter with a line end": ("PATCH", "/jobs/j", {"counters": {"a\n": 1}}),
    # notifications
    "nobody to tell": ("POST", "/notifications", {"title": "x"}),
    "two to tell": ("POST", "/notifications", {"title": "x", "user": "a", "everyone": True}),
    "everyone, but not": ("POST", "/notifications", {"title": "x", "everyone": False}),
    "an empty list to tell": ("POST", "/notifications", {"title": "x", "users": []}),
    "1,001 to tell": ("POST", "/notifications", {"title": "x", "users": [f"u{n}" for n in range(1001)]}),
    "one id for two": ("POST", "/notifications", {"title": "x", "users": ["a", "b"], "id": "i"}),
    "no such level": ("POST", "/notifications", {"title": "x", "user": "a", "level": "fatal"}),
    "a context that is a text": ("POST", "/notifications", {"title": "x", "user": "a", "context": "x"}),
    "up to a number": ("POST", "/notifications/read-all", {"up_to": 5}),
    "read all of nothing known": ("POST", "/notifications/read-all", {"upto": "n"}),
    # links
    **{
        f"href {bad!r}": ("POST", "/notifications", {"title": "x", "user": "a", "href": bad})
        for bad in [
            "javascript:alert(1)", "JaVaScRiPt:alert(1)", " javascript:alert(1)", "java\nscript:alert(1)",
            "data:text/html,x", "vbscript:x", "file:///etc/passwd", "http://plain.example/", "//evil.example",
            "/\\evil", "\\\\evil", "https://user:pw@a.example/", "https:evil.example", "https:///x", "", "\u202e/x",
            "blob:x", "/a b",
        ]
    },
    "output_url": ("POST", "/jobs/j/complete", {"output_url": "javascript:alert(1)"}),
    "output_url in a batch": (
        "POST", "/batch", {"commands": [{"verb": "complete", "job": "j", "output_url": "javascript:alert(1)"}]},
    ),
    # batches
    "no commands": ("POST", "/batch", {}),
    "1,001 commands": ("POST", "/batch", {"commands": [{"verb": "beat", "job": "j"}] * 1001}),
    "no verb": ("POST", "/batch", {"commands": [{"job": "j"}]}),
    "no such verb": ("POST", "/batch", {"commands": [{"verb": "explode", "job": "j"}]}),
    "a bad one behind a good one": (
        "POST", "/batch", {"commands": [{"verb": "advance", "job": "j", "current": 9}, {"verb": "beat", "job": "j\n"}]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_bodies(untouched: Client, name: str) -> None:
    """A body that is not as it should be: 4xx with a code, a short answer without a trace of our inside."""
    method, path, body = BODIES[name]
    answer = untouched.call(method, path, body)
    code = "conflict" if "not the next" in name else "invalid"
    refused(answer, 409 if code == "conflict" else 422, code)
    assert len(answer.content) < 1024
    assert "Traceback" not in answer.text
    assert "pydantic" not in answer.text


@pytest.mark.parametrize("name", ["an unknown field", "a long title", "a counter with a line end"])
def test_the_field_is_named(untouched: Client, name: str) -> None:
    """The answer names the field that is wrong, for a program and for a person."""
    method, path, body = BODIES[name]
    problem = refused(untouched.call(method, path, body), 422, "invalid")
    assert problem["field"] in problem["detail"]


@pytest.mark.parametrize(
    "path",
    [
        "/jobs?limit=x", "/jobs?limit=nan", "/jobs?limit=inf", "/jobs?state=done", "/jobs?kind=a%0Ab", "/jobs?cursor=x",
        "/jobs?cursor=%00", "/notifications?limit=x", "/notifications?status=new", "/changes?wait=x",
        "/changes?wait=-1", "/changes?limit=x", "/changes?jobs=a%20b", "/changes?jobs=,",
        "/changes?jobs=" + ",".join("x" * 51), "/stream?jobs=a%0A", "/stream?jobs=" + ",".join("x" * 51),
        "/stream?dialect=klingon", "/stream?dialect=%00",
        "/jobs/j/stream?dialect=nonsense",
    ],
)  # fmt: skip
def test_queries(untouched: Client, path: str) -> None:
    """A parameter that is not as it should be is 422, on a stream before its first byte."""
    refused(untouched.call("GET", path), 422, "invalid")


@pytest.mark.parametrize(
    "bad", ["%00", "%0A", "%0D%0A", "%ED%A0%80", "%FF", "a%00b", "%20", "..%2f", "x" * 5000, "%C3%A4"]
)
def test_paths(untouched: Client, bad: str) -> None:
    """An id in a path that cannot be one is 404, like any other that is not there."""
    for method, path in (
        ("GET", "/jobs/{}"),
        ("GET", "/jobs/{}/stream"),
        ("GET", "/pipeline-status/{}"),
        ("PATCH", "/jobs/{}"),
        ("POST", "/jobs/{}/complete"),
        ("POST", "/notifications/{}/read"),
        ("POST", "/notifications/{}/archive"),
    ):
        answer = untouched.call(method, path.format(bad), None if method == "GET" else {})
        refused(answer, 404, "not_found")


@pytest.mark.parametrize(
    "path", ["/notifications?before={}", "/notifications?after_id={}", "/changes?after={}", "/stream?after={}"]
)
@pytest.mark.parametrize("bad", ["%00", "%0A", "%FF", "x" * 5000, "..", "0.0.0", "%ED%A0%80", "\u00e9", "9" * 30])
def test_cursors_of_nonsense(untouched: Client, path: str, bad: str) -> None:
    """A cursor of nonsense is never a server error: an answer from the beginning, a reset, or 404 for an id."""
    target = path.format(quote(bad, safe="%"))
    if path.startswith("/stream"):
        with untouched.stream(target) as stream:
            assert [e.name for e in stream.until("live")][:2] == ["connected", "reset"]
    else:
        assert untouched.call("GET", target).status_code == (404 if "before" in path else 200)


@pytest.mark.parametrize("header", ["idempotency-key", "last-event-id", "accept", "x-milepost"])
@pytest.mark.parametrize("value", [b"\xff\xfe", "ä".encode(), b"a" * 5000, b"\x01"])
def test_headers(untouched: Client, header: str, value: bytes) -> None:
    """Headers of nonsense are no server error."""
    with socket.create_connection(("127.0.0.1", untouched.server.port), 5) as connection:
        lines = [b"POST /api/jobs HTTP/1.1", b"host: x", b"content-length: 2", b"connection: close",
                 b"authorization: Bearer " + untouched.token.encode(), header.encode() + b": " + value]  # fmt: skip
        connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n{}")
        status = int(connection.makefile("rb").readline().split()[1])
    assert 400 <= status < 500


def _exchange(client: Client, head: str, body: bytes) -> tuple[int, Any]:
    """One request by hand, its answer read even if the server does not care for the rest of the body."""
    with socket.create_connection(("127.0.0.1", client.server.port), 10) as connection:
        connection.sendall(
            f"POST /api/jobs HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {client.token}\r\n"
            f"{head}\r\n\r\n".encode()
            + body
        )
        answer = b""
        while data := connection.recv(65536):
            answer += data
    headers, _, content = answer.partition(b"\r\n\r\n")
    return int(headers.split()[1]), json.loads(content)


def test_a_body_that_says_it_is_too_large(untouched: Client) -> None:
    """413 at once by the stated length: nobody has to send it first."""
    status, problem = _exchange(untouched, "content-length: 70000", b"")
    assert (status, problem["code"]) == (413, "too_large")


def test_a_body_that_turns_out_too_large(untouched: Client) -> None:
    """413 for a chunked body, as soon as it is over; whatever it says of its length."""
    chunk = b"2000\r\n" + b"x" * 0x2000 + b"\r\n"
    status, problem = _exchange(untouched, "transfer-encoding: chunked", chunk * 9)
    assert (status, problem["code"]) == (413, "too_large")


def test_a_body_at_the_limit(me: Client) -> None:
    """64 KiB exactly are taken."""
    empty = len(json.dumps({"title": "x", "result": ""}))
    me.job("j")
    body = json.dumps({"result": "y" * (65536 - empty + len('"title": "x", '))}).encode()
    assert len(body) == 65536
    assert me.call("POST", "/jobs/j/complete", body).status_code == 200


def test_a_compressed_body(untouched: Client) -> None:
    """A compressed body is refused: nobody knows how large it is."""
    answer = untouched.call("POST", "/jobs", b"\x1f\x8b", headers={"content-encoding": "gzip"})
    refused(answer, 422, "invalid")


@pytest.mark.parametrize("key", ["", "x" * 129, "ä".encode()])
def test_idempotency_keys(untouched: Client, key: str | bytes) -> None:
    """An Idempotency-Key is 1 to 128 printable characters."""
    answer = untouched.call("POST", "/jobs", {"title": "x"}, headers={"idempotency-key": key})
    assert refused(answer, 422, "invalid")["field"] == "Idempotency-Key"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/jobs"),
        ("DELETE", "/jobs/j"),
        ("POST", "/changes"),
        ("GET", "/batch"),
        ("POST", "/stream"),
        ("PATCH", "/jobs"),
    ],
)
def test_methods(untouched: Client, method: str, path: str) -> None:
    """A method that a route does not have is 405, with what it does have."""
    answer = untouched.call(method, path, None if method == "GET" else {})
    assert answer.status_code == 405
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["allow"]


def test_sums_stay_numbers(me: Client) -> None:
    """However often the largest step is added, ``current`` stays what JSON and a browser can hold."""
    me.job("j")
    step = {"verb": "advance", "job": "j", "by": 2**53}
    for _ in range(3):
        me.post("/batch", {"commands": [step] * 1000})
    assert me.patch("/jobs/j", {"by": 2**53})["job"]["current"] <= 2**53


def test_links_only_to_named_sites(own_server: Any) -> None:
    """Where ALLOWED_LINK_ORIGINS names sites, other sites are refused, relative links still allowed."""
    me = own_server(allowed_link_origins="https://files.example.com").someone()
    assert me.notify(href="https://files.example.com/x")["href"]
    assert me.notify(href="/x")["href"]
    for bad in ("https://evil.example/x", "https://files.example.com.evil.example/", "https://files.example.com:444/"):
        refused(me.call("POST", "/notifications", {"user": "u7", "title": "x", "href": bad}), 422, "invalid")
    me.job("j")
    refused(me.call("POST", "/jobs/j/complete", {"output_url": "https://evil.example/x"}), 422, "invalid")
    assert me.get("/jobs/j")["job"]["state"] == "queued"


def test_answered_before_its_body_came(me: Client) -> None:
    """A refusal waits for a body that is on its way: what comes next on the connection is a request."""
    head = (
        f"POST /api/notifications/read-all HTTP/1.1\r\nhost: x\r\ncookie: milepost_token={me.token}\r\n"
        "origin: https://elsewhere.example\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n"
    ).encode()
    with socket.create_connection(("127.0.0.1", me.server.port), timeout=10) as connection:
        connection.sendall(head)
        assert select.select([connection], [], [], 0.5)[0] == []
        connection.sendall(b"{}")
        assert _answer(connection).startswith(b"HTTP/1.1 403")
        connection.sendall(head + b"{}")
        assert _answer(connection).startswith(b"HTTP/1.1 403")


def _answer(connection: socket.socket) -> bytes:
    """Head and document, which come in two parts."""
    answer = b""
    while not answer.endswith(b"}"):
        part = connection.recv(4000)
        assert part, answer
        answer += part
    return answer


def test_refused_for_its_size(me: Client) -> None:
    """What nobody will read ends the connection, and says so."""
    head = (
        f"POST /api/jobs HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {me.token}\r\n"
        "content-type: application/json\r\ncontent-length: 999999999\r\n\r\n"
    ).encode()
    with socket.create_connection(("127.0.0.1", me.server.port), timeout=10) as connection:
        connection.sendall(head)
        answer = b""
        while part := connection.recv(4000):
            answer += part
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in answer
