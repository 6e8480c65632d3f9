"""`lineside tune SITE`: make a tag better by setting others, trial by trial, inside what is allowed."""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edge import LinesideError, NoDaemon, load_site, log, site_and_state, state_folder

from . import history, report
from .machine import Machine
from .session import Session, Trial
from .told import Told, told
from .tuner import Proposal, Tuner

HELP = "make a tag better by setting others, trial by trial, inside what is allowed"
NAME = "trials.csv"
NEAR = 1e-3  # how far off, of itself, a person's setting may be
STARTS = 60.0  # seconds for a daemon to start


def arguments(parser: argparse.ArgumentParser) -> None:
    site_and_state(parser)
    parser.add_argument("--trials", type=_some, metavar="N", help="how many (default: what the site says, or 25)")
    parser.add_argument("--report", type=Path, metavar="FILE.html", help="write the course as one page with pictures")
    parser.add_argument("--start", action="store_true", help="start the daemon, for as long as this takes")
    parser.add_argument("--write", action="store_true", help="write the settings, as `write: true` in the site")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the search (default: 1)")
    parser.add_argument("--json", action="store_true", help="one JSON object per trial, then one with the best")


def _some(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text[:4]) <= 500:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of trials from 1 to 500")
    return int(text)


def run(options: argparse.Namespace) -> int:
    site = load_site(options.site)
    what = told(site)
    folder = state_folder(site.device.id, options.state)
    with _daemon(options, folder) if options.start else contextlib.nullcontext():
        machine = Machine(folder, what.options.lot, what.options.patience)
        course = Course(what, machine, options, folder / NAME, site.folder)
        course.run()
    return 0


@contextlib.contextmanager
def _daemon(options: argparse.Namespace, folder: Path) -> Iterator[None]:
    """`lineside run SITE` beside us, until the end."""
    if _answers(folder):
        yield
        return
    state = ["--state", str(options.state)] if options.state else []
    command = [sys.executable, "-m", "edge.cli", "run", str(options.site), *state]
    with tempfile.TemporaryFile() as said:  # not a pipe: nobody reads it, and a full one would hold the daemon
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said)
        try:
            end = time.monotonic() + STARTS
            while not _answers(folder):
                if process.poll() is not None:
                    said.seek(0)
                    raise LinesideError(f"the daemon ended: {said.read().decode('utf-8', 'replace').strip()[-500:]}")
                if time.monotonic() > end:
                    raise LinesideError(f"the daemon did not answer within {STARTS:g} s")
                time.sleep(0.1)
            yield
        finally:
            process.terminate()
            process.wait()


def _answers(folder: Path) -> bool:
    from edge import ask_daemon

    try:
        ask_daemon(folder, {"do": "status"})
    except (NoDaemon, OSError):
        return False
    return True


class Course:
    """One call of the command. It is the session's line: it has the settings set and reads what they make."""

    def __init__(self, what: Told, machine: Machine, options: argparse.Namespace, kept: Path, beside: Path) -> None:
        self._what, self._machine, self._kept = what, machine, kept
        self._json, self._report, self._title = (
            options.json,
            options.report,
            f"{options.site.name}: {what.options.objective}",
        )
        self._writes, self._most = options.write or what.options.write, options.trials or what.options.trials
        self._tuner = Tuner(what.task, np.random.default_rng(options.seed))
        self._written: dict[str, float] = {}
        self._remember(beside)

    def _remember(self, beside: Path) -> None:
        """Trials of earlier days: what the site names, and what this command kept."""
        columns = [*self._what.task.space.names, *self._tuner.outputs]
        named = self._what.options.history
        rows = history.read(beside / named, columns) if named else []
        if self._kept.exists():
            rows += history.read(self._kept, columns)
        for row in rows[-history.MOST :]:
            x = self._what.task.space.vector(row)
            self._tuner.remember(x, row)
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
        if self._writes:
            self._write(wanted)
        elif wanted:
            said = ", ".join(f"{name} = {value:.6g}" for name, value in wanted.items())
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
        history.append(self._kept, {name: row[name] for name in dict.fromkeys(row)})
        if self._json:
            print(
                json.dumps(row | {"kept": trial.kept, "why": trial.why, "alarm": trial.alarm}, ensure_ascii=False),
                flush=True,
            )
        else:
            print(report.bar(trial, session.trials, self._what), flush=True)

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
        if self._writes:
            self._write(self._way(best.x))
        log.info("they are set now" if self._writes else "set them, if you agree")
