"""To a server over HTTP: one pool of kept-alive connections, and errors read back from problem documents."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx2
import orjson

from milepost.errors import CODES, Forbidden, Invalid, MilepostError, Unauthenticated, Unavailable, from_code
from milepost.model import is_id

from .transport import Token, Verb, check_url, encode

CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 15.0
MAX_RETRY_AFTER: Final = 300.0

_ROUTES: Final[Mapping[Verb, tuple[str, str]]] = {
    "start": ("POST", "/jobs"),
    "advance": ("PATCH", "/jobs/{job}"),
    "complete": ("POST", "/jobs/{job}/complete"),
    "fail": ("POST", "/jobs/{job}/fail"),
    "cancel": ("POST", "/jobs/{job}/cancel"),
    "notify": ("POST", "/notifications"),
}
_PROBLEM_MEMBERS: Final = {"type", "title", "status", "code", "detail", "instance", "message", "retry_after"}


class HttpTransport:
    """A server's address: origin plus mount, with or without ``/api`` at its end.

    ``token`` is a text, or a function that gives one, plain or async: it is asked again when the server refuses the
    one it gave. It is called in the event loop, so it must not block.
    """

    def __init__(self, url: str, *, token: Token | None) -> None:
        check_url(url)
        self.base = url.rstrip("/").removesuffix("/api")
        self._token = token
        self._known: str | None = token if isinstance(token, str) else None
        self._client = httpx2.AsyncClient(
            timeout=httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            limits=httpx2.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=30),
        )

    async def send(
        self, verb: Verb, fields: Mapping[str, Any], *, job: str | None = None, key: str | None = None
    ) -> dict[str, Any]:
        """See ``Transport``."""
        method, path = _ROUTES[verb]
        if job is not None and not is_id(job):
            raise Invalid("id: must be 1 to 128 letters, digits, and . _ : -", field="id")
        headers = {"content-type": "application/json"}
        if key is not None:
            headers["idempotency-key"] = key
        return await self._request(method, path.format(job=job), content=encode(fields), headers=headers)

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The JSON at a path below ``/api``."""
        return await self._request("GET", path, params=params)

    @asynccontextmanager
    async def stream(
        self, path: str, params: Mapping[str, str], headers: Mapping[str, str]
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes of an event stream, as they come, without a limit of time between them.

        Raises what the answer stands for, and ``Unavailable`` where there is none or it is no event stream.
        """
        accept = {"accept": "text/event-stream, application/problem+json", "cache-control": "no-store"}
        timeout = httpx2.Timeout(None, connect=CONNECT_SECONDS, write=ANSWER_SECONDS, pool=ANSWER_SECONDS)
        request = self._client.build_request(
            "GET", self._address(path), params=dict(params), headers={**accept, **headers}, timeout=timeout
        )
        with _faults_named(self.base):
            response = await self._answer(request, stream=True)
        try:
            if response.headers.get("content-type", "").partition(";")[0].strip() != "text/event-stream":
                raise Unavailable(f"{self.base} does not answer with an event stream", code="engine_away")
            yield self._bytes(response)
        finally:
            await response.aclose()

    async def _bytes(self, response: httpx2.Response) -> AsyncIterator[bytes]:
        with _faults_named(self.base):
            async for chunk in response.aiter_bytes():
                yield chunk

    async def close(self) -> None:
        """See ``Transport``."""
        await self._client.aclose()

    async def _request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        request = self._client.build_request(method, self._address(path), **options)
        with _faults_named(self.base):
            response = await self._answer(request)
        try:
            answer = orjson.loads(response.content)
        except orjson.JSONDecodeError:
            answer = None
        if not isinstance(answer, dict):
            raise Unavailable(f"{self.base} does not answer as Milepost does", code="engine_away")
        return answer

    def _address(self, path: str) -> str:
        return f"{self.base}/api{path}"

    async def _answer(self, request: httpx2.Request, *, stream: bool = False) -> httpx2.Response:
        """The 2xx answer to a request, with another token where the first is refused. Raises ``MilepostError``."""
        for last in (False, True):
            token = await self._bearer()
            if token is not None:
                request.headers["authorization"] = f"Bearer {token}"
            response = await self._client.send(request, stream=stream)
            if response.is_success:
                return response
            await response.aread()
            await response.aclose()
            error = error_of(response)
            if last or not isinstance(error, Unauthenticated) or not callable(self._token):
                break
            self._known = None
        raise error

    async def _bearer(self) -> str | None:
        if self._known is None and callable(self._token):
            given = self._token()
            self._known = await given if inspect.isawaitable(given) else given
        # The HTTP library would print a token that cannot stand in a header.
        if self._known is not None and not (self._known.isascii() and self._known.isprintable()):
            raise Unauthenticated(code="token_malformed")
        return self._known


def error_of(response: httpx2.Response) -> MilepostError:
    """The error that an answer stands for, whoever gave it: Milepost, or a proxy on the way."""
    retry_after = _seconds(response.headers.get("retry-after"))
    problem = _problem(response)
    code = problem.get("code")
    if isinstance(code, str) and code in CODES:
        details = {name: value for name, value in problem.items() if name not in _PROBLEM_MEMBERS}
        message = problem.get("detail") or problem.get("title") or ""
        return from_code(code, str(message), retry_after=retry_after, **details)
    status = response.status_code
    told = f"{response.request.url.copy_with(query=None)} answered {status}"
    if status >= 500 or status in {408, 425}:
        return Unavailable(told, code="engine_away", retry_after=retry_after)
    if status == 429:
        return from_code("rate_limited", told, retry_after=retry_after)
    if status == 401:
        return Unauthenticated(told, code="token_invalid")
    if status == 403:
        return Forbidden(told)
    if status == 404:
        # not NotFound: what is not yet there may come, but not at another server's address
        return Invalid(f"{told}; is this the address of a Milepost server?")
    if status == 413:
        return Invalid(told, code="too_large")
    return Invalid(told)


def _problem(response: httpx2.Response) -> dict[str, Any]:
    try:
        problem = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return {}
    return problem if isinstance(problem, dict) else {}


def _seconds(text: str | None) -> float | None:
    """``Retry-After`` in seconds; a date is a proxy's word and not worth a calendar."""
    if text is None or not text.isascii() or not text.isdigit():
        return None
    return min(float(text[:9]), MAX_RETRY_AFTER)


class _faults_named:  # noqa: N801 - read as a verb after `with`
    """Makes the network's errors ours: ``Unavailable``, naming the server and never a header."""

    def __init__(self, base: str) -> None:
        self._base = base

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, httpx2.TransportError | httpx2.DecodingError | httpx2.StreamError):
            raise Unavailable(f"no answer from {self._base} ({type(error).__name__})", code="engine_away") from None
