"""From case to PDF: real files, read back by another library, and what is wrong with a template is said."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from pypdf import PdfReader

from examples.documents.cases import Case, Entry, case_from_file
from examples.documents.planning import CATALOGUE, Document, number_of_steps
from examples.documents.templating import TemplateFault, Templates
from examples.documents.typesetting import typeset, unprintable
from examples.stage.work import deadline

SAMPLE = Path(__file__).parents[2] / "examples" / "documents" / "sample"
CUSTOM = Document("Custom document", "Custom document.pdf", "custom.html")


@pytest.fixture(name="case", scope="module")
def fixture_case() -> Case:
    """The case that ships with the example."""
    return case_from_file("case.json", (SAMPLE / "case.json").read_bytes())


def plan(case: Case) -> list[Document]:
    """Every document that the catalogue makes of a case."""
    return [document for kind in CATALOGUE for document in kind.expand(case)]


def rendered(case: Case, document: Document, custom: str | None = None) -> bytes:
    """The document as a PDF file."""
    html = Templates(custom).fill(document, case, plan(case))
    return typeset(html, source=document.template, title=document.name, footer=f"{document.name} · {case.name}")[0]


def text_of(pdf: bytes) -> str:
    """All text of a PDF, white space folded."""
    return " ".join("".join(page.extract_text() + " " for page in PdfReader(io.BytesIO(pdf)).pages).split())


def fault(custom: str, case: Case) -> str:
    """What is said of a template that cannot be used."""
    with pytest.raises(TemplateFault) as caught:
        rendered(case, CUSTOM, custom)
    assert caught.value.milepost_code == "TEMPLATE_ERROR"
    return str(caught.value)


def test_the_plan_follows_the_data(case: Case) -> None:
    """One set per defendant, one notice per deponent, none where there is nothing to ask."""
    names = [document.name for document in plan(case)]
    assert [name for name in names if name.startswith("SROGS")] == ["SROGS 1/3", "SROGS 2/3", "SROGS 3/3"]
    assert "Notice of Deposition 2/2" in names
    less = replace(case, requests=(), deponents=())
    left = ["Complaint", "Cover letter", "Summary of facts", "Exhibit list", "Custom document"]
    assert [document.name for document in plan(less)] == left
    assert number_of_steps(["complaint"], plan(less)[:1]) == 6


def test_each_document_is_a_real_pdf_with_the_case_in_it(case: Case) -> None:
    """Every document opens in another library, names the case, and counts its pages at the foot."""
    custom = (SAMPLE / "custom.html").read_text()
    for document in plan(case):
        pdf = rendered(case, document, custom)
        text = text_of(pdf)
        assert case.case_number in text, document.name
        assert f"Page 1 of {len(PdfReader(io.BytesIO(pdf)).pages)}" in text


def test_changing_one_input_changes_the_file(case: Case) -> None:
    """The facts that a person types stand in the PDF; the same case gives the same bytes."""
    complaint = plan(case)[0]
    changed = replace(case, facts=("The bridge at Żółw Ørsted & Sons <LLC> fell on Tuesday.", *case.facts[1:]))
    assert rendered(case, complaint) == rendered(case, complaint)
    assert "The bridge at Żółw Ørsted & Sons <LLC> fell on Tuesday." in text_of(rendered(changed, complaint))
    assert "The bridge at" not in text_of(rendered(case, complaint))
    assert "November 20, 2026" in text_of(rendered(case, complaint))


def test_much_text_takes_many_pages_and_loses_none(case: Case) -> None:
    """Long lists, entries longer than a page and words without a gap are set, not cut."""
    big = replace(
        case,
        facts=tuple(f"Fact {n}: " + "word " * 150 for n in range(60)),
        exhibits=(Entry("x" * 4000, "detail " * 500), Entry("The last exhibit")),
    )
    complaint = rendered(big, plan(big)[0])
    assert len(PdfReader(io.BytesIO(complaint)).pages) > 15
    assert all(f"Fact {n}:" in text_of(complaint) for n in range(60))
    exhibits = next(d for d in plan(big) if d.name == "Exhibit list")
    assert "The last exhibit" in text_of(rendered(big, exhibits))


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% for fact in case.facts %}\n{{ fact }", "custom.html, line 2: unexpected '}'"),
        ("a\n{{ nobody }}", "custom.html, line 2: 'nobody' is undefined"),
        ("{{ case.salary }}", "has no attribute 'salary'"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{% include 'other.html' %}", "other.html"),
        ("{% include '../sample/broken.html' %}", "../sample/broken.html"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ case.facts.append('x') }}", "no attribute"),
        ("{% for a in range(1000000000) %}{% endfor %}", "Range too big"),
        ("{{ 9**9**9**9 }}", "the operator ** is not allowed"),
        ("{% for a in range(99999) %}{{ case.facts }}{% endfor %}", "the output is larger than"),
        ("<p>one</p>\n<div>two</div>", "line 2 of its output: <div> is not known here"),
        ("<p><b>one</p>", "<b> is still open"),
        ("<p>one", "<p> is never closed"),
        ("</p>", "</p> where no closing tag was expected"),
        ("<li>one</li>", "<li> cannot stand here"),
        ("<table>one</table>", "text directly inside <table>"),
        ("<table widths='a b'><tr><td>1</td><td>2</td></tr></table>", "widths are numbers"),
        ("漢字", "the character “漢” (U+6F22) is not in the document font"),
    ],
)
def test_a_broken_template_says_where_and_why(case: Case, template: str, said: str) -> None:
    """Syntax, names, markup and characters: each fault is a TEMPLATE_ERROR with a sentence."""
    assert said in fault(template, case)


def test_a_template_without_end_is_ended(case: Case) -> None:
    """Loops that write nothing are stopped by the clock, in the main thread of the worker."""
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    with pytest.raises(TimeoutError, match="Custom document took longer"), deadline(0.2, CUSTOM.name):
        Templates(endless).fill(CUSTOM, case, [])


def test_the_shipped_broken_template_is_broken(case: Case) -> None:
    """The page offers it to show what happens: it names its line."""
    assert fault((SAMPLE / "broken.html").read_text(), case) == "custom.html, line 4: unexpected '}'"


def test_a_template_may_be_plain_text(case: Case) -> None:
    """Lines without a tag are paragraphs; an empty template is an empty page."""
    text = text_of(rendered(case, CUSTOM, "Dear {{ case.plaintiff }},\n\nthis is <b>plain</b> text.\n"))
    assert "Dear Elena Reyes, this is plain text." in text
    assert len(PdfReader(io.BytesIO(rendered(case, CUSTOM, "  \n"))).pages) == 1


def test_what_a_visitor_types_is_text_and_never_markup(case: Case) -> None:
    """A name with tags in it is printed as it was typed."""
    odd = replace(case, plaintiff="<b>Bobby</b> {{ 7 * 7 }} </p>")
    assert "<b>Bobby</b> {{ 7 * 7 }} </p>" in text_of(rendered(odd, plan(odd)[0]))


def test_unprintable_names_the_character() -> None:
    """The form refuses what the font does not have, before any work is done."""
    assert unprintable("Zoë Żółw Жанна Ωμέγα “quoted” — §14 €") is None
    assert unprintable("Dear 漢") == "漢"
