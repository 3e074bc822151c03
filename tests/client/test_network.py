"""What a bad network, a restarted server and a lost answer do to a worker: nothing, as long as there is a way."""

from __future__ import annotations

import logging
import secrets
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from milepost import AsyncMilepost, Invalid, Milepost, Unavailable
from milepost.client.sync import Reporter
from milepost.errors import Unauthenticated
from tests.client.hub import Hub, wait_until
from tests.client.relay import Mode, Relay


@pytest.fixture
def job_id() -> str:
    """An id that no other test uses."""
    return f"job-{secrets.token_hex(4)}"


@pytest.fixture
def user() -> str:
    """A user whom no other test tells anything."""
    return f"u-{secrets.token_hex(4)}"


def worker(hub: Hub) -> str:
    """The token of a worker."""
    return hub.token("worker", "consume produce:any")


def ticked(job: Reporter) -> bool:
    """One step more."""
    job.advance()
    return True


@pytest.mark.parametrize("mode", ["refuse", "mute", "lose answers", "503", "hello"])
def test_advance_outlives_the_network(hub: Hub, relay: Relay, job_id: str, mode: Mode) -> None:
    """While nothing gets through ``advance`` neither raises nor waits; the newest state arrives once something does."""
    with Milepost(relay.url, token=worker(hub)) as mp, mp.job(job_id, title="Set", total=1000) as job:
        wait_until(lambda: (hub.job(job_id) or {})["state"] == "running")
        relay.turn(mode)
        job.advance(message="first while away", counters={"a": 1})
        seen = relay.seen
        wait_until(lambda: mode == "refuse" or relay.seen > seen)
        began = time.monotonic()
        for _ in range(500):
            job.advance(counters={"b": 2})
        assert time.monotonic() - began < 0.5
        relay.turn("pass")
        found = wait_until(lambda: (found := hub.job(job_id) or {})["current"] == 501 and found)
        assert found["counters"] == {"a": 1, "b": 2}
        assert found["message"] == "first while away"


def test_a_lost_answer_counts_once(hub: Hub, relay: Relay, job_id: str, user: str) -> None:
    """A start, a notification and an end whose answers are lost are repeated, and happen once."""
    relay.turn("lose answers")

    def heal_after(requests: int) -> Callable[[], None]:
        seen = relay.seen

        def heal() -> None:
            wait_until(lambda: relay.seen >= seen + requests)
            relay.turn("pass")

        return heal

    with Milepost(relay.url, token=worker(hub), deadline=10) as mp:
        with _meanwhile(heal_after(3)):
            [told] = mp.notify(user, title="Once")
        assert [note["id"] for note in hub.notes(user)] == [told.id]

        relay.turn("lose answers")
        with _meanwhile(heal_after(3)):
            job = mp.job(job_id, title="Set", owner=user, notify=True).__enter__()
        assert job.attempt == 1
        wait_until(lambda: (hub.job(job_id) or {})["state"] == "running")

        relay.turn("lose answers")
        with _meanwhile(heal_after(3)):
            job.complete(result="once")
        found = hub.job(job_id)
        assert found is not None
        assert (found["state"], found["result"], found["attempt"]) == ("completed", "once", 1)
        assert len(hub.notes(user)) == 2


class _meanwhile:  # noqa: N801 - read as a word after `with`
    """Run something beside the block."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._thread = threading.Thread(target=work)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join()


@pytest.mark.parametrize("mode", ["refuse", "mute", "503"])
def test_after_the_deadline_it_raises(hub: Hub, relay: Relay, job_id: str, mode: Mode) -> None:
    """An end, a start and a notification raise when nothing acknowledged them in time, and not long after."""
    with Milepost(relay.url, token=worker(hub), deadline=1) as mp:
        job = mp.job(job_id, title="Set").__enter__()
        relay.turn(mode)
        for act in (job.complete, lambda: mp.notify("u7", title="x"), lambda: mp.job(title="x").__enter__()):
            began = time.monotonic()
            with pytest.raises(Unavailable):
                act()
            assert time.monotonic() - began < 4
        relay.turn("pass")


def test_the_first_error_is_the_one_to_see(
    hub: Hub, relay: Relay, job_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Where a failure cannot be reported, the exception that ended the work still goes on its way; the log says it."""

    def work(mp: Milepost) -> None:
        with mp.job(job_id, title="Set"):
            relay.turn("refuse")
            raise ValueError("the work's own")

    with Milepost(relay.url, token=worker(hub), deadline=0.5) as mp, pytest.raises(ValueError, match="the work's own"):
        work(mp)
    assert "its failure could not be reported" in caplog.text


def test_a_restarted_server_is_found_again(own_hub: Hub, job_id: str) -> None:
    """``kill -9`` of the server in the middle of a job: the worker notices nothing, and the job ends as it should."""
    with Milepost(own_hub.url, token=worker(own_hub)) as mp, mp.job(job_id, title="Set", total=100) as job:
        job.advance(current=10)
        wait_until(lambda: (own_hub.job(job_id) or {})["current"] == 10)
        own_hub.stop(signal.SIGKILL)
        job.advance(current=20)
        own_hub.start()
        wait_until(lambda: (own_hub.job(job_id) or {})["current"] == 20)
        job.advance(current=30)
    found = own_hub.job(job_id)
    assert found is not None
    assert (found["state"], found["attempt"], found["current"]) == ("completed", 1, 100)


def test_the_beat_keeps_the_lease(tmp_path: Path, job_id: str) -> None:
    """A worker that computes for long without a word is alive: its job never stalls."""
    hub = Hub(tmp_path, "--lease-seconds", "1")
    hub.start()
    try:
        with Milepost(hub.url, token=worker(hub), lease=1) as mp, mp.job(job_id, title="Set") as job:
            until = time.monotonic() + 3
            while time.monotonic() < until:
                found = hub.job(job_id)
                assert found is not None
                assert found["state"] in {"queued", "running"}
                time.sleep(0.05)
            assert (hub.job(job_id) or {})["state"] == "running"
            job.complete()
    finally:
        hub.close()


def test_a_token_is_asked_for_again(hub: Hub, job_id: str) -> None:
    """Where the token has expired its function is asked for another one, in the middle of a job, once."""
    given: list[str] = []

    def give() -> str:
        given.append(hub.token("worker", "produce:any", ttl=1 if not given else 3600))
        return given[-1]

    with Milepost(hub.url, token=give) as mp, mp.job(job_id, title="Set") as job:
        # an answered request after the first token's last second
        wait_until(lambda: ticked(job) and len(given) > 1)
        wait_until(lambda: (hub.job(job_id) or {})["current"] > 1)
    assert len(given) == 2
    assert (hub.job(job_id) or {})["state"] == "completed"


async def test_an_async_token(hub: Hub) -> None:
    """The function that gives a token may be async."""

    async def give() -> str:
        return worker(hub)

    async with AsyncMilepost(hub.url, token=give) as live:
        [note] = await live.notify("u7", title="x")
        assert note.user == "u7"


def test_a_refused_token_is_told_once(hub: Hub, job_id: str, caplog: pytest.LogCaptureFixture) -> None:
    """A token that does not count raises at once at a start; in a job's middle its beats go on and the log says it."""
    with Milepost(hub.url, token="nonsense") as mp, pytest.raises(Unauthenticated), mp.job(title="Set"):
        pass
    with Milepost(hub.url, token="two\nlines") as mp:
        with pytest.raises(Unauthenticated) as caught, mp.job(title="Set"):
            pass
        assert caught.value.code == "token_malformed"
    short = hub.token("worker", "produce:any", ttl=1)
    mp = Milepost(hub.url, token=short, deadline=1)
    with mp, pytest.raises(Unauthenticated) as caught, mp.job(job_id, title="Set") as job:
        wait_until(lambda: ticked(job) and "are held back" in caplog.text)
    assert caught.value.code == "token_expired"
    assert caplog.text.count("are held back") == 1


@pytest.mark.parametrize("url", ["", "localhost:8470", "http://", "http://u:p@host", "http://host/?x=1"])
def test_a_url_that_cannot_be_one(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that can never work is refused before any work begins, by name."""
    monkeypatch.setenv("MILEPOST_URL", url or "none")
    with pytest.raises(Invalid) as caught:
        Milepost(url or None)
    assert caught.value.details["field"] == "url"


def test_an_engine_that_is_not_known() -> None:
    """A scheme that no engine has is refused at the first use, naming those there are."""
    with Milepost("mysql://host/x") as mp, pytest.raises(Invalid, match="sqlite"):
        mp.notify("u7", title="x")


def test_the_environment_names_the_server(hub: Hub, monkeypatch: pytest.MonkeyPatch, user: str) -> None:
    """MILEPOST_URL and MILEPOST_TOKEN are enough; ``/api`` at the end of an address is not doubled."""
    monkeypatch.setenv("MILEPOST_URL", f"{hub.url}/api/")
    monkeypatch.setenv("MILEPOST_TOKEN", worker(hub))
    with Milepost() as mp:
        mp.notify(user, title="x")
    assert len(hub.notes(user)) == 1


def test_no_token_in_any_log(hub: Hub, relay: Relay, job_id: str, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a log line nor an error's text holds a token, whatever went wrong on the way."""
    caplog.set_level(logging.DEBUG, "milepost")
    token = worker(hub)
    with Milepost(relay.url, token=token, deadline=0.5) as mp, mp.job(job_id, title="Set") as job:
        modes: list[Mode] = ["refuse", "lose answers", "503", "hello"]
        for mode in modes:
            relay.turn(mode)
            job.advance()
            with pytest.raises(Unavailable) as caught:
                mp.notify("u7", title="x")
            assert token not in str(caught.value)
        relay.turn("pass")
    assert token not in caplog.text
    assert "held back" in caplog.text
