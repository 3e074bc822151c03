from __future__ import annotations

import math
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from milepost import inbox, jobs
from milepost.commands import Advance, Cancel, Complete, Fail, Notify, StartJob
from milepost.engine import Document, Engine, Write
from milepost.engines import open_engine
from milepost.inbox import Inbox
from milepost.jobs import Policy
from milepost.model import Job, Notification

NOON = 1_750_000_000.0
DAY = 86400.0


def note(user: str | None = "u7", *, id: str = "n", seq: int = 3) -> Notification:
    """An unread notification as it comes from the store."""
    command = Notify(user=user, everyone=None if user else True, title="Ready", context={"document_id": "d1"})
    return replace(inbox.create(command, notification_id=id, user=user, now=NOON), seq=seq, rev=seq)


def stored(write: Write, revision: int = 3, order: int = 3) -> Document:
    """A write as the engine gives it back."""
    assert write.body is not None
    return Document(write.key, write.kind, revision, order, write.audiences, write.body, labels=write.labels)


def test_a_notification_is_made_of_its_command() -> None:
    """Every field of the command, unread, at that time, for that user."""
    command = Notify(users=("u7", "u8"), title="T", message="M", level="warning", href="/x", context={"job_id": "j"})
    made = inbox.create(command, notification_id="n", user="u8", now=NOON)
    assert made == Notification(
        id="n", title="T", created_at=NOON, user="u8", level="warning", message="M", href="/x", context={"job_id": "j"}
    )
    assert made.audience == "user:u8"


def test_reading_and_archiving_are_idempotent() -> None:
    """The same object where nothing changes, so nothing is written; the first time of reading stays."""
    fresh = note()
    read = inbox.read(fresh, now=NOON + 1)
    archived = inbox.archive(read, now=NOON + 2)
    assert (read.status, read.read_at, archived.status, archived.read_at) == ("read", NOON + 1, "archived", NOON + 1)
    assert inbox.read(read, now=NOON + 9) is read
    assert inbox.archive(archived, now=NOON + 9) is archived
    assert inbox.archive(fresh, now=NOON + 4).read_at == NOON + 4


def test_what_was_archived_stays_archived_when_read() -> None:
    """A late mark-read from another tab does not bring it back into the inbox."""
    archived = inbox.archive(note(), now=NOON)
    assert inbox.read(archived, now=NOON + 1) is archived


@pytest.mark.parametrize(
    ("status", "labels"),
    [
        ("unread", ("status:unread", "recent", "unread")),
        ("read", ("status:read", "recent")),
        ("archived", ("status:archived",)),
    ],
)
def test_the_document_of_a_notification(status: str, labels: tuple[str, ...]) -> None:
    """For its one audience, labelled by status; archived ones are not among the recent; it expires with retention."""
    made = replace(note(), status=status)  # type: ignore[arg-type]
    write = inbox.document(made, retention=90 * DAY, replaces=0)
    assert (write.key, write.kind, write.audiences, write.replaces) == (
        "notification:n",
        "notification",
        ("user:u7",),
        0,
    )
    assert write.labels == labels
    assert (write.expires_at, write.open_until, write.order) == (NOON + 90 * DAY, 0.0, None)
    assert inbox.load(stored(write)) == made


def test_a_users_copy_of_a_broadcast() -> None:
    """It covers the broadcast for that user alone, at the broadcast's place, and expires with it."""
    read = inbox.read(note(None), now=NOON + 5)
    broadcast = inbox.document(note(None), retention=DAY, replaces=0)
    copy = inbox.copy(read, user="u7", retention=DAY, replaces=0)
    assert broadcast.audiences == ("everyone",)
    assert (copy.key, copy.audiences, copy.order) == ("notification:n@user:u7", ("user:u7",), 3)
    assert copy.labels == ("status:read", "recent", "copy")
    assert copy.expires_at == broadcast.expires_at
    assert inbox.load(stored(copy, revision=8)) == replace(read, rev=8)


def test_the_inbox_is_one_small_document() -> None:
    """Its order is ``read_up_to``; it is in every snapshot; a user without one has read nothing."""
    write = Inbox("u7", 41).document(replaces=4)
    assert (write.key, write.kind, write.audiences) == ("inbox:u7", "inbox", ("user:u7",))
    assert (write.order, write.open_until, write.expires_at, write.body) == (41, math.inf, None, b'{"read_up_to":41}')
    assert inbox.load_inbox("u7", stored(write)) == Inbox("u7", 41)
    assert inbox.load_inbox("u7", None) == Inbox("u7", 0)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    """A real store."""
    engine = open_engine(f"sqlite:///{tmp_path}/inbox.db")
    yield engine
    await engine.close()


async def test_unread_is_own_plus_broadcasts_less_own_copies(engine: Engine) -> None:
    """Counted by a real engine through every change: the number is absolute and exact for each user."""

    async def put(*writes: Write) -> list[Document]:
        return await engine.commit("default", writes)

    async def unread() -> tuple[int, int]:
        counted = [await engine.count("default", inbox.unread_questions(user)) for user in ("u7", "u8")]
        return inbox.unread(counted[0].values), inbox.unread(counted[1].values)

    async def fresh(user: str | None, id: str) -> Notification:
        return inbox.load((await put(inbox.document(note(user, id=id), retention=DAY, replaces=0)))[0])

    own, other = await fresh("u7", "own"), await fresh("u8", "other")
    broadcast = await fresh(None, "all")
    assert await unread() == (2, 2)
    await put(inbox.document(inbox.read(own, now=NOON), retention=DAY, replaces=own.rev))
    assert await unread() == (1, 2)
    [copy] = await put(inbox.copy(inbox.read(broadcast, now=NOON), user="u7", retention=DAY, replaces=0))
    assert await unread() == (0, 2)
    await put(inbox.copy(inbox.archive(inbox.load(copy), now=NOON), user="u7", retention=DAY, replaces=copy.revision))
    assert await unread() == (0, 2)
    await put(Inbox("u8", other.seq).document(replaces=0))
    assert await unread() == (0, 1)
    mark = (await engine.heads(["default"]))[0].revision
    await put(Inbox("u7", mark).document(replaces=0), Inbox("u8", mark).document(replaces=None))
    assert await unread() == (0, 0)
    await fresh(None, "later")
    assert await unread() == (1, 1)


def test_unread_is_never_negative() -> None:
    """A copy that outlives its broadcast by one pruning does not make less than nothing."""
    assert inbox.unread([0, 0, 1]) == 0
    assert inbox.unread([2, 3, 1]) == 4


def finished(how: str) -> Job:
    """A job that has ended."""
    job, _ = jobs.start(
        None, StartJob(title="Discovery set", owner="u7"), job_id="j", creator="w", policy=Policy(), now=NOON
    )
    job = jobs.advance(job, jobs.progress(Advance(message="Zipping"), NOON), now=NOON)
    match how:
        case "completed":
            return jobs.complete(job, Complete(output_url="/x.zip"), now=NOON)
        case "failed":
            return jobs.fail(job, Fail(code="X", message="Disk full"), now=NOON)
        case "failed without a word":
            return jobs.fail(job, Fail(code="X"), now=NOON)
        case _:
            return jobs.cancel(job, Cancel(reason="Not needed"), now=NOON)


@pytest.mark.parametrize(
    ("how", "level", "message", "href"),
    [
        ("completed", "success", "Zipping", "/x.zip"),
        ("failed", "error", "Disk full", None),
        ("failed without a word", "error", "X", None),
        ("cancelled", "warning", "Not needed", None),
    ],
)
def test_the_end_of_a_job_as_a_notification(how: str, level: str, message: str, href: str | None) -> None:
    """To its owner, under its title, with the level of the end, the link to the output and the job's id."""
    told = inbox.of_job(finished(how))
    assert (told.user, told.title, told.level, told.message, told.href) == ("u7", "Discovery set", level, message, href)
    assert told.context == {"job_id": "j"}
