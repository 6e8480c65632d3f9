"""Trials as rows of a CSV file: those of earlier days are read, new ones appended."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from edge import ConfigFault, LinesideError

LARGEST = 10_000_000  # bytes
MOST = 100  # trials that are remembered, the newest


def read(path: Path, columns: Sequence[str]) -> list[dict[str, float]]:
    """The newest rows, oldest first; other columns are left. Raises ConfigFault, LinesideError."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise LinesideError(f"cannot read {path}: {error.strerror}") from None
    if len(raw) > LARGEST:
        raise ConfigFault(f"{path}: more than {LARGEST // 10**6} MB", hint="a row is a trial, not a sample")
    try:
        rows = list(csv.reader(raw.decode("utf-8-sig").splitlines(), delimiter=_mark(raw)))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigFault(f"{path}: is no CSV in UTF-8: {error}") from None
    head = [name.strip() for name in rows[0]] if rows else []
    if missing := [name for name in columns if name not in head]:
        raise ConfigFault(
            f"{path}:1: no column is called {missing[0]!r}",
            hint=f"it needs {', '.join(columns)}; or move the file away",
        )
    at = [head.index(name) for name in columns]
    found, faults = [], []
    for line, row in enumerate(rows[1:], 2):
        if not any(cell.strip() for cell in row):
            continue
        try:
            found.append({name: _number(row[k]) for name, k in zip(columns, at, strict=True)})
        except (ValueError, IndexError):
            faults.append(f"{path}:{line}: not a number in each of its columns")
    if faults:
        raise ConfigFault("\n".join(faults[:20]))
    return found[-MOST:]


def append(path: Path, row: Mapping[str, object]) -> None:
    """One more row; the file begins with a head. Raises LinesideError."""
    try:
        new = not path.exists()
        with path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(row)
            writer.writerow(row.values())
    except OSError as error:
        raise LinesideError(f"cannot write {path}: {error.strerror}") from None


def _mark(raw: bytes) -> str:
    head = raw.partition(b"\n")[0]
    return ";" if b";" in head and b"," not in head else ","


def _number(text: str) -> float:
    value = float(text)
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError(text)
    return value
