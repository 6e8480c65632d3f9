"""How much was drawn between the samples of a meter: from a counter that rises, or from a power over time. Pure columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

HOUR = 3600e9  # ns


@dataclass(frozen=True)
class Drawn:
    """Of each way from one good sample to the next: its end `ts` int64[n] (ns), how much, and whether that is `sure`: measured all
    along, and not guessed. `begin` is where the first one begins."""

    begin: int
    ts: np.ndarray
    much: np.ndarray
    sure: np.ndarray


def counted(
    ts: np.ndarray, value: np.ndarray, gap: float, rollover: float | None, most: float | None, stepped: int
) -> tuple[Drawn, np.ndarray]:
    """From the readings of a counter, float64[n + 1] at `ts` int64[n + 1], rising. A longer way than `gap` ns is not sure. A
    counter that falls went over its `rollover`, or began anew at 0: then what it had counted before is lost. What would be more
    than `most` an hour since it stepped last is a jump, and no draw: before the first reading that was at `stepped` (0: nobody
    knows, and its first step is none). When it had stepped last at each reading comes back, too, int64[n + 1]."""
    step, way = np.diff(value), np.diff(ts).astype(float)
    fell, sure = step < 0, way <= gap
    much = np.where(fell, value[1:], step)
    if rollover is not None:
        over = fell & (value[:-1] > rollover / 2) & (value[1:] < rollover / 2)
        much, fell = np.where(over, step + rollover, much), fell & ~over
    last = np.maximum.accumulate(np.concatenate([[stepped], np.where(step != 0, ts[1:], stepped)]))
    jump = (most is not None) & (much > (most or 0.0) * (ts[1:] - last[:-1]) / HOUR) & (last[:-1] > 0)
    return Drawn(int(ts[0]), ts[1:], np.where(jump, 0.0, much), sure & ~fell & ~jump), last


def integrated(ts: np.ndarray, power: np.ndarray, gap: float) -> Drawn:
    """From a power an hour, by trapezoids; over a longer way than `gap` ns that is a guess."""
    way = np.diff(ts).astype(float)
    return Drawn(int(ts[0]), ts[1:], (power[1:] + power[:-1]) / 2 * way / HOUR, way <= gap)


def blips(value: np.ndarray) -> np.ndarray:
    """bool[n]: single readings of a counter that fell though the next is where it was: no counter does that."""
    out = np.zeros(len(value), bool)
    out[1:-1] = (value[1:-1] < value[:-2]) & (value[2:] >= value[:-2])
    return out
