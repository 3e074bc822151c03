"""The fast path: what only a connection that was handed over promises."""

from __future__ import annotations

import asyncio
import inspect
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import pytest
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from tests.server.process import Client, Server, wait_until

IDLE = 200
BYTES_EACH = 8 * 1024  # a task, a buffer and a request object alone are 20 KB


def _resident(server: Server) -> int:
    status = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))


def test_an_idle_stream_costs_a_few_kilobytes(me: Client) -> None:
    """200 idle streams of one process take less than 8 KB each: their tasks and requests are gone."""
    server = me.server
    with me.stream() as first:
        first.until("live")
    wait_until(lambda: server.streams == 0, what="the first stream is released")
    before = _resident(server)
    streams = [me.stream() for _ in range(IDLE)]
    try:
        for stream in streams:
            stream.until("live")
        assert server.streams == IDLE
        assert (_resident(server) - before) / IDLE < BYTES_EACH
    finally:
        for stream in streams:
            stream.close()
    wait_until(lambda: server.streams == 0, what="all streams are released")


def test_a_request_that_trickles_is_cut_off(server: Server) -> None:
    """Headers that do not come in 10 s, in part or not at all, hold no connection; others are served meanwhile."""
    with (
        socket.create_connection(("127.0.0.1", server.port)) as mute,
        socket.create_connection(("127.0.0.1", server.port)) as slow,
    ):
        began = time.monotonic()
        slow.sendall(b"GET /healthz HT")
        assert server.http.get("/healthz").status_code == 200
        for connection in (mute, slow):
            connection.settimeout(15)
            assert connection.recv(100) == b""
        assert time.monotonic() - began < 12


def test_a_pipelined_request_behind_a_stream_is_not_mixed_into_it(me: Client) -> None:
    """What is sent on a stream's connection after the request is not answered, and does not disturb the stream."""
    with me.stream() as stream:
        stream.until("live")
        stream.socket.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        me.notify(title="still here")
        assert stream.until("notification")[-1].json["notification"]["title"] == "still here"


@pytest.fixture(scope="module")
def producer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Somebody on a server without foreign origins, whose answers nothing stands before: they go out in one write."""
    made = Server(tmp_path_factory.mktemp("alone"))
    made.start()
    yield made.someone("u7", "default", "produce consume")
    made.close()


def _publish(me: Client, title: str, *headers: str) -> bytes:
    body = orjson.dumps({"user": me.user, "title": title})
    lines = (
        "POST /api/notifications HTTP/1.1",
        "host: x",
        f"authorization: Bearer {me.token}",
        f"content-length: {len(body)}",
        *headers,
    )
    return "\r\n".join((*lines, "", "")).encode() + body


def _answer(come: BinaryIO) -> tuple[bytes, dict[bytes, bytes], Any]:
    """The next answer on a connection: its first line, its headers, its JSON."""
    first = come.readline().strip()
    headers = dict(line.strip().split(b": ", 1) for line in iter(come.readline, b"\r\n"))
    return first, headers, orjson.loads(come.read(int(headers[b"content-length"])))


def test_requests_sent_on_without_waiting_are_answered_in_order(producer: Client) -> None:
    """Three publishes in one packet: each is stored and answered whole, in order, and the connection stays open."""
    titles = ["one", "two", "three"]
    with (
        socket.create_connection(("127.0.0.1", producer.server.port), timeout=10) as connection,
        connection.makefile("rb") as come,
    ):
        connection.sendall(b"".join(_publish(producer, title) for title in titles))
        for title in titles:
            first, headers, body = _answer(come)
            assert (first, body["notification"]["title"]) == (b"HTTP/1.1 201 Created", title)
            assert headers.keys() == {b"date", b"content-length", b"content-type", b"cache-control"}
        connection.sendall(_publish(producer, "four"))
        assert _answer(come)[2]["notification"]["title"] == "four"


def test_who_asks_for_the_end_of_the_connection_gets_it(producer: Client) -> None:
    """With ``Connection: close`` the answer says so and is whole, and the connection ends behind it."""
    with (
        socket.create_connection(("127.0.0.1", producer.server.port), timeout=10) as connection,
        connection.makefile("rb") as come,
    ):
        connection.sendall(_publish(producer, "last", "connection: close"))
        first, headers, body = _answer(come)
        assert (first, headers[b"connection"]) == (b"HTTP/1.1 201 Created", b"close")
        assert body["notification"]["title"] == "last"
        assert come.read() == b""


def test_what_is_written_at_once_is_counted_like_any_answer(producer: Client) -> None:
    """The routes that are answered in one write are in the metrics with their class of status."""
    names = [
        f'milepost_http_requests_total{{route="{route}",status="2xx"}}'
        for route in ("/api/jobs", "/api/jobs/{job_id}", "/api/changes")
    ]
    job = producer.post("/jobs", {"title": "Import"})["job"]["id"]
    producer.patch(f"/jobs/{job}", {"by": 1})
    producer.get("/changes")
    before = [producer.server.metric(name) for name in names]
    producer.post("/jobs", {"title": "Import"})
    producer.patch(f"/jobs/{job}", {"by": 1})
    producer.get("/changes")
    assert [producer.server.metric(name) for name in names] == [count + 1 for count in before]


async def test_uvicorn_is_the_one_that_was_looked_at() -> None:
    """All that the hand-over reaches into is there. If not: read it again, then move the range of versions."""

    async def app(scope: object, receive: object, send: object) -> None: ...

    protocol = HttpToolsProtocol(Config(app, lifespan="off"), ServerState(), {}, asyncio.get_running_loop())
    own = {"transport", "flow", "client", "scheme", "pipeline", "scope", "cycle", "parser", "connections", "loop"}
    assert own <= vars(protocol).keys()
    assert callable(protocol._unset_keepalive_if_required)  # noqa: SLF001
    assert {"transport", "flow", "on_response"} <= inspect.signature(RequestResponseCycle).parameters.keys()
    text = inspect.getsource(RequestResponseCycle)
    for used in ("self.disconnected", "self.chunked_encoding", "self.response_complete", "self.transport.write("):
        assert used in text, used
    for used in ("response_started", "keep_alive", "default_headers", "message_event.set()", "on_response()"):
        assert f"self.{used}" in text, f"HandoffProtocol.answer uses {used}"
    made = inspect.getsource(HttpToolsProtocol.connection_made)
    assert made.count("self.") == 10, "HandoffProtocol.connection_made stands in its place"
