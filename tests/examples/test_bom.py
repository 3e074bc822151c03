"""The bom example as its users meet it: real hub and worker, with the SDK and over the bridge from a real Redis."""

from __future__ import annotations

import csv
import io
import json
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from examples.bom.members import ORGANIZATIONS
from tests.engines.redis_server import RedisServer, running_redis
from tests.examples.conftest import EXAMPLES, Demo, Visitor, running, until

SAMPLE = EXAMPLES / "bom" / "sample"
MOTOR = (SAMPLE / "motor-driver.csv").read_text()
NORTHWIND, HARBOR = ORGANIZATIONS
ENDS = {"completed", "failed"}


class Buyer(Visitor):
    """Somebody's browser, signed in to an organisation."""

    def __init__(self, http: httpx2.Client, organization: str = NORTHWIND) -> None:
        super().__init__(http)
        self.sign_in(organization)

    def sign_in(self, organization: str) -> None:
        """Into this one from now on."""
        assert self.http.post("/sign-in", data={"organization": organization}).status_code == 303

    def upload(self, data: str = MOTOR, *, name: str = "motor-driver.csv", key: str = "") -> str:
        """A bill of materials; its id."""
        query = {"name": name, "key": key or secrets.token_hex(8)}
        answer = self.http.post("/boms", params=query, content=data)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["bom"]["id"])

    def enrich(self, bom: str, *, pace: float = 0.0, prices: str = "current") -> int:
        """Begins a run; its attempt."""
        answer = self.http.post(f"/boms/{bom}/enrich", json={"pace": pace, "prices": prices})
        assert answer.status_code == 202, answer.text
        return int(answer.json()["attempt"])

    def run(self, bom: str, **how: Any) -> dict[str, Any]:
        """A run, to its end; the job then."""
        attempt = self.enrich(bom, **how)
        return self.when(bom, lambda job: job["attempt"] == attempt and job["state"] in ENDS)

    def file(self, bom: str) -> list[dict[str, str]]:
        """The enriched file."""
        answer = self.http.get(f"/boms/{bom}/enriched.csv")
        assert answer.status_code == 200, answer.text
        return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline="")))


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis for the worker to publish on."""
    with running_redis(tmp_path_factory.mktemp("bom-redis")) as server:
        yield server


@pytest.fixture(scope="module", params=["sdk", "redis"])
def partsheet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """One running example, whose worker reports to the hub, or publishes and knows of no hub."""
    folder = tmp_path_factory.mktemp("bom") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("BOM_REDIS_URL", raising=False)
        if request.param == "redis":
            patch.setenv("BOM_REDIS_URL", request.getfixturevalue("redis").url)
        with running(folder, name="bom") as demo:
            if request.param == "redis":
                listening(request.getfixturevalue("redis"))
            yield demo
    log = (folder.parent / "data.log").read_text()
    assert "Traceback" not in log, log
    assert "canary" not in log, log


def listening(redis: RedisServer) -> None:
    """Waits until the bridge is subscribed."""
    until(lambda: redis.do("PUBSUB", "NUMPAT") == 1, what="the bridge subscribes")


@pytest.fixture
def buyer(partsheet: Demo) -> Buyer:
    """Somebody of Northwind."""
    return Buyer(partsheet.client())


def to_workers(demo: Demo, number: signal.Signals) -> None:
    """Sends a signal to both."""
    workers = until(lambda: demo.children("worker"), what="workers")
    for pid in workers:
        os.kill(pid, number)


@contextmanager
def standing_still(demo: Demo) -> Iterator[None]:
    """The workers do nothing for as long as the block lasts."""
    to_workers(demo, signal.SIGSTOP)
    try:
        yield
    finally:
        to_workers(demo, signal.SIGCONT)


def publish(redis: RedisServer, channel: str, event: str, **data: Any) -> None:
    """As a person does it who has nothing but ``redis-cli``."""
    message = json.dumps({"event": event, "data": data})
    command = ["redis-cli", "-p", str(redis.port), "PUBLISH", channel, message]
    heard = subprocess.run(command, capture_output=True, text=True, check=True)
    assert heard.stdout.strip() == "1"


# --- a run -----------------------------------------------------------------------------------------------------------


def test_the_whole_way(buyer: Buyer) -> None:
    """Upload, run, counters, summary, rows and file: all of them of the same 62 parts."""
    bom = buyer.upload((SAMPLE / "sensor-board.csv").read_text(), name="sensor_board.CSV")
    job = buyer.run(bom)
    assert (job["state"], job["kind"], job["title"], job["attempt"]) == ("completed", "enrichment", "sensor board", 1)
    assert (job["current"], job["total"], job["percent"]) == (62, 62, 100)
    assert job["counters"] == {"enriched": 55, "error": 7}
    assert job["item"] == {"name": "SW-TS06", "status": "enriched", "message": "48,000 in stock"}
    assert job["result"] == {"parts": 62, "enriched": 55, "errors": 7, "warnings": 10, "cost_eur": "71.19"}
    assert job["output_url"] == f"/bom/boms/{bom}/enriched.csv"
    rows = buyer.http.get(f"/boms/{bom}/rows", params={"attempt": 1, "from": 60}).json()["rows"]
    assert [row["line"] for row in rows] == [61, 62]
    file = buyer.file(bom)
    assert len(file) == 62
    misspelt = next(row for row in file if row["Status"] == "error")
    assert (misspelt["MPN"], misspelt["Message"]) == ("CV6O74", "Not in the catalogue; did you mean CV6074?")
    assert buyer.http.get(f"/boms/{bom}").json()["bom"]["attempt"] == 1


def test_changing_one_line_changes_its_row_alone(buyer: Buyer) -> None:
    """More of one part: its price, and nothing else in the file. The same input gives the same file."""
    files = []
    for text in (MOTOR, MOTOR, MOTOR.replace("U2, U3;KD8870;2", "U2, U3;KD8870;100")):
        bom = buyer.upload(text)
        assert buyer.run(bom)["state"] == "completed"
        files.append(buyer.file(bom))
    assert files[0] == files[1]
    before, after = (
        [row for row in file if row not in other] for file, other in ((files[0], files[2]), (files[2], files[0]))
    )
    assert [(row["MPN"], row["Unit price EUR"]) for row in before] == [("KD8870", "1.52")]
    assert [(row["MPN"], row["Unit price EUR"]) for row in after] == [("KD8870", "1.00")]


def test_4_8_it_runs_again_under_its_id(partsheet: Demo, buyer: Buyer) -> None:
    """A new attempt each time, from the beginning; asked for while one is under way, it is that one."""
    bom = buyer.upload()
    assert buyer.run(bom)["attempt"] == 1
    with standing_still(partsheet):
        assert buyer.enrich(bom) == 2
        began = buyer.job(bom)
        assert (began["state"], began["attempt"], began["current"]) == ("queued", 2, 0)
        assert (began["result"], began["output_url"], began["error"]) == (None, None, None)
        assert buyer.enrich(bom) == 2
    ended = buyer.when(bom, lambda job: job["state"] in ENDS)
    assert (ended["state"], ended["attempt"], ended["current"]) == ("completed", 2, 12)


def test_a_run_that_fails_and_the_next_that_does_not(buyer: Buyer) -> None:
    """The mistake in the price list ends it in the middle, with code and line; with other prices it completes."""
    bom = buyer.upload()
    failed = buyer.run(bom, prices="next")
    assert failed["state"] == "failed"
    assert failed["error"]["code"] == "CATALOGUE_FAULT"
    assert failed["error"]["message"].startswith("next-prices.csv, line 9: the price of SS34")
    assert failed["counters"] == {"enriched": 6, "error": 0}
    assert buyer.http.get(f"/boms/{bom}/enriched.csv").status_code == 404
    assert buyer.run(bom)["state"] == "completed"


def test_4_5_a_killed_workers_run_is_taken_up(partsheet: Demo, buyer: Buyer) -> None:
    """Where it stood, not from its beginning: every part once, in order."""
    bom = buyer.upload("ref,mpn,qty\n" + "".join(f"U{number},NE555D,1\n" for number in range(1, 31)))
    buyer.enrich(bom, pace=0.2)
    buyer.when(bom, lambda job: job["current"] >= 3)
    to_workers(partsheet, signal.SIGKILL)
    seen = [buyer.job(bom)["current"]]

    def ended(job: dict[str, Any]) -> bool:
        seen.append(job["current"])
        return job["state"] in ENDS

    job = buyer.when(bom, ended)
    assert (job["state"], job["attempt"], job["counters"]) == ("completed", 1, {"enriched": 30, "error": 0})
    assert seen == sorted(seen)
    assert [row["Line"] for row in buyer.file(bom)] == [str(number) for number in range(1, 31)]


def test_the_stream_in_its_own_words(partsheet: Demo, buyer: Buyer) -> None:
    """``/enrichment/stream/{id}`` tells the run in the older system's words, and ends after it."""
    bom = buyer.upload()
    heard: list[tuple[str, dict[str, Any]]] = []
    to_workers(partsheet, signal.SIGSTOP)
    buyer.enrich(bom, pace=0.2)
    with buyer.http.stream("GET", f"/api/enrichment/stream/{bom}") as stream:
        assert stream.headers["content-type"] == "text/event-stream"
        event = ""
        for line in stream.iter_lines():
            if line.startswith("event: "):
                event = line.removeprefix("event: ")
            elif line.startswith("data: "):
                heard.append((event, json.loads(line.removeprefix("data: "))))
                if event == "connected":
                    to_workers(partsheet, signal.SIGCONT)
    names = [name for name, _ in heard]
    assert names[:2] == ["connected", "enrichment.started"]
    assert names[-2:] == ["enrichment.completed", "stream_end"]
    progress = [data for name, data in heard if name == "progress"]
    assert set(progress[-1]) >= {"bom_id", "total_items", "processed_items", "enriched_items", "error_items"}
    assert progress[-1]["current_item"].keys() == {"mpn", "status", "message"}
    assert {data["current_item"]["status"] for data in progress if "current_item" in data} <= {"processing", "enriched"}
    assert all(data["bom_id"] == bom for _, data in heard)


# --- two organisations -----------------------------------------------------------------------------------------------


def test_two_organisations_know_nothing_of_each_other(partsheet: Demo) -> None:
    """The same person, the same file, the same id in both: each has its own, and whoever is in the one finds nothing of
    the other. A stranger finds neither.
    """
    buyer, colleague = Buyer(partsheet.client()), Buyer(partsheet.client())
    bom = buyer.upload(key="the same key")
    assert buyer.run(bom)["state"] == "completed"
    paths = [f"/boms/{bom}", f"/boms/{bom}/rows", f"/boms/{bom}/enriched.csv", f"/api/jobs/{bom}"]
    paths += [f"/api/enrichment/stream/{bom}", f"/api/jobs/{bom}/stream"]
    for path in paths[:4]:
        assert buyer.http.get(path).status_code == 200

    buyer.sign_in(HARBOR)
    for path in paths:
        for stranger in (buyer, colleague):
            assert stranger.http.get(path).status_code == 404, path
    assert colleague.http.post(f"/boms/{bom}/enrich", json={"pace": 0, "prices": "current"}).status_code == 404
    assert bom not in buyer.http.get("/").text

    assert buyer.upload(MOTOR.replace("KD8870", "XX-0"), key="the same key") == bom
    job = buyer.run(bom)
    assert (job["attempt"], job["counters"]) == (1, {"enriched": 11, "error": 1})
    buyer.sign_in(NORTHWIND)
    assert buyer.job(bom)["counters"] == {"enriched": 12, "error": 0}
    assert {row["Status"] for row in buyer.file(bom)} == {"enriched"}


@pytest.mark.parametrize("change", [("northwind", "harbor"), ("user-", "user-f")])
def test_a_cookie_that_we_did_not_sign_is_nobodys(partsheet: Demo, change: tuple[str, str]) -> None:
    """Nobody moves to another organisation, or becomes somebody else, by changing the cookie."""
    buyer = Buyer(partsheet.client())
    said = buyer.http.cookies["bom_member"]
    answer = partsheet.client({b"cookie": f"bom_member={said.replace(*change)}".encode()}).get("/")
    assert "For whom do you buy parts?" in answer.text
    assert buyer.http.post("/sign-in", data={"organization": "documents"}).status_code == 422


def test_a_page_gets_a_token_for_its_own_organisation(buyer: Buyer) -> None:
    """And none once the browser is signed in to the other one: it stays a page of the one that it is of."""
    token = buyer.http.post("/session", content=NORTHWIND).json()["token"]
    bom = buyer.upload()
    assert buyer.run(bom)["state"] == "completed"
    bearer = httpx2.Client(base_url=buyer.http.base_url, headers={"authorization": f"Bearer {token}"})
    with bearer:
        assert bearer.get(f"/api/jobs/{bom}").status_code == 200
        assert bearer.post("/session", content=NORTHWIND).status_code == 401
    buyer.sign_in(HARBOR)
    assert buyer.http.post("/session", content=NORTHWIND).status_code == 409
    assert buyer.http.post("/session", content=HARBOR).status_code == 200


# --- what cannot be --------------------------------------------------------------------------------------------------


def test_a_bad_file_leaves_nothing(buyer: Buyer) -> None:
    """It is refused with sentences, and there is no bill of materials of it. Its words are in no log."""
    for data, said in [
        ((SAMPLE / "broken.csv").read_bytes(), "Line 3: the quantity “four”"),
        (b"mpn,qty\ncanary,1\0", "not a CSV"),
        (b"mpn,qty\n" + b"canary" * 60_000, "larger than 256 KiB"),
    ]:
        answer = buyer.http.post("/boms", params={"name": "x.csv", "key": "12345678"}, content=data)
        assert answer.status_code == 422
        assert said in answer.json()["problems"][0]
    assert '"boms": []' in buyer.http.get("/").text
    stranger = httpx2.post(f"{buyer.http.base_url}boms", params={"name": "x.csv", "key": "12345678"}, content=MOTOR)
    assert stranger.status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "{}",
        '{"pace": 3, "prices": "current"}',
        '{"pace": true, "prices": "current"}',
        '{"pace": 0, "prices": ["current"]}',
        '{"pace": 0, "prices": "' + "x" * 2000 + '"}',
    ],
)
def test_a_wish_that_makes_no_sense_begins_nothing(buyer: Buyer, body: str) -> None:
    """It is refused with a sentence."""
    bom = buyer.upload()
    answer = buyer.http.post(f"/boms/{bom}/enrich", content=body)
    assert answer.status_code == 422
    assert answer.json()["problems"]
    assert buyer.http.get(f"/api/jobs/{bom}").status_code == 404


def test_another_site_can_do_nothing(buyer: Buyer) -> None:
    """A request with somebody else's Origin is refused, whatever cookies come with it."""
    bom = buyer.upload()
    elsewhere = {"origin": "http://elsewhere.example"}
    for path in ("/boms?name=x&key=12345678", f"/boms/{bom}/enrich", "/sign-in", "/sign-out", "/session"):
        assert buyer.http.post(path, headers=elsewhere, content="{}").status_code == 403, path


# --- the Redis -------------------------------------------------------------------------------------------------------


@pytest.fixture
def bridged(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[RedisServer, Demo]]:
    """An example and a Redis of its own, which a test may harm."""
    with running_redis(tmp_path_factory.mktemp("own-redis")) as redis:
        monkeypatch.setenv("BOM_REDIS_URL", redis.url)
        with running(tmp_path / "data", name="bom") as demo:
            listening(redis)
            yield redis, demo


def test_4_7_anybody_may_publish(bridged: tuple[RedisServer, Demo]) -> None:
    """What ``redis-cli`` publishes about a bill of materials is its owner's job, in the organisation that is named, and
    in no other one.
    """
    redis, demo = bridged
    buyer = Buyer(demo.client())
    bom = buyer.upload(key="the same key")
    user = buyer.http.get("/").text.partition('data-visitor="')[2].partition('"')[0]
    about = {"bom_id": bom, "bom_name": "By hand", "organization_id": NORTHWIND, "user_id": user, "total_items": 12}
    done = {"processed_items": 5, "enriched_items": 4, "error_items": 1}
    item = {"mpn": "NE555", "status": "processing", "message": ""}
    publish(redis, f"enrichment:bom:{bom}", "progress", **about, **done, current_item=item)
    until(lambda: buyer.http.get(f"/api/jobs/{bom}").status_code == 200, what="the bridge has made a job of it")
    job = buyer.when(bom, lambda job: job["current"] == 5)
    assert (job["state"], job["total"], job["counters"]) == ("running", 12, {"enriched": 4, "error": 1})
    publish(redis, f"enrichment:bom:{bom}", "enrichment.completed", **about, result={"parts": 12})
    assert buyer.when(bom, lambda job: job["state"] == "completed")["result"] == {"parts": 12}
    buyer.sign_in(HARBOR)
    assert buyer.http.get(f"/api/jobs/{bom}").status_code == 404


def test_4_7_the_end_is_known_to_a_hub_that_was_away(bridged: tuple[RedisServer, Demo]) -> None:
    """The hub is killed and stays away until the run has ended: it reads the end from the key. The next run is not
    ended by what that key says of this one.
    """
    redis, demo = bridged
    buyer = Buyer(demo.client())
    bom = buyer.upload()
    buyer.enrich(bom, pace=0.2)
    buyer.when(bom, lambda job: job["current"] >= 2)
    os.kill(demo.process.pid, signal.SIGSTOP)  # the supervisor: nobody starts the hub again
    try:
        os.kill(demo.children("hub")[0], signal.SIGKILL)
        state = f"enrichment:bom:{NORTHWIND}:{bom}:state"
        until(lambda: json.loads(redis.do("GET", state))["event"] == "enrichment.completed", what="the worker ends")
    finally:
        os.kill(demo.process.pid, signal.SIGCONT)
    job = buyer.when(bom, lambda job: job["state"] in ENDS)
    assert (job["state"], job["current"], job["counters"]) == ("completed", 12, {"enriched": 12, "error": 0})
    with standing_still(demo):
        assert buyer.enrich(bom) == 2
        os.kill(demo.children("hub")[0], signal.SIGKILL)
        until(lambda: redis.do("PUBSUB", "NUMPAT") == 0, what="the hub is gone")
        listening(redis)
        assert buyer.when(bom, bool)["state"] == "queued"
    assert buyer.when(bom, lambda job: job["state"] in ENDS)["attempt"] == 2


def test_a_redis_that_is_away(bridged: tuple[RedisServer, Demo]) -> None:
    """In the middle of a run the worker waits for it and goes on; nothing begins meanwhile, and that is said."""
    redis, demo = bridged
    buyer = Buyer(demo.client())
    bom, other = buyer.upload(), buyer.upload()
    buyer.enrich(bom, pace=0.2)
    buyer.when(bom, lambda job: job["current"] >= 2)
    redis.kill()
    refused = buyer.http.post(f"/boms/{other}/enrich", json={"pace": 0, "prices": "current"})
    assert refused.status_code == 503
    assert "nothing is lost" in refused.json()["problems"][0]
    redis.start()
    job = buyer.when(bom, lambda job: job["state"] in ENDS)
    assert (job["state"], job["counters"]) == ("completed", {"enriched": 12, "error": 0})
    assert buyer.run(other)["state"] == "completed"
