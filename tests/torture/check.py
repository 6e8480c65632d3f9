"""The judgement: what the plane holds at the end beside what the devices measured and what their journals said.

I1 what was durable is applied, or a gap record tells of it; I2 once; I3 in the order of its stream; and each value, time and
quality is the one that was measured. What was never durable may be missing only if its machine ended just then.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import apsw
import numpy as np

from edge import CodecFault, decode
from sync import checkpoint

from .ledger import KIND, SOURCES, WIDTH, Fact, column
from .plane import gaps

if TYPE_CHECKING:
    from .device import Device
    from .world import World

Gaps = dict[tuple[str, str], list[dict[str, Any]]]


@dataclass
class Verdict:
    """Counts of samples and events together."""

    committed: int = 0
    applied: int = 0
    lost: int = 0
    doubled: int = 0
    reordered: int = 0
    violations: int = 0
    faults: int = 0
    cuts: int = 0
    kills: int = 0

    def bad(self) -> bool:
        return bool(self.lost or self.doubled or self.reordered or self.violations)


def judge(world: World) -> Verdict:
    verdict = Verdict(faults=world.faults, cuts=world.cuts, kills=world.kills)
    with contextlib.closing(apsw.Connection(str(world.plane.path))) as db:
        told = gaps(db)
        for device in world.devices:
            for source in SOURCES:
                _samples(world, verdict, db, device, source, told)
            _events(world, verdict, db, device, told)
            _causes(world, device, told)
            _commands(world, db, device)
            _tags(world, db, device)
            _chain(world, db, device, told)
    verdict.violations = len(world.violations)
    return verdict


def _samples(world: World, verdict: Verdict, db: Any, device: Device, source: str, told: Gaps) -> None:
    stream = f"samples:{source}"
    sql = "SELECT epoch, seq, n, body FROM block WHERE device = ? AND stream = ? ORDER BY epoch, seq"
    places: list[np.ndarray] = []  # n * WIDTH + k of every sample there is
    newest: dict[tuple[str, int], int] = {}
    made = device.ledger.made.get(stream, {})
    for epoch, seq, count, body in db.execute(sql, (device.name, stream)):
        try:
            batch = decode(source, body)
        except CodecFault as error:
            world.violation(f"{device.name}: block {seq} of {source} cannot be read: {error}")
            continue
        if len(batch) != count:
            world.violation(f"{device.name}: block {seq} of {source} holds {len(batch)} samples, not {count}")
        numbers = np.floor(batch.value).astype(np.int64)
        first = int(batch.tag.min())
        for k in range(WIDTH):
            mine = batch.tag == first + k
            run = np.concatenate(([newest.get((epoch, k), 0)], numbers[mine]))
            verdict.reordered += int((np.diff(run) < 0).sum())
            newest[epoch, k] = max(newest.get((epoch, k), 0), int(run.max()))
        places.append(numbers * WIDTH + (batch.tag - first))
        _values(world, device, source, made, batch, numbers, batch.tag - first)
    flat = np.concatenate(places) if places else np.zeros(0, np.int64)
    unique = np.unique(flat)
    verdict.doubled += len(flat) - len(unique)
    verdict.applied += len(unique)
    verdict.committed += WIDTH * device.ledger.committed(stream)
    scans, parts = np.unique(unique // WIDTH, return_counts=True)
    present = set(scans[parts == WIDTH].tolist())
    missing = sorted(device.ledger.expected(stream) - present)
    _lost(world, verdict, device, stream, {n: made[n] for n in missing}, told, WIDTH)


def _values(
    world: World, device: Device, source: str, made: dict[int, Fact], batch: Any, numbers: np.ndarray, k: np.ndarray
) -> None:
    """Every sample is the one that was measured."""
    for n in np.unique(numbers).tolist():
        fact, here = made.get(n), numbers == n
        if fact is None or not (
            np.array_equal(batch.value[here], column(n)[k[here] % WIDTH])
            and (batch.ts[here] == fact.ts).all()
            and (batch.quality[here] == fact.quality).all()
        ):
            world.violation(f"{device.name}: scan {n} of {source} is not what was measured")


def _events(world: World, verdict: Verdict, db: Any, device: Device, told: Gaps) -> None:
    sql = "SELECT epoch, data, ts FROM event WHERE device = ? AND kind = ? ORDER BY epoch, seq"
    seen: set[int] = set()
    newest: dict[str, int] = {}
    made = device.ledger.made.get("event", {})
    for epoch, data, ts in db.execute(sql, (device.name, KIND)):
        n = int(json.loads(data)["n"])
        verdict.doubled += n in seen
        verdict.reordered += n < newest.get(epoch, 0)
        newest[epoch] = max(newest.get(epoch, 0), n)
        seen.add(n)
        if n not in made or made[n].ts != ts:
            world.violation(f"{device.name}: event {n} is not what happened")
    verdict.applied += len(seen)
    verdict.committed += device.ledger.committed("event")
    missing = sorted(device.ledger.expected("event") - seen)
    _lost(world, verdict, device, "event", {n: made[n] for n in missing}, told, 1)


def _lost(
    world: World, verdict: Verdict, device: Device, stream: str, missing: dict[int, Fact], told: Gaps, width: int
) -> None:
    """Count what is neither there nor told. A gap tells of the time it spans and of its records; one of samples without a
    place (`first` is 0) of as many as it says; all gaps of a stream together of no more samples than they say."""
    for epoch in sorted({fact.epoch for fact in missing.values()}):
        every = _told(device, epoch, told.get((device.name, epoch), []))
        own = [gap for gap in every if gap.get("stream") == stream]
        facts = {n: fact for n, fact in missing.items() if fact.epoch == epoch}
        room = sum(gap["samples"] for gap in own if not gap["first"])
        named = _named(device, epoch, stream, own)
        untold = [
            n for n, f in facts.items() if n not in named and not any(gap["from"] <= f.ts <= gap["to"] for gap in own)
        ]
        lost = max(0, len(untold) * width - room) // width
        if stream != "event" and not any(gap["cause"] == "forgotten" for gap in own):
            lost = max(lost, len(facts) - sum(gap["samples"] for gap in own) // width)
        if lost:
            verdict.lost += lost * width
            said = device.ledger.said.get(stream, set())
            some = untold or sorted(facts)
            world.note(device.name, "lost", (stream, epoch, lost, [(n, n in said) for n in some[:5]], own[:5]))


def _told(device: Device, epoch: str, gaps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """These gaps, and those that went with events that are told to be forgotten."""
    spans = [(g["first"], g["last"]) for g in gaps if g.get("stream") == "event" and g["cause"] == "forgotten"]
    away = [g for (of, n), g in device.ledger.gaps.items() if of == epoch and any(a <= n <= b for a, b in spans)]
    return [*gaps, *away]


def _named(device: Device, epoch: str, stream: str, own: list[dict[str, Any]]) -> set[int]:
    """The facts in records of which a gap event says that nobody has them any longer."""
    spans = [(gap["first"], gap["last"]) for gap in own if gap["cause"] == "forgotten"]
    found: set[int] = set()
    for (of, where, seq), inside in device.ledger.sealed.items():
        if (of, where) == (epoch, stream) and any(a <= seq <= b for a, b in spans):
            found |= inside
    return found


def _causes(world: World, device: Device, told: Gaps) -> None:
    """What was given up is not told of as damage."""
    for (name, _), every in told.items():
        if name == device.name and not device.flipped:
            for gap in every:
                if gap["cause"] == "damaged":
                    world.violation(f"{name}: a gap says that records were damaged where nothing was: {gap}")


def _commands(world: World, db: Any, device: Device) -> None:
    """Each at most once."""
    sql = "SELECT data FROM event WHERE device = ? AND kind = 'command' AND state <> 'refused'"
    ran = [json.loads(data)["n"] for (data,) in db.execute(sql, (device.name,))]
    if twice := {n for n in ran if ran.count(n) > 1}:
        world.violation(f"{device.name}: commands {sorted(twice)} ran twice")


def _tags(world: World, db: Any, device: Device) -> None:
    """Whatever stands in a block has a name. (An old message may come late to a plane put back, of a journal that is gone.)"""
    sql = "SELECT name FROM tag WHERE device = ? AND epoch = ?"
    names = {name for (name,) in db.execute(sql, (device.name, device.last_epoch))}
    if lacking := {f"{s}.t{k}" for s in SOURCES for k in range(WIDTH)} - names:
        world.violation(f"{device.name}: the plane does not know the tags {sorted(lacking)[:3]}")


def _chain(world: World, db: Any, device: Device, told: Gaps) -> None:
    """What the device signed is one past, and what the plane keeps is what was signed. (Of a journal that is gone a plane put back
    may lack any of it.)"""
    heads: dict[tuple[str, int], str] = {}
    listed: dict[tuple[str, str, int], bytes] = {}
    sql = "SELECT epoch, number, statement FROM checkpoint WHERE device = ? ORDER BY epoch, seq"
    for epoch, number, statement in db.execute(sql, (device.name,)):
        one, before = checkpoint.Checkpoint.read(statement), heads.get((epoch, number - 1), "")
        gone = epoch != device.last_epoch or any(g.get("stream") == "event" for g in told.get((device.name, epoch), ()))
        if (epoch, number) in heads:
            world.violation(f"{device.name}: checkpoint {number} of {epoch} is there twice")
        if number > 1 and not before and not gone:
            world.violation(f"{device.name}: checkpoint {number - 1} of {epoch} is not there")
        if one.before != before and (before or number == 1):
            world.violation(f"{device.name}: checkpoint {number} of {epoch} does not follow the one before")
        heads[epoch, number] = checkpoint.head(statement)
        listed |= {(epoch, *place): hashed for place, hashed in one.listed().items()}
    sql = "SELECT epoch, stream, seq, body FROM original WHERE device = ?"
    for epoch, stream, seq, body in db.execute(sql, (device.name,)):
        if listed.get((epoch, stream, seq), leaf := checkpoint.leaf(stream, body)) != leaf:
            world.violation(f"{device.name}: record {seq} of {stream} ({epoch}) is not what was signed")
