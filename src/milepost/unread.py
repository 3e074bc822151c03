"""How many notifications a user has not read, counted for those who listen: always in one snapshot, never kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from milepost import inbox
from milepost.engine import RECENT, Counts, Document, Engine, Page
from milepost.wire import CursorSeal

SHOWN: Final = 20  # notifications that a snapshot holds, at most


@dataclass(frozen=True, slots=True)
class Unread:
    """A user's inbox in numbers, true at the cursor ``as_of``."""

    count: int
    read_up_to: int
    as_of: str


async def of_page(
    engine: Engine, seal: CursorSeal, tenant: str, user: str, page: Page, *, whole: bool
) -> Unread | None:
    """The user's count where a page makes it worth telling; counted in the page, or after it was read.

    ``whole``: the page is a snapshot of at most ``SHOWN`` notifications, in which the user's inbox is, if there is one.
    """
    if whole:
        mark = next((document for document in page.documents if document.kind == "inbox"), None)
        shown = [document for document in page.documents if RECENT in document.labels]
        if len(shown) < SHOWN:
            # all that is not archived is here, a broadcast or the user's own copy of it: nothing is left to ask
            read_up_to = _read_up_to(user, mark)
            count = sum(inbox.UNREAD in document.labels and document.order > read_up_to for document in shown)
            return Unread(count, read_up_to, seal.encode(tenant, page.cursor))
        counts = await engine.count(tenant, inbox.unread_questions(user))
        return _unread(seal, tenant, user, mark, counts.values, counts)
    if all(document.kind == "job" for document in page.documents):
        return None
    return (await of_users(engine, seal, tenant, [user]))[user]


async def of_users(engine: Engine, seal: CursorSeal, tenant: str, users: Sequence[str]) -> dict[str, Unread]:
    """The count of each user, all from one snapshot."""
    if not users:
        return {}
    # the marks first: one that moves in between makes the count newer than the mark, and tells of itself
    marks = await engine.get(tenant, [inbox.inbox_key(user) for user in users])
    return await _counted(engine, seal, tenant, users, marks)


async def _counted(
    engine: Engine, seal: CursorSeal, tenant: str, users: Sequence[str], marks: Sequence[Document | None]
) -> dict[str, Unread]:
    questions = [inbox.unread_questions(user) for user in users]
    counts = await engine.count(tenant, [question for three in questions for question in three])
    out, values = {}, iter(counts.values)
    for user, mark, asked in zip(users, marks, questions, strict=True):
        out[user] = _unread(seal, tenant, user, mark, [next(values) for _ in asked], counts)
    return out


def _unread(
    seal: CursorSeal, tenant: str, user: str, mark: Document | None, values: Sequence[int], counts: Counts
) -> Unread:
    return Unread(inbox.unread(values), _read_up_to(user, mark), seal.encode(tenant, counts.cursor))


def _read_up_to(user: str, mark: Document | None) -> int:
    return 0 if mark is None else inbox.load_inbox(user, mark).read_up_to
