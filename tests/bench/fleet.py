"""A registry of many devices: the list of them, a rollout into waves, and how long until a failing report halts it.

    python -m tests.bench.fleet [--devices 100000] [--database postgresql://USER@HOST/NAME] [--asked 50000]

A whole plane with its API on real sockets; devices are rows, and what they tell comes by the plane's own way in. The list is asked
over HTTP, pages of 100 and 1,000, the first, the middle and the last. `planned` is from the order until every device is in a
wave. `halted` is from the commit of the breaching report until the halt is committed, while `--asked` other devices have been asked
and have not answered: the slowest of three. `withdrawn` is until the last of them is asked no more.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import urllib3
from sqlalchemy import func, select, update

from edge import Event, encode_event, log
from sync import wire
from sync.control_plane import tables
from sync.control_plane.database import insert_new
from sync.control_plane.messages import Message
from sync.control_plane.plane import Plane
from sync.control_plane.rollout_options import from_words
from sync.control_plane.rollouts import R, act, rollouts, start
from sync.control_plane.store import Store
from sync.control_plane.twin import wanted
from sync.control_plane.where import Where

D = tables.rollout_device
TRIES = 3


def figure(name: str, value: float, **more: Any) -> None:
    print(json.dumps({"figure": name, "seconds": round(value, 3), **more}), flush=True)


async def fill(store: Store, many: int) -> None:
    now = time.time()
    row = {"secret": "", "class": "press", "enrolled": now, "seen": now}
    for k in range(0, many, 5000):
        rows = [{"id": f"press-{n:06}", "site": f"acme/site-{n % 500}", **row} for n in range(k, min(many, k + 5000))]
        await store.write(lambda c, r=rows: insert_new(c, tables.device, r))  # type: ignore[misc]


async def lists(plane: Plane, many: int) -> None:
    base, cookie = plane.link.split("/login")[0], {"Cookie": f"session={plane.people.login(plane.people.key)}"}
    browser = urllib3.PoolManager()
    for limit in (100, 1000):
        for where, after in (
            ("first", ""),
            ("middle", f"press-{many // 2:06}"),
            ("last", f"press-{many - limit - 1:06}"),
        ):
            took = []
            for _ in range(9):
                began = time.perf_counter()
                path = f"{base}/api/devices?limit={limit}&after={after}"
                answer = await asyncio.to_thread(browser.request, "GET", path, headers=cookie)
                took.append(time.perf_counter() - began)
                assert answer.status == 200 and int(answer.headers["X-Total-Count"]) == many
                assert len(answer.json()) == limit
            figure("list", statistics.median(took), worst=round(max(took), 3), limit=limit, page=where)
    for words in ("find=99&limit=100", "site=acme/site-7&limit=100", "class=press&limit=100"):
        began = time.perf_counter()
        answer = await asyncio.to_thread(browser.request, "GET", f"{base}/api/devices?{words}", headers=cookie)
        figure("list", time.perf_counter() - began, words=words, total=int(answer.headers["X-Total-Count"]))


async def state(store: Store, number: int) -> str:
    (found,) = await store.read(lambda c: rollouts(c, R.c.number == number))
    return found.state


async def counts(store: Store, number: int) -> dict[str, int]:
    those = select(D.c.state, func.count()).where(D.c.rollout == number).group_by(D.c.state)
    return {row[0]: row[1] for row in await store.read(lambda c: c.execute(those).all())}


async def planned(store: Store, many: int, version: int, **plan: Any) -> int:
    words = {"what": f"model/washer-{version}", "devices": {"all": True}, "gates": {"silent": {"after": "1d"}}, **plan}
    began = time.perf_counter()
    number, fit = await store.write(lambda c: start(c, from_words(words), "bench"))
    assert fit == many
    while await state(store, number) == "planning":
        await asyncio.sleep(0.02)
    figure("planned", time.perf_counter() - began, devices=many)
    return number


async def fails(store: Store, number: int) -> None:
    """One device that was asked refuses."""
    asked = select(D.c.device).where(D.c.rollout == number, D.c.state == "asked").limit(1)
    device: str = await store.read(lambda c: c.scalar(asked)) or ""
    rows = await store.read(lambda c: wanted(c, device))
    said = {"version": rows[0].version, "running": "", "tried": rows[0].version, "generation": rows[0].generation}
    event = Event("twin", "model/washer", "refused", time.time_ns(), "medium", "it is bad", said)
    ts = time.time_ns()
    frame = wire.Frame(f"{number:016x}", "event", 1, ts, ts, 1, encode_event(event))
    await store.write(Message(device, [frame]))


async def halts(plane: Plane, many: int, asked: int) -> None:
    worst, gone = 0.0, 0.0
    for version in range(TRIES):
        number = await planned(plane.store, many, version, waves=[asked], per_minute=10**6, patience="1h")
        while (await counts(plane.store, number)).get("asked", 0) < min(asked, many):
            await asyncio.sleep(0.2)
        await asyncio.sleep(0.7 * version)  # at another moment between two looks
        await fails(plane.store, number)
        began = time.perf_counter()
        while await state(plane.store, number) != "halted":
            await asyncio.sleep(0.02)
        worst = max(worst, time.perf_counter() - began)
        while (await counts(plane.store, number)).get("asked", 0):
            await asyncio.sleep(0.2)
        gone = max(gone, time.perf_counter() - began)
    figure("halted", worst, asked=min(asked, many), tries=TRIES)
    figure("withdrawn", gone, asked=min(asked, many))


async def looks(plane: Plane, many: int) -> None:
    """What one look costs where every device has been asked."""
    number = await planned(plane.store, many, 90, waves=[], per_minute=10**6, patience="1h")
    while (await counts(plane.store, number)).get("asked", 0) < many:
        await asyncio.sleep(0.2)
    took = []
    for _ in range(5):
        began = time.perf_counter()
        await plane.rollouts.look(time.time())
        took.append(time.perf_counter() - began)
    figure("look", statistics.median(took), asked=many)
    change = (
        update(D).where(D.c.rollout == number).values(state="watched", began=time.time(), ended=time.time(), began_ts=1)
    )
    await plane.store.write(lambda c: c.execute(change))
    took = []
    for _ in range(5):
        began = time.perf_counter()
        await plane.rollouts.look(time.time())
        took.append(time.perf_counter() - began)
    figure("look", statistics.median(took), watched=many)
    await plane.store.write(lambda c: act(c, number, "halt", "bench"))


async def bench(folder: Path, database: str, many: int, asked: int) -> None:
    plane = Plane(Where(folder, device_port=0, page_port=0, database=database))
    await plane.start()
    try:
        began = time.perf_counter()
        await fill(plane.store, many)
        figure("filled", time.perf_counter() - began, devices=many, database=plane.store.engine.dialect.name)
        await lists(plane, many)
        await halts(plane, many, asked)
        await looks(plane, many)
    finally:
        await plane.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=100_000)
    parser.add_argument("--asked", type=int, default=50_000)
    parser.add_argument("--database", default="", help="an empty one")
    options = parser.parse_args()
    log.setLevel("WARNING")
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(bench(Path(folder), options.database, options.devices, options.asked))


if __name__ == "__main__":
    main()
