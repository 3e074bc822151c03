"""Chromium's own EventSource reads the golden transcripts: each event of them, with its name, its data and its id."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.server.sse_client import Parser

FOLDER = Path(__file__).parents[1] / "transcripts"
HOLES = {"<cursor>": "e.7.seal", "<time>": "2026-01-01T10:00:00.000Z", "<number>": "1000", "<eta>": ""}
# Every event of one connection; the stream's end is an event named error without data.
LISTEN = """
names => new Promise(resolve => {
  const source = new EventSource('/stream'), heard = [];
  for (const name of new Set([...names, 'message', 'error']))
    source.addEventListener(name, ({ data, lastEventId }) => {
      if (data !== undefined) return void heard.push([name, data, lastEventId]);
      source.close();
      resolve(heard);
    });
})
"""


def filled(path: Path) -> bytes:
    """A transcript with something in the place of what is different each time."""
    return re.sub("|".join(HOLES), lambda hole: HOLES[hole[0]], path.read_text()).encode()


@pytest.fixture(name="origin", scope="module")
def fixture_origin() -> Iterator[tuple[str, dict[str, bytes]]]:
    """A web server that answers with whatever is put in it."""
    answers = {"/": b"<!doctype html><title>x</title>"}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answers.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("content-type", "text/event-stream" if self.path == "/stream" else "text/html")
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: Any) -> None:
            """To nobody."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", answers
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in sorted(FOLDER.glob("*.sse"))])
def test_read_back_by_chromium(origin: tuple[str, dict[str, bytes]], browser: Browser, path: Path) -> None:
    """What our strict parser makes of a transcript is what a browser makes of it."""
    url, answers = origin
    answers["/stream"] = filled(path)
    expected, last = [], ""
    for event in Parser().feed(answers["/stream"]):
        last = event.id or last
        expected.append([event.name, event.data, last])
    page = browser.new_page()
    page.goto(url)
    assert page.evaluate(LISTEN, [name for name, _, _ in expected]) == expected
    page.close()
    assert expected
