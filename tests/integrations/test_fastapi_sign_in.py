"""``mount`` in this process: what a sign-in may say, settings, and an application that begins and ends."""

from __future__ import annotations

import asyncio
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
from milepost.testing import wait_until

SECRET = "a-secret-of-the-tests-0123456789abcdef"


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
        await wait_until(lambda: "closed" in seen, seconds=20)
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
