"""The log: one record is one line, whatever is in it, and no secret is."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from milepost.auth import issue_token
from milepost.model import Identity
from milepost.server import logs
from milepost.tickets import Tickets

HOSTILE = [
    "\n",
    "\r",
    '\r\n{"level":"info","message":"forged"}',
    "\x00",
    "\x08\x08\x08",
    "\x0b\x0c",
    "\x1b[2J\x1b[31mred",
    "\x1b]0;title\x07",
    "\x7f",
    "\x85",
    "\x9b31m",
    "\u2028\u2029",
    "\u202e\u202dgnp.exe",
    "\u2066\u2069",
    "\u200b\ufeff",
    "\ud800",
    "\U000e0001",
    '"},{"',
    "\\n\\",
    "%s %d %(x)s {x} {}",
    "é漢字🙂",
    "x" * 100_000,
]


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    """What the log wrote; the process's own logging is put back afterwards."""
    root, uvicorn = logging.getLogger(), logging.getLogger("uvicorn.access")
    before = (root.level, list(root.handlers), uvicorn.disabled, logging.raiseExceptions)
    stream = io.StringIO()
    logs.setup("debug", stream)
    yield stream
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    uvicorn.disabled, logging.raiseExceptions = before[2], before[3]


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    """What was written, each line read as JSON."""
    text = out.getvalue()
    assert text.endswith("\n")
    assert text.isascii()
    assert all(" " <= character <= "~" or character == "\n" for character in text)
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_one_record_is_one_line(out: io.StringIO, hostile: str) -> None:
    """As argument, field, key, list item, exception or template: one line of printable ASCII, and of bounded length."""
    log = logging.getLogger("milepost.test")
    log.info("user %s came", hostile)
    log.info("user came", extra={"user": hostile, "more": [hostile], "deep": {hostile: hostile}})
    log.info(hostile)
    log.info(hostile, 1)
    try:
        raise ValueError(hostile)
    except ValueError:
        log.exception("failed for %s", hostile)
    found = lines(out)
    assert len(found) == 5
    assert all(line["logger"] == "milepost.test" for line in found)
    assert all(len(json.dumps(line)) < 8000 for line in found)
    if len(hostile) < 200:
        assert found[0]["message"] == f"user {hostile} came"
        assert found[1]["user"] == hostile


def test_a_record_has_time_level_logger_message_and_its_fields(out: io.StringIO) -> None:
    """Fields stand beside the four that every line has, as numbers where they are numbers, and replace none of them."""
    logging.getLogger("milepost.test").warning(
        "stream %s", "ended", extra={"seconds": 1.5, "ok": True, "none": None, "level": "forged", "nan": float("nan")}
    )
    (line,) = lines(out)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "warning",
        "logger": "milepost.test",
        "message": "stream ended",
        "seconds": 1.5,
        "ok": True,
        "none": None,
        "nan": "nan",
    }


def test_no_credential_is_ever_written(out: io.StringIO) -> None:
    """Tokens, tickets and passwords are cut out wherever they stand: arguments, fields, URLs, other loggers."""
    token = issue_token("a secret for tests, thirty-two bytes or more", user="u7")
    ticket, _ = Tickets().issue(Identity(user="u7"))
    log = logging.getLogger("somebody.else")
    log.info("GET /api/stream?token=%s&x=1", token)
    log.info("GET /api/stream?ticket=%s&x=1", ticket)
    log.info("Authorization: Bearer %s", "opaque-canary")
    log.info("cookie", extra={"cookie": f"milepost_token={token}; a=b", "list": [token], "deep": {"t": ticket}})
    log.info("opening %s", "postgresql://app:opaque-canary@db.example/live")
    log.info("%s", "x" * 250 + token)
    log.info("%s", "password=opaque-canary")
    text = out.getvalue()
    for secret in (token, *token.split(".")[1:], ticket, ticket[3:], "opaque-canary"):
        assert secret not in text
    assert "&x=1" in lines(out)[0]["message"]


def test_an_exception_tells_its_type_and_places(out: io.StringIO) -> None:
    """Not its text, nor that of its cause; of an error of the system what the system says."""
    log = logging.getLogger("milepost.test")
    try:
        try:
            raise KeyError("canary")
        except KeyError as error:
            raise ValueError("canary") from error
    except ValueError:
        log.exception("failed")
    try:
        raise FileNotFoundError(2, "No such file or directory", "/canary")
    except FileNotFoundError:
        log.exception("failed")
    first, second = lines(out)
    assert first["error"] == "ValueError"
    assert first["at"][0].endswith("test_an_exception_tells_its_type_and_places")
    assert second["error"] == "FileNotFoundError: No such file or directory"
    assert "canary" not in out.getvalue()


def test_what_cannot_be_shown_is_still_one_line(out: io.StringIO) -> None:
    """An argument whose text cannot be made, or a wrong template, loses the text and not the record."""

    class Broken:
        def __str__(self) -> str:
            raise ValueError("canary")

    log = logging.getLogger("milepost.test")
    log.info("%s", Broken())
    log.info("%d", "canary")
    log.info("field", extra={"broken": Broken()})
    assert [line["message"][:9] for line in lines(out)] == ["(a record", "(a record", "field"]
    assert "canary" not in out.getvalue()


def test_the_access_log_has_no_query_and_no_path_where_a_route_is_known(out: io.StringIO) -> None:
    """Method, route, status, milliseconds, address; a path that no route took is clipped and escaped."""

    class Template:
        path = "/api/jobs/{job_id}"

    scope = {"type": "http", "method": "GET", "path": "/api/jobs/canary", "query_string": b"token=canary"}
    logs.access({**scope, "route": Template(), "client": ("192.0.2.1", 5000)}, 200, 0.01234)
    logs.access({**scope, "path": "/nowhere\r\n" + "x" * 999}, 404, 0.0)
    first, second = lines(out)
    assert "canary" not in out.getvalue()
    assert {name: first[name] for name in ("method", "route", "status", "ms", "address")} == {
        "method": "GET",
        "route": "/api/jobs/{job_id}",
        "status": 200,
        "ms": 12.3,
        "address": "192.0.2.1",
    }
    assert second["route"].startswith("/nowhere\r\n")
    assert len(second["route"]) == logs.MAX_TEXT


def test_setting_up_twice_writes_once(out: io.StringIO) -> None:
    """A second set-up replaces the first, leaves other handlers alone, and silences uvicorn's own access log."""
    second = io.StringIO()
    before = len(logging.getLogger().handlers)
    logs.setup("warning", second)
    logging.getLogger("milepost.test").info("not written")
    logging.getLogger("milepost.test").warning("written")
    logging.getLogger("uvicorn.access").error("GET /?token=canary")
    assert out.getvalue() == ""
    assert len(lines(second)) == 1
    assert len(logging.getLogger().handlers) == before
