"""A bill of materials, from somebody's CSV file to what the catalogue says of each of its lines."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from pathlib import Path

import pytest

from examples.bom.boms import FILE_LIMIT, LINE_LIMIT, BadBom, Line, designators, lines_from_csv
from examples.bom.parts import HERE, Catalogue, CatalogueFault, enrich
from examples.bom.shelf import Full, Shelf
from examples.bom.worker import forget
from examples.stage.site import Site
from examples.stage.workqueue import Request

CATALOGUE = Catalogue()
SAMPLE = HERE / "sample"


def part(mpn: str, quantity: int = 1, manufacturer: str = "") -> Line:
    """A line with this part number."""
    return Line(1, "U1", mpn, quantity, manufacturer, "")


@pytest.mark.parametrize(
    ("head", "row"),
    [
        ("Designator,MPN,Quantity", "R1-R4,AR0603F1002,4"),
        ("Qty,RefDes,Manufacturer Part Number,Comment", "4,R1-R4,AR0603F1002,pull-ups"),
        ("Reference;Mfr. Part #;Count", '"R1; R2; R3; R4";AR0603F1002;4'),
        ("part number\tpcs\tref", "AR0603F1002\t4.0\tR1 R2 R3 R4"),
        ("MPN,References", 'AR0603F1002,"R1, R2, R3-R4"'),
    ],
)
def test_columns_have_many_names(head: str, row: str) -> None:
    """Whatever the columns are called, in whatever order and with whatever between them, it is the same line; without
    a quantity the designators are counted.
    """
    (line,) = lines_from_csv(f"\ufeff{head}\r\n\r\n{row}\r\n".encode())
    assert (line.number, line.mpn, line.quantity) == (1, "AR0603F1002", 4)


@pytest.mark.parametrize(
    ("text", "count"),
    [("", 1), ("U1", 1), ("R1-R4, R7", 5), ("C1–C3", 3), ("R4-R1", 1), ("A-B", 1), ("R1-99999999", 1)],
)
def test_designators_are_counted(text: str, count: int) -> None:
    """Ranges and lists, and what is neither is one."""
    assert designators(text) == count


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"  \n \n", "empty"),
        (b"\xff\xfe\x00", "Line 1: this is not UTF-8"),
        (b"mpn,qty\nA,1\0", "not a CSV"),
        (b'mpn,qty\n"A,1\n', "not CSV"),
        (b"name,qty\nA,1\n", "no column is called"),
        (b"mpn,price\nA,1\n", "neither a column"),
        (b"mpn,qty\n", "only its head"),
        (b"mpn,qty\nA,1\nB,two\n", "Line 3: the quantity “two”"),
        (b"mpn,qty\nA,0\n", "Line 2: the quantity 0"),
        (b"mpn,qty\nA,\n", "Line 2: the quantity “”"),
        (b"mpn,qty\nA,1.5\n", "1.5"),
        (b"mpn,qty\nA,9999999\n", "not between"),
        (b"mpn,qty\nA,1,000\n", "3 columns where the head has 2"),
        (b"mpn,qty\nA\x07,1\n", "U+0007"),
        (b"mpn,qty\n" + b"A" * 301 + b",1\n", "301 characters"),
        (b"mpn,qty\n" + b"A,1\n" * (LINE_LIMIT + 1), "more than 1,000 parts"),
        (b"mpn,qty\n" + b"A" * FILE_LIMIT, "larger than 256 KiB"),
    ],
)
def test_a_bad_file_is_refused_with_a_sentence(data: bytes, said: str) -> None:
    """And with the line, where it is one."""
    with pytest.raises(BadBom) as bad:
        lines_from_csv(data)
    assert said in bad.value.problems[0]


def test_all_faults_are_said_at_once() -> None:
    """The sample with mistakes has three; of very many the first twenty are listed."""
    with pytest.raises(BadBom) as bad:
        lines_from_csv((SAMPLE / "broken.csv").read_bytes())
    assert [problem.partition(":")[0] for problem in bad.value.problems] == ["Line 3", "Line 4", "Line 5"]
    with pytest.raises(BadBom) as bad:
        lines_from_csv(b"mpn,qty\n" + b"A,x\n" * 50)
    assert len(bad.value.problems) == 21
    assert bad.value.problems[-1] == "And 30 more."


def test_the_catalogue_is_sound() -> None:
    """Each number is one part, each price is a number that falls with the quantity, each replacement is there."""
    with (HERE / "catalogue.csv").open(newline="") as file:
        listed = list(csv.DictReader(file))
    assert len(listed) == len(CATALOGUE) >= 300
    for row in listed:
        found = CATALOGUE.find(row["mpn"])
        assert found
        prices = [found.price(quantity) for quantity in (1, 10, 100, 1000)]
        assert prices == sorted(prices, reverse=True)
        assert prices[-1] > 0
        if row["replacement"]:
            other = CATALOGUE.find(row["replacement"])
            assert other
            assert other.lifecycle == "Active"


@pytest.mark.parametrize("mpn", ["CV42688", "cv-42688", " CV 426 88", "ＣＶ４２６８８"])
def test_a_part_is_found_however_it_is_written(mpn: str) -> None:
    """Case, hyphens, spaces and full width make no other part of it."""
    row = enrich(part(mpn), CATALOGUE)
    assert (row["status"], row["mpn"], row["warning"]) == ("enriched", "CV42688", False)


@pytest.mark.parametrize(
    ("mpn", "message"),
    [
        ("CV6O74", "Not in the catalogue; did you mean CV6074?"),  # the letter O
        ("KD32F411C", "Not in the catalogue; did you mean KD32F411CE?"),
        ("TPX-9931-QF", "Not in the catalogue"),
        ("", "No part number"),
        ("---", "No part number"),
    ],
)
def test_what_is_not_found_is_never_guessed(mpn: str, message: str) -> None:
    """It is an error, with what may be meant."""
    row = enrich(part(mpn), CATALOGUE)
    assert (row["status"], row["message"]) == ("error", message)
    assert "unit_price" not in row


def test_the_price_is_that_of_the_quantity() -> None:
    """Each step of the price list begins with its quantity."""
    prices = {quantity: enrich(part("NE555D", quantity), CATALOGUE) for quantity in (1, 9, 10, 99, 100, 1000, 50_000)}
    assert {quantity: row["unit_price"] for quantity, row in prices.items()} == {
        1: "0.27",
        9: "0.27",
        10: "0.232",
        99: "0.232",
        100: "0.178",
        1000: "0.13",
        50_000: "0.13",
    }
    assert Decimal(prices[99]["price"]) == Decimal("22.968")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (part("2N2222A"), "Obsolete, use MMBT2222A"),
        (part("CV280"), "None in stock"),
        (part("KD32F411CE", 4), "Only 3 in stock"),
        (part("FZ5X20-2A"), "Not RoHS"),
        (part("NE555D", manufacturer="Kestrel"), "Made by Corvus Semiconductor"),
        (part("NE556N"), "Obsolete, use NE555D; None in stock"),
    ],
)
def test_what_to_look_at_is_said(line: Line, message: str) -> None:
    """Such a part is found, with a warning."""
    row = enrich(line, CATALOGUE)
    assert (row["status"], row["warning"], row["message"]) == ("enriched", True, message)


def test_a_price_that_makes_no_sense_names_its_line() -> None:
    """The list of next quarter is used where it is good, and where it is not it is said which line is at fault."""
    newer = Catalogue(prices=SAMPLE / "next-prices.csv")
    assert enrich(part("QP5430"), CATALOGUE)["unit_price"] == "1.18"
    assert enrich(part("QP5430"), newer)["unit_price"] == "1.22"
    with pytest.raises(CatalogueFault, match=r"next-prices\.csv, line 9: the price of SS34") as fault:
        enrich(part("SS34"), newer)
    assert fault.value.milepost_code == "CATALOGUE_FAULT"


def test_the_sample_has_some_of_everything() -> None:
    """62 lines, of which 7 are not found and 10 are to be looked at."""
    lines = lines_from_csv((SAMPLE / "sensor-board.csv").read_bytes())
    rows = [enrich(line, CATALOGUE) for line in lines]
    assert len(rows) == 62
    assert sum(row["status"] == "error" for row in rows) == 7
    assert sum(row["warning"] for row in rows) == 10


# --- the shelf -------------------------------------------------------------------------------------------------------


def test_half_a_row_is_no_row(tmp_path: Path) -> None:
    """What a killed worker left unfinished is not read, and the next worker goes on in its place."""
    shelf = Shelf(tmp_path, "one", "somebody")
    shelf.add("bom-1", "Some", (part("NE555D"), part("CV280")))
    record = shelf.record("bom-1", 1)
    record.add({"line": 1})
    record.close()
    with (tmp_path / "boms" / "one" / "somebody" / "bom-1" / "rows-1.jsonl").open("a") as file:
        file.write('{"line": 2, "sta')
    assert shelf.rows("bom-1", 1) == [{"line": 1}]
    record = shelf.record("bom-1", 1)
    assert record.rows == [{"line": 1}]
    record.add({"line": 2})
    record.close()
    assert shelf.rows("bom-1", 1) == [{"line": 1}, {"line": 2}]
    assert shelf.rows("bom-1", 1, 1) == [{"line": 2}]
    assert shelf.rows("bom-1", 2) == []


def test_there_is_room_for_fifty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for one more, until those that never had a run are a week old; the other organisation is another shelf."""
    shelf = Shelf(tmp_path, "one", "somebody")
    for number in range(50):
        shelf.add(f"bom-{number}", "Some", (part("NE555D"),))
    shelf.began("bom-7", 1)
    with pytest.raises(Full):
        shelf.add("bom-50", "One more", (part("NE555D"),))
    assert shelf.add("bom-3", "The same again", ()).name == "Some"
    Shelf(tmp_path, "two", "somebody").add("bom-50", "Some", (part("NE555D"),))
    monkeypatch.setattr("examples.bom.shelf.KEEP_SECONDS", -1.0)
    shelf.add("bom-50", "One more", (part("NE555D"),))
    assert {bom.id for bom in shelf.all()} == {"bom-7", "bom-50"}


def test_what_is_old_is_forgotten_with_its_newest_run(tmp_path: Path) -> None:
    """The request of an earlier run takes nothing with it."""
    site = Site("bom", "http://127.0.0.1", "secret", tmp_path)
    shelf = Shelf(tmp_path, "one", "somebody")
    shelf.add("bom-1", "Some", (part("NE555D"),))
    shelf.began("bom-1", 2)
    for attempt, kept in ((1, True), (2, False)):
        forget(Request(f"r{attempt}", "somebody", "Some", {}, tenant="one", job="bom-1", attempt=attempt), site)
        assert (shelf.find("bom-1") is not None) is kept


@pytest.mark.parametrize("text", ["=1+1", "+A1", "-A1", "@SUM(A1)"])
def test_a_file_that_is_opened_computes_nothing(tmp_path: Path, text: str) -> None:
    """What a spreadsheet would take for a formula stands there as text."""
    shelf = Shelf(tmp_path, "one", "somebody")
    line = Line(1, text, text, 1, "", text)
    bom = shelf.add("bom-1", "Some", (line,))
    shelf.finish(bom, [enrich(line, CATALOGUE)])
    path = shelf.file("bom-1")
    assert path
    _, row = csv.reader(io.StringIO(path.read_text("utf-8-sig"), newline=""))
    assert row[1:3] == [f"'{text}"] * 2
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in row)
