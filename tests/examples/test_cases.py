"""Case data from files: what is read, and what a person is told about a file that cannot be used."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.documents.cases import FILE_LIMIT, BadCase, Case, Entry, case_from_file, case_from_object

SAMPLE = Path(__file__).parents[2] / "examples" / "documents" / "sample"

HEAD = "field,value,detail\n"
LEAST = (
    "court,High Court\ncase_number,1\nplaintiff,Ada\nattorney,Grace\ndate,2026-01-31\ndefendant,Bob\ndefendant,Carl\n"
)


def sample() -> Case:
    """The case that ships with the example."""
    return case_from_file("case.json", (SAMPLE / "case.json").read_bytes())


def problems(name: str, data: str | bytes) -> list[str]:
    """What a person is told about a file."""
    with pytest.raises(BadCase) as caught:
        case_from_file(name, data.encode() if isinstance(data, str) else data)
    return caught.value.problems


def test_the_sample_reads_the_same_from_csv_and_json() -> None:
    """Both sample files hold the same case, and a case survives the way through JSON."""
    case = sample()
    assert case == case_from_file("CASE.CSV", (SAMPLE / "case.csv").read_bytes())
    assert case == case_from_object(json.loads(json.dumps(case.to_json())))
    assert case.name == "Elena Reyes v. Harbor Point Builders LLC, et al."


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv_of_spreadsheets(separator: str) -> None:
    """A byte order mark, CRLF, semicolons or tabs, empty rows and short rows are all read."""
    text = "\ufeff" + (HEAD + LEAST + "exhibit,Letter,1 May\nexhibit,Map\n,,\n\n").replace(",", separator)
    case = case_from_file("a.csv", text.replace("\n", "\r\n").encode())
    assert case.defendants == ("Bob", "Carl")
    assert case.exhibits == (Entry("Letter", "1 May"), Entry("Map"))


def test_every_fault_of_a_csv_is_named_with_its_line() -> None:
    """One look at the message is enough to repair the whole file."""
    text = (
        HEAD + 'court,"Two\nlines"\ncort,x\nfact,one, two, three\nfact,one,two\n'
        "plaintiff,A\nplaintiff,B\ndate,31.1.2026\n" + "fact,a\x07b\n" + f"fact,{'x' * 4001}\n"
    )
    said = "\n".join(problems("a.csv", text))
    for expected in (
        "Line 4: unknown field “cort”; did you mean “court”?",
        "Line 5: 4 columns where 3 are allowed; a value with a comma needs quotes.",
        "Line 6: only exhibits and deponents have a detail",
        "Line 8: the field “plaintiff” is there twice.",
        "“date” must be a day written as YYYY-MM-DD, not “31.1.2026”.",
        "Line 10: the character U+0007 cannot be printed.",
        "Line 11: the text has 4,001 characters; 4,000 are allowed.",
        "“case_number” is missing.",
        "“defendants” is missing.",
    ):
        assert expected in said


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.json", b"", "The file is empty."),
        ("a.txt", b"hello", "“a.txt” is neither a .csv nor a .json file."),
        ("a.csv", b"field,value\ncourt,\xff", "Line 2: this is not UTF-8 text."),
        ("a.csv", b"court;High", "Line 1: the columns must be “field,value,detail”"),
        ("a.csv", b'field,value\ncourt,"open', "This is not CSV"),
        ("a.csv", b"x" * (FILE_LIMIT + 1), "The file is larger than 256 KiB."),
        ("a.json", b'{"court": "x",\n "date" 1}', "Line 2, column 9: this is not JSON"),
        ("a.json", b"[" * 100_000, "nesting"),
        ("a.json", b"[" + b"9" * 5000 + b"]", "a number"),
        ("a.json", b"[]", "A case is an object with fields such as “court”; this is a list."),
        ("a.json", b'{"court": NaN}', "court: this must be a text, not a number."),
        ("a.json", b'{"court": "a", "court": "b"}', "The field “court” is there twice."),
        ("a.json", b'{"facts": "x"}', "“facts” must be a list, not a text."),
        ("a.json", b'{"facts": [null]}', "facts 1: this must be a text, not null."),
        ("a.json", b'{"exhibits": [{"name": "x"}]}', "exhibits 1: an entry is a text, or an object"),
        ("a.json", b'{"court": "\\ud800"}', "court: the character U+D800 cannot be printed."),
        ("a.json", b'{"\\ud800": "x"}', "Unknown field"),
        ("a.json", json.dumps({"facts": ["x"] * 201}).encode(), "“facts” has 201 entries; 200 are allowed."),
    ],
)
def test_bad_files(name: str, data: bytes, said: str) -> None:
    """Each fault has a sentence that says what is wrong and where."""
    assert any(said in problem for problem in problems(name, data))


def test_required_fields_may_not_be_empty() -> None:
    """A name without letters is as good as none."""
    assert problems("a.csv", HEAD + LEAST.replace("plaintiff,Ada", "plaintiff,  ")) == ["“plaintiff” is missing."]
    with pytest.raises(BadCase):
        case_from_object(replace(sample(), defendants=()).to_json())


@given(st.binary(max_size=200), st.sampled_from(["a.csv", "a.json"]))
def test_any_bytes_give_a_case_or_sentences(data: bytes, name: str) -> None:
    """Whatever is uploaded, the answer is a case or a list of problems that can be sent as JSON."""
    said: list[str] = []
    try:
        said = [case_from_file(name, data).name]
    except BadCase as bad:
        said = bad.problems
    assert said
    json.dumps(said).encode()


@given(st.text(max_size=60))
def test_any_text_in_a_case_prints_or_is_refused(text: str) -> None:
    """What passes the check can be encoded: no half surrogate, no control character is left in it."""
    try:
        case = case_from_object({**sample().to_json(), "facts": [text]})
    except BadCase:
        return
    case.facts[0].encode()
    assert "\x00" not in case.facts[0]
