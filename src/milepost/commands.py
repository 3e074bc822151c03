"""What a caller may ask for, as values that are checked when they are made.

The same door for HTTP, batches and producers that write straight to an engine. Every text is free of NUL and of lone
surrogates, every number finite and at most 2**53 either way (beyond that a browser rounds), every JSON value at most
``MAX_DEPTH`` deep. A field that the command does not have is refused: a typo must not look like success.

``parse`` and ``check`` raise ``Invalid`` with ``details['field']``, a dotted path, and a sentence for people. Made
directly, the models raise pydantic's own ``ValidationError``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeVar

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from milepost import links
from milepost.errors import Invalid
from milepost.links import MAX_LINK
from milepost.model import ID_PATTERN, Level

MAX_TITLE: Final = 500
MAX_MESSAGE: Final = 5_000
MAX_CODE: Final = 64
MAX_WATCHERS: Final = 30  # with owner and job at most engine.MAX_AUDIENCES
MAX_COUNTERS: Final = 64
MAX_USERS: Final = 1_000
MAX_COMMANDS: Final = 1_000
MAX_NUMBER: Final = 2**53
MAX_SECONDS: Final = 366 * 86_400
MAX_DEPTH: Final = 32
MAX_JSON_BYTES: Final = 64 * 1024


def _refuse(sentence: str, **context: Any) -> PydanticCustomError:
    # The sentence goes through str.format with its context: braces must not come from a caller.
    return PydanticCustomError("milepost", sentence, context)


# --- numbers ---------------------------------------------------------------------------------------------------------


def _number(value: object) -> float:
    """An int or a float as it is, so that 5 stays 5 on the wire and 5.0 becomes it."""
    if type(value) is int:
        if -MAX_NUMBER <= value <= MAX_NUMBER:
            return value
    elif type(value) is float:
        if -MAX_NUMBER <= value <= MAX_NUMBER:  # False for NaN
            return int(value) if value.is_integer() else value
    else:
        raise _refuse("must be a number")
    raise _refuse("must be a finite number of at most 2^53")


def _count(value: object) -> float:
    number = _number(value)
    if number < 0:
        raise _refuse("must not be negative")
    return number


def _seconds(value: object) -> float:
    number = _number(value)
    if not 0 < number <= MAX_SECONDS:
        raise _refuse("must be more than 0 and at most 366 days, in seconds")
    return number


Number = Annotated[float, PlainValidator(_number, json_schema_input_type=float)]
Count = Annotated[float, PlainValidator(_count, json_schema_input_type=Annotated[float, Field(ge=0, le=MAX_NUMBER)])]
Seconds = Annotated[
    float, PlainValidator(_seconds, json_schema_input_type=Annotated[float, Field(gt=0, le=MAX_SECONDS)])
]
Attempt = Annotated[int, Field(ge=1, le=MAX_NUMBER)]

# --- texts and links -------------------------------------------------------------------------------------------------


def _clean(text: str) -> str:
    if "\0" in text:
        raise _refuse("must not contain NUL")
    return text


def _visible(text: str) -> str:
    if not text.strip():
        raise _refuse("must not be blank")
    return text


check_link = links.check_link


def _link(href: str) -> str:
    problem = links.problem(href)
    if problem:
        raise _refuse("{problem}", problem=problem)
    return href


Id = Annotated[str, StringConstraints(pattern=f"^(?:{ID_PATTERN})$")]
Title = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_TITLE), AfterValidator(_clean), AfterValidator(_visible)
]
Message = Annotated[str, StringConstraints(max_length=MAX_MESSAGE), AfterValidator(_clean)]
Code = Annotated[str, StringConstraints(pattern=rf"^[A-Za-z0-9._:-]{{1,{MAX_CODE}}}$")]
Link = Annotated[str, StringConstraints(max_length=MAX_LINK), AfterValidator(_link)]

# --- JSON values -----------------------------------------------------------------------------------------------------

_JSON_OPTIONS: Final = (
    orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS
)


def _json_value(value: Any) -> Any:
    """Any JSON value within the bounds, unchanged."""
    if value is None or value is True or value is False:
        return value
    _walk(value)
    try:
        data = orjson.dumps(value, option=_JSON_OPTIONS)
    except orjson.JSONEncodeError as error:
        # Depth and types are known to be right, so what is left is a text that UTF-8 cannot hold.
        raise _refuse("must not contain lone surrogates") from error
    if len(data) > MAX_JSON_BYTES:
        raise _refuse("must be at most {kib} KiB of JSON", kib=MAX_JSON_BYTES // 1024)
    return value


def _walk(value: Any) -> None:
    """Check every value inside ``value``. Level by level: no recursion to exhaust."""
    level, depth = [value], 0
    while level:
        inner: list[Any] = []
        for one in level:
            kind = type(one)
            if kind is dict:
                for key in one:
                    if type(key) is not str:
                        raise _refuse("must have texts as keys")
                    _clean(key)
                inner.extend(one.values())
            elif kind is list or kind is tuple:
                inner.extend(one)
            elif one is not None and kind is not bool:
                _plain(one)
        depth += bool(inner)
        if depth > MAX_DEPTH:
            raise _refuse("must be at most {depth} levels deep", depth=MAX_DEPTH)
        level = inner


def _plain(one: object) -> None:
    if type(one) is str:
        _clean(one)
    elif type(one) is int or type(one) is float:
        if not -MAX_NUMBER <= one <= MAX_NUMBER:  # also true of NaN
            raise _refuse("must hold finite numbers of at most 2^53 only")
    else:
        raise _refuse("must be JSON: objects, arrays, texts, numbers, true, false or null")


def _json_object(value: Any) -> Any:
    if type(value) is not dict:
        raise _refuse("must be an object")
    return _json_value(value)


def _counters(value: Any) -> dict[str, float]:
    if type(value) is not dict:
        raise _refuse("must be an object of numbers")
    if len(value) > MAX_COUNTERS:
        raise _refuse("must have at most {most} names", most=MAX_COUNTERS)
    for name in value:
        if type(name) is not str or not _COUNTER_NAME.fullmatch(name):
            raise _refuse("must have names of 1 to 128 letters, digits, and . _ : -")
    return {name: _number(number) for name, number in value.items()}


_COUNTER_NAME = re.compile(ID_PATTERN)

JsonValue = Annotated[Any, PlainValidator(_json_value, json_schema_input_type=Any)]
JsonObject = Annotated[dict[str, Any], PlainValidator(_json_object, json_schema_input_type=dict[str, Any])]
Counters = Annotated[
    dict[str, float],
    PlainValidator(_counters, json_schema_input_type=Annotated[dict[str, float], Field(max_length=MAX_COUNTERS)]),
]

# --- commands --------------------------------------------------------------------------------------------------------


class Command(BaseModel):
    """Base of all commands: frozen, strict, and without room for fields that it does not know."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class StartJob(Command):
    """Begin a job, or a new attempt of one that has ended. ``owner`` is by default whoever begins it.

    ``attempt``, where stated, must be the one that this would begin. Deadlines are in seconds and go before the
    kind's. With ``notify`` the job's end becomes its owner's notification.
    """

    id: Id | None = None
    kind: Id = "job"
    title: Title
    owner: Id | None = None
    watchers: Annotated[tuple[Id, ...], Field(max_length=MAX_WATCHERS, strict=False)] = ()
    total: Count | None = None
    attempt: Attempt | None = None
    deadline_seconds: Seconds | None = None
    total_deadline_seconds: Seconds | None = None
    notify: bool = False


class Advance(Command):
    """Progress: where the job is now (``current``) or how much was done (``by``); empty, it is a sign of life.

    ``item`` null clears the item, absent keeps it (``"item" in command.model_fields_set`` tells). ``counters`` are
    absolute and are merged by name.
    """

    current: Count | None = None
    by: Count | None = None
    total: Count | None = None
    message: Message | None = None
    counters: Counters = Field(default_factory=dict)
    item: JsonObject | None = None
    attempt: Attempt | None = None

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> Advance:
        if self.current is not None and self.by is not None:
            raise _refuse("state either current or by, not both", field="by")
        return self

    @property
    def is_beat(self) -> bool:
        """Whether it says nothing but "alive"."""
        return self.model_fields_set <= _BEAT_FIELDS


_BEAT_FIELDS: Final = frozenset({"attempt", "verb", "job"})


class Complete(Command):
    """The job is done."""

    result: JsonValue = None
    output_url: Link | None = None
    attempt: Attempt | None = None


class Fail(Command):
    """The job is lost. ``code`` is of the taxonomy or the producer's own."""

    code: Code
    message: Message = ""
    details: JsonValue = None
    attempt: Attempt | None = None


class Cancel(Command):
    """Nobody wants the job any more. Applies to whichever attempt is under way."""

    reason: Message | None = None


class Notify(Command):
    """Tell one user, several, or everyone in the tenant that something happened."""

    id: Id | None = None
    user: Id | None = None
    users: Annotated[tuple[Id, ...], Field(min_length=1, max_length=MAX_USERS, strict=False)] | None = None
    everyone: bool | None = None
    title: Title
    message: Message = ""
    level: Level = "info"
    href: Link | None = None
    context: JsonObject = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_addressee(self) -> Notify:
        if [self.user, self.users, self.everyone or None].count(None) != 2:
            raise _refuse("state exactly one of user, users and everyone", field="user")
        if self.id is not None and self.users is not None and len(self.users) > 1:
            raise _refuse("cannot be stated for several users: each gets a notification of its own", field="id")
        return self


# A batch's commands are the commands themselves plus a verb and, for job verbs, the job's id: what takes an Advance
# takes a BatchAdvance.


class BatchStart(StartJob):
    """``start`` in a batch. The job may be named as ``job``, like everywhere in a batch, or as ``id``."""

    verb: Literal["start"]
    job: Id | None = None

    @model_validator(mode="after")
    def _one_name(self) -> BatchStart:
        if self.job is not None and self.id is not None and self.job != self.id:
            raise _refuse("job and id name different jobs", field="job")
        return self

    @property
    def job_id(self) -> str | None:
        """The job, where the command names it."""
        return self.job if self.job is not None else self.id


class BatchAdvance(Advance):
    """``advance`` in a batch."""

    verb: Literal["advance"]
    job: Id


class BatchBeat(Command):
    """``beat`` in a batch: a sign of life."""

    verb: Literal["beat"]
    job: Id
    attempt: Attempt | None = None


class BatchComplete(Complete):
    """``complete`` in a batch."""

    verb: Literal["complete"]
    job: Id


class BatchFail(Fail):
    """``fail`` in a batch."""

    verb: Literal["fail"]
    job: Id


class BatchCancel(Cancel):
    """``cancel`` in a batch."""

    verb: Literal["cancel"]
    job: Id


class BatchNotify(Notify):
    """``notify`` in a batch."""

    verb: Literal["notify"]


BatchCommand = BatchStart | BatchAdvance | BatchBeat | BatchComplete | BatchFail | BatchCancel | BatchNotify


class Batch(Command):
    """Commands that are carried out in order, in one commit, all or none."""

    commands: Annotated[
        tuple[Annotated[BatchCommand, Field(discriminator="verb")], ...],
        Field(max_length=MAX_COMMANDS, strict=False),
    ]


# --- the door --------------------------------------------------------------------------------------------------------

AnyCommand = TypeVar("AnyCommand", bound=Command)


def check(model_type: type[AnyCommand], fields: Mapping[str, Any]) -> AnyCommand:
    """``fields`` as a command. Raises ``Invalid``."""
    try:
        return model_type.model_validate(fields)
    except ValidationError as error:
        raise _invalid(error) from None


def parse(model_type: type[AnyCommand], data: bytes) -> AnyCommand:
    """A request's body as a command; an empty body is an empty object. Raises ``Invalid``."""
    try:
        raw = orjson.loads(data or b"{}")
    except orjson.JSONDecodeError as error:
        raise Invalid(f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from None
    if type(raw) is not dict:
        raise Invalid("The body must be a JSON object.")
    command = check(model_type, raw)
    # Every key costs a colon, so as many colons as keys prove that no key was lost; only otherwise look closely. What
    # was checked is shallow, so that this reader, too, cannot run out of stack.
    if data.count(b":") != _keys(raw):
        json.loads(data or b"{}", object_pairs_hook=_no_duplicates)
    return command


def _keys(value: dict[str, Any]) -> int:
    """How many keys there are in all."""
    keys, todo = 0, list[Any]([value])
    while todo:
        one = todo.pop()
        if type(one) is dict:
            keys += len(one)
            todo.extend(one.values())
        elif type(one) is list:
            todo.extend(one)
    return keys


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Invalid(f"{twice[:MAX_CODE]}: is there twice", field=twice[:MAX_CODE])
    return fields


# Pydantic's error types → a sentence's end, after the field's name. Its own texts name Python types and its website.
_SENTENCES: Final[Mapping[str, str]] = {
    "missing": "is missing",
    "extra_forbidden": "is not a field here",
    "string_type": "must be a text",
    "string_unicode": "must not contain lone surrogates",
    "string_too_short": "must have at least {min_length} character(s)",
    "string_too_long": "must have at most {max_length} characters",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "tuple_type": "must be a list",
    "too_short": "must have at least {min_length} item(s)",
    "too_long": "must have at most {max_length} items",
    "literal_error": "must be {expected}",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "union_tag_invalid": "must be one of {expected_tags}",
    "union_tag_not_found": "is missing",
    "string_pattern_mismatch": "must be 1 to 128 letters, digits, and . _ : -",
}
_VERBS: Final = frozenset({"start", "advance", "beat", "complete", "fail", "cancel", "notify"})


def _invalid(error: ValidationError) -> Invalid:
    first = error.errors(include_url=False, include_input=False)[0]
    kind, context = first["type"], first.get("ctx", {})
    path = [str(part)[:MAX_CODE] for part in first["loc"]]
    # In a batch pydantic adds the verb, by which it chose the model, to the path.
    if len(path) > 2 and path[0] == "commands" and path[2] in _VERBS:
        del path[2]
    if kind.startswith("union_tag"):
        path.append("verb")
    if kind == "milepost":
        sentence = first["msg"]
        if "field" in context:
            path.append(context["field"])
    else:
        sentence = _SENTENCES.get(kind, "does not have the right form").format_map(context)
    if path[-1:] == ["code"] and kind == "string_pattern_mismatch":
        sentence = f"must be 1 to {MAX_CODE} letters, digits, and . _ : -"
    field = ".".join(path)
    return Invalid(f"{field}: {sentence}", field=field) if field else Invalid(f"The body {sentence}.")
