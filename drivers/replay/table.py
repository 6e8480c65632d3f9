"""A recorded table (CSV) as columns."""

from __future__ import annotations

import csv
import datetime
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path

import numpy as np

from edge import ConfigFault

LATEST = 9e9  # seconds since 1970, in the year 2255: 64 bits of nanoseconds end soon after


@dataclass
class Table:
    """`ts` int64[n] ns UTC, rising; `value` float64[n, c] in the order of the columns asked for, nan where none could be read;
    `unreadable` counts those, `first` says where the first one is. A column of text holds places in its list of `strings`."""

    ts: np.ndarray
    value: np.ndarray
    unreadable: int
    first: str
    strings: dict[int, list[str]] = field(default_factory=dict)
    left_out: int = 0  # rows of one recording that are no later than the one before


def files(path: Path) -> list[Path]:
    """The tables that a path with a `*` in it names, by name; without one the path itself."""
    return [Path(name) for name in sorted(glob(str(path)))] if "*" in str(path) else [path]


def read_all(
    paths: Sequence[Path], time: str, columns: Mapping[str, str], separator: str = ",", texts: Collection[str] = ()
) -> Table:
    """Several recordings as one, in the order of their first times, as `read` takes each. Where two overlap, the rows of the later
    one that are no newer are left out. A column that only some of them have is nan in the others; one that none has is a
    ConfigFault."""
    if len(paths) == 1:
        return read(paths[0], time, columns, separator, texts)
    there = {path: _header(path, separator) for path in paths}
    for name in (time, *columns.values()):
        if not any(name in header for header in there.values()):
            hint = f"{paths[0].name} has {', '.join(there[paths[0]][:20])}; separator?"
            raise ConfigFault(f"none of {len(paths)} tables has a column {name!r}", hint=hint)
    parts = []
    for path, header in there.items():
        own = {tag: column for tag, column in columns.items() if column in header}
        table = read(path, time, own, separator, set(texts) & own.keys())
        if len(table.ts):
            parts.append((table, list(own)))
    return _joined(sorted(parts, key=lambda part: int(part[0].ts[0])), list(columns))


def _header(path: Path, separator: str) -> list[str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as text:
            return next(csv.reader(text, delimiter=separator), [])
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise ConfigFault(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def _joined(parts: Sequence[tuple[Table, list[str]]], tags: list[str]) -> Table:
    stamps, values, newest, left_out = [np.empty(0, np.int64)], [np.empty((0, len(tags)))], -(2**63), 0
    words: dict[int, dict[str, int]] = {}
    for table, own in parts:
        value = np.full((len(table.ts), len(tags)), np.nan)
        for k, tag in enumerate(own):
            at = tags.index(tag)
            value[:, at] = table.value[:, k]
            if k in table.strings:
                known = words.setdefault(at, {})
                number = np.array([known.setdefault(string, len(known)) for string in table.strings[k]], float)
                said = np.isfinite(value[:, at])
                value[said, at] = number[value[said, at].astype(np.int64)]
        fresh = table.ts > newest
        left_out += len(fresh) - int(fresh.sum())
        stamps.append(table.ts[fresh])
        values.append(value[fresh])
        newest = max(newest, int(table.ts[-1]))
    tables = [table for table, _ in parts]
    first = next((table.first for table in tables if table.first), "")
    strings = {at: list(known) for at, known in words.items()}
    unreadable = sum(table.unreadable for table in tables)
    return Table(np.concatenate(stamps), np.concatenate(values), unreadable, first, strings, left_out)


def read(path: Path, time: str, columns: Mapping[str, str], separator: str = ",", texts: Collection[str] = ()) -> Table:
    """`columns` is tag -> column, `texts` are the tags that are text. Raises ConfigFault with file and line for what cannot be
    replayed."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as text:
            rows = csv.reader(text, delimiter=separator)
            header = next(rows, [])
            missing = [name for name in (time, *columns.values()) if name not in header]
            if missing:
                raise ConfigFault(
                    f"{path}:1: no column is called {missing[0]!r}",
                    hint=f"there are {', '.join(header[:20])}; separator?",
                )
            words: dict[int, dict[str, int]] = {k: {} for k, tag in enumerate(columns) if tag in texts}
            return _table(path, rows, header.index(time), [header.index(c) for c in columns.values()], words)
    except FileNotFoundError:
        raise ConfigFault(f"there is no {path}") from None
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise ConfigFault(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def _table(path: Path, rows: object, time: int, columns: list[int], words: dict[int, dict[str, int]]) -> Table:
    stamps: list[int] = []
    values: list[list[float]] = []
    unreadable, first = 0, ""
    for row in rows:  # type: ignore[attr-defined]
        line = rows.line_num  # type: ignore[attr-defined]
        if not row:
            continue
        stamps.append(_stamp(row[time] if time < len(row) else "", f"{path}:{line}"))
        if len(stamps) > 1 and stamps[-1] < stamps[-2]:
            raise ConfigFault(f"{path}:{line}: time runs backwards here")
        numbers = [_cell(row[c], words.get(k)) if c < len(row) else math.nan for k, c in enumerate(columns)]
        bad = sum(map(math.isnan, numbers))
        if bad and not unreadable:
            first = f"{path}:{line}"
        unreadable += bad
        values.append(numbers)
    value = np.array(values, np.float64).reshape(len(stamps), len(columns))
    strings = {k: list(known) for k, known in words.items()}
    return Table(np.array(stamps, np.int64), value, unreadable, first, strings)


def _cell(text: str, words: dict[str, int] | None) -> float:
    """The number of a cell; in a column of text the place of its string among `words`."""
    return _number(text) if words is None else float(words.setdefault(text.strip(), len(words)))


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def _stamp(text: str, where: str) -> int:
    """ISO 8601 (UTC where no zone is given), or seconds since 1970."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = datetime.datetime.fromisoformat(text.strip())
            seconds = (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()
        except (ValueError, OverflowError):
            seconds = math.nan
    if not abs(seconds) < LATEST:  # also what is no number
        raise ConfigFault(f"{where}: {text!r} is no time", hint="ISO 8601 or seconds since 1970")
    return round(seconds * 1e6) * 1000
