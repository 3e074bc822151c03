"""How fast a job moves, and when it will be done. Pure: from a bounded number of (time, current) samples.

The samples are spread over the whole attempt: whenever there are too many, every second one goes. So a job of a
minute and one of a day are remembered equally well, at the same cost for each update.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise
from operator import itemgetter
from typing import Final

from milepost.model import Pace

MAX_SAMPLES: Final = 24
MIN_UPDATES: Final = 3
MIN_SECONDS: Final = 2.0
MIN_DONE: Final = 1e-9  # less is no progress, and dividing by it no figure


def observe(pace: Pace, current: float, *, updates: int, now: float) -> Pace:
    """The pace with ``current`` at ``now`` added. The first sample is where the attempt was first seen to be."""
    samples = list(pace.samples)
    if not samples:
        samples.append((now, current))
    elif now <= samples[-1][0]:  # the same moment, or a clock that was set back
        samples[-1] = (samples[-1][0], current)
    elif len(samples) > MAX_SAMPLES // 2 and samples[-1][0] - samples[-2][0] < _spacing(samples):
        samples[-1] = (now, current)
    else:
        samples.append((now, current))
        if len(samples) > MAX_SAMPLES:
            samples = [samples[0], *samples[2:-1:2], samples[-1]]
    return Pace(tuple(samples), pace.updates + updates)


def _spacing(samples: list[tuple[float, float]]) -> float:
    """The mean time between those samples that will stay; the last one gives way until it is that far from them."""
    return 0.999 * (samples[-2][0] - samples[0][0]) / (len(samples) - 2)


def estimate(pace: Pace, current: float, total: float | None) -> tuple[float | None, float | None]:
    """(seconds until the end, units per second); None where it is too early to tell or the total is unknown.

    The way so far is cut into quarters of equal work. Only if each took longer than the one before, or each less, is
    that trend taken to go on; otherwise the job is taken for steady or bursty, and the mean over all of it, which no
    burst can mislead, serves best.
    """
    (began, first), (last, _) = pace.samples[0], pace.samples[-1]
    done, took = current - first, last - began
    if pace.updates < MIN_UPDATES or took < MIN_SECONDS or done < MIN_DONE:
        return None, None
    mean = took / done
    slope = _slope(pace.samples, done)
    rate = float(f"{1 / _bounded(mean + slope * done / 2, mean):.4g}")
    if total is None:
        return None, rate
    left = total - current
    return round(left * _bounded(mean + slope * (done + left) / 2, mean), 1), rate


def _bounded(seconds_each: float, mean: float) -> float:
    return min(max(seconds_each, mean / 2), mean * 3)


def _slope(samples: tuple[tuple[float, float], ...], done: float) -> float:
    """By how much the seconds for one unit change with each unit."""
    first = samples[0][1]
    ends = [samples[0][0], *(_reached(samples, first + done * part) for part in (0.25, 0.5, 0.75)), samples[-1][0]]
    one, two, three, four = (end - start for start, end in pairwise(ends))
    if one < two < three < four or one > two > three > four:
        return (three + four - one - two) / (done / 2) / (done / 2)
    return 0.0


def _reached(samples: tuple[tuple[float, float], ...], value: float) -> float:
    """When ``current`` came to ``value``, on a straight line between the samples."""
    after = bisect_left(samples, value, key=itemgetter(1))
    if after == 0:  # a quarter of the way is too little to be told from none
        return samples[0][0]
    (start, low), (end, high) = samples[after - 1], samples[after]
    return start + (end - start) * (value - low) / (high - low)
