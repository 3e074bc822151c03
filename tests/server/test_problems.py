"""Every error is a problem document, and none tells what a user sent."""

from __future__ import annotations

import logging
from typing import Any

import httpx2
import orjson
import pytest
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from milepost.errors import CODES, Conflict, MilepostError, Unavailable, from_code
from milepost.server import logs, problems

CANARY = "canary-5f1c"


async def ask(app: Any, path: str, method: str = "GET") -> httpx2.Response:
    """One request straight to the application; an exception that leaves it fails the test."""
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://milepost.test") as client:
        return await client.request(method, path)


def application(error: Exception | None = None, answered: problems.Answered | None = None) -> FastAPI:
    """An application whose route /fail raises the error."""
    app = FastAPI()

    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        if error is not None:
            raise error
        await PlainTextResponse("fine")(scope, receive, send)

    class Failing:
        """Plain ASGI, as the streams are."""

        __call__ = staticmethod(fail)

    app.router.routes.append(Route("/fail/{id}", Failing(), methods=["GET"]))

    @app.get("/numbers")
    async def numbers(limit: int, level: bool = False) -> int:
        return limit + level

    problems.install(app, answered)
    return app


@pytest.mark.parametrize("code", CODES)
async def test_each_code_is_answered_with_its_status(code: str) -> None:
    """Status, code and meaning are those of the table; 401 says how to sign in, 429 and 503 when to return."""
    answer = await ask(application(from_code(code)), "/fail/1")
    status, meaning = CODES[code]
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    document = answer.json()
    assert (document["type"], document["status"], document["code"], document["detail"]) == (
        "about:blank",
        status,
        code,
        meaning,
    )
    assert document["title"]
    assert answer.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)
    assert ("retry-after" in answer.headers) == (status in (429, 503))


async def test_details_are_members_and_never_replace_others() -> None:
    """An error's details stand beside code and detail; reserved names keep their meaning."""
    answer = await ask(application(Conflict(code="job_ended", state="cancelled", title="x", type="y")), "/fail/1")
    assert answer.json() | {"detail": ""} == {
        "type": "about:blank",
        "title": "Conflict",
        "status": 409,
        "code": "job_ended",
        "state": "cancelled",
        "detail": "",
    }


@pytest.mark.parametrize("details", [{"field": "\ud800"}, {"value": object()}, {"value": {1: 2}}, {"value": 2**70}])
async def test_details_that_are_no_json_do_no_harm(details: dict[str, Any]) -> None:
    """What cannot be written as JSON is shown as text or left out; the code always arrives."""
    answer = await ask(application(Conflict(**details)), "/fail/1")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


async def test_retry_after_is_whole_seconds_and_spread() -> None:
    """At least what was asked for, at most half as much again, and not the same for all."""
    app = application(Unavailable(retry_after=100.0))
    waits = {(await ask(app, "/fail/1")).headers["retry-after"] for _ in range(40)}
    assert all(100 <= int(wait) <= 150 for wait in waits)
    assert len(waits) > 10
    assert problems.retry_after(0.01) == 1


@pytest.mark.parametrize(
    ("path", "field", "sentence"),
    [
        ("/numbers", "limit", "limit is missing."),
        (f"/numbers?limit={CANARY}", "limit", "limit must be a whole number."),
        (f"/numbers?limit=1&level={CANARY}", "level", "level must be true or false."),
    ],
)
async def test_a_wrong_parameter_is_named_without_its_value(path: str, field: str, sentence: str) -> None:
    """FastAPI's own refusals look like ours: the field, a sentence, and nothing of what was sent."""
    answer = await ask(application(), path)
    document = answer.json()
    assert (answer.status_code, document["code"], document["field"]) == (422, "invalid", field)
    assert document["detail"] == sentence
    assert CANARY not in answer.text
    assert "pydantic" not in answer.text


async def test_unknown_paths_and_methods() -> None:
    """404 and 405 are problem documents too, and 405 says what would be allowed."""
    missing = await ask(application(), f"/{CANARY}")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    assert CANARY not in missing.text
    wrong = await ask(application(), "/numbers", "DELETE")
    assert (wrong.status_code, wrong.json()["code"], wrong.headers["allow"]) == (405, "invalid", "GET")
    other = await ask(application(HTTPException(418, detail=CANARY)), "/fail/1")
    assert (other.status_code, other.json()["code"]) == (418, "invalid")
    assert CANARY not in other.text


async def test_an_unexpected_error_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A 500 with an incident's number that the log has too; the error does not reach the server around."""
    with caplog.at_level(logging.ERROR, "milepost.server"):
        answer = await ask(application(ValueError(CANARY)), "/fail/1")
    document = answer.json()
    assert (answer.status_code, document["code"]) == (500, "unexpected")
    assert CANARY not in answer.text
    assert "Traceback" not in answer.text
    assert document["incident"] in caplog.records[0].getMessage()
    assert CANARY not in caplog.records[0].getMessage()


async def test_an_error_in_the_middle_of_an_answer_is_kept_in() -> None:
    """Once the answer has begun nothing is added to it, and the exception still does not get out."""
    sent: list[Any] = []

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError(CANARY)

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    await problems.Guard(broken)({"type": "http", "method": "GET", "path": "/"}, receive, send)
    assert [message["type"] for message in sent] == ["http.response.start"]


async def test_every_request_is_told_of_with_its_route() -> None:
    """Answers, refusals and unexpected errors are told of once, with the route's template and the true status."""
    told: list[tuple[str | None, int]] = []

    def answered(scope: Scope, status: int, seconds: float) -> None:
        assert seconds >= 0
        told.append((logs.route(scope), status))

    for error in (None, ValueError(), MilepostError(code="not_found")):
        await ask(application(error, answered), "/fail/7")
    await ask(application(None, answered), "/numbers?limit=3")
    await ask(application(None, answered), "/nowhere")
    assert told == [("/fail/{id}", 200), ("/fail/{id}", 500), ("/fail/{id}", 404), ("/numbers", 200), (None, 404)]


def test_the_document_is_json_on_its_own() -> None:
    """A response can be made outside any application, as the streams do."""
    answer = problems.response(Unavailable(code="engine_away"))
    assert orjson.loads(answer.body)["code"] == "engine_away"
    assert int(answer.headers["retry-after"]) >= 2
