"""One tree of errors, one stable code for each decision that a caller makes.

    MilepostError
    ├─ Unauthenticated   401  token_missing · token_malformed · token_expired · token_invalid
    ├─ Forbidden         403  scope_missing · origin_refused · streaming_disabled
    ├─ NotFound          404  not_found (also: exists, but is not yours)
    ├─ Conflict          409  conflict · job_ended · stale_attempt
    │  └─ JobCancelled        job_ended, where somebody cancelled the job
    ├─ Invalid           422  invalid · idempotency_mismatch (413 too_large)
    ├─ RateLimited       429  rate_limited
    └─ Unavailable       503  overloaded · engine_away

``CODES`` is the one table of codes, their HTTP status and their meaning; docs/errors.md is made from it.
"""

from __future__ import annotations

from typing import Any

CODES: dict[str, tuple[int, str]] = {
    "token_missing": (401, "The request carries no token."),
    "token_malformed": (401, "The token cannot be read."),
    "token_expired": (401, "The token has expired; ask for a new one."),
    "token_invalid": (401, "The token is not one that this server accepts."),
    "scope_missing": (403, "The token does not allow this."),
    "origin_refused": (403, "Requests by cookie must come from this origin or an allowed one."),
    "streaming_disabled": (403, "Streaming is switched off for this user; poll instead."),
    "not_found": (404, "There is no such thing, or it is not yours to see."),
    "job_ended": (409, "The job has ended; only a new attempt can change it."),
    "stale_attempt": (409, "A newer attempt of the job has begun."),
    "conflict": (409, "Somebody else changed it at the same time."),
    "too_large": (413, "The request's body is over the limit."),
    "invalid": (422, "The request does not have the right form."),
    "idempotency_mismatch": (422, "This Idempotency-Key was used with another body."),
    "rate_limited": (429, "Too many connections or attempts; wait as Retry-After says."),
    "overloaded": (503, "The server is full; wait as Retry-After says."),
    "engine_away": (503, "The store does not answer; nothing was lost, try again."),
}


class MilepostError(Exception):
    """Base of all errors that Milepost raises on purpose.

    ``code`` is stable and one of ``CODES``; ``status`` is its HTTP status; ``retry_after`` is in
    seconds where waiting helps; ``details`` are further members of the problem document.
    """

    code = "invalid"

    def __init__(
        self, message: str = "", *, code: str | None = None, retry_after: float | None = None, **details: Any
    ) -> None:
        self.code = code or type(self).code
        self.message = message or CODES[self.code][1]
        self.retry_after = retry_after
        self.details = details
        super().__init__(self.message)

    @property
    def status(self) -> int:
        """The HTTP status that goes with the code."""
        return CODES[self.code][0]


class Unauthenticated(MilepostError):
    """No token, or none that counts."""

    code = "token_missing"


class Forbidden(MilepostError):
    """Who you are is known; that you may is not."""

    code = "scope_missing"


class NotFound(MilepostError):
    """No such thing, or not yours: nobody can tell the two apart."""

    code = "not_found"


class Conflict(MilepostError):
    """The document is no longer what the caller thought it was."""

    code = "conflict"


class JobCancelled(Conflict):
    """Somebody cancelled the job while its worker was still reporting."""

    code = "job_ended"


class Invalid(MilepostError):
    """The input has the wrong form; ``details['field']`` names the place where it is known."""

    code = "invalid"


class RateLimited(MilepostError):
    """Too many connections, or too many attempts in a minute."""

    code = "rate_limited"


class Unavailable(MilepostError):
    """The server or its engine cannot take this now; nothing was stored."""

    code = "overloaded"


_BY_STATUS: dict[int, type[MilepostError]] = {
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: Invalid,
    422: Invalid,
    429: RateLimited,
    503: Unavailable,
}


def from_code(code: str, message: str = "", *, retry_after: float | None = None, **details: Any) -> MilepostError:
    """The error that a stable code stands for, as the server's problem documents name it."""
    if code not in CODES:
        return MilepostError(message or f"unknown code {code!r}", code="invalid", **details)
    kind = _BY_STATUS[CODES[code][0]]
    if code == "job_ended" and details.get("state") == "cancelled":
        kind = JobCancelled
    return kind(message, code=code, retry_after=retry_after, **details)
