"""A small Gaussian process whose length scales, noise and drift are not one guess but a population: drawn by their posterior, moved
on with each measurement, and averaged over in what it foretells.

Kernel: Matérn 5/2 with a length scale per input (Rasmussen and Williams, Gaussian Processes for Machine Learning, 4.2.1), a
constant, a drift by age, a step at each change of the `era`, straight slopes where a person gave a hint, white noise. The amplitude
of all is integrated out under an inverse gamma prior. The population moves by differential evolution (ter Braak, Statistics and
Computing 16, 2006), half of its members at once.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

import numpy as np

MEMBERS, STEPS, VOICES = 32, 4, 8  # of the population; its moves a measurement; members that foretell
CONSTANT, STEP = 1.0, 0.5  # prior variance of the mean and of a change of era, in units of the amplitude
SLOPE = 1.0  # of a hint: expected change over the whole range, in standard deviations
SHAPE, SCALE = 2.0, 2.0  # of the inverse gamma prior of the amplitude of standardised values
JITTER, DRIFT = 1e-8, 0.01  # DRIFT: its median share of the variance


@dataclass(frozen=True)
class School:
    """What is held likely of a law before anything is measured: medians of the length `scale`, of the shares of `noise` and of the
    `bend` in the variance, how far their logarithms scatter, and the deviation of straight `slopes`."""

    scale: float
    noise: float
    bend: float
    scatter: tuple[float, float, float]
    slopes: float


STRAIGHT = School(0.95, 0.001, 0.05, (0.9, 2.0, 1.5), 2.0)  # of what is weighed, timed, gauged
WINDING = School(0.6, 0.01, 1.0, (0.9, 1.5, 0.01), 0.0)  # of a mark that is given for a result


@dataclass(frozen=True)
class Points:
    """`x` float64[n, d] in the unit cube, their `age` in trials float64[n], their `era` int64[n]: levels may differ between two."""

    x: np.ndarray
    age: np.ndarray = field(default_factory=lambda: np.zeros(0))
    era: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    @classmethod
    def at(cls, x: np.ndarray, age: float = 0.0, era: int = 0) -> Points:
        """All of one moment."""
        return cls(x, np.full(len(x), age), np.full(len(x), era, np.int64))


def matern(a: np.ndarray, b: np.ndarray, log_scale: np.ndarray) -> np.ndarray:
    """float64[p, n, m] of points float64[n, d] and float64[m, d] under log length scales float64[p, d]."""
    apart = ((a[:, None] - b[None]) ** 2).reshape(
        -1, a.shape[1]
    )  # by differences: of the same point nothing may be left
    r = (np.exp(-2 * log_scale) @ apart.T).reshape(len(log_scale), len(a), len(b))
    np.sqrt(5 * r, out=r)
    bent = r * r
    bent /= 3
    bent += r
    bent += 1
    bent *= np.exp(-r)
    return np.asarray(bent)


class Process:
    """Of one measured quantity. `tell` takes all measurements there are and moves the population on."""

    def __init__(
        self,
        inputs: int,
        rng: np.random.Generator,
        school: School = STRAIGHT,
        *,
        horizon: float = 0.0,
        slopes: np.ndarray | None = None,
    ) -> None:
        """`horizon`: trials over which a drift bends, 0 for none. `slopes` float64[inputs]: 1 where a person says that the input
        raises it, -1 lowers, 0 nothing."""
        self._rng, self._d, self._horizon = rng, inputs, horizon
        self._slopes = np.zeros(inputs) if slopes is None else slopes
        scale = np.log(school.scale) + 0.5 * np.log(inputs / 2 + 0.5)  # the more inputs, the less each of them says
        self._middle = np.array([scale] * inputs + [np.log(school.noise), np.log(school.bend), np.log(DRIFT)])
        self._width = np.array([school.scatter[0]] * inputs + [*school.scatter[1:], 1.5])
        self._doubt = school.slopes**2
        self._used = inputs + 2 + (horizon > 0)
        self._members = self._middle + self._width * rng.standard_normal((MEMBERS, inputs + 3))

    def tell(self, points: Points, y: np.ndarray, centre: float, scale: float, steps: int = STEPS) -> None:
        """Measurements float64[n], of which `centre` and `scale` make standardised ones."""
        self._points, self._centre, self._scale = points, centre, scale
        self._y = (y - centre) / scale - self._hint(points.x)
        members, k, used = self._members, MEMBERS // 2, self._used
        density = self._posterior(members)
        if (lost := ~np.isfinite(density)).any():  # under which so many measurements cannot be reckoned with any more
            members[lost] = members[int(density.argmax())] if not lost.all() else self._middle
            density = self._posterior(members)
        for turn in range(2 * steps):
            mine, other = (slice(0, k), members[k:]) if turn % 2 else (slice(k, 2 * k), members[:k])
            one, two = self._rng.integers(k, size=k), self._rng.integers(k - 1, size=k)
            two += two >= one
            stretch = np.where(self._rng.random(k) < 0.1, 1.0, 2.38 / np.sqrt(2 * used))[:, None]
            moved = members[mine] + stretch * (other[one] - other[two])
            moved += self._rng.normal(0, 0.01, moved.shape)
            new = self._posterior(moved)
            taken = np.log(self._rng.random(k)) < new - density[mine]
            members[mine][taken], density[mine][taken] = moved[taken], new[taken]
        self._voices()

    def _hint(self, x: np.ndarray) -> np.ndarray:
        return SLOPE * (x - 0.5) @ self._slopes

    def _posterior(self, members: np.ndarray) -> np.ndarray:
        """Unnormalised log density float64[p]."""
        n = len(self._y)
        low, sound = _roots(self._noisy(members))
        white = np.linalg.solve(low, np.broadcast_to(self._y[:, None], (len(members), n, 1)))[..., 0]
        half = np.log(np.diagonal(low, axis1=1, axis2=2)).sum(1)
        likelihood = -half - (SHAPE + n / 2) * np.log(SCALE + (white**2).sum(1) / 2)
        prior = -0.5 * (((members - self._middle) / self._width) ** 2).sum(axis=1)
        return np.where(sound, likelihood + prior, -np.inf)

    def _between(self, a: Points, b: Points, members: np.ndarray) -> np.ndarray:
        """Covariance without noise, float64[p, n, m]."""
        cov = matern(a.x, b.x, members[:, : self._d])
        cov *= np.exp(members[:, self._d + 1])[:, None, None]
        cov += CONSTANT + self._doubt * (a.x - 0.5) @ (b.x - 0.5).T
        if self._horizon:
            apart = np.sqrt(5) * np.abs(a.age[:, None] - b.age[None]) / self._horizon
            bent = (1 + apart + apart**2 / 3) * np.exp(-apart)
            cov += np.exp(members[:, self._d + 2])[:, None, None] * bent + STEP * (a.era[:, None] == b.era[None])
        return cov

    def _noisy(self, members: np.ndarray) -> np.ndarray:
        cov = self._between(self._points, self._points, members)
        i = np.arange(len(self._y))
        least = JITTER * (1 + np.exp(members[:, self._d + 1]))  # of what rounding leaves of a large bend
        cov[:, i, i] += (np.exp(members[:, self._d]) + least)[:, None]
        return cov

    def _voices(self) -> None:
        self._chosen = self._members[:: MEMBERS // VOICES]
        low, _ = _roots(self._noisy(self._chosen))
        self._inverse = np.linalg.inv(low)
        self._white = (self._inverse @ self._y[:, None])[..., 0]
        self._amplitude = (SCALE + (self._white**2).sum(1) / 2) / (SHAPE + len(self._y) / 2)

    def foretell(self, points: Points) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation without the noise of a measurement, float64[VOICES, m] each."""
        across = self._inverse @ self._between(self._points, points, self._chosen)
        mean = (across * self._white[:, :, None]).sum(1) + self._hint(points.x)
        prior = (
            CONSTANT + self._doubt * ((points.x - 0.5) ** 2).sum(axis=1) + np.exp(self._chosen[:, self._d + 1])[:, None]
        )
        if self._horizon:
            prior = prior + STEP + np.exp(self._chosen[:, self._d + 2])[:, None]
        spread = np.sqrt(np.maximum(prior - (across**2).sum(1), 1e-10) * self._amplitude[:, None])
        return self._centre + self._scale * mean, self._scale * spread

    def shared(self, a: Points, b: Points) -> np.ndarray:
        """Covariance of what is foretold at two kinds of points, float64[VOICES, n, m]."""
        left, right = (self._inverse @ self._between(self._points, points, self._chosen) for points in (a, b))
        cov = self._between(a, b, self._chosen) - left.transpose(0, 2, 1) @ right
        return np.asarray(cov * self._amplitude[:, None, None] * self._scale**2)

    def noise(self) -> np.ndarray:
        """Standard deviation of a measurement's noise, float64[VOICES]."""
        return self._scale * np.sqrt(np.exp(self._chosen[:, self._d]) * self._amplitude)

    def scales(self) -> np.ndarray:
        """Median length scales float64[d], in ranges of the inputs: a short one says that the input matters."""
        return np.exp(np.median(self._members[:, : self._d], axis=0))


def _roots(cov: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lower triangles float64[p, n, n], and whether there is one, bool[p]; in place of one that there is not, ones."""
    try:
        return np.linalg.cholesky(cov), np.ones(len(cov), bool)
    except np.linalg.LinAlgError:
        low, sound = np.tile(np.eye(cov.shape[1]), (len(cov), 1, 1)), np.zeros(len(cov), bool)
    for i, one in enumerate(cov):
        with contextlib.suppress(np.linalg.LinAlgError):
            low[i], sound[i] = np.linalg.cholesky(one), True
    return low, sound
