"""Several processes behind one port: what is told to one is heard at all, and no one of them is missed for long."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from milepost.server.siblings import merged
from tests.server.process import Client, Server, wait_until

PROCESSES = 3
STREAMS = 18


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def engine(request: pytest.FixtureRequest, new_store: Callable[[str], str]) -> str:
    """The URL of an empty store."""
    return new_store(request.param)


@pytest.fixture
def start(engine: str, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start a server of three processes, with settings of its own."""
    made: list[Server] = []

    def begin(**settings: Any) -> Server:
        given = {"workers": PROCESSES, "engine": engine, "heartbeat_seconds": 1, "max_streams_per_user": 200}
        server = Server(tmp_path, **{**given, **settings})
        made.append(server)
        server.start()
        wait_until(lambda: len(_serving(server)) == PROCESSES, what="all processes serve")
        return server

    yield begin
    for server in made:
        children = _children(server.pid)
        server.close()
        _wait_for_the_end(children)


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _lives(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def _wait_for_the_end(pids: list[int]) -> None:
    wait_until(lambda: not any(map(_lives, pids)), what=f"{pids} end")


def _numbers(server: Server, name: str) -> dict[str, float]:
    """A metric of each process, by its number."""
    admin = server.someone("root", "operators", "admin")
    text = admin.server.http.get("/metrics", headers={"authorization": f"Bearer {admin.token}"}).text
    samples = re.findall(rf'^{name}{{process="(\d+)"}} (\S+)$', text, re.MULTILINE)
    return {number: float(value) for number, value in samples}


def _serving(server: Server) -> dict[str, float]:
    return _numbers(server, "sse_connections_total")


def _open(me: Client, count: int = STREAMS) -> list[Any]:
    streams = [me.stream() for _ in range(count)]
    for stream in streams:
        stream.until("live")
    return streams


def _tell(me: Client, title: str) -> None:
    """Publish on a connection of its own, so that it may come to any of the processes."""
    headers = {"authorization": f"Bearer {me.token}"}
    note = {"user": me.user, "title": title}
    httpx2.post(f"{me.server.url}/api/notifications", json=note, headers=headers).raise_for_status()


def test_told_to_one_heard_at_all(start: Callable[..., Server]) -> None:
    """Streams are spread over the processes; each gets every document, wherever it was published, in order and once."""
    server = start()
    me = server.someone()
    streams = _open(me)
    spread = _serving(server)
    assert sum(spread.values()) == STREAMS
    assert sum(1 for count in spread.values() if count) >= 2
    for n in range(20):
        _tell(me, f"News {n}")
    for stream in streams:
        titles = [stream.until("notification")[-1].json["notification"]["title"] for _ in range(20)]
        assert titles == [f"News {n}" for n in range(20)]
        stream.close()
    published = _numbers(server, "milepost_publishes_total")
    assert sum(1 for count in published.values() if count) >= 2


def test_a_dead_process_is_replaced(start: Callable[..., Server]) -> None:
    """Kill -9 of one process, then of another: the rest serves on, its place is taken, its readers lack nothing."""
    server = start()
    me = server.someone()
    before = _children(server.pid)
    assert len(before) == PROCESSES
    for victim in before[:2]:
        os.kill(victim, signal.SIGKILL)
        _wait_for_the_end([victim])
        wait_until(lambda: len(_serving_or_none(server)) == PROCESSES, what="another one serves in its place")
    after = _children(server.pid)
    assert len(after) == PROCESSES
    assert not set(before[:2]) & set(after)
    assert before[2] in after
    assert server.log.count("another one in") == 2
    me.notify(title="after")
    for stream in _open(me, 6):
        stream.close()


def _serving_or_none(server: Server) -> dict[str, float]:
    try:
        return _serving(server)
    except httpx2.TransportError:  # the connection that was kept was one to the process that died
        return {}


def test_a_ticket_counts_at_any_process_once(start: Callable[..., Server]) -> None:
    """A ticket of one process opens a stream at whichever is asked, and then nowhere any more."""
    server = start()
    me = server.someone()
    for _ in range(12):
        ticket = me.post("/tickets")["ticket"]
        with server.stream(f"/stream?ticket={ticket}") as stream:
            stream.until("live")
        for _ in range(3):
            with server.stream(f"/stream?ticket={ticket}") as again:
                assert again.status == 401
    narrowed = me.post("/tickets", {"jobs": ["j1"]})["ticket"]
    me.job("j1")
    me.job("j2")
    with server.stream(f"/stream?ticket={narrowed}") as stream:
        told = stream.until("live")
        assert [event.json["job"]["id"] for event in told if event.name == "job"] == ["j1"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all(start: Callable[..., Server], number: signal.Signals) -> None:
    """Told to stop, every process says goodbye to its streams and ends, and the parent with 0."""
    server = start(drain_seconds=5)
    streams = _open(server.someone())
    children = _children(server.pid)
    server.signal(number)
    for stream in streams:
        with stream:
            assert stream.until("stream_end")[-1].json["reason"] == "shutdown"
    assert server.wait(15) == 0
    assert not any(map(_lives, children))


def test_what_was_acknowledged_is_there_after_the_end(start: Callable[..., Server]) -> None:
    """Progress that any process took just before it was told to stop is stored, whichever of them ends first."""
    server = start(drain_seconds=1)
    me = server.someone()
    me.job("j1", total=1000)
    for current in range(1, 41):
        headers = {"authorization": f"Bearer {me.token}"}
        url = f"{server.url}/api/jobs/j1"
        httpx2.patch(url, json={"current": current}, headers=headers).raise_for_status()
    server.signal(signal.SIGTERM)
    assert server.wait(20) == 0
    server.start()
    assert me.get("/jobs/j1")["job"]["current"] == 40


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_the_process_that_writes_dies_while_others_publish(start: Callable[..., Server]) -> None:
    """SQLite: kill -9 of the one that writes, three times: whoever repeats with its key has published exactly once."""
    server = start()
    me = server.someone()
    done = threading.Event()

    def publish(who: int) -> list[str]:
        told: list[str] = []
        while not done.is_set():
            told.append(f"{who}-{len(told)}")
            _insist(me, told[-1])
        return told

    with ThreadPoolExecutor(4) as threads:
        publishers = [threads.submit(publish, who) for who in range(4)]
        try:
            for _ in range(3):
                before = len(me.get("/notifications?limit=100")["notifications"])
                os.kill(_children(server.pid)[0], signal.SIGKILL)
                wait_until(lambda: len(_serving_or_none(server)) == PROCESSES, seconds=30, what="it is replaced")
                _insist(me, f"after-{before}")
        finally:
            done.set()
        told = [title for publisher in publishers for title in publisher.result()]
    kept: list[str] = []
    page: dict[str, Any] = {"more": True, "cursor": None}
    while page["more"]:
        page = me.get("/notifications?limit=100" + (f"&before={page['notifications'][-1]['id']}" if kept else ""))
        kept += [note["title"] for note in page["notifications"]]
    kept = [title for title in kept if not title.startswith("after-")]
    assert len(told) > 4
    assert sorted(kept) == sorted(told)


def _insist(me: Client, title: str) -> None:
    """Publish with an idempotency key, again and again until it is acknowledged."""
    headers = {"authorization": f"Bearer {me.token}", "idempotency-key": title}
    url, note = f"{me.server.url}/api/notifications", {"user": me.user, "title": title}

    def acknowledged() -> bool:
        try:
            answer = httpx2.post(url, json=note, headers=headers)
        except httpx2.TransportError:
            return False
        assert answer.status_code in (201, 503), answer.text
        return answer.status_code == 201

    wait_until(acknowledged, seconds=30, what="the publish is acknowledged")


def test_orphans_end(start: Callable[..., Server]) -> None:
    """The parent is killed: its children say goodbye and end too, so the port is free again."""
    server = start(drain_seconds=1)
    (stream,) = _open(server.someone(), 1)
    children = _children(server.pid)
    server.signal(signal.SIGKILL)
    server.wait(10)
    with stream:
        assert stream.until("stream_end")[-1].json["reason"] == "shutdown"
    _wait_for_the_end(children)
    server.start()


def test_a_port_that_is_taken(start: Callable[..., Server], tmp_path: Path) -> None:
    """Sharing a port is for processes of one server: another server on it is refused, whatever it is."""
    server = start()
    for workers in (1, 2):
        folder = tmp_path / f"other-{workers}"
        folder.mkdir()
        other = Server(folder, workers=workers, engine="postgresql://127.0.0.1:1/none")
        other.port = server.port
        with pytest.raises(AssertionError, match="cannot listen"):
            other.start()


def test_a_store_that_cannot_be_opened(tmp_path: Path) -> None:
    """None of the processes ever served: they are not tried for ever, the server ends and says why."""
    server = Server(tmp_path, workers=2, engine="postgresql://127.0.0.1:1/none")
    with pytest.raises(AssertionError, match="PostgreSQL"):
        server.start()
    assert server.wait(15) == 1


def test_merged_numbers() -> None:
    """Each metric is described once, with the samples of every process."""
    one = b'# HELP a A thing\n# TYPE a gauge\na 1.0\n# HELP b B\n# TYPE b counter\nb_total{x="{ y"} 2.0\n'
    two = b'# HELP a A thing\n# TYPE a gauge\na 3.0\n# HELP b B\n# TYPE b counter\nb_total{x="{ y"} 4.0\n'
    assert merged({1: two, 0: one}).decode().splitlines() == [
        "# HELP a A thing",
        "# TYPE a gauge",
        'a{process="0"} 1.0',
        'a{process="1"} 3.0',
        "# HELP b B",
        "# TYPE b counter",
        'b_total{process="0",x="{ y"} 2.0',
        'b_total{process="1",x="{ y"} 4.0',
    ]
