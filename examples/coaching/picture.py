"""The waveform as a picture: what was said, where it was said, and where it hit the lid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .analysis import Figures

COLUMNS: Final = 480
BAND: Final = 60  # of each channel
LID: Final = 4  # how high the marks are where it clips, above and below
QUIETEST: Final = 0.25  # a peak below it is drawn as if it were this high: quiet, but to be seen

# One picture for light and dark pages: each has 3:1 on both.
_WAVE: Final = "#4a86b3"
_CLIPPED: Final = "#d9483b"


def draw(figures: Figures, envelope: Sequence[Sequence[tuple[float, float]]]) -> str:
    """An SVG that may be stretched; one band for each channel."""
    columns = len(envelope[0])
    height = BAND * len(envelope)
    peak = max(max(high, -low) for band in envelope for low, high in band)
    scale = (BAND / 2 - LID - 1) / max(peak, QUIETEST)
    parts = [_rectangles(figures.talk, figures.seconds, columns, height)]
    for number, band in enumerate(envelope):
        middle = BAND * number + BAND / 2
        upper = [f"{at + 0.5} {middle - max(high * scale, 0.4):.1f}" for at, (_, high) in enumerate(band)]
        lower = [f"{at + 0.5} {middle - min(low * scale, -0.4):.1f}" for at, (low, _) in enumerate(band)]
        parts.append(f'<path d="M{"L".join(upper + lower[::-1])}Z" fill="{_WAVE}"/>')
    hit = sorted({min(int(at / figures.seconds * columns), columns - 1) for at in figures.clipped})
    if hit:
        lines = "".join(f"M{column + 0.5} 0v{LID}M{column + 0.5} {height}v-{LID}" for column in hit)
        parts.append(f'<path d="{lines}" stroke="{_CLIPPED}"/>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {columns} {height}" width="{columns * 2}"'
        f' height="{height * 2}" preserveAspectRatio="none">{"".join(parts)}</svg>'
    )


def _rectangles(spans: Sequence[tuple[float, float]], seconds: float, columns: int, height: int) -> str:
    boxes = "".join(
        f"M{start / seconds * columns:.1f} 0H{end / seconds * columns:.1f}V{height}H{start / seconds * columns:.1f}Z"
        for start, end in spans
    )
    return f'<path d="{boxes}" fill="{_WAVE}" fill-opacity=".12"/>' if boxes else ""
