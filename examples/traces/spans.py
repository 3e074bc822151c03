"""One line of a trace file as spans: OpenTelemetry's own spellings and those of its neighbours, or a reason why not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

LINE_LIMIT: Final = 1024**2  # bytes
TEXT_LIMIT: Final = 200  # characters of an id, a name, an attribute
ATTRIBUTES: Final = 40  # of a span; more are left out

# What a field may be called, the first that is there.
TRACE_ID: Final = ("trace_id", "traceId", "traceID")
SPAN_ID: Final = ("span_id", "spanId", "spanID", "id")
PARENT_ID: Final = ("parent_id", "parentId", "parent_span_id", "parentSpanId", "parentSpanID")
NAME: Final = ("name", "operation_name", "operationName")
SERVICE: Final = ("service", "service_name", "serviceName")
START: Final = ("start", "start_time", "startTime", "startTimeUnixNano", "timestamp")
END: Final = ("end", "end_time", "endTime", "endTimeUnixNano")
DURATION: Final = {  # microseconds in one of it; Jaeger and Zipkin mean microseconds where they name no unit
    "duration_ms": 1_000.0,
    "durationMs": 1_000.0,
    "duration_us": 1.0,
    "duration": 1.0,
    "duration_ns": 0.001,
    "durationNano": 0.001,
}
ATTRIBUTES_OF: Final = ("attributes", "tags")

_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_UNITS: Final = ((1e17, 0.001), (1e14, 1.0), (1e11, 1_000.0))  # a time of ours in nano-, micro- and milliseconds
_LATEST: Final = 253_402_300_800_000_000  # the end of the year 9999 in microseconds
_ERRORS: Final = {"error", "failed", "failure", "2"}


class BadRow(Exception):
    """A line that is no span: ``line`` from 1, and the reason as part of a sentence."""

    milepost_code = "IMPORT_ROW"

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"Line {line:,}: {reason}")
        self.line = line


class _Wrong(Exception):
    """Why a line is no span."""


@dataclass(frozen=True, slots=True)
class Span:
    """One span. Times in microseconds, ``start`` since 1970; ``status`` is "ok", "error" or "unset"."""

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    service: str
    start: int
    duration: int
    status: str
    attributes: Mapping[str, str]


def spans_of(line: int, data: bytes) -> list[Span]:
    """The spans of one line: none of an empty one, many of an export request of OTLP. Raises BadRow."""
    try:
        if len(data) > LINE_LIMIT:
            raise _Wrong(f"it is longer than {LINE_LIMIT // 1024**2} MiB")
        text = _decoded(data).strip().removeprefix("\ufeff")
        if not text:
            return []
        found = _parsed(text)
        if "resourceSpans" in found:
            return list(_exported(found))
        return [_span(found, {})]
    except _Wrong as reason:
        raise BadRow(line, str(reason)) from None


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise _Wrong(f"byte {error.start + 1} is not UTF-8") from None


def _parsed(text: str) -> Mapping[str, Any]:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _Wrong(f"this is not JSON (at character {error.pos + 1})") from None
    if not isinstance(found, dict):
        kind = {list: "a list", str: "a text", type(None): "null", bool: "true or false"}.get(type(found), "a number")
        raise _Wrong(f"a span is an object, and this is {kind}")
    return found


def _exported(found: Mapping[str, Any]) -> Iterator[Span]:
    """An export request: resources, their scopes, and the spans of each."""
    for resource in _objects(found["resourceSpans"], "resourceSpans"):
        about = _attributes(_object(resource.get("resource")).get("attributes"))
        for scope in _objects(resource.get("scopeSpans"), "scopeSpans"):
            for span in _objects(scope.get("spans"), "spans"):
                yield _span(span, about)


def _span(found: Mapping[str, Any], about: Mapping[str, str]) -> Span:
    resource = about or _attributes(_object(found.get("resource")).get("attributes"))
    ids = found if "context" not in found else {**_object(found["context"]), **found}
    attributes = _attributes(_first(found, ATTRIBUTES_OF))
    service = _first(found, SERVICE) or _object(found.get("localEndpoint")).get("serviceName")
    service = service or resource.get("service.name") or attributes.get("service.name") or "unknown"
    start = _time(_required(found, START), "start")
    return Span(
        trace_id=_id(_required(ids, TRACE_ID), "trace_id"),
        span_id=_id(_required(ids, SPAN_ID), "span_id"),
        parent_id=_parent(_first(found, PARENT_ID)),
        name=_text(_required(found, NAME), "name"),
        service=_text(service, "service"),
        start=start,
        duration=_duration(found, start),
        status=_status(found, attributes),
        attributes=attributes,
    )


def _duration(found: Mapping[str, Any], start: int) -> int:
    end = _first(found, END)
    if end is not None:
        length = _time(end, "end") - start
        if length < 0:
            raise _Wrong("start is later than end")
        return length
    for name, unit in DURATION.items():
        if found.get(name) is None:
            continue
        length = round(_number(found[name], name) * unit)
        if not 0 <= length < _LATEST:
            raise _Wrong(f"{name} is negative" if length < 0 else f"{name} is too long")
        return length
    raise _Wrong("there is neither an end nor a duration")


def _status(found: Mapping[str, Any], attributes: Mapping[str, str]) -> str:
    told = found.get("status")
    if isinstance(told, Mapping):
        told = next((told[name] for name in ("status_code", "statusCode", "code") if name in told), None)
    word = str(told).lower().removeprefix("status_code_")
    number = int(word) if word.isdecimal() and len(word) < 10 else 0
    if word in _ERRORS or number >= 500 or found.get("error") is True or attributes.get("error") == "true":
        return "error"
    return "ok" if word in {"ok", "1"} or number >= 100 else "unset"


def _attributes(found: Any) -> dict[str, str]:
    """As texts: an object of any values, or OTLP's list of ``{key, value: {stringValue: …}}``."""
    if isinstance(found, list):
        found = {
            str(pair["key"]): _value(pair.get("value")) for pair in found if isinstance(pair, dict) and "key" in pair
        }
    pairs = list(found.items())[:ATTRIBUTES] if isinstance(found, dict) else []
    return {str(name)[:TEXT_LIMIT]: _shown(value)[:TEXT_LIMIT] for name, value in pairs}


def _value(found: Any) -> Any:
    return next(iter(found.values()), "") if isinstance(found, dict) else found


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _time(value: Any, name: str) -> int:
    """Microseconds since 1970: RFC 3339, or a number whose size tells seconds, milli-, micro- and nanoseconds apart."""
    if isinstance(value, str) and not value.replace(".", "", 1).isdecimal():
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise _Wrong(f"{name} is not a time: “{value[:40]}”") from None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        micros = (moment - _EPOCH) // timedelta(microseconds=1)
    else:
        number = _number(value, name)
        unit = next((unit for size, unit in _UNITS if number >= size), 1_000_000.0)
        micros = round(number * unit)
    if not 0 <= micros < _LATEST:
        raise _Wrong(f"{name} is not a time of our calendar")
    return micros


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _Wrong(f"{name} is not a number")
    try:
        number = float(value)
    except ValueError:
        raise _Wrong(f"{name} is not a number: “{str(value)[:40]}”") from None
    if not abs(number) < 1e300:  # nor what is none
        raise _Wrong(f"{name} is not a number")
    return number


def _id(value: Any, name: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    found = _text(value, name)
    if len(value) > TEXT_LIMIT:
        raise _Wrong(f"{name} has more than {TEXT_LIMIT} characters")
    return found.removeprefix("0x")


def _parent(value: Any) -> str | None:
    """None for a root; some writers fill it with zeros."""
    if isinstance(value, str) and not value.removeprefix("0x").strip("0 "):
        return None
    if value is None or value == 0:
        return None
    return _id(value, "parent_id")


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise _Wrong(f"{name} is not a text")
    if not value.strip():
        raise _Wrong(f"{name} is empty")
    return value.strip()[:TEXT_LIMIT]


def _first(found: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((found[name] for name in names if found.get(name) is not None), None)


def _required(found: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    value = _first(found, names)
    if value is None:
        raise _Wrong(f"{names[0]} is missing")
    return value


def _object(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}


def _objects(found: Any, name: str) -> list[Mapping[str, Any]]:
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise _Wrong(f"{name} is not a list of objects")
    return found
