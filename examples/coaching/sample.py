"""Recordings to try, made here: two voices of tones and hiss, the same bytes every time."""

from __future__ import annotations

import random
import struct
from array import array
from collections.abc import Callable, Sequence
from functools import cache
from math import pi, sin
from typing import Final

RATE: Final = 8_000
FULL: Final = 32_767

_VOWELS: Final = ((730, 1090), (530, 1840), (270, 2290), (570, 840), (300, 870))  # the two lowest formants, in Hz


@cache
def session() -> bytes:
    """A session of 36 s: the coach on the left channel, a client who speaks twice as long on the right."""
    chance = random.Random("a session")
    coach, client = _voice(118, chance), _voice(205, chance)
    left, right = _silence(36), _silence(36)
    for start, seconds in ((0.8, 3.4), (11.5, 2.2), (22.0, 2.8), (32.4, 2.6)):
        _speak(left, coach, start, seconds, 0.42, chance)
    for start, seconds in ((5.0, 5.6), (14.6, 6.4), (25.6, 5.8)):
        _speak(right, client, start, seconds, 0.3, chance)
    return wav([left, right])


@cache
def loud() -> bytes:
    """16 s of one channel: a voice much too close to its microphone, between long silences."""
    chance = random.Random("too loud")
    track = _silence(16)
    voice = _voice(150, chance)
    for start, seconds in ((1.5, 2.5), (9.0, 3.5)):
        _speak(track, voice, start, seconds, 2.4, chance)
    return wav([track])


@cache
def broken() -> bytes:
    """The session as a recorder leaves it whose battery ran out after two thirds of it."""
    whole = session()
    return whole[: len(whole) * 2 // 3]


SAMPLES: Final[dict[str, Callable[[], bytes]]] = {"session.wav": session, "too-loud.wav": loud, "broken.wav": broken}


def wav(channels: Sequence[array[int]], *, rate: int = RATE) -> bytes:
    """Samples of 16 bits as a file."""
    frames = array("h", bytes(2 * len(channels) * len(channels[0])))
    for place, samples in enumerate(channels):
        frames[place :: len(channels)] = samples
    data, width = frames.tobytes(), 2 * len(channels)
    form = struct.pack("<HHIIHH", 1, len(channels), rate, rate * width, width, 16)
    body = b"WAVE" + b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _silence(seconds: float) -> array[int]:
    return array("h", bytes(2 * int(seconds * RATE)))


def _voice(pitch: float, chance: random.Random) -> list[list[float]]:
    """A dozen syllables of one voice, each 0.12 to 0.26 s."""
    return [_syllable(pitch * chance.uniform(0.9, 1.18), chance) for _ in range(12)]


def _syllable(pitch: float, chance: random.Random) -> list[float]:
    first, second = chance.choice(_VOWELS)
    length = int(chance.uniform(0.12, 0.26) * RATE)
    hiss = int(chance.uniform(0, 0.05) * RATE)  # a consonant
    partials = []
    for number in range(1, int(3_400 / pitch)):
        tone = number * pitch
        strength = 1 / (1 + ((tone - first) / 120) ** 2) + 0.5 / (1 + ((tone - second) / 180) ** 2) + 0.06 / number
        partials.append((2 * pi * tone / RATE, strength, chance.uniform(0, 2 * pi)))
    samples = []
    for n in range(length):
        shape = sin(pi * (n + 1) / (length + 1)) ** 0.6
        value = sum(strength * sin(step * n + phase) for step, strength, phase in partials)
        samples.append(shape * (value + (0.5 * chance.uniform(-1, 1) if n < hiss else 0)))
    loudest = max(map(abs, samples))
    return [sample / loudest for sample in samples]


def _speak(
    track: array[int], voice: Sequence[Sequence[float]], start: float, seconds: float, level: float,
    chance: random.Random,
) -> None:  # fmt: skip
    """Syllables one after the other into ``track``; what does not fit below full scale is cut off, as hardware does."""
    at, end = int(start * RATE), int((start + seconds) * RATE)
    while at < end:
        syllable = chance.choice(voice)
        gain = level * chance.uniform(0.55, 1.0) * FULL
        for place, sample in enumerate(syllable[: end - at], at):
            track[place] = max(-FULL, min(FULL, int(gain * sample)))
        at += len(syllable) + int(chance.choice((0.02, 0.04, 0.14)) * RATE)
