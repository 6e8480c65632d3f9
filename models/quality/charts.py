"""Control charts and capability of an inspection: what is chance, what is a change, and what the process can hold."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from edge import binomial

MOVING_RANGE = 1.128  # d2 for ranges of two (ASTM Manual on Presentation of Data, table of control chart constants)


@dataclass(frozen=True)
class Chart:
    """`value` float64[n], the `centre` line and `sigma` float64[n] of each; `broken` bool[n] by rule."""

    value: np.ndarray
    centre: float
    sigma: np.ndarray
    broken: dict[str, np.ndarray]


def of_rates(defective: np.ndarray, parts: np.ndarray, centre: float | None = None) -> Chart:
    """A p chart: int64[n] defective of int64[n] parts each hour, shift or lot; those without a part are left out. `centre` is the
    rate of the time that counts as good, or else that of all. The rules go by the binomial chance of as many or more (or as few
    or fewer), told in the sigma of a normal one: where hardly a part is bad, neither one bad part nor ten lots without any are
    odd. Raises ValueError where counts cannot be."""
    if defective.shape != parts.shape or (defective > parts).any() or (defective < 0).any():
        raise ValueError("more defective parts than parts")
    some = parts > 0
    defective, parts = defective[some], parts[some]
    middle = float(defective.sum() / max(parts.sum(), 1)) if centre is None else centre
    sigma = np.sqrt(middle * (1 - middle) / np.maximum(parts, 1))
    value = defective / np.maximum(parts, 1)
    chances = [tails(int(k), int(n), middle) for k, n in zip(defective, parts, strict=True)]
    above, below = (np.array([-_quantile(chance[i]) for chance in chances]) for i in (0, 1))
    return Chart(value, middle, sigma, run_rules(above, below))


def tails(k: int, n: int, rate: float) -> tuple[float, float]:
    """The binomial chance of k or more of n, and of k or fewer."""
    if not 0 < rate < 1:
        sure = round(n * rate)
        return float(k <= sure), float(k >= sure)
    chance = binomial(rate, n)
    return float(chance[k:].sum()), float(chance[: k + 1].sum())


def _quantile(chance: float) -> float:
    return NormalDist().inv_cdf(min(max(chance, 1e-300), 1 - 1e-15))


def run_rules(above: np.ndarray, below: np.ndarray) -> dict[str, np.ndarray]:
    """The four rules of the Western Electric Statistical Quality Control Handbook (1956): where each is broken, bool[n]. By how
    many sigma a point lies above the centre line, and below it, float64[n]."""
    return {
        "1 beyond 3 sigma": _either(above, below, 3, 1, 1),
        "2 of 3 beyond 2 sigma": _either(above, below, 2, 2, 3),
        "4 of 5 beyond 1 sigma": _either(above, below, 1, 4, 5),
        "8 on one side": _either(above, below, 0, 8, 8),
    }


def _either(above: np.ndarray, below: np.ndarray, beyond: float, least: int, of: int) -> np.ndarray:
    """Where at least `least` of the last `of` points, itself among them, lie beyond on one and the same side."""
    out = np.zeros(len(above), bool)
    for side in (above > beyond, below > beyond):
        count = np.convolve(side, np.ones(of), "full")[: len(above)]
        out |= side & (count >= least)
    return out


@dataclass(frozen=True)
class Capability:
    """`cpk` by the spread from part to part, `ppk` by that of all; None where no part was measured twice."""

    mean: float
    cpk: float | None
    ppk: float | None


def capability(measured: np.ndarray, low: float | None, high: float | None) -> Capability:
    """Of a measured size, float64[n] in the order of the parts, within low and high (either may be missing). Raises ValueError
    where both are, or they are the wrong way round."""
    if low is None and high is None:
        raise ValueError("a capability needs a tolerance: a lower or an upper limit")
    if low is not None and high is not None and low >= high:
        raise ValueError(f"the lower limit {low:g} is not below the upper one {high:g}")
    measured = measured[np.isfinite(measured)]
    if len(measured) < 2:
        return Capability(float(measured.mean()) if len(measured) else float("nan"), None, None)
    mean = float(measured.mean())
    room = min(
        x for x in (high - mean if high is not None else None, mean - low if low is not None else None) if x is not None
    )
    within = float(np.abs(np.diff(measured)).mean() / MOVING_RANGE)
    return Capability(mean, _share(room, within), _share(room, float(measured.std(ddof=1))))


def _share(room: float, sigma: float) -> float:
    return room / (3 * sigma) if sigma else float(np.copysign(np.inf, room))


def pareto(labels: list[str]) -> list[tuple[str, int, float]]:
    """(label, how often, share of all up to it), the most frequent first, equal ones by name."""
    names, counts = (
        np.unique(np.array(labels, object), return_counts=True) if labels else (np.array([]), np.array([], int))
    )
    order = np.lexsort((names.astype(str), -counts))
    share = np.cumsum(counts[order]) / max(len(labels), 1)
    return [(str(names[i]), int(counts[i]), float(s)) for i, s in zip(order, share, strict=True)]
