"""The system's Firefox, driven over WebDriver BiDi: what Playwright needs of it, a Firefox ESR does not have."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.browser.stage import until
from tests.browser.visitor import with_options

FIREFOX = "firefox-esr"
SECONDS = 30.0
QUIET = ['"services.settings.server", "data:,"', '"app.normandy.enabled", false']  # it asks nobody for anything


class Firefox:
    """A browser without a window; ``started`` makes it."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Future[dict[str, Any]]] = {}
        self._tabs: dict[str, Tab] = {}

    @classmethod
    @contextmanager
    def started(cls, folder: Path) -> Iterator[Firefox]:
        """With a profile of its own in ``folder``. It ends with the block."""
        profile, log = folder / "profile", folder / "firefox.log"
        profile.mkdir()
        (profile / "user.js").write_text("".join(f"user_pref({pref});\n" for pref in QUIET))
        command = [FIREFOX, "--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port=0"]
        with log.open("ab") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:

            def told_address() -> str:
                assert process.poll() is None, log.read_text()
                return "".join(re.findall(r"WebDriver BiDi listening on (ws://\S+)", log.read_text()))

            try:
                address = until(told_address, seconds=SECONDS, what="Firefox says where it listens")
                with connect(f"{address}/session", max_size=None) as socket:
                    yield from cls(socket).session()
            finally:
                process.kill()

    def session(self) -> Iterator[Firefox]:
        """From hello to goodbye."""
        reading = threading.Thread(target=self._read)
        reading.start()
        try:
            self.call("session.new", capabilities={})
            self.call("session.subscribe", events=["log.entryAdded", "network.beforeRequestSent"])
            yield self
        finally:
            self._socket.close()
            reading.join()

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """What a command of WebDriver BiDi answers."""
        number = next(self._numbers)
        answer = self._waiting[number] = Future()
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        return answer.result(SECONDS)

    def visitor(self) -> str:
        """Somebody who has never been here: cookies and storage of their own."""
        return str(self.call("browser.createUserContext")["userContext"])

    def tab(self, visitor: str, url: str, options: dict[str, Any] | None = None) -> Tab:
        """A tab of a visitor's, with the page loaded. ``options``: further ones for the page's client."""
        context = self.call("browsingContext.create", type="tab", userContext=visitor)["context"]
        tab = self._tabs[context] = Tab(self, context)
        script = f"() => {{ {with_options(options or {})} }}"
        self.call("script.addPreloadScript", functionDeclaration=script, contexts=[context])
        tab.open(url)
        return tab

    def _read(self) -> None:
        with suppress(ConnectionClosed):
            for text in self._socket:
                message = json.loads(text)
                if message["type"] == "event":
                    self._hear(message["method"], message["params"])
                elif (answer := self._waiting.pop(message["id"], None)) is None:
                    continue
                elif message["type"] == "success":
                    answer.set_result(message["result"])
                else:
                    answer.set_exception(AssertionError(f"{message['error']}: {message['message']}"))
        for left in self._waiting.values():
            left.set_exception(AssertionError("Firefox has gone"))

    def _hear(self, method: str, params: dict[str, Any]) -> None:
        source = params.get("source", params)
        tab = self._tabs.get(source.get("context"))
        if tab is None:
            return
        if method == "network.beforeRequestSent":
            tab.asked.append(params["request"]["url"])
        elif params["level"] in {"error", "warn"}:
            tab.noise.append(params["text"])


class Tab:
    """One page. ``asked`` has the address of every request, ``noise`` what was thrown, or logged as an error."""

    def __init__(self, firefox: Firefox, context: str) -> None:
        self.asked: list[str] = []
        self.noise: list[str] = []
        self._firefox = firefox
        self._context = context

    def open(self, url: str) -> None:
        """Go there."""
        self._firefox.call("browsingContext.navigate", context=self._context, url=url, wait="complete")

    def reload(self) -> None:
        """Load it anew."""
        self._firefox.call("browsingContext.reload", context=self._context, wait="complete")

    def look(self, expression: str) -> Any:
        """What an expression of JavaScript is in the page, as JSON."""
        found = self._firefox.call(
            "script.evaluate",
            expression=f"(async () => JSON.stringify((await ({expression})) ?? null))()",
            target={"context": self._context},
            awaitPromise=True,
        )
        assert found["type"] == "success", found["exceptionDetails"]["text"]
        return json.loads(found["result"]["value"])

    def until(self, expression: str, *, seconds: float = SECONDS) -> Any:
        """What the expression is once that is true."""
        return until(lambda: self.look(expression), seconds=seconds, what=expression)

    def shows(self, selector: str, text: str = "") -> None:
        """Waits until an element is there that has this text in it."""
        elements = f"[...document.querySelectorAll({json.dumps(selector)})]"
        self.until(f"{elements}.some(({{ textContent }}) => textContent.includes({json.dumps(text)}))")

    def click(self, selector: str) -> None:
        """As a person does: at its place in the window, moved there, pressed, let go."""
        element = f"document.querySelector({json.dumps(selector)})"
        self.look(f"{element}.scrollIntoView({{ block: 'center' }})")
        box = f"(({{ x, y, width, height }}) => [x + width / 2, y + height / 2])({element}.getBoundingClientRect())"
        x, y = map(int, self.look(box))
        steps = [{"type": "pointerMove", "x": x, "y": y}]
        steps += [{"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        pointer = {"type": "pointer", "id": "mouse", "actions": steps}
        self._firefox.call("input.performActions", context=self._context, actions=[pointer])

    def close(self) -> None:
        """Close it."""
        self._firefox.call("browsingContext.close", context=self._context)
