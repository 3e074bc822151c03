"""Errors as RFC 9457 problem documents, and a guard that lets no other error out.

Every answer that is not 2xx is ``application/problem+json`` with a stable ``code``. An exception that nobody meant
becomes a 500 with the code ``unexpected`` and an ``incident``, under which the log tells its type and where it came
from, but not its text: that may hold what a user sent.
"""

from __future__ import annotations

import logging
import math
import random
import secrets
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from milepost.errors import CODES, MilepostError

MEDIA_TYPE: Final = "application/problem+json"
RETRY_SECONDS: Final = 2.0  # where waiting helps and nobody said how long
RETRY_SPREAD: Final = 1.5
UNEXPECTED: Final = "unexpected"
BODY: Final = frozenset({b"content-length", b"transfer-encoding"})
EXPECT: Final = frozenset({b"expect"})
MAX_DISCARDED: Final = 1024 * 1024  # bytes that are read and thrown away to keep a connection
ANSWERED: Final = "milepost.answered"  # in the scope: the status of an answer that did not go through ``send``

Answered = Callable[[Scope, int, float], None]

_log = logging.getLogger("milepost.server")
_HTTP_CODES = {401: "token_missing", 403: "scope_missing", 404: "not_found", 409: "conflict", 413: "too_large"}
_SENTENCES = {
    "missing": "is missing",
    "extra_forbidden": "is not known here",
    "json_invalid": "is not JSON",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "string_pattern_mismatch": "does not have the right form",
    "literal_error": "is none of the values that are possible",
    "enum": "is none of the values that are possible",
}


def retry_after(seconds: float) -> int:
    """Whole seconds for ``Retry-After``: at least ``seconds``, up to half as much again, so that clients spread."""
    return max(1, math.ceil(seconds * random.uniform(1.0, RETRY_SPREAD)))


def response(error: MilepostError) -> Response:
    """The answer that an error makes."""
    headers = {}
    if error.retry_after is not None or error.status in (429, 503):
        headers["retry-after"] = str(retry_after(error.retry_after or RETRY_SECONDS))
    return _document(error.status, error.code, error.message, error.details, headers)


def unexpected(error: Exception) -> Response:
    """Log what nobody meant; the answer that it makes."""
    incident = secrets.token_hex(4)
    _log.error("unexpected error, incident %s", incident, exc_info=error)
    detail = "Something went wrong here; it was logged under the incident's number."
    return _document(500, UNEXPECTED, detail, {"incident": incident})


def _document(
    status: int,
    code: str,
    detail: str,
    members: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    document: dict[str, Any] = {**(members or {})}
    document |= {"type": "about:blank", "title": _title(status), "status": status, "code": code, "detail": detail}
    try:
        body = orjson.dumps(document, default=str)
    except TypeError:  # a lone surrogate, or what cannot be a key: the members are a help, never a condition
        body = orjson.dumps({name: document[name] for name in ("type", "title", "status", "code")})
    sent = {"cache-control": "no-store", **(headers or {})}
    if status == 401:
        sent["www-authenticate"] = "Bearer"
    return Response(body, status, sent, MEDIA_TYPE)


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def install(app: FastAPI, answered: Answered | None = None) -> None:
    """Make every error of an application a problem document. ``answered``: see ``Guard``."""
    app.add_exception_handler(MilepostError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_middleware(Guard, answered=answered)


async def _on_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, MilepostError)
    return response(error)


async def _on_invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()[0]
    # (query, limit) → limit; the place that it came in is no part of its name
    field = ".".join(str(part) for part in found["loc"][1:]) or str(found["loc"][0])
    sentence = _SENTENCES.get(found["type"], "does not have the right form")
    return _document(422, "invalid", f"{field} {sentence}.", {"field": field})


async def _on_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = error.status_code
    code = _HTTP_CODES.get(status, "invalid" if status < 500 else UNEXPECTED)
    if status == 405:
        detail = "This cannot be done here; see Allow."
    else:
        detail = CODES[code][1] if code in CODES else _title(status)
    allow = {name.lower(): text for name, text in (error.headers or {}).items() if name.lower() == "allow"}
    return _document(status, code, detail, headers=allow)


def _names(scope: Scope, headers: frozenset[bytes]) -> bool:
    """Whether the request has one of these headers."""
    return any(name in headers for name, _ in scope.get("headers", ()))


class Guard:
    """The outermost part of the application: no exception gets past it, so no server prints it with its text.

    Who is answered before their request's body has come is read to its end first, or told that the connection ends:
    a proxy that saw the answer, and so never sent the body, would have the next request on that connection, perhaps
    somebody else's, taken for it (RFC 9112, section 9.3; HAProxy 2.6 does).

    ``answered(scope, status, seconds)`` is told of every request when it is over; status 0: gone before an answer.
    """

    def __init__(self, app: ASGIApp, answered: Answered | None = None) -> None:
        self._app = app
        self._answered = answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, begun = 0, time.perf_counter()
        unread = _names(scope, BODY)

        async def reading() -> Message:
            nonlocal unread
            message = await receive()
            unread = message["type"] == "http.request" and message.get("more_body", False)
            return message

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                # what is too large is not read, and who expects leave to send it sends nothing yet
                is_refused = status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or (unread and _names(scope, EXPECT))
                left = 0 if is_refused else MAX_DISCARDED
                while unread and left > 0:
                    left -= len((await reading()).get("body", b""))
                if unread:
                    message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            await send(message)

        try:
            await self._app(scope, reading, noting)
        except Exception as error:  # noqa: BLE001 - that is what it is for
            answer = unexpected(error)
            if status == 0:
                await answer(scope, receive, noting)
        finally:
            if self._answered is not None:
                self._answered(scope, status or scope.get(ANSWERED, 0), time.perf_counter() - begun)
