"""The settings of a process: ranges and steps, interlocks, what a trial may change, and in which order it is written."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge import Expression, compile_expression

MOST_INPUTS, ROUNDING = 16, 1e-6
FACTOR = 3.0  # from low to high, from which on a setting is laid out by factors


@dataclass(frozen=True)
class Input:
    """One setting: `low` to `high`, in multiples of `step` above `low` (0: any value)."""

    name: str
    low: float
    high: float
    step: float = 0.0


class Space:
    """Settings float64[n, d] in their own units, in the order of `inputs`; `unit` puts them into the unit cube."""

    def __init__(self, inputs: Sequence[Input], interlocks: Sequence[str] = ()) -> None:
        self.inputs, self.names = list(inputs), [one.name for one in inputs]
        self.low = np.array([one.low for one in inputs])
        self.high = np.array([one.high for one in inputs])
        self._step = np.array([one.step for one in inputs])
        self._factors = (self.low > 0) & (self.high >= FACTOR * np.maximum(self.low, 1e-300))
        self.interlocks: dict[str, Expression] = {text: compile_expression(text) for text in interlocks}

    def __len__(self) -> int:
        return len(self.inputs)

    def unit(self, x: np.ndarray) -> np.ndarray:
        return (self._laid(x) - self._laid(self.low)) / (self._laid(self.high) - self._laid(self.low))

    def _laid(self, x: np.ndarray) -> np.ndarray:
        """By factors where the range spans several of them and holds no zero."""
        return np.where(self._factors, np.log(np.where(self._factors, x, 1.0)), x)

    def settings(self, unit: np.ndarray) -> np.ndarray:
        """Of the unit cube, clipped to it, on the steps."""
        low, high = self._laid(self.low), self._laid(self.high)
        laid = low + np.clip(unit, 0, 1) * (high - low)
        return self.stepped(np.where(self._factors, np.exp(np.where(self._factors, laid, 0.0)), laid))

    def stepped(self, x: np.ndarray) -> np.ndarray:
        """The nearest settings on the steps and within the ranges."""
        x = np.clip(x, self.low, self.high)
        step = np.where(self._step > 0, self._step, 1.0)
        steps = np.minimum(np.round((x - self.low) / step), np.floor((self.high - self.low) / step + 1e-9))
        return np.where(self._step > 0, np.round(self.low + steps * step, 12), x)

    def snapped(self, x: np.ndarray) -> np.ndarray:
        """Settings as a device shows them, on the step where they are off by its rounding alone."""
        near = self.stepped(x)
        return np.where(np.abs(near - x) <= ROUNDING * (self.high - self.low), near, x)

    def broken(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """By interlock, where settings float64[n, d] do not keep it, bool[n]. What cannot be computed is not kept."""
        columns = {name: x[:, k] for k, name in enumerate(self.names)}
        return {
            text: np.broadcast_to(np.nan_to_num(one.evaluate(columns)) == 0, len(x))
            for text, one in self.interlocks.items()
        }

    def allowed(self, x: np.ndarray) -> np.ndarray:
        """Within the ranges and every interlock, bool[n]."""
        within = (x >= self.low) & (x <= self.high)
        return np.asarray(np.column_stack([within, *(~broken for broken in self.broken(x).values())]).all(axis=1))

    def order(self, now: np.ndarray, then: np.ndarray) -> list[int] | None:
        """In which order to write what differs, so that each state on the way is allowed too; None where no order does."""
        differ = np.flatnonzero(now != then).tolist()
        if len(differ) > 6:
            return differ if not self.interlocks else None
        for order in itertools.permutations(differ):
            way = np.repeat(now[None], len(order) + 1, axis=0)
            for k, which in enumerate(order):
                way[k + 1 :, which] = then[which]
            if self.allowed(way[1:]).all():
                return list(order)
        return None

    def named(self, x: np.ndarray) -> dict[str, float]:
        return {name: float(value) for name, value in zip(self.names, x, strict=True)}

    def vector(self, values: Mapping[str, float]) -> np.ndarray:
        """Raises KeyError for a setting that is missing."""
        return np.array([values[name] for name in self.names], float)
