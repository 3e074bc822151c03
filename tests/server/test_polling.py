"""Polling for notifications, and what has been read: by cursor, without a session, and never losing one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.process import Client, refused


def _tell(me: Client, count: int, start: int = 0) -> list[str]:
    """That many notifications in one commit; their ids, oldest first."""
    commands = [{"verb": "notify", "user": "me", "title": f"n{start + n}"} for n in range(count)]
    return [result["notifications"][0]["id"] for result in me.post("/batch", {"commands": commands})["results"]]


def _ids(page: dict[str, Any]) -> list[str]:
    return [note["id"] for note in page["notifications"]]


@pytest.mark.parametrize("by", ["cursor", "newest id"])
@pytest.mark.parametrize("limit", [50, 7])
def test_more_than_a_page(me: Client, by: str, limit: int) -> None:
    """51 new ones with a limit of 50 lose none: the oldest come first, newest first in the page, ``more`` says so."""
    old = _tell(me, 3)
    page = me.get(f"/notifications?limit={limit}")
    assert _ids(page) == old[::-1]
    new = _tell(me, 51, 3)
    got: list[str] = []
    while True:
        place = page["cursor"] if by == "cursor" else (got or old)[-1]
        page = me.get(f"/notifications?after_id={place}&limit={limit}")
        assert _ids(page) == new[len(got) : len(got) + limit][::-1]
        got += _ids(page)[::-1]
        assert page["more"] == (len(got) < 51)
        if not page["more"]:
            break
    assert got == new
    assert me.get(f"/notifications?after_id={page['cursor']}")["notifications"] == []


def test_with_others_in_between(me: Client) -> None:
    """What others get lies between the cursors and never comes, nor does it make a page seem full."""
    cursor = me.get("/notifications")["cursor"]
    commands = [{"verb": "notify", "user": "me" if n % 10 == 9 else "other", "title": str(n)} for n in range(200)]
    me.post("/batch", {"commands": commands})
    page = me.get(f"/notifications?after_id={cursor}&limit=15")
    assert [note["title"] for note in page["notifications"]] == [str(n) for n in range(149, 0, -10)]
    assert page["more"]
    page = me.get(f"/notifications?after_id={page['cursor']}&limit=15")
    assert [note["title"] for note in page["notifications"]] == ["199", "189", "179", "169", "159"]
    assert not page["more"]


def test_reading_never_brings_one_back(me: Client) -> None:
    """After means created later: what is read, archived or marked in between never comes again."""
    ids = _tell(me, 3)
    broadcast = me.notify(everyone=True)["id"]
    cursor = me.get("/notifications")["cursor"]
    me.post(f"/notifications/{ids[0]}/read")
    me.post(f"/notifications/{broadcast}/read")
    me.post(f"/notifications/{ids[1]}/archive")
    me.post("/notifications/read-all")
    assert me.get(f"/notifications?after_id={cursor}")["notifications"] == []
    assert me.get(f"/notifications?after_id={broadcast}")["notifications"] == []
    new = me.notify()["id"]
    assert _ids(me.get(f"/notifications?after_id={cursor}")) == [new]


def test_before(me: Client) -> None:
    """Older ones by ``before``, an id: page after page down to the first, each once."""
    ids = _tell(me, 25)
    got: list[str] = []
    page = me.get("/notifications?limit=10")
    while page["notifications"]:
        got += _ids(page)
        assert page["more"] == (len(got) < 25)
        page = me.get(f"/notifications?limit=10&before={got[-1]}")
    assert got == ids[::-1]


@pytest.mark.parametrize(
    ("limit", "count"), [("0", 1), ("-5", 1), ("1", 1), ("100", 100), ("101", 100), ("99999", 100)]
)
def test_the_limit_is_clamped(me: Client, limit: str, count: int) -> None:
    """The limit is brought into 1 … 100; without one it is 50."""
    ids = _tell(me, 105)
    assert _ids(me.get(f"/notifications?limit={limit}")) == ids[::-1][:count]
    assert len(me.get("/notifications")["notifications"]) == 50


def test_by_status(me: Client) -> None:
    """``?status=`` gives only these; archived ones come only when asked for."""
    ids = _tell(me, 6)
    me.post("/notifications/read-all", {"up_to": ids[1]})
    me.post(f"/notifications/{ids[2]}/read")
    me.post(f"/notifications/{ids[3]}/archive")
    assert _ids(me.get("/notifications?status=unread")) == [ids[5], ids[4]]
    assert _ids(me.get("/notifications?status=read")) == [ids[2], ids[1], ids[0]]
    assert _ids(me.get("/notifications?status=archived")) == [ids[3]]
    assert _ids(me.get("/notifications")) == [ids[5], ids[4], ids[2], ids[1], ids[0]]
    assert [n["status"] for n in me.get("/notifications")["notifications"]] == ["unread"] * 2 + ["read"] * 3


def test_by_status_behind_many_others(me: Client) -> None:
    """The few that match are found, however many that do not match lie before them."""
    ids = _tell(me, 150)
    me.post("/notifications/read-all")
    fresh = _tell(me, 2, 150)
    assert _ids(me.get("/notifications?status=unread")) == fresh[::-1]
    assert len(_ids(me.get("/notifications?status=read&limit=100"))) == 100
    assert _ids(me.get(f"/notifications?status=read&before={ids[1]}")) == [ids[0]]


def test_a_broadcast_is_read_by_each(me: Client) -> None:
    """Each user reads and archives a broadcast for themselves; nobody else's count changes."""
    one, two = me.other("one"), me.other("two")
    first, second = me.notify(everyone=True)["id"], me.notify(everyone=True)["id"]
    assert one.post(f"/notifications/{first}/read")["unread"] == 1
    assert one.post(f"/notifications/{second}/archive")["unread"] == 0
    assert two.get("/notifications/unread-count")["unread_count"] == 2
    assert [(n["id"], n["status"]) for n in one.get("/notifications")["notifications"]] == [(first, "read")]
    assert [n["status"] for n in two.get("/notifications")["notifications"]] == ["unread", "unread"]
    copy = one.get("/notifications")["notifications"][0]
    original = two.get("/notifications")["notifications"][1]
    assert (copy["seq"], copy["created_at"]) == (original["seq"], original["created_at"])
    assert copy["rev"] > original["rev"]
    assert two.post("/notifications/read-all")["unread"] == 0
    assert one.get("/notifications/unread-count")["unread_count"] == 0


def test_read_all_is_one_small_commit(me: Client) -> None:
    """Reading all moves the history by one, however many there are; twice by nothing."""
    _tell(me, 500)
    before = int(me.get("/changes")["cursor"].split(".")[1])
    assert me.post("/notifications/read-all")["unread"] == 0
    assert int(me.get("/changes")["cursor"].split(".")[1]) == before + 1
    page = me.get("/notifications?limit=100")
    assert {note["status"] for note in page["notifications"]} == {"read"}


def test_seen_on_other_devices_at_once(me: Client) -> None:
    """Reading one or all is told to the user's other streams, as absolute numbers."""
    ids = _tell(me, 3)
    with me.stream() as other_device:
        other_device.until("live")
        me.post(f"/notifications/{ids[0]}/read")
        told = other_device.until("notification")[-1].json
        assert (told["notification"]["id"], told["notification"]["status"], told["unread"]) == (ids[0], "read", 2)
        me.post(f"/notifications/{ids[1]}/archive")
        told = other_device.until("notification")[-1].json
        assert (told["notification"]["status"], told["unread"]) == ("archived", 1)
        me.post("/notifications/read-all")
        assert other_device.until("inbox")[-1].json["unread"] == 0


def test_read_all_up_to(me: Client) -> None:
    """Reading up to an id reads that one and all before it, and never goes back."""
    ids = _tell(me, 4)
    assert me.post("/notifications/read-all", {"up_to": ids[2]})["unread"] == 1
    assert me.post("/notifications/read-all", {"up_to": ids[0]})["unread"] == 1
    refused(me.call("POST", "/notifications/read-all", {"up_to": "none"}), 404, "not_found")


def test_an_unknown_place_begins_with_the_newest(me: Client) -> None:
    """``after_id`` that names nothing that is known is answered as if there were none: by the newest."""
    ids = _tell(me, 3)
    for place in ("unknown", "nonsense.1.2", "%00"):
        assert _ids(me.get(f"/notifications?after_id={place}&limit=2")) == [ids[2], ids[1]]


def test_product_a(me: Client) -> None:
    """Product A's page finds the fields that it knows, under their names."""
    context = {"document_id": "d1", "job_id": "j1"}
    me.notify(level="success", message="Ready", href="/d/1", context=context)
    note = me.get("/notifications")["notifications"][0]
    assert {"id", "level", "text", "context", "created_at"} <= set(note)
    assert (note["level"], note["text"], note["context"]) == ("success", "Ready", context)
