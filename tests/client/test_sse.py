"""The reader of server-sent events, against the rules of the WHATWG standard, wherever the bytes are cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost import wire
from milepost.client.sse import EventReader, RawEvent
from milepost.errors import Invalid
from milepost.model import dumps


def read(data: bytes, *, size: int | None = None) -> list[RawEvent]:
    """All events of a whole response, fed in chunks of `size` bytes."""
    return feed(EventReader(), data, size or max(len(data), 1))


def feed(reader: EventReader, data: bytes, size: int) -> list[RawEvent]:
    """What a reader makes of data in chunks of `size` bytes."""
    return [event for at in range(0, len(data), size) for event in reader.feed(data[at : at + size])]


# Written by hand from the standard: what stands on the left is dispatched as what stands on the right.
VECTORS: list[tuple[str, bytes, list[RawEvent]]] = [
    ("one line", b"data: a\n\n", [RawEvent("message", "a", "")]),
    ("lines are joined by LF", b"data: a\ndata: b\n\n", [RawEvent("message", "a\nb", "")]),
    ("only one space is taken off", b"data:  a\ndata:b\n\n", [RawEvent("message", " a\nb", "")]),
    ("CR ends a line", b"event: x\rdata: a\r\r", [RawEvent("x", "a", "")]),
    ("CRLF is one end", b"event: x\r\ndata: a\r\n\r\n", [RawEvent("x", "a", "")]),
    ("CR LF CR is two ends", b"data: a\r\n\rdata: b\n\n", [RawEvent("message", "a", ""), RawEvent("message", "b", "")]),
    ("a field without a colon has an empty value", b"data\n\n", [RawEvent("message", "", "")]),
    ("two of them", b"data\ndata\n\n", [RawEvent("message", "\n", "")]),
    ("a comment is nothing", b": hello\n\n:\n\n", []),
    ("an id alone is no event", b"id: 7\n\n", []),
    ("… and stays for the next", b"id: 7\n\ndata: a\n\n", [RawEvent("message", "a", "7")]),
    ("a name alone is no event, and is forgotten", b"event: x\n\ndata: a\n\n", [RawEvent("message", "a", "")]),
    ("an id with NUL is ignored", b"id: 1\nid: 2\0\ndata: a\n\n", [RawEvent("message", "a", "1")]),
    ("an empty id clears it", b"id: 1\n\nid\ndata: a\n\n", [RawEvent("message", "a", "")]),
    ("unknown fields are ignored", b"foo: x\n data: no\ndata: a\n\n", [RawEvent("message", "a", "")]),
    ("field names keep their case", b"Data: x\n\n", []),
    ("a BOM at the beginning is dropped", b"\xef\xbb\xbfdata: a\n\n", [RawEvent("message", "a", "")]),
    ("… only there, and only one", b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n", []),
    ("a block that is torn off is no event", b"data: a\n\ndata: b\n", [RawEvent("message", "a", "")]),
    ("bytes that are not UTF-8 are replaced", b"data: \xff\n\n", [RawEvent("message", "\ufffd", "")]),
    (
        "U+2028, U+0085, VT and FF end no line",
        "data: a\u2028b\u0085c\x0bd\x0ce\n\n".encode(),
        [RawEvent("message", "a\u2028b\u0085c\x0bd\x0ce", "")],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("data", "expected"), [case[1:] for case in VECTORS], ids=[case[0] for case in VECTORS])
def test_vectors(data: bytes, expected: list[RawEvent]) -> None:
    """Each rule of the standard holds, also when every byte comes alone."""
    assert read(data) == expected
    assert read(data, size=1) == expected


lines = st.one_of(
    st.builds(
        lambda name, colon, value: name + colon + value,
        st.sampled_from([b"data", b"id", b"event", b"retry", b"", b"x", b"\xef\xbb\xbf"]),
        st.sampled_from([b":", b": ", b"", b"::"]),
        st.one_of(st.text(max_size=8).map(lambda t: t.encode()), st.binary(max_size=8)),
    ),
    st.just(b""),
)
streams = st.lists(st.tuples(lines, st.sampled_from([b"\n", b"\r", b"\r\n"])), max_size=30).map(
    lambda parts: b"".join(line + end for line, end in parts)
)


@given(streams, st.lists(st.integers(0, 400), max_size=12))
def test_where_the_network_cuts_makes_no_difference(data: bytes, cuts: list[int]) -> None:
    """Any cut of the bytes gives the same events, last id and retry as no cut at all."""
    whole, cut = EventReader(), EventReader()
    expected = whole.feed(data)
    edges = sorted({0, len(data), *(c for c in cuts if c < len(data))})
    found = [event for a, b in itertools.pairwise(edges) for event in cut.feed(data[a:b])]
    assert found == expected
    assert (cut.last_event_id, cut.retry_ms) == (whole.last_event_id, whole.retry_ms)


@given(st.text(), st.integers(1, 5))
def test_what_the_server_frames_comes_back(text: str, size: int) -> None:
    """A frame made by `wire` is read as the same name, id and JSON."""
    data = dumps({"text": text.encode("utf-8", "replace").decode()})
    frame = wire.frame("job", data, id="e.1.x", retry=1500)
    assert read(frame, size=size) == [RawEvent("job", data.decode(), "e.1.x")]


def test_an_id_counts_when_its_block_is_complete() -> None:
    """A torn block's id is not the one to resume from: that event was never seen."""
    reader = EventReader("old")
    reader.feed(b"id: new\ndata: x\n")
    assert reader.last_event_id == "old"
    reader.feed(b"\n")
    assert reader.last_event_id == "new"


@pytest.mark.parametrize(
    "data",
    [b"data: " + b"x" * 100, b"data: x\n" * 20, b":" + b"x" * 100, b"data: " + b"x" * 100 + b"\n\n"],
    ids=["unfinished line", "many lines", "comment", "complete"],
)
def test_an_event_has_a_bound(data: bytes) -> None:
    """More than the bound in one event is refused, however it comes, before it fills the memory."""
    for size in (1, 7, len(data)):
        reader = EventReader(max_event_bytes=64)
        with pytest.raises(Invalid, match="larger than 64 bytes") as caught:
            feed(reader, data, size)
        assert caught.value.code == "too_large"


def test_many_events_have_none() -> None:
    """The bound is one event's: a long stream of small events and comments never reaches it."""
    reader = EventReader(max_event_bytes=64)
    for _ in range(100):
        reader.feed(b": comment\n: comment\n: comment\n: comment\n: comment\n")
    assert len(reader.feed(b"data: 12345\n\n" * 100)) == 100


def test_retry_is_digits_only() -> None:
    """`retry:` counts where it is a number, and its newest value stays."""
    reader = EventReader()
    reader.feed(b"retry: 1500\n\nretry: -1\n\nretry: 1.5\n\nretry: \xd9\xa1\n\nretry\n\n")
    assert reader.retry_ms == 1500
    reader.feed(b"retry: " + b"9" * 5000 + b"\n\n")
    assert reader.retry_ms == 99_999_999_999
