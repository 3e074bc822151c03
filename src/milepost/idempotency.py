"""Idempotency keys: the first answer again, stored in the same commit as what it answers. Pure.

A key belongs to one user of one tenant and is kept for 24 hours (draft-ietf-httpapi-idempotency-key-header). Its record
is a document without an audience. The revisions in an answer are known only once the commit has given them, so the
record keeps the documents as they were written and how far before its own revision each of them got its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from milepost.engine import Document, Write
from milepost.errors import Invalid

KEEP_SECONDS: Final = 24 * 3600.0
KIND: Final = "idempotency"


@dataclass(frozen=True, slots=True)
class Once:
    """A request that shall be carried out once: its key, and a hash of all that it asks for."""

    key: str
    fingerprint: str

    @classmethod
    def of(cls, key: str, route: str, body: bytes) -> Once:
        """Raises Invalid where the key is not 1 to 128 printable ASCII characters."""
        if not 1 <= len(key) <= 128 or not key.isascii() or not key.isprintable():
            raise Invalid("Idempotency-Key must be 1 to 128 printable ASCII characters.", field="Idempotency-Key")
        return cls(key, hashlib.blake2s(route.encode() + b"\n" + body, digest_size=16).hexdigest())

    def document_key(self, user: str) -> str:
        """The key of the record in the engine."""
        return f"{KIND}:{hashlib.blake2s(f'{user} {self.key}'.encode(), digest_size=16).hexdigest()}"

    def record(self, user: str, writes: Sequence[Write], same: Sequence[Document], *, note: Any, now: float) -> Write:
        """What to commit last, behind the ``writes`` that the answer is made of, and the documents that stay the same.

        ``note`` is any JSON that the caller wants back.
        """
        documents = [
            [w.key, w.kind, (w.body or b"").decode(), w.private.decode(), w.labels, len(writes) - i, w.order or 0, 0]
            for i, w in enumerate(writes)
        ]
        documents += [
            [d.key, d.kind, d.body.decode(), d.private.decode(), d.labels, None, d.order, d.revision] for d in same
        ]
        body = orjson.dumps({"fingerprint": self.fingerprint, "note": note, "documents": documents})
        key = self.document_key(user)
        return Write(key, KIND, body, expires_at=now + KEEP_SECONDS, replaces=0)

    def replay(self, record: Document) -> tuple[list[Document], Any]:
        """The first outcome and its note. Raises Invalid ``idempotency_mismatch`` for another request."""
        raw = orjson.loads(record.body)
        if raw["fingerprint"] != self.fingerprint:
            raise Invalid(code="idempotency_mismatch")
        documents = []
        for key, kind, body, private, labels, before, order, revision in raw["documents"]:
            rev = revision if before is None else record.revision - before
            documents.append(Document(key, kind, rev, order or rev, (), body.encode(), private.encode(), tuple(labels)))
        return documents, raw["note"]
