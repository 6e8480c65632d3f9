"""The journal's tail: samples that are durable and in no sealed block yet, by stream, in the file and in memory alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import apsw

from . import rows, sums, timekeeping
from .batch import Batch, concatenate
from .codec import CodecFault, NewerVersion, decode
from .log import log
from .records import Place


@dataclass(slots=True)
class OpenBlock:
    """A source's samples since its last sealed block; they stand in the tail already."""

    batches: list[Batch] = field(default_factory=list)
    n: int = 0
    since: int = 0  # monotonic ns
    earlier: bool = False  # a stop left it behind


Open = dict[str, OpenBlock]


@dataclass(slots=True)
class Written:
    """What one transaction put down; `after` is how the open blocks it touched stand once it is committed."""

    after: Open = field(default_factory=dict)
    sealed: int = 0
    sealed_bytes: int = 0
    tail_bytes: int = 0
    tail_samples: int = 0


def write(
    db: apsw.Connection,
    open_: Open,
    batches: Iterable[Batch],
    now: int,
    utc: int,
    longest: int,
    seal: bool,
    hold: bool = False,
) -> Written:
    """Inside the caller's transaction: new samples go to the tail, and a block that spans `longest` (ns), or all with `seal`,
    is sealed; with `hold`, only what is large. `open_` is left as it is."""
    fresh: dict[str, list[Batch]] = {}
    for batch in batches:
        fresh.setdefault(f"samples:{batch.source}", []).append(batch)
    done = Written()
    for stream in {*fresh, *open_}:
        block = open_.get(stream, OpenBlock(since=now))
        added = fresh.get(stream, [])
        n = block.n + sum(map(len, added))
        old = not hold and (stream not in open_ or now - block.since >= longest)
        if n and (seal or old or n >= rows.SEAL_SAMPLES):  # what comes first after a start is not kept waiting
            done.sealed += 1
            done.sealed_bytes += rows.seal(db, stream, [*block.batches, *added], utc)
            done.after[stream] = OpenBlock(since=now)
        elif added:
            joined = concatenate(added)
            done.tail_bytes += rows.tail(db, stream, joined)
            done.tail_samples += len(joined)
            done.after[stream] = OpenBlock([*block.batches, joined], n, block.since if block.n else now)
    return done


def moved(db: apsw.Connection, open_: Open, steps: Iterable[tuple[int, int, int]]) -> Open:
    """Inside the caller's transaction: the open blocks, with samples between two times moved by a step of the clock."""
    out: Open = {}
    db.execute("DELETE FROM tail")
    for stream, block in open_.items():
        batches = block.batches
        for step in steps:
            batches = [timekeeping.moved(batch, *step) for batch in batches]
        for batch in batches:
            rows.tail(db, stream, batch)
        out[stream] = OpenBlock(batches, block.n, block.since)
    return out


def close_earlier(db: apsw.Connection, open_: Open, now: int, utc: int) -> Open:
    """Inside the caller's transaction: seal what a stop left behind. How far the clock is off now says nothing of its stamps."""
    out = dict(open_)
    for stream, block in open_.items():
        if block.earlier and block.n:
            rows.seal(db, stream, block.batches, utc)
            out[stream] = OpenBlock(since=now)
    return out


def replay(db: apsw.Connection, since: int) -> tuple[Open, dict[Place, tuple[str, int]]]:
    """What a stop or a power cut left in the tail, as blocks open `since` (monotonic ns), and the rows that are damaged, with
    stream and number of samples: they are no data. Raises NewerVersion for what another release wrote."""
    found: Open = {}
    damaged: dict[Place, tuple[str, int]] = {}
    for row, stream, n, crc, body in db.execute("SELECT id, stream, n, crc, body FROM tail ORDER BY id"):
        try:
            if not sums.sound("tail", crc, (stream, n), body):
                raise CodecFault("wrong checksum")
            batch = decode(stream.removeprefix("samples:"), body)
        except NewerVersion:
            raise
        except CodecFault as error:
            gone = n if isinstance(n, int) else 0  # the number may be what is damaged
            log.error("journal: a tail record of %s is damaged, %d samples are gone: %s", stream, gone, error)
            damaged["tail", row] = (str(stream), gone)
            continue
        block = found.setdefault(stream, OpenBlock(since=since, earlier=True))
        block.batches.append(batch)
        block.n += n
    return found, damaged
