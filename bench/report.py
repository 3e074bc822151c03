"""What a scenario found: tables with ratios first, since those hold on other machines too, goals, and plots.

``put`` and ``put_rows`` write them into a page between two comments, so that the page's figures are made by one
command and its sentences by hand.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

BLOCK: Final = "<!-- figures: {} -->\n"
END: Final = "\n<!-- end -->"


@dataclass(frozen=True)
class Figure:
    """One quantity, measured several times: told as its median, with the lowest and the highest."""

    values: Sequence[float]
    unit: str = ""

    @property
    def median(self) -> float:
        """What is told."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        told = f"{number(self.median)}{self.unit}"
        low, high = number(min(self.values)), number(max(self.values))
        return told if low == high else f"{told} ({low}–{high})"


def ratio(of: Figure, to: Figure) -> str:
    """How many times one median is the other."""
    return f"{of.median / to.median:.2f} ×"


def number(value: float) -> str:
    """A number as it is told: three digits, or all of them before the point."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def p99(values: Sequence[float]) -> float:
    """Their 99th percentile."""
    return statistics.quantiles(values, n=100, method="inclusive")[98]


@dataclass(frozen=True)
class Goal:
    """What the design promises, and what was found: at least, or at most, a limit."""

    what: str
    bound: str  # ≥ or ≤
    limit: float
    found: float
    unit: str = ""

    @property
    def row(self) -> Sequence[str]:
        """The goal in a table."""
        holds = self.found >= self.limit if self.bound == "≥" else self.found <= self.limit
        limit = f"{self.limit:,g}{self.unit}"
        return self.what, f"{self.bound} {limit}", f"{number(self.found)}{self.unit}", "holds" if holds else "missed"


@dataclass
class Table:
    """A title, columns, rows of text and notes below; the goals that its figures decide; a plot of them."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: Sequence[str] = ()
    goals: list[Goal] = field(default_factory=list)
    plot: tuple[str, str] | None = None  # the name of a picture, and the picture as SVG

    def __str__(self) -> str:
        lines = [self.columns, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.columns))]
        told = [
            "  ".join(
                [line[0].ljust(widths[0]), *(cell.rjust(wide) for cell, wide in zip(line[1:], widths[1:], strict=True))]
            ).rstrip()
            for line in lines
        ]
        rule = "-" * max(map(len, told))
        return "\n".join([self.title, rule, told[0], rule, *told[1:], *(f"  {note}" for note in self.notes)])

    def markdown(self) -> str:
        """The same, and the picture's place, for a page in docs/."""
        right = "|".join(["---", *["--:"] * (len(self.columns) - 1)])
        lines = [f"**{self.title}**\n", _row(self.columns), f"|{right}|", *map(_row, self.rows)]
        if self.notes:
            lines.append("\n" + "\n".join(self.notes))
        if self.plot:
            lines.append(f"\n![{self.title}](images/{self.plot[0]}.svg)")
        return "\n".join(lines)


def goals(found: Sequence[Goal]) -> Table:
    """All goals in one table."""
    return Table("Goals", ("goal", "", "found", ""), [goal.row for goal in found])


def pages(page: Path, name: str) -> list[Path]:
    """The page, and those beside it that have a place for the figures of that name too."""
    beside = [other for other in sorted(page.parent.glob("*.md")) if BLOCK.format(name) in other.read_text()]
    return [page, *(other for other in beside if not other.samefile(page))]


def put(page: Path, name: str, text: str) -> None:
    """Write ``text`` between the page's comments of that name. Raises ValueError where it has none."""
    before, found, rest = page.read_text().partition(BLOCK.format(name))
    if not found:
        raise ValueError(f"{page} has no place for the figures of {name}")
    page.write_text(f"{before}{found}\n{text}\n{END}{rest.partition(END)[2]}")


def put_rows(page: Path, name: str, table: Table) -> None:
    """``put`` a table, where rows that it does not have stay as the page has them."""
    block = page.read_text().partition(BLOCK.format(name))[2].partition(END)[0]
    new = {row[0]: _row(row) for row in table.rows}
    for line in re.findall(r"^\| .+ \|$", block, re.MULTILINE)[1:]:
        new.setdefault(line[2:].partition(" | ")[0], line)
    head = table.markdown().splitlines()[2:4]
    put(page, name, "\n".join([*head, *new.values()]))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
