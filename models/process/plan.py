"""Trials in one go: settings for a lot of samples that are made away from the machine, as a sheet to fill in."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edge import LinesideError, log

from . import history
from .task import Proposal
from .told import Told
from .tuner import Tuner

MOST = 50  # samples of a lot


def results(path: Path, what: Told, kept: Path) -> list[dict[str, float]]:
    """A sheet that was filled in; its rows are kept with the trials of before. Blocks. Raises ConfigFault, LinesideError."""
    space, outputs = what.task.space, what.task.outputs
    rows = history.read(path, [*space.names, *outputs])
    if not rows:
        raise LinesideError(f"{path} has no row that is filled in", hint=f"it needs {', '.join(outputs)} of each")
    tuner = Tuner(what.task, np.random.default_rng(1))
    for number, row in enumerate(rows, 1):
        worth = tuner.worth(row, space.vector(row))
        shown = {
            "trial": number,
            what.options.objective: worth,
            **{name: row[name] for name in (*space.names, *outputs)},
        }
        history.append(kept, shown)
    return rows


def planned(what: Told, rows: Sequence[Mapping[str, float]], size: int, seed: int) -> list[Proposal]:
    """`size` settings, by what `rows` (oldest first) tell of the process as it is. Raises LinesideError where nothing is known
    or sure enough."""
    tuner = Tuner(what.task, np.random.default_rng(seed))
    if not rows:
        hint = "run some at the machine, or give their sheet with --results, or a time of the journal with --since"
        raise LinesideError("no trial is known that a lot of samples could follow", hint=hint)
    for row in rows[:-1]:
        tuner.remember(what.task.space.vector(row), row, today=True)
    tuner.tell(what.task.space.vector(rows[-1]), rows[-1])
    found = tuner.batch(tuner.best().x, size)
    found = [one for one in found if one.sure >= what.task.certain]
    if not found:
        raise LinesideError(
            "no settings are sure enough to keep the limits", hint="try nearer to what is known, at the machine"
        )
    if len(found) < size:
        log.warning("%d of %d: no other settings are sure enough to keep the limits", len(found), size)
    return found


def write(path: Path, what: Told, proposals: Sequence[Proposal]) -> None:
    """A row of each; columns of what comes out are left empty. Blocks. Raises LinesideError."""
    space, outputs = what.task.space, what.task.outputs
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            sheet = csv.writer(file)
            sheet.writerow([*space.names, *outputs, "foretold", "low", "high", "sure"])
            for one in proposals:
                foretold = (f"{value:.5g}" for value in (one.worth, *one.between, one.sure))
                sheet.writerow([*(f"{value:.9g}" for value in one.x.tolist()), *[""] * len(outputs), *foretold])
    except OSError as error:
        raise LinesideError(f"cannot write {path}: {error.strerror}") from None
