"""The interval in which the number of losses lies if each packet is lost independently."""

from __future__ import annotations

import math

CONFIDENCE = 0.999


def interval(trials: int, share: float, confidence: float = CONFIDENCE) -> tuple[int, int]:
    """The smallest and the largest count of losses outside the tails, which hold 1 - ``confidence`` together."""
    if trials <= 0 or share <= 0.0:
        return 0, 0
    if share >= 1.0:
        return trials, trials
    tail = (1.0 - confidence) / 2
    low = _quantile(trials, share, tail)
    high = trials - _quantile(trials, 1.0 - share, tail)
    return low, high


def _quantile(trials: int, share: float, tail: float) -> int:
    """The smallest count k with P(X <= k) > tail."""
    mean, spread = trials * share, math.sqrt(trials * share * (1.0 - share))
    start = max(0, math.floor(mean - 12.0 * spread - 12.0))
    below = 0.0
    for count in range(start, trials + 1):
        below += math.exp(_log_probability(trials, share, count))
        if below > tail:
            return count
    return trials


def _log_probability(trials: int, share: float, count: int) -> float:
    ways = math.lgamma(trials + 1) - math.lgamma(count + 1) - math.lgamma(trials - count + 1)
    return ways + count * math.log(share) + (trials - count) * math.log1p(-share)
