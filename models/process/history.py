"""Trials of earlier days: rows of a CSV file, or what a journal holds of lots made long before anybody tuned anything."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge import TRUSTED, ConfigFault, LinesideError, table_cells, tag_history

if TYPE_CHECKING:
    from .told import Told

SAMPLES = 1_000_000  # of a tag that are looked at; of more, stretches
MOST = 100  # trials that are remembered, the newest


def read(path: Path, columns: Sequence[str], called: Mapping[str, str] | None = None) -> list[dict[str, float]]:
    """The newest rows, oldest first; other columns are left. `called`: what some are called in the file. Raises ConfigFault,
    LinesideError."""
    head, body = table_cells(path)
    wanted = [(called or {}).get(name, name) for name in columns]
    of = dict(zip(columns, wanted, strict=True))
    if alike := [name for name in wanted if list(of.values()).count(name) > 1]:
        raise ConfigFault(
            f"{path}: two tags would be read from the column {alike[0]!r}", hint="`columns` of `tune:` says so"
        )
    if missing := [name for name in wanted if name not in head]:
        hint = f"it needs {', '.join(wanted)}; `tune:` names with `columns` those of `history`, and with `kept` where trials go"
        raise ConfigFault(f"{path}:1: no column is called {missing[0]!r}", hint=hint)
    if twice := [name for name in dict.fromkeys(head) if name in wanted and head.count(name) > 1]:
        raise ConfigFault(f"{path}:1: two columns are called {twice[0]!r}", hint="leave one of them out")
    at = [head.index(name) for name in wanted]
    found, faults = [], []
    for line, row in body:
        try:
            found.append({name: _number(row[k]) for name, k in zip(columns, at, strict=True)})
        except (ValueError, IndexError):
            faults.append(f"{path}:{line}: not a number in each of its columns")
    if faults:
        raise ConfigFault("\n".join(faults[:20]), hint="fill it in, or delete the row")
    return found[-MOST:]


def known(what: Told, beside: Path, state: Path, kept: str, span: tuple[int, int] | None) -> list[dict[str, float]]:
    """The newest rows of all there is, oldest first: what the site names, lots of a `span` of the journal (ns UTC), and the file
    `kept` of earlier calls. Blocks. Raises ConfigFault, LinesideError."""
    space, outputs = what.task.space, what.task.outputs
    columns, options = [*space.names, *outputs], what.options
    rows = read(beside / options.history, columns, options.columns) if options.history else []
    if span is not None:
        rows += lots(state / "journal.db", options.lot, space.names, outputs, span, options.settle)
    if (state / kept).exists():
        found = {tuple(row[name] for name in space.names) for row in rows}  # a trial of before lies in the journal too
        rows += [row for row in read(state / kept, columns) if tuple(row[name] for name in space.names) not in found]
    return rows[-MOST:]


def lots(
    journal: Path, lot: str, settings: Sequence[str], outputs: Sequence[str], span: tuple[int, int], settle: int
) -> list[dict[str, float]]:
    """One row of each stretch of lots that were made with the same settings: their mean outputs, without the first `settle` after
    a change. A lot is what all tags were when the tag `lot` had counted on; a tag that is not good ends a stretch. Blocks. Raises
    LinesideError where there is none."""
    names = [*settings, *outputs]
    found = tag_history(journal, list(dict.fromkeys([lot, *names])), *span, SAMPLES)
    ts, count, quality = (column[np.argsort(found[lot][0], kind="stable")] for column in found[lot])
    ts, count = ts[quality <= TRUSTED], count[quality <= TRUSTED]
    ended = ts[np.flatnonzero(np.diff(count) != 0) + 1]
    rows = np.column_stack([_at(found[name], ended) for name in names])
    good = np.isfinite(rows).all(axis=1)
    same = np.zeros(len(rows), bool)
    same[1:] = (rows[1:, : len(settings)] == rows[:-1, : len(settings)]).all(axis=1) & good[1:] & good[:-1]
    out = []
    for stretch in np.split(np.arange(len(rows)), np.flatnonzero(~same)):
        made = stretch[good[stretch]][settle:]
        if len(made):
            means = [*rows[made[0], : len(settings)], *rows[made, len(settings) :].mean(axis=0)]
            out.append(dict(zip(names, map(float, means), strict=True)))
    if not out:
        hint = f"a stretch has more than {settle} lots with the same settings, and a good value of every tag"
        raise LinesideError(f"the journal holds no lots of {lot} in that time to learn from", hint=hint)
    return out


def _at(column: tuple[np.ndarray, np.ndarray, np.ndarray], when: np.ndarray) -> np.ndarray:
    """The last value not later than each of `when` (ns), NaN where that is not good."""
    order = np.argsort(column[0], kind="stable")
    ts, value, quality = (each[order] for each in column)
    at = np.searchsorted(ts, when, side="right") - 1
    return np.where((at >= 0) & (quality[at] <= TRUSTED), value[at], np.nan)


def append(path: Path, row: Mapping[str, object]) -> None:
    """One more row, written as the file is, by its head, which a new one begins with; a column that the row has not stays
    empty. Raises LinesideError."""
    try:
        raw = path.read_bytes() if path.exists() else b""
        try:
            text, encoding = raw.decode("utf-8-sig"), "utf-8"
        except UnicodeDecodeError:
            text, encoding = raw.decode("gb18030", "replace"), "gb18030"
        first = text.partition("\n")[0]
        mark = max(",;\t", key=first.count)
        head = [name.strip() for name in next(csv.reader([first], delimiter=mark), [])]
        with path.open("a", encoding=encoding, newline="") as file:
            writer = csv.writer(file, delimiter=mark)
            if raw and not raw.endswith(b"\n"):  # as editors leave it
                file.write("\n")
            if not head:
                writer.writerow(row)
            writer.writerow([row.get(name, "") for name in head or row])
    except OSError as error:
        raise LinesideError(f"cannot write {path}: {error.strerror}") from None


def _number(text: str) -> float:
    value = float(text)
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError(text)
    return value
