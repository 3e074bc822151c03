"""The examples there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Example:
    """One example: its folder, which is also its prefix and its tenant, and what the landing page says about it."""

    name: str
    title: str
    summary: str
    front: str  # how its page is made
    tries: str  # what to do there first
    workers: int = 1
    needs: tuple[str, ...] = ()  # modules that `milepost[demo]` brings
    tenants: tuple[str, ...] = ()  # where it has more than one, or another name
    settings: Mapping[str, Any] = field(default_factory=dict)  # of each of its tenants

    @property
    def of_tenants(self) -> tuple[str, ...]:
        """The tenants in which its visitors are."""
        return self.tenants or (self.name,)


DOCUMENTS: Final = Example(
    "documents",
    "Casefile",
    "Legal documents made from one case, each job with a toast of its own.",
    "Plain HTML and one script",
    "Send the sample case, then a second one while it runs.",
    workers=2,
    needs=("font_source_serif_pro", "jinja2", "reportlab"),
)

ACTIVITY: Final = Example(
    "activity",
    "Docket",
    "A dashboard of documents and the jobs on them. Streaming is switched off for it: its pages poll.",
    "Jinja and HTMX",
    "Take a sample, analyse it, and leave the tab for a moment.",
    workers=2,
    needs=("jinja2",),
    settings={"enable_sse_notifications": False},
)

COACHING: Final = Example(
    "coaching",
    "Soundboard",
    "Recorded coaching sessions, listened to by a worker; each coach is told what is theirs.",
    "React",
    "Sign in, analyse the sample, share it with the other coach; or look at both side by side.",
    workers=2,
    needs=("jinja2",),
)

TRACES: Final = Example(
    "traces",
    "Spanfile",
    "Trace files imported into a database, followed by a modal from the upload to the result.",
    "React",
    "Import the sample, close the modal in the middle, and open it again.",
    workers=2,
    needs=("jinja2",),
)

BOM: Final = Example(
    "bom",
    "Partsheet",
    "Bills of materials enriched from a catalogue, each part as it is found; two organisations, apart.",
    "React",
    "Enrich the sample, reload in the middle, and look for it in the other organisation.",
    workers=2,
    needs=("jinja2",),
    tenants=("bom-northwind", "bom-harbor"),
)

EXAMPLES: Final = {example.name: example for example in (DOCUMENTS, ACTIVITY, COACHING, TRACES, BOM)}
