"""History for charts: blocks are decoded here, where a person looks."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection, select

from edge import TRUSTED, CodecFault, decode, log

from . import rollup, tables


def series(
    connection: Connection, device: str, tag: str, t0: int, t1: int, points: int, epoch: str = ""
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """(times ns, values, tag as in the journal `epoch`) of one tag between t0 and t1, at most about `points`; a value that is not
    to be trusted is nan. Over long times: the lowest and highest of each minute. Of a text: its changes, as strings, None where it
    is not to be trusted."""
    t = tables.tag
    found = connection.execute(select(t).where(t.c.device == device, t.c.name == tag)).mappings().all()
    if not found:
        return np.zeros(0, np.int64), np.zeros(0), {}
    shown = next((row for row in reversed(found) if row["epoch"] == epoch), found[-1])
    text = shown["type"] == "text"
    times, values = [], []
    for row in found:
        if (row["type"] == "text") != text:
            continue
        rolled = not text and 2 * (t1 - t0) >= points * rollup.MINUTE  # a cell of the chart is a minute or more
        parts = list((_minutes if rolled else samples)(connection, device, row, t0, t1))
        ts, value = (np.concatenate(column) for column in zip(*parts, strict=True)) if parts else _NOTHING
        if text:  # numbers of strings mean something within their journal only
            ts, value = _changes(ts, value)
            words = strings(connection, device, row["epoch"], value)
            value = np.array([words.get(v) for v in value.tolist()], object)
        times.append(ts)
        values.append(value)
    ts, value = np.concatenate(times), np.concatenate(values)
    order = np.argsort(ts, kind="stable")
    ts, value = (ts[order][-points:], value[order][-points:]) if text else thin(ts[order], value[order], points)
    return ts, value, dict(shown)


_NOTHING = (np.zeros(0, np.int64), np.zeros(0))


def samples(connection: Connection, device: str, row: Any, t0: int, t1: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(times ns, values, nan where it is not to be trusted) of a tag, a row of the table of tags, block by block."""
    for _, ts, value in of_stream(connection, device, [row], t0, t1):
        yield ts, value


def of_stream(
    connection: Connection, device: str, rows: Sequence[Any], t0: int, t1: int
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """The same of several tags of one source in one journal, each with its number: no block is decoded twice."""
    b, source = tables.block, rows[0]["source"]
    where = (b.c.device == device, b.c.epoch == rows[0]["epoch"], b.c.stream == f"samples:{source}")
    wanted = select(b.c.body).where(*where, b.c.t1 >= t0, b.c.t0 <= t1).order_by(b.c.t1)
    for (body,) in connection.execute(wanted):
        try:
            batch = decode(source, body)
        except CodecFault as error:
            log.warning("plane: a block of %s cannot be read: %s", device, error)
            continue
        for row in rows:
            keep = (batch.tag == row["id"]) & (batch.ts >= t0) & (batch.ts <= t1)
            value = np.where(batch.quality[keep] <= TRUSTED, batch.value[keep], np.nan)
            yield row["id"], batch.ts[keep], value


def _minutes(
    connection: Connection, device: str, row: Any, t0: int, t1: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """By minutes as far as there are roll-ups, and the samples of the hours that wait for theirs."""
    stream = {"device": device, "epoch": row["epoch"], "stream": f"samples:{row['source']}"}
    yield from rollup.minutes(connection, stream, row["id"], t0, t1)
    for first, last in rollup.missing(connection, stream, t0, t1):
        yield from samples(connection, device, row, max(t0, first), min(t1, last))


def _changes(ts: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The samples, along time, whose value differs from the one before; nan is like nan."""
    order = np.argsort(ts, kind="stable")
    ts, value = ts[order], value[order]
    moved = (value[1:] != value[:-1]) & ~(np.isnan(value[1:]) & np.isnan(value[:-1]))
    keep = np.concatenate((np.ones(min(1, len(ts)), bool), moved))
    return ts[keep], value[keep]


def strings(connection: Connection, device: str, epoch: str, numbers: Iterable[float | None]) -> dict[float, str]:
    """The strings behind these values of text tags of one journal; of those that are here."""
    t = tables.text
    out: dict[float, str] = {}
    ids = sorted({int(n) for n in numbers if n is not None and abs(n) < 2**53})  # nan is not below anything
    for k in range(0, len(ids), 500):
        where = (t.c.device == device, t.c.epoch == epoch, t.c.id.in_(ids[k : k + 500]))
        out |= {float(number): text for number, text in connection.execute(select(t.c.id, t.c.text).where(*where))}
    return out


def newest_strings(connection: Connection, device: str, epoch: str, tag: int, most: int = 64) -> dict[float, str]:
    """The strings that a text tag had last."""
    t = tables.text
    where = (t.c.device == device, t.c.epoch == epoch, t.c.tag == tag)
    wanted = select(t.c.id, t.c.text).where(*where).order_by(t.c.id.desc()).limit(most)
    return {float(number): text for number, text in connection.execute(wanted)}


def thin(ts: np.ndarray, value: np.ndarray, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest of each of `points` / 2 equal stretches, and the first nan, so that no spike and no gap is lost on a
    chart."""
    n, cells = len(ts), max(1, points // 2)
    if n <= points:
        return ts, value
    edges = np.linspace(0, n, cells + 1).astype(int)
    picked: list[int] = []
    filled_low, filled_high = np.nan_to_num(value, nan=np.inf), np.nan_to_num(value, nan=-np.inf)
    for a, b in itertools.pairwise(edges):
        low, high = a + int(np.argmin(filled_low[a:b])), a + int(np.argmax(filled_high[a:b]))
        picked += sorted({low, high, *(a + np.flatnonzero(np.isnan(value[a:b]))[:1]).tolist()})
    return ts[picked], value[picked]
