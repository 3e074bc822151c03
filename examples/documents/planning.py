"""Which documents come out of a case: the catalogue, and the plan that is only known once the data was read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from .cases import Case

CUSTOM: Final = "custom"


@dataclass(frozen=True, slots=True)
class Document:
    """One PDF to make: its name, the template that gives its text, and what that sees beside the case."""

    name: str
    file_name: str
    template: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kind:
    """One line of the form. ``expand`` gives what a case needs of it: one document, one for each party, or none."""

    id: str
    label: str
    note: str
    expand: Callable[[Case], list[Document]]


def _one(name: str, template: str) -> Callable[[Case], list[Document]]:
    return lambda _: [Document(name, f"{name}.pdf", f"{template}.html")]


def _discovery(case: Case) -> list[Document]:
    """Interrogatories go to one party at a time, so each defendant gets a set of its own."""
    if not case.requests:
        return []
    count = len(case.defendants)
    return [
        Document(
            f"SROGS {number}/{count}",
            f"Special interrogatories {number} of {count}.pdf",
            "interrogatories.html",
            {"responding": defendant, "number": number, "count": count},
        )
        for number, defendant in enumerate(case.defendants, 1)
    ]


def _depositions(case: Case) -> list[Document]:
    count = len(case.deponents)
    return [
        Document(
            f"Notice of Deposition {number}/{count}",
            f"Notice of deposition {number} of {count}.pdf",
            "deposition.html",
            {"deponent": deponent, "number": number, "count": count},
        )
        for number, deponent in enumerate(case.deponents, 1)
    ]


CATALOGUE: Final = (
    Kind("complaint", "Complaint", "Parties, facts and demands", _one("Complaint", "complaint")),
    Kind("discovery", "Discovery set", "Special interrogatories, one set per defendant", _discovery),
    Kind("deposition", "Notice of Deposition", "One notice per deponent", _depositions),
    Kind("letter", "Cover letter", "To the clerk, naming what is filed", _one("Cover letter", "letter")),
    Kind("summary", "Summary of facts", "A memorandum for the file", _one("Summary of facts", "summary")),
    Kind("exhibits", "Exhibit list", "A table with exhibit numbers", _one("Exhibit list", "exhibits")),
    Kind(CUSTOM, "Your own template", "Jinja2 and a little HTML", _one("Custom document", CUSTOM)),
)
KINDS: Final = {kind.id: kind for kind in CATALOGUE}


def number_of_steps(kinds: Sequence[str], documents: Sequence[Document]) -> int:
    """All steps of a run: reading the case, looking at each kind, three for each document, one for the zip."""
    return 1 + len(kinds) + 3 * len(documents) + 1
