"""What a line of a trace file may look like, and what is said of one that is none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from examples.traces.sampling import BROKEN_LINE, sample
from examples.traces.spans import LINE_LIMIT, BadRow, Span, spans_of

PLAIN: dict[str, Any] = {
    "trace_id": "t1",
    "span_id": "s1",
    "parent_id": "s0",
    "name": "GET /",
    "service": "web",
    "start": "2026-03-02T09:00:00.5Z",
    "end": "2026-03-02T09:00:00.75Z",
    "status": "error",
    "attributes": {"http.status": 500},
}
START = 1_772_442_000_500_000


def read(**changes: Any) -> Span:
    """The span of a line: the plain one with these fields, without those that are None."""
    found = {name: value for name, value in {**PLAIN, **changes}.items() if value is not None}
    (span,) = spans_of(1, json.dumps(found).encode())
    return span


def test_a_plain_line() -> None:
    """Every field, times in microseconds."""
    assert read() == Span("t1", "s1", "s0", "GET /", "web", START, 250_000, "error", {"http.status": "500"})


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-03-02T10:00:00.500+01:00", "2026-03-02T09:00:00.750000123Z"),
        ("2026-03-02 09:00:00.5", 1_772_442_000.75),
        (1_772_442_000_500, 1_772_442_000_750),
        (1_772_442_000_500_000, 1_772_442_000_750_000),
        (1_772_442_000_500_000_000, "1772442000750000000"),
    ],
)
def test_times_in_every_unit(start: object, end: object) -> None:
    """RFC 3339, and numbers of seconds, milli-, micro- and nanoseconds: all the same moment, to less than 1 µs."""
    span = read(start=start, end=end)
    assert abs(span.start - START) <= 1
    assert abs(span.duration - 250_000) <= 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("duration_ms", 250),
        ("durationMs", "250"),
        ("duration_us", 250_000),
        ("duration", 250_000),
        ("duration_ns", 25e7),
    ],
)
def test_a_duration_in_place_of_an_end(field: str, value: object) -> None:
    """In the unit that its name says; in microseconds where it says none."""
    assert read(end=None, **{field: value}).duration == 250_000


def test_the_neighbours_names() -> None:
    """Zipkin's line, and one of OpenTelemetry's console exporter."""
    zipkin = {
        "traceId": "t1",
        "id": "s1",
        "parentId": "s0",
        "name": "get /",
        "timestamp": START,
        "duration": 250_000,
        "localEndpoint": {"serviceName": "web"},
        "tags": {"error": "true"},
    }
    (span,) = spans_of(1, json.dumps(zipkin).encode())
    assert span == Span("t1", "s1", "s0", "get /", "web", START, 250_000, "error", {"error": "true"})
    console = {
        "name": "GET /",
        "context": {"trace_id": "0xt1", "span_id": "0xs1"},
        "parent_id": None,
        "start_time": PLAIN["start"],
        "end_time": PLAIN["end"],
        "status": {"status_code": "OK"},
        "resource": {"attributes": {"service.name": "web"}},
    }
    (span,) = spans_of(1, json.dumps(console).encode())
    assert span == Span("t1", "s1", None, "GET /", "web", START, 250_000, "ok", {})


def test_an_export_request_is_many_spans() -> None:
    """A line of the collector's file exporter: all spans of all its scopes, with their resource's service."""
    spans = [
        {
            "traceId": "t1",
            "spanId": f"s{number}",
            "parentSpanId": "0000000000000000",
            "name": "GET /",
            "startTimeUnixNano": str(START * 1000),
            "endTimeUnixNano": str(START * 1000 + 250_000_000),
            "status": {"code": 2},
            "attributes": [{"key": "http.status", "value": {"intValue": "500"}}],
        }
        for number in range(3)
    ]
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "web"}}]}
    line = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans[:2]}, {"spans": spans[2:]}]}]}
    found = spans_of(1, json.dumps(line).encode())
    assert [span.span_id for span in found] == ["s0", "s1", "s2"]
    assert found[0] == Span("t1", "s0", None, "GET /", "web", START, 250_000, "error", {"http.status": "500"})


def test_an_empty_line_is_nothing() -> None:
    """Also one with the mark that some editors put at the beginning of a file."""
    assert [spans_of(1, data) for data in (b"\n", b"  \r\n", b"\xef\xbb\xbf\n")] == [[], [], []]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"trace_id": None}, "trace_id is missing"),
        ({"span_id": ""}, "span_id is empty"),
        ({"span_id": ["s"]}, "span_id is not a text"),
        ({"trace_id": "t" * 201}, "trace_id has more than 200 characters"),
        ({"parent_id": {"id": 1}}, "parent_id is not a text"),
        ({"name": 7}, "name is not a text"),
        ({"start": None}, "start is missing"),
        ({"start": "yesterday"}, "start is not a time: “yesterday”"),
        ({"start": True}, "start is not a number"),
        ({"start": -1}, "start is not a time of our calendar"),
        ({"start": "0001-01-01T00:00:00Z"}, "start is not a time of our calendar"),
        ({"start": 1e305}, "start is not a number"),
        ({"start": "2026-03-02T09:00:01Z"}, "start is later than end"),
        ({"end": None}, "there is neither an end nor a duration"),
        ({"end": None, "duration_ms": -1}, "duration_ms is negative"),
        ({"end": None, "duration_ms": 1e20}, "duration_ms is too long"),
        ({"end": None, "duration_ms": "soon"}, "duration_ms is not a number: “soon”"),
    ],
)
def test_what_is_wrong_with_a_span(changes: dict[str, Any], reason: str) -> None:
    """A sentence with the line and the field."""
    found = {name: value for name, value in {**PLAIN, **changes}.items() if value is not None}
    with pytest.raises(BadRow) as bad:
        spans_of(1_204, json.dumps(found).encode())
    assert str(bad.value) == f"Line 1,204: {reason}"
    assert (bad.value.line, bad.value.milepost_code) == (1_204, "IMPORT_ROW")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"trace_id": "t1",}', "this is not JSON (at character 18)"),
        (b"[1, 2]", "a span is an object, and this is a list"),
        (b"null", "a span is an object, and this is null"),
        (b"7", "a span is an object, and this is a number"),
        (b'"\xff"', "byte 2 is not UTF-8"),
        (b"[" * 100_000, None),
        (b'{"a": ' + b"9" * 10_000 + b"}", None),
        (b'{"name": "\\ud800"}', None),
        (b'{"resourceSpans": [7]}', "resourceSpans is not a list of objects"),
        (b" " * (LINE_LIMIT + 1), "it is longer than 1 MiB"),
    ],
)
def test_what_is_no_span_at_all(data: bytes, reason: str | None) -> None:
    """Never anything but a sentence."""
    with pytest.raises(BadRow) as bad:
        spans_of(1, data)
    assert reason is None or str(bad.value) == f"Line 1: {reason}"


def test_the_samples() -> None:
    """The same bytes each time; the broken one differs in one line, which is the only one that is refused."""
    good, broken = sample().splitlines(), sample(broken=True).splitlines()
    assert len(good) > 2_000
    assert [line for line, pair in enumerate(zip(good, broken, strict=True), 1) if pair[0] != pair[1]] == [BROKEN_LINE]
    assert all(spans_of(line, data) for line, data in enumerate(good, 1))
    with pytest.raises(BadRow, match="Line 1,204: start is later than end"):
        spans_of(BROKEN_LINE, broken[BROKEN_LINE - 1])
