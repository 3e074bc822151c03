"""The client that the other tests read streams with: were it lax, they would prove nothing."""

from __future__ import annotations

import pytest

from tests.server.sse_client import BadStreamError, Event, Parser

GOOD = b': hello\nevent: job\nid: e.1.ab\ndata: {"a":"\xc3\xa9"}\n\nevent: end\nretry: 50\ndata: {}\n\n'


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_cuts(size: int) -> None:
    """Where the network cuts the bytes makes no difference."""
    parser = Parser()
    found: list[Event] = []
    for start in range(0, len(GOOD), size):
        found += parser.feed(GOOD[start : start + size])
    assert found == [Event("job", '{"a":"é"}', "e.1.ab", None), Event("end", "{}", None, 50)]
    assert parser.comments == ["hello"]
    assert parser.last_event_id == "e.1.ab"
    assert parser.clean


@pytest.mark.parametrize(
    "bad",
    [b"data: 1\r\n\n", b"dat: 1\n\n", b"id: 1\n\n", b"retry: 5\n\n", b"\n", b"data: 1\ndata: 2\n\n",
     b"id: a\0b\ndata: 1\n\n", b"retry: 1s\ndata: 1\n\n"],
)  # fmt: skip
def test_refuses(bad: bytes) -> None:
    """What our server promises never to send is refused, though a browser would let it pass."""
    with pytest.raises(BadStreamError):
        list(Parser().feed(bad))


def test_half_a_block() -> None:
    """A block that its blank line does not end is no event."""
    parser = Parser()
    assert not list(parser.feed(b"event: job\ndata: {}\n"))
    assert not parser.clean
