"""The engine's specification as a plain model: dictionaries, whole scans, no index. What a real engine must agree with.

Two things are left to the tests that use it: not to state one order, or one expiry, twice; and to take the epochs from
the engine, since they are random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from milepost.engine import GONE_SECONDS, RECENT, Document, Question, Write

Reset = Literal["epoch", "ahead", "expired"] | None


@dataclass(frozen=True)
class Expected:
    """What ``changes`` is to answer: documents, the cursor's revision, whether there is more, and why a snapshot."""

    documents: list[Document]
    revision: int
    more: bool = False
    reset: Reset = None


@dataclass
class Tenant:
    """The documents of one tenant, and since when those that are gone are gone."""

    head: int = 0
    floor: int = 0
    documents: dict[str, Document] = field(default_factory=dict)
    gone_at: dict[str, float] = field(default_factory=dict)

    def commit(self, writes: Sequence[Write], now: float) -> list[Document] | None:
        """The stored documents, or None for a conflict."""
        head, documents, gone_at, stored = self.head, dict(self.documents), dict(self.gone_at), []
        for write in writes:
            old = documents.get(write.key)
            present = old.revision if old and not old.gone else 0
            if write.replaces not in (None, present):
                return None
            audiences = tuple(dict.fromkeys(write.audiences))
            if old and write.body is None:
                audiences = old.audiences
            for audience in old.audiences if old else ():
                if audience not in audiences:
                    head += 1
                    key = f"{write.key}!{audience}"
                    documents[key] = Document(key, old.kind if old else "", head, head, (audience,), b"", gone=True)
                    gone_at[key] = now
            head += 1
            order = write.order if write.order is not None else old.order if old and present else head
            new = Document(write.key, write.kind, head, order, audiences, b"", gone=True)
            if write.body is not None:
                new = Document(
                    write.key, write.kind, head, order, audiences, write.body, write.private,
                    tuple(dict.fromkeys(write.labels)), write.open_until, write.expires_at, write.due_at,
                )  # fmt: skip
            documents[write.key] = new
            gone_at[write.key] = now
            stored.append(new)
        self.head, self.documents, self.gone_at = head, documents, gone_at
        return stored

    def prune(self, now: float) -> int:
        """Expire and drop everything that is to be; how many it was."""
        drop = [it for it in self.documents.values() if it.gone and self.gone_at[it.key] <= now - GONE_SECONDS]
        expire = [it for it in self.documents.values() if it.expires_at is not None and it.expires_at <= now]
        for it in sorted(expire, key=lambda it: it.expires_at or 0):
            self.commit([Write(it.key, it.kind, None)], now)
        for it in drop:
            self.floor = max(self.floor, it.revision)
            del self.documents[it.key]
        return len(drop) + len(expire)

    def touch(self, key: str, revision: int, due_at: float) -> bool:
        """Whether the due time moved."""
        it = self.documents.get(key)
        if it is None or it.gone or it.revision != revision:
            return False
        self.documents[key] = it._replace(due_at=due_at)
        return True

    def get(self, key: str) -> Document | None:
        """A document that is not gone."""
        it = self.documents.get(key)
        return None if it is None or it.gone else it

    def changes(
        self,
        audiences: Sequence[str] | None,
        after: int | None,
        *,
        now: float,
        limit: int,
        recent: int,
        keys: Sequence[str] | None,
        reset: Reset = None,
    ) -> Expected:
        """The page after a revision of the present epoch."""
        if after is not None and reset is None:
            reset = "ahead" if after > self.head else "expired" if after < self.floor else None
        if after is None or reset is not None:
            return Expected(self._snapshot(audiences, now, recent, keys), self.head, reset=reset)
        found = [it for it in self._visible(audiences) if it.revision > after]
        if keys is not None:
            found = [it for it in found if it.key in keys or any(it.key.startswith(f"{key}!") for key in keys)]
        page = found[:limit]
        more = len(found) > limit
        return Expected(page, page[-1].revision if more else self.head, more)

    def find(
        self,
        audiences: Sequence[str] | None,
        kind: str,
        labels: Sequence[str],
        before: int | None,
        after: int | None,
        *,
        oldest: bool,
        limit: int,
    ) -> tuple[list[Document], bool]:
        """The documents and whether there are more."""
        found = [
            it
            for it in self._visible(audiences)
            if not it.gone
            and it.kind == kind
            and set(labels) <= set(it.labels)
            and (before is None or it.order < before)
            and (after is None or it.order > after)
            and not self._covered(it, audiences)
        ]
        found.sort(key=lambda it: it.order, reverse=not oldest)
        return found[:limit], len(found) > limit

    def count(self, question: Question) -> int:
        """The answer to one question."""
        above = self.get(question.above)
        return sum(
            not it.gone and question.label in it.labels and it.order > (above.order if above else 0)
            for it in self._visible([question.audience])
        )

    def due(self, now: float) -> list[Document]:
        """What is due."""
        return [it for it in self.documents.values() if it.due_at is not None and it.due_at <= now]

    def _visible(self, audiences: Sequence[str] | None) -> list[Document]:
        found = [it for it in self.documents.values() if audiences is None or set(audiences) & set(it.audiences)]
        return sorted(found, key=lambda it: it.revision)

    def _covered(self, it: Document, audiences: Sequence[str] | None) -> bool:
        return any(self.get(f"{it.key}@{audience}") for audience in audiences or ())

    def _snapshot(
        self, audiences: Sequence[str] | None, now: float, recent: int, keys: Sequence[str] | None
    ) -> list[Document]:
        found = [it for it in self._visible(audiences) if not it.gone and not self._covered(it, audiences)]
        if keys is not None:
            return [it for it in found if it.key in keys]
        others = [it for it in found if it.open_until <= now and RECENT in it.labels]
        newest = sorted(others, key=lambda it: it.order)[-recent:] if recent else []
        return [it for it in found if it.open_until > now or it in newest]
