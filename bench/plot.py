"""Lines over how many streams there are, both axes logarithmic, as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from bench.report import number

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 66, 150, 44, 50
COLOURS: Final = ("#6b7280", "#1d4ed8", "#047857", "#7c3aed", "#c2410c", "#be185d")
APART: Final = 16  # pixels between the names at the lines' ends

Points = Sequence[tuple[float, float]]


def lines(title: str, across: str, up: str, series: Mapping[str, Points]) -> str:
    """The picture. Values must be above 0."""
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points]
    x = _Axis(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    y = _Axis(min(ys) / 1.3, max(ys) * 1.3, HEIGHT - BOTTOM, TOP)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        "<style>text { font-size: 13px; fill: #374151 } .title { font-size: 15px; font-weight: bold }</style>",
        f'<text class="title" x="{LEFT}" y="24">{escape(title)}</text>',
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">{across}</text>',
        f'<text transform="translate(16 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">{up}</text>',
    ]
    for value in y.ticks():
        out.append(f'<path d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}" stroke="#e5e7eb"/>')
        out.append(_label(LEFT - 8, y(value) + 4, "end", value))
    for value in sorted(set(xs)):
        out.append(f'<path d="M{x(value):.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#f3f4f6"/>')
        out.append(_label(x(value), HEIGHT - BOTTOM + 18, "middle", value))
    below = math.inf
    for (name, points), colour in sorted(zip(series.items(), COLOURS, strict=False), key=lambda one: one[0][1][-1][1]):
        path = " ".join(f"{x(across):.1f},{y(up):.1f}" for across, up in points)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        out += [f'<circle cx="{x(across):.1f}" cy="{y(up):.1f}" r="3.5" fill="{colour}"/>' for across, up in points]
        below = min(y(points[-1][1]) + 4, below - APART)
        out.append(f'<text x="{WIDTH - RIGHT + 12}" y="{below:.1f}" style="fill: {colour}">{escape(name)}</text>')
    return "\n".join([*out, "</svg>", ""])


def _label(x: float, y: float, anchor: str, value: float) -> str:
    text = number(value).removesuffix(".00").removesuffix(".0")
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'


class _Axis:
    """From values to pixels, by their logarithms."""

    def __init__(self, low: float, high: float, first: float, last: float) -> None:
        self._low, self._high = math.log10(low), math.log10(high)
        self._first, self._last = first, last

    def __call__(self, value: float) -> float:
        part = (math.log10(value) - self._low) / (self._high - self._low)
        return self._first + part * (self._last - self._first)

    def ticks(self) -> list[float]:
        """1, 2, 5, 10 … as far as they are on the axis."""
        found = [step * 10.0**power for power in range(-3, 7) for step in (1, 2, 5)]
        return [value for value in found if self._low <= math.log10(value) <= self._high]
