"""Which hours of which asset are to be counted, see running.py. Whatever settles an hour of a device leaves a mark for the assets
on it, in its own transaction."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, select

from . import tables
from .asset_tables import asset, asset_hour, asset_mark
from .database import upsert
from .tree import enterprise

A = asset


def mark(connection: Connection, device: str, hour: int) -> None:
    """An hour of a device has something new for the assets on it."""
    d = tables.device
    wanted = (
        select(A.c.number, A.c.place, d.c.site)
        .join(d, d.c.id == A.c.device)
        .where(A.c.device == device, A.c.begun < (hour + 1) * 3600, counts(), serves(hour))
    )
    found = [row.number for row in connection.execute(wanted) if reaches(row.place, row.site)]
    if found:
        h = asset_hour  # what stood at the end of this hour goes on in the next one, where that is counted already
        after = connection.scalars(select(h.c.asset).where(h.c.asset.in_(found), h.c.hour == hour + 1))
        add(connection, [*((number, hour) for number in found), *((number, hour + 1) for number in after)])


def reaches(place: str, site: str) -> bool:
    """Whether an asset at a place may tell of a device at a site: it is of the same enterprise. The root may of all."""
    return not place or enterprise(place) == enterprise(site)


def counts() -> Any:
    """That something says how long an asset runs."""
    return (A.c.running != "") | (A.c.counter != "")


def serves(hour: int) -> Any:
    """That an asset was not out of service all that hour."""
    return (A.c.retired == 0) | (A.c.retired > hour * 3600)


def add(connection: Connection, hours: Iterable[tuple[int, int]]) -> None:
    """Hours of assets, each marked now."""
    now = time.time_ns()
    upsert(connection, asset_mark, *({"asset": number, "hour": hour, "marked": now} for number, hour in hours))
