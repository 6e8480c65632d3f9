"""Compaction that is killed (SIGKILL) after each of its statements in turn: `python -m tests.sync.killed ADDRESS` prints, for each,
[whether it was killed, rows of `block`, samples in them, hours that wait], until one ends by itself."""

from __future__ import annotations

import json
import os
import signal
import sys

from sqlalchemy import Engine, func, select
from sqlalchemy.event import listen

from edge import decode
from sync.control_plane import rollup, tables
from sync.control_plane.database import opened


def settled(engine: Engine, most: int) -> None:
    """The hourly work, up to a number of statements (the commit is one)."""
    done = 0

    def step(*_: object) -> None:
        nonlocal done
        done += 1
        if done == most:
            os.kill(os.getpid(), signal.SIGKILL)

    listen(engine, "after_cursor_execute", step)
    listen(engine, "commit", step)  # before it
    with engine.begin() as connection:
        (place,) = connection.execute(select(tables.stale)).mappings().all()
        rollup._settle(connection, place, rollup.made(connection, place))


def held(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        bodies = connection.execute(select(tables.block.c.body)).scalars().all()
        waits = connection.execute(select(func.count()).select_from(tables.stale)).scalar()
    engine.dispose()
    return [len(bodies), sum(len(decode("", body)) for body in bodies), waits or 0]


def main(address: str) -> None:
    engine, most, status = opened(address), 0, 1
    engine.dispose()
    while status:
        most += 1
        if (child := os.fork()) == 0:
            engine.dispose(close=False)
            settled(engine, most)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(json.dumps([bool(status), *held(engine)]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
