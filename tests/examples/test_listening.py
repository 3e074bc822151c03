"""What is read in recordings and heard in them: sounds made here, of which everything is known."""

from __future__ import annotations

import io
import struct
from array import array
from collections.abc import Callable
from math import pi, sin
from xml.etree import ElementTree as ET

import pytest

from examples.coaching.analysis import Analysis, Figures
from examples.coaching.picture import COLUMNS, draw
from examples.coaching.sample import broken, loud, session, wav
from examples.coaching.wav import BadAudio, CutShort, Recording

RATE = 16_000


def tone(seconds: float, level: float, *, rate: int = RATE, hertz: float = 997.0) -> list[float]:
    """A sine whose peak is so many dB below full scale."""
    top = 10 ** (level / 20)
    return [top * sin(2 * pi * hertz * n / rate) for n in range(int(seconds * rate))]


def whole(samples: list[float]) -> array[int]:
    """The same in 16 bits."""
    return array("h", [round(32767 * max(-1.0, min(1.0, one))) for one in samples])


def file_of(*channels: list[float], rate: int = RATE) -> bytes:
    """A WAV file of 16 bits."""
    return wav([whole(samples) for samples in channels], rate=rate)


def raw(form: bytes, data: bytes, *, before: bytes = b"", size: int | None = None) -> bytes:
    """A WAV file made by hand: what its format chunk says, and any data after it."""
    stated = len(data) if size is None else size
    body = b"WAVE" + before + b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", stated) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def plain(kind: int, bits: int, *, channels: int = 1, rate: int = RATE) -> bytes:
    """A format chunk."""
    width = channels * bits // 8
    return struct.pack("<HHIIHH", kind, channels, rate, rate * width, width, bits)


def heard(data: bytes) -> Figures:
    """What is heard in a file."""
    return listened(data).figures()


def listened(data: bytes) -> Analysis:
    """An analysis that has had all of a file."""
    recording = Recording(io.BytesIO(data))
    analysis = Analysis(recording.format)
    for block in recording.blocks(analysis.block_frames):
        analysis.add(block)
    return analysis


# --- loudness -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_loudness_is_that_of_the_standard(rate: int) -> None:
    """A sine of 997 Hz at -23 dBFS on both channels is -23 LUFS, on one it is 3 LU less (EBU Tech 3341, BS.1770)."""
    both = heard(file_of(tone(3, -23, rate=rate), tone(3, -23, rate=rate), rate=rate))
    assert both.lufs == pytest.approx(-23.0, abs=0.1)
    assert both.peak == pytest.approx(-23.0, abs=0.1)
    assert both.rms == pytest.approx(-26.0, abs=0.1)
    one = heard(file_of(tone(3, -23, rate=rate), rate=rate))
    assert one.lufs == pytest.approx(-26.0, abs=0.1)


def test_loudness_leaves_silence_and_murmur_out() -> None:
    """The same sine between silence, and between a murmur 20 dB below it, is as loud as alone: both gates."""
    alone = heard(file_of(tone(3, -20))).lufs
    silence, murmur = [0.0] * 3 * RATE, tone(3, -40)
    assert alone is not None
    assert heard(file_of(silence + tone(6, -20) + silence)).lufs == pytest.approx(alone, abs=0.3)
    assert heard(file_of(murmur + tone(6, -20) + murmur)).lufs == pytest.approx(alone, abs=0.3)


def test_a_deep_tone_counts_less_than_a_high_one() -> None:
    """K weighting: at the same level 50 Hz is quieter than 997 Hz, and 4 kHz is louder."""
    deep, middle, high = (heard(file_of(tone(2, -20, hertz=hertz))).lufs for hertz in (50, 997, 4_000))
    assert deep is not None
    assert middle is not None
    assert high is not None
    assert deep < middle - 1
    assert high > middle + 2


def test_silence_is_silent() -> None:
    """Digital silence has no loudness, no talk, no pauses, and nothing fails over it."""
    figures = heard(file_of([0.0] * RATE))
    assert (figures.lufs, figures.talk, figures.pauses, figures.clipped_samples) == (None, [], 0, 0)
    assert figures.peak == figures.rms == -120.0


# --- talk -----------------------------------------------------------------------------------------------------------


def test_talk_and_pauses_are_where_they_are() -> None:
    """2 s of sound, 1 s of silence, 3 s of sound: to a twentieth of a second; a breath of 0.2 s is no pause."""
    breath = tone(1, -20) + [0.0] * (RATE // 5) + tone(0.8, -20)
    figures = heard(file_of([0.0] * RATE + breath + [0.0] * RATE + tone(3, -20) + [0.0] * RATE))
    assert figures.talk == [(1.0, 3.0), (4.0, 7.0)]
    assert figures.talk_seconds == 5.0
    assert figures.longest_talk == 3.0
    assert (figures.pauses, figures.longest_pause) == (1, 1.0)
    assert figures.seconds == 8.0


def test_who_spoke_is_told_for_two_channels_that_differ() -> None:
    """Left a second, right two; of two channels that are the same nothing is said."""
    left = tone(1, -20) + [0.0] * 2 * RATE
    right = [0.0] * RATE + tone(2, -20)
    assert heard(file_of(left, right)).speakers == [1.0, 2.0]
    assert heard(file_of(left, left)).speakers == []
    assert len(listened(file_of(left, left)).envelope(10)) == 1


def test_clipping_is_a_flat_top_not_a_peak() -> None:
    """A sine that is cut off at full scale clips, and where is said; one that just reaches full scale does not."""
    clean = heard(file_of(tone(2, 0)))
    assert clean.peak == 0.0
    assert clean.clipped_samples == 0
    cut = heard(file_of(tone(1, -20) + tone(1, 6)))
    assert cut.clipped_samples > RATE / 3
    assert min(cut.clipped) == 1.0
    assert max(cut.clipped) < 2.0


# --- formats --------------------------------------------------------------------------------------------------------


def _encoded(kind: int, bits: int) -> bytes:
    samples = tone(1, -6)
    match kind, bits:
        case 1, 8:
            return bytes(round(128 + 127 * one) for one in samples)
        case 1, 24:
            return b"".join(round(8_388_607 * one).to_bytes(3, "little", signed=True) for one in samples)
        case 1, _:
            code, top = {16: ("<h", 32_767), 32: ("<i", 2**31 - 1)}[bits]
            return b"".join(struct.pack(code, round(top * one)) for one in samples)
    return b"".join(struct.pack({32: "<f", 64: "<d"}[bits], one) for one in samples)


@pytest.mark.parametrize(("kind", "bits"), [(1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64)])
def test_every_width_sounds_the_same(kind: int, bits: int) -> None:
    """One sound stored in six ways has the same figures; and so in the extensible header that recorders write."""
    data = _encoded(kind, bits)
    tail = struct.pack("<HHIH", 22, bits, 4, kind) + b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"
    for form in (plain(kind, bits), plain(0xFFFE, bits) + tail):
        figures = heard(raw(form, data, before=b"LIST\3\0\0\0abc\0"))
        assert figures.peak == pytest.approx(-6.0, abs=0.1)
        assert figures.rms == pytest.approx(-9.0, abs=0.1)
        assert figures.seconds == 1.0


def test_a_recorder_that_never_wrote_the_length() -> None:
    """Where the header leaves the length open, everything to the end of the file is audio."""
    data = whole(tone(2, -20)).tobytes()
    assert heard(raw(plain(1, 16), data, size=0xFFFFFFFF)).seconds == 2.0


BAD: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "empty"),
    "mp3": (b"ID3\4\0" + bytes(400), "MP3"),
    "flac": (b"fLaC" + bytes(400), "FLAC"),
    "m4a": (b"\0\0\0\x20ftypM4A " + bytes(400), "M4A"),
    "text": (b"Dear all, " * 40, "not a WAV"),
    "no format": (b"RIFF\x24\0\0\0WAVEdata\4\0\0\0abcd", "damaged"),
    "no data": (b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0" + plain(1, 16), "damaged"),
    "half a header": (b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0", "damaged"),
    "compressed": (raw(plain(85, 16), bytes(400)), "compressed"),
    "surround": (raw(plain(1, 16, channels=6), bytes(1200)), "6 channels"),
    "no channels": (raw(plain(1, 16, channels=0), bytes(1200)), "0 channels"),
    "too fast": (raw(plain(1, 16, rate=400_000), bytes(400)), "400,000"),
    "no sound": (raw(plain(1, 16), b""), "no sound"),
    "not numbers": (raw(plain(3, 32), struct.pack("<f", float("nan")) * 400), "not audio"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_is_refused_in_a_sentence(name: str) -> None:
    """Each with what is wrong with it."""
    data, says = BAD[name]
    with pytest.raises(BadAudio, match=says) as refused:
        heard(data)
    assert str(refused.value).endswith(".")


def test_a_file_that_breaks_off_is_heard_so_far() -> None:
    """Every whole block of it is given, then the place is named at which it ends."""
    recording = Recording(io.BytesIO(broken()))
    frames = 0

    def listen() -> None:
        nonlocal frames
        for block in recording.blocks(8_000):
            frames += len(block[0])

    with pytest.raises(CutShort, match="0:23 of 0:36"):
        listen()
    assert frames == 23 * 8_000


# --- samples and picture --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "clips"), [(session, False), (loud, True)])
def test_samples_show_what_they_are_for(make: Callable[[], bytes], clips: bool) -> None:
    """The session has two speakers and no clipping; the loud one clips, and is silent for most of its time."""
    figures = heard(make())
    assert bool(figures.clipped) == clips
    assert bool(figures.speakers) != clips
    share = figures.talk_seconds / figures.seconds
    assert share < 0.5 if clips else share > 0.7


def test_the_picture_shows_the_sound() -> None:
    """Well-formed, a band for each channel, with marks where it clips; another sound is another picture."""
    pictures = []
    for data in (session(), loud()):
        analysis = listened(data)
        pictures.append(draw(analysis.figures(), analysis.envelope(COLUMNS)))
        ET.fromstring(pictures[-1])  # noqa: S314 - our own
    assert pictures[0] != pictures[1]
    assert 'viewBox="0 0 480 120"' in pictures[0]
    assert "stroke=" not in pictures[0]
    assert "stroke=" in pictures[1]
