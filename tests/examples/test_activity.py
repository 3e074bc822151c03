"""The dashboard end to end, over HTTP and without a script: real hub, real workers, forms and pages."""

from __future__ import annotations

import os
import re
import secrets
import signal
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import httpx2
import pytest

from examples.activity.register import DOCUMENTS, FILE_LIMIT, VERSIONS
from tests.examples.conftest import ENDS, EXAMPLES, Demo, running, until

SAMPLE = (EXAMPLES / "activity" / "sample" / "services-agreement.md").read_bytes()
AMENDED = (EXAMPLES / "activity" / "sample" / "services-agreement-amended.md").read_bytes()


@pytest.fixture(name="docket", scope="module")
def fixture_docket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """One running example for all tests that do not break it. Nothing of a document is ever written to its log."""
    folder = tmp_path_factory.mktemp("activity") / "data"
    with running(folder, name="activity") as demo:
        yield demo
    log = (folder.parent / "data.log").read_text()
    assert "Traceback" not in log, log
    assert "canary" not in log, log


class Reader:
    """A visitor who has no scripts: pages, and forms that lead to pages."""

    def __init__(self, demo: Demo) -> None:
        self.http = demo.client()
        self.http.follow_redirects = True
        until(lambda: self.page("/"), what="the page")

    def page(self, path: str) -> str:
        """A page's text without its tags, white space folded; empty while nobody answers."""
        try:
            answer = self.http.get(path)
        except httpx2.TransportError:
            return ""
        assert answer.status_code == 200, answer.text
        return text_of(answer)

    def upload(self, file: bytes, name: str = "canary.md", path: str = "/documents", **fields: str) -> str:
        """A file from this machine; the path of the page of its document."""
        answer = self.http.post(path, files={"file": (name, file, "text/plain")}, data=fields)
        assert answer.status_code == 200, answer.text
        return below(answer)

    def begin(self, document: str, kind: str, *, pace: str = "0", key: str = "") -> str:
        """Starts a job on a document; its id."""
        before = set(self.jobs())
        answer = self.http.post(
            f"{document}/jobs", data={"kind": kind, "pace": pace, "key": key or secrets.token_hex(8)}
        )
        assert answer.status_code == 200, answer.text
        assert below(answer) == document
        return next(iter(set(self.jobs()) - before), "")

    def jobs(self) -> dict[str, Any]:
        """All jobs as the hub tells them, by their ids."""
        return {job["id"]: job for job in self.http.get("/api/jobs").json()["jobs"]}

    def end_of(self, job: str) -> dict[str, Any]:
        """The job once it has ended; waits over a restart of the hub."""

        def look() -> dict[str, Any] | None:
            try:
                found: dict[str, Any] = self.http.get(f"/api/jobs/{job}").json()["job"]
            except httpx2.TransportError:
                return None
            return found if found["state"] in ENDS else None

        found = until(look, seconds=60, what=job)
        assert found
        return found

    def notes(self) -> list[dict[str, Any]]:
        """What this visitor was told, the newest first."""
        found: list[dict[str, Any]] = self.http.get("/api/notifications").json()["notifications"]
        return found


def below(answer: httpx2.Response) -> str:
    """Where an answer is, from the example's prefix."""
    return answer.url.path.removeprefix("/activity")


def text_of(answer: httpx2.Response) -> str:
    """What a person reads of a page."""
    main = answer.text.partition("<main")[2].partition("</main>")[0]
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", main)).split())


def test_an_analysis_stands_on_its_document_s_page(docket: Demo) -> None:
    """A form without a script begins it; the page then has the figures, and so have the job and the notification."""
    reader = Reader(docket)
    document = reader.upload(SAMPLE, name="services.md")
    job_id = reader.begin(document, "analyse")
    job = reader.end_of(job_id)
    assert job["state"] == "completed", job["error"]
    assert job["current"] == job["total"] == 31
    assert job["output_url"] == f"/activity{document}#analyse"
    page = reader.page(document)
    assert "Words 497" in page
    assert "8 dates" in page
    assert "GBP 18,400.00" in page
    assert "Confidential Information never used" in page
    assert "¶ 27 says what ¶ 16 says" in page
    note = reader.notes()[0]
    assert note["level"] == "success"
    assert note["href"] == job["output_url"]
    assert note["context"] == {"document_id": document.rpartition("/")[2], "job_id": job_id}
    assert "services: analysed" in reader.page("/")
    assert "497 words" in reader.page("/documents")


def test_changing_one_input_changes_the_findings(docket: Demo) -> None:
    """Another date and one more amount in the file: other figures on the page."""
    reader = Reader(docket)
    pages = []
    for text in (SAMPLE, SAMPLE + b"\n\nPaid on 24 December 2031: EUR 77.\n"):
        document = reader.upload(text)
        reader.end_of(reader.begin(document, "analyse"))
        pages.append(reader.page(document))
    assert "2031-12-24" not in pages[0]
    assert "2031-12-24" in pages[1]
    assert "EUR 77.00" in pages[1]
    assert "9 dates" in pages[1]


def test_a_comparison_shows_what_changed(docket: Demo) -> None:
    """Two versions, word by word, with the counts of paragraphs; the earlier one can still be read."""
    reader = Reader(docket)
    document = reader.upload(SAMPLE)
    assert reader.upload(AMENDED, path=f"{document}/versions") == document
    job = reader.end_of(reader.begin(document, "compare"))
    assert job["result"]["summary"] == "Version 2: 7 changed, 1 added, 1 removed, 23 unchanged"
    shown = reader.http.get(document).text
    assert "<del>18,400.00</del><ins>22,500.00</ins>" in shown
    assert "<del>Neither Party may assign" in shown
    for number, file in enumerate((SAMPLE, AMENDED), 1):
        version = reader.http.get(f"{document}/versions/{number}")
        assert version.content == file
        assert version.headers["content-type"] == "text/plain; charset=utf-8"
    assert reader.http.get(f"{document}/versions/3").status_code == 404


@pytest.mark.parametrize(
    ("file", "kind", "code"),
    [
        (b"caf\xe9 canary", "analyse", "NOT_TEXT"),
        (b"  \n", "analyse", "EMPTY_DOCUMENT"),
        (SAMPLE, "compare", "NO_EARLIER_VERSION"),
    ],
)
def test_what_cannot_be_done_fails_as_a_job(docket: Demo, file: bytes, kind: str, code: str) -> None:
    """With a code and a sentence: on the job, on its page, in the feed. The worker goes on."""
    reader = Reader(docket)
    document = reader.upload(file)
    job_id = reader.begin(document, kind)
    job = reader.end_of(job_id)
    assert job["state"] == "failed"
    assert job["error"]["code"] == code
    assert job["error"]["message"] in reader.page(f"/jobs/{job_id}")
    note = reader.notes()[0]
    assert (note["level"], note["href"]) == ("error", f"/activity/jobs/{job_id}")
    assert note["message"] == job["error"]["message"]
    assert note["message"] in reader.page("/")
    assert reader.end_of(reader.begin(reader.upload(b"A word."), "analyse"))["state"] == "completed"


def test_the_same_form_twice_is_one_job(docket: Demo) -> None:
    """A form that is sent again without a script carries the same key."""
    reader = Reader(docket)
    document = reader.upload(SAMPLE)
    key = re.findall(r'name="key" value="(\w+)"', reader.http.get(document).text)[0]
    first = reader.begin(document, "analyse", key=key)
    assert reader.begin(document, "analyse", key=key) == ""
    assert list(reader.jobs()) == [first]


def test_cancelling(docket: Demo) -> None:
    """A job under way ends as cancelled; its page says so, and nothing was found."""
    reader = Reader(docket)
    document = reader.upload(SAMPLE)
    job = reader.begin(document, "analyse", pace="0.8")
    until(lambda: reader.jobs()[job]["state"] == "running")
    assert below(reader.http.post(f"/jobs/{job}/cancel")) == f"/jobs/{job}"
    assert "Cancelled on your request" in reader.page(f"/jobs/{job}")
    assert reader.jobs()[job]["state"] == "cancelled"
    assert "Reading ease" not in reader.page(document)
    assert reader.http.post(f"/jobs/{job}/cancel").status_code == 200


def test_a_document_is_deleted_with_all_that_was_found(docket: Demo) -> None:
    """Its jobs are cancelled, its page is gone, and it can no longer be read."""
    reader = Reader(docket)
    document = reader.upload(SAMPLE)
    job = reader.begin(document, "analyse", pace="0.8")
    assert below(reader.http.post(f"{document}/delete")) == "/documents"
    assert reader.end_of(job)["state"] == "cancelled"
    for path in (document, f"{document}/versions/1", f"/jobs/{job}"):
        assert reader.http.get(path).status_code == 404
    assert "There is none yet" in reader.page("/documents")


def test_what_is_not_yours_is_not_there(docket: Demo) -> None:
    """Another visitor gets 404 for a document, its versions and its jobs, and can do nothing with them."""
    reader, other = Reader(docket), Reader(docket)
    document = reader.upload(SAMPLE, name="canary private.md")
    job = reader.begin(document, "analyse")
    for path in (document, f"{document}/versions/1", f"/jobs/{job}"):
        assert other.http.get(path).status_code == 404
    assert other.http.post(f"{document}/jobs", data={"kind": "analyse", "pace": "0", "key": "k" * 8}).status_code == 404
    for path in (f"{document}/delete", f"/jobs/{job}/cancel", f"{document}/versions"):
        answer = other.http.post(path, files={"file": ("a.txt", b"text", "text/plain")})
        assert answer.status_code == 404
    for path in ("/", "/documents", "/jobs"):
        assert "canary private" not in other.page(path)
    assert reader.end_of(job)["state"] == "completed"


def test_bad_input_is_refused_with_a_sentence(docket: Demo) -> None:
    """Nothing chosen, too large, a kind or speed that is not offered: a page that says why, and nothing was stored."""
    reader = Reader(docket)
    large = reader.http.post("/documents", files={"file": ("a.txt", b"x" * (FILE_LIMIT + 1), "text/plain")})
    assert (large.status_code, "larger than 512 KiB" in text_of(large)) == (422, True)
    huge = reader.http.post("/documents", files={"file": ("a.txt", b"x" * (FILE_LIMIT * 2), "text/plain")})
    assert (huge.status_code, "larger than 512 KiB" in text_of(huge)) == (413, True)
    empty = reader.http.post("/documents", files={"file": ("", b"", "application/octet-stream")})
    assert (empty.status_code, "Choose a file first." in text_of(empty)) == (422, True)
    assert "There is none yet" in reader.page("/documents")
    document = reader.upload(SAMPLE)
    good = {"kind": "analyse", "pace": "0", "key": "k" * 8}
    for bad in ({"kind": "translate"}, {"pace": "-1"}, {"key": "short"}):
        answer = reader.http.post(f"{document}/jobs", data={**good, **bad})
        assert answer.status_code == 422
    by_script = reader.http.post(f"{document}/jobs", data={}, headers={"HX-Request": "true"})
    assert by_script.json()["problems"] == ["The form is not ours as it stands. Load the page again."]
    assert reader.jobs() == {}


def test_names_are_text_and_bounded(docket: Demo) -> None:
    """A name with a tag in it stays a name; a long one is cut; a file without one has one."""
    reader = Reader(docket)
    reader.upload(b"a", name="<script>alert(1).md")
    reader.http.post("/documents", files={"file": ("c.txt", b"b", "text/plain")}, data={"name": "n" * 500})
    reader.upload(b"c", name=".md")
    page = reader.http.get("/documents").text
    assert ">&lt;script&gt;alert(1)<" in page
    assert "<script>alert" not in page
    assert f">{'n' * 80}<" in page
    assert ">Untitled<" in page


def test_a_register_has_its_bounds(docket: Demo) -> None:
    """So many documents of a visitor's, so many versions of each; the next one is refused in words."""
    reader = Reader(docket)
    document = reader.upload(b"text")
    for _ in range(VERSIONS - 1):
        reader.upload(b"text", path=f"{document}/versions")
    full = reader.http.post(f"{document}/versions", files={"file": ("a.txt", b"text", "text/plain")})
    assert (full.status_code, f"at most {VERSIONS} versions" in text_of(full)) == (422, True)
    for _ in range(DOCUMENTS - 1):
        reader.upload(b"text")
    full = reader.http.post("/documents", files={"file": ("a.txt", b"text", "text/plain")})
    assert (full.status_code, f"{DOCUMENTS} documents already" in text_of(full)) == (422, True)


def test_another_page_s_form_is_refused(docket: Demo) -> None:
    """Another origin's form changes nothing, and neither does one without our cookie."""
    reader = Reader(docket)
    document = reader.upload(SAMPLE)
    foreign = reader.http.post(f"{document}/delete", headers={"origin": "https://elsewhere.example"})
    assert foreign.status_code == 403
    assert docket.client().post(f"{document}/delete").status_code == 401
    assert reader.http.get(document).status_code == 200


def test_the_feed_goes_back_page_by_page(docket: Demo) -> None:
    """The newest entries first, the earlier ones behind a link; all of them once."""
    reader = Reader(docket)
    for number in range(28):
        reader.upload(b"text", name=f"entry-{number:02}.txt")
    first = reader.http.get("/")
    older = re.findall(r'href="/activity(/\?before=[^"]+)">Earlier', first.text)
    second = reader.http.get(unescape(older[0]))
    named = re.findall(r"entry-\d\d(?= added)", text_of(first)) + re.findall(r"entry-\d\d(?= added)", text_of(second))
    assert named == [f"entry-{number:02}" for number in reversed(range(28))]
    assert ">Earlier<" not in second.text
    assert reader.http.get("/?before=nothing").status_code == 404


def test_streaming_is_refused_to_its_visitors(docket: Demo) -> None:
    """The feature flag of the tenant: the hub offers polls only, and a stream is 403."""
    reader = Reader(docket)
    assert reader.http.get("/api/client-config").json()["transports"] == ["long-poll", "poll"]
    refused = reader.http.get("/api/stream")
    assert (refused.status_code, refused.json()["code"]) == (403, "streaming_disabled")


def test_a_killed_worker_s_job_is_done_by_another(tmp_path: Path) -> None:
    """Another one begins it again; it ends once and is told once. The pages outlive a killed hub."""
    with running(tmp_path / "data", name="activity") as demo:
        reader = Reader(demo)
        document = reader.upload(b"One word.\n\nTwo words.\n\nThree of them.\n\nAnd four of them.")
        job = reader.begin(document, "analyse", pace="0.8")
        until(lambda: reader.jobs()[job]["current"] >= 1)
        for pid in demo.children("worker"):
            os.kill(pid, signal.SIGKILL)
        assert reader.end_of(job)["state"] == "completed"
        told = [note for note in reader.notes() if note["context"].get("job_id") == job]
        assert len(told) == 1
        os.kill(demo.children("hub")[0], signal.SIGKILL)
        assert "Words 11" in until(lambda: reader.page(document), seconds=60, what="the page again")
