"""Every route of the contract's table: what it takes, what it answers, and in which shape."""

from __future__ import annotations

import re

import pytest

from tests.server.process import Client, Server, refused

JOB = {
    "id", "kind", "title", "owner", "watchers", "state", "attempt", "current", "total", "percent", "message",
    "counters", "item", "eta_seconds", "rate", "result", "output_url", "error", "steps", "created_at",
    "started_at", "updated_at",
    "finished_at", "rev",
}  # fmt: skip
NOTE = {
    "id", "user", "level", "title", "message", "text", "href", "context", "status", "created_at", "read_at",
    "seq", "rev",
}  # fmt: skip
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def test_start_job(me: Client) -> None:
    """A new job is answered 201 with every public field and the address of its stream."""
    body = {
        "id": "case-123",
        "kind": "document",
        "title": "Discovery set",
        "owner": "u7",
        "watchers": ["w1"],
        "total": 32,
    }
    answer = me.call("POST", "/jobs", body)
    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    found = answer.json()
    assert set(found) == {"job", "stream_url"}
    assert found["stream_url"] == "/api/jobs/case-123/stream"
    job = found["job"]
    assert set(job) == JOB
    assert {name: job[name] for name in body} == body
    assert (job["state"], job["attempt"], job["current"], job["percent"]) == ("queued", 1, 0, 0.0)
    assert TIME.fullmatch(job["created_at"])
    assert job["started_at"] is job["finished_at"] is None


def test_start_job_without_an_id(me: Client) -> None:
    """A job that is not named gets an id; its owner is by default who creates it, its kind ``job``."""
    job = me.post("/jobs", {"title": "Import"})["job"]
    assert re.fullmatch(r"[A-Za-z0-9._:-]{1,128}", job["id"])
    assert (job["owner"], job["kind"], job["total"], job["percent"]) == ("me", "job", None, None)


def test_start_a_live_job_again(me: Client) -> None:
    """A live job that is created again is answered as it is, with 200."""
    me.job("j", total=3)
    before = me.patch("/jobs/j", {"current": 1})["job"]
    answer = me.call("POST", "/jobs", {"id": "j", "title": "Another title", "total": 9})
    assert answer.status_code == 200
    assert answer.json()["job"] == before


def test_a_new_attempt(me: Client) -> None:
    """An ended job that is created again begins its next attempt: 201, from 0, without error, result and output."""
    me.job("j", total=3)
    me.patch("/jobs/j", {"current": 2})
    me.post("/jobs/j/fail", {"code": "TEMPLATE_ERROR", "message": "no such template"})
    answer = me.call("POST", "/jobs", {"id": "j", "title": "Again"})
    assert answer.status_code == 201
    job = answer.json()["job"]
    assert (job["attempt"], job["state"], job["current"]) == (2, "queued", 0)
    assert job["error"] is job["result"] is job["output_url"] is job["finished_at"] is None


def test_advance(me: Client) -> None:
    """The first progress moves queued to running; ``current`` is absolute, ``by`` adds, counters are merged by name."""
    me.job("j", total=10)
    first = me.patch("/jobs/j", {"current": 2, "message": "two", "counters": {"enriched": 1}})
    assert first["stream_url"] == "/api/jobs/j/stream"
    assert set(first["job"]) == JOB
    assert (first["job"]["state"], first["job"]["current"], first["job"]["percent"]) == ("running", 2, 20.0)
    job = me.patch("/jobs/j", {"by": 3, "counters": {"error": 2}, "item": {"name": "R1"}})["job"]
    assert (job["current"], job["counters"], job["item"]) == (5, {"enriched": 1, "error": 2}, {"name": "R1"})
    assert me.patch("/jobs/j", {"item": None})["job"]["item"] is None
    assert [step["message"] for step in job["steps"]] == ["two"]


def test_advance_never_goes_back(me: Client) -> None:
    """A lower ``current`` is ignored, one above the total becomes the total, and the total is never unknown again."""
    me.job("j")
    assert me.patch("/jobs/j", {"current": 5})["job"]["percent"] is None
    assert me.patch("/jobs/j", {"current": 4})["job"]["current"] == 5
    assert me.patch("/jobs/j", {"total": 8})["job"]["percent"] == 62.5
    job = me.patch("/jobs/j", {"current": 9})["job"]
    assert (job["current"], job["total"], job["percent"]) == (8, 8, 100.0)


def test_beat(me: Client) -> None:
    """An empty PATCH is a sign of life: 200 with the job, no new revision once it runs."""
    me.job("j")
    assert me.patch("/jobs/j", {})["job"]["state"] == "running"
    rev = me.get("/jobs/j")["job"]["rev"]
    assert me.patch("/jobs/j", {})["job"]["rev"] == rev
    assert me.get("/jobs/j")["job"]["rev"] == rev


def test_complete(me: Client) -> None:
    """Completion stores result and output and sets 100 %; the same again is 200 with the same job."""
    me.job("j", total=4)
    body = {"result": {"pages": 88}, "output_url": "/files/case.zip"}
    job = me.post("/jobs/j/complete", body)["job"]
    assert (job["state"], job["current"], job["percent"]) == ("completed", 4, 100.0)
    assert (job["result"], job["output_url"]) == (body["result"], body["output_url"])
    assert TIME.fullmatch(job["finished_at"])
    assert me.post("/jobs/j/complete", body)["job"] == job
    assert me.get("/jobs/j")["job"] == job


def test_fail(me: Client) -> None:
    """Failure stores code, message and details; the same again is 200."""
    me.job("j")
    body = {"code": "TEMPLATE_ERROR", "message": "no such field", "details": {"line": 3}}
    job = me.post("/jobs/j/fail", body)["job"]
    assert (job["state"], job["error"]) == ("failed", body)
    assert me.post("/jobs/j/fail", body)["job"] == job


def test_cancel(me: Client) -> None:
    """A cancelled job carries the reason as its message; the same again is 200."""
    me.job("j")
    job = me.post("/jobs/j/cancel", {"reason": "wrong file"})["job"]
    assert (job["state"], job["message"]) == ("cancelled", "wrong file")
    assert me.post("/jobs/j/cancel")["job"] == job


def test_get_job(me: Client) -> None:
    """A job by its id, with its steps."""
    me.job("j")
    me.patch("/jobs/j", {"message": "one"})
    found = me.get("/jobs/j")
    assert set(found) == {"job", "stream_url"}
    assert set(found["job"]) == JOB
    assert [step["message"] for step in found["job"]["steps"]] == ["one"]
    assert TIME.fullmatch(found["job"]["steps"][0]["at"])


def test_list_jobs(me: Client) -> None:
    """Jobs come newest first, without steps, in pages that ``next`` joins without a gap or a repetition."""
    for number in range(7):
        me.job(f"j{number}", kind="import" if number % 2 else "document")
    me.patch("/jobs/j3", {"current": 1})
    first = me.get("/jobs?limit=4")
    assert set(first) == {"jobs", "next"}
    assert set(first["jobs"][0]) == JOB - {"steps"}
    second = me.get(f"/jobs?limit=4&cursor={first['next']}")
    assert second["next"] is None
    assert [job["id"] for job in first["jobs"] + second["jobs"]] == [f"j{n}" for n in reversed(range(7))]
    assert [job["id"] for job in me.get("/jobs?kind=import")["jobs"]] == ["j5", "j3", "j1"]
    assert [job["id"] for job in me.get("/jobs?state=running")["jobs"]] == ["j3"]
    assert me.get("/jobs?state=running&kind=document")["jobs"] == []


def test_list_jobs_clamps_its_limit(me: Client) -> None:
    """The limit of a list is brought into 1 … 100, as for notifications."""
    me.post("/batch", {"commands": [{"verb": "start", "title": "x"} for _ in range(105)]})
    assert [len(me.get(f"/jobs?limit={n}")["jobs"]) for n in (0, 1, 1000)] == [1, 1, 100]


def test_notify_one(me: Client) -> None:
    """A notification for one user: 201, with ``seq`` and with ``text``, which is the message or else the title."""
    body = {
        "id": "n1", "user": "u7", "title": "Ready", "message": "Your audio is ready", "level": "success",
        "href": "/s/9", "context": {"document_id": "d1"},
    }  # fmt: skip
    answer = me.call("POST", "/notifications", body)
    assert answer.status_code == 201
    note = answer.json()["notification"]
    assert set(answer.json()) == {"notification"}
    assert set(note) == NOTE
    assert {name: note[name] for name in body} == body
    assert (note["text"], note["status"], note["read_at"]) == ("Your audio is ready", "unread", None)
    assert note["seq"] == note["rev"] > 0
    short = me.notify(title="Only a title")
    assert (short["text"], short["level"], short["href"], short["context"]) == ("Only a title", "info", None, {})


def test_notify_several(me: Client) -> None:
    """For several users there are as many notifications, each with an id of its own."""
    answer = me.call("POST", "/notifications", {"users": ["u1", "u2", "u2"], "title": "Ready"})
    assert answer.status_code == 201
    notes = answer.json()["notifications"]
    assert [note["user"] for note in notes] == ["u1", "u2"]
    assert len({note["id"] for note in notes}) == 2
    assert me.other("u2").get("/notifications")["notifications"][0]["id"] == notes[1]["id"]


def test_notify_everyone(me: Client) -> None:
    """A broadcast reaches everybody in the tenant and nobody outside."""
    note = me.notify(everyone=True, title="Maintenance")
    assert note["user"] is None
    for user in ("me", "u2"):
        assert [n["id"] for n in me.other(user).get("/notifications")["notifications"]] == [note["id"]]
    assert me.server.someone("me", f"{me.tenant}x").get("/notifications")["notifications"] == []


def test_list_notifications(me: Client) -> None:
    """Notifications come newest first with the cursor, ``more`` and the unread count; ``no-store``."""
    ids = [me.notify(title=f"n{n}")["id"] for n in range(3)]
    answer = me.call("GET", "/notifications?limit=2")
    assert answer.headers["cache-control"] == "no-store"
    found = answer.json()
    assert {"notifications", "cursor", "more", "unread"} <= set(found)
    assert set(found["notifications"][0]) == NOTE
    assert [note["id"] for note in found["notifications"]] == [ids[2], ids[1]]
    assert (found["more"], found["unread"]) == (True, 3)


def test_unread_count_read_archive_read_all(me: Client) -> None:
    """Reading, archiving and reading all answer the unread count that holds after them; twice is no error."""
    first, second, third, _ = [me.notify()["id"] for _ in range(4)]
    assert me.get("/notifications/unread-count")["unread_count"] == 4
    assert me.post(f"/notifications/{first}/read")["unread"] == 3
    assert me.post(f"/notifications/{first}/read")["unread"] == 3
    assert me.post(f"/notifications/{second}/archive")["unread"] == 2
    assert me.post(f"/notifications/{second}/archive")["unread"] == 2
    assert me.post("/notifications/read-all", {"up_to": third})["unread"] == 1
    assert me.post("/notifications/read-all")["unread"] == 0
    assert me.get("/notifications/unread-count")["unread_count"] == 0


def test_changes(me: Client) -> None:
    """Changes are entries with a cursor and one document, beside the cursor, ``more``, ``reset``, ``unread``."""
    me.job("j")
    me.notify()
    found = me.get("/changes")
    assert {"changes", "cursor", "more", "reset", "unread"} <= set(found)
    assert [next(iter(set(entry) - {"cursor"})) for entry in found["changes"]] == ["job", "notification", "inbox"]
    assert set(found["changes"][0]["job"]) == JOB - {"steps"}
    assert set(found["changes"][1]["notification"]) == NOTE
    assert (found["more"], found["reset"], found["unread"]) == (False, None, 1)
    again = me.get(f"/changes?after={found['cursor']}")
    assert (again["changes"], again["cursor"]) == ([], found["cursor"])


def test_batch(me: Client) -> None:
    """A batch answers each command in order: the job as it is then, or the notifications."""
    commands = [
        {"verb": "start", "job": "b1", "title": "One", "total": 4},
        {"verb": "advance", "job": "b1", "current": 3},
        {"verb": "beat", "job": "b1"},
        {"verb": "complete", "job": "b1", "output_url": "/x"},
        {"verb": "start", "id": "b2", "title": "Two"},
        {"verb": "fail", "job": "b2", "code": "UNEXPECTED"},
        {"verb": "start", "job": "b3", "title": "Three"},
        {"verb": "cancel", "job": "b3"},
        {"verb": "notify", "user": "me", "title": "Hello", "id": "bn"},
    ]
    results = me.post("/batch", {"commands": commands})["results"]
    assert len(results) == len(commands)
    assert [result["job"]["id"] for result in results[:8]] == ["b1"] * 4 + ["b2"] * 2 + ["b3"] * 2
    assert [note["id"] for note in results[8]["notifications"]] == ["bn"]
    assert [me.get(f"/jobs/b{n}")["job"]["state"] for n in (1, 2, 3)] == ["completed", "failed", "cancelled"]


def test_ticket(me: Client) -> None:
    """A ticket is text that lives 30 seconds."""
    answer = me.call("POST", "/tickets", {})
    assert answer.status_code == 201
    assert set(answer.json()) == {"ticket", "expires_in"}
    assert answer.json()["expires_in"] == 30


def test_client_config(server: Server, me: Client) -> None:
    """The browser is told its transports and intervals; who may not stream is told to poll."""
    assert me.get("/client-config") == {
        "transports": ["sse", "long-poll", "poll"],
        "heartbeat_seconds": 1.0,
        "poll_seconds": 5.0,
        "long_poll_seconds": 25.0,
    }
    assert server.someone("me", "polls").get("/client-config")["transports"] == ["long-poll", "poll"]


def test_pipeline_status(me: Client) -> None:
    """Product D's own question keeps answering in its own words; an unknown case is 404."""
    me.job("case-1", kind="document", total=32)
    me.patch("/jobs/case-1", {"current": 5, "message": "Generating SROGS 1/3"})
    assert me.get("/pipeline-status/case-1") == {
        "caseId": "case-1",
        "jobId": "case-1",
        "status": "running",
        "current": 5,
        "total": 32,
        "message": "Generating SROGS 1/3",
        "outputUrl": None,
        "error": None,
        "streamUrl": "/api/jobs/case-1/stream",
    }
    refused(me.call("GET", "/pipeline-status/case-2"), 404, "not_found")


def test_the_end_of_a_job_as_a_notification(me: Client) -> None:
    """With ``notify`` the end of a job, and each end of each attempt once, becomes its owner's notification."""
    me.job("j", title="Report", owner="boss", notify=True)
    boss = me.other("boss")
    me.post("/jobs/j/complete", {"output_url": "/files/r.pdf"})
    me.post("/jobs/j/complete", {"output_url": "/files/r.pdf"})
    found = boss.get("/notifications")["notifications"]
    assert [(n["title"], n["level"], n["href"], n["context"]) for n in found] == [
        ("Report", "success", "/files/r.pdf", {"job_id": "j"})
    ]
    me.job("j")
    me.post("/jobs/j/fail", {"code": "UNEXPECTED", "message": "it broke"})
    assert [n["level"] for n in boss.get("/notifications")["notifications"]] == ["error", "success"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health(server: Server, path: str) -> None:
    """Health and readiness are open and say nothing but ok."""
    answer = server.http.get(path)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_metrics_need_admin(server: Server, me: Client) -> None:
    """Metrics are for the scope ``admin``: nobody else gets them, in whatever tenant."""
    refused(server.http.get("/metrics"), 401, "token_missing")
    refused(server.http.get("/metrics", headers={"authorization": f"Bearer {me.token}"}), 403, "scope_missing")
    assert server.metric("sse_connections_total") >= 0


def test_openapi(server: Server) -> None:
    """The OpenAPI document names every route of the contract."""
    found = server.http.get("/api/openapi.json").json()
    assert found["openapi"].startswith("3.1")
    expected = {
        "/api/jobs", "/api/jobs/{job_id}", "/api/jobs/{job_id}/complete", "/api/jobs/{job_id}/fail",
        "/api/jobs/{job_id}/cancel", "/api/jobs/{job_id}/stream", "/api/notifications",
        "/api/notifications/unread-count", "/api/notifications/read-all", "/api/notifications/{notification_id}/read",
        "/api/notifications/{notification_id}/archive", "/api/changes", "/api/batch", "/api/tickets",
        "/api/client-config", "/api/stream", "/api/pipeline-status/{case_id}",
        "/api/notifications/stream", "/api/enrichment/stream/{bom_id}", "/api/pipelines/stream",
    }  # fmt: skip
    assert expected <= set(found["paths"])


@pytest.mark.parametrize(("path", "kind"), [("milepost.js", "text/javascript"), ("milepost.css", "text/css")])
def test_bundle(server: Server, path: str, kind: str) -> None:
    """The browser client is served beside the API, open to everybody."""
    answer = server.http.get(f"/{path}")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(kind)
    assert "sourceMappingURL" not in answer.text


@pytest.mark.parametrize("path", ["milepost.d.ts", "milepost.d.mts"])
def test_types(server: Server, path: str) -> None:
    """So are its types, and what they refer to."""
    (referred,) = re.findall(r"'\./(.+)\.js'", server.http.get(f"/{path}").text)
    assert "createClient" in server.http.get(f"/{referred}.d.ts").text
