"""One call of `lineside tune`: trials at the machine, told as they come, kept, and journaled."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge import LinesideError, log

from . import history, report
from .machine import Machine
from .session import NEAR, Session, Trial
from .task import Proposal
from .told import Told
from .tuner import Tuner


class Course:
    """One call of the command. It is the session's line: it has the settings set and reads what they make."""

    def __init__(self, what: Told, machine: Machine, options: argparse.Namespace, kept: Path) -> None:
        self._what, self._machine, self._kept = what, machine, kept
        self._json, self._report, self._title = (
            options.json,
            options.report,
            f"{options.site.name}: {what.options.objective}",
        )
        self._writes, self._most = options.write or what.options.write, options.trials or what.options.trials
        self._tuner = Tuner(what.task, np.random.default_rng(options.seed))
        self._written: dict[str, float] = {}

    def remember(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Trials of earlier days, oldest first, each with every setting and output."""
        for row in rows:
            self._tuner.remember(self._what.task.space.vector(row), row)
        if rows:
            log.info("%d trials of earlier days are known", len(rows))

    def run(self) -> None:
        """Until the last trial; then the best settings stand."""
        space = self._what.task.space
        start = space.snapped(space.vector(self._machine.settings(space.names)))
        if not space.allowed(start[None])[0]:
            broken = [text for text, where in space.broken(start[None]).items() if where[0]]
            why = broken[0] if broken else "a setting is beyond its range"
            raise LinesideError(
                f"the machine stands where it may not be: {why}", hint="set it to what is known to be safe first"
            )
        self._machine.alarms(self._what.options.rollback_on)  # those of before are none of ours, unless they stand
        session = Session(self._tuner, self, start)
        try:
            for trial in session.run(self._most):
                self._show(trial, session)
        finally:
            if session.trials:
                self._end(session)

    def set(self, proposal: Proposal, now: np.ndarray) -> None:
        wanted = self._way(proposal.x)
        self._tell("proposed", proposal.why, _foretold(proposal, self._what.task.space.named(proposal.x)))
        if self._writes:
            self._write(wanted)
        elif wanted:
            said = ", ".join(f"{name} = {value:.6g}" for name, value in wanted.items())
            self._machine.set_by(())  # who wrote before this is of no trial
            print(f"please set, in this order: {said}   ({proposal.why})", file=sys.stderr)
            self._machine.until_set(wanted, NEAR)

    def _way(self, there: np.ndarray) -> dict[str, float]:
        """What to write, in an order in which every state keeps the interlocks, from where the machine stands now: as it reads, but
        for what was written since the last lot, which it may not show yet."""
        space = self._what.task.space
        now = space.vector(self._machine.settings(space.names) | self._written)
        order = space.order(space.snapped(now), there)
        if order is None or not space.allowed(there[None])[0]:
            hint = "set it by hand to what is known to be safe"
            raise LinesideError("no order of writing keeps every interlock; nothing was written", hint=hint)
        return {space.names[k]: float(there[k]) for k in order}

    def _write(self, wanted: Mapping[str, float]) -> None:
        for name, value in wanted.items():
            self._machine.write({name: value})
            self._written[name] = value

    def lot(self) -> tuple[np.ndarray, dict[str, float], list[str]]:
        options, space = self._what.options, self._what.task.space
        settings, made = self._machine.made(space.names, self._tuner.outputs, options.settle, options.lots)
        self._written.clear()
        return space.snapped(space.vector(settings)), made, self._machine.alarms(options.rollback_on)

    def _show(self, trial: Trial, session: Session) -> None:
        row: dict[str, Any] = {"trial": trial.number, self._what.options.objective: trial.worth}
        row |= {**trial.settings, **trial.made}
        self._tell_trial(trial)
        history.append(self._kept, {name: row[name] for name in dict.fromkeys(row)})
        if self._json:
            print(
                json.dumps(row | {"kept": trial.kept, "why": trial.why, "alarm": trial.alarm}, ensure_ascii=False),
                flush=True,
            )
        else:
            print(report.bar(trial, session.trials, self._what), flush=True)

    def _tell_trial(self, trial: Trial) -> None:
        limits = self._what.task.limits
        broken = [limit.name for limit in limits if not limit.kept(trial.made[limit.name])]
        data: dict[str, Any] = {"trial": trial.number, "settings": trial.settings, "made": dict(trial.made)}
        data |= {"worth": trial.worth, "broken": broken, "alarm": trial.alarm, "as_proposed": trial.as_proposed}
        if trial.foretold:
            data["foretold"] = dict(zip(("worth", "low", "high"), trial.foretold, strict=True))
        if trial.foretold and not self._writes:
            data["set_by"] = self._machine.set_by(list(trial.settings))
        unit = self._what.units.get(self._what.options.objective, "")
        text = f"{trial.worth:.4g} {unit}".strip() + f"; {trial.why}"
        text += "".join(f"; {name} beyond its limit" for name in broken) + (f"; {trial.alarm}" if trial.alarm else "")
        self._tell("tried", text, data, "medium" if broken or trial.alarm else "info")

    def _tell(self, state: str, text: str, data: Mapping[str, Any], severity: str = "info") -> None:
        told = {"goal": self._what.options.goal, "writes": bool(self._writes), **data}
        self._machine.tell(self._what.options.objective, state, text, told, severity)

    def _end(self, session: Session) -> None:
        space, best = self._what.task.space, session.back("the best of all trials")
        settings = space.named(best.x)
        unit = self._what.units.get(self._what.options.objective, "")
        first = session.trials[0].worth
        names = ", ".join(f"{name} {value:.5g}" for name, value in settings.items())
        broken = sum(not trial.kept for trial in session.trials)
        words = [
            f"best: {names}",
            f"{best.worth:.4g} {unit} (nine in ten: {best.between[0]:.4g} to {best.between[1]:.4g}); it began at {first:.4g}",
            f"{len(session.trials)} trials, {broken} of them beyond a limit; the limits hold there with {best.sure:.1%}",
        ]
        if self._report:
            report.write(self._report, report.page(session.trials, self._what, self._title, settings, words))
        if self._json:
            print(
                json.dumps(
                    {
                        "best": settings,
                        "worth": best.worth,
                        "between": best.between,
                        "sure": best.sure,
                        "broken": broken,
                    }
                )
            )
        else:
            print("\n".join(words), flush=True)
        self._tell("ended", words[1], {"trials": len(session.trials), "broken": broken, **_foretold(best, settings)})
        if self._writes:
            self._write(self._way(best.x))
        log.info("they are set now" if self._writes else "set them, if you agree")


def _foretold(proposal: Proposal, settings: Mapping[str, float]) -> dict[str, Any]:
    low, high = proposal.between
    told = {"worth": proposal.worth, "low": low, "high": high}
    return {"settings": dict(settings), "foretold": told, "sure": proposal.sure}
