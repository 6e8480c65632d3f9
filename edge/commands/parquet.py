"""Samples of a journal as a Parquet file, for pandas, DuckDB, Spark and others. Needs the extra `parquet`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..batch import Batch, Quality, concatenate
from ..errors import LinesideError
from ..texts import TYPE

ROWS = 500_000  # of a row group
ENDS = (".parquet", ".pq")
QUALITIES = [quality.name for quality in Quality]


def write(path: Path, batches: Iterable[Batch], names: Any) -> int:
    """Columns time (ns, UTC), tag, value, text, unit, quality; returns how many rows. `names` tells tags and strings (`Names`).
    The file appears whole or not at all. Raises LinesideError where pyarrow is not installed."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        hint = "install lineside with its extra `parquet`, or name a .csv"
        raise LinesideError("a Parquet file needs the package pyarrow, which is not installed", hint=hint) from None
    word = pa.dictionary(pa.int32(), pa.string())
    kinds = {"time": pa.timestamp("ns", tz="UTC"), "tag": word, "value": pa.float64(), "text": pa.string()}
    schema = pa.schema([*kinds.items(), ("unit", word), ("quality", word)])
    rows, part = 0, path.with_name(f"{path.name}.part")
    try:
        with parquet.ParquetWriter(part, schema, compression="zstd") as out:
            for batch in _large(batches):
                out.write_table(pa.Table.from_arrays(_columns(pa, batch, names, schema), schema=schema))
                rows += len(batch)
        part.replace(path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return rows


def _large(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The same samples, enough together for a row group."""
    waiting: list[Batch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(map(len, waiting)) >= ROWS:
            yield concatenate(waiting)
            waiting = []
    if waiting:
        yield concatenate(waiting)


def _columns(pa: Any, batch: Batch, names: Any, schema: Any) -> list[Any]:
    ids, at = np.unique(batch.tag, return_inverse=True)
    known = [names.of(int(tag)) for tag in ids]
    text = np.array([names.kind(int(tag)) == TYPE for tag in ids], bool)[at]
    none = np.isnan(batch.value)
    strings = np.full(len(batch), None, object)
    for i in np.flatnonzero(text & ~none):
        strings[i] = names.value(int(batch.tag[i]), float(batch.value[i]))

    def words(index: np.ndarray, of: list[str]) -> Any:
        return pa.array(of, pa.string()).take(pa.array(index)).dictionary_encode()

    return [
        pa.array(batch.ts, schema.field("time").type),
        words(at.ravel(), [name for name, _ in known]),
        pa.array(batch.value, mask=none | text),
        pa.array(strings, pa.string()),
        words(at.ravel(), [unit for _, unit in known]),
        words(batch.quality, QUALITIES),
    ]
