"""What goes with NG, ranked: the band of each column in which NG is most, or least, frequent, and what chance alone would bring.

Of all bands of a column the one with the most evidence counts (the likelihood ratio G2 of its 2 x 2 table), so the same search is
made on data in which nothing goes together: the verdicts turned against the columns in time, stretch by stretch, which keeps that
both come in heaps (a rotation test in blocks), and dealt anew, as if they did not. A p-value is the worse of the two. Of all
columns and kinds of defects those are found whose share of false ones is expected to stay below `FALSE` (Benjamini and Hochberg,
JRSS B 57, 1995).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from .bands import Bands, bands_of
from .parts import Parts

FALSE = 0.05  # expected share of false finds among what is found
FEWEST, FEWEST_NG = 40, 8  # parts, and bad ones (and good ones), that say anything
TURNS = 600  # at most, and as many deals
APART = 0.05  # of all parts: turned by less the verdicts still stand beside what made them
FEWEST_TURNS, MOST_TURNED = 200, 6_000_000  # at least, and bad parts in all turns
LONG, MOST_STRETCHES = 10, 50  # a stretch is so many times as long as what the column remembers
UNSURE = 2.0  # standard deviations by which the tail of few turns is taken for wider
TAIL = 0.02  # of the turns lie beyond where the tail is drawn on
ONCE = 0.8  # of the bad parts of a band in one stretch: what else was so at that time may be the cause
STRETCHES = 3


@dataclass(frozen=True)
class Found:
    """One column against one `kind` of defect ("": any NG): in `band` (of `bands`; what lies outside of it where `turned`) `ng`
    of `of` parts are bad, among the others `other_ng` of `other_of`. `p` is for the column alone, `q` with all that were looked
    at. In how many stretches of time the band has bad parts (0: no order is known), and in the longest of them (`since`, `until`,
    ns) what `share`. `counts` int64[2, cells]: bad parts, and all, of each cell."""

    bands: Bands
    band: int
    turned: bool
    kind: str
    ng: int
    of: int
    other_ng: int
    other_of: int
    p: float
    q: float = 1.0
    stretches: int = 0
    share: float = 0.0
    since: int = 0
    until: int = 0
    counts: np.ndarray = field(default_factory=lambda: np.zeros((2, 0), np.int64))

    @property
    def name(self) -> str:
        return self.bands.column.name

    @property
    def where(self) -> str:
        return self.bands.words(self.band, self.turned)

    @property
    def inside(self) -> np.ndarray:
        """bool[n]; a part whose value is not known is not in it."""
        return (self.bands.code >= 0) & (self.bands.inside(self.band) != self.turned)

    @property
    def times(self) -> float:
        """How many times as frequent NG is there; infinite where there is none elsewhere."""
        return math.inf if not self.other_ng else (self.ng / self.of) / (self.other_ng / self.other_of)

    @property
    def between(self) -> tuple[float, float]:
        """Of `times`, at 95 %, as of a band that was not chosen (Katz et al., Biometrics 34, 1978; half a part for none)."""
        a, b = max(self.ng, 0.5), max(self.other_ng, 0.5)
        ratio = (a / self.of) / (b / self.other_of)
        wide = 1.96 * math.sqrt(max(0.0, 1 / a - 1 / self.of + 1 / b - 1 / self.other_of))
        return ratio * math.exp(-wide), ratio * math.exp(wide)

    @property
    def once(self) -> bool:
        """Whether nearly all of it lies in one stretch of time. A name, as of a lot, is one by nature."""
        few = self.stretches < STRETCHES or self.share > ONCE
        return self.bands.column.labels is None and self.stretches > 0 and few


How = Literal["own", "holds", "gone", "twin", "within"]


@dataclass(frozen=True)
class Rival:
    """Another find that one often comes with. `own`: each tells something of its own; `holds`: the one holds without the other,
    which tells nothing without it; `gone`: the other way round; `twin`: neither does, they are alike in `share` of the parts;
    `within`: not often together, but within each name of the other nothing is left of it."""

    other: Found
    how: How
    share: float = 0.0


@dataclass(frozen=True)
class Ranking:
    """`found` below `FALSE`, best first; the `others` that were looked at; what could not be: by name, why."""

    parts: int
    ng: int
    kinds: dict[str, int]
    found: list[Found]
    others: list[Found]
    left_out: dict[str, str]
    too_few: str = ""
    ordered: bool = True  # in which order the parts were made is known
    rivals: dict[int, list[Rival]] = field(default_factory=dict)  # by place in `found`, see confounded.py


def ranked(parts: Parts, seed: int = 0) -> Ranking:
    """Of parts in the order in which they were made. The same for the same parts. Some 20 ms a column and kind."""
    kinds = _kinds(parts)
    left_out, ordered = dict(parts.left_out), bool(parts.ts.any())
    if words := _too_few(parts.ng):
        return Ranking(len(parts), int(parts.ng.sum()), kinds, [], [], left_out, words, ordered)
    looked: list[Found] = []
    rng = np.random.default_rng(seed)
    for column in parts.columns:
        known = np.isfinite(column.value)
        if words := _too_few(parts.ng[known]):
            left_out[column.name] = words if known.any() else "nothing is known of it at these parts"
            continue
        bands = bands_of(column)
        if bands is None:
            moves = len(np.unique(column.value[known])) > 1
            left_out[column.name] = "too few parts on one side" if moves else "it did not move"
            continue
        for kind in ("", *(kinds if len(kinds) > 1 else ())):
            bad = parts.kind == kind if kind else parts.ng
            if bad[known].sum() >= FEWEST_NG:
                looked.append(_best(bands, bad, kind, parts.ts, rng))
    looked = _corrected(looked)
    found, others = ([one for one in looked if (one.q <= FALSE) == sure] for sure in (True, False))
    return Ranking(len(parts), int(parts.ng.sum()), kinds, found, others, left_out, "", ordered)


def _kinds(parts: Parts) -> dict[str, int]:
    names, counts = np.unique(parts.kind[parts.ng & (parts.kind != "")].astype(str), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {str(names[k]): int(counts[k]) for k in order if counts[k] >= FEWEST_NG}


def _too_few(ng: np.ndarray) -> str:
    bad, good = int(ng.sum()), int((~ng).sum())
    if len(ng) < FEWEST:
        return f"{len(ng)} parts are too few to say; at least {FEWEST}"
    if bad < FEWEST_NG:
        return f"{bad} NG of {len(ng):,} parts are too few to say; at least {FEWEST_NG}"
    if good < FEWEST_NG:
        return f"only {good} of {len(ng):,} parts are OK: too few to say; at least {FEWEST_NG}"
    return ""


def _best(bands: Bands, bad: np.ndarray, kind: str, ts: np.ndarray, rng: np.random.Generator) -> Found:
    known = bands.code >= 0
    code, verdict = bands.code[known], bad[known]
    count = np.bincount(code, minlength=bands.cells)
    now = np.bincount(code[verdict], minlength=bands.cells)[None]
    evidence = _evidence(now, count, bands)[0]
    band = int(evidence.argmax())
    dealt = _evidence(rng.multivariate_hypergeometric(count, int(verdict.sum()), TURNS), count, bands).max(axis=1)
    turned, news = dealt, float(TURNS)
    if ts.any():
        turns, news = _turned(code, verdict, bands.cells, rng)
        turned = _evidence(turns, count, bands).max(axis=1)
    p = chance(float(evidence[band]), turned, dealt, news)
    holds = bands.holds[band]
    ng, of = int(now[0][holds].sum()), int(count[holds].sum())
    rest_ng, rest = int(now.sum()) - ng, int(count.sum()) - of
    flip = ng * rest < rest_ng * of
    if flip:
        ng, of, rest_ng, rest = rest_ng, rest, ng, of
    found = Found(bands, band, flip, kind, ng, of, rest_ng, rest, p, counts=np.stack([now[0], count]))
    return _in_time(found, bad, ts) if ts.any() else found


def _evidence(ng: np.ndarray, count: np.ndarray, bands: Bands) -> np.ndarray:
    """Weighted G2 float64[s, k] of each band: `ng` int64[s, cells] bad of `count` int64[cells] parts."""
    parts, holds = int(count.sum()), bands.holds.astype(float).T
    x = np.arange(parts + 1.0)
    f = x * np.log(np.maximum(x, 1))
    bad, inside = ng.sum(axis=1, keepdims=True), np.rint(ng.astype(float) @ holds).astype(np.int64)
    of = np.rint(count @ holds).astype(np.int64)
    cells = f[inside] + f[bad - inside] + f[of - inside] + f[parts - of - bad + inside]
    return np.asarray(
        2 * np.maximum(cells - f[bad] - f[parts - bad] - f[of] - f[parts - of] + f[parts], 0) * bands.weight
    )


def _turned(code: np.ndarray, verdict: np.ndarray, cells: int, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """int64[turns, cells]: the bad parts of each cell when the verdicts are cut into stretches, and each is turned by some steps
    and put somewhere else; and how many turns that know nothing of each other tell as much. A stretch is long against what the
    column remembers, so that bad parts stay in their heaps as far as that matters; one stretch, where there is no room for two."""
    n, remembers = len(code), _memory(code)
    k = int(np.clip(n // (LONG * remembers), 1, MOST_STRETCHES))
    bad = np.flatnonzero(verdict)
    turns = int(np.clip(MOST_TURNED // len(bad), FEWEST_TURNS, TURNS))
    cuts = np.linspace(0, n, k + 1).round().astype(np.int64)
    long, of = np.diff(cuts), np.searchsorted(cuts, bad, side="right") - 1
    if k == 1:
        near = max(1, round(APART * n))
        by = np.unique(np.linspace(near, n - near, turns).round().astype(np.int64))[:, None]
        begin = np.zeros_like(by)
    else:
        by = (rng.random((turns, k)) * long).astype(np.int64)
        order = rng.random((turns, k)).argsort(axis=1)
        ends = long[order].cumsum(axis=1)
        begin = np.empty((turns, k), np.int64)
        np.put_along_axis(begin, order, ends - long[order], axis=1)
    place = begin[:, of] + (bad - cuts[of] + by[:, of]) % long[of]
    cell = code[place] + cells * np.arange(len(by))[:, None]
    found = np.bincount(cell.ravel(), minlength=cells * len(by)).reshape(-1, cells)
    return found, float(min(len(by), (n / (k * remembers)) ** k))


def _memory(said: np.ndarray) -> int:
    """After how many parts hardly anything is left of what was so: the first at which the autocorrelation is next to none."""
    off = said - said.mean()
    alike = np.fft.irfft(np.abs(np.fft.rfft(off, 2 * len(off))) ** 2)[: len(off)]
    none = max(0.05, 2 / math.sqrt(len(off)))
    return int(np.argmax(alike < none * alike[0])) or len(off) if alike[0] > 0 else 1


def chance(evidence: float, turned: np.ndarray, dealt: np.ndarray, news: float) -> float:
    """That as much or more comes by chance, by the worse of the two. Beyond what was drawn the tail goes on as that of a chi2 of
    one degree of freedom, as much wider as the turns are than the deals, and as that is known, from `news` turns."""
    ratios = [float(turned.mean() / max(dealt.mean(), 1e-9))]
    ratios += [float(np.quantile(turned, q) / max(np.quantile(dealt, q), 1e-9)) for q in (0.95, 0.99)]
    wider = max(1.0, *ratios) * (1 + UNSURE * math.sqrt(2 / news))
    return max(_tail(evidence, turned, wider, len(turned) / news), _tail(evidence, dealt, 1.0, 1.0))


def _tail(evidence: float, drawn: np.ndarray, wider: float, alike: float) -> float:
    """`alike`: how many of those that were drawn tell the same."""
    beyond = int((drawn >= evidence * (1 - 1e-9)).sum())
    k = max(3, round(TAIL * len(drawn)))
    if beyond >= k:
        return (alike + beyond) / (alike + len(drawn))
    anchor = float(np.sort(drawn)[-k])
    far = math.erfc(math.sqrt(evidence / wider / 2)) / math.erfc(math.sqrt(anchor / wider / 2))
    return max((alike + k) / (alike + len(drawn)) * far, beyond / len(drawn), 1e-300)


def _corrected(looked: Sequence[Found]) -> list[Found]:
    """Each with its q, smallest first."""
    order = sorted(looked, key=lambda one: (one.p, -one.ng, one.name))
    p = np.array([one.p for one in order])
    q = np.minimum.accumulate((p * len(p) / np.arange(1, len(p) + 1))[::-1])[::-1]
    return [replace(one, q=float(min(1.0, value))) for one, value in zip(order, q, strict=True)]


def _in_time(found: Found, bad: np.ndarray, ts: np.ndarray) -> Found:
    """In which stretches of parts, one after the other, the band has bad parts."""
    known = np.flatnonzero(found.bands.code >= 0)
    inside = found.inside[known]
    run = np.cumsum(inside & ~np.concatenate([[False], inside[:-1]]))
    hit = inside & bad[known]
    if not hit.any():
        return found
    bad_of = np.bincount(run[hit])
    longest = int(bad_of.argmax())
    its = known[inside & (run == longest)]
    share = float(bad_of.max() / bad_of.sum())
    return replace(found, stretches=int((bad_of > 0).sum()), share=share, since=int(ts[its[0]]), until=int(ts[its[-1]]))
