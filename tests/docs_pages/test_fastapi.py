"""docs/fastapi.md, followed as a newcomer follows it: its blocks in an empty folder, its command, a real Chromium."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.server.process import wait_until

PAGE = (Path(__file__).parents[2] / "docs" / "fastapi.md").read_text()
SCREENSHOTS = os.environ.get("MILEPOST_SCREENSHOTS")


def blocks(language: str) -> list[str]:
    """The page's fenced blocks in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def added(diff: str) -> list[str]:
    """The lines that a diff adds, but for empty ones."""
    return [line[1:] for line in diff.splitlines() if line.startswith("+") and line[1:].strip()]


def write(folder: Path) -> None:
    """The newcomer's application as the page has it at first."""
    (folder / "app.py").write_text(blocks("python")[0])
    (folder / "page.html").write_text(blocks("html")[0])


def patch(folder: Path) -> None:
    """What the page says to add to it."""
    for name, diff in zip(("app.py", "page.html"), blocks("diff"), strict=True):
        subprocess.run(["patch", "--silent", name], input=diff, text=True, check=True, cwd=folder)


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """The page's command, in a folder with nothing else in it; the address. It ends by Ctrl-C, in time."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (command,) = re.findall(r"^\$ (uvicorn .+)$", PAGE, re.MULTILINE)
    program, *rest = shlex.split(command)
    known = {name: value for name, value in os.environ.items() if not name.startswith(("MILEPOST_", "PYTHON"))}
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [Path(sys.executable).with_name(program), *rest, "--port", str(port)],
            cwd=folder,
            env=known,
            stdout=out,
            stderr=out,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: answers(url), seconds=60, what="the application answers")
        yield url
        process.send_signal(signal.SIGINT)
        process.wait(15)
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    """Whether somebody is there."""
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - always our own http address
            return True
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def test_five_lines_and_one_tag() -> None:
    """At most five lines of Python and one tag are added, and nothing else is."""
    python, html = map(added, blocks("diff"))
    assert 1 <= len(python) <= 5
    (tag,) = html
    assert re.fullmatch(r"\s*<script [^>]*></script>", tag)


def test_before(tmp_path: Path, browser: Browser) -> None:
    """What the page starts from works, and shows no progress."""
    write(tmp_path)
    with running(tmp_path) as url:
        page = browser.new_page()
        page.goto(url)
        page.get_by_role("link", name="Sign in").click()
        with page.expect_response("**/export") as answer:
            page.get_by_role("button", name="Export").click()
        assert answer.value.ok
        expect(page.get_by_role("progressbar")).to_have_count(0)
        page.close()


def test_a_newcomer_sees_the_bar(tmp_path: Path, browser: Browser) -> None:
    """With the added lines a click shows the bar: it moves, is there again after a reload, and says when it is done;
    somebody else who is signed in sees none of it.
    """
    write(tmp_path)
    patch(tmp_path)
    app = tmp_path / "app.py"
    app.write_text(app.read_text().replace("sleep(0.1)", "sleep(0.3)"))  # time for a reload on any machine
    with running(tmp_path) as url:
        visitor, other = browser.new_context(), browser.new_context()
        page, elsewhere = visitor.new_page(), other.new_page()
        page.set_viewport_size({"width": 640, "height": 240})
        for one, name in ((page, "ada"), (elsewhere, "grace")):
            one.goto(f"{url}/sign-in?name={name}")
        page.get_by_role("button", name="Export").click()
        bar = page.get_by_role("progressbar", name="Export")
        expect(bar).to_be_visible(timeout=20_000)
        first = float(bar.get_attribute("value") or 0)
        wait_until(lambda: float(bar.get_attribute("value") or 0) > first, seconds=20, what="the bar moves")
        page.reload()
        expect(bar).to_be_visible(timeout=20_000)
        if SCREENSHOTS:
            expect(page.get_by_text("17 of 40")).to_be_visible()
            page.screenshot(path=f"{SCREENSHOTS}/fastapi.png")
        expect(page.locator(".milepost-toast", has_text="Export")).to_contain_text("Complete", timeout=20_000)
        expect(bar).to_have_count(0)
        expect(elsewhere.locator(".milepost-toast")).to_have_count(0)
        visitor.close()
        other.close()


def test_stops_while_a_page_looks_on(tmp_path: Path, browser: Browser) -> None:
    """Ctrl-C ends the application while pages are open."""
    write(tmp_path)
    patch(tmp_path)
    page = browser.new_page()
    with running(tmp_path) as url, page.expect_response("**/milepost/api/stream*"):
        page.goto(f"{url}/sign-in?name=ada")
    page.close()
