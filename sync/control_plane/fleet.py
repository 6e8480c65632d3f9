"""Which devices there are, and who is let in no more: `lineside plane devices`, `lineside plane revoke DEVICE`."""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import Any

from sqlalchemy import Connection, select, update

from edge import LinesideError

from . import tables
from .store import Store
from .verb import Verb, never
from .where import Where, beside


def listed(connection: Connection) -> list[dict[str, Any]]:
    """Every device: its name, class and site, the fingerprint of its key, and when it was enrolled, last heard and revoked (s UTC,
    0: never)."""
    t = tables.device
    wanted = select(t.c.id, t.c["class"], t.c.site, t.c.key, t.c.enrolled, t.c.seen, t.c.revoked).order_by(t.c.id)
    return [dict(row) for row in connection.execute(wanted).mappings()]


def words(row: dict[str, Any]) -> str:
    """One line for people."""
    enrolled, seen, revoked = (_when(row[name]) for name in ("enrolled", "seen", "revoked"))
    of = " ".join(row[name] for name in ("class", "site") if row[name])
    said = f"{row['id']:24} {of:24} enrolled {enrolled}  heard {seen or 'never':16}"
    return f"{said}  REVOKED {revoked}" if revoked else said


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds)) if seconds else ""


async def revoke(store: Store, device: str) -> None:
    """From now on nobody is let in as that device, until it is enrolled anew. Every process of the plane sees it within seconds.
    Raises LinesideError where there is none."""
    t = tables.device
    change = update(t).where(t.c.id == device, t.c.revoked == 0).values(revoked=time.time())
    if not await store.write(lambda c: c.execute(change).rowcount):
        known = await store.read(lambda c: c.scalar(select(t.c.id).where(t.c.id == device)))
        what = "is revoked already" if known else "is not enrolled here"
        raise LinesideError(f"{device} {what}", hint="`lineside plane devices` lists them")


# `lineside plane devices` and `revoke` work beside a running plane, as `invite` does


async def _list(where: Where) -> None:
    with beside(where) as store:
        for row in await store.read(listed):
            print(words(row))


async def _revoke(where: Where, device: str) -> None:
    with beside(where) as store:
        await revoke(store, device)
    print(f"{device} is let in no more; a token and `lineside enroll` make it known anew")


def _run_list(where: Where, options: argparse.Namespace) -> int:
    asyncio.run(_list(where))
    return 0


def _run_revoke(where: Where, options: argparse.Namespace) -> int:
    asyncio.run(_revoke(where, options.device))
    return 0


def _which(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("device")


VERBS = {
    "devices": Verb("list the devices", _run_list, changes=never),
    "revoke": Verb("let a device in no more", _run_revoke, _which),
}
