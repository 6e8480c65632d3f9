"""Exact bounds of a rate from counted parts (Clopper and Pearson, Biometrika 26, 1934): "0 escapes of 748 audited" says below 0.4 %
at 95 %.

That is a statement about these parts. The AQL of ISO 2859-1 is another thing: an index of sampling plans that names the quality
which passes most of the time, and says nothing of what a lot that passed contains.
"""

from __future__ import annotations

import math

import numpy as np

MOST = 100_000_000  # parts


def below(found: int, of: int, confidence: float = 0.95) -> float:
    """The rate is below this with `confidence` (one-sided), when `found` of `of` parts had it. 1.0 where nothing was counted.
    Raises ValueError where the counts cannot be."""
    _counts(found, of, confidence)
    return 1.0 if found == of else _root(found, of, math.log1p(-confidence))


def wilson(found: int, of: int, sure: float = 1.96) -> tuple[float, float]:
    """Between which rates lies what was counted, at `sure` standard deviations (Wilson, JASA 22, 1927): cheap, and right for few
    parts, too. (0, 1) where nothing was counted."""
    if not of:
        return 0.0, 1.0
    share, more = found / of, sure * sure / of
    middle = share + more / 2
    wide = sure * math.sqrt(share * (1 - share) / of + more / (4 * of))
    return max(0.0, (middle - wide) / (1 + more)), min(1.0, (middle + wide) / (1 + more))


def needed(rate: float, found: int = 0, confidence: float = 0.95) -> int:
    """How many parts have to be audited, `found` among them and no more, to say "below `rate`". Raises ValueError where that is
    more than a hundred million, or the rate none between 0 and 1."""
    if not 0 < rate < 1:
        raise ValueError(f"a rate is between 0 and 1, not {rate:g}")
    low, high = found, found + 1
    while below(found, high, confidence) > rate:
        low, high = high, 2 * high
        if high > MOST:
            raise ValueError(f"below {rate:g} takes more than {MOST:,} parts")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if below(found, middle, confidence) > rate else (low, middle)
    return high


def by_chance(rate: float, of: int, chance: float = 0.00135) -> int:
    """The most of `of` parts that are still no wonder at this rate: more of them have less than this chance (that of a value
    beyond 3 sigma on one side). Raises ValueError where counts cannot be."""
    _counts(0, of, 1 - chance)
    if not 0 < rate < 1:
        return round(of * rate)
    more = np.cumsum(binomial(rate, of)[::-1])[::-1]
    return int(np.flatnonzero(more >= chance)[-1])


def binomial(rate: float, of: int) -> np.ndarray:
    """The chance of each count from 0 to `of` at a rate between 0 and 1, float64[of + 1]."""
    k = np.arange(of + 1)
    chance: np.ndarray = np.exp(_log_choose(of, of) + k * math.log(rate) + (of - k) * math.log1p(-rate))
    return chance


def _counts(found: int, of: int, confidence: float) -> None:
    if not 0 <= found <= of <= MOST:
        raise ValueError(f"{found} of {of} parts cannot be")
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence is between 0 and 1, not {confidence:g}")


def _root(found: int, of: int, log_tail: float) -> float:
    """The p at which at most `found` of `of` are found with the probability exp(log_tail). By bisection: the sum falls with p."""
    k = np.arange(found + 1)
    ways = _log_choose(of, found)
    low, high = found / of, 1.0
    for _ in range(100):
        p = (low + high) / 2
        if not low < p < high:
            break
        terms = ways + k * math.log(p) + (of - k) * math.log1p(-p)
        most = terms.max()
        tail = most + math.log(np.exp(terms - most).sum())
        low, high = (p, high) if tail > log_tail else (low, p)
    return high


def _log_choose(of: int, found: int) -> np.ndarray:
    """ln(of over k) for k from 0 to `found`, float64[found + 1]."""
    k = np.arange(1, found + 1)
    return np.concatenate([[0.0], np.cumsum(np.log((of - k + 1) / k))])
