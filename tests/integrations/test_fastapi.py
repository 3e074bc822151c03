"""``mount``: Milepost inside somebody's FastAPI application, under the server that they run it with."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import httpx2
import pytest
from fastapi import Depends, FastAPI, Header, HTTPException, Request, Response
from fastapi.responses import RedirectResponse

from milepost import Identity, Invalid
from milepost.auth import issue_token
from milepost.integrations.fastapi import Live, mount
from milepost.settings import Settings
from milepost.testing import wait_until as until
from tests.integrations.house import House
from tests.server.process import wait_until

SECRET = "a-secret-of-the-tests-0123456789abcdef"
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


# --- in this process -------------------------------------------------------------------------------------------------


class Account:
    """What many applications return: an object with an ``id``."""

    def __init__(self, id: object) -> None:
        self.id = id


async def given(app: FastAPI, path: str = "/milepost/api/jobs", **more: Any) -> httpx2.Response:
    """One request to an application in this process."""
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://house") as http:
        return await http.get(path, **more)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A store of its own."""
    return Settings.load(engine=f"sqlite:///{tmp_path}/hub.db")


@pytest.fixture
async def lives(settings: Settings) -> AsyncIterator[Any]:
    """``lives(who)``: an application whose sign-in says ``who``, begun; what is begun is ended."""
    opened: list[Any] = []

    async def begin(who: object) -> tuple[FastAPI, Live]:
        app = FastAPI()
        live = mount(app, user=lambda: who, settings=settings)
        around = app.router.lifespan_context(app)
        await around.__aenter__()
        opened.append(around)
        return app, live

    yield begin
    for around in reversed(opened):
        await around.__aexit__(None, None, None)


@pytest.mark.parametrize(
    ("who", "user"),
    [
        ("u7", "u7"),
        (7, "7"),
        (UUID(int=7), str(UUID(int=7))),
        (Account(7), "7"),
        ({"id": "u7"}, "u7"),
        (Identity("u7"), "u7"),
    ],
)
async def test_what_a_sign_in_may_say(lives: Any, who: object, user: str) -> None:
    """An id, an object or a mapping that has one, or an Identity: jobs of that owner are theirs."""
    app, live = await lives(who)
    await live.aio.start_job("j", title="Job", owner=user)
    await live.aio.start_job("k", title="Somebody else's", owner="other")
    assert [job["id"] for job in (await given(app)).json()["jobs"]] == ["j"]


async def test_nobody(lives: Any) -> None:
    """None is nobody."""
    app, _ = await lives(None)
    assert (await given(app)).status_code == 401


@pytest.mark.parametrize("who", ["ada@example.com", True, Account(None), object()])
async def test_what_cannot_be_a_user(lives: Any, who: object, caplog: pytest.LogCaptureFixture) -> None:
    """Something without a usable id is an error that the log explains, without what it said."""
    app, _ = await lives(who)
    assert (await given(app)).status_code == 500
    assert "which has no id that can be used here" in caplog.text
    assert "ada@" not in caplog.text


async def test_another_tenant(lives: Any) -> None:
    """An Identity has its own tenant; what ``live`` reports stays in that of ``mount``."""
    app, live = await lives(Identity("u7", tenant="elsewhere"))
    await live.aio.start_job("j", title="Job", owner="u7")
    assert (await given(app)).json()["jobs"] == []


async def test_overrides(settings: Settings) -> None:
    """``dependency_overrides``, as tests of the application set them, hold for Milepost too."""

    def current_user() -> str:
        raise HTTPException(401)

    app = FastAPI()
    mount(app, user=current_user, settings=settings)
    async with app.router.lifespan_context(app):
        assert (await given(app)).status_code == 401
        app.dependency_overrides[current_user] = lambda: "u7"
        assert (await given(app)).status_code == 200


async def test_asked_for_each_request(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """The sign-in is asked once for each request, with the header that came with it. Where FastAPI refuses the request
    before the sign-in was asked, nobody is signed in, and the log says why, once.
    """
    asked = []

    def current_user(x_user: Annotated[str, Header()]) -> str:
        asked.append(x_user)
        return x_user

    def again(first: str = Depends(current_user), second: str = Depends(current_user)) -> str:
        assert first == second
        return first

    app = FastAPI()
    mount(app, user=again, settings=settings)
    async with app.router.lifespan_context(app):
        assert (await given(app, headers={"x-user": "u7"})).status_code == 200
        assert (await given(app, headers={"x-user": "u8"})).status_code == 200
        for _ in range(2):
            assert (await given(app)).status_code == 401
    assert asked == ["u7", "u8"]
    assert caplog.text.count("answered 422") == 1


class NotSignedInError(Exception):
    """What an application may raise in the place of ``HTTPException``."""


async def test_exceptions_of_the_applications_own(settings: Settings) -> None:
    """An exception that the application answers, by leading to its sign-in, is nobody; one that nobody meant is 500."""
    raised: list[Exception] = [NotSignedInError()]

    def current_user() -> str:
        raise raised[0]

    def to_the_sign_in(_: Request, __: Exception) -> Response:
        return RedirectResponse("/sign-in", 303)

    app = FastAPI()
    app.add_exception_handler(NotSignedInError, to_the_sign_in)
    mount(app, user=current_user, settings=settings)
    async with app.router.lifespan_context(app):
        assert (await given(app)).json()["code"] == "token_missing"
        raised[0] = RuntimeError("of the application's own")
        answer = await given(app)
        assert (answer.status_code, answer.json()["code"]) == (500, "unexpected")
        assert "of the application" not in answer.text


async def test_what_it_depends_on_is_let_go(settings: Settings) -> None:
    """A dependency with ``yield`` is over when the request begins to be answered, not when it ends."""
    seen: list[str] = []

    def database() -> Iterator[str]:
        seen.append("opened")
        yield "u7"
        seen.append("closed")

    def current_user(found: str = Depends(database)) -> str:
        seen.append("asked")
        return found

    app = FastAPI()
    mount(app, user=current_user, settings=settings)
    async with app.router.lifespan_context(app):
        cursor = (await given(app, "/milepost/api/changes")).json()["cursor"]
        seen.clear()
        poll = asyncio.ensure_future(given(app, "/milepost/api/changes", params={"after": cursor, "wait": "25"}))
        await until(lambda: "closed" in seen, seconds=20)
        assert (seen, poll.done()) == (["opened", "asked", "closed"], False)
        poll.cancel()


async def test_begun_again(settings: Settings) -> None:
    """An application that is begun twice in one process, as in tests, has Milepost both times; jobs that were still
    open at the end of its life have failed.
    """
    app = FastAPI()
    live = mount(app, user=lambda: "u7", settings=settings)
    for life in ("first", "second"):
        async with app.router.lifespan_context(app):
            await asyncio.to_thread(live.notify, "u7", title=life)
            await live.aio.job(life, title="Left open", owner="u7").__aenter__()
    async with app.router.lifespan_context(app):
        jobs = (await given(app)).json()["jobs"]
        assert {(job["id"], job["state"]) for job in jobs} == {("first", "failed"), ("second", "failed")}
        notes = (await given(app, "/milepost/api/notifications")).json()["notifications"]
        assert [note["title"] for note in notes] == ["second", "first"]


async def test_a_server_without_lifespan(settings: Settings) -> None:
    """Where the server tells of no lifespan, it begins with the first request, and reports made before are there."""
    app = FastAPI()
    live = mount(app, user=lambda: "u7", settings=settings)
    await live.aio.start_job("before", title="Before", owner="u7")
    assert [job["id"] for job in (await given(app)).json()["jobs"]] == ["before"]
    async with app.router.lifespan_context(app):  # only to let go of it again
        pass


async def test_tokens_too(settings: Settings) -> None:
    """With a secret, tokens are let in beside the sign-in; without one, none."""
    headers = {"authorization": f"Bearer {issue_token(SECRET, user='u7')}"}
    for secret, status in ((None, 401), (SECRET, 200)):
        app = FastAPI()
        mount(app, user=lambda: None, settings=settings.model_copy(update={"secret": secret}))
        async with app.router.lifespan_context(app):
            assert (await given(app, headers=headers)).status_code == status


def test_settings_that_are_wrong() -> None:
    """Settings that ``milepost serve`` would refuse are refused, but for a secret that nobody needs."""
    with pytest.raises(Invalid, match="SECRET: shorter"):
        mount(FastAPI(), user=lambda: None, settings=Settings.load(secret="short"))
    with pytest.raises(Invalid, match="ALLOWED_ORIGINS"):
        mount(FastAPI(), user=lambda: None, settings=Settings.load(allowed_origins="*"))
    with pytest.raises(Invalid, match="path"):
        mount(FastAPI(), user=lambda: None, path="live")
    with pytest.raises(Invalid, match="tenant"):
        mount(FastAPI(), user=lambda: None, tenant="not one")
