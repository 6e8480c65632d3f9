"""A course of trials: what was set, what it made, what the charts say of it, and when the best settings come back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from edge import LinesideError

from ..quality.charts import run_rules
from .task import Proposal
from .tuner import Tuner

FEWEST = 5  # trials before a chart says anything
RULES = (
    "1 beyond 3 sigma",
    "2 of 3 beyond 2 sigma",
)  # the others tell of a bias, which the next fit takes up by itself
STUBBORN = 3  # trials in a row with an alarm, after which it is not the settings
NEAR = 1e-3  # how far off, of itself, a person's setting may be
WIDE = 4 / 3  # a model's own doubt is a guess: its sigma counts for so many


class Line(Protocol):
    """The machine, or a person before it."""

    def set(self, proposal: Proposal, now: np.ndarray) -> None:
        """Have these settings set, in place of `now`."""
        ...

    def lot(self) -> tuple[np.ndarray, dict[str, float], list[str]]:
        """The settings as they stand (somebody may have decided on others), what they make, and which alarms stand that end a
        trial."""
        ...


@dataclass
class Trial:
    """One row of the course; `foretold` is (mean, low, high) of the objective, None at the first. `alarm` says why the best
    settings came back after it; `as_proposed`, whether nobody decided on other settings."""

    number: int
    x: np.ndarray
    made: Mapping[str, float]
    worth: float
    kept: bool
    best: float
    why: str
    foretold: tuple[float, float, float] | None = None
    alarm: str = ""
    as_proposed: bool = True
    settings: dict[str, float] = field(default_factory=dict)


class Session:
    """Give it a tuner, a line and the settings as they are; `run` yields each trial as it ends."""

    def __init__(self, tuner: Tuner, line: Line, start: np.ndarray) -> None:
        self.tuner, self._line, self.now = tuner, line, start
        self.trials: list[Trial] = []
        self._odd: dict[str, list[float]] = {name: [] for name in tuner.outputs}

    def run(self, most: int) -> Iterator[Trial]:
        proposal: Proposal | None = None
        while len(self.trials) < most:
            if proposal is not None:
                self._line.set(proposal, self.now)
            self.now, made, standing = self._line.lot()
            alarm = f"alarm {', '.join(standing)}" if standing else self._chart(made)
            trial = self._told(made, proposal, alarm, alarmed=bool(standing))
            self.trials.append(trial)
            yield trial
            if (
                all(each.alarm.startswith("alarm ") for each in self.trials[-STUBBORN:])
                and len(self.trials) >= STUBBORN
            ):
                hint = "what raises it is not the settings; look at the machine"
                raise LinesideError(f"{alarm} came {STUBBORN} trials in a row, at the best settings too", hint=hint)
            proposal = self._after(alarm, most - len(self.trials))

    def _chart(self, made: Mapping[str, float]) -> str:
        """Which run rule the outputs break, by how far they lie from what was foretold of them; empty for none."""
        if not self.trials:
            return ""
        surprise = self.tuner.surprise(self.now, made)
        broken = ""
        for name, z in surprise.items():
            row = self._odd[name]
            row.append(z / WIDE)
            if len(self.trials) < FEWEST:
                continue
            rules = run_rules(np.array(row), -np.array(row))
            told = [rule for rule in RULES if rules[rule][-1]]
            broken = broken or (f"{name}: {told[0]}" if told else "")
        return broken

    def _told(self, made: Mapping[str, float], proposal: Proposal | None, alarm: str, *, alarmed: bool) -> Trial:
        tuner, foretold = self.tuner, None
        if proposal is not None:
            foretold = (proposal.worth, *proposal.between)
        tuner.tell(self.now, made, alarmed=alarmed)
        kept, worth = tuner.kept(made), tuner.worth(made, self.now)
        why = proposal.why if proposal else "as it was"
        as_proposed = proposal is None or np.allclose(proposal.x, self.now, rtol=NEAR, atol=1e-9)
        number, best = len(self.trials) + 1, tuner.best().worth
        settings = tuner.task.space.named(self.now)
        return Trial(number, self.now, dict(made), worth, kept, best, why, foretold, alarm, as_proposed, settings)

    def _after(self, alarm: str, left: int) -> Proposal:
        if not alarm:
            return self.tuner.ask(self.now, left)
        self.tuner.jump()
        for row in self._odd.values():
            row.clear()
        return self.back(f"back after {alarm}")

    def back(self, why: str) -> Proposal:
        """The best settings that were tried."""
        best = self.tuner.best()
        return Proposal(best.x, best.worth, best.between, best.sure, why)
