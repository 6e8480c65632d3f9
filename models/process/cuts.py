"""Where one part ends and the next begins, as a PLC says it: a counter of parts, a bit that rises, or the name of a lot."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from edge import TRUSTED, Batch, ConfigFault, Duration, Setting, StageConfig


class CutsConfig(StageConfig):
    """By what a part is known to be done; one of the three."""

    parts: str | None = Field(None, description="counter of parts: each step up is so many")
    trigger: str | None = Field(None, description="bit that rises from 0 when a part is done")
    lot: str | None = Field(None, description="number or text of the lot: each change ends one, and counts as one part")

    holds: Duration = Field(
        3600.0, description="so long what is told of a part counts for rules where no other one ends"
    )

    @model_validator(mode="after")
    def _one_of_three(self) -> CutsConfig:
        if sum(tag is not None for tag in (self.parts, self.trigger, self.lot)) != 1:
            raise ValueError("say how a part announces its end: one of `parts`, `trigger` and `lot`")
        return self

    def ends(self) -> str:
        """The tag that says it."""
        return self.parts or self.trigger or self.lot or ""

    def reads_text(self) -> tuple[str, ...]:
        return (self.lot,) if self.lot else ()


class Cuts:
    """Batches in; the ends of parts out. What is not to be trusted, or late, is passed over; the first that is heard ends none."""

    def __init__(self, config: CutsConfig, setting: Setting) -> None:
        """Raises ConfigFault for a tag that the site does not have."""
        known(setting, config.ends())
        self._id = setting.table[config.ends()].id
        self._how = "parts" if config.parts else "trigger" if config.trigger else "lot"
        self._last: float | None = None
        self._earlier = math.nan  # what was said before that

    def __call__(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """(`ts` int64[k] ns UTC, `count` float64[k] parts that ended there), along time."""
        mine = np.flatnonzero((batch.tag == self._id) & (batch.quality <= TRUSTED) & np.isfinite(batch.value))
        if not len(mine):
            return np.empty(0, np.int64), np.empty(0)
        mine = mine[np.argsort(batch.ts[mine], kind="stable")]
        value = batch.value[mine]
        before = np.concatenate([[value[0] if self._last is None else self._last], value[:-1]])
        earlier = np.concatenate([[self._earlier], before[:-1]])
        self._earlier, self._last = float(before[-1]), float(value[-1])
        if self._how == "parts":
            count = np.where(value >= before, value - before, np.maximum(value, 0))  # one that fell began anew at 0
            back = (
                (before <= 0) & (earlier > 0) & (value >= earlier)
            )  # but not for a single reading, as of a PLC that starts
            count = np.where(back, value - earlier, count)
        elif self._how == "trigger":
            count = ((value > 0) & (before <= 0)).astype(float)
        else:
            count = (value != before).astype(float)
        some = count > 0
        return batch.ts[mine][some], count[some]

    def snapshot(self) -> float | None:
        return self._last

    def restore(self, state: Any) -> None:
        self._last, self._earlier = None if state is None else float(state), math.nan


def known(setting: Setting, *tags: str) -> None:
    """Raises ConfigFault for a tag that the site does not have."""
    for tag in tags:
        if tag not in setting.table:
            raise ConfigFault(f"{setting.name}: no tag is called {tag!r}", hint="tags are called source.name")
