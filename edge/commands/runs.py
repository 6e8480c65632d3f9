"""Runs to failure as people have them: a folder with a CSV file of each."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import LinesideError

LARGEST = 64 * 2**20  # bytes of a file
MOST = 100_000  # rows of all runs together: what is learned from them takes memory by their number
SHOWN = 5  # files with a fault, and names of columns


def runs_of(folder: Path, tags: Sequence[str]) -> dict[str, np.ndarray]:
    """float64[n, tags] by file name, in order of names; other columns are let be. Blocks. Raises LinesideError with what is wrong,
    file and line, the first of each file."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".csv" and path.is_file())
    except OSError as error:
        raise LinesideError(f"{folder}: {error.strerror}", hint="a folder with a CSV file of each run") from None
    if not paths:
        raise LinesideError(f"{folder} holds no CSV file", hint="a file of each run, its name ends in .csv")
    runs: dict[str, np.ndarray] = {}
    faults: list[str] = []
    for path in paths:
        try:
            runs[path.name] = _run(path, tags)
        except (ValueError, OSError, csv.Error) as error:
            faults.append(f"{path.name}{'' if isinstance(error, _At) else ': '}{error}")
        if (n := sum(map(len, runs.values()))) > MOST:
            raise LinesideError(f"{folder}: {n} rows or more, {MOST} are the most", hint="a longer `every` has fewer")
    if faults:
        more = f"\n{len(faults) - SHOWN} more files" if len(faults) > SHOWN else ""
        raise LinesideError("\n".join(faults[:SHOWN]) + more)
    return runs


class _At(ValueError):
    def __init__(self, line: int, what: str) -> None:
        super().__init__(f":{line}: {what}")


def _run(path: Path, tags: Sequence[str]) -> np.ndarray:
    if path.stat().st_size > LARGEST:
        raise ValueError(f"larger than {LARGEST >> 20} MB")
    rows = []
    with path.open(newline="", encoding="utf-8-sig") as text:
        lines = csv.reader(text)
        names = [name.strip() for name in next(lines, [])]
        for tag in tags:
            if names.count(tag) != 1:
                there = "no column is" if tag not in names else "two columns are"
                raise _At(
                    1,
                    f"{there} called {tag!r}; there are {', '.join(names[:SHOWN]) or 'none'}{', ...' * (len(names) > SHOWN)}",
                )
        columns = [names.index(tag) for tag in tags]
        for cells in lines:
            if not cells:
                continue
            if len(cells) != len(names):
                raise _At(lines.line_num, f"{len(cells)} cells under {len(names)} names")
            rows.append([_number(cells[i], names[i], lines.line_num) for i in columns])
            if len(rows) > MOST:
                raise _At(lines.line_num, f"more than {MOST} rows")
    if not rows:
        raise _At(2, "no row")
    return np.array(rows)


def _number(cell: str, name: str, line: int) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _At(line, f"{cell[:40]!r} under {name} is no number")
    return value
