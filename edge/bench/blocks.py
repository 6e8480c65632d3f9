"""`codec`: bytes a sample of a sealed block, on signals made here or on recorded ones."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import zstandard

from ..batch import Batch
from ..clock import SECOND
from ..codec import decode, encode
from ..errors import LinesideError
from .ingest import TAGS, signals

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SCANS = 60  # of a block: a minute at one a second


def codec(options: argparse.Namespace) -> dict[str, object]:
    """Bytes a sample of a sealed block of 60 scans. Baseline: the same columns as float64 and int64 under zstd."""
    batches = recorded(options.data) if options.data else made()
    samples = packed = plain = 0
    for batch in batches:
        body = encode(batch)
        if not _same(decode("plc", body), batch):
            raise LinesideError("a block came back as another one")
        samples += len(batch)
        packed += len(body)
        columns = (batch.tag, batch.ts, batch.value, batch.quality)
        plain += len(zstandard.compress(b"".join(column.tobytes() for column in columns)))
    if not samples:
        raise LinesideError(f"no recorded values below {options.data}", hint="CSV files: a time first, then numbers")
    value, baseline = packed / samples, plain / samples
    return {"bench": "codec", "value": value, "unit": "bytes/sample", "baseline": baseline, "ratio": value / baseline}


def made() -> Iterator[Batch]:
    """One block of the signals of `ingest`."""
    ts = np.repeat(np.arange(SCANS) * SECOND + 1_700_000_000 * SECOND, TAGS)
    yield Batch.of("plc", np.tile(np.arange(1, TAGS + 1), SCANS), signals(SCANS).astype(float).ravel(), ts)


def recorded(folder: Path) -> Iterator[Batch]:
    """Blocks of every CSV file below a folder: a time (ISO, UTC) in the first column, in the others what is a number in each row.
    What was labelled by hand (`anomaly`, `changepoint`) is no measurement and left out."""
    for path in sorted(folder.rglob("*.csv")):
        try:
            ts, values = _table(path)
        except (ValueError, OSError, csv.Error):
            continue  # a table of something else
        for start in range(0, len(ts), SCANS):
            part = values[start : start + SCANS]
            tags = np.tile(np.arange(1, values.shape[1] + 1), len(part))
            yield Batch.of("plc", tags, part.ravel(), np.repeat(ts[start : start + SCANS], values.shape[1]))


def _table(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(int64[rows] ns UTC, float64[rows, columns]). Raises ValueError, OSError or csv.Error where it is none."""
    with path.open(newline="", encoding="utf-8") as file:
        mark = ";" if ";" in (head := file.readline().strip()) else ","
        names = head.split(mark)
        use = [i for i, name in enumerate(names) if i and name not in ("anomaly", "changepoint")]
        rows = [row for row in csv.reader(file, delimiter=mark) if len(row) == len(names)]
    ts = np.array([_microseconds(row[0]) for row in rows], np.int64) * 1000
    return ts, np.array([[float(row[i]) for i in use] for row in rows]).reshape(len(rows), len(use))


def _microseconds(text: str) -> int:
    """Since 1970; a time without a zone is UTC."""
    time = datetime.fromisoformat(text)
    return ((time if time.tzinfo else time.replace(tzinfo=UTC)) - EPOCH) // timedelta(microseconds=1)


def _same(a: Batch, b: Batch) -> bool:
    columns = ("tag", "ts", "value", "quality")
    return all(np.array_equal(getattr(a, c).view(np.uint8), getattr(b, c).view(np.uint8)) for c in columns)
