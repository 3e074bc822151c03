"""The traces example as a visitor meets it: real hub, real workers, a real database, and files with real faults."""

from __future__ import annotations

import json
import os
import secrets
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.traces.sampling import sample
from examples.traces.store import percentile
from examples.traces.uploads import UPLOAD_LIMIT
from tests.examples.conftest import Demo, Visitor, running, until

TABLES = ("import", "trace", "span")


@pytest.fixture(name="spanfile", scope="module")
def fixture_spanfile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """One running example for all tests that do not break it. Nothing in a file is ever written to its log."""
    folder = tmp_path_factory.mktemp("traces") / "data"
    with running(folder, name="traces") as demo:
        yield demo
    log = (folder.parent / "data.log").read_text()
    assert "Traceback" not in log, log
    assert "canary" not in log, log


def line(
    trace: str, span: str, ms: float, *, parent: str = "", status: str = "ok", start: float = 1_772_442_000
) -> str:
    """A span, as a line of a file."""
    found = {"trace_id": trace, "span_id": span, "parent_id": parent, "name": f"op {trace}", "service": span[0]}
    return json.dumps({**found, "start": start, "duration_ms": ms, "status": status})


def send(visitor: Visitor, data: bytes | str, **asked: str) -> str:
    """Imports a file; the job's id."""
    query = {"key": secrets.token_hex(8), "name": "some.jsonl", "pace": "0", **asked}
    answer = visitor.http.post("/imports", params=query, content=data)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job_id"])


def rows(demo: Demo, job_id: str) -> dict[str, int]:
    """How many rows of an import there are in each table."""
    with sqlite3.connect(demo.folder / "traces" / "traces.db") as sql:
        count = "SELECT count(*) FROM {} WHERE {} = ?"
        return {
            name: sql.execute(count.format(name, "id" if name == "import" else "import_id"), (job_id,)).fetchone()[0]
            for name in TABLES
        }


NOTHING = dict.fromkeys(TABLES, 0)


def test_the_sample_is_imported(spanfile: Demo) -> None:
    """Every span of the file is a row; the job's result is what the page then lists."""
    visitor = spanfile.visitor()
    data = visitor.http.get("/sample/shop.jsonl").content
    job = visitor.end_of(send(visitor, data, name="shop.jsonl"))
    assert job["state"] == "completed", job["error"]
    assert job["current"] == job["total"] == data.count(b"\n") == job["result"]["spans"] == 2_220
    assert rows(spanfile, job["id"]) == {"import": 1, "trace": job["result"]["traces"], "span": 2_220}
    (listed,) = visitor.http.get("/imports").json()["imports"]
    assert (listed["id"], listed["name"], listed["summary"]) == (job["id"], "shop.jsonl", job["result"])
    traces = visitor.http.get(f"/imports/{job['id']}/traces").json()["traces"]
    assert traces[0]["trace_id"] == job["result"]["slowest"]["trace_id"]
    spans = visitor.http.get(f"/imports/{job['id']}/spans", params={"trace": traces[0]["trace_id"]}).json()["spans"]
    assert len(spans) == traces[0]["spans"]
    assert (spans[0]["depth"], spans[0]["at_ms"], spans[0]["ms"]) == (0, 0, traces[0]["ms"])
    assert max(span["depth"] for span in spans) == 2
    failed = visitor.http.get(f"/imports/{job['id']}/traces?failed=1").json()["traces"]
    assert failed
    assert all(trace["errors"] for trace in failed)


def test_changing_one_line_changes_the_rows(spanfile: Demo) -> None:
    """The same file gives the same summary; a slower span in it gives another slowest trace and other percentiles."""
    visitor = spanfile.visitor()
    file = [line("t1", "a1", 10), line("t2", "a1", 20), line("t3", "a1", 30, status="error"), line("t3", "b2", 5)]
    first, again, other = (
        visitor.end_of(send(visitor, "\n".join(data)))["result"]
        for data in (file, file, [line("t1", "a1", 500), *file[1:]])
    )
    assert first == again
    assert first == {
        "traces": 3,
        "spans": 4,
        "services": 2,
        "errors": 1,
        "p50_ms": 20,
        "p95_ms": 30,
        "slowest": {"trace_id": "t3", "name": "op t3", "ms": 30},
        "from_ms": 1_772_442_000_000,
        "to_ms": 1_772_442_000_030,
    }
    assert (other["p50_ms"], other["p95_ms"], other["slowest"]["trace_id"]) == (30, 500, "t1")


def test_the_total_is_unknown_until_the_lines_are_counted(spanfile: Demo) -> None:
    """While it counts the job has no total; then it has one and says where it is."""
    visitor = spanfile.visitor()
    job_id = send(visitor, sample(), pace="0.25")
    counting = visitor.when(job_id, lambda job: job["state"] == "running" and job["message"])
    assert (counting["total"], counting["percent"], counting["current"]) == (None, None, 0)
    known = visitor.when(job_id, lambda job: job["total"] is not None)
    assert known["total"] == 2_220
    assert rows(spanfile, job_id) == NOTHING
    counted = visitor.when(job_id, lambda job: job["current"] >= 500)
    assert counted["counters"]["spans"] >= 500
    assert rows(spanfile, job_id) == NOTHING
    assert visitor.http.post(f"/imports/{job_id}/cancel").status_code == 204
    said = [step["message"] for step in visitor.job(job_id)["steps"]]
    assert said[0].startswith("Counting: ")
    assert any(message.endswith(" of 2,220") for message in said)


@pytest.mark.parametrize(
    ("bad", "code", "message", "details"),
    [
        (sample(broken=True), "IMPORT_ROW", "Line 1,204: start is later than end", {"line": 1_204}),
        (line("t", "s", 1).encode() + b"\n\xff\n", "IMPORT_ROW", "Line 2: byte 1 is not UTF-8", {"line": 2}),
        (b"\n\n[]", "IMPORT_ROW", "Line 3: a span is an object, and this is a list", {"line": 3}),
        (b'{"canary": 1', "IMPORT_ROW", "Line 1: this is not JSON (at character 13)", {"line": 1}),
        (b" " * 1_100_000, "IMPORT_ROW", "Line 1: it is longer than 1 MiB", {"line": 1}),
        (b"", "IMPORT_EMPTY", "There is no span in this file.", None),
        (b"\n \n", "IMPORT_EMPTY", "There is no span in this file.", None),
    ],
)
def test_a_bad_file_leaves_nothing(
    spanfile: Demo, bad: bytes, code: str, message: str, details: dict[str, int] | None
) -> None:
    """The job fails with row and reason, no row of it is in the database, and the worker goes on."""
    visitor = spanfile.visitor()
    job = visitor.end_of(send(visitor, bad))
    assert job["state"] == "failed"
    assert job["error"]["code"] == code
    assert job["error"]["message"] == message
    assert job["error"].get("details") == details
    assert rows(spanfile, job["id"]) == NOTHING
    assert visitor.http.get("/imports").json()["imports"] == []
    assert visitor.end_of(send(visitor, line("t", "s", 1)))["state"] == "completed"


def test_a_span_that_comes_twice_counts_once(spanfile: Demo) -> None:
    """Writers repeat spans whose answer got lost: the first one stays, and how many came again is said."""
    visitor = spanfile.visitor()
    job = visitor.end_of(send(visitor, "\n".join([line("t", "s", 1), line("t", "s", 2), line("u", "s", 3)])))
    assert job["result"]["spans"] == 2
    assert job["counters"] == {"spans": 2, "errors": 0, "repeated": 1}


def test_spans_in_a_circle_and_without_a_parent(spanfile: Demo) -> None:
    """They are shown all the same, each once."""
    visitor = spanfile.visitor()
    file = [line("t", "a", 9, parent="b"), line("t", "b", 8, parent="a"), line("t", "c", 7, parent="gone")]
    job_id = send(visitor, "\n".join([*file, line("t", "d", 6, parent="d")]))
    assert visitor.end_of(job_id)["state"] == "completed"
    spans = visitor.http.get(f"/imports/{job_id}/spans?trace=t").json()["spans"]
    assert sorted(span["span_id"] for span in spans) == ["a", "b", "c", "d"]


def test_the_deadline_ends_a_slow_import(spanfile: Demo) -> None:
    """With 10 s and the slow speed the hub fails the job; its worker notices, leaves nothing and is free again."""
    visitor = spanfile.visitor()
    jobs = [send(visitor, sample(), pace="1", deadline="10") for _ in range(2)]  # both workers
    assert visitor.http.get(f"/imports/{jobs[0]}").json()["deadline"] == 10
    for job_id in jobs:
        job = visitor.end_of(job_id, seconds=40)
        assert (job["state"], job["error"]["code"]) == ("failed", "GENERATOR_TIMEOUT")
        assert 0 < job["current"] < job["total"]
    # Without noticing they would be at it for another 30 s.
    assert visitor.end_of(send(visitor, line("t", "s", 1)), seconds=20)["state"] == "completed"
    assert [rows(spanfile, job_id) for job_id in jobs] == [NOTHING, NOTHING]


def test_five_minutes_are_the_kind_s_own(spanfile: Demo) -> None:
    """A file that asks for nothing has the deadline that the hub gives imports."""
    visitor = spanfile.visitor()
    job_id = send(visitor, line("t", "s", 1))
    about = visitor.http.get(f"/imports/{job_id}").json()
    assert about == {"id": job_id, "name": "some.jsonl", "bytes": len(line("t", "s", 1)), "deadline": 300}


def test_cancelling_leaves_nothing(spanfile: Demo) -> None:
    """One under way and one that waits: both are cancelled, no row and no file is left."""
    visitor = spanfile.visitor()
    jobs = [send(visitor, sample(), pace="1") for _ in range(3)]
    for job_id in jobs[:2]:
        visitor.when(job_id, lambda job: job["state"] == "running")
    assert visitor.job(jobs[2])["state"] == "queued"
    for job_id in jobs:
        assert visitor.http.post(f"/imports/{job_id}/cancel").status_code == 204
        assert visitor.job(job_id)["state"] == "cancelled"
    assert visitor.end_of(send(visitor, line("t", "s", 1)))["state"] == "completed"
    assert [rows(spanfile, job_id) for job_id in jobs] == [NOTHING] * 3
    uploads = spanfile.folder / "traces" / "uploads"
    until(lambda: not any(uploads.iterdir()), what="no file is left")


def test_what_is_not_yours_is_not_there(spanfile: Demo) -> None:
    """Another visitor and one without a cookie see no import, no trace, no span, and cancel nothing."""
    visitor, other = spanfile.visitor(), spanfile.visitor()
    job_id = send(visitor, line("t", "s", 1))
    visitor.end_of(job_id)
    paths = (f"/imports/{job_id}", f"/imports/{job_id}/traces", f"/imports/{job_id}/spans?trace=t")
    assert all(visitor.http.get(path).status_code == 200 for path in paths)
    for stranger in (other.http, spanfile.client()):
        assert [stranger.get(path).status_code for path in paths] == [404] * 3
        assert stranger.post(f"/imports/{job_id}/cancel").status_code == 404
        assert stranger.get("/imports").json()["imports"] == []
        assert stranger.get(f"/api/jobs/{job_id}").status_code in (401, 404)
    assert visitor.http.get(f"/imports/{job_id}/spans?trace=none").status_code == 404


def test_a_file_sent_twice_is_one_import(spanfile: Demo) -> None:
    """The page repeats a file whose answer was lost under the same key."""
    visitor = spanfile.visitor()
    first = send(visitor, line("t", "s", 1), key="the same key")
    visitor.end_of(first)
    assert send(visitor, line("t", "s", 1), key="the same key") == first
    assert visitor.job(first)["attempt"] == 1
    assert len(visitor.http.get("/imports").json()["imports"]) == 1


def test_bad_requests_are_answered_with_sentences(spanfile: Demo) -> None:
    """4xx and a list of problems; never a 5xx. What is too large is no import, and no file stays of it."""
    http = spanfile.visitor().http
    good = {"key": "a good key", "name": "x", "pace": "0"}
    for wrong in ({"key": "short"}, {"pace": "7"}, {"deadline": "-1"}, {"key": "k" * 65}):
        answer = http.post("/imports", params={**good, **wrong}, content=b"{}")
        assert answer.status_code == 422
        assert answer.json()["problems"]
    answer = http.post("/imports", params=good, content=b"x" * (UPLOAD_LIMIT + 1))
    assert answer.status_code == 422
    assert answer.json()["problems"] == ["This is larger than 20 MiB."]
    assert not any((spanfile.folder / "traces" / "uploads").glob("*.part"))
    assert http.get("/sample/secret").status_code == 404
    assert http.post("/imports", params=good, headers={"origin": "https://evil.example"}).status_code == 403
    assert spanfile.client().post("/imports", params=good).status_code == 401


def test_a_large_file(spanfile: Demo) -> None:
    """Nearly 20 MiB: imported as a whole, with no more steps than a small one has."""
    visitor = spanfile.visitor()
    long = "attribute " * 20
    spans = (line(f"t{number // 10}", f"s{number}", number % 97) for number in range(50_000))
    data = "\n".join(f'{span[:-1]}, "attributes": {{"note": "{long}"}}}}' for span in spans)
    assert 15 * 1024**2 < len(data) < UPLOAD_LIMIT
    job = visitor.end_of(send(visitor, data), seconds=60)
    assert job["state"] == "completed", job["error"]
    assert rows(spanfile, job["id"]) == {"import": 1, "trace": 5_000, "span": 50_000}
    assert len(visitor.job(job["id"])["steps"]) <= 50


def test_a_killed_worker_leaves_nothing_and_loses_nothing(tmp_path: Path) -> None:
    """Kill -9 to every worker and to the hub in the middle: the import is done again from its beginning, once."""
    with running(tmp_path / "data", name="traces") as demo:
        visitor = demo.visitor()
        job_id = send(visitor, b"".join(sample().splitlines(keepends=True)[:800]), pace="0.25")
        for role in ("worker", "hub"):
            visitor.when(job_id, lambda job: job["current"] >= 100)
            for pid in demo.children(role):
                os.kill(pid, signal.SIGKILL)
            assert rows(demo, job_id) == NOTHING
        assert visitor.end_of(job_id, seconds=60)["state"] == "completed"
        assert rows(demo, job_id)["span"] == 800


def test_percentiles_are_values_that_occurred() -> None:
    """The nearest rank: the smallest value that so many percent do not exceed."""
    assert [percentile([1], percent) for percent in (50, 95)] == [1, 1]
    assert [percentile(range(1, 101), percent) for percent in (50, 95, 100)] == [50, 95, 100]
