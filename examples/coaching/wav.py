"""WAV files, read as they are played: format first, then block after block of samples.

PCM of 8, 16, 24 and 32 bits and floating point of 32 and 64, also in the extensible header that recorders write.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from typing import BinaryIO, Final

PCM: Final = 1
FLOAT: Final = 3
EXTENSIBLE: Final = 0xFFFE
RATES: Final = range(4_000, 192_001)
UNKNOWN: Final = (0, 0xFFFFFFFF)  # what a recorder writes that could not go back to the header when it ended

_TYPES: Final = {(PCM, 8): "b", (PCM, 16): "h", (PCM, 24): "i", (PCM, 32): "i", (FLOAT, 32): "f", (FLOAT, 64): "d"}
_SIGNED: Final = bytes(value ^ 0x80 for value in range(256))  # 8-bit samples are stored from 0 to 255

# What people upload instead, by how it begins.
_OTHERS: Final = {
    b"ID3": "an MP3 file",
    b"\xff\xfb": "an MP3 file",
    b"\xff\xf3": "an MP3 file",
    b"fLaC": "a FLAC file",
    b"OggS": "an Ogg file",
    b"FORM": "an AIFF file",
    b"\x1aE\xdf\xa3": "a WebM file",
    b"RIFX": "a WAV file with its bytes reversed",
    b"RF64": "a WAV file of more than 4 GB",
}


class BadAudio(Exception):
    """This is not audio that can be read; the message is a sentence."""

    milepost_code = "AUDIO_FORMAT"


class CutShort(Exception):
    """The file ends before its audio does; the message is a sentence."""

    milepost_code = "AUDIO_TRUNCATED"


@dataclass(frozen=True, slots=True)
class Format:
    """How samples are stored. ``full_scale`` is what the largest of them stands for, as ``blocks`` gives them."""

    kind: int
    channels: int
    rate: int
    bits: int

    @property
    def frame_bytes(self) -> int:
        """The bytes of one moment: a sample of each channel."""
        return self.channels * self.bits // 8

    @property
    def full_scale(self) -> float:
        """24 bits are given as the upper ones of 32."""
        if self.kind == FLOAT:
            return 1.0
        return float(1 << ((32 if self.bits == 24 else self.bits) - 1))

    @property
    def label(self) -> str:
        """In words: ``16-bit PCM``."""
        return f"{self.bits}-bit {'float' if self.kind == FLOAT else 'PCM'}"


class Recording:
    """A WAV file that is open for reading. Raises BadAudio where it cannot be read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.format, self._size = _read_header(file)
        self.frames = self._size // self.format.frame_bytes

    @property
    def seconds(self) -> float:
        """How long it plays, by its header."""
        return self.frames / self.format.rate

    def blocks(self, frames: int) -> Iterator[list[array[int] | array[float]]]:
        """Blocks of so many frames, the last one shorter: in each, the samples of every channel.

        Raises CutShort in the place where the file ends too early, BadAudio for numbers that are none.
        """
        left = self.frames
        while left:
            wanted = min(frames, left)
            data = self._file.read(wanted * self.format.frame_bytes)
            if len(data) < wanted * self.format.frame_bytes:
                ends = (self.frames - left + len(data) // self.format.frame_bytes) / self.format.rate
                raise CutShort(
                    f"The file breaks off at {clock(ends)} of {clock(self.seconds)}: the rest was never written."
                )
            samples = _decode(data, self.format)
            yield [samples[channel :: self.format.channels] for channel in range(self.format.channels)]
            left -= wanted


def clock(seconds: float) -> str:
    """Seconds as people read them: ``1:05``."""
    whole = int(seconds)
    return f"{whole // 60}:{whole % 60:02}"


def _read_header(file: BinaryIO) -> tuple[Format, int]:
    """The format and the bytes of audio, with the file at the first of them."""
    start = file.read(12)
    if start[:4] != b"RIFF" or start[8:] != b"WAVE":
        raise BadAudio(_what_else(start))
    found: Format | None = None
    while len(head := file.read(8)) == 8:
        name, size = head[:4], int.from_bytes(head[4:], "little")
        if name == b"data":
            if found is None:
                break
            if size in UNKNOWN:
                here = file.tell()
                size = file.seek(0, 2) - here
                file.seek(here)
            if size < found.frame_bytes:
                raise BadAudio("There is no sound in this file.")
            return found, size
        if name == b"fmt ":
            found = _read_format(file.read(size + size % 2))
        else:
            file.seek(size + size % 2, 1)
    raise BadAudio("This WAV file is damaged: it does not say what its audio is." if found is None else _NO_AUDIO)


_NO_AUDIO: Final = "This WAV file is damaged: there is no audio in it."


def _read_format(data: bytes) -> Format:
    if len(data) < 16:
        raise BadAudio("This WAV file is damaged: it does not say what its audio is.")
    kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", data)
    if kind == EXTENSIBLE and len(data) >= 26:
        kind = int.from_bytes(data[24:26], "little")
    if (kind, bits) not in _TYPES:
        raise BadAudio(
            "This WAV file is compressed or of an unusual kind. It can be read as PCM with 8, 16, 24 or 32 bits,"
            " or as floating point."
        )
    if channels not in (1, 2):
        raise BadAudio(f"This recording has {channels} channels; it can have one or two.")
    if rate not in RATES:
        raise BadAudio(f"This recording has {rate:,} samples a second; it can have 4,000 to 192,000.")
    return Format(kind, channels, rate, bits)


def _what_else(start: bytes) -> str:
    if not start:
        return "The file is empty."
    kind = next((what for begins, what in _OTHERS.items() if start.startswith(begins)), "")
    if start[4:8] == b"ftyp":
        kind = "an M4A or MP4 file"
    told = f"This is {kind}, and only WAV can be read here." if kind else "This is not a WAV file."
    return f"{told} Any audio editor can save it as WAV."


def _decode(data: bytes, form: Format) -> array[int] | array[float]:
    """All samples of a piece, the channels in turn."""
    if form.bits == 8:
        data = data.translate(_SIGNED)
    elif form.bits == 24:
        wide = bytearray(len(data) // 3 * 4)
        for place in range(3):
            wide[place + 1 :: 4] = data[place::3]
        data = bytes(wide)
    samples: array[int] | array[float] = array(_TYPES[form.kind, form.bits], data)
    if sys.byteorder == "big":
        samples.byteswap()
    if form.kind == FLOAT and not isfinite(sum(samples)):
        raise BadAudio("This recording holds numbers that are not audio.")
    return samples
