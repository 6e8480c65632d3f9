"""Samples for other systems as Parquet files, one for each device and hour, in a folder or at an S3 server.

A file is written when its hour is over and settled, and anew, whole and in place of the one before, when something of it comes
late. So a kill between the store and the commit doubles nothing. Where the plane has forgotten samples of an hour by then, what
comes late goes into a file of its own beside it.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from sqlalchemy import Connection, select

from edge import Batch, CodecFault, ConfigFault, decode, log, reason_of, write_parquet

from . import forwarding, objects, tables, unfiled
from .days import HOUR, LONGEST
from .forward_options import ParquetOptions
from .forwarding import delay
from .objects import ObjectsFault
from .repeat import repeat
from .rollup import AT_A_TIME, first_hour
from .standing import StoreFault
from .store import Store
from .unfiled import Held, Mark

EVERY = 10.0  # seconds between looks
AT_ONCE = 100  # hours a look
STRINGS = 1000  # of text tags, asked for at a time


class Made(NamedTuple):
    """A file of an hour: its name, its rows, and what the files of this hour hold with it."""

    name: str
    rows: int
    parts: list[Held]


class Filing:
    """Writes for one target for as long as `run()` runs; `folder` is for files on the way there. Raises LinesideError where it
    cannot be."""

    def __init__(self, store: Store, name: str, options: ParquetOptions, folder: Path | None = None) -> None:
        self._store, self._name, self._options, self._folder = store, name, options, folder
        try:
            self._objects = objects.at(options.to, Path(options.key) if options.key else None)
        except (OSError, UnicodeDecodeError) as error:
            why = reason_of(error) if isinstance(error, OSError) else "it is no text"
            raise ConfigFault(f"the key {options.key} cannot be read: {why}", hint="check `key`") from None
        with tempfile.TemporaryFile(dir=folder) as out:
            write_parquet(out, [])  # is everything there that it needs?
        self._thread: ThreadPoolExecutor | None = None
        self._said, self._tries = "", 0

    async def run(self) -> None:
        """Until cancelled."""
        await self._store.write(lambda c: unfiled.begin(c, self._name))
        self._thread = ThreadPoolExecutor(1, "parquet")  # others must not wait for a slow target
        try:
            await repeat(self._look, EVERY, f"files for {self._name} wait")
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)

    async def _look(self) -> None:
        """All that waits, or until the target takes nothing."""
        longest = forwarding.LONGEST_WAIT
        await self._pass(await self._store.read(lambda c: unfiled.devices(c, self._name)))
        while marks := await self._store.read(
            lambda c: unfiled.waiting(c, self._name, time.time_ns(), longest, AT_ONCE)
        ):
            for mark in marks:
                if not await self._one(mark):
                    return

    async def _one(self, mark: Mark) -> bool:
        """Whether the target may take others."""
        if not self._options.wants(mark.device):
            await self._pass([mark.device])
            return True
        try:
            parts = await self._file(mark)
        except (ObjectsFault, StoreFault, OSError) as fault:  # the last: no room for files on their way
            wait = delay(self._tries)
            self._tries += 1
            await self._put_off(mark, reason_of(fault) if isinstance(fault, OSError) else str(fault), wait)
            await asyncio.sleep(wait)
            return False
        except Exception as error:
            file = name_of(mark.device, mark.hour, 0)
            log.exception("plane: the file %s for %s cannot be made", file, self._name)
            await self._put_off(mark, f"{file} cannot be made: {error!r}", forwarding.LONGEST_WAIT)
            return True
        await self._store.write(lambda c: unfiled.filed(c, self._name, mark, parts))
        self._tries = 0
        await self._say("")
        return True

    async def _pass(self, devices: list[str]) -> None:
        """Nothing waits of those that are not wanted, also while the target takes nothing."""
        if others := [device for device in devices if not self._options.wants(device)]:
            await self._store.write(lambda c: unfiled.passed(c, self._name, others))

    async def _put_off(self, mark: Mark, why: str, wait: float) -> None:
        await self._store.write(lambda c: unfiled.put_off(c, self._name, mark, wait))
        await self._say(why)

    async def _say(self, why: str) -> None:
        if why == self._said:
            return
        if why:
            log.warning("plane: %s does not take files: %s", self._name, why)
        self._said = why
        await self._store.write(lambda c: unfiled.trouble(c, self._name, why))

    async def _file(self, mark: Mark) -> list[Held] | None:
        """What the files of this hour hold now; None where nothing had to be written."""
        with tempfile.TemporaryFile(dir=self._folder) as out:
            made = await self._store.read(lambda c: make(c, self._name, mark, out))
            if made is None or not made.rows:
                return None
            name, loop = made.name, asyncio.get_running_loop()
            await loop.run_in_executor(self._thread, lambda: self._objects.store(name, out))
            return made.parts


def name_of(device: str, hour: int, part: int) -> str:
    """Of a file, in partitions as Hive, Spark and DuckDB know them."""
    date, clock = str(np.datetime64(hour, "h")).split("T")
    return f"device={device}/date={date}/{clock}{f'-{part}' if part else ''}.parquet"


def make(connection: Connection, name: str, mark: Mark, out: BinaryIO) -> Made | None:
    """Write the file that an hour lacks to `out`; None where it lacks none. On one snapshot of the database."""
    before, here = unfiled.parts(connection, name, mark.device, mark.hour), list(_blocks(connection, mark))
    again = bool(before) and unfiled.within(before[-1], unfiled.held(map(_span, here)))  # else some of it is forgotten
    others = before[:-1] if again else before
    wanted = [row for row in here if not any(unfiled.holds(part, *_span(row)) for part in others)]
    parts = [*others, unfiled.held(map(_span, wanted))]
    if not wanted or parts == before:
        return None
    rows = write_parquet(out, _samples(connection, mark, wanted))
    return Made(name_of(mark.device, mark.hour, len(others)), rows, parts)


def _blocks(connection: Connection, mark: Mark) -> Iterator[Any]:
    """What of each block that counts in an hour tells which it is: all but its body. By stream, epoch and number."""
    a, b, start = tables.applied, tables.block, mark.hour * HOUR
    streams = connection.scalars(select(a.c.stream).where(a.c.device == mark.device).distinct()).all()
    ends = (b.c.t1 >= start, b.c.t1 < start + (LONGEST + 1) * HOUR)
    wanted = select(b.c.epoch, b.c.stream, b.c.seq, b.c.last, b.c.t0, b.c.t1).where(b.c.device == mark.device, *ends)
    for stream in sorted(streams):
        for row in connection.execute(wanted.where(b.c.stream == stream).order_by(b.c.epoch, b.c.seq)):
            if first_hour(row.t0, row.t1) <= mark.hour:
                yield row


def _span(row: Any) -> tuple[str, int, int]:
    return unfiled.place(row.epoch, row.stream), row.seq, row.seq if row.last is None else row.last


def _samples(connection: Connection, mark: Mark, rows: list[Any]) -> Iterator[tuple[Batch, Names]]:
    """Of these blocks what counts in the hour: each sample in that of its time, as far as its block reaches."""
    b = tables.block
    for (stream, epoch), group in groupby(rows, key=attrgetter("stream", "epoch")):
        names, own = Names(connection, mark.device, epoch), list(group)
        mine = select(b.c.t0, b.c.t1, b.c.body).where(
            b.c.device == mark.device, b.c.epoch == epoch, b.c.stream == stream
        )
        for k in range(0, len(own), AT_A_TIME):
            some = own[k : k + AT_A_TIME]
            ends = [row.t1 for row in some]  # which tell PostgreSQL in which tables they are
            these = (b.c.seq.in_([row.seq for row in some]), b.c.t1 >= min(ends), b.c.t1 <= max(ends))
            for t0, t1, body in connection.execute(mine.where(*these).order_by(b.c.seq)):
                try:
                    batch = decode("", body)
                except CodecFault as error:
                    log.warning("plane: a block of %s cannot be read: %s", mark.device, error)
                    continue
                keep = np.clip(batch.ts // HOUR, first_hour(t0, t1), t1 // HOUR) == mark.hour
                if keep.any():
                    yield batch.where(keep), names


class Names:
    """What the numbers of one journal stand for, for `write_parquet`."""

    def __init__(self, connection: Connection, device: str, epoch: str) -> None:
        self._connection, t = connection, tables.tag
        rows = connection.execute(select(t).where(t.c.device == device, t.c.epoch == epoch))
        self._tags = {row.id: row for row in rows}
        self._journal = (tables.text.c.device == device, tables.text.c.epoch == epoch)
        self._strings: dict[int, str] = {}

    def of(self, tag: int) -> tuple[str, str]:
        row = self._tags.get(tag)
        return (row.name, row.unit) if row else (str(tag), "")

    def kind(self, tag: int) -> str:
        return self._tags[tag].type if tag in self._tags else ""

    def value(self, tag: int, value: float) -> float | str | None:
        if self.kind(tag) != "text":
            return value
        number = int(value) if abs(value) < 2**53 else -1
        if number not in self._strings:
            t = tables.text
            after = select(t.c.id, t.c.text).where(*self._journal, t.c.id >= number).order_by(t.c.id).limit(STRINGS)
            self._strings = dict(self._connection.execute(after).tuples().all())
        return self._strings.get(number, f"text {value:.0f}")
