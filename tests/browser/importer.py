"""A person in front of the page of ``traces``."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Locator, expect

from examples.traces.sampling import sample
from tests.browser.visitor import Person


class Importer(Person):
    """A person in front of the page."""

    @property
    def id(self) -> str:
        """Who this is to the hub."""
        return self.page.locator("body").get_attribute("data-visitor") or ""

    @property
    def modal(self) -> Locator:
        """The modal, while it is open."""
        return self.page.get_by_role("dialog", name="Import")

    @property
    def bar(self) -> Locator:
        """Its bar."""
        return self.modal.get_by_role("progressbar")

    @property
    def stage(self) -> Locator:
        """Where the import is."""
        return self.modal.locator("[aria-current=step]")

    @property
    def entries(self) -> Locator:
        """What the page says of imports under way."""
        return self.page.get_by_role("list", name="Imports under way").get_by_role("button")

    @property
    def listed(self) -> Locator:
        """The summary of what was imported, on the page."""
        return self.page.locator(".imported .facts")

    def fill_in(
        self, lines: int = 0, *, source: str = "", speed: str = "To watch", deadline: str = "5 minutes"
    ) -> None:
        """Choose a source, or a file with so many spans, and how it is imported."""
        form = self.page.get_by_role("form", name="Import a file")
        form.get_by_label(source or "Your file").first.check()
        if not source:
            data = b"".join(sample().splitlines(keepends=True)[:lines])
            file = {"name": f"{lines}.jsonl", "mimeType": "application/jsonl", "buffer": data}
            form.locator("input[type=file]").set_input_files(file)  # type: ignore[arg-type] # a FilePayload
        form.get_by_label(speed).check()
        form.get_by_label(deadline).check()

    def send(self) -> None:
        """Click on Import."""
        self.page.get_by_role("button", name="Import", exact=True).click()

    def start(self, lines: int = 0, **how: str) -> None:
        """Fill the form in and send it."""
        self.fill_in(lines, **how)
        self.send()
        expect(self.modal).to_be_visible()

    def reached(self, percent: int) -> None:
        """Waits until the modal's bar has come so far."""
        self.page.wait_for_function("at => document.querySelector('dialog progress')?.value >= at", arg=percent)

    def job(self) -> dict[str, Any]:
        """The newest import, as the hub tells it now."""
        answer = self.page.request.get(f"{self.url.partition('?')[0]}api/jobs?kind=import&limit=1")
        found: dict[str, Any] = answer.json()["jobs"][0]
        return found
