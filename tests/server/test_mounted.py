"""Milepost inside another application, with that application's own sign-in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.server.process import Server, refused, token
from tests.server.sse_client import Parser, Stream

APP = """
import asyncio, os, sys
import uvicorn
from fastapi import FastAPI, Request
from milepost.model import Identity
from milepost.server import create_app
from milepost.server.run import listen
from milepost.settings import Settings

async def sign_in(request):
    user = request.headers.get("x-user") or request.cookies.get("session")
    if user == "root":
        return Identity("root", "house", frozenset({"admin"}))
    return Identity(user, "house", frozenset({"consume", "produce"})) if user else None

app = FastAPI()

@app.get("/own")
def own():
    return {"own": True}

app.mount("/live", create_app(Settings.load(), authenticate=sign_in))

@app.get("/readyz")
def ready():
    return {}

if __name__ == "__main__":
    listener = listen("127.0.0.1", int(os.environ["MILEPOST_PORT"]))
    print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    asyncio.run(uvicorn.Server(uvicorn.Config(app, http="httptools", log_config=None)).serve([listener]))
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of somebody else's application, with Milepost mounted at ``/live``."""
    made = Server(tmp_path_factory.mktemp("house"), code=APP)
    made.start()
    yield made
    made.close()


def _call(house: Server, user: str, method: str, path: str, **more: Any) -> Any:
    answer = house.http.request(method, f"/live/api{path}", headers={"x-user": user, **ORIGIN}, **more)
    assert answer.is_success, answer.text
    return answer.json()


ORIGIN = {"sec-fetch-site": "same-origin"}


def test_the_applications_own_sign_in(house: Server) -> None:
    """Whom the application knows is let in under that name and tenant, without any token."""
    job = _call(house, "u1", "POST", "/jobs", json={"id": "j", "title": "x"})
    assert job["job"]["owner"] == "u1"
    assert job["stream_url"] == "/live/api/jobs/j/stream"
    with Stream(house.port, "/live/api/stream", headers={"x-user": "u1"}) as stream:
        assert stream.status == 200
        assert [e.json["job"]["id"] for e in stream.until("live") if e.name == "job"] == ["j"]
        note = _call(house, "u1", "POST", "/notifications", json={"user": "u1", "title": "y"})["notification"]
        assert stream.until("notification")[-1].json["notification"] == note
    with Stream(house.port, "/live/api/jobs/j/stream", headers={"x-user": "u2"}) as stream:
        assert stream.status == 404
    with Stream(house.port, "/live/api/jobs/j/stream", headers={"x-user": "root"}) as stream:
        assert stream.status == 200


def test_the_stream_url_works(house: Server) -> None:
    """The address that an answer gives is the one that works from outside."""
    url = _call(house, "u3", "POST", "/jobs", json={"title": "x"})["stream_url"]
    with Stream(house.port, url, headers={"x-user": "u3"}) as stream:
        assert stream.status == 200


def test_whom_the_application_does_not_know(house: Server) -> None:
    """Who is not signed in may still show a token; else it is 401."""
    refused(house.http.get("/live/api/jobs"), 401, "token_missing")
    answer = house.http.get("/live/api/jobs", headers={"authorization": f"Bearer {token()}"})
    assert answer.status_code == 200


def test_its_cookie_is_no_way_in_for_others(house: Server) -> None:
    """The application's session cookie is checked for its origin like our own."""
    headers = {"cookie": "session=u1", "origin": "https://evil.example"}
    refused(house.http.get("/live/api/jobs", headers=headers), 403, "origin_refused")
    for headers in ({"cookie": "session=u1"}, {"x-user": "u1", "origin": "https://evil.example"}):
        answer = house.http.post("/live/api/jobs", json={"title": "x"}, headers=headers)
        refused(answer, 403, "origin_refused")


def test_a_program_that_signs_in_without_a_cookie(house: Server) -> None:
    """Without a cookie no browser speaks for anybody: a program need not say where it comes from."""
    answer = house.http.post("/live/api/jobs", json={"title": "x"}, headers={"x-user": "robot"})
    assert answer.status_code == 201


def test_the_rest_of_the_application(house: Server) -> None:
    """The application's own routes are as they were."""
    assert house.http.get("/own").json() == {"own": True}


def test_a_store_that_cannot_be_opened(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Mounted, a store that cannot be opened is 503 to whoever asks, and a problem document; a native EventSource is
    told to come again.
    """
    broken = Server(tmp_path_factory.mktemp("broken"), code=APP, engine="sqlite:////nowhere/at/all.db")
    try:
        broken.start()
        refused(broken.http.get("/live/api/jobs", headers={"x-user": "u1"}), 503, "engine_away")
        native = {"accept": "text/event-stream"}
        answer = broken.http.get("/live/api/stream", headers=native)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream"
        (event,) = Parser().feed(answer.content)
        assert event.retry is not None
    finally:
        broken.close()
