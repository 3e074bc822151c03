"""How streams end: by the token, by age, by limits, by the client; and that nothing is left of them."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import pytest

from tests.server.process import Client, Server, token, wait_until
from tests.server.sse_client import Stream


@pytest.fixture(scope="module")
def short_lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose streams live two seconds at most."""
    made = Server(tmp_path_factory.mktemp("short"), max_stream_seconds=2, heartbeat_seconds=1)
    made.start()
    yield made
    made.close()


def test_token_expiry(me: Client) -> None:
    """A stream ends at most 1 s after its token, told as ``token_expired``, and tells nothing later."""
    brief = me.other("brief", ttl=2)
    issued = time.time()
    with brief.stream() as stream:
        found = stream.rest(6)
    late = time.time() - (int(issued) + 2)
    assert found[-1].name == "stream_end"
    assert found[-1].json["reason"] == "token_expired"
    assert 0 <= late <= 1.0
    with brief.stream() as stream:
        assert stream.status == 401
        assert stream.body()["code"] == "token_expired"


def test_ticket_streams_end_with_their_token(me: Client) -> None:
    """A stream by ticket ends with the token that the ticket was made with."""
    ticket = me.other("brief", ttl=2).post("/tickets")["ticket"]
    begun = time.monotonic()
    with me.server.stream(f"/stream?ticket={ticket}") as stream:
        assert stream.rest(6)[-1].json["reason"] == "token_expired"
    assert time.monotonic() - begun < 3.5


def test_age(short_lived: Server) -> None:
    """A stream ends at 80 to 100 % of its age with ``timeout``, and its cursor resumes; not all at the same time."""
    me = short_lived.someone()
    ended = []
    streams = [me.stream() for _ in range(8)]
    begun = time.monotonic()
    for stream in streams:
        with stream:
            found = stream.rest(5)
            ended.append(time.monotonic() - begun)
            assert found[-1].json["reason"] == "timeout"
            assert found[-1].retry is not None
    assert min(ended) >= 1.5
    assert max(ended) <= 2.5 + 0.5
    cursor = stream.parser.last_event_id
    me.job("later")
    with me.stream(f"/stream?after={cursor}") as stream:
        assert [e.json["job"]["id"] for e in stream.until("live") if e.name == "job"] == ["later"]


def test_age_of_a_job_stream(short_lived: Server) -> None:
    """A job's stream that ends by age is resumed until the job's own end."""
    me = short_lived.someone()
    me.job("long", total=3)
    seen, cursor = [], ""
    for current in (1, 2):
        me.patch("/jobs/long", {"current": current})
        with me.stream("/jobs/long/stream", headers={"last-event-id": cursor}) as stream:
            found = stream.rest(5)
            assert found[-1].json["reason"] == "timeout"
            seen += [e.json["job"]["current"] for e in found if e.name == "job"]
            cursor = stream.parser.last_event_id
    me.post("/jobs/long/complete")
    with me.stream("/jobs/long/stream", headers={"last-event-id": cursor}) as stream:
        assert stream.rest()[-1].json["reason"] == "completed"
    assert seen == [1, 2]


@pytest.mark.parametrize("how", ["FIN", "RST"])
def test_release(me: Client, how: str) -> None:
    """A client that goes is released within 100 ms."""
    times = []
    for _ in range(5):
        wait_until(lambda: me.server.streams == 0, what="all others are gone")
        streams = [me.stream() for _ in range(5)]
        for stream in streams:
            stream.until("live")
        assert me.server.streams == 5
        begun = time.monotonic()
        for stream in streams:
            stream.close() if how == "FIN" else stream.reset()
        wait_until(lambda: me.server.streams == 0, seconds=5, what="released")
        times.append(time.monotonic() - begun)
    # the machine may be busy with other things once; the server itself never waits
    assert sorted(times)[1] <= 0.1, times


def test_release_before_the_first_byte(me: Client) -> None:
    """Clients that go right after asking leave nothing behind either."""
    for _ in range(30):
        with socket.create_connection(("127.0.0.1", me.server.port)) as connection:
            head = f"GET /api/stream HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {me.token}\r\n\r\n"
            connection.sendall(head.encode())
    with me.stream() as stream:
        stream.until("live")
    wait_until(lambda: me.server.streams == 0, what="released")


def test_counts_and_durations(me: Client) -> None:
    """Each stream is counted once in the histogram, each event once under its canonical name."""
    wait_until(lambda: me.server.streams == 0, what="all others are gone")
    names = ("connected", "live", "job", "notification")
    before = {name: me.server.metric(f'sse_messages_sent_total{{event_type="{name}"}}') for name in names}
    closed = me.server.metric("sse_connection_duration_seconds_count")
    with me.stream() as wide, me.stream("/stream?dialect=document") as other:
        wide.until("live")
        wait_until(lambda: me.server.streams == 2, what="both are open")
        me.job("j")
        me.notify()
        wide.until("notification")
        while b"progress" not in other.transcript:
            other.next()
    wait_until(lambda: me.server.metric("sse_connection_duration_seconds_count") == closed + 2, what="both counted")
    after = {name: me.server.metric(f'sse_messages_sent_total{{event_type="{name}"}}') for name in names}
    assert {name: after[name] - before[name] for name in names} == {
        "connected": 2,
        "live": 1,
        "job": 2,
        "notification": 1,
    }


def test_reconnections_are_counted(me: Client) -> None:
    """A stream opened with a cursor counts as a reconnection, by the client's reason if that is a known one."""

    def counts() -> dict[str, float]:
        reasons = ("network", "silent", "other")
        return {r: me.server.metric(f'sse_reconnection_attempts_total{{reason="{r}"}}') for r in reasons}

    before, cursor = counts(), me.get("/changes")["cursor"]
    for path in (
        f"/stream?after={cursor}&reason=network",
        f"/stream?after={cursor}&reason=<script>",
        "/stream?reason=silent",
    ):
        with me.stream(path) as stream:
            stream.until("live")
    assert {name: value - before[name] for name, value in counts().items()} == {"network": 1, "silent": 0, "other": 1}


def test_streaming_disabled_by_share(own_server: Callable[..., Server]) -> None:
    """With STREAM_ROLLOUT_PERCENT 0 nobody streams but those on the list; everybody polls."""
    server = own_server(stream_rollout_percent=0, stream_users="vip")
    for user, status in (("vip", 200), ("u1", 403)):
        with server.someone(user).stream() as stream:
            assert stream.status == status
        assert server.someone(user).get("/changes?wait=0")["reset"] is None
    with Stream(server.port, "/api/stream", token("u1"), headers={"accept": "text/event-stream"}) as stream:
        assert stream.status == 204
