"""What the form sends becomes a request for the queue, or every reason why it is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.documents.cases import BadCase
from examples.documents.forms import request_from_form
from examples.documents.templating import CUSTOM_LIMIT
from examples.stage.workqueue import Request

SAMPLE = Path(__file__).parents[2] / "examples" / "documents" / "sample"
CASE: dict[str, Any] = json.loads((SAMPLE / "case.json").read_bytes())


def asked(**changes: Any) -> dict[str, Any]:
    """A form as the page sends it, with changes."""
    form = {"key": "0123456789abcdef", "case": CASE, "kinds": ["discovery", "complaint"], "template": "", "pace": 0}
    return {**form, "target": "files", **changes}


def refused(form: object) -> list[str]:
    """Why a form is refused."""
    with pytest.raises(BadCase) as caught:
        request_from_form("v1", form)
    return caught.value.problems


def test_a_form_becomes_a_request() -> None:
    """Kinds stand in the catalogue's order; the title names what is made and whose case it is."""
    request = request_from_form("v1", asked())
    assert request.wish["kinds"] == ["complaint", "discovery"]
    assert request.title == "Complaint and 1 more · Elena Reyes v. Harbor Point Builders LLC, et al."
    assert (request.owner, request.pace) == ("v1", 0.0)
    assert (request.wish["target"], request.wish["template"]) == ("files", None)


def test_the_same_form_again_is_the_same_job() -> None:
    """Visitor and key make the id, so that neither a repeated request nor another's key makes or meets a second one."""
    ids = [request_from_form(visitor, asked(key=key)).id for visitor, key in [("v1", "k" * 8), ("v1", "k" * 8)]]
    assert ids[0] == ids[1]
    others = {request_from_form("v2", asked(key="k" * 8)).id, request_from_form("v1", asked(key="l" * 8)).id}
    assert len({ids[0], *others}) == 3


def test_a_template_counts_only_where_it_was_chosen() -> None:
    """What is left in the hidden field of the page is not stored."""
    assert request_from_form("v1", asked(template="<p>x</p>")).wish["template"] is None
    assert request_from_form("v1", asked(kinds=["custom"], template="<p>x</p>")).wish["template"] == "<p>x</p>"


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ([], "The form must be sent as an object."),
        (asked(case=None), "A case is an object with fields"),
        (asked(kinds=[]), "Choose at least one document."),
        (asked(kinds=["nonsense"]), "Choose at least one document."),
        (asked(kinds=[["complaint"]]), "Choose at least one document."),
        (asked(kinds="complaint"), "Choose at least one document."),
        (asked(kinds=["custom"], template=" \n"), "Your own template is empty."),
        (asked(kinds=["custom"], template=None), "Your own template is empty."),
        (asked(kinds=["custom"], template="x" * (CUSTOM_LIMIT + 1)), "Your own template has more than 65,536"),
        (asked(pace=0.5), "The speed must be one of those offered."),
        (asked(pace=False), "The speed must be one of those offered."),
        (asked(pace={}), "The speed must be one of those offered."),
        (asked(target="/etc"), "The storage must be one of those offered."),
        (asked(key="short"), "The form's key must have 8 to 64 characters."),
        (asked(case={**CASE, "requests": []}), "Discovery set: the case has nothing for it."),
        (asked(case={**CASE, "plaintiff": "漢"}), "The character “漢” (U+6F22) is not in the document font."),
    ],
)
def test_bad_forms(form: object, said: str) -> None:
    """Each fault has its sentence."""
    assert any(said in problem for problem in refused(form))


def test_all_faults_at_once() -> None:
    """One round is enough to repair the form."""
    assert len(refused({"case": {**CASE, "date": "today"}, "kinds": [], "pace": 9, "target": 1})) == 5


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, st.sampled_from(["case", "kinds", "template", "pace", "target", "key"]))
def test_any_json_in_any_field_is_answered(value: Any, name: str) -> None:
    """No value that JSON can carry does anything but make a request or a list of sentences."""
    answer: Request | list[str]
    try:
        answer = request_from_form("v1", asked(kinds=["custom"], template="x") | {name: value})
    except BadCase as bad:
        answer = bad.problems
    assert answer
