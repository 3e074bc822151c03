"""What a scenario found, as plain tables: ratios first, since they hold on other machines too."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


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
        told = f"{_number(self.median)}{self.unit}"
        low, high = _number(min(self.values)), _number(max(self.values))
        return told if low == high else f"{told} ({low}–{high})"


def ratio(of: Figure, to: Figure) -> str:
    """How many times one median is the other."""
    return f"{of.median / to.median:.2f} ×"


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


@dataclass
class Table:
    """A title, columns, rows of text and notes below."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: Sequence[str] = ()

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
