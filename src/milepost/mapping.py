"""What a bridge's file may say, and what a message means by it. docs/bridge.md has the language."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from milepost.commands import Advance, Complete, Fail, StartJob, parse
from milepost.errors import Invalid
from milepost.model import is_id

T = TypeVar("T", StartJob, Advance, Complete, Fail)
Verb = Literal["start", "advance", "complete", "fail"]

MESSAGE_BYTES: Final = 256 * 1024

_PLACE = re.compile(r"\{([^{}]*)\}")
_PATH = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")


class Absent(Exception):
    """A template names something that the message does not have."""


class Template:
    """Text with ``{paths}`` into the message. One path and nothing else gives the value itself, not its text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.paths = _PLACE.findall(text)
        if "{" in _PLACE.sub("", text) or "}" in _PLACE.sub("", text):
            raise ValueError(f"{text!r} has a brace without its partner")
        for path in self.paths:
            if _PATH.fullmatch(path) is None:
                raise ValueError(f"{{{path}}} is no path: words of letters, digits, _ and -, with dots between them")

    def fill(self, names: Mapping[str, str], message: Any) -> Any:
        """The value. Raises ``Absent``."""
        if len(self.paths) == 1 and self.text == f"{{{self.paths[0]}}}":
            return _look(self.paths[0], names, message)
        return _PLACE.sub(lambda found: _text(_look(found[1], names, message)), self.text)


def _look(path: str, names: Mapping[str, str], message: Any) -> Any:
    if path in names:
        return names[path]
    for word in path.split("."):
        if not isinstance(message, dict) or message.get(word) is None:
            raise Absent(path)
        message = message[word]
    return message


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _template(value: Any) -> Any:
    return Template(value) if isinstance(value, str) else value


def _words(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Text = Annotated[Template, BeforeValidator(_template)]
Words = Annotated[tuple[str, ...], BeforeValidator(_words)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class JobTable(_Table):
    """``[bridge.job]``: whose job it is, and what it is called."""

    tenant: Text
    owner: Text
    id: Text = Template("{id}")
    kind: Text = Template("job")
    title: Text


class EventTable(_Table):
    """``[bridge.event]``: where a message says what happened, and which of its words mean what. Others are ignored."""

    name: Text
    start: Words = ()
    advance: Words = ()
    complete: Words = ()
    fail: Words = ()

    def verb(self, word: str) -> Verb | None:
        """What a word of the message means."""
        verbs: tuple[Verb, ...] = ("start", "advance", "complete", "fail")
        return next((verb for verb in verbs if word in getattr(self, verb)), None)


class FieldsTable(_Table):
    """``[bridge.fields]``: the words of Milepost, each with its place in the message."""

    total: Text | None = None
    current: Text | None = None
    message: Text | None = None
    counters: dict[str, Text] = Field(default_factory=dict)
    item: dict[str, Text] = Field(default_factory=dict)
    result: Text | dict[str, Text] | None = None
    output_url: Text | None = None
    code: Text = Template("UNEXPECTED")
    error: Text | None = None


class StateTable(_Table):
    """``[bridge.state]``: a key in which the worker keeps its newest state, and how to read it where that differs."""

    key: str
    event: EventTable | None = None
    fields: FieldsTable | None = None


class BridgeTable(_Table):
    """``[[bridge]]``: one kind of channel."""

    url: str
    channel: str
    job: JobTable
    event: EventTable
    fields: FieldsTable = FieldsTable()
    state: StateTable | None = None


class BridgeFile(_Table):
    """A whole file."""

    bridge: Annotated[tuple[BridgeTable, ...], Field(min_length=1)]


def read_file(path: str) -> tuple[BridgeTable, ...]:
    """Read and check a bridge's file. Raises ``Invalid`` that says what is wrong with it."""
    try:
        raw = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        found = BridgeFile.model_validate(raw)
        for table in found.bridge:
            _check(table)
    except OSError as error:
        raise Invalid(f"{path}: {error.strerror}", field="bridge") from None
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        raise Invalid(f"{path}: {said}", field="bridge") from None
    except ValueError as error:
        raise Invalid(f"{path}: {error}", field="bridge") from None
    return found.bridge


def _check(table: BridgeTable) -> None:
    glob(table.channel)
    if table.state is not None and set(_PLACE.findall(table.state.key)) != set(_PLACE.findall(table.channel)):
        raise ValueError(f"state.key must have the same {{names}} as the channel {table.channel}")
    for name in ("tenant", "owner"):
        template: Template = getattr(table.job, name)
        if not template.paths and not is_id(template.text):
            raise ValueError(f"job.{name} must name a {name}, as a constant or with a field of the message")
    address(table.url)


def address(text: str) -> str:
    """The URL; ``${NAME}`` and ``${NAME:-otherwise}`` are the environment's: no password in the file."""
    found = re.fullmatch(r"\$\{(\w+)(?::-(.*))?\}", text)
    if found is None:
        return text
    url = os.environ.get(found[1]) or found[2]
    if not url:
        raise ValueError(f"url: the environment has no {found[1]}")
    return str(url)


def glob(channel: str) -> str:
    """What to subscribe to. Raises ``ValueError`` for a channel without a {name}."""
    names = _PLACE.findall(channel)
    if not names or len(names) != len(set(names)) or not all(re.fullmatch(r"[a-z_]+", name) for name in names):
        raise ValueError(f"{channel!r} must have {{names}} in it, such as {{id}}, each once")
    return "*".join(re.sub(r"([*?\[\]\\])", r"\\\1", part) for part in _PLACE.split(channel)[::2])


def names_in(pattern: str, text: str) -> dict[str, str] | None:
    """The {names} of a channel or a key; None where it is another one."""
    parts = _PLACE.split(pattern)
    expression = "".join(
        re.escape(part) if n % 2 == 0 else f"(?P<{part}>.+)" if n == len(parts) - 2 else f"(?P<{part}>[^:]+)"
        for n, part in enumerate(parts)
    )
    found = re.fullmatch(expression, text)
    return None if found is None else found.groupdict()


# --- from a message to commands --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mapped:
    """What a message asks for."""

    verb: Verb
    tenant: str
    job_id: str
    start: StartJob
    advance: Advance
    complete: Complete | None = None
    fail: Fail | None = None
    from_state: bool = False

    def then(self, later: Mapped) -> Mapped:
        """What two messages of progress say together."""
        counters = {**self.advance.counters, **later.advance.counters}
        said = {name: getattr(later.advance, name) for name in later.advance.model_fields_set}
        advance = self.advance.model_copy(update={**said, "counters": counters})
        return replace(later, advance=advance)


class _Reading:
    """A message and what a table finds in it."""

    def __init__(self, names: Mapping[str, str], data: bytes) -> None:
        if len(data) > MESSAGE_BYTES:
            raise Invalid(f"A message is at most {MESSAGE_BYTES // 1024} KiB.")
        try:
            self._message = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise Invalid("It is not JSON.") from None
        self._names = names

    def value(self, template: Template | Mapping[str, Template] | None) -> Any:
        """What is there, or None."""
        if isinstance(template, Mapping):
            found = {name: self.value(one) for name, one in template.items()}
            return {name: one for name, one in found.items() if one is not None} or None
        try:
            return None if template is None else template.fill(self._names, self._message)
        except Absent:
            return None

    def text(self, template: Template) -> str:
        """What has to be there, as text. Raises ``Invalid``."""
        try:
            return _text(template.fill(self._names, self._message))
        except Absent as absent:
            raise Invalid(f"It has no {absent}.", field=str(absent)) from None


def understand(table: BridgeTable, names: Mapping[str, str], data: bytes, *, from_state: bool = False) -> Mapped | None:
    """What a message means; None for an event that nobody asked for. Raises ``Invalid`` where it is malformed."""
    message = _Reading(names, data)
    events, fields = table.event, table.fields
    if from_state and table.state is not None:
        events, fields = table.state.event or events, table.state.fields or fields
    verb = events.verb(message.text(events.name))
    if verb is None:
        return None
    tenant, job_id = message.text(table.job.tenant), message.text(table.job.id)
    if not is_id(tenant):
        raise Invalid("The tenant has no valid name.", field="tenant")
    value = message.value
    start = {
        "id": job_id,
        "owner": message.text(table.job.owner),
        "kind": message.text(table.job.kind),
        "title": message.text(table.job.title),
        "total": value(fields.total),
    }
    advance = {
        "total": value(fields.total),
        "current": value(fields.current),
        "message": value(fields.message),
        "counters": value(fields.counters),
        "item": value(fields.item),
    }
    complete = {"result": value(fields.result), "output_url": value(fields.output_url)}
    fail = {"code": value(fields.code) or "UNEXPECTED", "message": value(fields.error)}
    return Mapped(
        verb,
        tenant,
        job_id,
        _command(StartJob, start),
        _command(Advance, advance),
        _command(Complete, complete) if verb == "complete" else None,
        _command(Fail, fail) if verb == "fail" else None,
        from_state,
    )


def _command(kind: type[T], fields: Mapping[str, Any]) -> T:
    return parse(kind, orjson.dumps({name: value for name, value in fields.items() if value is not None}))
