"""The door: a request in one piece and one in two are answered the same, though by different ways."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.server.door import plain
from tests.server.process import Server, token, wait_until

REQUEST = (
    b"GET /api/stream?dialect=milepost&after=a.1.b HTTP/1.1\r\n"
    b"Host: example.com:8470\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux)\r\n"
    b"AUTHORIZATION: Bearer a.b-c_d.e\r\n"
    b"Connection: Keep-Alive\r\n"
    b"Accept: text/event-stream\r\n\r\n"
)
UNUSUAL = {
    "another method": REQUEST.replace(b"GET", b"HEAD", 1),
    "another path": REQUEST.replace(b"stream", b"streams", 1),
    "a job's stream": REQUEST.replace(b"/stream", b"/jobs/j/stream", 1),
    "HTTP/1.0": REQUEST.replace(b"1.1", b"1.0", 1),
    "half a request": REQUEST[:-2],
    "the next request behind it": REQUEST + b"GET /healthz HTTP/1.1\r\n\r\n",
    "a body": REQUEST[:-2] + b"Content-Length: 2\r\n\r\n{}",
    "a length of nothing": REQUEST[:-2] + b"Content-Length: 0\r\n\r\n",
    "chunks": REQUEST[:-2] + b"Transfer-Encoding: chunked\r\n\r\n",
    "another protocol": REQUEST[:-2] + b"Upgrade: websocket\r\n\r\n",
    "the end of the connection": REQUEST.replace(b"Keep-Alive", b"close"),
    "an origin": REQUEST[:-2] + b"Origin: https://app.example.com\r\n\r\n",
    "two credentials": REQUEST[:-2] + b"authorization: Bearer x\r\n\r\n",
    "no header with a credential": REQUEST.replace(b"AUTHORIZATION", b"Cookie"),
    "a ticket": REQUEST.replace(b"dialect=milepost", b"ticket=mt_x"),
    "a token in the query": REQUEST.replace(b"dialect=milepost", b"token=a.b.c"),
    "an encoded query": REQUEST.replace(b"milepost", b"mile%70ost"),
    "a parameter twice": REQUEST.replace(b"after=", b"dialect="),
    "a parameter without a value": REQUEST.replace(b"=milepost", b""),
    "an obsolete fold": REQUEST.replace(b"Linux)\r\n", b"Linux)\r\n x\r\n"),
    "a space before the colon": REQUEST.replace(b"Host:", b"Host :"),
    "a space at the end of a value": REQUEST.replace(b"8470\r", b"8470 \r"),
    "an empty value": REQUEST.replace(b"example.com:8470", b""),
    "no space after a colon": REQUEST.replace(b"Host: ", b"Host:"),
    "a letter that is none of ASCII": REQUEST.replace(b"Linux", "Línux".encode()),
    "bare line feeds": REQUEST.replace(b"\r\n", b"\n"),
    "a line end in a value": REQUEST.replace(b"Linux", b"Li\nnux"),
    "NUL": REQUEST.replace(b"Linux", b"Li\0nux"),
    "nothing": b"",
}


def test_what_is_plain() -> None:
    """Names of headers in lower case, values and query as they were sent."""
    assert plain(REQUEST) == (
        {
            "host": "example.com:8470",
            "user-agent": "Mozilla/5.0 (X11; Linux)",
            "authorization": "Bearer a.b-c_d.e",
            "connection": "Keep-Alive",
            "accept": "text/event-stream",
        },
        {"dialect": "milepost", "after": "a.1.b"},
    )


@pytest.mark.parametrize("data", UNUSUAL.values(), ids=list(UNUSUAL))
def test_what_is_not(data: bytes) -> None:
    """Whatever has to be decoded, may mean two things, or is another layer's affair is left to uvicorn."""
    assert plain(data) is None


@given(st.binary(max_size=300), st.integers(0, len(REQUEST)), st.integers(0, 60))
def test_no_bytes_upset_it(noise: bytes, at: int, gone: int) -> None:
    """Any bytes anywhere in a request: it is plain or it is not, and nothing is raised."""
    found = plain(REQUEST[:at] + noise + REQUEST[at + gone :])
    assert found is None or found[0]["authorization"]


TENANTS = """
[tenants.polls]
enable_sse_notifications = false
[tenants.full]
max_streams_per_user = 1
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of its own, whose connections begin at the door."""
    made = Server(tmp_path_factory.mktemp("door"), toml=TENANTS, max_streams_per_user=50)
    made.start()
    with made.stream("/stream", token(tenant="full")) as first:
        first.until("live")
        yield made
    made.close()


def _answer(server: Server, request: bytes, *, whole: bool) -> tuple[bytes, set[bytes], bytes]:
    """(status line, names of headers but ``connection``, the body as far as it is the same each time)."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if whole:
            connection.sendall(request)
        else:
            connection.sendall(request[:40])
            assert server.http.get("/healthz").status_code == 200  # by then the first half has been read
            connection.sendall(request[40:])
        data = b""
        while b"\r\n\r\n" not in data or not _complete(data):
            more = connection.recv(65536)
            assert more, data
            data += more
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    names = {line.partition(b":")[0].lower() for line in lines} - {b"connection"}
    return status, names, re.sub(rb"\d{4}-\d\d-\d\dT[\d:.]+Z|^[0-9a-f]+\r\n|\"?retry[^,}]*|\d+", b"", body)


def _complete(data: bytes) -> bool:
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    if length:
        return len(body) >= int(length[1])
    return b" 204 " in head or b"event: live" in body


ASKED: dict[str, tuple[str, dict[str, str], str]] = {  # query, headers, tenant
    "a stream": ("?dialect=milepost", {}, "default"),
    "a stream without a query": ("", {}, "default"),
    "a narrowed one": ("?jobs=j1", {}, "default"),
    "a resumed one": ("?after=none.of.ours&reason=network", {}, "default"),
    "no such dialect": ("?dialect=klingon", {}, "default"),
    "jobs that are no ids": ("?jobs=.,,", {}, "default"),
    "no token": ("", {"Authorization": "Bearer x"}, "default"),
    "another scheme": ("", {"Authorization": "Basic x"}, "default"),
    "streaming is off": ("", {}, "polls"),
    "streaming is off, native": ("", {"Accept": "text/event-stream"}, "polls"),
    "too many": ("", {}, "full"),
    "too many, native": ("", {"Accept": "text/event-stream"}, "full"),
}


@pytest.mark.parametrize("name", ASKED)
def test_both_ways_answer_the_same(server: Server, name: str) -> None:
    """In one piece it is answered at the door, in two by uvicorn: status, headers and events are the same."""
    query, more, tenant = ASKED[name]
    headers = {
        "Host": "x",
        "Authorization": f"Bearer {token(tenant=tenant)}",
        "Accept": "text/event-stream, application/problem+json",
        **more,
    }
    lines = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
    request = f"GET /api/stream{query} HTTP/1.1\r\n{lines}\r\n".encode()
    assert plain(request)
    assert _answer(server, request, whole=True) == _answer(server, request, whole=False)


@pytest.mark.parametrize("whole", [True, False], ids=["door", "uvicorn"])
def test_a_proxy_says_whose_request_it_is(own_server: Callable[..., Server], whole: bool) -> None:
    """From a proxy of this machine the address that it names is the one that is counted, on both ways."""
    server = own_server(connect_rate=3)

    def status(number: int, address: str) -> bytes:
        bearer = f"Authorization: Bearer {token(f'u{number}')}"
        request = f"GET /api/stream HTTP/1.1\r\nHost: x\r\n{bearer}\r\nX-Forwarded-For: {address}\r\n\r\n"
        return _answer(server, request.encode(), whole=whole)[0].split()[1]

    assert [status(number, "192.0.2.1") for number in range(4)] == [b"200", b"200", b"200", b"429"]
    assert status(4, "192.0.2.2") == b"200"


def test_what_is_answered_at_the_door_is_counted(server: Server) -> None:
    """Metrics of requests and streams know no door; who left before the answer holds no place."""
    me = server.someone("counted")
    fine = 'milepost_http_requests_total{route="/api/stream",status="2xx"}'
    with me.stream() as stream:
        stream.until("live")
    before, streams = server.metric(fine), server.streams
    with me.stream() as stream:
        stream.until("live")
        assert server.metric(fine) == before + 1
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.port)) as hasty:
            hasty.sendall(f"GET /api/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {me.token}\r\n\r\n".encode())
    wait_until(lambda: server.streams <= streams, what="all streams are released")


def test_a_crowd_is_let_in_together(server: Server) -> None:
    """A hundred requests that come at once each get their own snapshot."""
    crowd = [server.someone(f"c{number}", "crowd") for number in range(100)]
    for one in crowd:
        one.notify(title=f"for {one.user}")
    server.someone("root", "crowd", "admin").notify(title="for all", everyone=True)
    connections = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in crowd]
    try:
        for one, connection in zip(crowd, connections, strict=True):
            text = f"GET /api/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {one.token}\r\n\r\n"
            connection.sendall(text.encode())
        for one, connection in zip(crowd, connections, strict=True):
            data = b""
            while b"event: live" not in data:
                data += connection.recv(65536)
            assert set(re.findall(rb"\"title\":\"(for \w+)\"", data)) == {f"for {one.user}".encode(), b"for all"}
    finally:
        for connection in connections:
            connection.close()
