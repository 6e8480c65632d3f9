"""The safe optimiser: told what trials gave, it says which settings to try next, inside what is allowed and likely to stay so."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np

from .gp import STRAIGHT, WINDING, Points, School
from .quantity import DRAWS, Objective, Quantity
from .search import Search
from .task import Limit, Proposal, Task

MANY = 999  # trials left
TARGETS = 12  # settings beyond what is certain that a trial may open
STEPS, WAYS = 20, 200  # targets that a way is sought to; parts of a way that are looked at
ALARM = 0.5  # between settings that raised none (0) and those that did (1)
APART = 0.03  # of its range that a setting of one sample differs from the others
BELIEF = 5.0  # trials after which measurements weigh as much as what an expert holds likely


class Tuner:
    """`tell` each trial, `ask` for the next. Nothing here writes, waits or blocks; a call takes some tens of milliseconds."""

    def __init__(self, task: Task, rng: np.random.Generator) -> None:
        self.task, self._rng = task, rng
        self.x: list[np.ndarray] = []
        self.made: list[dict[str, float]] = []
        self._age: list[float] = []
        self._era: list[int] = []
        self._alarmed: list[bool] = []
        self.era = 0
        self.now = 0.0
        self._towards: np.ndarray | None = None
        self._unseen = 0  # trials of before that the next `tell` takes in
        inputs = len(task.space)
        limits = {limit.name: limit for limit in task.limits}
        self.outputs = task.outputs
        self._quantities = {
            name: Quantity(inputs, rng, task.horizon, self._slopes(name), _level(limits.get(name)), self._school(name))
            for name in self.outputs
        }
        self._alarm: Quantity | None = None
        self._search = Search(task.space, task.changes, rng)
        self._objective = Objective(task.aim.names, task.aim.value, task.aim.sign, rng)

    def _school(self, output: str) -> School:
        """An objective that is learned as it is may be a mark with a top; what it is made of, and what has a limit, is a size."""
        return WINDING if list(self.task.aim.names) == [output] else STRAIGHT

    def _slopes(self, output: str) -> np.ndarray:
        slopes = np.zeros(len(self.task.space))
        for hint in self.task.hints:
            if hint.output == output:
                slopes[self.task.space.names.index(hint.input)] = hint.sign
        return slopes

    def remember(self, x: np.ndarray, made: Mapping[str, float], *, today: bool = False) -> None:
        """A trial of an earlier day: the level may have been another, unless it was `today`; the shape is the same. It counts from
        the next `tell` on."""
        self._keep(x, made, self.now, self.era if today else -1)
        self._unseen += 1

    def tell(self, x: np.ndarray, made: Mapping[str, float], *, alarmed: bool = False) -> None:
        """What settings float64[d] made: a value of each of `outputs`. `alarmed`: they raised an alarm, which is to be kept from
        like a limit. The next trial is one older."""
        self._keep(x, made, self.now, self.era, alarmed)
        for _ in range(1 + min(self._unseen, 20) // 5):  # the more is new, the further the populations have to go
            self._again()
        self._unseen = 0
        self.now += 1

    def _keep(self, x: np.ndarray, made: Mapping[str, float], age: float, era: int, alarmed: bool = False) -> None:
        self._alarmed.append(alarmed)
        self.x.append(np.array(x, float))
        self.made.append({name: float(made[name]) for name in self.outputs})
        self._age.append(age)
        self._era.append(era)

    def jump(self) -> None:
        """The process is another one from here on (a new batch, a mended nozzle): levels may have stepped."""
        self.era += 1

    def _points(self, x: np.ndarray, age: np.ndarray | None = None, era: np.ndarray | None = None) -> Points:
        unit = self.task.space.unit(x)
        if age is None or era is None:
            return Points.at(unit, self.now, self.era)
        return Points(unit, age, era)

    def worth(self, made: Mapping[str, float], x: np.ndarray) -> float:
        """The objective as measured, in its own sign."""
        columns = {**made, **self.task.space.named(x)}
        return float(self.task.aim.value({name: np.array([columns[name]]) for name in self.task.aim.names})[0])

    def kept(self, made: Mapping[str, float]) -> bool:
        return all(limit.kept(made[limit.name]) for limit in self.task.limits)

    def surprise(self, x: np.ndarray, made: Mapping[str, float]) -> dict[str, float]:
        """By output, how many standard deviations a measurement at settings float64[d] lies above what is foretold of it."""
        points = self._points(x[None])
        return {
            name: float(quantity.surprise(points, np.array([made[name]]))[0])
            for name, quantity in self._quantities.items()
        }

    def _draws(self, x: np.ndarray) -> np.ndarray:
        columns = {name: x[:, k] for k, name in enumerate(self.task.space.names)}
        return self._objective.draws(self._quantities, self._points(x), columns)

    def sure(self, x: np.ndarray) -> np.ndarray:
        """How surely every limit is kept at settings float64[n, d] now, float64[n]."""
        found = np.ones(len(x))
        for limit in self.task.limits:
            quantity, bounds = self._quantities[limit.name], (limit.at_least, limit.at_most)
            chance = quantity.chance(self._points(x), *bounds, measured=limit.measured)
            found = np.minimum(found, chance)
        if self._alarm is not None:
            found = np.minimum(found, self._alarm.chance(self._points(x), None, ALARM))
        return found

    def best(self) -> Proposal:
        """The best settings that were tried, by what is known now; safe ones where there are any, and those that raised an alarm
        only where there are no others."""
        x, which = np.unique(np.array(self.x), axis=0, return_inverse=True)
        alarmed = np.zeros(len(x), bool)
        alarmed[which.reshape(-1)[np.array(self._alarmed)]] = True
        allowed = self.task.space.allowed(x)
        x = x[allowed & ~alarmed if (allowed & ~alarmed).any() else allowed]
        draws, sure = self._draws(x), self.sure(x)
        safe = sure >= min(self.task.certain, float(sure.max()))
        mean = np.where(safe, draws.mean(axis=0), -np.inf)
        return self._proposal(x, draws, sure, int(mean.argmax()), "the best that was tried")

    def ask(self, now: np.ndarray, left: int = MANY) -> Proposal:
        """The next settings, where the machine stands at `now` and so many trials are `left`, this one among them. Needs one trial
        that was told. What gains most may differ from `now` in more settings than one trial may change: then this is a safe step on
        the way, and the next ones lead on."""
        self._objective.luck()
        here = self.best()
        if self._towards is not None and (self._towards != now).any():
            there = self._towards
            if self.sure(there[None])[0] >= self.task.certain and (step := self._step(now, there)) is not None:
                return step
        self._towards = None
        x, gain = self._most(now, here.x, left)
        for at in np.argsort(-gain)[:STEPS]:
            if gain[at] < 0:
                break
            if (step := self._step(now, x[at])) is not None:
                self._towards = x[at]
                return step
        reach = self._search.reached(now, np.vstack([x, now]))
        sure = self.sure(reach)
        return self._proposal(reach, self._draws(reach), sure, int(sure.argmax()), "the safest there is")

    def _most(self, now: np.ndarray, best: np.ndarray, left: int = MANY) -> tuple[np.ndarray, np.ndarray]:
        """Settings float64[n, d] and what each gains over the `best`, -1 where it is not certain to keep the limits; while there
        are trials left to use it, what it opens counts too."""
        certain, top = self.task.certain, self._draws(best[None])

        def gain(x: np.ndarray) -> np.ndarray:
            return np.where(self.sure(x) >= certain, self._gain(x, top) * self._search.patience(now, x), -1.0)

        def beyond(x: np.ndarray) -> np.ndarray:
            sure = self.sure(x)
            return np.where(sure < certain, self._gain(x, top) * sure, -1.0)

        x, gains = self._search.sought(now, best[None], gain)
        if left <= 2 or not (self.task.limits and (gains >= 0).any()):
            return x, gains
        there, worth = self._search.sought(now, np.vstack([best, x[np.argsort(-gains)[:4]]]), beyond)
        there = there[np.argsort(-worth)[: 2 * TARGETS : 2]]
        more = np.maximum(self._gain(there, top) - gains.max(), 0)
        if more.max(initial=0) <= 0:
            return x, gains
        ways = self._search.between(best, there)
        x, gains = np.vstack([x, ways]), np.concatenate([gains, gain(ways)])
        safe = gains >= 0
        gains[safe] += (self._opens(x[safe], there, certain) * more).max(axis=1)
        return x, gains

    def _opens(self, x: np.ndarray, there: np.ndarray, certain: float) -> np.ndarray:
        """Chance that a trial at each of float64[n, d] makes each of `there` float64[m, d] certain, float64[n, m]."""
        found, points = np.ones((len(x), len(there))), (self._points(x), self._points(there))
        for limit in self.task.limits:
            bounds = (limit.at_least, limit.at_most)
            found = np.minimum(found, self._quantities[limit.name].opens(*points, bounds, certain))
        return found

    def _gain(self, x: np.ndarray, top: np.ndarray) -> np.ndarray:
        """Over what `top` draws are worth, on average; limits left aside."""
        return np.maximum(self._draws(x) - top, 0).mean(axis=0) * self._liked(x)

    def _step(self, now: np.ndarray, there: np.ndarray) -> Proposal | None:
        """The way to `there`, or the safest part of it that one trial may go; None where no such part is certain."""
        space, changes = self.task.space, self.task.changes
        differ = np.flatnonzero(now != there)
        if len(differ) <= changes:
            ways = there[None]
        else:
            parts = list(itertools.islice(itertools.combinations(differ, changes), WAYS))
            ways = np.repeat(now[None], len(parts), axis=0)
            for way, which in zip(ways, parts, strict=True):
                way[list(which)] = there[list(which)]
        ways = ways[[space.order(now, way) is not None for way in ways]]
        if not len(ways):
            return None
        sure, draws = self.sure(ways), self._draws(ways)
        worth = np.where(sure >= self.task.certain, draws.mean(axis=0), -np.inf)
        at = int(worth.argmax())
        if not np.isfinite(worth[at]):
            return None
        changed = ", ".join(name for name, a, b in zip(space.names, now, ways[at], strict=True) if a != b)
        more = "" if (ways[at] == there).all() else ", on the way to more"
        return self._proposal(ways, draws, sure, at, f"changes {changed}{more}" if changed else "once more")

    def batch(self, now: np.ndarray, size: int) -> list[Proposal]:
        """Settings for `size` trials at once, such as a lot of samples: each is chosen as if those before it had given what is
        expected of them, and APART from them. Nothing is changed on a running line, so each may differ from `now` in as many
        settings as it takes. Fewer where no other settings are certain to keep the limits."""
        chosen: list[Proposal] = []
        kept, moved = len(self.x), self.now
        while len(chosen) < size:
            self._objective.luck()
            best = self.best().x
            x, gain = self._most(now, best)
            for one in chosen:
                near = np.abs(self.task.space.unit(x) - self.task.space.unit(one.x)).max(axis=1) < APART
                gain = np.where(near, -1.0, gain)
            at = int(gain.argmax())
            if gain[at] < 0:
                break
            chosen.append(self._proposal(x, self._draws(x), self.sure(x), at, "one of a lot"))
            self.tell(x[at], self._expected(x[at]))
        self.now = moved
        del self.x[kept:], self.made[kept:], self._age[kept:], self._era[kept:], self._alarmed[kept:]
        self._again()
        return chosen

    def _expected(self, x: np.ndarray) -> dict[str, float]:
        points, middle = self._points(x[None]), np.zeros(DRAWS)
        return {name: float(np.median(one.draws(points, middle))) for name, one in self._quantities.items()}

    def _again(self) -> None:
        points = self._points(np.array(self.x), np.array(self._age), np.array(self._era))
        for name, quantity in self._quantities.items():
            quantity.tell(points, np.array([each[name] for each in self.made]))
        if any(self._alarmed):
            inputs = len(self.task.space)
            self._alarm = self._alarm or Quantity(inputs, self._rng, 0.0, np.zeros(inputs), ALARM)
            self._alarm.tell(points, np.array(self._alarmed, float))

    def _proposal(self, x: np.ndarray, draws: np.ndarray, sure: np.ndarray, at: int, why: str) -> Proposal:
        sign = self.task.aim.sign
        low, high = sorted((sign * np.quantile(draws[:, at], [0.05, 0.95])).tolist())
        return Proposal(x[at], sign * float(draws[:, at].mean()), (low, high), float(sure[at]), why)

    def _liked(self, x: np.ndarray) -> np.ndarray:
        """What an expert holds likely, by less and less as trials come (Hvarfner et al., piBO, 2022)."""
        weight = np.ones(len(x))
        for name, (low, high) in self.task.likely.items():
            k = self.task.space.names.index(name)
            wide = max(high - low, 1e-12)
            off = np.maximum(np.maximum(low - x[:, k], x[:, k] - high), 0) / wide
            weight *= np.exp(-0.5 * (2 * off) ** 2)
        return (weight + 1e-12) ** (BELIEF / (BELIEF + len(self.x)))


def _level(limit: Limit | None) -> float | None:
    if limit is None:
        return None
    return limit.at_most if limit.at_most is not None else limit.at_least
