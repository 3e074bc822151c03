from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from milepost.model import Cursor, Failure, Identity, Job, Notification, Pace, dumps, from_rfc3339, is_id, to_rfc3339

MILLISECONDS = st.integers(0, 4_102_444_800_000).map(lambda ms: ms / 1000)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e15, 1e15) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=4)
IDS = st.from_regex(r"[A-Za-z0-9._:-]{1,20}", fullmatch=True)
NUMBER = st.integers(0, 2**53) | st.floats(0, 1e9)
SAMPLES = st.lists(st.tuples(st.floats(0, 1e9), NUMBER), max_size=24).map(tuple)

JOBS = st.builds(
    Job,
    id=IDS,
    kind=IDS,
    title=TEXT,
    owner=IDS,
    created_at=MILLISECONDS,
    updated_at=MILLISECONDS,
    watchers=st.lists(IDS, max_size=3).map(tuple),
    state=st.sampled_from(["queued", "running", "stalled", "completed", "failed", "cancelled"]),
    attempt=st.integers(1, 99),
    current=NUMBER,
    total=st.none() | NUMBER,
    message=TEXT,
    counters=st.dictionaries(IDS, NUMBER, max_size=3),
    item=st.none() | OBJECT,
    eta_seconds=st.none() | st.floats(0, 1e6),
    rate=st.none() | st.floats(0, 1e6),
    result=JSON,
    output_url=st.none() | st.just("/x"),
    error=st.none() | st.builds(Failure, code=IDS, message=TEXT, details=JSON),
    started_at=st.none() | MILLISECONDS,
    finished_at=st.none() | MILLISECONDS,
    rev=st.integers(0, 2**53),
    steps=st.lists(st.tuples(st.floats(0, 1e9), TEXT), max_size=4).map(tuple),
    creator=IDS,
    notify=st.booleans(),
    seen_at=st.floats(0, 1e9),
    deadline_seconds=st.none() | st.floats(0.1, 1e6),
    total_deadline_seconds=st.none() | st.floats(0.1, 1e6),
    attempt_at=st.floats(0, 1e9),
    pace=st.builds(Pace, samples=SAMPLES, updates=st.integers(0, 10**6)),
)


@given(JOBS)
def test_a_job_comes_back_from_the_store_as_it_went(job: Job) -> None:
    """What ``dump`` writes ``load`` reads: every field, public and private."""
    assert Job.load(*job.dump(), job.rev) == job


@given(JOBS)
def test_a_stream_gets_neither_steps_nor_what_only_the_rules_need(job: Job) -> None:
    """The stored body has exactly the contract's public fields; the full answer adds ``steps`` and ``rev``."""
    public = {
        "id", "kind", "title", "owner", "watchers", "state", "attempt", "current", "total", "percent", "message",
        "counters", "item", "eta_seconds", "rate", "result", "output_url", "error", "created_at", "started_at",
        "updated_at", "finished_at",
    }  # fmt: skip
    assert set(orjson.loads(job.dump()[0])) == public
    assert set(job.full_json()) == public | {"steps", "rev"}


@given(NUMBER, NUMBER)
@example(9_999.9, 10_000)
@example(10**9 - 1, 10**9)
@example(0, 0)
def test_percent_is_100_only_at_the_total(current: float, total: float) -> None:
    """0-100 with one decimal, 100 exactly when nothing is left; None while the total is unknown."""
    job = Job(id="j", kind="job", title="T", owner="u", created_at=0, updated_at=0, current=min(current, total))
    assert job.percent is None
    percent = replace(job, total=total).percent
    assert percent is not None
    assert 0 <= percent <= 100
    assert percent == round(percent, 1)
    assert (percent == 100) == (job.current == total)


@given(MILLISECONDS)
def test_a_time_survives_the_wire(seconds: float) -> None:
    """RFC 3339 in UTC with milliseconds and Z; reading it back gives the same moment."""
    text = to_rfc3339(seconds)
    assert text is not None
    assert text.endswith("Z")
    assert len(text) == len("2025-01-01T00:00:00.000Z")
    assert from_rfc3339(text) == pytest.approx(seconds, abs=1e-9)
    assert to_rfc3339(from_rfc3339(text)) == text


@given(st.integers(0, 4_102_444_800_000), st.integers(2, 997))
def test_a_time_is_the_same_as_the_standard_library_writes(milliseconds: int, micro: int) -> None:
    """The fast way to write a time truncates to milliseconds, as ``datetime`` does."""
    seconds = milliseconds / 1000 + micro / 1_000_000
    expected = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert to_rfc3339(seconds) == expected


def test_no_time_is_null() -> None:
    """None stands for "not yet" in both directions."""
    assert to_rfc3339(None) is None
    assert from_rfc3339(None) is None


@given(JSON)
def test_json_is_one_line_for_every_reader(value: object) -> None:
    """No character that any line reader takes for a line end is in the JSON, and nothing is lost by that."""
    data = dumps({"value": value, "text": "a\u2028b\u2029c\x85\r\n"})
    assert len(data.decode().replace("\x85", "").splitlines()) == 1
    assert orjson.loads(data)["value"] == value
    assert orjson.loads(data)["text"] == "a\u2028b\u2029c\x85\r\n"


@pytest.mark.parametrize("text", ["a", "case-123", "A.b-c:9_", "x" * 128])
def test_an_id_is(text: str) -> None:
    """Letters, digits and ``. _ : -``, 1 to 128 of them."""
    assert is_id(text)


@pytest.mark.parametrize("text", ["", "x" * 129, "a b", "a\n", "\0", "ä", "a/b", "a@b", "𝟏", None, 7, b"a"])
def test_an_id_is_not(text: object) -> None:
    """Anything else, a trailing line end and digits of other scripts included."""
    assert not is_id(text)


@pytest.mark.parametrize("kind", [Cursor, Identity, Pace, Failure, Job, Notification])
def test_values_do_not_change(kind: type) -> None:
    """A value is frozen, and has no room for other attributes."""
    names = getattr(kind, "_fields", None) or [field.name for field in fields(kind)]
    value = kind(**dict.fromkeys(names, ()))
    for name in names:
        with pytest.raises(AttributeError):
            setattr(value, name, "other")
    assert not hasattr(value, "__dict__")


def test_who_sees_a_job() -> None:
    """Its owner, its watchers, and whoever holds a token that names it: each once."""
    job = Job(id="j", kind="job", title="T", owner="u", created_at=0, updated_at=0, watchers=("w", "u", "w"))
    assert job.audiences == ("user:u", "user:w", "job:j")


def test_what_an_identity_hears() -> None:
    """Its own user, everyone, and the jobs that its token names."""
    assert Identity("u", jobs=("a", "b")).audiences == ("user:u", "everyone", "job:a", "job:b")


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        ({"consume"}, {"consume"}),
        ({"produce"}, {"produce"}),
        ({"produce:any"}, {"produce", "produce:any"}),
        ({"admin"}, {"consume", "produce", "produce:any", "admin"}),
        (set(), set()),
    ],
)
def test_which_scope_allows_what(scopes: set[str], allowed: set[str]) -> None:
    """Scope admin allows all, produce:any also produce, nothing else anything but itself."""
    identity = Identity("u", scopes=frozenset(scopes))
    assert {scope for scope in ("consume", "produce", "produce:any", "admin") if identity.may(scope)} == allowed


def test_the_text_of_a_notification_is_its_message_or_its_title() -> None:
    """``text`` is never empty: products with one line only show that."""
    note = Notification(id="n", title="Title", created_at=0)
    assert note.to_json()["text"] == "Title"
    assert replace(note, message="Message").to_json()["text"] == "Message"


def test_a_notification_below_the_inbox_mark_is_read() -> None:
    """``seq`` ≤ ``read_up_to`` reads; what was archived stays archived, what is above stays unread."""
    note = Notification(id="n", title="T", created_at=0, seq=5)
    assert [note.seen_through(mark).status for mark in (4, 5, 6)] == ["unread", "read", "read"]
    archived = replace(note, status="archived")
    assert archived.seen_through(9) is archived
