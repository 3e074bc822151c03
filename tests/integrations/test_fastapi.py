"""``mount``: Milepost inside somebody's FastAPI application, under the server that they run it with."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.integrations.house import House
from tests.server.process import wait_until

APP = """
import asyncio, os, time
from contextlib import asynccontextmanager
from typing import Annotated
from fastapi import BackgroundTasks, Cookie, Depends, FastAPI, HTTPException, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.security import OAuth2PasswordBearer
from milepost.integrations.fastapi import mount

@asynccontextmanager
async def lifespan(app):
    await live.aio.notify("1", title="the application begins")
    yield {"sessions": {"of-1": 1, "of-2": 2}}
    await live.aio.notify("1", title="the application ends")

app = FastAPI(lifespan=lifespan)
app.add_middleware(CORSMiddleware, allow_origins=["https://app.example"], allow_credentials=True)

@app.middleware("http")
async def marked(request, call_next):
    response = await call_next(request)
    response.headers["x-own"] = "1"
    return response

def sessions(request: Request):
    assert request.app is app
    yield request.state.sessions

async def by_token(token: Annotated[str | None, Depends(OAuth2PasswordBearer("token", auto_error=False))]):
    return {"token-of-2": 2}.get(token)

def current_user(
    known: Annotated[dict, Depends(sessions)],
    bearer: Annotated[int | None, Depends(by_token)],
    session: Annotated[str | None, Cookie()] = None,
):
    if session == "broken":
        raise HTTPException(503)
    user = known.get(session) or bearer
    if user is None:
        raise HTTPException(401)
    return {"id": user}

User = Annotated[dict, Depends(current_user)]

@app.get("/own")
def own():
    return {"pid": os.getpid()}

@app.post("/sync/{job}")
def in_the_background(job: str, tasks: BackgroundTasks, user: User):
    tasks.add_task(work, job, str(user["id"]))

def work(job, owner):
    with live.job(job, title="In the background", owner=owner, total=3) as reporter:
        for n in range(3):
            reporter.advance(message=f"Step {n + 1}")

@app.post("/async/{job}")
async def at_once(job: str, user: User):
    async with live.aio.job(job, title="At once", owner=str(user["id"]), total=3) as reporter:
        for n in range(3):
            await reporter.advance()
    return {"pid": os.getpid()}

@app.post("/blocking/{job}")
async def without_await(job: str, user: User):
    work(job, str(user["id"]))

@app.get("/{path:path}")
def everything_else(path: str):
    return {"path": path}

live = mount(app, user=current_user)
"""
ONE = {"cookie": "session=of-1"}
TWO = {"authorization": "Bearer token-of-2"}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The application above, with Milepost below ``/milepost``."""
    made = House(tmp_path_factory.mktemp("house"), APP)
    made.start()
    yield made
    made.close()
    assert "Traceback" not in made.log, made.log


def ends(house: House, headers: dict[str, str], job: str, post: str) -> list[dict[str, Any]]:
    """What a stream tells of a job that an endpoint makes, from its start to its end."""
    with house.stream(headers=headers) as stream:
        stream.until("live")
        assert house.http.post(post, headers=headers).is_success
        told: list[dict[str, Any]] = []
        while not told or told[-1]["state"] != "completed":
            event = stream.until("job")[-1].json["job"]
            if event["id"] == job:
                told.append(event)
        return told


@pytest.mark.parametrize("way", ["sync", "async", "blocking"])
def test_a_job_of_an_endpoint(house: House, way: str) -> None:
    """What an endpoint or a background task reports, with or without ``await``, is told to its owner to its end."""
    told = ends(house, ONE, way, f"/{way}/{way}")
    assert (told[-1]["owner"], told[-1]["current"]) == ("1", 3)


def test_the_applications_dependency_decides(house: House) -> None:
    """Whom the dependency knows, by a cookie or a token and through all that it depends on, sees what is theirs; others
    are 401, and the script is for everybody.
    """
    ends(house, ONE, "mine", "/sync/mine")
    with house.stream("/jobs/mine/stream", headers=ONE) as stream:
        assert stream.status == 200
    with house.stream("/jobs/mine/stream", headers=TWO) as stream:
        assert stream.status == 404
    for headers in ({}, {"cookie": "session=nobody"}, {"authorization": "Bearer nonsense"}):
        answer = house.http.get("/milepost/api/jobs", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "token_missing")
    assert house.http.get("/milepost/api/jobs", headers=TWO).status_code == 200
    script = house.http.get("/milepost/milepost.js")
    assert (script.status_code, script.headers["content-type"].partition(";")[0]) == (200, "text/javascript")


def test_users_may_not_write(house: House) -> None:
    """Who signs in may look, and deal with their notifications; jobs are reported by the application."""
    answer = house.http.post("/milepost/api/jobs", json={"title": "x"}, headers={**ONE, "origin": house.url})
    assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")
    answer = house.http.post("/milepost/api/notifications/read-all", headers={**ONE, "origin": house.url})
    assert answer.status_code == 200


def test_a_page_of_somebody_else(house: House) -> None:
    """Another origin gets nothing by the session's cookie: no stream, no poll, no read mark; also one that the
    application's own CORS lets in, unless it is in ALLOWED_ORIGINS.
    """
    for origin in ("https://evil.example", "https://app.example", "null"):
        headers = {**ONE, "origin": origin}
        with house.stream(headers=headers) as stream:
            assert (stream.status, stream.body()["code"]) == (403, "origin_refused")
        for method, path in (("GET", "changes"), ("POST", "notifications/read-all")):
            answer = house.http.request(method, f"/milepost/api/{path}", headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (403, "origin_refused")
    answer = house.http.post("/milepost/api/notifications/read-all", headers=ONE)  # a form of another site, long ago
    assert answer.json()["code"] == "origin_refused"


def test_an_application_that_cannot_tell(house: House) -> None:
    """A sign-in that is broken is 503, not 401: nobody is signed out by it."""
    answer = house.http.get("/milepost/api/jobs", headers={"cookie": "session=broken"})
    assert answer.status_code == 503
    assert "retry-after" in answer.headers


def test_the_application_is_as_it_was(house: House) -> None:
    """Its middleware sees Milepost's answers; a route that catches all catches what is left."""
    assert house.http.get("/elsewhere").json() == {"path": "elsewhere"}
    assert house.http.get("/milepost/readyz").headers["x-own"] == "1"
    assert "/milepost" not in str(house.http.get("/openapi.json").json()["paths"].keys())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_with_streams_open(tmp_path: Path, number: signal.Signals) -> None:
    """Told to stop, it ends streams and long polls at once with ``shutdown``, lets the application's lifespan report
    its end, and is gone within a few seconds; what it reported is there after the next start.
    """
    house = House(tmp_path, APP)
    house.start()
    try:
        cursor = house.http.get("/milepost/api/changes", headers=ONE).json()["cursor"]
        with house.stream(headers=ONE) as stream, house.stream(headers=TWO) as other:
            stream.until("live")
            other.until("live")
            answers: list[httpx2.Response] = []
            poll = {"after": cursor, "wait": 30}
            waiting = threading.Thread(
                target=lambda: answers.append(house.http.get("/milepost/api/changes", params=poll, headers=ONE))
            )
            waiting.start()
            begun = time.monotonic()
            house.stop(number)
            assert time.monotonic() - begun < 10
            for one in (stream, other):
                assert one.rest()[-1].json["reason"] == "shutdown"
            waiting.join(10)
        assert answers[0].status_code == 200
        assert "Application shutdown complete" in house.log
        house.start()
        notes = house.http.get("/milepost/api/notifications", headers=ONE).json()["notifications"]
        titles = [note["title"] for note in notes]
        assert titles == ["the application begins", "the application ends", "the application begins"]
    finally:
        house.close()


def test_it_stops_without_a_lifespan(tmp_path: Path) -> None:
    """Also where the server tells of no lifespan, as inside an application that is mounted itself, streams do not hold
    it up.
    """
    house = House(tmp_path, APP.replace("request.state.sessions", '{"of-1": 1}'), "--lifespan", "off")
    house.start()
    try:
        assert house.http.post("/blocking/j", headers=ONE).is_success
        with house.stream(headers=ONE) as stream:
            assert "j" in [event.json["job"]["id"] for event in stream.until("live") if event.name == "job"]
            house.stop(signal.SIGINT)
            assert stream.rest()[-1].json["reason"] == "shutdown"
    finally:
        house.close()


def test_a_page_of_an_allowed_origin(tmp_path: Path) -> None:
    """An origin of ALLOWED_ORIGINS is let in, and told so once, whatever the application's own CORS adds."""
    house = House(tmp_path, APP, MILEPOST_ALLOWED_ORIGINS="https://app.example")
    house.start()
    try:
        headers = {**ONE, "origin": "https://app.example"}
        answer = house.http.get("/milepost/api/jobs", headers=headers)
        assert answer.status_code == 200
        assert answer.headers.get_list("access-control-allow-origin") == ["https://app.example"]
        asks = {"access-control-request-method": "POST", "origin": "https://app.example"}
        answer = house.http.options("/milepost/api/notifications/read-all", headers=asks)
        assert answer.headers.get_list("access-control-allow-origin") == ["https://app.example"]
        assert house.http.post("/milepost/api/notifications/read-all", headers=headers).status_code == 200
    finally:
        house.close()


def test_several_workers(tmp_path: Path) -> None:
    """With several processes of uvicorn's on one SQLite file, a stream tells of jobs of all of them."""
    house = House(tmp_path, APP, "--workers", "2")
    house.start()
    try:
        with house.stream(headers=ONE) as stream:
            stream.until("live")
            made: dict[int, str] = {}

            def both() -> bool:
                job = f"j{len(made)}-{time.monotonic_ns()}"
                with httpx2.Client(base_url=house.url, timeout=30) as http:  # a connection stays with its process
                    made.setdefault(http.post(f"/async/{job}", headers=ONE).json()["pid"], job)
                return len(made) == 2

            wait_until(both, seconds=60, what="both processes work")
            missing = set(made.values())
            while missing:
                job = stream.until("job")[-1].json["job"]
                if job["state"] == "completed":
                    missing.discard(job["id"])
    finally:
        house.close()


def test_a_store_that_cannot_be_opened(tmp_path: Path) -> None:
    """The application starts all the same; Milepost is 503 until its store is there."""
    quiet = APP.replace('await live.aio.notify("1"', '(lambda *_, **__: None)("1"')
    house = House(tmp_path, quiet, MILEPOST_ENGINE=f"sqlite:///{tmp_path}/later/hub.db")
    house.start()
    try:
        answer = house.http.get("/milepost/api/jobs", headers=ONE)
        assert (answer.status_code, answer.json()["code"]) == (503, "engine_away")
        (tmp_path / "later").mkdir()
        wait_until(
            lambda: house.http.get("/milepost/api/jobs", headers=ONE).status_code == 200, what="the store is there"
        )
    finally:
        house.close()
