"""Requirement 1.11: streams, polls and headers through the real proxies, with the files of ``deploy/``."""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import sync_playwright

from tests.browser.chromium import CHROMIUM, FLAGS
from tests.deploy.curl import VERSIONS, Curl, CurlStream
from tests.deploy.proxies import NAMES, Proxy
from tests.server.process import Client, Server, wait_until

IDLE = 3  # seconds that the proxies are told to wait in the tests of silence
_numbers = itertools.count(1)


class Way(NamedTuple):
    """A proxy, and how a client speaks to it."""

    proxy: Proxy
    version: str

    def curl(self, who: Client, *more: str) -> Curl:
        """A client on this way, with the token of ``who``."""
        return Curl(self.proxy, self.version, who.token, *more)


@pytest.fixture(name="server", scope="module")
def fixture_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that beats every second."""
    made = Server(tmp_path_factory.mktemp("server"), heartbeat_seconds=1)
    made.start()
    yield made
    made.close()


@pytest.fixture(name="proxies", scope="module")
def fixture_proxies(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Proxy]]:
    """All of them before it."""
    made: dict[str, Proxy] = {}
    try:
        for name in NAMES:
            made[name] = Proxy(name, tmp_path_factory.mktemp(name), server.port)
        yield made
    finally:
        for proxy in made.values():
            proxy.close()


@pytest.fixture(name="way", params=[f"{name}-{version}" for name in NAMES for version in VERSIONS])
def fixture_way(request: pytest.FixtureRequest, proxies: dict[str, Proxy]) -> Way:
    """Each proxy by each version of HTTP."""
    name, _, version = request.param.partition("-")
    return Way(proxies[name], version)


@pytest.fixture(name="me")
def fixture_me(server: Server) -> Client:
    """A user of a tenant that nobody else is in, who speaks to the server itself."""
    return server.someone("me", f"t{next(_numbers)}")


def title(stream: CurlStream) -> str:
    """That of the next notification."""
    return str(stream.until("notification").json["notification"]["title"])


def test_1_11_a_stream_is_not_buffered(way: Way, me: Client) -> None:
    """Each event is there before the next one is published; the first within a second; the headers are the server's."""
    opened = []
    for _ in range(3):
        began = time.monotonic()
        with way.curl(me).stream("/stream") as stream:
            assert stream.until("connected").json["heartbeat_seconds"] == 1
            opened.append(time.monotonic() - began)
            stream.until("live")
            for number in range(3):
                me.notify(title=f"News {number}")
                assert title(stream) == f"News {number}"
            stream.until("heartbeat")
            answer = stream.answer
    assert min(opened) < 1.0
    assert answer.protocol == f"HTTP/{way.version}"
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["cache-control"] == "no-cache"
    assert "content-encoding" not in answer.headers


def test_1_11_a_job_stream_ends_with_its_job(way: Way, me: Client) -> None:
    """A job's stream is whole to its last event, and its end reaches the client."""
    me.job("one", total=2)
    with way.curl(me).stream("/jobs/one/stream") as stream:
        assert stream.until("job").json["job"]["state"] == "queued"
        me.post("/jobs/one/complete", {"result": {"text": "é漢🙂" * 5_000}})
        while (job := stream.until("job").json["job"])["state"] != "completed":
            pass
        assert job["result"] == {"text": "é漢🙂" * 5_000}
        assert stream.until("stream_end").json["reason"] == "completed"
        stream.count("", seconds=20)
        assert stream.ended


def test_1_11_a_stream_resumes(way: Way, me: Client) -> None:
    """With ``Last-Event-ID``, and with ``?after=``: what was missed comes, and nothing of before."""
    curl = way.curl(me)
    with curl.stream("/stream") as stream:
        stream.until("live")
        me.notify(title="before")
        assert title(stream) == "before"
        cursor = stream.parser.last_event_id
    me.notify(title="missed")
    with curl.stream("/stream", "--header", f"last-event-id: {cursor}") as stream:
        assert title(stream) == "missed"
    with curl.stream(f"/stream?after={cursor}") as stream:
        assert stream.until("connected").json["cursor"] == cursor
        assert title(stream) == "missed"


def test_1_11_a_long_poll_waits_and_is_answered(way: Way, me: Client) -> None:
    """A poll is held while there is nothing, and answered by what comes, long before its time is up."""
    curl = way.curl(me)
    cursor = curl.call("/changes").json["cursor"]
    began = time.monotonic()
    with subprocess.Popen(curl.command(f"/changes?after={cursor}&wait=30"), stdout=subprocess.PIPE) as polling:
        waits = 'milepost_http_requests_total{route="/api/changes",status="2xx"}'
        answered = me.server.metric(waits)
        me.notify(title="came")
        assert polling.stdout
        body = polling.stdout.read().partition(b"\r\n\r\n")[2]
    assert time.monotonic() - began < 25
    assert me.server.metric(waits) == answered + 1
    (change,) = json.loads(body)["changes"]
    assert change["notification"]["title"] == "came"


def test_1_11_large_headers_pass(way: Way, server: Server) -> None:
    """A token of 6 KB in a header, beside the longest ``?jobs=`` that the server takes: fifty ids of 128 characters."""
    jobs = ["j" * 120 + f"{number:08}" for number in range(50)]
    me = server.someone("me", f"t{next(_numbers)}", jobs=[f"shared-{number:03}" * 12 for number in range(45)])
    assert 6_000 < len(me.token) < 8_000
    with way.curl(me).stream(f"/stream?jobs={','.join(jobs)}") as stream:
        assert stream.answer.status == 200
        stream.until("connected")


def test_1_11_the_server_knows_the_client(way: Way, server: Server) -> None:
    """Its address reaches the server, which counts connects by it; what the client says of itself does not."""
    address = f"127.0.0.{next(_numbers) + 10}"
    curl = Curl(way.proxy, way.version, "nonsense", "--interface", address)
    told = len(server.log)
    assert curl.call("/stream", None, "--header", "x-forwarded-for: 203.0.113.9").status == 401
    line = wait_until(lambda: next((one for one in server.log[told:].splitlines() if "/stream" in one), None))
    assert json.loads(line)["address"] == address


def test_only_proxies_that_are_named_are_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``FORWARDED_ALLOW_IPS`` a proxy at another address tells nothing: who connects is the proxy itself."""
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "127.0.0.9")
    with ExitStack() as stack:
        for folder in ("server", "nginx"):
            (tmp_path / folder).mkdir()
        server = Server(tmp_path / "server")
        stack.callback(server.close)
        server.start()
        proxy = Proxy("nginx", tmp_path / "nginx", server.port)
        stack.callback(proxy.close)
        assert Curl(proxy, "2", "nonsense", "--interface", "127.0.0.10").call("/stream").status == 401
        line = wait_until(lambda: next((one for one in server.log.splitlines() if "/stream" in one), None))
        assert json.loads(line)["address"] == "127.0.0.1"


def test_1_11_a_cookie_speaks_for_its_own_origin(way: Way, me: Client) -> None:
    """The server sees the host and port that the browser sees, so a page's own requests count and others' do not."""
    me.notify(title="unread")
    page = Curl(way.proxy, way.version, "", "--cookie", f"milepost_token={me.token}")
    own = page.call("/notifications/read-all", {}, "--header", f"origin: {way.proxy.url}")
    assert own.json["unread"] == 0
    other = page.call("/notifications/read-all", {}, "--header", "origin: https://elsewhere.example")
    assert other.status == 403


def nobody_streams(server: Server) -> None:
    """Wait until every stream was released."""
    wait_until(lambda: server.streams == 0, seconds=20, what="the streams are released")


def test_1_11_who_leaves_is_released(way: Way, me: Client) -> None:
    """A client that goes away takes its stream with it, through the proxy."""
    nobody_streams(me.server)
    curl = way.curl(me)
    with curl.stream("/stream"), curl.stream("/stream"), curl.stream("/stream"):
        assert me.server.streams == 3
    nobody_streams(me.server)


@pytest.mark.parametrize("name", NAMES)
def test_1_11_a_browser_streams_through_it(proxies: dict[str, Proxy], me: Client, name: str) -> None:
    """Chromium by HTTP/2, with the product's own client: it streams, is told, and lets go when the page says so."""
    nobody_streams(me.server)
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS) as browser:
        context = browser.new_context(ignore_https_errors=True)
        context.add_cookies([{"name": "milepost_token", "value": me.token, "url": proxies[name].url}])
        page = context.new_page()
        page.goto(f"{proxies[name].url}/healthz")
        page.add_script_tag(url="/milepost.js")
        page.evaluate("() => { window.client = Milepost.createClient({ userKey: 'me' }); client.start(); }")
        page.wait_for_function("() => client.connection.getSnapshot().status === 'connected'")
        assert page.evaluate("client.connection.getSnapshot().transport") == "sse"
        me.notify(title="Through the proxy")
        page.wait_for_function("() => client.notifications.getSnapshot().items[0]?.title === 'Through the proxy'")
        hops = page.evaluate("performance.getEntriesByType('resource').map((entry) => entry.nextHopProtocol)")
        assert set(hops) == {"h2"}
        assert me.server.streams == 1
        page.evaluate("client.close()")
        nobody_streams(me.server)


class Impatient(NamedTuple):
    """A server, and the proxies before it, whose patience is that of a test."""

    server: Server
    proxies: list[Proxy]


@pytest.fixture(name="impatient")
def fixture_impatient(tmp_path: Path) -> Iterator[Callable[[float], Impatient]]:
    """Starts a server that beats so often, and all proxies before it with a limit of ``IDLE`` seconds."""
    with ExitStack() as stack:

        def start(beat: float) -> Impatient:
            folders = {name: tmp_path / f"{name}-{beat:g}" for name in ("server", *NAMES)}
            for folder in folders.values():
                folder.mkdir()
            server = Server(folders["server"], heartbeat_seconds=beat)
            stack.callback(server.close)
            server.start()
            proxies = [Proxy(name, folders[name], server.port, timeout=IDLE) for name in NAMES]
            for proxy in proxies:
                stack.callback(proxy.close)
            return Impatient(server, proxies)

        yield start


def test_1_11_heartbeats_keep_streams_open(impatient: Callable[[float], Impatient]) -> None:
    """Nothing is published for four times as long as the proxies wait, and every stream is still there by its
    heartbeats. Without them, nginx and HAProxy cut theirs: so that limit is what was survived.
    """
    with ExitStack() as stack:

        def open_all(where: Impatient) -> list[tuple[str, CurlStream]]:
            token = where.server.someone().token
            ways = [(proxy, version) for proxy in where.proxies for version in VERSIONS]
            return [(way[0].name, stack.enter_context(Curl(*way, token).stream("/stream"))) for way in ways]

        beating, silent = impatient(1), impatient(600)
        kept, lost = open_all(beating), open_all(silent)
        kept[0][1].count("", seconds=4 * IDLE)
        beating.server.someone("someone").notify("u7", title="still there")
        for _, stream in kept:
            assert title(stream) == "still there"
        for name, stream in lost:
            limited = name != "caddy"
            stream.count("", seconds=20 if limited else 0)
            assert stream.ended == limited, name
