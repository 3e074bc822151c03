"""The log: one line of JSON per record, whatever is in it.

What comes from outside is only ever an argument or a field, never the template; it is clipped, and every character
that could end a line, move a cursor or turn the text around is escaped. Tokens and tickets are cut out wherever they
stand. Of an exception the type and the places are told, not its text, which may hold what a user sent.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, TextIO

from starlette.types import Scope

MAX_TEXT: Final = 256
MAX_FRAMES: Final = 30
MAX_FIELDS: Final = 32

_access = logging.getLogger("milepost.access")
_CREDENTIAL = re.compile(
    r"(?P<name>(?:token|ticket|secret|password)=)[^&\s\"']+"
    r"|(?P<bearer>\bBearer\s+)\S+"
    r"|(?P<url>\w://)[^/@\s]+@"
    r"|\beyJ[\w-]+\.[\w-]*(?:\.[\w-]*)?"
    r"|\bmt_[\w-]{20,}",
    re.IGNORECASE,
)
# what the standard library puts into a record; all else is a field of ours
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


def setup(level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send all logs of this process, uvicorn's too, to ``stream`` (standard error) as lines of JSON.

    For a process that is all Milepost; an application that mounts Milepost keeps its own logging. Idempotent.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(Lines())
    root = logging.getLogger()
    for old in list(root.handlers):
        if isinstance(old.formatter, Lines):
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    # uvicorn's own access log holds query strings
    logging.getLogger("uvicorn.access").disabled = True
    # a log that cannot be written must not print its records elsewhere
    logging.raiseExceptions = False


def access(scope: Scope, status: int, seconds: float) -> None:
    """One finished request: never its query string, and its path only where no route says what it was."""
    if not _access.isEnabledFor(logging.INFO):
        return
    client = scope.get("client")
    _access.info(
        "request",
        extra={
            "method": scope["method"],
            "route": route(scope) or scope["path"],
            "status": status,
            "ms": round(seconds * 1000, 1),
            "address": client[0] if client else None,
        },
    )


def route(scope: Scope) -> str | None:
    """The template of the route that took a request, such as ``/api/jobs/{job_id}``; None where none did."""
    found = scope.get("route")
    if found is None and (endpoint := scope.get("endpoint")) is not None:
        # FastAPI notes the route only where it is one of its own; the streams are not
        routes = getattr(scope.get("router"), "routes", ())
        found = next((one for one in routes if getattr(one, "endpoint", None) is endpoint), None)
    path = getattr(found, "path", None)
    return path if isinstance(path, str) else None


def clean(text: str) -> str:
    """Text fit for a log: credentials cut out, clipped to ``MAX_TEXT`` characters. Escaping is the formatter's."""
    # clipped first, generously, so that no megabyte is searched; then again, so that no half token stands at the end
    text = _CREDENTIAL.sub(lambda found: (found["name"] or found["bearer"] or found["url"] or "") + "***", text[:2048])
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


class Lines(logging.Formatter):
    """Formats a record as one line of ASCII JSON; fields from ``extra`` stand beside time, level, logger, message."""

    def format(self, record: logging.LogRecord) -> str:
        """Never raises, never holds a line end."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": clean(_message(record)),
        }
        fields = [name for name in vars(record) if name not in _STANDARD][:MAX_FIELDS]
        line.update({clean(name): _plain(getattr(record, name)) for name in fields if name not in line})
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = _told(record.exc_info[1])
            line["at"] = _places(record.exc_info[2])
        # in ASCII, JSON escapes all that is not printable: C0, DEL, C1, U+2028, U+202E, lone surrogates
        return json.dumps(line, ensure_ascii=True, separators=(",", ":"))


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - a wrong template or an argument that cannot be shown: the place is told instead
        return f"(a record that could not be formatted, {record.module}:{record.lineno})"


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value if value == value and value not in (float("inf"), float("-inf")) else str(value)  # noqa: PLR0124
    if isinstance(value, Mapping):
        return {clean(str(name)): clean(str(inner)) for name, inner in list(value.items())[:MAX_FIELDS]}
    if isinstance(value, list | tuple):
        return [clean(str(inner)) for inner in value[:MAX_FIELDS]]
    try:
        return clean(str(value))
    except Exception:  # noqa: BLE001 - as _message
        return f"({type(value).__name__})"


def _told(error: BaseException) -> str:
    """The type; for an error of the system its own words too, which are not a user's."""
    name = type(error).__qualname__
    return f"{name}: {clean(error.strerror)}" if isinstance(error, OSError) and error.strerror else name


def _places(trace: TracebackType | None) -> list[str]:
    frames = traceback.extract_tb(trace)[-MAX_FRAMES:]
    return [f"{'/'.join(frame.filename.split('/')[-2:])}:{frame.lineno} {frame.name}" for frame in frames]
