"""Nobody gets what is not theirs: every way to read or write, for everybody it is not meant for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.server.process import Client, refused

SECRET_WORD = "for-the-eyes-of-the-owner"
STRANGERS = ["other user", "other tenant", "other tenant, admin", "share token of another job", "former watcher"]


@pytest.fixture
def owner(me: Client) -> Client:
    """Somebody with a job and a notification that carry a word that nobody else may see."""
    me.job("j", title=SECRET_WORD, watchers=["former"], notify=True, kind="document")
    me.patch("/jobs/j", {"message": SECRET_WORD, "current": 1, "total": 3})
    me.notify(id="n", title=SECRET_WORD)
    return me


@pytest.fixture
def stranger(owner: Client, request: pytest.FixtureRequest) -> Client:
    """Somebody whom the job and the notification are not meant for."""
    name = request.param
    if name == "former watcher":
        # a new attempt without watchers takes the job away from them
        owner.post("/jobs/j/cancel")
        owner.job("j", title=SECRET_WORD, watchers=[])
        owner.patch("/jobs/j", {"message": SECRET_WORD})
        return owner.other("former")
    if name == "other user":
        return owner.other("other")
    if name == "share token of another job":
        owner.job("shared", title="Shared")
        return owner.other("other", "consume", jobs=["shared"])
    scope = "consume produce:any admin" if "admin" in name else "consume produce"
    return owner.server.someone("me", f"{owner.tenant}-other", scope)


def _held(owner: Client) -> list[Any]:
    return [owner.get("/jobs/j"), owner.get("/notifications")["notifications"], owner.get("/changes")["unread"]]


def _nothing(text: str) -> None:
    assert SECRET_WORD not in text


@pytest.mark.parametrize("stranger", STRANGERS, indirect=True)
def test_reads(owner: Client, stranger: Client) -> None:
    """By no route and with no parameter is a foreign job or notification read; it looks as if it were not there."""
    cursor = owner.get("/changes")["cursor"]
    for path in ("/jobs/j", "/jobs/j/stream", "/pipeline-status/j"):
        foreign, absent = stranger.call("GET", path), stranger.call("GET", path.replace("/j", "/none", 1))
        if "jobs" in path:
            absent = stranger.call("GET", path.replace("/jobs/j", "/jobs/none"))
        refused(foreign, 404, "not_found")
        assert foreign.content == absent.content
    for path in (
        "/jobs", "/jobs?state=running", "/jobs?kind=document", "/notifications", "/notifications?after_id=n",
        "/notifications?status=unread", "/notifications?limit=100", "/changes", "/changes?jobs=j",
        f"/changes?after={cursor}", f"/changes?jobs=j&after={cursor}", "/changes?after=0.0.x",
    ):  # fmt: skip
        answer = stranger.call("GET", path)
        assert answer.status_code == 200
        _nothing(answer.text)
        changes = answer.json().get("changes", [])
        assert not [entry for entry in changes if entry.get("job", {}).get("id") == "j" and "gone" not in entry["job"]]
    refused(stranger.call("GET", "/notifications?before=n"), 404, "not_found")
    assert stranger.get("/notifications/unread-count")["unread_count"] == 0


@pytest.mark.parametrize("stranger", [name for name in STRANGERS if "share" not in name], indirect=True)
def test_writes(owner: Client, stranger: Client) -> None:
    """No write touches a foreign job or notification, and none tells that it is there."""
    before = _held(owner)
    other_tenant = stranger.tenant != owner.tenant
    for method, path, body in (
        ("PATCH", "/jobs/j", {"current": 2}),
        ("PATCH", "/jobs/j", {}),
        ("POST", "/jobs/j/complete", {}),
        ("POST", "/jobs/j/fail", {"code": "UNEXPECTED"}),
        ("POST", "/jobs/j/cancel", {}),
        ("POST", "/notifications/n/read", None),
        ("POST", "/notifications/n/archive", None),
        ("POST", "/notifications/read-all", {"up_to": "n"}),
        ("POST", "/notifications/n@user:me/read", None),
        ("POST", "/batch", {"commands": [{"verb": "advance", "job": "j", "current": 2}]}),
        ("POST", "/batch", {"commands": [{"verb": "cancel", "job": "j"}]}),
    ):
        answer = stranger.call(method, path, body)
        refused(answer, 404, "not_found")
        _nothing(answer.text)
    taken = stranger.call("POST", "/jobs", {"id": "j", "title": "Mine"})
    if other_tenant:
        assert taken.status_code == 201  # the same id in another tenant is another job
    else:
        refused(taken, 409, "conflict")
        _nothing(taken.text)
    stranger.post("/notifications/read-all")
    assert _held(owner) == before


@pytest.mark.parametrize("stranger", STRANGERS, indirect=True)
def test_streams(owner: Client, stranger: Client) -> None:
    """No stream, wide or narrowed, resumed or not, live or catching up, carries a foreign document."""
    cursor = owner.get("/changes")["cursor"]
    paths = ["/stream", "/stream?jobs=j", "/stream?dialect=document", "/stream?jobs=j&dialect=document",
             f"/stream?after={cursor}", f"/stream?jobs=j,shared&after={cursor}"]  # fmt: skip
    streams = [stranger.stream(path) for path in paths]
    ticket = stranger.post("/tickets", {"jobs": ["j"]})["ticket"]
    streams.append(stranger.server.stream(f"/stream?ticket={ticket}"))
    for stream in streams:
        assert stream.status == 200
    # what happens now goes by way of the fan-out
    owner.patch("/jobs/j", {"current": 2})
    owner.notify(title=SECRET_WORD)
    owner.post("/jobs/j/complete", {"result": SECRET_WORD})
    end = stranger.server.someone("root", stranger.tenant, "produce").notify(everyone=True, title="the end")
    for path, stream in zip([*paths, "ticket"], streams, strict=True):
        with stream:
            if path in ("/stream", paths[4]):
                found = stream.until("notification")
                while found[-1].json["notification"]["id"] != end["id"]:
                    found += stream.until("notification")
            else:
                found = stream.quiet(0.1)
            _nothing(stream.transcript.decode())
            own = [e.json["job"] for e in found if e.name == "job" and not e.json["job"].get("gone")]
            assert "j" not in [job["id"] for job in own]


def test_who_may_see_a_job(owner: Client) -> None:
    """Owner, watcher, share token and admin see the job, by every route; the share token sees nothing else."""
    owner.job("apart", title=SECRET_WORD)
    watcher, share = owner.other("former"), owner.other("guest", "consume", jobs=["j"])
    for who in (owner, watcher, share, owner.other("root", "admin")):
        assert who.get("/jobs/j")["job"]["id"] == "j"
        assert "j" in [job["id"] for job in who.get("/jobs")["jobs"]]
        assert [entry["job"]["id"] for entry in who.get("/changes?jobs=j")["changes"]] == ["j"]
        with who.stream("/jobs/j/stream?dialect=milepost") as stream:
            assert stream.until("job")[-1].json["job"]["id"] == "j"
        with who.stream("/stream?jobs=j") as stream:
            assert stream.until("job")[-1].json["job"]["id"] == "j"
    for who in (watcher, share):
        refused(who.call("GET", "/jobs/apart"), 404, "not_found")
        with who.stream() as stream:
            assert [e.json["job"]["id"] for e in stream.until("live") if e.name == "job"] == ["j"]
        assert "apart" not in json.dumps(who.get("/changes"))
    assert share.get("/notifications")["notifications"] == []


def test_admin_sees_the_tenants_jobs_when_asking_for_them(owner: Client) -> None:
    """An admin reads any job of the tenant by its id; the admin's own stream is about the admin."""
    root = owner.other("root", "admin")
    assert [job["id"] for job in root.get("/jobs")["jobs"]] == ["j"]
    with root.stream() as stream:
        assert [e.name for e in stream.until("live")] == ["connected", "inbox", "live"]


def test_a_watcher_who_is_taken_off(me: Client) -> None:
    """Who loses a job is told that it is gone, by whatever reads, and its stream ends as revoked."""
    me.job("j", watchers=["w"])
    watcher = me.other("w")
    cursor = watcher.get("/changes")["cursor"]
    with (
        watcher.stream() as wide,
        watcher.stream("/stream?jobs=j") as narrow,
        watcher.stream("/jobs/j/stream") as one,
    ):
        for stream in (wide, narrow, one):
            stream.until("live")
        me.post("/jobs/j/cancel")
        assert one.until("stream_end")[-1].json["reason"] == "cancelled"
        with watcher.stream("/stream?jobs=j") as again:
            again.until("live")
            me.job("j", watchers=[], title=SECRET_WORD)
            for stream in (wide, narrow, again):
                gone = stream.until("job")[-1]
                while not gone.json["job"].get("gone"):
                    gone = stream.until("job")[-1]
                assert set(gone.json["job"]) == {"id", "rev", "gone"}
                assert gone.json["job"]["id"] == "j"
                assert gone.id
    last = watcher.get(f"/changes?after={cursor}")["changes"][-1]["job"]
    assert (last["id"], last["gone"]) == ("j", True)


def test_a_watchers_job_stream_is_revoked(me: Client) -> None:
    """The stream of a job that changes hands ends as revoked for who loses it and goes on for who keeps it."""
    me.job("j", watchers=["w"])
    me.post("/jobs/j/complete")
    me.job("j", watchers=["w", "x"])  # alive again, in its second attempt
    with me.other("w").stream("/jobs/j/stream") as lost, me.other("x").stream("/jobs/j/stream") as kept:
        lost.until("live")
        kept.until("live")
        commands = [
            {"verb": "cancel", "job": "j"},
            {"verb": "start", "job": "j", "title": SECRET_WORD, "watchers": ["x"]},
        ]
        me.post("/batch", {"commands": commands})
        assert lost.rest()[-1].json["reason"] == "revoked"
        _nothing(lost.transcript.decode())
        assert kept.until("job")[-1].json["job"]["attempt"] == 3
