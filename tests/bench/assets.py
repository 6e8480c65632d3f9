"""What assets cost the plane: a file of 2,000 taken in, 50 with a year of hours listed, what is due of all looked for, and an hour
of a device with 1,000 tags at 1 Hz counted for 50; on SQLite, or on the PostgreSQL at an address (an empty database).

python -m tests.bench.assets [postgresql://…]
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time

import msgpack
import numpy as np

from edge import Batch, encode
from sync import wire
from sync.control_plane import asset_due, asset_files, asset_import, assets, running, tables
from sync.control_plane.asset import Asset, Deed
from sync.control_plane.asset_tables import asset_hour
from sync.control_plane.database import insert_new
from sync.control_plane.messages import Message
from sync.control_plane.rollup import HOUR, roll_once
from sync.control_plane.store import Store

MANY, LISTED, TAGS, EPOCH = 2000, 50, 1000, "0" * 16
NOW = time.time() // 3600 * 3600
YEAR = 365 * 24
RULES = "oil = 500 hours or 365 days; look = 30 days"


def file_of(many: int, rules: str, device: str) -> list[asset_files.Line]:
    head = "id,place,name,class,device,tags,running,begun,rules\n"
    rows = [
        f"P-{k},acme/s{k % 50},Pump {k},pump,{device},t{k % TAGS},t{k % TAGS}.on,2026-03-01,{rules}"
        for k in range(many)
    ]
    return asset_files.read("a.csv", (head + "\n".join(rows)).encode())


async def imported(store: Store, took: dict[str, float]) -> None:
    for name, rules in (("new", RULES), ("same", RULES), ("changed", "oil = 600 hours; look = 30 days")):
        began = time.perf_counter()
        given = file_of(MANY, rules, "gate")
        read = time.perf_counter()
        plan = await store.read(lambda c, g=given: asset_import.planned(c, g, ""))  # type: ignore[misc]
        planned = time.perf_counter()
        await store.write(lambda c, p=plan, g=given: asset_import.keep(c, p, g, ""))  # type: ignore[misc]
        done = time.perf_counter()
        took |= {f"import_{name}_ms": done - began, f"import_{name}_read_ms": read - began}
        took |= {f"import_{name}_plan_ms": planned - read, f"import_{name}_writer_ms": done - planned}


async def hours_listed(store: Store, took: dict[str, float]) -> None:
    """50 with a year behind them, each with two rules, done once."""
    first = int(NOW // 3600) - YEAR
    rules = [{"what": "oil", "hours": 500.0}, {"what": "look", "days": 30}]
    for k in range(LISTED):
        given = Asset(
            id=f"L-{k}", place="acme/listed", device="gate", running="t1.on", begun=first * 3600.0, rules=rules
        )  # type: ignore[arg-type]
        number = await store.write(lambda c, g=given: assets.add(c, g))  # type: ignore[misc]
        rows = [
            {"asset": number, "hour": first + h, "ran": 1800.0, "known": 3600.0, "total": 1800.0 * (h + 1)}
            for h in range(YEAR)
        ]
        await store.write(lambda c, r=rows: insert_new(c, asset_hour, r))  # type: ignore[misc]
        deed = Deed(did="changed", rule="oil", at=NOW - 86_400 * 20)
        await store.write(lambda c, n=number, d=deed: assets.do(c, n, d, "li"))  # type: ignore[misc]
    own = [assets.A.c.place == "acme/listed"]
    began = time.perf_counter()
    rows = await store.read(lambda c: assets.listed(c, own, 200, time.time()))
    took["list_ms"] = time.perf_counter() - began
    assert len(rows) == LISTED and rows[0]["hours"] == YEAR / 2
    began = time.perf_counter()
    found = await store.read(lambda c: asset_due.changes(c, time.time()))
    took["due_ms"] = time.perf_counter() - began
    began = time.perf_counter()
    some = {one.asset for one in found[: asset_due.AT_ONCE]}
    await store.write(lambda c: asset_due.say(c, some, time.time()))
    took["due_writer_ms"] = time.perf_counter() - began


async def counted(store: Store, took: dict[str, float]) -> None:
    """One hour at 1 Hz."""
    hour = int(NOW // 3600) - 2
    for k in range(LISTED):
        given = Asset(id=f"C-{k}", place="acme/counted", device="gate", running=f"t{k}.on", begun=hour * 3600.0)
        await store.write(lambda c, g=given: assets.add(c, g))  # type: ignore[misc]
    step = 60  # seconds of a block
    for k in range(3600 // step):
        ts = np.repeat(hour * HOUR + np.arange(k * step, (k + 1) * step, dtype=np.int64) * 1_000_000_000, TAGS)
        ids = np.tile(np.arange(1, TAGS + 1, dtype=np.int32), step)
        batch = Batch.of("t", ids, np.ones(len(ts)), ts, 0)
        frame = wire.Frame(EPOCH, "samples:t", k + 1, int(ts[0]), int(ts[-1]), len(ts), encode(batch))
        await store.write(Message("gate", [frame]))
    while await roll_once(store, int(NOW) * 1_000_000_000):
        pass
    began, cpu = time.perf_counter(), time.process_time()
    while await running.count_once(store):
        pass
    took |= {"count_ms": time.perf_counter() - began, "count_cpu_ms": time.process_time() - cpu}
    its = [assets.A.c.place == "acme/counted"]
    assert all(row["hours"] == 1.0 for row in await store.read(lambda c: assets.listed(c, its, 200, time.time())))


async def main(address: str) -> None:
    store, took = Store(address), dict[str, float]()
    row = {"id": "gate", "secret": "s", "enrolled": 1.0, "seen": 1.0, "site": "acme"}
    await store.write(lambda c: insert_new(c, tables.device, [row]))
    tags = [msgpack.packb([f"t{k}.on", "bool", "", {}, "t"]) for k in range(TAGS)]
    await store.write(Message("gate", [wire.Frame(EPOCH, "tag", k, 0, 0, 1, tag) for k, tag in enumerate(tags, 1)]))
    await imported(store, took)
    await store.write(lambda c: c.execute(assets.A.update().values(behind=0)) and None)
    await hours_listed(store, took)
    await store.write(lambda c: c.execute(assets.A.delete()) and None)
    await counted(store, took)
    kind = store.engine.dialect.name
    store.close()
    shown = {name: round(seconds * 1000, 1) for name, seconds in took.items()}
    print(json.dumps({"bench": "assets", "database": kind, "imported": MANY, "listed": LISTED, "tags": TAGS, **shown}))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(sys.argv[1] if sys.argv[1:] else f"sqlite:///{folder}/plane.db"))
