"""Whether two finds can be told apart: is NG still more frequent in the band of the one, among parts that the other treats alike?

By the test of Cochran, Mantel and Haenszel (JNCI 22, 1959) over the strata that the other makes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .rank import Found, How, Rival

LOOKED = 12  # finds that are held against each other
ALIKE = 0.3  # correlation of two bands from which on they may stand for each other
STANDS = 0.05  # chance below which something is left


def rivals(found: Sequence[Found], bad: Sequence[np.ndarray]) -> dict[int, list[Rival]]:
    """By place in `found`: what else each goes along with. `bad` bool[n] of each."""
    out: dict[int, list[Rival]] = {}
    looked = range(min(LOOKED, len(found)))
    for a in looked:
        for b in looked:
            alike = found[a].kind == found[b].kind and a != b
            if alike and (one := _told(found[a], found[b], bad[a])) is not None:
                out.setdefault(a, []).append(one)
    return out


def _told(a: Found, b: Found, bad: np.ndarray) -> Rival | None:
    both = (a.bands.code >= 0) & (b.bands.code >= 0)
    in_a, in_b, ng = a.inside[both], b.inside[both], bad[both]
    together = correlation(in_a, in_b)
    names = b.bands.column.labels is not None and not b.bands.column.ring
    if abs(together) < ALIKE and not names:
        return None
    stands = beside(in_a, ng, b.bands.code[both] if names else in_b.astype(int)) < STANDS
    if abs(together) < ALIKE:  # of lots and the like only what takes the find away
        return None if stands else Rival(b, "within")
    its = beside(in_b, ng, in_a.astype(int)) < STANDS
    share = float((in_a == in_b).mean())
    how: How = "own" if stands and its else "holds" if stands else "gone" if its else "twin"
    return Rival(b, how, max(share, 1 - share))


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Of two bool[n]; 0 where one does not change."""
    if a.all() or b.all() or not a.any() or not b.any():
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def beside(inside: np.ndarray, bad: np.ndarray, stratum: np.ndarray) -> float:
    """The chance that as much is left of it within the strata int64[n], over all of them; 1 where no stratum tells anything."""
    k = int(stratum.max(initial=0)) + 1
    n, of = np.bincount(stratum, minlength=k), np.bincount(stratum, inside, k)
    ng, hit = np.bincount(stratum, bad, k), np.bincount(stratum, inside & bad, k)
    expected = of * ng / np.maximum(n, 1)
    spread = of * (n - of) * ng * (n - ng) / np.maximum(n.astype(float) ** 2 * (n - 1), 1)
    if spread.sum() <= 0:
        return 1.0
    off = max(0.0, abs(float((hit - expected).sum())) - 0.5)
    return math.erfc(off / math.sqrt(2 * float(spread.sum())))
