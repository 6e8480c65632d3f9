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
    """Rows of a sheet that was filled in, without those that were given before; they are kept with the other trials. Blocks. Raises
    ConfigFault, LinesideError."""
    space, outputs = what.task.space, what.task.outputs
    columns = [*space.names, *outputs]
    rows = history.read(path, columns)
    if not rows:
        raise LinesideError(f"{path} has no row that is filled in", hint=f"it needs {', '.join(outputs)} of each")
    for row in rows:
        for name, value, low, high in zip(space.names, space.vector(row), space.low, space.high, strict=True):
            if not low <= value <= high:
                hint = "mend it, or delete the row; nothing of the sheet was kept"
                raise LinesideError(f"{path}: {name} {value:g} lies beyond its range, {low:g} to {high:g}", hint=hint)
    old = history.read(kept, columns) if kept.exists() else []
    tuner, new = Tuner(what.task, np.random.default_rng(1)), [row for row in rows if row not in old]
    for number, row in enumerate(new, 1):
        worth = tuner.worth(row, space.vector(row))
        shown = {"trial": number, what.options.objective: worth} | {name: row[name] for name in columns}
        history.append(kept, shown)
    return new


def planned(what: Told, rows: Sequence[Mapping[str, float]], size: int, seed: int) -> list[Proposal]:
    """`size` settings, by what `rows` (oldest first) tell of the process as it is. Raises LinesideError where nothing is known
    or sure enough."""
    tuner, space = Tuner(what.task, np.random.default_rng(seed)), what.task.space
    if not rows or not space.allowed(np.array([space.vector(row) for row in rows])).any():
        hint = "run some at the machine, or give their sheet with --results, or a time of the journal with --since"
        raise LinesideError("no trial is known, within the ranges and interlocks, that samples could follow", hint=hint)
    for row in rows[:-1]:
        tuner.remember(space.vector(row), row, today=True)
    tuner.tell(space.vector(rows[-1]), rows[-1])
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
