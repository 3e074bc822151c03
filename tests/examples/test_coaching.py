"""Soundboard end to end, over HTTP: real hub, real workers, real recordings, and who is told of them."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import httpx2
import jwt
import pytest

from examples.coaching.sample import broken, loud, session
from milepost.auth import issue_token
from tests.examples.conftest import ENDS, Demo, running, until


@pytest.fixture(name="coaching", scope="module")
def fixture_coaching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """One running example for all tests of this file."""
    with running(tmp_path_factory.mktemp("coaching") / "data", name="coaching") as demo:
        with demo.client() as http:
            until(lambda: _answers(http), what="the page")
        yield demo


def _answers(http: httpx2.Client) -> bool:
    try:
        return http.get("/").status_code == 200
    except httpx2.TransportError:
        return False


class Coach:
    """Somebody who has signed in."""

    def __init__(self, demo: Demo, name: str) -> None:
        self.http = demo.client()
        self.name = name
        answer = self.http.post("/sign-in", json={"coach": name})
        assert answer.status_code == 200, answer.text
        self.session: str = answer.json()["session"]
        self.http.headers["authorization"] = f"Bearer {answer.json()['token']}"

    def upload(self, data: bytes, name: str = "talk.wav") -> httpx2.Response:
        """Gives the application a file."""
        return self.http.post("/recordings", params={"key": secrets.token_hex(8), "name": name}, content=data)

    def analyse(self, data: bytes, name: str = "talk.wav") -> dict[str, Any]:
        """The job of a file once it has ended."""
        answer = self.upload(data, name)
        assert answer.status_code == 202, answer.text
        job_id = answer.json()["job_id"]

        def ended() -> dict[str, Any] | None:
            job: dict[str, Any] = self.http.get(f"/api/jobs/{job_id}").json()["job"]
            return job if job["state"] in ENDS else None

        return until(ended, what=job_id) or {}

    def recording(self, job_id: str) -> dict[str, Any]:
        """What the application tells of a recording."""
        answer = self.http.get(f"/recordings/{job_id}")
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    def news(self) -> list[dict[str, Any]]:
        """The notifications, newest first."""
        told: list[dict[str, Any]] = self.http.get("/api/notifications").json()["notifications"]
        return told

    def follow(self, link: str) -> httpx2.Response:
        """A link of the application's, as an <img> would: without a token."""
        return httpx2.get(f"{str(self.http.base_url).rstrip('/').removesuffix('/coaching')}{link}", timeout=20)


def test_a_recording_becomes_figures_and_a_picture(coaching: Demo) -> None:
    """Counted second by second to its end, which is a notification with the figures and a link; sound and picture are
    there, and the sound is what was sent.
    """
    anna = Coach(coaching, "anna")
    job = anna.analyse(session(), "Monday.wav")
    assert job["state"] == "completed"
    assert job["current"] == job["total"] == 36
    assert job["message"] == "Session analysed: 0:36, −22.4 LUFS"
    assert job["output_url"] == f"/coaching/?recording={job['id']}"
    newest = anna.news()[0]
    assert (newest["title"], newest["message"]) == ("Monday.wav", job["message"])
    assert newest["href"] == job["output_url"]
    found = anna.recording(job["id"])
    assert found["figures"]["speakers"] == [10.95, 17.75]
    assert anna.follow(found["sound"]).content == session()
    picture = anna.follow(found["picture"])
    assert picture.headers["content-type"].startswith("image/svg+xml")
    ET.fromstring(picture.text)  # noqa: S314 - our own
    assert anna.http.get("/recordings").json()["recordings"][0]["title"] == "Monday.wav"


def test_another_recording_has_other_figures(coaching: Demo) -> None:
    """Figures and picture follow the sound; the same sound has the same ones."""
    anna = Coach(coaching, "anna")
    told = [anna.recording(anna.analyse(data)["id"]) for data in (session(), loud(), loud())]
    first, second, third = ((one["figures"], anna.follow(one["picture"]).text) for one in told)
    assert first != second
    assert second == third


def test_a_file_that_breaks_off_fails_with_its_place(coaching: Demo) -> None:
    """AUDIO_TRUNCATED, after the seconds that were there; the notification of it is an error."""
    anna = Coach(coaching, "anna")
    job = anna.analyse(broken())
    assert job["state"] == "failed"
    assert job["error"]["code"] == "AUDIO_TRUNCATED"
    assert "0:23 of 0:36" in job["error"]["message"]
    assert 0 < job["current"] < job["total"]
    assert anna.news()[0]["level"] == "error"
    assert anna.recording(job["id"])["figures"] is None


@pytest.mark.parametrize(
    ("data", "says"), [(b"", "empty"), (b"ID3\3" + bytes(90), "MP3"), (b"Hello", "not a WAV file")]
)
def test_what_is_no_recording_is_refused(coaching: Demo, data: bytes, says: str) -> None:
    """At once, in a sentence; no job comes of it and nothing is kept."""
    ben = Coach(coaching, "ben")
    kept = set((coaching.folder / "coaching" / "files").rglob("*"))
    answer = ben.upload(data)
    assert answer.status_code == 422
    assert says in answer.json()["problems"][0]
    assert set((coaching.folder / "coaching" / "files").rglob("*")) == kept


def test_a_file_has_its_bound(coaching: Demo) -> None:
    """One byte over 64 MiB is refused while it comes."""
    ben = Coach(coaching, "ben")
    answer = ben.http.post(
        "/recordings", params={"key": "a-long-recording"}, content=iter([bytes(1024**2)] * 64 + [b"1"])
    )
    assert answer.status_code == 422
    assert "64 MiB" in answer.json()["problems"][0]


def test_an_upload_that_is_left_leaves_nothing(coaching: Demo) -> None:
    """Who goes in the middle of it: no file stays, and no log tells of an error."""
    ben = Coach(coaching, "ben")
    host, port = urlsplit(coaching.url).hostname, urlsplit(coaching.url).port
    files = coaching.folder / "coaching" / "files"
    kept = set(files.rglob("*"))
    with socket.create_connection((host, port)) as line:
        head = f"POST /coaching/recordings?key=left-alone HTTP/1.1\r\nhost: {host}\r\ncontent-length: 100000\r\n"
        line.sendall(f"{head}authorization: {ben.http.headers['authorization']}\r\n\r\n".encode() + bytes(1000))
        until(lambda: set(files.rglob("*")) > kept, what="it is being received")
    until(lambda: set(files.rglob("*")) == kept, what="nothing of it is left")
    assert "Traceback" not in (coaching.folder.parent / "data.log").read_text()


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"key": "short"}, "key"),
        ({"pace": "0.1"}, "speed"),
        ({"pace": "nan"}, "speed"),
        ({"sample": "../app.py"}, "sample"),
    ],
)
def test_what_is_not_offered_is_refused(coaching: Demo, asked: dict[str, str], says: str) -> None:
    """A key, a speed, a sample that the page does not know."""
    ben = Coach(coaching, "ben")
    answer = ben.http.post("/recordings", params={"key": secrets.token_hex(8), **asked}, content=loud())
    assert answer.status_code == 422
    assert says in answer.json()["problems"][0]


def test_the_same_press_is_the_same_job(coaching: Demo) -> None:
    """A form that is sent twice is one job; the same key of somebody else is another one."""
    anna, ben = Coach(coaching, "anna"), Coach(coaching, "ben")
    key = {"key": secrets.token_hex(8), "sample": "too-loud.wav"}
    ids = [coach.http.post("/recordings", params=key).json()["job_id"] for coach in (anna, anna, ben)]
    assert ids[0] == ids[1] != ids[2]


def test_nobody_else_learns_of_a_recording(coaching: Demo) -> None:
    """Another coach gets 404 for it and all that hangs on it, and is not told of it by the hub."""
    anna, ben = Coach(coaching, "anna"), Coach(coaching, "ben")
    job_id = anna.analyse(loud())["id"]
    before = len(ben.news())
    for answer in (
        ben.http.get(f"/recordings/{job_id}"),
        ben.http.post(f"/recordings/{job_id}/share", json={"coach": "carla"}),
        ben.http.post(f"/recordings/{job_id}/cancel"),
        ben.http.get(f"/api/jobs/{job_id}"),
        ben.http.get(f"/files/{job_id}/recording.wav"),
    ):
        assert answer.status_code == 404, answer.url
    assert job_id not in {one["id"] for one in ben.http.get("/recordings").json()["recordings"]}
    assert len(ben.news()) == before


def test_sharing_tells_the_other_one(coaching: Demo) -> None:
    """Ben is told, with the note, and sees what Anna sees; his feedback comes back to her; Carla knows of neither."""
    anna, ben, carla = (Coach(coaching, name) for name in ("anna", "ben", "carla"))
    job_id = anna.analyse(session(), "First talk.wav")["id"]
    untold = len(carla.news())
    told = anna.http.post(f"/recordings/{job_id}/share", json={"coach": "ben", "note": "Listen\nto the pauses"})
    assert told.status_code == 204
    newest = ben.news()[0]
    assert newest["title"] == "Anna Lindqvist shared “First talk.wav”"
    assert newest["message"] == "Listen to the pauses"
    assert newest["context"] == {"related_session_id": job_id, "from": "anna"}
    assert ben.recording(job_id)["figures"] == anna.recording(job_id)["figures"]
    answer = ben.http.post(f"/recordings/{job_id}/share", json={"coach": "anna", "note": "Good ones"})
    assert answer.status_code == 204
    assert anna.news()[0]["title"] == "Ben Okafor sent feedback on “First talk.wav”"
    assert len(carla.news()) == untold
    for bad in ({"coach": "anna"}, {"coach": "dora"}, {"coach": 1}, {"coach": "ben", "note": "x" * 501}):
        assert anna.http.post(f"/recordings/{job_id}/share", json=bad).status_code == 422


def test_only_a_signed_link_opens_a_file(coaching: Demo) -> None:
    """One that was changed, is over, or is of another file opens nothing."""
    anna = Coach(coaching, "anna")
    found = anna.recording(anna.analyse(loud())["id"])
    link: str = found["sound"]
    assert anna.follow(link).status_code == 200
    stem, _, key = link.rpartition("=")
    for wrong in (
        stem,
        f"{stem}={key[:-1]}{'0' if key[-1] != '0' else '1'}",
        link.replace("until=", "until=9"),
        link.replace("recording.wav", "result.json"),
        found["picture"].split("?")[0] + "?" + link.split("?")[1],
    ):
        assert anna.follow(wrong).status_code == 404, wrong


def test_a_token_is_needed_and_must_be_ours(coaching: Demo) -> None:
    """Without one, with one of another example's tenant, or that is over: 401; the session gets the next one."""
    secret = (coaching.folder / "secret").read_text()
    anna = Coach(coaching, "anna")
    stranger = coaching.client()
    assert stranger.get("/recordings").status_code == 401
    for token in (
        issue_token(secret, user="anna", tenant="documents"),
        issue_token("another secret of thirty-two bytes", user="anna", tenant="coaching"),
        issue_token(secret, user="dora", tenant="coaching"),
        "nonsense",
    ):
        assert stranger.get("/recordings", headers={"authorization": f"Bearer {token}"}).status_code == 401
    short = issue_token(secret, user="anna", tenant="coaching", ttl=1)
    headers = {"authorization": f"Bearer {short}"}
    until(lambda: stranger.get("/recordings", headers=headers).status_code == 401, what="it is over")
    assert stranger.get("/api/jobs", headers=headers).status_code == 401
    renewed = anna.http.post("/session", json={"session": anna.session}).json()["token"]
    assert stranger.get("/recordings", headers={"authorization": f"Bearer {renewed}"}).status_code == 200


def test_signing_out_ends_every_session(coaching: Demo) -> None:
    """Of this coach, on all devices: no session gets a token any more; another coach's does, and a new one."""
    here, there, ben = Coach(coaching, "carla"), Coach(coaching, "carla"), Coach(coaching, "ben")
    assert here.http.post("/sign-out", json={"session": here.session}).status_code == 204
    for session_ in (here.session, there.session, f"{there.session}0", "carla.1.", "", None, "dora.0.abc"):
        assert there.http.post("/session", json={"session": session_}).status_code == 401
    assert ben.http.post("/session", json={"session": ben.session}).status_code == 200
    assert Coach(coaching, "carla").session != here.session


def test_a_token_is_short(coaching: Demo) -> None:
    """Five minutes, however long the demo's tokens are."""
    anna = Coach(coaching, "anna")
    claims = jwt.decode(anna.http.headers["authorization"].split()[1], options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 300
    assert claims["exp"] > time.time()


def test_nothing_is_logged_of_a_recording(coaching: Demo) -> None:
    """Its name, a note on it and the link to it are in no log."""
    anna = Coach(coaching, "anna")
    job_id = anna.analyse(loud(), "Canary Wharf.wav")["id"]
    anna.http.post(f"/recordings/{job_id}/share", json={"coach": "ben", "note": "Kanarienvogel"})
    anna.follow(anna.recording(job_id)["sound"])
    log = (coaching.folder.parent / "data.log").read_text()
    assert "Canary" not in log
    assert "Kanarienvogel" not in log
    assert "key=" not in log
