"""From the bytes of an uploaded file to paragraphs: plain text and Markdown, UTF-8 or UTF-16."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import Final

WORD: Final = re.compile(r"[^\W_]+(?:['’.\-][^\W_]+)*")
_HEADING: Final = re.compile(r"#{1,6}(?=\s)")
_LISTED: Final = re.compile(r"(?:[-*+•]|\(?(?:\d{1,3}|[a-z])[.)])\s+")
_MARKS: Final = re.compile(r"\*\*|__|`|(?<!\w)[*_](?=\w)|(?<=[\w.,;:!?)])[*_](?!\w)")
_LETTER: Final = re.compile(r"[^\W\d_]")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
# A point after these, or after a single capital, ends no sentence.
_SHORT: Final = r"\b(?:[A-Z]|No|Nos|Mr|Mrs|Ms|Dr|Inc|Ltd|Co|Corp|Art|Sec|cf|vs|approx|e\.g|i\.e)\.$"
_END: Final = re.compile(r"(?<![.!?…])[.!?…]+[\"”’)\]]*(?=\s|$)")
_SHORTEST: Final = 12  # characters, in which any of them fits


class Unreadable(Exception):
    """The file is no text; the message is a sentence."""

    milepost_code = "NOT_TEXT"


class Empty(Exception):
    """There is nothing in the file."""

    milepost_code = "EMPTY_DOCUMENT"

    def __init__(self) -> None:
        super().__init__("The document is empty: there is nothing to read in it.")


@dataclass(frozen=True, slots=True)
class Paragraph:
    """One block of text without its Markdown. ``number`` counts from 1; ``section`` is the heading that it is under."""

    number: int
    text: str
    section: str
    is_heading: bool = False

    @property
    def words(self) -> list[str]:
        """Its words, in order."""
        return WORD.findall(self.text)

    @property
    def sentences(self) -> list[str]:
        """Its sentences. A heading has none."""
        if self.is_heading:
            return []
        found: list[str] = []
        start = 0
        for end in _END.finditer(self.text):
            if re.search(_SHORT, self.text[max(start, end.end() - _SHORTEST) : end.end()]):
                continue
            sentence = self.text[start : end.end()].strip()
            if not _LETTER.search(sentence):
                continue
            found.append(sentence)
            start = end.end()
        rest = self.text[start:].strip()
        return [*found, rest] if _LETTER.search(rest) else found


def decode(data: bytes) -> str:
    """The text. Raises Unreadable, saying where it is none."""
    encoding = "utf-8-sig"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        byte = f", where there is the byte 0x{data[error.start]:02x}" if error.start < len(data) else ""
        raise Unreadable(f"This is neither UTF-8 nor UTF-16 text: it breaks off at byte {error.start}{byte}.") from None
    control = _CONTROL.search(text)
    if control:
        raise Unreadable(f"This is no text: character {control.start()} is U+{ord(control.group()):04X}.")
    return text


def paragraphs_of(data: bytes) -> list[Paragraph]:
    """The paragraphs of a file. Raises Unreadable, Empty."""
    found: list[Paragraph] = []
    section = ""
    for block in _blocks(decode(data)):
        heading = _HEADING.match(block)
        text = _MARKS.sub("", block.strip("#") if heading else block).strip()
        if not WORD.search(text):
            continue  # a rule, or a table's line
        section = text if heading else section
        found.append(Paragraph(len(found) + 1, text, section, heading is not None))
    if not found:
        raise Empty
    return found


def _blocks(text: str) -> list[str]:
    """What blank lines, headings and the items of lists divide, each on one line."""
    blocks: list[list[str]] = [[]]
    for line in text.splitlines():
        stripped = line.strip()
        alone = bool(_HEADING.match(stripped))
        if not stripped or alone or _LISTED.match(stripped):
            blocks.append([])
        if stripped:
            blocks[-1].append(stripped)
        if alone:
            blocks.append([])
    return [" ".join(lines) for lines in blocks if lines]
