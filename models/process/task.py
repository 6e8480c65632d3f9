"""What a tuner is told before the first trial, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .space import Space

CERTAIN = 0.975  # that a trial keeps a limit
HORIZON = 25.0  # trials over which a drift bends


@dataclass(frozen=True)
class Limit:
    """What an output has to keep; either side may be missing. `measured`: as it is measured, noise and all."""

    name: str
    at_least: float | None = None
    at_most: float | None = None
    measured: bool = False

    def kept(self, value: float) -> bool:
        return not (
            (self.at_most is not None and value > self.at_most) or (self.at_least is not None and value < self.at_least)
        )


@dataclass(frozen=True)
class Hint:
    """An expert: `input` raises (1) or lowers (-1) `output`."""

    input: str
    output: str
    sign: int


@dataclass(frozen=True)
class Aim:
    """The objective: `value` of the named columns (outputs, settings too), to be made high (`sign` 1) or low (-1)."""

    names: Sequence[str]
    value: Callable[[Mapping[str, np.ndarray]], np.ndarray]
    sign: float = 1.0


@dataclass
class Task:
    """All that a tuner is told before the first trial."""

    space: Space
    aim: Aim
    limits: Sequence[Limit] = ()
    changes: int = 2  # settings that a trial may change
    horizon: float = HORIZON  # 0: nothing drifts
    certain: float = CERTAIN
    hints: Sequence[Hint] = ()
    likely: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def outputs(self) -> list[str]:
        """What has to be measured of each trial."""
        made = [name for name in self.aim.names if name not in self.space.names]
        return list(dict.fromkeys(made + [limit.name for limit in self.limits]))


@dataclass(frozen=True)
class Proposal:
    """Settings float64[d]; what they may be `worth` (mean, and between which bounds nine of ten draws lie), how surely the limits
    are kept, and why they were chosen."""

    x: np.ndarray
    worth: float
    between: tuple[float, float]
    sure: float
    why: str
