"""Frames and cursors."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost import wire
from milepost.engine import Document
from milepost.model import Cursor, dumps
from milepost.wire import CursorSeal
from tests.server.sse_client import Parser

KEY = b"k" * 32
EPOCHS = st.text(string.hexdigits.lower(), min_size=1, max_size=12)
REVISIONS = st.integers(0, 2**53)
TENANTS = st.text(string.ascii_letters + string.digits + "._:-", min_size=1, max_size=128)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(TENANTS, EPOCHS, REVISIONS)
def test_cursors_there_and_back(tenant: str, epoch: str, revision: int) -> None:
    """A cursor comes back as it was, is ASCII of at most 64 characters, and fits a header, a URL and an SSE id."""
    seal = CursorSeal(KEY)
    text = seal.encode(tenant, Cursor(epoch, revision))
    assert seal.decode(tenant, text) == Cursor(epoch, revision)
    assert len(text) <= wire.MAX_CURSOR
    assert set(text) <= set(string.ascii_letters + string.digits + ".-_")


@given(TENANTS, EPOCHS, REVISIONS, st.data())
def test_forged_cursors(tenant: str, epoch: str, revision: int, data: st.DataObject) -> None:
    """A cursor of which anything was changed is none, nor is another tenant's, nor another key's."""
    seal = CursorSeal(KEY)
    text = seal.encode(tenant, Cursor(epoch, revision))
    place = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.sampled_from("0123456789abcdef.").filter(lambda one: one != text[place]))
    assert seal.decode(tenant, text[:place] + letter + text[place + 1 :]) is None
    assert seal.decode(tenant + "x", text) is None
    assert CursorSeal(b"x" * 32).decode(tenant, text) is None


@given(st.text(max_size=80))
def test_any_text_as_a_cursor(text: str) -> None:
    """No text makes decoding fail; none but our own is a cursor."""
    assert CursorSeal(KEY).decode("t", text) is None


@pytest.mark.parametrize("text", ["", ".", "..", "a..b", "e.1", "e.1.", "e.-1.x", "e.²." + "0" * 10, "é.1.0", "e.1.\0"])
def test_texts_that_are_nearly_cursors(text: str) -> None:
    """Nor is what looks like one."""
    assert CursorSeal(KEY).decode("t", text) is None


@given(
    st.from_regex(r"[a-z_]{1,20}", fullmatch=True), JSON, st.none() | st.from_regex(r"[a-z0-9.]{1,64}", fullmatch=True)
)
def test_frames_there_and_back(event: str, value: object, id: str | None) -> None:
    """Whatever is in the data, a frame is one event with just this data, id and name."""
    parser = Parser()
    (found,) = parser.feed(wire.frame(event, dumps(value), id=id))
    assert (found.name, found.json, found.id, found.retry) == (event, value, id, None)
    assert parser.clean


def test_a_comment_is_one_line() -> None:
    """A comment ends with one line end: a blank line behind it would be an empty event to some clients."""
    assert wire.comment("heartbeat") == b": heartbeat\n"


@pytest.mark.parametrize(
    ("key", "about"),
    [
        ("job:a", "job:a"),
        ("job:a:b", "job:a:b"),
        ("job:a!user:u", "job:a"),
        ("notification:n@user:u", "notification:n"),
        ("notification:n@user:u!user:u", "notification:n"),
    ],
)
def test_subject(key: str, about: str) -> None:
    """A user's own copy, and what a document leaves behind, are about the document itself."""
    assert wire.subject(key) == about


def _document(key: str, body: bytes, **more: object) -> Document:
    return Document(key, key.partition(":")[0], 7, 5, ("user:u",), body, **more)  # type: ignore[arg-type]


def test_public() -> None:
    """A document's body goes out as it is stored, with its revision, and a notification's with its order too."""
    assert wire.public(_document("job:j", b'{"id":"j"}')) == b'{"id":"j","rev":7}'
    assert wire.public(_document("notification:n", b'{"id":"n"}')) == b'{"id":"n","seq":5,"rev":7}'


@pytest.mark.parametrize("key", ["job:j", "job:j!user:u", "job:j!job:j"])
def test_public_gone(key: str) -> None:
    """A gone document tells its id and that it is gone, nothing else."""
    assert wire.public(_document(key, b"", gone=True)) == b'{"id":"j","rev":7,"gone":true}'


def test_end_reasons() -> None:
    """The reasons of the contract, all of them and no other."""
    assert set(wire.END_REASONS) == {
        "completed", "failed", "cancelled", "token_expired", "revoked", "timeout", "shutdown", "overloaded",
        "rate_limited", "replaced",
    }  # fmt: skip


def test_the_eight_events() -> None:
    """Each canonical event, byte for byte."""
    assert wire.heartbeat(now=0.5, cursor="c", degraded=False) == (
        b'event: heartbeat\ndata: {"time":"1970-01-01T00:00:00.500Z","cursor":"c"}\n\n'
    )
    assert wire.heartbeat(now=0.5, cursor=None, degraded=True) == (
        b'event: heartbeat\ndata: {"time":"1970-01-01T00:00:00.500Z","cursor":null,"degraded":true}\n\n'
    )
    assert wire.connected(now=0, cursor=None, heartbeat_seconds=15.0) == (
        b'event: connected\ndata: {"protocol":1,"time":"1970-01-01T00:00:00.000Z","cursor":null,'
        b'"heartbeat_seconds":15.0}\n\n'
    )
    assert wire.job(_document("job:j", b'{"id":"j"}'), "c") == (
        b'event: job\nid: c\ndata: {"job":{"id":"j","rev":7}}\n\n'
    )
    note = wire.notification(_document("notification:n", b'{"id":"n"}'), "c")
    assert note + wire.unread_tail(3, "d") == (
        b'event: notification\nid: c\ndata: {"notification":{"id":"n","seq":5,"rev":7},"unread":3,"as_of":"d"}\n\n'
    )
    assert note + wire.unread_tail(None, "") == (
        b'event: notification\nid: c\ndata: {"notification":{"id":"n","seq":5,"rev":7}}\n\n'
    )
    assert wire.inbox(unread=1, read_up_to=2, as_of="a", cursor="c") == (
        b'event: inbox\nid: c\ndata: {"unread":1,"read_up_to":2,"as_of":"a"}\n\n'
    )
    assert wire.live("c") == b'event: live\nid: c\ndata: {"cursor":"c"}\n\n'
    assert wire.reset("epoch") == b'event: reset\ndata: {"reason":"epoch"}\n\n'
    assert wire.stream_end("timeout", 500) == (
        b'event: stream_end\nretry: 500\ndata: {"reason":"timeout","retry_ms":500}\n\n'
    )
