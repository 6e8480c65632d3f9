"""A table of parts as people have it: one CSV file, a column for each parameter and one for what became of the part."""

from __future__ import annotations

import csv
import difflib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import LinesideError

LARGEST = 64 * 2**20  # bytes of a file
MOST = 100_000  # rows
SHOWN = 5  # faults, and names of columns
EMPTY = frozenset({"", "nan", "na", "n/a", "null", "none", "-", "?"})


@dataclass(frozen=True)
class Table:
    """`rows` float64[n, columns] and the `target` of each, as text; of rows with an empty cell only how many there are: `empty`."""

    rows: np.ndarray
    target: list[str]
    empty: int


def table_of(path: Path, columns: Sequence[str], target: str) -> Table:
    """Columns of numbers, parted by a comma, semicolon or tab; beside the latter two a number may have a decimal comma. Other
    columns are let be. Blocks. Raises LinesideError with file and line of the first faults."""
    head, body = cells_of(path)
    for name in (*columns, target):
        if head.count(name) != 1:
            near = difflib.get_close_matches(name, head, 1)
            there = f"there are {', '.join(head[:SHOWN]) or 'none'}{', ...' * (len(head) > SHOWN)}"
            what = "two columns are" if name in head else "no column is"
            raise LinesideError(
                f"{path}:1: {what} called {name!r}",
                hint=f"did you mean {near[0]!r}?" if near and name not in head else there,
            )
    at, of = [head.index(name) for name in columns], head.index(target)
    rows: list[list[float]] = []
    said: list[str] = []
    faults, empty = [], 0
    for line, cells in body:
        if len(cells) != len(head):
            faults.append(f"{path}:{line}: {len(cells)} cells under {len(head)} names")
            continue
        wanted = [cells[k].strip() for k in (*at, of)]
        if any(cell.lower() in EMPTY for cell in wanted):
            empty += 1
            continue
        numbers = [_number(cell) for cell in wanted[:-1]]
        if (wrong := next((k for k, value in enumerate(numbers) if not math.isfinite(value)), None)) is not None:
            faults.append(f"{path}:{line}: {wanted[wrong][:40]!r} under {columns[wrong]} is no number")
            continue
        rows.append(numbers)
        said.append(wanted[-1])
    if faults:
        raise LinesideError(
            "\n".join(faults[:SHOWN]) + (f"\n{len(faults) - SHOWN} more lines" if len(faults) > SHOWN else "")
        )
    if not rows:
        raise LinesideError(f"{path}: no row without an empty cell", hint="a line for each part below the names")
    return Table(np.array(rows), said, empty)


def cells_of(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The names of a table, and (line, cells) of each row that has any, with decimal points. Blocks. Raises LinesideError."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise LinesideError(f"cannot read {path}: {error.strerror}") from None
    if len(raw) > LARGEST:
        raise LinesideError(f"{path}: larger than {LARGEST >> 20} MB", hint="a line is a part or a trial, not a sample")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        try:
            text = raw.decode("gb18030")
        except UnicodeDecodeError as error:
            raise LinesideError(f"{path}: is no text in UTF-8 or GB 18030: {error.reason}") from None
    first = text.partition("\n")[0]
    mark = max(",;\t", key=first.count)
    try:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=mark)
        head = [name.strip() for name in next(lines, [])]
        body = [(lines.line_num, cells) for cells in lines if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise LinesideError(f"{path}: is no CSV: {error}") from None
    if len(body) > MOST:
        raise LinesideError(f"{path}: {len(body):,} rows, {MOST:,} are the most", hint="leave out older ones")
    if mark != ",":
        body = [(line, [_point(cell) for cell in cells]) for line, cells in body]
    return head, body


def _point(cell: str) -> str:
    """A decimal comma as a point, where the cell is a number by that."""
    if cell.count(",") != 1 or "." in cell:
        return cell
    turned = cell.replace(",", ".")
    return turned if math.isfinite(_number(turned)) else cell


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan
