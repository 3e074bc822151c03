"""What a recording sounds like, in figures: level, loudness, talk and silence, clipping. Pure: samples in, figures out.

Levels are in dB of full scale (dBFS): 0 is the loudest that can be stored. Loudness is in LUFS as ITU-R BS.1770-4 has
it: the K-weighted energy of blocks of 0.4 s that overlap by 75 %, those below -70 LUFS left out, then those 10 LU below
the rest. Talk is what is within 25 dB of the loud parts and above -50 dBFS; a pause shorter than 0.4 s is a breath.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby, pairwise
from math import log10, pi, sqrt, tan
from operator import mul
from typing import Any, Final, TypeAlias

from .wav import Format

STEPS: Final = 20  # of 50 ms in a block of (very nearly) one second
CLIPPED_RUN: Final = 3  # so many samples in a row at full scale are no peak but a lid
ABSOLUTE_GATE: Final = -70.0  # LUFS
RELATIVE_GATE: Final = -10.0  # LU
TALK_FLOOR: Final = -50.0  # dBFS
TALK_RANGE: Final = 25.0  # dB below the loud parts
BREATH_STEPS: Final = 8
CLICK_STEPS: Final = 3  # talk shorter than this is a click
SILENT: Final = -120.0  # dBFS; nothing at all is said so too

Samples: TypeAlias = "array[int] | array[float]"
Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Figures:
    """Times in seconds, levels in dBFS; ``lufs`` is None where there is nothing to hear.

    ``talk`` are the times when somebody speaks, ``speakers`` how long each channel does, where a recording has two that
    are not the same. ``clipped`` are the times at which the sound hits the lid, to a twentieth of a second.
    """

    seconds: float
    peak: float
    rms: float
    lufs: float | None
    clipped_samples: int
    clipped: list[float]
    talk: list[Span]
    talk_seconds: float
    longest_talk: float
    longest_pause: float
    pauses: int
    speakers: list[float]

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, without the times of talk and clipping: there may be many, and the picture has them."""
        return {name: value for name, value in asdict(self).items() if name not in {"talk", "clipped"}}


@dataclass(slots=True)
class _Channel:
    """What is kept of one channel: a few numbers for each step."""

    lows: list[float] = field(default_factory=list)
    highs: list[float] = field(default_factory=list)
    energies: list[float] = field(default_factory=list)  # sums of squares
    weighted: list[float] = field(default_factory=list)  # the same after the K filter
    state: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)


class Analysis:
    """Takes a recording block by block, a block being ``block_frames`` long but for the last one."""

    def __init__(self, form: Format) -> None:
        self._format = form
        self._step = max(1, round(form.rate / STEPS))
        self._filter = _k_filter(form.rate)
        self._channels = [_Channel() for _ in range(form.channels)]
        self._frames = 0
        self._clipped_samples = 0
        self._clipped: list[float] = []
        self._alike = form.channels == 2

    @property
    def block_frames(self) -> int:
        """A second, in whole steps."""
        return self._step * STEPS

    def add(self, block: Sequence[Samples]) -> list[float]:
        """The samples of each channel; returns their levels, every fifth of a second. Three million take a second."""
        lid = self._format.full_scale - (0 if self._format.full_scale == 1.0 else 1)
        count = len(block[0])
        if self._alike and block[0] != block[1]:
            self._alike = False
        for start in range(0, count, self._step):
            clipped = 0
            for channel, samples in zip(self._channels, block, strict=True):
                piece = samples[start : start + self._step]
                low, high = min(piece), max(piece)
                channel.lows.append(low)
                channel.highs.append(high)
                channel.energies.append(float(sum(map(mul, piece, piece))))
                energy, channel.state = _weigh(piece, self._filter, channel.state)
                channel.weighted.append(energy)
                if high >= lid or low <= -lid:
                    clipped += _count_clipped(piece, lid)
            if clipped:
                self._clipped_samples += clipped
                self._clipped.append(round((self._frames + start) / self._format.rate, 2))
        self._frames += count
        heard = math.ceil(count / self._step)
        return [
            self._level(sum(sum(channel.energies[at : at + 4]) for channel in self._channels), 4 * self._step)
            for at in range(len(self._channels[0].energies) - heard, len(self._channels[0].energies), 4)
        ]

    def figures(self) -> Figures:
        """Of all that was added."""
        form = self._format
        seconds = self._frames / form.rate
        peak = max(max(*channel.highs, *(-low for low in channel.lows)) for channel in self._channels)
        energy = sum(sum(channel.energies) for channel in self._channels)
        active = self._active()
        together = [any(step) for step in zip(*active, strict=True)]
        talk = self._spans(together)
        pauses = [after[0] - before[1] for before, after in pairwise(talk)]
        two = form.channels == 2 and not self._alike
        lufs = self._lufs()
        return Figures(
            seconds=round(seconds, 2),
            peak=_decibels(peak / form.full_scale),
            rms=self._level(energy, self._frames * form.channels),
            lufs=None if lufs is None else round(lufs, 1),
            clipped_samples=self._clipped_samples,
            clipped=self._clipped,
            talk=talk,
            talk_seconds=round(_length(talk), 2),
            longest_talk=round(max((end - start for start, end in talk), default=0.0), 2),
            longest_pause=round(max(pauses, default=0.0), 2),
            pauses=len(pauses),
            speakers=[round(_length(self._spans(steps)), 2) for steps in active] if two else [],
        )

    def envelope(self, columns: int) -> list[list[tuple[float, float]]]:
        """For each channel, the lowest and highest sample in each of at most so many columns, -1 to 1."""
        full = self._format.full_scale
        shown = self._channels[:1] if self._alike else self._channels
        steps = len(shown[0].lows)
        edges = [steps * column // columns for column in range(columns + 1)] if steps > columns else range(steps + 1)
        spans = list(pairwise(edges))
        return [
            [(min(channel.lows[a:b]) / full, max(channel.highs[a:b]) / full) for a, b in spans] for channel in shown
        ]

    def _level(self, energy: float, samples: int) -> float:
        return _decibels(sqrt(energy / samples) / self._format.full_scale)

    def _active(self) -> list[list[bool]]:
        """For each channel, in which steps somebody speaks."""
        levels = [[self._level(energy, self._step) for energy in channel.energies] for channel in self._channels]
        ranked = sorted(max(step) for step in zip(*levels, strict=True))
        loud = ranked[int(len(ranked) * 0.95)]
        threshold = max(TALK_FLOOR, loud - TALK_RANGE)
        return [_smoothed([level > threshold for level in channel]) for channel in levels]

    def _spans(self, active: Sequence[bool]) -> list[Span]:
        one = self._step / self._format.rate
        end = self._frames / self._format.rate
        return [(round(a * one, 2), round(min(b * one, end), 2)) for a, b in _runs(active)]

    def _lufs(self) -> float | None:
        """The gated loudness; None where every block is below the gate, or there is none."""
        steps = [sum(step) for step in zip(*(channel.weighted for channel in self._channels), strict=True)]
        size = self._step * self._format.full_scale**2
        hop, length = 2, 8  # 0.1 and 0.4 s
        blocks = [sum(steps[at : at + length]) / (length * size) for at in range(0, len(steps) - length + 1, hop)]
        loud = [power for power in blocks if power > 0 and _loudness(power) > ABSOLUTE_GATE]
        if not loud:
            return None
        gate = _loudness(sum(loud) / len(loud)) + RELATIVE_GATE
        kept = [power for power in loud if _loudness(power) > gate]
        return _loudness(sum(kept) / len(kept))


def _loudness(power: float) -> float:
    return -0.691 + 10 * log10(power)


def _decibels(ratio: float) -> float:
    return round(20 * log10(ratio), 1) + 0.0 if ratio > 10 ** (SILENT / 20) else SILENT  # never -0.0


def _length(spans: Sequence[Span]) -> float:
    return sum(end - start for start, end in spans)


def _runs(active: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """Where it is true: the first step, and the one after the last."""
    at = 0
    for value, group in groupby(active):
        length = len(list(group))
        if value:
            yield at, at + length
        at += length


def _smoothed(active: list[bool]) -> list[bool]:
    """Without breaths, then without clicks."""
    smooth = list(active)
    talk = list(_runs(active))
    for (_, before), (after, _) in pairwise(talk):
        if after - before < BREATH_STEPS:
            smooth[before:after] = [True] * (after - before)
    for start, end in list(_runs(smooth)):
        if end - start < CLICK_STEPS:
            smooth[start:end] = [False] * (end - start)
    return smooth


def _count_clipped(piece: Samples, lid: float) -> int:
    """The samples in runs at full scale."""
    runs = (len(list(group)) for at_lid, group in groupby(piece, lambda x: x >= lid or x <= -lid) if at_lid)
    return sum(length for length in runs if length >= CLIPPED_RUN)


_Filter = tuple[float, float, float, float, float, float, float]


def _k_filter(rate: int) -> _Filter:
    """The two stages of BS.1770's K weighting for a sample rate: what the head adds, and what the ear leaves out.

    The standard gives coefficients for 48 kHz; these are the filters they stand for, by the bilinear transform.
    """
    k = tan(pi * min(1681.974450955533, rate * 0.49) / rate)
    q, high = 0.7071752369554196, 10 ** (3.999843853973347 / 20)
    middle = high**0.4996667741545416
    a0 = 1 + k / q + k * k
    shelf = (
        (high + middle * k / q + k * k) / a0,
        2 * (k * k - high) / a0,
        (high - middle * k / q + k * k) / a0,
        2 * (k * k - 1) / a0,
        (1 - k / q + k * k) / a0,
    )
    k = tan(pi * 38.13547087602444 / rate)
    q = 0.5003270373238773
    a0 = 1 + k / q + k * k
    return (*shelf, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0)


def _weigh(
    piece: Samples, k: _Filter, state: tuple[float, float, float, float]
) -> tuple[float, tuple[float, float, float, float]]:
    """The energy of a piece after both stages, and the filter's memory for the next piece."""
    b0, b1, b2, a1, a2, c1, c2 = k
    s1, s2, t1, t2 = state
    energy = 0.0
    for x in piece:
        y = b0 * x + s1
        s1 = b1 * x - a1 * y + s2
        s2 = b2 * x - a2 * y
        z = y + t1
        t1 = t2 - 2 * y - c1 * z
        t2 = y - c2 * z
        energy += z * z
    return energy, (s1, s2, t1, t2)
