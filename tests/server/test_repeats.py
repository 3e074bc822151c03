"""The same request again: with an Idempotency-Key the first answer byte for byte; and batches, all or nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.server.process import Client, Server, refused

KEY = {"idempotency-key": "4c1b-a"}
REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("/jobs", {"title": "Import"}),
    ("/jobs", {"id": "named", "title": "Import", "total": 3}),
    ("/notifications", {"user": "me", "title": "Ready"}),
    ("/notifications", {"users": ["me", "you"], "title": "Ready"}),
    ("/notifications", {"everyone": True, "title": "Ready"}),
    ("/jobs/j/complete", {"result": {"pages": 3}, "output_url": "/x"}),
    ("/jobs/j/fail", {"code": "UNEXPECTED", "message": "x"}),
    ("/jobs/j/cancel", {"reason": "x"}),
    (
        "/batch",
        {
            "commands": [
                {"verb": "start", "title": "One"},
                {"verb": "advance", "job": "j", "by": 1},
                {"verb": "beat", "job": "j"},
                {"verb": "notify", "users": ["me", "you"], "title": "Two"},
            ]
        },
    ),
]


def _head(me: Client) -> int:
    return int(me.get("/changes")["cursor"].split(".")[1])


@pytest.mark.parametrize(("path", "body"), REQUESTS)
def test_the_first_answer_again(me: Client, path: str, body: dict[str, Any]) -> None:
    """The same key and body: the first status and answer byte for byte, nothing done twice, whatever came between."""
    me.job("j", notify=True)
    first = me.call("POST", path, body, headers=KEY)
    assert first.is_success
    me.job("between")
    me.post("/notifications/read-all")
    head = _head(me)
    again = me.call("POST", path, body, headers=KEY)
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert _head(me) == head


@pytest.mark.parametrize(("path", "body"), REQUESTS)
def test_another_body(me: Client, path: str, body: dict[str, Any]) -> None:
    """The same key for another body, or on another route, is 422 and does nothing."""
    me.job("j")
    assert me.call("POST", path, body, headers=KEY).is_success
    head = _head(me)
    other = {**body, "title": "Other"} if "title" in body else {"commands": [{"verb": "beat", "job": "j"}]}
    if path.startswith("/jobs/j/"):
        other = {**body, "attempt": 1} if "cancel" not in path else {"reason": "other"}
    refused(me.call("POST", path, other, headers=KEY), 422, "idempotency_mismatch")
    refused(me.call("POST", "/notifications", {"user": "x", "title": "y"}, headers=KEY), 422, "idempotency_mismatch")
    assert _head(me) == head


def test_concurrent(me: Client) -> None:
    """The same key at the same time: one job, one notification, and the same answer for all."""
    body = {"commands": [{"verb": "start", "title": "One"}, {"verb": "notify", "user": "me", "title": "Two"}]}
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: me.call("POST", "/batch", body, headers=KEY), range(20)))
    assert {(answer.status_code, answer.content) for answer in answers} == {(200, answers[0].content)}
    assert len(me.get("/jobs")["jobs"]) == 1
    assert len(me.get("/notifications")["notifications"]) == 1


def test_a_key_belongs_to_its_user(me: Client) -> None:
    """Another user's, or another tenant's, same key is another key."""
    body = {"user": "me", "title": "x"}
    ids = {
        who.post("/notifications", body, headers=KEY)["notification"]["id"]
        for who in (me, me.other("you"), me.server.someone("me", f"{me.tenant}-other"))
    }
    assert len(ids) == 3


def test_a_refusal_is_not_kept(me: Client) -> None:
    """A request that was refused did nothing, so its key is free for a better one."""
    refused(me.call("POST", "/notifications", {"user": "me"}, headers=KEY), 422, "invalid")
    refused(me.call("POST", "/jobs/none/complete", {}, headers=KEY), 404, "not_found")
    assert me.post("/notifications", {"user": "me", "title": "x"}, headers=KEY)["notification"]["id"]


def test_a_key_across_a_restart(own_server: Any) -> None:
    """A key counts after a crash, too: the record is in the same commit as what it answers."""
    server: Server = own_server()
    me = server.someone()
    first = me.call("POST", "/jobs", {"title": "x"}, headers=KEY)
    server.close()
    server.start()
    again = me.call("POST", "/jobs", {"title": "x"}, headers=KEY)
    assert (again.status_code, again.content) == (201, first.content)


# --- batches ---------------------------------------------------------------------------------------------------------

BAD = [
    ({"verb": "advance", "job": "none", "by": 1}, 404, "not_found"),
    ({"verb": "advance", "job": "ended", "by": 1}, 409, "job_ended"),
    ({"verb": "advance", "job": "j", "by": 1, "attempt": 9}, 409, "conflict"),
    ({"verb": "complete", "job": "foreign"}, 404, "not_found"),
    ({"verb": "complete", "job": "j", "output_url": "javascript:x"}, 422, "invalid"),
    ({"verb": "notify", "user": "me"}, 422, "invalid"),
    ({"verb": "notify", "user": "me", "title": "x", "id": "taken"}, 409, "conflict"),
    ({"verb": "start", "job": "foreign", "title": "x"}, 409, "conflict"),
    ({"verb": "fly"}, 422, "invalid"),
]


@pytest.mark.parametrize(("bad", "status", "code"), BAD)
def test_one_bad_command(me: Client, bad: dict[str, Any], status: int, code: str) -> None:
    """One bad command refuses all, and the answer says which one it was."""
    me.job("j")
    me.job("ended")
    me.post("/jobs/ended/complete")
    me.other("boss").job("foreign")
    me.notify(id="taken")
    head = _head(me)
    good = [{"verb": "advance", "job": "j", "by": 1}, {"verb": "notify", "user": "me", "title": "x"}]
    problem = refused(me.call("POST", "/batch", {"commands": [*good, bad, *good]}), status, code)
    assert problem.get("index") == 2 or str(problem.get("field", "")).startswith("commands.2")
    assert _head(me) == head
    assert me.get("/jobs/j")["job"]["current"] == 0


def test_a_batch_is_one_commit(me: Client) -> None:
    """All of a batch becomes visible together, with one revision for each document however often it was changed."""
    me.job("j", total=1000)
    head = _head(me)
    commands: list[dict[str, Any]] = [{"verb": "advance", "job": "j", "by": 1} for _ in range(998)]
    commands += [{"verb": "notify", "user": "me", "title": "x"}, {"verb": "start", "title": "new"}]
    results = me.post("/batch", {"commands": commands})["results"]
    assert len(results) == 1000
    assert _head(me) == head + 3
    assert me.get("/jobs/j")["job"]["current"] == 998


def test_later_commands_see_the_earlier(me: Client) -> None:
    """The commands are carried out in order: a job may begin, move, end and begin again in one batch."""
    commands = [
        {"verb": "start", "job": "j", "title": "x", "total": 5, "notify": True},
        {"verb": "advance", "job": "j", "by": 2, "message": "two"},
        {"verb": "advance", "job": "j", "by": 2},
        {"verb": "fail", "job": "j", "code": "UNEXPECTED"},
        {"verb": "start", "job": "j", "title": "again"},
        {"verb": "advance", "job": "j", "current": 1, "attempt": 2},
    ]
    me.post("/batch", {"commands": commands})
    job = me.get("/jobs/j")["job"]
    assert (job["attempt"], job["state"], job["current"], job["error"]) == (2, "running", 1, None)
    refused(me.call("POST", "/batch", {"commands": [*commands[:4], commands[1]]}), 409, "job_ended")


def test_an_empty_batch(me: Client) -> None:
    """A batch of nothing is no error."""
    assert me.post("/batch", {"commands": []}) == {"results": []}
