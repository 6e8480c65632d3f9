"""A device of a run: the real journal and the real uplink on a simulated disk, with a source that counts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import apsw
import numpy as np
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edge import (
    SECOND,
    Batch,
    Cursor,
    Event,
    Health,
    LinesideError,
    Tag,
    TagTable,
    decode_event,
    journal_planted,
    journal_taken,
)
from edge.journal import Journal, JournalConfig
from edge.live import Live
from edge.supervise import supervise
from sync import checkpoint, replacement
from sync.control_plane.callers import BY, PROVEN
from sync.device import key
from sync.device.box import goes_on
from sync.device.evidence import Evidence
from sync.device.uplink import NAME, SyncConfig, Uplink

from .disk import Disk
from .ledger import KIND, SOURCES, WIDTH, Fact, Ledger, column
from .link import Link
from .plane import numbers
from .virtual import Clock

if TYPE_CHECKING:
    from .world import World

SIGNS = 7.0  # seconds from one checkpoint to the next


class Device:
    """Up or not. It is the `Host` of its uplink."""

    def __init__(self, world: World, name: str) -> None:
        self.name, self._world = name, world
        self._rng = random.Random(world.rng.random())
        self.ended = asyncio.Event()
        self.disk = Disk(world.folder / name, world.rng, self.ended.set)
        self.folder, self.path = self.disk.folder, self.disk.folder / "journal.db"
        self.clock = Clock(asyncio.get_running_loop())
        self.link = Link(world, name, world.plane)
        self.ledger = Ledger()
        self.config = SimpleNamespace(device=SimpleNamespace(id=name))
        self._small = self._rng.random() < 0.4  # a journal too small for a long outage
        self.up, self.producing, self.flipped = False, True, False
        self._tasks: list[asyncio.Task[Any]] = []
        self.journal: Any = None
        self.last_epoch = ""
        self.copied_back = False  # its journal may be older than what the plane has of it
        self.renewed()
        self._inside: dict[tuple[str, str], int] = {}  # how far `ledger.sealed` was filled

    def start(self) -> bool:
        """False if the disk does not let it."""
        self.disk.boot()
        self.ended.clear()
        self.clock.boot()
        at_most = 105_000 if self._small else 4 * 10**9
        config = JournalConfig(block=10.0, durable_within=2.0, keep=60.0 if self._small else 3600.0, at_most=at_most)
        try:
            self.journal = Journal(self.path, self.clock, config)
            wanted = [Tag(f"{s}.t{k}", source=s) for s in SOURCES for k in range(WIDTH)]
            table = TagTable.numbered(wanted, self.journal.tag_ids, self.journal.texts)
        except LinesideError as error:
            self._world.note(self.name, "cannot start", str(error))
            if "damaged" in str(error):
                self._world.violation(f"{self.name}: its journal does not open again: {error}")
            self.disk.stop()
            return False
        self.tags = {s: np.array([table[f"{s}.t{k}"].id for k in range(WIDTH)], np.int32) for s in SOURCES}
        self.live, self.health = Live(table), Health(self.clock)
        self.journal.readers, self.last_epoch = {NAME}, self.journal.epoch
        self._watch()
        options = SyncConfig(url="https://plane", live=20.0)
        self._tasks = [
            asyncio.ensure_future(self.journal.run()),
            asyncio.ensure_future(self._measure()),
            asyncio.ensure_future(
                supervise(
                    NAME,
                    lambda: Uplink(options, self, self.link, self._rng).run(),
                    self.health,
                    on_lost=lambda why: self._world.note(self.name, "uplink fell", why),
                    randomness=self._rng,
                )
            ),
            asyncio.ensure_future(supervise("evidence", self._signs, self.health, randomness=self._rng)),
        ]
        self.up = True
        return True

    async def _signs(self) -> None:
        await Evidence(self, self.name, self.key, SIGNS).run()

    def _watch(self) -> None:
        """Note what the journal says to be durable, and judge each move of the cursor."""
        journal, commit, moved = self.journal, self.journal._commit, self.journal.moved

        def noted(pending: Any, *rest: Any) -> Any:
            batches, events = list(pending.batches), list(pending.events)
            sealed = commit(pending, *rest)
            if not self.disk.off:
                self.ledger.durable(batches, events)
                self._look_inside(journal)
                if batches or events:
                    self._world.note(self.name, "durable", [sum(map(len, batches)), [e.kind for e in events]])
            return sealed

        def judged(reader: str, stream: str, cursor: Cursor) -> None:
            known = self.link.known.get((journal.epoch, stream), Cursor())
            if stream != "commands" and cursor.watermark and cursor.watermark not in known:
                self._world.violation(
                    f"{self.name}: the cursor of {stream} moved to {cursor.watermark} without an answer"
                )
            moved(reader, stream, cursor)

        journal._commit, journal.moved = noted, judged

    def _look_inside(self, journal: Any) -> None:
        """Remember what is in each record that was sealed; of events by their numbers."""
        for stream, last in list(journal._db.execute("SELECT name, seq FROM stream")):
            where = "event WHERE 'event' = ?" if stream == "event" else "block WHERE stream = ?"
            after = self._inside.get((journal.epoch, stream), 0)
            for seq, body in journal._db.execute(f"SELECT seq, body FROM {where} AND seq > ?", (stream, after)):
                self.ledger.sealed[journal.epoch, stream, seq] = numbers(stream, body)
                if stream == "event" and (event := decode_event(body)).kind == "gap":
                    self.ledger.gaps[journal.epoch, seq] = event.data
            self._inside[journal.epoch, stream] = last

    async def bury(self, last: bool = False) -> None:
        """What is left of a machine that ended; at the very end nothing may be in the air any more."""
        self.up = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        journal, self.journal = self.journal, None
        if not last:
            self.ledger.machine_ended()
        if journal is not None:
            journal._writer.shutdown()
            journal._reading.shutdown()
            for db in (journal._read_db, journal._db):
                with contextlib.suppress(apsw.Error, AttributeError):
                    db.close(True)
            with contextlib.suppress(OSError):
                os.close(journal._lock)

    # Another box

    def renewed(self) -> None:
        """It has another key from now on; the same one in each run of a seed."""
        self.key = ec.derive_private_key(self._rng.getrandbits(250) + 1, ec.SECP256R1())
        kinds = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        self.pem = self.key.private_bytes(*kinds).decode()
        public = checkpoint.fingerprint(checkpoint.der(self.key.public_key()))
        self.shows = {PROVEN: self.name, BY: public}  # at the next connection

    def backup(self) -> Any:
        """Raises LinesideError."""
        return SimpleNamespace(device=self.name, journal=journal_taken(self.path), key=self.key)

    async def moves_to_another_box(self, backup: Any) -> None:
        """As `lineside restore` does, over the same route, until the plane has answered."""
        epoch = backup.journal["epoch"]
        self.renewed()
        asked = replacement.asked(backup.key, key.request(self.pem, self.name), self.name, epoch, self.shows[BY])
        plane = self._world.plane
        while (answer := await plane.asked("POST", "/d/v1/replace", json.dumps(asked).encode())) is None:
            await asyncio.sleep(3.0)
        plane.backup = None  # one in which the old box is the device would let in that one
        arrived = plane.arrived(self.name)
        while self.up or self.journal is not None or not self.ended.is_set():
            self.disk.stop()
            await asyncio.sleep(0.2)
        self.ledger.left_behind(arrived)
        self.disk.replace({})
        self.disk.boot()
        given = {str(stream): int(n) for stream, n in backup.journal["given"].items()}
        last, marks, states, told = goes_on(backup, given, answer, self.clock.utc())
        journal_planted(self.path, backup.journal, last, marks, states, told, self.clock.utc())
        self.disk.off, self.copied_back = True, False
        self.link.scope = self.shows
        self._inside.clear()
        self._world.note(self.name, "another box", last)

    # What it measures

    async def _measure(self) -> None:
        while True:
            await asyncio.sleep(self._rng.uniform(0.5, 2.0))
            if not self.producing:
                continue
            for source in SOURCES:
                if self.journal.ready() or self._rng.random() < 0.5:  # a poller skips, a push source does not
                    self._scan(source, self._rng.choice((1, 1, 3, 20 if self._small else 5)))
            if self._rng.random() < 0.15:
                n = self.ledger.next("event")
                now = self.clock.utc()
                self.ledger.add("event", n, Fact(now, 0, self.journal.epoch))
                self.journal.append(events=[Event(KIND, "e", ts=now, data={"n": n}, id=f"{n}")])

    def _scan(self, source: str, scans: int) -> None:
        stream, now, epoch = f"samples:{source}", self.clock.utc(), self.journal.epoch
        first = self.ledger.next(stream)
        times = [now + i * SECOND // 100 for i in range(scans)]
        marks = [self._rng.choice((0, 0, 0, 1, 6)) for _ in times]
        for n, ts, mark in zip(range(first, first + scans), times, marks, strict=True):
            self.ledger.add(stream, n, Fact(ts, mark, epoch))
        values = np.concatenate([column(n) for n in range(first, first + scans)])
        tags = np.tile(self.tags[source], scans)
        batch = Batch.of(source, tags, values, np.repeat(times, WIDTH), np.repeat(marks, WIDTH))
        self.live(batch)
        self.journal.append([batch])

    def accept(self, item: Any) -> None:
        """What the uplink hands in: gap events, commands."""
        if isinstance(item, Event):
            if item.kind == "command" and item.state != "refused":
                self.ledger.commands.append(int(item.data["n"]))
            self.journal.append(events=[replace(item, ts=item.ts or self.clock.utc(), id=item.id or "u")])

    # What is done to its disk while it is off

    def flip(self) -> str:
        """One bit of a record that the plane has not acknowledged yet; says of which."""
        wanted = self._rng.choice(
            (
                "SELECT 'block', rowid, body FROM block b WHERE seq > (SELECT coalesce(max(watermark), 0) FROM cursor c"
                " WHERE c.stream = b.stream) ORDER BY rowid LIMIT 8",
                "SELECT 'tail', id, body FROM tail ORDER BY id DESC LIMIT 8",
                f"SELECT 'event', seq, body FROM event WHERE kind = '{KIND}' AND seq > (SELECT coalesce(max(watermark), 0)"
                " FROM cursor WHERE stream = 'event') LIMIT 8",
            )
        )
        key = {"block": "rowid", "tail": "id", "event": "seq"}
        with contextlib.suppress(apsw.Error), contextlib.closing(apsw.Connection(str(self.path))) as db:
            found = list(db.execute(wanted))
            if found:
                table, row, body = self._rng.choice(found)
                spoilt = bytearray(body)
                at = self._rng.randrange(len(body) // 2, len(body))
                spoilt[at] ^= 1 << self._rng.randrange(8)
                db.execute(f"UPDATE {table} SET body = ? WHERE {key[table]} = ?", (bytes(spoilt), row))
                self.flipped = True
                return str(table)
        return ""
