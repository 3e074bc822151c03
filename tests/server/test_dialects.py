"""The products' own addresses: what they speak, what they let nobody see, how they resume; a dialect of one's own."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from milepost.errors import MilepostError
from milepost.settings import Settings
from tests.server.process import SECRET, Client, Server, refused
from tests.server.sse_client import Stream

NATIVE = {"accept": "text/event-stream"}
# Each product's stream of a job ``j``, and the first event that tells of it.
OF_JOBS = {"/enrichment/stream/j": "enrichment.started", "/pipelines/stream?job_id=j": "job"}
TENANTS = """
[tenants.bells]
dialect = "coaching"
[tenants.dashboard]
dialect = "activity"
"""
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server whose tenants have dialects of their own."""
    server = Server(tmp_path_factory.mktemp("products"), toml=TENANTS)
    server.start()
    yield server
    server.close()


def first(client: Client, path: str) -> str:
    """The name of a stream's first event."""
    with client.stream(path) as stream:
        return stream.next().name


# --- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", OF_JOBS)
def test_a_job_by_another_address(me: Client, path: str) -> None:
    """The same job stream: the state at once, every change, an end; and ``?dialect=`` goes before the route."""
    me.job("j", total=2)
    with me.stream(path) as stream:
        stream.until(OF_JOBS[path])
        me.patch("/jobs/j", {"current": 1})
        stream.next()
        me.post("/jobs/j/complete")
        assert stream.rest()[-1].json["reason"] == "completed"
    more = "&" if "?" in path else "?"
    assert first(me, f"{path}{more}dialect=import") == "completed"


@pytest.mark.parametrize("path", OF_JOBS)
def test_isolation(me: Client, path: str) -> None:
    """Nobody follows a job of somebody else by another address: it looks as if there were none."""
    me.other("boss").job("j")
    refused(me.call("GET", path), 404, "not_found")
    with me.stream(path, headers=NATIVE) as stream:
        assert stream.status == 200
        (event,) = stream.rest()
        assert event.retry == 2000
        assert "j" not in event.json
    refused(me.server.http.get(f"/api{path}"), 401, "token_missing")


def test_pipelines_need_a_job(me: Client) -> None:
    """Without ``job_id`` there is nothing to follow."""
    refused(me.call("GET", "/pipelines/stream"), 422, "invalid")
    refused(me.call("GET", "/pipelines/stream?job_id="), 422, "invalid")


def test_notifications_are_mine(me: Client) -> None:
    """The stream of notifications carries the user's own and everyone's; no job, in whatever dialect."""
    other = me.other("other")
    with me.stream("/notifications/stream?dialect=milepost") as stream:
        stream.until("live")
        me.job("j")
        other.notify(title="Not for you")
        me.notify(id="mine")
        assert [event.json["notification"]["id"] for event in stream.until("notification")[-1:]] == ["mine"]
        me.notify(id="all", everyone=True)
        events = stream.until("notification")
        assert events[-1].json["notification"]["id"] == "all"
        assert "job" not in [event.name for event in events]
    refused(me.server.http.get("/api/notifications/stream"), 401, "token_missing")


def test_pipeline_status_leads_to_its_own_words(me: Client) -> None:
    """Whatever kind the job is of, the stream that ``streamUrl`` names speaks product D's words."""
    for kind in ("document", "import", "report"):
        me.job(kind, kind=kind)
        url = me.get(f"/pipeline-status/{kind}")["streamUrl"]
        assert first(me, url.removeprefix("/api")) == "progress"
        with me.stream(url.removeprefix("/api")) as stream:
            assert stream.next().json["jobId"] == kind


# --- the choice of a dialect -----------------------------------------------------------------------------------------


def test_the_tenants_dialect(products: Server) -> None:
    """A tenant's dialect goes before a job's kind and behind the route's and the request's own."""
    bells = products.someone("me", "bells")
    bells.job("j", kind="enrichment")
    with bells.stream() as stream:
        assert stream.next().json["user_id"] == "me"
    assert first(bells, "/stream?dialect=milepost") == "connected"
    assert first(bells, "/enrichment/stream/j?dialect=document") == "progress"


def test_a_dialect_without_jobs_follows_none(products: Server) -> None:
    """Where a tenant's dialect, or a job's kind, has no word for jobs, a job's stream speaks the next that has."""
    for tenant in ("bells", "dashboard"):
        who = products.someone("me", tenant)
        who.job("i", kind="import")
        who.job("a", kind="activity")
        assert first(who, "/jobs/i/stream") == "progress"
        with who.stream("/pipelines/stream?job_id=a") as stream:
            assert stream.until("job")[-1].json["job"]["id"] == "a"


def test_the_list_of_product_a(products: Server) -> None:
    """``GET /api/notifications`` in A's shape for A's tenant, exactly; our own where it is asked for."""
    who = products.someone(f"u{next(_numbers)}", "dashboard")
    who.notify(id="n1", title="Signed", level="success", href="/documents/d7", context={"document_id": "d7"})
    who.notify(id="n2", title="Noon", message="Maintenance at noon")
    (second, one) = who.get("/notifications")["notifications"]
    assert who.get("/notifications").keys() == {"notifications"}
    created = one.pop("created_at")
    assert created.endswith("Z")
    assert one == {
        "id": "n1",
        "level": "success",
        "text": "Signed",
        "context": {"href": "/documents/d7", "document_id": "d7"},
    }
    assert (second["text"], second["context"]) == ("Maintenance at noon", {})
    assert [n["id"] for n in who.get("/notifications?after_id=n1&limit=50")["notifications"]] == ["n2"]
    assert {"cursor", "more", "unread"} <= who.get("/notifications?dialect=milepost").keys()
    refused(who.call("GET", "/notifications?dialect=klingon"), 422, "invalid")


def test_the_list_of_product_c(me: Client) -> None:
    """``GET /api/notifications`` in C's shape, read and unread."""
    me.notify(id="n1", title="Ready", level="success", context={"related_session_id": "s9", "minutes": 12})
    me.post("/notifications/n1/read")
    answer = me.get("/notifications?dialect=coaching")
    (note,) = answer["notifications"]
    del note["created_at"]
    assert note == {
        "id": "n1",
        "type": "success",
        "title": "Ready",
        "message": "",
        "status": "read",
        "metadata": {"minutes": 12},
        "related_session_id": "s9",
    }
    assert answer["unread"] == 0


def test_within_a_second(me: Client) -> None:
    """A notification is with its reader within a second of the moment in which its sender began to ask for it."""
    with me.stream("/notifications/stream") as stream:
        stream.until("connected")
        for number in range(10):
            begun = time.monotonic()
            me.notify(id=f"n{number}")
            assert stream.until("notification")[-1].json["id"] == f"n{number}"
            assert time.monotonic() - begun < 1


# --- news ------------------------------------------------------------------------------------------------------------


def news(stream: Stream) -> list[str]:
    """What comes until a sign that all has come: the notification ``last``."""
    events = [event.json["id"] for event in stream.until("notification")]
    while events[-1] != "last":
        events.append(stream.next().json["id"])
    return events[:-1]


def test_news_since_the_head(me: Client) -> None:
    """A reader who was told nothing yet resumes from where it began: the first event carries the head's id."""
    me.notify(id="old")
    with me.stream("/notifications/stream") as stream:
        head = stream.next().id
    assert head is not None
    me.notify(id="n1")
    me.notify(id="last")
    with me.stream("/notifications/stream", headers={"last-event-id": head}) as stream:
        assert stream.next().id == head
        assert news(stream) == ["n1"]


def test_what_was_dealt_with_elsewhere_is_no_news(me: Client) -> None:
    """After a resume: nothing that was read or archived meanwhile, singly or all at once, one's own or everyone's."""
    with me.stream("/notifications/stream") as stream:
        head = stream.next().id
    assert head is not None
    for name in ("read", "archived", "all-read"):
        me.notify(id=name)
    me.notify(id="broadcast", everyone=True)
    me.post("/notifications/read/read")
    me.post("/notifications/archived/archive")
    me.post("/notifications/broadcast/archive")
    me.post("/notifications/read-all")
    me.notify(id="n1")
    me.notify(id="last")
    with me.stream("/notifications/stream", headers={"last-event-id": head}) as stream:
        stream.next()
        assert news(stream) == ["n1"]


@pytest.mark.parametrize("cursor", ["nonsense", None])
def test_without_a_place_it_begins_at_the_head(me: Client, cursor: str | None) -> None:
    """No cursor, or none of ours: what is there is no news, what comes is."""
    me.notify(id="old")
    headers = {} if cursor is None else {"last-event-id": cursor}
    with me.stream("/notifications/stream", headers=headers) as stream:
        assert stream.next().id is not None
        me.notify(id="n1")
        me.notify(id="last")
        assert news(stream) == ["n1"]


# --- a browser's own EventSource ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/jobs/j/stream", "/enrichment/stream/j", "/notifications/stream", "/jobs/j/stream?dialect=import",
     "/jobs/j/stream?dialect=document", "/stream?dialect=activity"],
)  # fmt: skip
def test_a_refusal_that_no_page_stops_at(me: Client, path: str) -> None:
    """Over the limit, a native EventSource gets one event with ``retry`` that ends no product's stream."""
    few = me.server.someone(f"native{next(_numbers)}", "few")
    with few.stream(), few.stream(), few.stream(path, headers=NATIVE) as stream:
        (event,) = stream.rest()
        assert event.name == ("keepalive" if "enrichment" in path else "heartbeat")
        assert (event.retry or 0) >= 1000
    few = me.server.someone(f"native{next(_numbers)}", "few")  # whose streams are not still being closed
    with few.stream(), few.stream(), few.stream(path) as stream:
        assert stream.status == 429


def test_keys_that_cannot_be_fetched(own_server: Callable[..., Server]) -> None:
    """While nobody can tell whether a token is good, a native EventSource is told to come again."""
    server = own_server(secret="", jwt_algorithm="RS256", jwks_url="http://127.0.0.1:9/keys")
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    claims = {"sub": "me", "exp": time.time() + 60, "iat": time.time()}
    token = jwt.encode(claims, key, "RS256", headers={"kid": "one"})
    for path, name in (
        ("/stream", "stream_end"),
        ("/jobs/j/stream", "heartbeat"),
        ("/enrichment/stream/j", "keepalive"),
    ):
        with server.stream(path, token, headers=NATIVE) as stream:
            assert stream.status == 200
            (event,) = stream.rest()
            assert event.name == name
            assert event.retry is not None
        with server.stream(path, token) as stream:
            assert stream.status == 503


def test_an_old_stream_of_product_e_is_no_end(own_server: Callable[..., Server]) -> None:
    """E's pages close at ``stream_end``: a stream that is only too old says when to come again, and nothing else."""
    me = own_server(max_stream_seconds=1).someone("me")
    me.job("j", kind="enrichment")
    with me.stream("/enrichment/stream/j") as stream:
        *_, last = stream.rest()
    assert last.name == "keepalive"
    assert last.retry is not None


# --- one's own -------------------------------------------------------------------------------------------------------

OWN = """
import orjson
from milepost import dialects, wire

class Shouting(dialects.Dialect):
    name = "shouting"

    def document(self, document, cursor):
        text = orjson.dumps(document.key.upper())
        return dialects.Frame(wire.frame("SHOUT", text, id=cursor), document.kind)
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with a dialect, as an installer leaves it."""
    folder = tmp_path / "site"
    about = folder / "shouting-1.0.dist-info"
    about.mkdir(parents=True)
    (folder / "shouting.py").write_text(OWN)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: shouting\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[milepost.dialects]\nshouting = shouting:Shouting\n")
    monkeypatch.setenv("PYTHONPATH", str(folder))


@pytest.mark.usefixtures("installed")
def test_a_dialect_of_an_installed_package(own_server: Callable[..., Server]) -> None:
    """``milepost serve`` speaks it: for a tenant, by ``?dialect=``, and for jobs of that kind."""
    server = own_server(toml='[tenants.loud]\ndialect = "shouting"\n')
    me, loud = server.someone("me"), server.someone("me", "loud")
    me.job("j", kind="shouting")
    loud.job("k")
    assert first(me, "/jobs/j/stream") == first(me, "/stream?dialect=shouting") == first(loud, "/stream") == "SHOUT"


def test_a_tenants_dialect_that_there_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server does not start with a misspelt dialect."""
    monkeypatch.chdir(tmp_path)
    settings = Settings.load(secret=SECRET, tenants={"acme": {"dialect": "coachng"}})
    assert settings.problems() == ["TENANTS: acme: there is no dialect 'coachng'"]
    with pytest.raises(MilepostError):
        Settings.load(secret=SECRET, tenants={"acme": {"dialect": "Not A Name"}})
