"""How far a machine is worn by one number that rises (a vibration's rms), and when it reaches its limit if it goes on like that."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

SMOOTH = 12  # points of the running median
LEAST = 24  # points of a trend that are too few to go by
SIDES = 1.2816  # standard deviations on both sides that hold 80 % of a normal distribution
REPAIRED = 0.25  # share of the rise that means worn, below which a machine that was worn is as new
SOONER = 3.0  # times that damage which speeds up may be sooner at its end than its trend says
YIELDS = 0.05  # of what a longer life would add is told per point


@dataclass(frozen=True)
class Settings:
    """`learn`: points from which the healthy level is learned, unless `healthy` says it; `rise`: how much of it more means worn;
    life ends at `limit` times the healthy level, or at the level `end`; `trend`: points that a trend is taken from at most."""

    learn: int = 144
    healthy: float | None = None
    end: float | None = None
    rise: float = 0.35
    limit: float = 5.0
    trend: int = 144


@dataclass(frozen=True)
class Told:
    """`health` 1 (as learned) to 0 (at the limit); `left`, `low`, `high` in hours, NaN while no trend leads to the limit."""

    health: float
    worn: bool
    left: float
    low: float
    high: float


class Wear:
    """One point after the other. Health never rises and the life left never grows by more than YIELDS of the news, until a machine
    that was worn has been as new for `learn` points: it was repaired, and `repaired` counts that."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.repaired = settings, 0
        self._begin()

    def _begin(self) -> None:
        self.level = None if self.settings.healthy is None else float(np.log(self.settings.healthy))
        self._hours: list[float] = []
        self._logs: list[float] = []
        self._smooth: list[float] = []
        self._health, self._worn, self._new = 1.0, 0, 0
        self._left, self._at = float("nan"), 0.0

    def __call__(self, hours: float, value: float) -> Told | None:
        """None while the healthy level is learned; `hours` rise, `value` is above 0. Raises ValueError for one that is not."""
        if not value > 0 or not np.isfinite(value):
            raise ValueError(f"{value:g} is no level that can rise by a share of itself")
        s = self.settings
        self._logs.append(float(np.log(value)))
        if self.level is None:
            if len(self._logs) >= s.learn:
                self.level = float(np.median(self._logs))
            return None
        # Where the clock was set back the trend begins anew; what is known stays.
        if self._hours and hours <= self._hours[-1]:
            self._at += hours - self._hours[-1]
            self._hours, self._smooth = [], []
        self._hours.append(hours)
        self._smooth.append(float(np.median(self._logs[-SMOOTH:])) - self.level)
        keep = max(s.trend, SMOOTH)
        self._hours, self._logs, self._smooth = self._hours[-keep:], self._logs[-keep:], self._smooth[-keep:]
        return self._told()

    def _told(self) -> Told:
        s, now, hours = self.settings, self._smooth[-1], self._hours[-1]
        worn_at, end = float(np.log1p(s.rise)), self._end()
        self._worn = self._worn + 1 if now > worn_at or self._worn >= SMOOTH else 0
        self._new = self._new + 1 if now < REPAIRED * worn_at else 0
        if self._worn >= SMOOTH and self._new >= s.learn:
            self.repaired += 1
            level = self.level
            self._begin()
            self.level = level
            return Told(1.0, False, np.nan, np.nan, np.nan)
        self._health = min(self._health, float(np.clip(1 - now / end, 0, 1)))
        if self._worn < SMOOTH:
            return Told(self._health, False, np.nan, np.nan, np.nan)
        left, low, high = remaining(np.array(self._hours), np.array(self._smooth), end)
        told = self._guarded(left, hours)
        if np.isfinite(told) and left > 0:
            low, high = low * told / left, high * told / left
        return Told(
            self._health, True, told, low if np.isfinite(told) else np.nan, high if np.isfinite(told) else np.nan
        )

    def _end(self) -> float:
        """Of the rise, in logarithms; a level that was learned above `end` is at its end."""
        s = self.settings
        end = np.log(s.limit) if s.end is None or self.level is None else np.log(s.end) - self.level
        return max(float(end), 1e-9)

    def _guarded(self, left: float, hours: float) -> float:
        before = self._left - (hours - self._at)
        if np.isfinite(left):
            told = left if not np.isfinite(before) or left < before else before + YIELDS * (left - before)
            self._left, self._at = max(0.0, told), hours
            return self._left
        return max(0.0, before) if np.isfinite(before) else float("nan")

    def as_json(self) -> dict[str, Any]:
        kept = {name.lstrip("_"): value for name, value in vars(self).items() if name != "settings"}
        kept = {name: None if isinstance(v, float) and np.isnan(v) else v for name, v in kept.items()}
        return {"version": 1, "settings": asdict(self.settings), **kept}

    def resume(self, document: dict[str, Any]) -> bool:
        """Go on where one with the same settings stood; False, and as new, for another."""
        if document.get("version") != 1 or document.get("settings") != asdict(self.settings):
            return False
        for name in vars(self):
            if name != "settings":
                value = document[name.lstrip("_")]
                setattr(self, name, float("nan") if name == "_left" and value is None else value)
        return True


def remaining(hours: np.ndarray, level: np.ndarray, end: float) -> tuple[float, float, float]:
    """(left, low, high) hours until the straight line through `level` (logarithms: an exponential) reaches `end`, with the
    quantiles of 10 % and 90 % by the errors of its slope and of its last point, the lower one not above left / SOONER. What is at
    its end has 0 left; a line that does not rise leads nowhere: NaN. Neighbouring points of a running median count as one."""
    if len(level) < LEAST:
        return np.nan, np.nan, np.nan
    if level[-1] >= end:
        return 0.0, 0.0, 0.0
    t = hours - hours.mean()
    slope = float(t @ (level - level.mean()) / max(float(t @ t), 1e-12))
    off = level - level.mean() - slope * t
    spread = float(np.sqrt(off @ off / (len(t) - 2)))
    error = spread * np.sqrt(SMOOTH / max(float(t @ t), 1e-12))
    if slope <= SIDES * error or slope <= 0:
        return np.nan, np.nan, np.nan
    way = max(0.0, end - float(level.mean() + slope * t[-1]))
    low = max(0.0, way - SIDES * spread) / (slope + SIDES * error)
    return way / slope, min(low, way / slope / SOONER), (way + SIDES * spread) / (slope - SIDES * error)
