"""What the dashboard's worker finds in a text, and what its forms are read as."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.activity import analysis, comparing
from examples.activity.analysis import Analysis, amounts_in, dates_in
from examples.activity.comparing import Comparison, pairs
from examples.activity.reading import Empty, Unreadable, paragraphs_of
from examples.activity.register import Register
from examples.activity.uploads import form_of


def analysed(text: str) -> dict[str, Any]:
    """The analysis of a text."""
    found = Analysis()
    for paragraph in paragraphs_of(text.encode()):
        found.read(paragraph)
    return found.result()


def compared(before: str, after: str) -> dict[str, Any]:
    """The comparison of two texts."""
    found = Comparison(1, 2)
    for pair in pairs(*([one.text for one in paragraphs_of(text.encode())] for text in (before, after))):
        found.take(pair)
    return found.result()


@pytest.mark.parametrize(
    ("written", "day"),
    [
        ("2026-03-02", "2026-03-02"),
        ("2 March 2026", "2026-03-02"),
        ("2nd day of March, 2026", "2026-03-02"),
        ("March 2, 2026", "2026-03-02"),
        ("2.3.2026", "2026-03-02"),
        ("Sept. 30, 2026", None),
        ("Sep. 30, 2026", "2026-09-30"),
        ("31 February 2026", None),
        ("12026-03-02", None),
    ],
)
def test_dates_as_people_write_them(written: str, day: str | None) -> None:
    """A day is found in any of the usual spellings; one that does not exist is none."""
    assert [found["date"] for found in dates_in(f"Due on {written}, at noon.")] == ([day] if day else [])


@pytest.mark.parametrize(
    ("written", "amount"),
    [
        ("£18,400.00", "GBP 18400.00"),
        ("$ 1.5 million", "USD 1500000.00"),
        ("EUR 350", "EUR 350.00"),
        ("12,000 euros", "EUR 12000.00"),
        ("4 per cent", None),
        ("room 350", None),
    ],
)
def test_amounts_of_money(written: str, amount: str | None) -> None:
    """With the currency before or after, in digits or with a scale; a number alone is none."""
    found = [f"{one['currency']} {one['amount']}" for one in amounts_in(f"The fee is {written}, payable at once.")]
    assert found == ([amount] if amount else [])


def test_an_analysis_counts_what_is_there() -> None:
    """Words, sentences, sections, terms with their uses, and a paragraph that says the same again."""
    text = (
        "# Terms\n\nAcme Inc. pays R. Roe (the “Fee”). The Fee is due on Monday!\n\n"
        "“Working Day” means a day of work.\n\n- Nobody pays the Fee on any other day of it.\n\n"
        "Nobody pays the fee on any other  day of it."
    )
    found = analysed(text)
    assert (found["paragraphs"], found["sections"], found["sentences"]) == (5, 1, 5)
    assert found["words"] == 1 + 13 + 7 + 10 + 10
    assert found["terms"] == [
        {"term": "Fee", "paragraph": 2, "uses": 2},
        {"term": "Working Day", "paragraph": 3, "uses": 0},
    ]
    assert found["repeated"] == [{"paragraph": 5, "first": 4}]
    assert analysis.summary(found).endswith("1 repeated paragraph")


def test_long_words_in_long_sentences_are_harder_to_read() -> None:
    """The readability figure tells the two apart."""
    plain = analysed("The cat sat on the mat. It was warm. The sun was out.")
    hard = analysed("Notwithstanding contractual ambiguities, parliamentary authorities instituted proceedings.")
    assert plain["ease"] > 80
    assert hard["ease"] < 20


def test_a_comparison_tells_words_and_paragraphs() -> None:
    """What was changed is told word by word; what came, went or stayed is counted."""
    before = "# One\n\nThe fee is £4,600.00, due in ten days.\n\nNobody may leave.\n\nIt ends here and now, for good."
    after = "# One\n\nThe fee is £5,100.00, due in two weeks.\n\nIt ends here and now, for good.\n\nSigned by all."
    found = compared(before, after)
    assert [found[kind] for kind in ("changed", "added", "removed", "unchanged")] == [1, 1, 1, 2]
    assert found["changes"][0]["words"] == [
        ["same", "The fee is £"],
        ["gone", "4,600.00"],
        ["come", "5,100.00"],
        ["same", ", due in "],
        ["gone", "ten days"],
        ["come", "two weeks"],
        ["same", "."],
    ]
    assert [change["kind"] for change in found["changes"]] == ["changed", "removed", "added"]
    assert comparing.summary(found) == "Version 2: 1 changed, 1 added, 1 removed, 2 unchanged"


@given(
    st.lists(st.text("ab. ", min_size=1, max_size=12).filter(lambda text: "a" in text), min_size=1, max_size=8),
    st.lists(st.text("ab. ", min_size=1, max_size=12).filter(lambda text: "a" in text), min_size=1, max_size=8),
)
def test_a_comparison_loses_nothing(before: list[str], after: list[str]) -> None:
    """Both versions can be put together again from the pairs, and each changed pair from its words."""
    found = pairs(before, after)
    assert [pair.before for pair in found if pair.before is not None] == before
    assert [pair.after for pair in found if pair.after is not None] == after
    for pair in found:
        words = comparing.words_of(pair)
        assert "".join(text for kind, text in words if kind != "come") == (pair.before or "")
        assert "".join(text for kind, text in words if kind != "gone") == (pair.after or "")


def test_what_a_comparison_keeps_is_bounded() -> None:
    """A thousand changes are counted, some are listed; a long paragraph is shown around what changed in it."""
    before, after = ("\n\n".join(f"{word} number {n}, {'long ' * 200}" for n in range(300)) for word in ("Old", "New"))
    found = compared(before, after)
    assert found["changed"] == 300
    assert len(found["changes"]) == comparing.CHANGES
    assert all(len("".join(text for _, text in change["words"])) < 400 for change in found["changes"])
    (change,) = compared("One word.", "x" * 100_000)["changes"][:1]
    assert len(str(change)) < 10_000


@pytest.mark.parametrize(
    "file",
    ["Ein Satz für alle.".encode("utf-16"), "Ein Satz für alle.".encode("utf-8-sig"), b"Ein Satz f\xc3\xbcr alle."],
)
def test_encodings_that_say_what_they_are(file: bytes) -> None:
    """UTF-8 with or without a mark, and UTF-16 with one, are the same text."""
    assert [paragraph.text for paragraph in paragraphs_of(file)] == ["Ein Satz für alle."]


@pytest.mark.parametrize(
    ("file", "told"),
    [
        (b"caf\xe9 au lait", "breaks off at byte 3, where there is the byte 0xe9"),
        (b"\x00\x01\x02", r"character 0 is U\+0000"),
        (b"\xff\xfea", "breaks off at byte 2"),
    ],
)
def test_what_is_no_text_says_where(file: bytes, told: str) -> None:
    """The refusal names the place, not the content."""
    with pytest.raises(Unreadable, match=told):
        paragraphs_of(file)


@pytest.mark.parametrize("file", [b"", b" \n\n\t", b"---\n\n***\n", b"\xef\xbb\xbf"])
def test_what_is_empty(file: bytes) -> None:
    """Nothing, white space, and rules without a word."""
    with pytest.raises(Empty):
        paragraphs_of(file)


@given(st.binary(max_size=400), st.text(max_size=20))
def test_an_upload_arrives_byte_by_byte(file: bytes, name: str) -> None:
    """Whatever the file holds, as a browser sends it: the same bytes, and the other field."""
    boundary = "----x9Qr2"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="name"\r\n\r\n'
    middle = f'\r\n--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="C:\\d\\a %22b%22.md"\r\n'
    sent = (
        f"{head}{name}{middle}Content-Type: text/markdown\r\n\r\n".encode() + file + f"\r\n--{boundary}--\r\n".encode()
    )
    form = form_of(f"multipart/form-data; boundary={boundary}", sent)
    assert (form.file, form.file_name, form.fields) == (file, 'a "b".md', {"name": name})


@given(st.binary(max_size=200), st.sampled_from(["multipart/form-data; boundary=x", "text/plain", "", "multipart/"]))
def test_a_body_that_is_no_form_is_an_empty_one(body: bytes, content_type: str) -> None:
    """Garbage raises nothing and is no file."""
    assert form_of(content_type, body).file is None


@pytest.mark.parametrize(
    "text",
    ["# a" + " " * 200_000 + "b", "A. " * 100_000, "." * 200_000 + "x", "*a" * 100_000, "- " * 100_000, "(“" * 50_000],
    ids=range(6),
)
def test_a_text_made_to_be_slow_is_not(text: str) -> None:
    """Half a megabyte of what makes a careless expression take for ever is read at once."""
    began = time.process_time()
    analysed(text + " word")
    assert time.process_time() - began < 20  # what takes the square of its length takes minutes


def test_two_texts_with_nothing_in_common() -> None:
    """Of a thousand paragraphs none is looked for among all the others."""
    before, after = ("\n\n".join(f"{letter}{n} " * 30 for n in range(1000)) for letter in "ab")
    began = time.process_time()
    found = compared(before, after)
    assert (found["added"], found["removed"]) == (1000, 1000)
    assert time.process_time() - began < 20


def test_documents_that_nobody_touches_are_forgotten(tmp_path: Path) -> None:
    """A document goes with its versions and findings; one with a newer version, or a newer job, stays."""
    register = Register(tmp_path)
    old, newer, asked = (register.add("me", name, b"text") for name in ("old", "newer", "asked"))
    for document in (old, asked):
        register.ask(f"job of {document}", document, "analyse", 1)
    moment = time.time()
    register.add_version("me", newer, b"text")
    register.ask("a later job", asked, "analyse", 1)
    register.forget(time.time() - moment)
    assert {document.name for document in register.all("me")} == {"newer", "asked"}
    assert {run.document for run in register.runs("me")} == {asked}
    register.forget(-1)
    assert register.all("me") == []
