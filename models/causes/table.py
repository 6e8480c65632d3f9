"""Parts in a CSV file: those that people have, and those of a journal for others to look at."""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from edge import EMPTY_CELLS, SECOND, LinesideError, table_cells

from .journal import only_rises
from .parts import Column, Parts, named

SHOWN = 8
MISTYPED = 0.1  # of the cells of a column that is meant to be of numbers


def of_table(
    path: Path, target: str, ng: Collection[str], time: str | None, lots: Collection[str], without: Collection[str] = ()
) -> Parts:
    """A line for each part: NG where `target` is one of `ng`, in the order of `time`, or in none. A column whose cells are numbers
    is a measured one unless it is among `lots`; those `without` are let be. Blocks. Raises LinesideError."""
    head, body = table_cells(path)
    twice = [name for name in head if name and name not in without and head.count(name) > 1]
    for name in (target, *([time] if time else []), *lots, *twice):
        if head.count(name) != 1:
            there = f"there are {', '.join(head[:SHOWN])}{', ...' * (len(head) > SHOWN)}"
            raise LinesideError(
                f"{path}:1: {'two columns are' if name in head else 'no column is'} called {name!r}", hint=there
            )
    if wrong := next((line for line, cells in body if len(cells) != len(head)), 0):
        raise LinesideError(
            f"{path}:{wrong}: another number of cells than names",
            hint="a cell with the mark between cells needs quotes",
        )
    if not body:
        raise LinesideError(f"{path}: no row", hint="a line for each part below the names")
    said = np.array([cells for _, cells in body], object).T
    became = np.array([cell.strip() for cell in said[head.index(target)]], object)
    if strange := sorted({*ng} - {*became.tolist()}):
        there = ", ".join(sorted({*became.tolist()})[:SHOWN])
        raise LinesideError(f"{path}: no {target} is {strange[0]!r}", hint=f"there are {there}")
    ts = np.zeros(len(body), np.int64)
    if time:
        ts = np.array([_when(path, line, cells[head.index(time)]) for line, cells in body], np.int64)
    order = np.argsort(ts, kind="stable")
    bad = np.isin(became.astype(str), sorted(ng))
    columns, left_out = [], {}
    for name, cells in zip(head, said, strict=True):
        if name in (target, time) or name in without:
            continue
        column = _column(name, [cell.strip() for cell in cells], name in lots)
        if isinstance(column, int):
            line, cell = body[column][0], cells[column].strip()[:40]
            hint = f"empty the cell; or --code {name} where these are names, or --without {name}"
            raise LinesideError(
                f"{path}:{line}: {cell!r} under {name} is no number, as nearly all others are", hint=hint
            )
        if column is None:
            left_out[name] = "nearly each part has another name"
        elif time and column.labels is None and only_rises(column.value[order]):
            left_out[name] = "it only rises, as a counter does, and says no more than the time"
        else:
            columns.append(column.where(order))
    return Parts(ts[order], bad[order], np.where(bad, became, "")[order], columns, left_out)


def _column(name: str, cells: Sequence[str], is_lot: bool) -> Column | int | None:
    """None where nearly each part has another name; the row of the first cell that is none of nearly only numbers."""
    known = [cell.lower() not in EMPTY_CELLS for cell in cells]
    value = np.array([_number(cell) if some else math.nan for cell, some in zip(cells, known, strict=True)])
    strange = np.flatnonzero(np.array(known) & ~np.isfinite(value))
    if not is_lot and not len(strange):
        return Column(name, value)
    if not is_lot and len(strange) <= MISTYPED * sum(known):
        return int(strange[0])
    names = named(name, [cell if some else "" for cell, some in zip(cells, known, strict=True)])
    return None if len(names.labels or ()) > len(cells) / 2 else names


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan


def _when(path: Path, line: int, cell: str) -> int:
    try:
        when = datetime.fromisoformat(cell.strip())
    except ValueError:
        raise LinesideError(f"{path}:{line}: {cell[:40]!r} is no time", hint="as in 2026-01-31T08:00:00") from None
    return round((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * SECOND)


def save(path: Path, parts: Mapping[str, Parts]) -> None:
    """One line for each part: when, by which stage, what was known of it, `ok` or `ng` and the kind. Raises LinesideError."""
    names = list(dict.fromkeys(column.name for each in parts.values() for column in each.columns))
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            out = csv.writer(file)
            out.writerow(["time", "stage", *names, "verdict", "kind"])
            for stage, each in parts.items():
                columns = {column.name: _shown(column) for column in each.columns}
                rows = zip(*(columns.get(name, [""] * len(each)) for name in names), strict=True)
                for ts, row, bad, kind in zip(
                    each.ts.tolist(), rows, each.ng.tolist(), each.kind.tolist(), strict=True
                ):
                    when = datetime.fromtimestamp(ts / SECOND, UTC).isoformat() if ts else ""
                    out.writerow([when, stage, *row, "ng" if bad else "ok", kind])
    except OSError as error:
        raise LinesideError(f"cannot write {path}: {error.strerror}") from None


def _shown(column: Column) -> list[str]:
    labels = column.labels
    if labels is not None:
        return ["" if v != v else labels[int(v)] for v in column.value.tolist()]
    return ["" if v != v else repr(v) for v in column.value.tolist()]
