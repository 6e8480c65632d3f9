"""Samples as a Parquet file, for pandas, DuckDB, Spark and others. Needs the extra `parquet`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from .batch import Batch, Quality, concatenate
from .errors import LinesideError
from .texts import TYPE

ROWS = 500_000  # of a row group, which is in memory
ENDS = (".parquet", ".pq")
QUALITIES = [quality.name for quality in Quality]


class Names(Protocol):
    """What the numbers of a journal stand for."""

    def of(self, tag: int) -> tuple[str, str]:
        """Its name and its unit."""

    def kind(self, tag: int) -> str:
        """Its type."""

    def value(self, tag: int, value: float) -> float | str | None:
        """Of a text its string."""


def save(path: Path, batches: Iterable[Batch], names: Names) -> int:
    """Samples of one journal as a file, which appears whole or not at all; as `write`."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as out:
            rows = write(out, ((batch, names) for batch in batches))
        part.replace(path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return rows


def write(out: BinaryIO, samples: Iterable[tuple[Batch, Names]]) -> int:
    """Columns time (ns, UTC), tag, value, text, unit, quality, in the order that they come in; returns how many rows. Raises
    LinesideError where pyarrow is not installed."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        hint = "pip install 'lineside[parquet]'"
        raise LinesideError("a Parquet file needs the package pyarrow, which is not installed", hint=hint) from None
    word = pa.dictionary(pa.int32(), pa.string())
    kinds = {"time": pa.timestamp("ns", tz="UTC"), "tag": word, "value": pa.float64(), "text": pa.string()}
    schema = pa.schema([*kinds.items(), ("unit", word), ("quality", word)])
    rows = 0
    with parquet.ParquetWriter(out, schema, compression="zstd") as file:
        for batch, names in _large(samples):
            file.write_table(pa.Table.from_arrays(_columns(pa, batch, names, schema), schema=schema))
            rows += len(batch)
    return rows


def _large(samples: Iterable[tuple[Batch, Names]]) -> Iterator[tuple[Batch, Names]]:
    """The same, enough of one journal together for a row group."""
    waiting, many, known = list[Batch](), 0, None
    for batch, names in samples:
        if known is not None and (names is not known or many >= ROWS):
            yield concatenate(waiting), known
            waiting, many = [], 0
        waiting.append(batch)
        many, known = many + len(batch), names
    if known is not None:
        yield concatenate(waiting), known


def _columns(pa: Any, batch: Batch, names: Names, schema: Any) -> list[Any]:
    ids, at = np.unique(batch.tag, return_inverse=True)
    known = [names.of(int(tag)) for tag in ids]
    text = np.array([names.kind(int(tag)) == TYPE for tag in ids], bool)[at.ravel()]
    none = np.isnan(batch.value)
    spots = np.flatnonzero(text & ~none)
    numbers, first, which = np.unique(batch.value[spots], return_index=True, return_inverse=True)
    tags = batch.tag[spots[first]]
    said = [names.value(int(tag), float(number)) for tag, number in zip(tags, numbers, strict=True)]
    strings = np.full(len(batch), None, object)
    strings[spots] = np.array(said, object)[which.ravel()]

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
