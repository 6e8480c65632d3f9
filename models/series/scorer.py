"""Scores rows as they come, against a baseline; the same scores whether rows come one by one or in blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .baseline import STEP, Baseline, Window, averaged, distance, standard

STAYS = 0.7  # an alarm ends below this share of the limit, whatever it was raised by
FREEZES = 5.0  # a centre does not follow what lies farther than that, in learned spreads
SETTLES = 2.0  # windows after an alarm in which the machine may settle elsewhere, and nothing is judged
FORGETS = 0.02  # of an alarm's way out, a step
KEPT = 20_000  # numbers of rows in a state
ANEW = 600  # rows after an alarm in which the centre is a plain mean of what came since


class Scorer:
    """Three windows of one baseline, of which two have to agree."""

    def __init__(self, baseline: Baseline) -> None:
        self.baseline = baseline
        self._lanes = [Lane(baseline, window) for window in baseline.windows]
        self._longest = max(window.rows for window in baseline.windows)
        self._before = np.tile(
            self._lanes[len(self._lanes) // 2].centre, (self._longest, 1)
        )  # as if it had been as learned

    def __call__(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(score float64[n], alarm bool[n]) of rows [n, c] in their order. A score is the distance over the limit, of the middle
        one of the windows; an alarm begins above 1 and ends when most of the way out was gone back."""
        base = self.baseline
        z = standard(rows, base.mean, base.spread, base.settings.clip)
        judged = [lane(averaged(z, lane.window.rows, self._before)) for lane in self._lanes]
        self._before = np.concatenate([self._before, z])[-self._longest :]
        score = np.median([far for far, _ in judged], axis=0)
        alarm = np.sum([on for _, on in judged], axis=0) * 2 > len(judged)
        return score, alarm

    def reasons(self, row: int = -1) -> tuple[np.ndarray, np.ndarray]:
        """(share, deviation), each float64[c], of a row of the last call: of the one where the alarm began that stands there, else
        of itself: how much of the distance each tag makes (they add up to 1), and how far it lies from its centre, in the
        spreads that windows showed while it learned."""
        return self._lanes[len(self._lanes) // 2].reasons(row)

    def drift(self) -> np.ndarray:
        """float64[c]: how far each tag's centre is from the mean that was learned, in standard deviations of the learned rows."""
        return self._lanes[len(self._lanes) // 2].centre

    def stands(self) -> np.ndarray:
        """float64[c]: what is normal for each tag by now, in its own unit."""
        return np.asarray(self.baseline.mean + self.drift() * self.baseline.spread)

    def settle(self) -> None:
        """Judge nothing for two windows, in which each centre goes where the machine stands, as after an alarm."""
        for lane in self._lanes:
            lane.settle()

    @property
    def centres(self) -> list[list[float]]:
        """Where the adaptation stands, for `resume`."""
        return [lane.centre.tolist() for lane in self._lanes]

    def resume(self, centres: list[list[float]]) -> None:
        """Go on from `centres` that a scorer of the same baseline had. Raises ValueError for others."""
        found = np.array(centres, float)
        if found.shape != (len(self._lanes), len(self.baseline.mean)) or not np.isfinite(found).all():
            raise ValueError("centres of another baseline")
        for lane, centre in zip(self._lanes, found, strict=True):
            lane.centre = centre
        self._before = np.tile(found[len(found) // 2], (self._longest, 1))

    @property
    def state(self) -> dict[str, Any] | None:
        """Everything that the next row needs, for `go_on`; None where windows are too long to be kept once a minute."""
        if self._before.size > KEPT:
            return None
        return {"before": self._before.tolist(), "lanes": [lane.state for lane in self._lanes]}

    def go_on(self, state: Mapping[str, Any]) -> None:
        """As if it had never stopped, also in the midst of an alarm. Raises ValueError for the state of another baseline."""
        before = np.array(state["before"], float)
        if before.shape != self._before.shape or not np.isfinite(before).all():
            raise ValueError("rows of another baseline")
        for lane, kept in zip(self._lanes, state["lanes"], strict=True):
            lane.go_on(kept)
        self._before = before


class Lane:
    """One window: its centre, and whether it is in alarm. Both change at the end of a step of STEP rows."""

    def __init__(self, baseline: Baseline, window: Window) -> None:
        self.window, self.settings, self._pace = window, baseline.settings, baseline.pace
        self.centre = window.centre.copy()
        self._settle = SETTLES * window.rows
        self._alarm = self._alive = False
        self._out = np.zeros(window.map.shape[1])  # the alarm's own way out
        self._age, self._since = 0, np.inf
        self._sum, self._in_step = np.zeros(len(self.centre)), 0
        self._last = self.centre
        self._stood = False
        self._alarms, self._seen = np.zeros(1, bool), [np.zeros((1, len(self.centre)))]  # of the last call
        self._began = np.zeros(len(self.centre))  # deviation where the alarm began that stood before that call

    def settle(self) -> None:
        self._since = 0

    @property
    def state(self) -> dict[str, Any]:
        began = self._deviation(len(self._alarms) - 1) if self._alarms[-1] else self._began
        rows = {"centre": self.centre, "out": self._out, "sum": self._sum, "last": self._last, "began": began}
        plain = (
            [self._alarm, self._alive, bool(self._alarms[-1])],
            [self._age, float(min(self._since, 1e9)), self._in_step],
        )
        return {"on": plain[0], "rows": plain[1], **{name: row.tolist() for name, row in rows.items()}}

    def go_on(self, state: Mapping[str, Any]) -> None:
        names = ("centre", "out", "sum", "last", "began")
        rows = [np.array(state[name], float) for name in names]
        own = [self.centre, self._out, self._sum, self._last, self._began]
        if any(new.shape != old.shape or not np.isfinite(new).all() for new, old in zip(rows, own, strict=True)):
            raise ValueError("a window of another baseline")
        alarm, alive, stands = (bool(on) for on in state["on"])
        age, since, in_step = int(state["rows"][0]), float(state["rows"][1]), int(state["rows"][2])
        if not (age >= 0 and since >= 0 and 0 <= in_step < STEP):
            raise ValueError("a damaged window")
        self.centre, self._out, self._sum, self._last, self._began = rows
        self._alarm, self._alive, self._alarms, self._seen = alarm, alive, np.array([stands]), [self._began[None]]
        self._age, self._since, self._in_step = age, since, in_step

    def __call__(self, smooth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scores, alarms = np.empty(len(smooth)), np.empty(len(smooth), bool)
        if self._alarms[-1]:
            self._began = self._deviation(len(self._alarms) - 1)
        self._stood, self._seen, at = bool(self._alarms[-1]), [], 0
        while at < len(smooth):
            part = smooth[at : at + STEP - self._in_step]
            scores[at : at + len(part)], alarms[at : at + len(part)] = self._part(part)
            at += len(part)
        self._alarms = alarms
        return scores, alarms

    def _part(self, part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        window = self.window
        deviation = (part - self.centre) / window.scale
        way = deviation @ window.map
        score = distance(way, self.settings.method) / window.limit
        if self._alarm:
            back = way @ self._out / max(float(self._out @ self._out), 1e-12)
            stays = (back > self.settings.hold) & (score > STAYS)
            alarm = np.logical_and.accumulate(stays) & self._alive
        else:
            alarm = (score > 1) & (self._since >= self._settle)
        self._seen.append(deviation)
        self._alive = bool(alarm[-1])
        self._sum += part.sum(axis=0)
        self._in_step += len(part)
        self._last = part[-1]
        if self._in_step == STEP:
            self._step()
        return score, alarm

    def _step(self) -> None:
        mean, self._sum, self._in_step = self._sum / STEP, np.zeros(len(self.centre)), 0
        was, self._alarm = self._alarm, self._alive
        deviation = (mean - self.centre) / self.window.scale
        if self._alarm:
            self._age += STEP
            self._out += max(FORGETS, STEP / self._age) * (deviation @ self.window.map - self._out)
        else:
            self._age, self._out = 0, np.zeros(len(self._out))
        self._since = 0 if was and not self._alarm else self._since + STEP
        self._follow(mean, np.abs(deviation) > FREEZES)
        self._alive = True

    def _follow(self, mean: np.ndarray, frozen: np.ndarray) -> None:
        if not self._pace.any():
            return
        if not self._alarm and self._since < self._settle:
            self.centre = self._last.copy()
            return
        pace = np.where(frozen, 0.0, self._pace)
        if not self._alarm and self._since < ANEW:
            pace = np.maximum(self._pace, STEP / (self._since + STEP))
        self.centre = self.centre + pace * (mean - self.centre)

    def reasons(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        told = self._deviation(row % len(self._alarms))
        share = told * (self.window.map @ (self.window.map.T @ told))
        share = np.maximum(share, 0.0)  # a tag that draws nearer makes none of the distance
        return share / max(float(share.sum()), 1e-12), told

    def _deviation(self, row: int) -> np.ndarray:
        """float64[c] of the row of the last call where the alarm began that stands at `row`; without one of that row."""
        if self._alarms[row]:
            quiet = np.flatnonzero(~self._alarms[:row])
            row = int(quiet[-1]) + 1 if len(quiet) else 0
            if row == 0 and self._stood:
                return self._began
        return np.asarray(np.concatenate(self._seen)[row])
