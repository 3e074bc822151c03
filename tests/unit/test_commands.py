from __future__ import annotations

import json
import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from milepost.commands import (
    MAX_COMMANDS,
    MAX_COUNTERS,
    MAX_DEPTH,
    MAX_JSON_BYTES,
    MAX_MESSAGE,
    MAX_SECONDS,
    MAX_TITLE,
    MAX_USERS,
    MAX_WATCHERS,
    Advance,
    Batch,
    BatchAdvance,
    BatchBeat,
    BatchNotify,
    BatchStart,
    Cancel,
    Command,
    Complete,
    Fail,
    Notify,
    StartJob,
    check,
    parse,
)
from milepost.engine import MAX_AUDIENCES
from milepost.errors import Invalid

ALL: list[type[Command]] = [StartJob, Advance, Complete, Fail, Cancel, Notify, Batch]


def nested(depth: int) -> Any:
    """A list in a list …, that deep."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def refusal(model: type[Command], data: bytes) -> Invalid:
    """What the door says to a body that it refuses."""
    with pytest.raises(Invalid) as refused:
        parse(model, data)
    error = refused.value
    # no text of pydantic's, no address of its website, no name of a Python type
    assert not any(word in error.message for word in ("pydantic", "https://errors", "Input should", "NoneType", "dict"))
    assert (error.code, error.status) == ("invalid", 422)
    return error


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (StartJob, {"title": "T"}),
        (StartJob, {
            "id": "case-123", "kind": "document", "title": "Discovery set", "owner": "u7", "watchers": ["u8", "u9"],
            "total": 32, "attempt": 2, "deadline_seconds": 300, "total_deadline_seconds": 1.5, "notify": True,
        }),
        (Advance, {}),
        (Advance, {"current": 5, "message": "Generating SROGS 1/3"}),
        (Advance, {"by": 1, "total": 32, "counters": {"enriched": 3, "error": 0.5}, "item": {"name": "LM317"}}),
        (Complete, {"result": {"pages": 88}, "output_url": "/files/case-123.zip", "attempt": 1}),
        (Complete, {"result": None}),
        (Complete, {"result": [1, "two", False, None, {"three": 3.5}]}),
        (Fail, {"code": "TEMPLATE_ERROR", "message": "…", "details": {"line": 7}}),
        (Cancel, {"reason": "not needed"}),
        (Notify, {"user": "u7", "title": "Ready", "message": "Audio is ready", "level": "success", "href": "/s/9"}),
        (Notify, {"users": ["u7", "u8"], "title": "Ready", "context": {"document_id": "d1"}}),
        (Notify, {"user": "u7", "users": None, "everyone": None, "id": None, "href": None, "title": "Ready"}),
        (Notify, {"everyone": True, "title": "Maintenance", "id": "n-1"}),
        (Notify, {"users": ["u7"], "title": "Ready", "id": "n-1"}),
        (Batch, {"commands": []}),
    ],
)  # fmt: skip
def test_what_the_contract_shows_is_understood(model: type[Command], body: dict[str, Any]) -> None:
    """Each form of each command passes the door and holds exactly what was said."""
    command = parse(model, orjson.dumps(body))
    said = command.model_dump(include=command.model_fields_set, mode="json")
    assert said == body


@pytest.mark.parametrize("model", ALL)
def test_a_command_does_not_change(model: type[Command]) -> None:
    """Commands are frozen."""
    command = model.model_construct()
    with pytest.raises(ValidationError):
        command.attempt = 9  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("model", "body", "field", "words"),
    [
        (StartJob, "{}", "title", "missing"),
        (StartJob, '{"title":""}', "title", "at least 1"),
        (StartJob, '{"title":" \\t\\u3000"}', "title", "blank"),
        (StartJob, '{"title":null}', "title", "text"),
        (StartJob, '{"title":7}', "title", "text"),
        (StartJob, '{"title":["T"]}', "title", "text"),
        (StartJob, '{"title":"a\\u0000b"}', "title", "NUL"),
        (StartJob, json.dumps({"title": "x" * (MAX_TITLE + 1)}), "title", "at most 500"),
        (StartJob, '{"title":"T","titel":"T"}', "titel", "not a field"),
        (StartJob, '{"title":"T","__proto__":{}}', "__proto__", "not a field"),
        (StartJob, '{"title":"T","state":"completed"}', "state", "not a field"),
        (StartJob, '{"title":"T","id":""}', "id", "letters"),
        (StartJob, '{"title":"T","id":7}', "id", "text"),
        (StartJob, '{"title":"T","id":"a\\n"}', "id", "letters"),
        (StartJob, '{"title":"T","id":"a\\r\\nid: 5"}', "id", "letters"),
        (StartJob, '{"title":"T","id":"a\\u0000"}', "id", "letters"),
        (StartJob, '{"title":"T","id":"../x"}', "id", "letters"),
        (StartJob, '{"title":"T","id":"{t}"}', "id", "letters"),
        (StartJob, '{"title":"T","id":"*"}', "id", "letters"),
        (StartJob, '{"title":"T","id":"\\u0430dmin"}', "id", "letters"),
        (StartJob, json.dumps({"title": "T", "id": "x" * 129}), "id", "letters"),
        (StartJob, '{"title":"T","kind":"a b"}', "kind", "letters"),
        (StartJob, '{"title":"T","owner":"a@b"}', "owner", "letters"),
        (StartJob, '{"title":"T","watchers":"u7"}', "watchers", "list"),
        (StartJob, '{"title":"T","watchers":{"u7":1}}', "watchers", "list"),
        (StartJob, '{"title":"T","watchers":["u7","a b"]}', "watchers.1", "letters"),
        (StartJob, json.dumps({"title": "T", "watchers": ["u"] * (MAX_WATCHERS + 1)}), "watchers", "at most 30"),
        (StartJob, '{"title":"T","total":"32"}', "total", "number"),
        (StartJob, '{"title":"T","total":true}', "total", "number"),
        (StartJob, '{"title":"T","total":-1}', "total", "negative"),
        (StartJob, '{"title":"T","total":9007199254740993}', "total", "2^53"),
        (StartJob, '{"title":"T","total":1e300}', "total", "2^53"),
        (StartJob, '{"title":"T","total":123456789012345678901234567890}', "total", "2^53"),
        (StartJob, '{"title":"T","attempt":0}', "attempt", "at least 1"),
        (StartJob, '{"title":"T","attempt":1.5}', "attempt", "whole"),
        (StartJob, '{"title":"T","attempt":true}', "attempt", "whole"),
        (StartJob, '{"title":"T","attempt":"1"}', "attempt", "whole"),
        (StartJob, '{"title":"T","deadline_seconds":0}', "deadline_seconds", "more than 0"),
        (StartJob, json.dumps({"title": "T", "deadline_seconds": MAX_SECONDS + 1}), "deadline_seconds", "366 days"),
        (StartJob, '{"title":"T","total_deadline_seconds":-1}', "total_deadline_seconds", "more than 0"),
        (StartJob, '{"title":"T","notify":1}', "notify", "true or false"),
        (StartJob, '{"title":"T","notify":"yes"}', "notify", "true or false"),
        (Advance, '{"current":1,"by":1}', "by", "either"),
        (Advance, '{"current":-0.5}', "current", "negative"),
        (Advance, '{"by":-1}', "by", "negative"),
        (Advance, '{"current":[5]}', "current", "number"),
        (Advance, '{"current":false}', "current", "number"),
        (Advance, '{"message":5}', "message", "text"),
        (Advance, json.dumps({"message": "x" * (MAX_MESSAGE + 1)}), "message", "at most 5000"),
        (Advance, '{"counters":[1]}', "counters", "object"),
        (Advance, '{"counters":null}', "counters", "object"),
        (Advance, '{"counters":{"a":"1"}}', "counters", "number"),
        (Advance, '{"counters":{"a":true}}', "counters", "number"),
        (Advance, '{"counters":{"":1}}', "counters", "names"),
        (Advance, '{"counters":{"a b":1}}', "counters", "names"),
        (Advance, json.dumps({"counters": {f"c{n}": n for n in range(MAX_COUNTERS + 1)}}), "counters", "at most 64"),
        (Advance, '{"item":"LM317"}', "item", "object"),
        (Advance, '{"item":{"name":"a\\u0000b"}}', "item", "NUL"),
        (Advance, '{"item":{"a\\u0000b":1}}', "item", "NUL"),
        (Advance, '{"item":{"n":9007199254740993}}', "item", "2^53"),
        (Complete, json.dumps({"result": nested(MAX_DEPTH + 1)}), "result", "32 levels"),
        (Complete, json.dumps({"result": {"x": nested(900)}}), "result", "32 levels"),
        (Complete, json.dumps({"result": "x" * MAX_JSON_BYTES}), "result", "64 KiB"),
        (Complete, '{"output_url":"javascript:alert(1)"}', "output_url", "https"),
        (Complete, '{"output_url":5}', "output_url", "text"),
        (Fail, "{}", "code", "missing"),
        (Fail, '{"code":"NO SUCH"}', "code", "1 to 64"),
        (Fail, json.dumps({"code": "X" * 65}), "code", "1 to 64"),
        (Fail, '{"code":"X","details":{"x":[1e17]}}', "details", "2^53"),
        (Cancel, '{"attempt":1}', "attempt", "not a field"),
        (Notify, '{"title":"T"}', "user", "exactly one"),
        (Notify, '{"title":"T","user":"u","everyone":true}', "user", "exactly one"),
        (Notify, '{"title":"T","user":"u","users":["u"]}', "user", "exactly one"),
        (Notify, '{"title":"T","everyone":false}', "user", "exactly one"),
        (Notify, '{"title":"T","everyone":1}', "everyone", "true or false"),
        (Notify, '{"title":"T","users":[]}', "users", "at least 1"),
        (Notify, json.dumps({"title": "T", "users": ["u"] * (MAX_USERS + 1)}), "users", "at most 1000"),
        (Notify, '{"title":"T","users":["u","v"],"id":"n"}', "id", "several"),
        (Notify, '{"title":"T","user":"u","level":"fatal"}', "level", "'info'"),
        (Notify, '{"title":"T","user":"u","context":["x"]}', "context", "object"),
        (Notify, '{"title":"T","user":"everyone\\n"}', "user", "letters"),
        (Batch, "{}", "commands", "missing"),
        (Batch, '{"commands":{}}', "commands", "list"),
        (Batch, '{"commands":[1]}', "commands.0", "object"),
        (Batch, '{"commands":[{"job":"j"}]}', "commands.0.verb", "missing"),
        (Batch, '{"commands":[{"verb":"explode","job":"j"}]}', "commands.0.verb", "must be one of"),
        (Batch, '{"commands":[{"verb":["start"],"job":"j"}]}', "commands.0.verb", "must be one of"),
        (Batch, '{"commands":[{"verb":"beat","job":"j"},{"verb":"advance"}]}', "commands.1.job", "missing"),
        (Batch, '{"commands":[{"verb":"advance","job":"j","current":"6"}]}', "commands.0.current", "number"),
        (Batch, '{"commands":[{"verb":"start","job":"a","id":"b","title":"T"}]}', "commands.0.job", "different"),
        (Batch, '{"commands":[{"verb":"notify","job":"a","user":"b","title":"T"}]}', "commands.0.job", "not a field"),
        (Batch, json.dumps({"commands": [{"verb": "cancel", "job": "j"}] * (MAX_COMMANDS + 1)}), "commands", "1000"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_by_name(model: type[Command], body: str, field: str, words: str) -> None:
    """Each bad body is ``invalid``, names the field, and says what is wrong in plain words."""
    error = refusal(model, body.encode())
    assert error.details["field"] == field
    assert error.message.startswith(f"{field}: ")
    assert words in error.message


@pytest.mark.parametrize(
    "body",
    [
        b"nope", b"{", b"[]", b"null", b'"x"', b"7", b"\xff\xfe", b'{"title":"\xff"}', b'{"title":"\\ud800"}',
        b'{"title":"\\udc00\\ud800"}', b'{"title":"T"}{}', b'{"title":"T",}', b"{'title':'T'}", b'{"total":NaN}',
        b'{"total":Infinity}', b'{"total":1e999}', b"[" * 2000 + b"]" * 2000, b'{"a":' * 2000 + b"1" + b"}" * 2000,
        b'\xef\xbb\xbf{"title":"T"}', b'{"title":"T"/**/}', b'{"title":"a\nb"}', b'{"total":01}', b"\0",
    ],
)  # fmt: skip
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    """No body makes anything but ``invalid``: broken JSON, NaN, lone surrogates, endless nesting, not an object."""
    for model in ALL:
        assert "The body" in refusal(model, body).message


@pytest.mark.parametrize("value", [nested(900), {"x": nested(900)}, "\ud7ff", "x" * 200_000])
def test_an_unknown_field_is_refused_whatever_it_holds(value: Any) -> None:
    """Depth and size behind a field that does not exist are no way round the bounds."""
    assert refusal(StartJob, json.dumps({"title": "T", "x": value}).encode()).details["field"] == "x"


@pytest.mark.parametrize(
    ("model", "body", "field"),
    [
        (StartJob, b'{"title":"T","title":"U"}', "title"),
        (StartJob, b'{"title":"T:","id":"a","id":"b"}', "id"),
        (StartJob, b'{"id" : "a" , "title":"T", "i\\u0064":"b"}', "id"),
        (Advance, b'{"item":{"a":1,"b":{"c":1,"c":2}}}', "c"),
        (Batch, b'{"commands":[{"verb":"beat","job":"a","job":"b"}]}', "job"),
    ],
)
def test_a_key_that_is_there_twice_is_refused(model: type[Command], body: bytes, field: str) -> None:
    """Two readers of one JSON text must not see two different commands."""
    error = refusal(model, body)
    assert error.details["field"] == field
    assert "twice" in error.message


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.dictionaries(st.text(max_size=3), st.text())))
def test_no_key_is_taken_for_twice_that_is_there_once(context: dict[str, Any]) -> None:
    """Colons in keys and texts do not confuse the look for duplicates."""
    if any("\0" in text for text in orjson.loads(orjson.dumps([*context, *map(str, context.values())]))):
        return
    if b"\\u0000" in (data := orjson.dumps({"user": "u", "title": "a:b", "context": context})):
        return
    assert parse(Notify, data).context == context


def test_an_empty_body_is_an_empty_object() -> None:
    """``POST …/complete`` and a beat need no body."""
    assert parse(Complete, b"") == Complete()
    assert parse(Advance, b"").is_beat


@given(st.integers(-(2**53), 2**53) | st.floats(-(2.0**53), 2.0**53))
def test_numbers_stay_what_they_are(number: float) -> None:
    """A whole number is written as one (5, never 5.0), whatever way it came in; others keep their value."""
    value = check(Advance, {"counters": {"n": number}}).counters["n"]
    assert value == number
    assert isinstance(value, int) == float(number).is_integer()


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 2**53 + 1, 1e16, True, "1", None, 1j])
def test_numbers_that_json_or_a_browser_cannot_hold(number: Any) -> None:
    """NaN, infinities, what a browser rounds, and what is no number, also from Python."""
    for fields in ({"counters": {"n": number}}, {"item": {"n": number}}):
        if "item" in fields and (number is None or number is True or number == "1"):
            continue
        with pytest.raises(Invalid):
            check(Advance, fields)


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "a\0b"])
@pytest.mark.parametrize(
    ("model", "name"),
    [(StartJob, "title"), (Advance, "message"), (Fail, "message"), (Cancel, "reason"), (Notify, "message")],
)
def test_texts_that_could_not_be_stored_or_sent(model: type[Command], name: str, text: str) -> None:
    """NUL and lone surrogates are refused from Python as well."""
    with pytest.raises(Invalid) as refused:
        check(model, {"title": "T", "code": "X", "user": "u", name: text} if model is not Advance else {name: text})
    assert refused.value.details["field"] in {name, "title", "code"}


@pytest.mark.parametrize(
    "value", [{"a": "\ud800"}, {"a\ud800": 1}, {1: 2}, {"a": {7: 1}}, {"a": b"x"}, {"a": {1, 2}}, {"a": object()}]
)
def test_values_that_are_no_json(value: Any) -> None:
    """What Python holds and JSON does not is refused where it is given, not where it is stored."""
    for model, name in ((Complete, "result"), (Fail, "details"), (Advance, "item")):
        with pytest.raises(Invalid) as refused:
            check(model, {"code": "X", name: value} if model is Fail else {name: value})
        assert refused.value.details["field"] == name


def test_the_deepest_value_that_is_allowed() -> None:
    """Exactly ``MAX_DEPTH`` levels pass, in a batch too."""
    value = nested(MAX_DEPTH)
    assert parse(Complete, orjson.dumps({"result": value})).result == value
    body = {"commands": [{"verb": "complete", "job": "j", "result": value}]}
    assert parse(Batch, orjson.dumps(body)).commands[0].result == value  # type: ignore[union-attr]


def test_an_item_that_is_null_is_not_an_item_that_is_absent() -> None:
    """Null clears the item, absent keeps it; neither is a beat that says something."""
    assert "item" in parse(Advance, b'{"item":null}').model_fields_set
    assert "item" not in parse(Advance, b'{"current":1}').model_fields_set


@pytest.mark.parametrize(
    ("body", "beat"), [("{}", True), ('{"attempt":2}', True), ('{"by":0}', False), ('{"item":null}', False)]
)
def test_what_is_only_a_sign_of_life(body: str, beat: bool) -> None:
    """A beat says nothing but, at most, of which attempt."""
    assert parse(Advance, body.encode()).is_beat is beat


def test_a_batch_is_made_of_the_commands_themselves() -> None:
    """Each verb becomes the command that its route takes, with its job's id; order is kept."""
    commands = parse(
        Batch,
        orjson.dumps({
            "commands": [
                {"verb": "start", "job": "a", "title": "T"},
                {"verb": "start", "id": "b", "title": "T"},
                {"verb": "start", "title": "T"},
                {"verb": "advance", "job": "a", "current": 6},
                {"verb": "beat", "job": "a", "attempt": 1},
                {"verb": "complete", "job": "a", "result": 1},
                {"verb": "fail", "job": "b", "code": "X"},
                {"verb": "cancel", "job": "b"},
                {"verb": "notify", "user": "u7", "title": "…"},
            ]
        }),
    ).commands  # fmt: skip
    kinds = [StartJob, StartJob, StartJob, Advance, BatchBeat, Complete, Fail, Cancel, Notify]
    assert all(isinstance(command, kind) for command, kind in zip(commands, kinds, strict=True))
    assert [command.job_id for command in commands if isinstance(command, BatchStart)] == ["a", "b", None]
    assert isinstance(commands[3], BatchAdvance)
    assert (commands[3].job, commands[3].current, commands[3].is_beat) == ("a", 6, False)
    assert isinstance(commands[8], BatchNotify)


def test_the_audiences_of_a_job_fit_the_engine() -> None:
    """Owner, watchers and the job's own audience are never more than a document may have."""
    assert MAX_WATCHERS + 2 <= MAX_AUDIENCES


@pytest.mark.parametrize("model", ALL)
def test_every_command_describes_itself(model: type[Command]) -> None:
    """The JSON schema for the API's description can be made and allows no other fields."""
    schema = model.model_json_schema()
    assert schema["additionalProperties"] is False
    assert all(description["additionalProperties"] is False for description in schema.get("$defs", {}).values())
