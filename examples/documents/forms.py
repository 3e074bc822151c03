"""What the form sends, checked: a request for the queue, or every reason why it is none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..stage.workqueue import Request, request_id
from .cases import BadCase, Case, case_from_object
from .planning import CATALOGUE, CUSTOM, KINDS, Kind
from .storage import FULL
from .templating import CUSTOM_LIMIT
from .typesetting import unprintable

PACES: Final = (0.0, 0.25, 1.0)  # seconds after each step: full speed, to watch, slow


def request_from_form(visitor: str, asked: object) -> Request:
    """The request of a visitor. Raises BadCase, naming every fault."""
    if not isinstance(asked, Mapping):
        raise BadCase(["The form must be sent as an object."])
    problems: list[str] = []
    case: Case | None = None
    try:
        case = case_from_object(asked.get("case"))
    except BadCase as bad:
        problems += bad.problems
    kinds = _kinds(asked.get("kinds"), problems)
    template = _template(asked.get("template"), problems) if KINDS[CUSTOM] in kinds else None
    pace, target, key = _options(asked, problems)
    if case is not None:
        problems += _unfit(case, kinds)
    if case is None or problems:
        raise BadCase(problems)
    what = kinds[0].label + (f" and {len(kinds) - 1} more" if len(kinds) > 1 else "")
    return Request(
        id=request_id("doc", visitor, key),
        owner=visitor,
        title=f"{what} · {case.name}"[:200],
        wish={
            "case": case.to_json(),
            "kinds": [kind.id for kind in kinds],
            "template": template,
            "target": target,
        },
        pace=pace,
    )


def _kinds(given: object, problems: list[str]) -> list[Kind]:
    known = isinstance(given, list) and all(isinstance(kind, str) and kind in KINDS for kind in given)
    chosen = [kind for kind in CATALOGUE if known and kind.id in given]  # type: ignore[operator] # known: it is a list
    if not chosen:
        problems.append("Choose at least one document.")
    return chosen


def _template(given: object, problems: list[str]) -> str | None:
    if not isinstance(given, str) or not given.strip():
        problems.append("Your own template is empty.")
        return None
    if len(given) > CUSTOM_LIMIT:
        problems.append(f"Your own template has more than {CUSTOM_LIMIT:,} characters.")
    return given


def _options(asked: Mapping[Any, Any], problems: list[str]) -> tuple[float, str, str]:
    pace, target, key = asked.get("pace", 0), asked.get("target", "files"), asked.get("key")
    if isinstance(pace, bool) or pace not in PACES:
        problems.append("The speed must be one of those offered.")
        pace = 0
    if target not in ("files", "full") or (target == "full" and not FULL.exists()):
        problems.append("The storage must be one of those offered.")
    if not isinstance(key, str) or not 8 <= len(key) <= 64:
        problems.append("The form's key must have 8 to 64 characters.")
    return float(pace), str(target), str(key)


def _unfit(case: Case, kinds: list[Kind]) -> list[str]:
    """What a good case lacks for what was chosen of it."""
    bad = next((character for character in map(unprintable, case.texts()) if character), None)
    if bad:
        return [f"The character “{bad}” (U+{ord(bad):04X}) is not in the document font."]
    empty = [kind.label for kind in kinds if not kind.expand(case)]
    return [f"{label}: the case has nothing for it." for label in empty]
