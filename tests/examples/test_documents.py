"""The example end to end, over HTTP: real hub, real workers, real files, and real faults."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx2
import pytest
from pypdf import PdfReader

from tests.examples.conftest import CASE, EXAMPLE, EXAMPLES, Demo, Visitor, running, until

EVERYTHING = ["complaint", "discovery", "deposition", "letter", "summary", "exhibits"]
BROKEN = (EXAMPLE / "sample" / "broken.html").read_text()


def text_of(pdf: bytes) -> str:
    """All text of a PDF, white space folded."""
    return " ".join("".join(page.extract_text() + " " for page in PdfReader(io.BytesIO(pdf)).pages).split())


def below(url: str) -> str:
    """A link of the example's, from its own page."""
    return url.removeprefix("/documents")


def download(visitor: Visitor, job_id: str) -> zipfile.ZipFile:
    """The zip of a job that completes."""
    job = visitor.end_of(job_id)
    assert job["state"] == "completed", job["error"]
    answer = visitor.http.get(below(job["output_url"]))
    assert answer.status_code == 200
    assert "attachment" in answer.headers["content-disposition"]
    return zipfile.ZipFile(io.BytesIO(answer.content))


def test_a_form_becomes_a_zip_of_real_pdfs(demo: Demo) -> None:
    """All kinds: nine documents with the case in them, and the pages that the job's result counts."""
    visitor = demo.visitor()
    job_id = visitor.submit(kinds=EVERYTHING)
    archive = download(visitor, job_id)
    assert len(archive.namelist()) == 9
    assert "Special interrogatories 2 of 3.pdf" in archive.namelist()
    pages = sum(len(PdfReader(io.BytesIO(archive.read(name))).pages) for name in archive.namelist())
    job = visitor.job(job_id)
    assert job["result"] == {"pages": pages, "documents": 9}
    assert job["current"] == job["total"] == 35
    assert job["percent"] == 100


def test_changing_one_input_changes_the_file(demo: Demo) -> None:
    """The same case gives the same bytes; another plaintiff stands in the PDF."""
    visitor = demo.visitor()
    first, again, other = (
        download(visitor, visitor.submit(case={**CASE, "plaintiff": name})).read("Complaint.pdf")
        for name in ("Elena Reyes", "Elena Reyes", "Żaneta Ørsted")
    )
    assert first == again
    assert "Żaneta Ørsted" in text_of(other)
    assert "Żaneta" not in text_of(first)


def test_the_total_is_unknown_until_the_case_was_read(demo: Demo) -> None:
    """While it plans, the job has no total; then it has one, counts up to it, and says what it does."""
    visitor = demo.visitor()
    job_id = visitor.submit(kinds=["discovery", "letter"], pace=0.25)
    planning = visitor.when(job_id, lambda job: job["state"] == "running" and job["message"])
    assert planning["total"] is None
    assert planning["percent"] is None
    known = visitor.when(job_id, lambda job: job["total"] is not None)
    assert known["total"] == 16
    visitor.end_of(job_id)
    said = [step["message"] for step in visitor.job(job_id)["steps"]]
    assert said[:3] == ["Reading the case", "Planning: Discovery set", "Planning: Cover letter"]
    assert "Generating SROGS 1/3 (1 of 4)" in said
    assert said[-2] == "Packing the zip"
    assert re.fullmatch(r"\d+ pages in 4 documents", said[-1])


def test_a_broken_template_fails_in_the_middle(demo: Demo) -> None:
    """What was made before it is no download: the job says TEMPLATE_ERROR, which template, and where."""
    visitor = demo.visitor()
    job = visitor.end_of(visitor.submit(kinds=["complaint", "custom"], template=BROKEN))
    assert job["state"] == "failed"
    assert job["error"]["code"] == "TEMPLATE_ERROR"
    assert job["error"]["message"] == "custom.html, line 4: unexpected '}'"
    assert 0 < job["current"] < job["total"]
    assert job["output_url"] is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
def test_a_full_disk_is_a_storage_failure(demo: Demo) -> None:
    """The operating system's own words reach the visitor."""
    visitor = demo.visitor()
    job = visitor.end_of(visitor.submit(target="full"))
    assert job["error"]["code"] == "STORAGE_WRITE_FAIL"
    assert "No space left on device" in job["error"]["message"]


def test_an_unwritable_folder_is_a_storage_failure(tmp_path: Path) -> None:
    """Also where the setting of the whole server is wrong: the worker lives on and says so for each job."""
    with running(tmp_path / "data", "--output", "/dev/null/documents") as demo:
        visitor = demo.visitor()
        for _ in range(3):
            assert visitor.end_of(visitor.submit())["error"]["code"] == "STORAGE_WRITE_FAIL"


def test_two_jobs_run_side_by_side(demo: Demo) -> None:
    """Two workers: both jobs move at the same time, and a third one waits its turn and then runs."""
    visitor = demo.visitor()
    jobs = [visitor.submit(kinds=["complaint"], pace=0.25) for _ in range(3)]
    until(lambda: sum(visitor.job(job)["state"] == "running" for job in jobs) == 2)
    assert [visitor.job(job)["state"] for job in jobs].count("queued") == 1
    assert {visitor.end_of(job)["state"] for job in jobs} == {"completed"}


def test_cancelling_stops_the_work(demo: Demo) -> None:
    """A running job and a queued one end as cancelled; the worker goes on with other work, and no file is left."""
    visitor = demo.visitor()
    running_jobs = [visitor.submit(kinds=EVERYTHING, pace=1.0) for _ in range(2)]
    for job in running_jobs:
        visitor.when(job, lambda job: job["state"] == "running")
    queued = visitor.submit(kinds=["letter"])
    for job in (queued, *running_jobs):
        assert visitor.http.post(f"/jobs/{job}/cancel").status_code == 204
        assert visitor.job(job)["state"] == "cancelled"
    assert visitor.end_of(visitor.submit())["state"] == "completed"
    assert {visitor.job(job)["attempt"] for job in (queued, *running_jobs)} == {1}
    assert not (demo.folder / "documents" / "files" / queued).exists()


def test_a_template_that_asks_for_all_memory(demo: Demo) -> None:
    """Ten billion characters are the template's error; the worker, and the machine, live on."""
    visitor = demo.visitor()
    job = visitor.end_of(visitor.submit(kinds=["custom"], template="{{ 'x' * 10000000000 }}"))
    assert job["error"]["code"] == "TEMPLATE_ERROR"
    assert visitor.end_of(visitor.submit())["state"] == "completed"


def test_a_request_that_kills_its_worker_is_given_up(demo: Demo) -> None:
    """After five lost workers the sixth does not try: the job fails and says why."""
    visitor = demo.visitor()
    before = [visitor.submit(pace=1.0) for _ in range(2)]
    for job in before:
        visitor.when(job, lambda job: job["state"] == "running")
    queued = visitor.submit()
    (demo.folder / "documents" / "queue" / "waiting" / queued / "attempts").write_text("5")
    for job in before:
        visitor.http.post(f"/jobs/{job}/cancel")
    failed = visitor.end_of(queued)
    assert failed["error"]["code"] == "UNEXPECTED"
    assert failed["error"]["message"] == "The worker was lost 5 times at this request."


def test_a_finished_job_notifies_its_owner(demo: Demo) -> None:
    """One notification, unread, that leads to the download; nobody else has it."""
    visitor, other = demo.visitor(), demo.visitor()
    job = visitor.end_of(visitor.submit())
    answer = visitor.http.get("/api/notifications").json()
    assert answer["unread"] == 1
    assert answer["notifications"][0]["level"] == "success"
    assert answer["notifications"][0]["href"] == job["output_url"]
    assert other.http.get("/api/notifications").json()["notifications"] == []


def test_what_is_not_yours_is_not_there(demo: Demo) -> None:
    """Another visitor, and one without a cookie, gets neither the job nor its files, and cannot cancel it."""
    visitor, other = demo.visitor(), demo.visitor()
    job_id = visitor.submit()
    url = below(visitor.end_of(job_id)["output_url"])
    for stranger in (other.http, demo.client()):
        assert stranger.get(url).status_code == 404
        assert stranger.post(f"/jobs/{job_id}/cancel").status_code == 404
        assert stranger.get(f"/api/jobs/{job_id}").status_code in (401, 404)
    assert visitor.http.get(url.rpartition("/")[0] + "/..%2f..%2fsecret").status_code == 404
    assert visitor.http.get(f"/files/{job_id}/.hidden").status_code == 404


def test_a_forged_cookie_is_nobody(demo: Demo) -> None:
    """Without our signature a name is only a name."""
    visitor = demo.visitor()
    url = below(visitor.end_of(visitor.submit())["output_url"])
    name = visitor.http.cookies["documents_visitor"].partition(".")[0]
    for forged in (name, f"{name}.", f"{name}.{'0' * 64}", f"{name}.é"):
        stranger = demo.client({b"cookie": f"documents_visitor={forged}".encode()})
        assert stranger.get(url).status_code == 404
        assert stranger.post("/session").status_code == 401


def test_a_visitor_s_token_expires_and_is_renewed(tmp_path: Path) -> None:
    """With ``--token-seconds 1`` the hub soon refuses the page's token; the page's session makes a new one."""
    with running(tmp_path / "data", "--token-seconds", "1") as demo:
        visitor = demo.visitor()
        until(lambda: visitor.http.get("/api/jobs").status_code == 401)
        assert visitor.http.post("/session").is_success
        assert visitor.http.get("/api/jobs").status_code == 200


def test_the_form_sent_twice_is_one_job(demo: Demo) -> None:
    """The page repeats a form whose answer was lost under the same key."""
    visitor = demo.visitor()
    first = visitor.submit(key="the same key")
    visitor.end_of(first)
    assert visitor.submit(key="the same key") == first
    assert visitor.job(first)["attempt"] == 1
    assert visitor.job(first)["state"] == "completed"


def test_bad_requests_are_answered_with_sentences(demo: Demo) -> None:
    """4xx and a list of problems; never a 5xx."""
    http = demo.visitor().http
    for body in (b"", b"[", b"[]", b"\xff", b"[" * 100_000, b'{"case": {}}'):
        answer = http.post("/jobs", content=body)
        assert answer.status_code == 422
        assert answer.json()["problems"]
    assert http.post("/jobs", content=b"x" * 600_000).status_code == 422
    assert http.post("/case?name=a.csv", content=b"a;b").json()["problems"][0].startswith("Line 1: the columns")
    assert http.post("/case?name=a.exe", content=b"a;b").status_code == 422
    assert http.get("/sample/../app.py").status_code == 404
    assert http.get("/sample/secret").status_code == 404
    assert http.post("/jobs", json={}, headers={"origin": "https://evil.example"}).status_code == 403
    assert http.post("/session", headers={"origin": "null"}).status_code == 403
    assert httpx2.post(f"{demo.url}/jobs", json={}).status_code == 401


def test_an_upload_fills_the_form(demo: Demo) -> None:
    """The CSV and the JSON sample come back as the fields of the form."""
    http = demo.visitor().http
    for name in ("case.csv", "case.json"):
        data = http.get(f"/sample/{name}").content
        assert http.post(f"/case?name={name}", content=data).json()["plaintiff"] == "Elena Reyes"


def test_the_page_is_locked_down(demo: Demo) -> None:
    """Nothing but our own files runs in it, and no script can read the cookies."""
    answer = httpx2.get(f"{demo.url}/")
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert "<script>" not in answer.text
    assert " style=" not in answer.text
    cookies = answer.headers.get_list("set-cookie")
    assert len(cookies) == 2
    assert all("HttpOnly" in cookie and "SameSite=lax" in cookie for cookie in cookies)
    assert all("Path=/documents" in cookie for cookie in cookies)
    assert (demo.folder / "secret").stat().st_mode & 0o077 == 0


def wait_for_others(demo: Demo, role: str, than: list[int]) -> None:
    """Until there is a process of this role that is none of those."""
    until(lambda: set(demo.children(role)) - set(than), what=f"another {role}")


def test_killed_workers_and_hub_lose_nothing(tmp_path: Path) -> None:
    """Kill -9 to every worker, then to the hub, in the middle of two jobs: both complete, and so does a third."""
    with running(tmp_path / "data") as demo:
        visitor = demo.visitor()
        jobs = [visitor.submit(kinds=["complaint", "discovery"], pace=0.25) for _ in range(2)]
        for job in jobs:
            visitor.when(job, lambda job: job["current"] >= 4)
        for role in ("worker", "hub"):
            pids = demo.children(role)
            assert pids
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            wait_for_others(demo, role, pids)
        jobs.append(visitor.submit())
        assert {visitor.end_of(job, seconds=40)["state"] for job in jobs} == {"completed"}
        assert {visitor.job(job)["attempt"] for job in jobs} == {1}


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_end_of_the_supervisor_is_the_end_of_all(tmp_path: Path, how: signal.Signals) -> None:
    """Ctrl-C, a service manager's stop, even kill -9: no process is left, with a stream open and a job under way."""
    with running(tmp_path / "data") as demo:
        visitor = demo.visitor()
        job_id = visitor.submit(kinds=["complaint"], pace=1.0)
        pids = [*demo.children("hub"), *demo.children("worker")]
        assert len(pids) == 3
        with visitor.http.stream("GET", f"/api/jobs/{job_id}/stream") as stream:
            next(stream.iter_bytes())
            demo.process.send_signal(how)
            demo.process.wait(30)
            until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), seconds=15)
        if how != signal.SIGKILL:
            assert demo.process.returncode == 0


def test_after_a_restart_the_job_goes_on(tmp_path: Path) -> None:
    """Ended in the middle of a job and started again on the same folder, the example finishes it."""
    with running(tmp_path / "data") as demo:
        visitor = demo.visitor()
        job_id = visitor.submit(kinds=["complaint"], pace=1.0)
        visitor.when(job_id, lambda job: job["state"] == "running")
        cookies = {b"cookie": "; ".join(f"{name}={value}" for name, value in visitor.http.cookies.items()).encode()}
    with running(tmp_path / "data") as demo:
        visitor = Visitor(demo.client(cookies))
        assert visitor.end_of(job_id)["state"] == "completed"


def test_a_second_demo_on_the_same_folder_is_refused(demo: Demo) -> None:
    """It says so in a sentence, and the first one is not disturbed."""
    command = [sys.executable, str(EXAMPLES), "--port", "0", "--data-dir", str(demo.folder)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert second.returncode == 1
    assert "Another demo is running" in second.stderr
    visitor = demo.visitor()
    assert visitor.end_of(visitor.submit())["state"] == "completed"
