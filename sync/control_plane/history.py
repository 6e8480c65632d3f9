"""History for charts: blocks are decoded here, where a person looks."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from sqlalchemy import Connection, select

from edge import TRUSTED, CodecFault, decode, log

from . import tables


def series(
    connection: Connection, device: str, tag: str, t0: int, t1: int, points: int
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """(times ns, values, tag) of one tag between t0 and t1, at most about `points`; a value that is not to be trusted is nan."""
    t = tables.tag
    found = connection.execute(select(t).where(t.c.device == device, t.c.name == tag)).mappings().all()
    if not found:
        return np.zeros(0, np.int64), np.zeros(0), {}
    times, values = [], []
    for row in found:
        b = tables.block
        where = (b.c.device == device, b.c.epoch == row["epoch"], b.c.stream == f"samples:{row['source']}")
        wanted = select(b.c.body).where(*where, b.c.t1 >= t0, b.c.t0 <= t1).order_by(b.c.t1)
        for (body,) in connection.execute(wanted):
            try:
                batch = decode(row["source"], body)
            except CodecFault as error:
                log.warning("plane: a block of %s cannot be read: %s", device, error)
                continue
            keep = (batch.tag == row["id"]) & (batch.ts >= t0) & (batch.ts <= t1)
            times.append(batch.ts[keep])
            values.append(np.where(batch.quality[keep] <= TRUSTED, batch.value[keep], np.nan))
    ts = np.concatenate(times) if times else np.zeros(0, np.int64)
    value = np.concatenate(values) if values else np.zeros(0)
    order = np.argsort(ts, kind="stable")
    return (*thin(ts[order], value[order], points), dict(found[-1]))


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
