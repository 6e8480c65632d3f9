"""A recorded table (CSV) as columns."""

from __future__ import annotations

import csv
import datetime
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
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
