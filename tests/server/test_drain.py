"""Stopping: not ready, every stream told when to come back, exit 0 in time, and nothing acknowledged is lost."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable

import httpx2
import pytest

from tests.server.process import Server, wait_until


def test_drain(own_server: Callable[..., Server]) -> None:
    """On SIGTERM each stream ends with ``shutdown`` and a time of its own; not ready; exit 0; resumed without a gap."""
    server = own_server(drain_seconds=10)
    me = server.someone()
    me.job("j")
    streams = [me.stream("/jobs/j/stream") for _ in range(10)] + [me.stream() for _ in range(10)]
    for stream in streams:
        stream.until("live")
    waiting = threading.Thread(
        target=lambda: answers.append(server.http.get("/api/changes", headers=headers, params=poll))
    )
    answers: list[httpx2.Response] = []
    headers = {"authorization": f"Bearer {me.token}"}
    poll = {"after": me.get("/changes")["cursor"], "wait": 25}
    waiting.start()
    # held back at the moment of the signal, and acknowledged
    for current in range(1, 6):
        me.patch("/jobs/j", {"current": current})
    begun = time.monotonic()
    server.signal(signal.SIGTERM)
    ends = []
    for stream in streams:
        with stream:
            ends.append(stream.rest()[-1])
    assert {end.name for end in ends} == {"stream_end"}
    assert {end.json["reason"] for end in ends} == {"shutdown"}
    assert all(end.retry == end.json["retry_ms"] for end in ends)
    assert len({end.retry for end in ends}) > 5
    waiting.join(10)
    assert answers[0].status_code == 200
    assert server.wait(10) == 0
    assert time.monotonic() - begun < 10
    cursor = streams[-1].parser.last_event_id
    server.start()
    assert me.get("/jobs/j")["job"]["current"] == 5
    with me.stream(headers={"last-event-id": cursor}) as stream:
        found = stream.until("live")
    assert "reset" not in [event.name for event in found]
    told = [event.json["job"]["current"] for event in found if event.name == "job"]
    assert told in ([], [5])


def test_not_ready_while_draining(own_server: Callable[..., Server]) -> None:
    """From the signal on ``/readyz`` is 503, and new streams are refused, on connections that are still open."""
    server = own_server(drain_seconds=10)
    me = server.someone()
    opened = [me.stream() for _ in range(20)]
    seen: list[int] = []
    with httpx2.Client(base_url=server.url, timeout=5) as client:
        assert client.get("/readyz").status_code == 200
        server.signal(signal.SIGTERM)
        while not seen or seen[-1] == 200:
            try:
                seen.append(client.get("/readyz").status_code)
            except httpx2.TransportError:
                break
    assert seen[-1] == 503
    for stream in opened:
        stream.close()
    assert server.wait(15) == 0


def test_drain_with_readers_that_stopped(own_server: Callable[..., Server]) -> None:
    """Readers that do not read hold nothing up: exit 0 within the drain time."""
    server = own_server(drain_seconds=3, max_streams_per_user=100)
    me = server.someone()
    stuck = [me.stream(receive_buffer=4096) for _ in range(20)]
    while server.metric("milepost_lagging_subscribers") < len(stuck):
        commands = [{"verb": "notify", "everyone": True, "title": "x", "message": "m" * 4000}] * 10
        me.post("/batch", {"commands": commands})
    with me.stream() as reading:
        reading.until("live")
        begun = time.monotonic()
        server.signal(signal.SIGTERM)
        assert reading.rest()[-1].json["reason"] == "shutdown"
    assert server.wait(20) == 0
    assert time.monotonic() - begun < 3 + 0.5
    for stream in stuck:
        stream.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_exit_with_nothing_to_do(own_server: Callable[..., Server], number: signal.Signals) -> None:
    """Without streams it exits at once, with 0, by either signal."""
    server = own_server()
    begun = time.monotonic()
    server.signal(number)
    assert server.wait(10) == 0
    assert time.monotonic() - begun < 3
    assert "Traceback" not in server.log


def test_a_second_signal(own_server: Callable[..., Server]) -> None:
    """A second signal does not wait for anybody."""
    server = own_server(drain_seconds=60)
    me = server.someone()
    stuck = [me.stream(receive_buffer=4096) for _ in range(3)]
    while server.metric("milepost_lagging_subscribers") < len(stuck):
        me.notify(everyone=True, message="m" * 4000)
    begun = time.monotonic()
    server.signal(signal.SIGTERM)
    wait_until(lambda: "Shutting down" in server.log, what="it has begun")
    server.signal(signal.SIGTERM)
    server.wait(10)
    assert time.monotonic() - begun < 4
    for stream in stuck:
        stream.close()


def test_the_port_is_taken(own_server: Callable[..., Server]) -> None:
    """A second server on the same port says so in one line and exits with 1."""
    first = own_server()
    with pytest.raises(AssertionError, match="cannot listen on"):
        own_server(port=first.port)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"secret": "short"}, "SECRET"),
        ({"secret": "milepost-dev-secret-not-for-production"}, "SECRET"),
        ({"allowed_origins": "*"}, "ALLOWED_ORIGINS"),
        ({"admin_host": "0.0.0.0", "admin_port": "8471"}, "ADMIN_HOST"),  # noqa: S104 - that is what is refused
        ({"engine": "sqlite:////nowhere/at/all.db"}, "cannot"),
    ],
)
def test_refuses_to_start(own_server: Callable[..., Server], settings: dict[str, str], told: str) -> None:
    """An unsafe setting, or a store that cannot be opened, is said in a sentence; it does not start."""
    with pytest.raises(AssertionError, match=told) as failure:
        own_server(**settings)
    assert "Traceback" not in str(failure.value)
