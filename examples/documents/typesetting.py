"""Simple HTML becomes PDF: a small, closed set of tags, set in Source Serif by reportlab.

Blocks: ``h1 h2 h3 p``, ``ol ul`` with ``li``, ``table`` with ``tr th td``, ``hr`` (``class="page"`` starts a page).
Inside them: ``b i u br``. ``p`` has the classes counsel, gap, indent and signature; ``table`` caption, facts and grid;
``<ol start="continue">`` counts on from the list before. Text outside a block is a paragraph, a blank line ends it.
The same input gives the same bytes.
"""

from __future__ import annotations

import io
from functools import cache
from html import escape
from html.parser import HTMLParser
from importlib.resources import files
from typing import Any, Final

from reportlab.lib.colors import HexColor
from reportlab.lib.enums import TA_CENTER, TA_JUSTIFY
from reportlab.lib.pagesizes import LETTER
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import inch
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    Flowable,
    HRFlowable,
    KeepTogether,
    PageBreak,
    Paragraph,
    SimpleDocTemplate,
    Spacer,
    Table,
)

from .templating import TemplateFault

FONT: Final = "SourceSerif"
_FACES: Final = {"": "Regular", "-Bold": "Bold", "-Italic": "It", "-BoldItalic": "BoldIt"}
_BLOCKS: Final = frozenset({"h1", "h2", "h3", "p", "li", "td", "th"})
_GROUPS: Final = frozenset({"ol", "ul", "table", "tr"})
_INLINE: Final = {"b": "b", "strong": "b", "i": "i", "em": "i", "u": "u"}
_WIDTH: Final = LETTER[0] - 2 * inch
_RULE: Final = HexColor("#444444")


@cache
def _fonts() -> dict[str, Any]:
    """Registers the four faces once in a process. The font comes from a package, so every machine prints alike."""
    folder = files("font_source_serif_pro") / "files"
    faces = {}
    for suffix, face in _FACES.items():
        font = TTFont(FONT + suffix, str(folder / f"SourceSerifPro-{face}.ttf"))
        pdfmetrics.registerFont(font)
        faces[suffix] = font.face
    pdfmetrics.registerFontFamily(FONT, FONT, f"{FONT}-Bold", f"{FONT}-Italic", f"{FONT}-BoldItalic")
    return faces


def unprintable(text: str) -> str | None:
    """The first character that the document font does not have, None where it has them all."""
    faces = _fonts()
    known = [faces[face].charToGlyph for face in ("", "-Bold")]
    return next((c for c in text if not c.isspace() and any(ord(c) not in glyphs for glyphs in known)), None)


def _style(name: str, **more: Any) -> ParagraphStyle:
    plain = {"fontName": FONT, "fontSize": 11, "leading": 15.5, "spaceAfter": 7, "alignment": TA_JUSTIFY}
    plain |= {"allowWidows": 0, "allowOrphans": 0, "bulletFontName": FONT, "bulletFontSize": 11}
    return ParagraphStyle(name, **{**plain, **more})


_BOLD: Final = {"fontName": f"{FONT}-Bold", "keepWithNext": 1, "alignment": 0}
_STYLES: Final = {
    "p": _style("p"),
    "p.counsel": _style("counsel", alignment=0, spaceAfter=18, fontSize=10.5, leading=14),
    "p.gap": _style("gap", alignment=0, spaceBefore=12, spaceAfter=14),
    "p.indent": _style("indent", leftIndent=24),
    "p.signature": _style("signature", alignment=0, spaceBefore=22, leftIndent=3.1 * inch),
    "h1": _style("h1", **{**_BOLD, "fontSize": 15, "leading": 20, "alignment": TA_CENTER, "spaceAfter": 16}),
    "h2": _style("h2", **{**_BOLD, "fontSize": 12.5, "leading": 17, "spaceBefore": 12, "spaceAfter": 7}),
    "h3": _style("h3", **{**_BOLD, "fontSize": 11, "leading": 15, "spaceBefore": 8, "spaceAfter": 4}),
    "li": _style("li", leftIndent=26, bulletIndent=4),
    "td": _style("td", alignment=0, spaceAfter=0, fontSize=10.5, leading=14),
    "th": _style("th", alignment=0, spaceAfter=0, fontSize=10.5, leading=14, fontName=f"{FONT}-Bold"),
}
_TABLES: Final[dict[str, tuple[list[float] | None, list[tuple[Any, ...]]]]] = {
    "caption": ([50, 50], [("LINEAFTER", (0, 0), (0, -1), 0.8, _RULE), ("LINEBELOW", (0, 0), (0, -1), 0.8, _RULE),
                           ("LEFTPADDING", (1, 0), (1, -1), 16), ("BOTTOMPADDING", (0, 0), (-1, -1), 12)]),
    "facts": ([30, 70], [("LINEBELOW", (0, 0), (-1, -1), 0.4, _RULE)]),
    "grid": (None, [("GRID", (0, 0), (-1, -1), 0.4, _RULE), ("BACKGROUND", (0, 0), (-1, 0), HexColor("#eeeeee"))]),
}  # fmt: skip


class _Reader(HTMLParser):
    """Reads the tags into flowables. Every fault names the line of the filled-in template."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self._source = source
        self.story: list[Flowable] = []
        self._open: list[tuple[str, dict[str, str]]] = []
        self._text: list[str] = []
        self._number = 0
        self._rows: list[list[Paragraph]] = []

    def fault(self, said: str) -> TemplateFault:
        return TemplateFault(f"{self._source}, line {self.getpos()[0]} of its output: {said}")

    def _within(self, tags: frozenset[str] | set[str]) -> bool:
        return any(tag in tags for tag, _ in self._open)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "br":
            self._begin_text()
            self._text.append("<br/>")
        elif tag in _INLINE:
            self._begin_text()
            self._open.append((tag, given))
            self._text.append(f"<{_INLINE[tag]}>")
        elif tag in _BLOCKS or tag in _GROUPS or tag == "hr":
            self._end_loose()
            self._begin_block(tag, given)
        else:
            raise self.fault(f"<{tag}> is not known here")

    def _begin_block(self, tag: str, given: dict[str, str]) -> None:
        parent = self._open[-1][0] if self._open else None
        wanted = {"li": ("ol", "ul"), "tr": ("table",), "td": ("tr",), "th": ("tr",)}.get(tag, (None,))
        if parent not in wanted:
            where = f"inside <{parent}>" if parent else "here"
            raise self.fault(f"<{tag}> cannot stand {where}")
        if tag == "hr":
            rule = HRFlowable(width="100%", color=_RULE, spaceBefore=6, spaceAfter=10)
            self.story.append(PageBreak() if given.get("class") == "page" else rule)
            return
        if tag == "ol" and given.get("start") != "continue":
            self._number = 0
        if tag == "table":
            self._rows = []
        if tag == "tr":
            self._rows.append([])
        self._open.append((tag, given))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in ("br", "hr"):
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("br", "hr"):
            return
        if tag not in _INLINE:
            self._end_loose()
        if not self._open or self._open[-1][0] != tag:
            expected = f"</{self._open[-1][0]}>" if self._open else "no closing tag"
            raise self.fault(f"</{tag}> where {expected} was expected")
        _, given = self._open.pop()
        if tag in _INLINE:
            self._text.append(f"</{_INLINE[tag]}>")
        elif tag in _BLOCKS:
            self._finish(tag, given.get("class", ""))
        elif tag == "table":
            self._finish_table(given)

    def handle_data(self, data: str) -> None:
        bad = unprintable(data)
        if bad is not None:
            raise self.fault(f"the character “{bad}” (U+{ord(bad):04X}) is not in the document font")
        if self._within(_BLOCKS) or self._within({"_"}):
            if self._open[0][0] == "_" and "\n\n" in data and len(self._open) == 1:
                first, _, rest = data.partition("\n\n")
                self._text.append(escape(first))
                self._end_loose()
                self.handle_data(rest)
                return
            self._text.append(escape(data))
        elif data.strip():
            self._begin_text()
            self.handle_data(data.lstrip())

    def _begin_text(self) -> None:
        """Text outside a block opens a paragraph of its own."""
        if self._within(_BLOCKS) or self._within({"_"}):
            return
        if self._open:
            raise self.fault(f"text directly inside <{self._open[-1][0]}>")
        self._open.append(("_", {}))

    def _end_loose(self) -> None:
        if self._open == [("_", {})]:
            self._open.pop()
            self._finish("p", "")
        elif self._open and self._open[-1][0] in _INLINE:
            raise self.fault(f"<{self._open[-1][0]}> is still open")

    def _finish(self, tag: str, css: str) -> None:
        # reportlab folds runs of white space itself, but keeps a space after a break
        text = " ".join("".join(self._text).split()).replace("<br/> ", "<br/>").removesuffix("<br/>")
        self._text.clear()
        style = _STYLES.get(f"{tag}.{css}", _STYLES[tag])
        if tag in ("td", "th"):
            self._rows[-1].append(Paragraph(text, style))
        elif tag == "li":
            self._number += 1
            bullet = f"{self._number}." if self._open[-1][0] == "ol" else "•"
            self.story.append(Paragraph(text, style, bulletText=bullet))
        elif css == "signature":
            self.story.append(KeepTogether([Paragraph(text, style)]))
        elif text:
            self.story.append(Paragraph(text, style))

    def _finish_table(self, given: dict[str, str]) -> None:
        columns = max((len(row) for row in self._rows), default=0)
        if not columns:
            return
        widths, lines = _TABLES.get(given.get("class", ""), (None, []))
        if "widths" in given:
            try:
                widths = [float(part) for part in given["widths"].split()]
            except ValueError:
                raise self.fault("widths are numbers with spaces between them") from None
        if widths is None or len(widths) != columns or min(widths) <= 0:
            widths = [1.0] * columns
        empty = Paragraph("", _STYLES["td"])
        rows = [row + [empty] * (columns - len(row)) for row in self._rows]
        table = Table(rows, colWidths=[_WIDTH * w / sum(widths) for w in widths], splitInRow=1)
        table.setStyle([("VALIGN", (0, 0), (-1, -1), "TOP"), ("TOPPADDING", (0, 0), (-1, -1), 5),
                        ("BOTTOMPADDING", (0, 0), (-1, -1), 6), *lines])  # fmt: skip
        self.story += [table, Spacer(1, 14)]

    def close(self) -> None:
        super().close()
        self._end_loose()
        if self._open:
            raise self.fault(f"<{self._open[-1][0]}> is never closed")


class _Pages(Canvas):
    """Writes "Page 2 of 5" under each page: the count is known only when the last page has been set."""

    footer = ""
    count = 0

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._kept: list[dict[str, Any]] = []

    def showPage(self) -> None:  # noqa: N802 - reportlab's name
        self._kept.append(dict(self.__dict__))
        self._startPage()  # type: ignore[attr-defined] # the stubs leave out what reportlab's own recipe uses

    def save(self) -> None:
        type(self).count = len(self._kept)
        for page in self._kept:
            self.__dict__.update(page)
            self.setStrokeColor(_RULE)
            self.setLineWidth(0.4)
            self.line(inch, 0.82 * inch, LETTER[0] - inch, 0.82 * inch)
            self.setFont(FONT, 9)
            self.drawString(inch, 0.62 * inch, self.footer)
            self.drawRightString(LETTER[0] - inch, 0.62 * inch, f"Page {self.getPageNumber()} of {self.count}")
            super().showPage()
        super().save()


def typeset(html: str, *, source: str, title: str, footer: str) -> tuple[bytes, int]:
    """A PDF and the number of its pages. Raises TemplateFault where the markup is wrong; ``source`` names it there."""
    _fonts()
    reader = _Reader(source)
    reader.feed(html)
    reader.close()
    story = reader.story or [Spacer(1, 1)]

    class Pages(_Pages):  # a class of its own for each document: reportlab makes the instance itself
        pass

    Pages.footer = footer if len(footer) <= 90 else footer[:89] + "…"
    target = io.BytesIO()
    SimpleDocTemplate(
        target,
        pagesize=LETTER,
        title=title,
        author="Milepost documents example",
        invariant=1,
        leftMargin=inch,
        rightMargin=inch,
        topMargin=0.9 * inch,
        bottomMargin=1.1 * inch,
    ).build(story, canvasmaker=Pages)
    return target.getvalue(), Pages.count
