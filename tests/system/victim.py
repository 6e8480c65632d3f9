"""`lineside` with a witness: `python -m tests.system.victim WITNESS PLANT COMMAND...`.

The witness notes, outside the journal, what the journal has just said to be durable, so that a kill cannot change the
testimony. PLANT is `none` or a fault from PLANTS, put into the code of this process to show that the checker sees it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

import msgpack

from edge import LinesideError, cli, rows
from edge.journal import Journal, Pending
from sync.control_plane.store import Store, settle
from sync.device.uplink import Uplink


def witness(path: Path) -> None:
    """Note each commit after it succeeded: every sample's identity and every event's."""
    line = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    commit: Any = Journal._commit

    def noted(journal: Journal, pending: Pending, seal: bool) -> int:
        sealed = int(commit(journal, pending, seal))
        said: list[Any] = [["s", b.source, b.tag.tobytes(), b.ts.tobytes(), b.value.tobytes()] for b in pending.batches]
        said += [["e", e.ts, e.kind, e.key, e.state] for e in pending.events]
        os.write(line, b"".join(map(msgpack.packb, said)))
        return sealed

    Journal._commit = noted  # type: ignore[method-assign]


def cursor_before_ack() -> None:
    send: Any = Uplink._send

    async def early(self: Uplink, transport: Any, records: Any) -> None:
        for r in records:
            self.cursors[r.stream].watermark = r.seq
            self.host.journal.moved("sync", r.stream, self.cursors[r.stream])
        await send(self, transport, records)

    Uplink._send = early  # type: ignore[method-assign]
    without_comparison()


def without_comparison() -> None:
    """The device's comparison after a break would find what the plane lacks, and mend it."""

    async def blind(self: Uplink, transport: Any) -> None: ...

    Uplink._compare = blind  # type: ignore[method-assign]


def ack_before_commit() -> None:
    commit: Any = Store._commit

    def late(self: Store, group: Any) -> Any:
        for job in group:
            fault = None
            with self.engine.connect() as connection:  # in a transaction that is rolled back
                try:
                    found = job.work(connection)
                except LinesideError as error:
                    found, fault = None, error
            loop = job.done.get_loop()
            loop.call_soon_threadsafe(settle, job.done, found, fault)
        time.sleep(0.6)
        commit(self, [job._replace(done=asyncio.Future(loop=job.done.get_loop())) for job in group])
        return []

    Store._commit = late  # type: ignore[method-assign]
    without_comparison()


def tail_forgotten() -> None:
    Journal._replay = lambda self: {}  # type: ignore[method-assign]


def tail_kept_after_seal() -> None:
    seal = rows.seal

    def repeat(db: Any, stream: str, batches: Any, utc: int) -> int:
        kept = list(db.execute("SELECT stream, n, crc, body FROM tail WHERE stream = ?", (stream,)))
        total = seal(db, stream, batches, utc)
        db.executemany("INSERT INTO tail (stream, n, crc, body) VALUES (?, ?, ?, ?)", kept[-1:])
        return total

    rows.seal = repeat


def durable_before_commit() -> None:
    commit: Any = Journal._commit
    waiting: list[Pending] = []

    def lazy(self: Journal, pending: Pending, seal: bool) -> int:
        waiting.append(pending)
        if len(waiting) < 5:
            return 0
        for one in waiting:
            commit(self, one, seal)
        waiting.clear()
        return 1

    Journal._commit = lazy  # type: ignore[method-assign]


PLANTS = {
    "none": lambda: None,
    "cursor_before_ack": cursor_before_ack,
    "ack_before_commit": ack_before_commit,
    "tail_forgotten": tail_forgotten,
    "tail_kept_after_seal": tail_kept_after_seal,
    "durable_before_commit": durable_before_commit,
}

if __name__ == "__main__":
    PLANTS[sys.argv[2]]()
    witness(Path(sys.argv[1]))
    sys.exit(cli.main(sys.argv[3:]))
