"""How fast a job moves, and when it will be done. Pure: from a bounded number of (time, current) samples.

The samples are spread over the whole attempt: whenever there are too many, every second one goes. So a job of a
minute and one of a day are remembered equally well, at the same cost for each update.
"""

from __future__ import annotations

from typing import Final

from milepost.model import Pace

MAX_SAMPLES: Final = 24
MIN_UPDATES: Final = 3
MIN_SECONDS: Final = 2.0


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
    """(seconds until the end, units per second); None where it is too early to tell or the total is unknown."""
    (began, first), (last, _) = pace.samples[0], pace.samples[-1]
    if pace.updates < MIN_UPDATES or last - began < MIN_SECONDS or current <= first:
        return None, None
    rate = _recent_rate(pace.samples)
    eta = None if total is None else round(max(0.0, (total - current) / rate), 1)
    return eta, float(f"{rate:.4g}")


def _recent_rate(samples: tuple[tuple[float, float], ...]) -> float:
    (began, first), (last, current) = samples[0], samples[-1]
    cut = last - (last - began) / 2
    for at, value in samples:
        if at >= cut and current > value and last > at:
            return (current - value) / (last - at)
    return (current - first) / (last - began)
