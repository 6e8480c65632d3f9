"""`lineside plane evidence DEVICE FILE`: what proves a time of a device, or one of its parts, to somebody who has neither. Works
beside a running plane."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, and_, func, or_, select

from edge import Batch, CodecFault, LinesideError, Record, decode, decode_event

from .. import evidence_file, wire
from ..checkpoint import Checkpoint
from ..evidence_file import Signed
from . import tables
from .compact import apart
from .evidence_tables import checkpoint, original
from .ledger import parts_in
from .pictures import Pictures
from .store import Store
from .witness import NEW, Witness

PROVES_PARTS = ("inspection", "review")
SOON = 3  # checkpoints after an event, one of which lists it
Place = tuple[str, str, int]  # epoch, stream, number


@dataclass(frozen=True)
class Wish:
    """What is to be proven of a device: everything between two times (ns UTC), or what was said of one part."""

    device: str
    since: int = 0
    until: int = 2**62
    part: str = ""
    samples: bool = True
    pictures: bool = True


class Found(NamedTuple):
    """`scope` is what the export says of itself, `absent` what should be in it and is not here, in words."""

    scope: dict[str, Any]
    checkpoints: list[Signed]
    records: list[tuple[str, Record]]
    absent: list[str]


@dataclass(frozen=True)
class _Journal:
    """What one journal of a device signed: rows of `checkpoint`, read as they are needed."""

    connection: Connection
    device: str
    epoch: str

    def _mine(self) -> ColumnElement[bool]:
        t = checkpoint
        return (t.c.device == self.device) & (t.c.epoch == self.epoch) & (t.c.witness != NEW)

    def times(self) -> list[tuple[int, int]]:
        """(number of the event, when it was signed) of each, in their order."""
        t = checkpoint
        rows = self.connection.execute(select(t.c.seq, t.c.ts).where(self._mine()).order_by(t.c.seq))
        return [(row.seq, row.ts) for row in rows]

    def between(self, first: int, last: int) -> list[Row[Any]]:
        t = checkpoint
        wanted = select(t).where(self._mine(), t.c.seq >= first, t.c.seq <= last).order_by(t.c.seq)
        return list(self.connection.execute(wanted))

    def listing(self, places: Iterable[tuple[str, int]]) -> tuple[list[Row[Any]], set[tuple[str, int]]]:
        """The checkpoints that list these records, and which of them they list."""
        t, wanted, rows, listed = checkpoint, set(places), dict[int, Row[Any]](), set[tuple[str, int]]()
        may = [t.c.statement.contains(f'["{name}", ', autoescape=True) for name in {s for s, _ in wanted} - {"event"}]
        asked = [select(t).where(self._mine(), or_(*may))] if may else []
        for _, seq in (place for place in wanted if place[0] == "event"):  # the next ones: an event is signed soon
            asked.append(select(t).where(self._mine(), t.c.seq > seq).order_by(t.c.seq).limit(SOON))
        for question in asked:
            for row in self.connection.execute(question):
                if mine := wanted & _read(row).listed().keys():
                    rows[row.seq] = row
                    listed |= mine
        return [rows[seq] for seq in sorted(rows)], listed


def _read(row: Row[Any]) -> Checkpoint:
    return Checkpoint.read(row.statement)


async def export(store: Store, pictures: Pictures, witness: Witness, wish: Wish, file: Path) -> tuple[Found, list[str]]:
    """Write it, whole or not at all; returns what it has and which pictures are not here. Raises LinesideError."""
    found = await store.read(lambda c: gathered(c, wish))
    fresh = file.with_name(f"{file.name}.new")
    out = evidence_file.Writer(fresh)
    missing = []
    try:
        named = dict.fromkeys(ref for _, record in found.records for ref in _refs(record)) if wish.pictures else {}
        for digest in named:
            if (here := await pictures.whole(digest)) is None:
                missing.append(digest)
            else:
                out.picture(digest, here[1])
        for epoch, record in found.records:
            out.record(epoch, record)
        out.checkpoints(found.checkpoints)
        await asyncio.to_thread(witness.ready)
        said = evidence_file.about(
            wish.device, time.time_ns(), samples=wish.samples, pictures=wish.pictures, **found.scope
        )
        out.about(said, witness.sign(said), witness.certificates)
        out.end()
        fresh.replace(file)
    finally:
        fresh.unlink(missing_ok=True)
    return found, missing


def gathered(connection: Connection, wish: Wish) -> Found:
    """What an export holds, but for pictures. Raises LinesideError where nothing is signed."""
    if connection.scalar(select(tables.device.c.id).where(tables.device.c.id == wish.device)) is None:
        raise LinesideError(f"{wish.device} is not enrolled here", hint="`lineside plane devices` lists them")
    journals = [_Journal(connection, wish.device, epoch) for epoch in _epochs(connection, wish.device)]
    if not journals:
        raise LinesideError(
            f"{wish.device} has signed nothing yet",
            hint="it does so every ten minutes; `sync: {evidence: null}` in its site ends that",
        )
    return _of_part(connection, wish, journals) if wish.part else _of_span(wish, journals)


def _epochs(connection: Connection, device: str) -> list[str]:
    """The journals that have signed something, the oldest first."""
    t = checkpoint
    wanted = select(t.c.epoch).where(t.c.device == device, t.c.witness != NEW).group_by(t.c.epoch)
    return list(connection.scalars(wanted.order_by(func.min(t.c.arrived))))


def _of_span(wish: Wish, journals: list[_Journal]) -> Found:
    epochs, proofs, records, absent = [], list[Signed](), list[tuple[str, Record]](), list[str]()
    begins, ends = list[int](), list[int]()
    for journal in journals:
        times = journal.times()
        first = next((k for k, (_, ts) in enumerate(times) if ts >= wish.since), len(times))
        last = next((k for k, (_, ts) in enumerate(times) if ts >= wish.until), len(times) - 1)
        if last < first or (first and times[first - 1][1] >= wish.until):
            continue
        rows = journal.between(times[max(0, first - 1)][0], times[last][0])
        read = [_read(row) for row in rows]
        mine = read[1:] if first or read[0].number > 1 else read  # the one before says since when
        if not mine:
            continue
        begins.append(read[0].ts if mine is not read else 0)
        epochs.append({"epoch": journal.epoch, "first": mine[0].number, "last": mine[-1].number})
        ends.append(mine[-1].ts)
        listed = [place for one in mine for place in one.listed()]
        wanted = [place for place in listed if wish.samples or not place[0].startswith("samples:")]
        here, lack = _bodies(journal, wanted)
        besides, more = _besides(journal, here, lack)
        known = {row.seq for row in rows}
        proofs += map(_with_proof, [*rows, *(row for row in besides if row.seq not in known)])
        records += [(journal.epoch, record) for record in [*here, *more]]
        absent += lack
    if not epochs:
        raise LinesideError(f"{wish.device} signed nothing of that time", hint="say another --since or --until")
    scope = {"from": max(wish.since, *begins), "to": min(wish.until, max(ends)), "epochs": epochs}
    return Found(scope, proofs, _once(records), absent)


def _besides(journal: _Journal, here: list[Record], lack: list[str]) -> tuple[list[Row[Any]], list[Record]]:
    """What the tags and texts of these samples are, and the gap records of what is missing, with the checkpoints that list them."""
    places: list[tuple[str, int]] = []
    at = (journal.device, journal.epoch)
    have = {(record.stream, record.seq) for record in here}
    if any(record.stream.startswith("samples:") for record in here):
        o = original
        named = select(o.c.stream, o.c.seq).where(
            o.c.device == at[0], o.c.epoch == at[1], o.c.stream.in_(("tag", "text"))
        )
        places += [(row.stream, row.seq) for row in journal.connection.execute(named)]
    if lack:
        t = tables.event
        told = select(t.c.seq).where(t.c.device == at[0], t.c.epoch == at[1], t.c.kind == "gap")
        places += [("event", seq) for seq in journal.connection.scalars(told)]
    rows, listed = journal.listing(set(places) - have)
    return rows, _bodies(journal, sorted(listed))[0]


def _of_part(connection: Connection, wish: Wish, journals: list[_Journal]) -> Found:
    """Events about one part, with the checkpoints that list them."""
    t = tables.event
    wanted = select(t.c.epoch, t.c.seq, t.c.data).where(t.c.device == wish.device, t.c.kind.in_(PROVES_PARTS))
    about = wanted.where(t.c.data.contains(wish.part, autoescape=True)).order_by(t.c.ts)
    rows = connection.execute(about).all()
    places = [(row.epoch, row.seq) for row in rows if str(json.loads(row.data).get("part")) == wish.part]
    if not places:
        raise LinesideError(f"{wish.device} has told of no part {wish.part}", hint="it is the part's number, as 1042")
    proofs, records, proven = list[Signed](), list[tuple[str, Record]](), list[Place]()
    known = {journal.epoch: journal for journal in journals}
    for epoch in dict.fromkeys(epoch for epoch, _ in places):
        journal = known.get(epoch, _Journal(connection, wish.device, epoch))
        mine: list[tuple[str, int]] = [("event", seq) for at, seq in places if at == epoch]
        listing, listed = journal.listing(mine)
        if unsigned := [seq for stream, seq in mine if (stream, seq) not in listed]:
            raise LinesideError(
                f"event {unsigned[0]} of {wish.device} about part {wish.part} is not signed yet",
                hint="the device signs every ten minutes; try again then",
            )
        here, lack = _bodies(journal, mine)
        if lack:
            raise LinesideError(f"{lack[0]} is not here as it came", hint="it was forgotten with its age")
        proofs += map(_with_proof, listing)
        records += [(epoch, record) for record in here]
        proven += [(epoch, stream, seq) for stream, seq in mine]
    return Found({"part": wish.part, "records": proven}, proofs, _once(records), [])


def _bodies(journal: _Journal, places: list[tuple[str, int]]) -> tuple[list[Record], list[str]]:
    """(the records that are here, the others in words)."""
    found: list[Record] = []
    absent: list[str] = []
    for stream in dict.fromkeys(stream for stream, _ in places):
        numbers = {seq for s, seq in places if s == stream}
        read = _blocks if stream.startswith("samples:") else _originals
        here = {r.seq: r for r in read(journal, stream, min(numbers), max(numbers))}
        found += [here[seq] for seq in sorted(numbers & here.keys())]
        absent += [f"record {seq} of {stream}" for seq in sorted(numbers - here.keys())]
    return found, absent


def _originals(journal: _Journal, stream: str, first: int, last: int) -> Iterator[Record]:
    o = original
    place = (o.c.device == journal.device, o.c.epoch == journal.epoch, o.c.stream == stream)
    for row in journal.connection.execute(select(o).where(*place, o.c.seq >= first, o.c.seq <= last)):
        yield Record(stream, row.seq, bytes(row.body), 1, row.t1, row.t1)


def _blocks(journal: _Journal, stream: str, first: int, last: int) -> Iterator[Record]:
    """As they came; those that became one (see compact.py) are taken apart."""
    b, t = tables.block, tables.ledger
    same = [t.c[name] == b.c[name] for name in ("device", "epoch", "stream", "seq")]
    wanted = select(b.c.seq, b.c.last, b.c.t0, b.c.t1, b.c.n, b.c.body, t.c.parts).outerjoin_from(b, t, and_(*same))
    place = (b.c.device == journal.device, b.c.epoch == journal.epoch, b.c.stream == stream, b.c.seq <= last)
    for row in journal.connection.execute(wanted.where(*place).order_by(b.c.seq)):
        if (row.last or row.seq) < first:
            continue
        if row.last is None or row.parts is None:
            yield Record(stream, row.seq, bytes(row.body), row.n, row.t0, row.t1)
            continue
        try:
            for seq, body in apart(bytes(row.body), parts_in(row.parts)):
                batch = decode("", body)
                yield Record(stream, seq, body, len(batch), *_ends(batch))
        except CodecFault:
            continue


def _ends(batch: Batch) -> tuple[int, int]:
    return int(batch.ts.min(initial=2**62)), int(batch.ts.max(initial=0))


def _with_proof(row: Row[Any]) -> Signed:
    signature, proof = bytes(row.signature), bytes(row.proof)
    return Signed(row.seq, row.statement, signature, row.countersigned, proof, row.certificates)


def _once(records: list[tuple[str, Record]]) -> list[tuple[str, Record]]:
    return list({(epoch, r.stream, r.seq): (epoch, r) for epoch, r in records}.values())


def _refs(record: Record) -> Iterator[str]:
    """The pictures that an event names."""
    if record.stream == "event":
        for ref in decode_event(record.body).refs:
            if wire.DIGEST.fullmatch(ref):
                yield ref
