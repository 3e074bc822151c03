from __future__ import annotations

import pytest

from milepost import errors
from milepost.errors import CODES, Conflict, Invalid, JobCancelled, MilepostError, from_code

# Written by hand from contract section 2.
CONTRACT = {
    401: {"token_missing", "token_malformed", "token_expired", "token_invalid"},
    403: {"scope_missing", "origin_refused", "streaming_disabled"},
    404: {"not_found"},
    409: {"job_ended", "stale_attempt", "conflict"},
    413: {"too_large"},
    422: {"invalid", "idempotency_mismatch"},
    429: {"rate_limited"},
    503: {"overloaded", "engine_away"},
}


def test_the_table_of_codes_is_the_contract() -> None:
    """Every code of the contract is in the table, under its status, and no other."""
    table: dict[int, set[str]] = {}
    for code, (status, _) in CODES.items():
        table.setdefault(status, set()).add(code)
    assert table == CONTRACT


@pytest.mark.parametrize("code", CODES)
def test_each_code_has_one_class_with_its_status_and_meaning(code: str) -> None:
    """An error made from a code has that code, its status, and a sentence even where none was given."""
    error = from_code(code)
    assert (error.code, error.status, error.message) == (code, *CODES[code])
    assert str(error) == error.message
    assert from_code(code, "Told so.", retry_after=3.5, field="x").message == "Told so."


@pytest.mark.parametrize("name", [name for name in dir(errors) if isinstance(getattr(errors, name), type)])
def test_each_class_stands_for_a_code_of_the_table(name: str) -> None:
    """Every class of the tree has a default code that the table knows."""
    kind = getattr(errors, name)
    if issubclass(kind, MilepostError):
        assert kind.code in CODES
        assert kind().status == CODES[kind.code][0]


def test_details_and_waiting_time_travel_with_the_error() -> None:
    """``details`` are the further members of the problem document, ``retry_after`` is in seconds."""
    error = from_code("overloaded", retry_after=2.0, limit=5)
    assert (error.retry_after, error.details) == (2.0, {"limit": 5})


def test_a_cancelled_job_is_told_apart_from_other_ends() -> None:
    """``job_ended`` of a cancelled job is a JobCancelled; of a completed one it is only a Conflict."""
    assert type(from_code("job_ended", state="cancelled")) is JobCancelled
    assert type(from_code("job_ended", state="completed")) is Conflict
    assert issubclass(JobCancelled, Conflict)


def test_a_code_of_a_newer_server_is_still_an_error() -> None:
    """A code that this version does not know is reported, not raised as something it is not."""
    error = from_code("brand_new")
    assert type(error) is MilepostError
    assert "brand_new" in error.message
    assert from_code("brand_new", "Because.").message == "Because."


def test_too_large_is_invalid_input() -> None:
    """Who catches Invalid also catches a body over the limit."""
    assert isinstance(from_code("too_large"), Invalid)
