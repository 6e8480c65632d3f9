"""A measured quantity as settings make it, and the objective that follows from one or several of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import NormalDist

import numpy as np

from .gp import STRAIGHT, VOICES, Points, Process, School

PRIOR = 3.0  # measurements that the expected spread counts for beside the measured one
FACTOR = 0.5  # expected spread of what is never negative, in logarithms; of the rest as a share of its size
DRAWS = 5  # of each voice
_Z = np.linspace(-9, 9, 4001)
_PHI = np.array([NormalDist().cdf(z) for z in _Z])


def normal_cdf(z: np.ndarray) -> np.ndarray:
    return np.interp(z, _Z, _PHI)


class Quantity:
    """One output tag. What was never zero or less is learned in logarithms: sizes, masses and times differ by factors."""

    def __init__(
        self,
        inputs: int,
        rng: np.random.Generator,
        horizon: float,
        slopes: np.ndarray,
        limit: float | None = None,
        school: School = STRAIGHT,
    ) -> None:
        self._process = Process(inputs, rng, school, horizon=horizon, slopes=slopes)
        self._limit, self._log = limit, False

    def tell(self, points: Points, y: np.ndarray) -> None:
        self._log = bool((y > 0).all()) and (self._limit is None or self._limit > 0)
        seen = np.log(y) if self._log else y
        spread = FACTOR if self._log else FACTOR * abs(float(seen.mean())) or 1.0
        if self._limit is not None:
            spread = max(spread, abs(float(self._into(self._limit) - seen[0])))
        centre = float(seen.mean())
        scale = np.sqrt((PRIOR * spread**2 + ((seen - centre) ** 2).sum()) / (PRIOR + len(y)))
        self._process.tell(points, seen, centre, float(scale))

    def _into(self, value: float) -> float:
        return float(np.log(value)) if self._log else value

    def draws(self, points: Points, z: np.ndarray) -> np.ndarray:
        """float64[VOICES * DRAWS, m] of what the settings may make, without the noise of a measurement; `z` float64[DRAWS] says how
        many standard deviations off."""
        mean, spread = self._process.foretell(points)
        drawn = (mean[:, None, :] + spread[:, None, :] * z[None, :, None]).reshape(VOICES * DRAWS, -1)
        return np.exp(drawn) if self._log else drawn

    def chance(
        self, points: Points, at_least: float | None, at_most: float | None, *, measured: bool = False
    ) -> np.ndarray:
        """That the settings keep it within, float64[m]: the value itself, or as `measured` with the noise of that."""
        mean, spread = self._process.foretell(points)
        if measured:
            spread = np.hypot(spread, self._process.noise()[:, None])
        kept = np.ones_like(mean)
        if at_most is not None:
            kept = normal_cdf((self._into(at_most) - mean) / spread)
        if at_least is not None:
            kept = np.minimum(kept, normal_cdf((mean - self._into(at_least)) / spread))
        return kept.mean(axis=0)

    def opens(
        self, tried: Points, there: Points, bounds: tuple[float | None, float | None], certain: float
    ) -> np.ndarray:
        """Chance that one measurement at each of `tried` makes it `certain` that each of `there` keeps within (at least, at most),
        float64[n, m]: by how far the measurement can move what is foretold there, and how much doubt it leaves (a knowledge
        gradient of the limit; Frazier, 2009)."""
        mean, spread = self._process.foretell(there)
        _, own = self._process.foretell(tried)
        square = self._process.shared(tried, there) ** 2
        square /= (own**2 + self._process.noise()[:, None] ** 2)[:, :, None]
        left = np.sqrt(np.maximum(spread[:, None] ** 2 - square, 1e-12)) * np.interp(certain, _PHI, _Z)
        moves, found = np.sqrt(np.maximum(square, 1e-12)), np.ones(square.shape[1:])
        for bound, sign in zip(bounds, (-1, 1), strict=True):
            if bound is not None:
                room = sign * (self._into(bound) - mean[:, None]) - left
                found = np.minimum(found, normal_cdf(room / moves).mean(axis=0))
        return found

    def surprise(self, points: Points, y: np.ndarray) -> np.ndarray:
        """How many standard deviations, noise included, measurements float64[m] lie above what was foretold of them."""
        mean, spread = self._process.foretell(points)
        sure = (spread**2 + self._process.noise()[:, None] ** 2).mean(axis=0) + mean.var(axis=0)
        if self._log and (y <= 0).any():
            return np.where(y > 0, 0.0, -np.inf)
        return ((np.log(y) if self._log else y) - mean.mean(axis=0)) / np.sqrt(sure)

    def scales(self) -> np.ndarray:
        return self._process.scales()


class Objective:
    """What is to be high: `value` of one or several quantities and of the settings themselves, by name."""

    def __init__(
        self,
        names: Sequence[str],
        value: Callable[[Mapping[str, np.ndarray]], np.ndarray],
        sign: float,
        rng: np.random.Generator,
    ) -> None:
        self.names, self._value, self._sign, self._rng = list(names), value, sign, rng
        self.luck()

    def luck(self) -> None:
        """Draw anew how far off the expected each quantity is: until then all settings are compared under the same."""
        z = np.interp((np.arange(DRAWS) + 0.5) / DRAWS, _PHI, _Z)
        self._z = {name: self._rng.permutation(z) for name in self.names}

    def draws(
        self, quantities: Mapping[str, Quantity], points: Points, settings: Mapping[str, np.ndarray]
    ) -> np.ndarray:
        """float64[s, m]: of the same draw the same luck at each setting, so that they can be compared."""
        columns: dict[str, np.ndarray] = dict(settings)
        for name in self.names:
            if name not in columns:
                columns[name] = quantities[name].draws(points, self._z[name])
        value = np.broadcast_to(self._value(columns), (VOICES * DRAWS, len(points.x)))
        return self._sign * np.nan_to_num(value, nan=-self._sign * 1e12)
