"""A device that signs and a plane that countersigns, without a line between them; and exports that somebody tampered with."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from edge import Batch, Event, Picture, Tag
from edge.clock import SECOND, ManualClock
from edge.config.journal import JournalConfig
from edge.journal import Journal
from sync import checkpoint, evidence_file, verify, wire
from sync.control_plane import evidence, tables
from sync.control_plane.ca import Authority
from sync.control_plane.database import insert_new, upsert
from sync.control_plane.evidence import Wish
from sync.control_plane.evidence_tables import keyed
from sync.control_plane.messages import Message
from sync.control_plane.pictures import Pictures
from sync.control_plane.store import Store
from sync.control_plane.witness import Witness
from sync.device import key
from sync.device.evidence import Evidence, stood

ROUND = 600  # seconds


class Device:
    """A journal and the lane that signs it."""

    def __init__(self, folder: Path, name: str = "press-4") -> None:
        self.name, self.folder, self.clock = name, folder, ManualClock()
        folder.mkdir(exist_ok=True)
        self.key, self.sent, self.parts = key.made(), dict[str, int](), 0
        self.journal = Journal(folder / "journal.db", self.clock, JournalConfig())
        self.begins()
        self.journal.tag_ids([Tag("plc.a", type="float", unit="bar")])

    def begins(self) -> None:
        """The lane, as after a start."""
        host: Any = SimpleNamespace(journal=self.journal, clock=self.clock)
        self.lane = Evidence(host, self.name, key.private(self.key), ROUND)

    async def works(self, parts: int = 3, values: int = 5) -> None:
        """One round: samples, and parts with a picture each; then it signs."""
        self.lane._number, self.lane._before, self.lane._upto = await self.journal.ask(stood)
        ts = [self.clock.utc() + k * SECOND for k in range(values)]
        self.journal.append([Batch.of("plc", [1] * values, [float(k) for k in range(values)], ts)])
        for _ in range(parts):
            self.parts += 1
            body = f"picture of part {self.parts} of {self.name}".encode()
            picture = Picture(wire.digest(body), "image/png", body)
            said = Event("inspection", "top", "ok", self.clock.utc(), data={"part": self.parts}, refs=(picture.digest,))
            self.journal.append(events=[said], pictures=[picture])
        assert await self.journal.commit(seal=True)
        self.clock.advance(ROUND)
        while await self.lane.sign():
            pass
        assert await self.journal.commit()

    async def records(self, but: Callable[[Any], bool] = lambda record: False) -> list[wire.Frame]:
        """Everything that is new, but for some."""
        frames: list[wire.Frame] = []
        for stream in ("tag", "text", "event", *sorted(await self.journal.streams())):
            while found := await self.journal.read(stream, self.sent.get(stream, 0), 256):
                self.sent[stream] = found[-1].seq
                kept = (record for record in found if not but(record))
                frames += wire.unpack(wire.pack(self.journal.epoch, kept))
        return frames


class Plane:
    """What of it has to do with evidence."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.store, self.pictures = store, Pictures(store)
        self.authority = Authority(folder)
        self.witness = Witness(folder, self.authority)
        self.witness.ready()

    async def enrols(self, device: Device, mine: str = "") -> None:
        known = checkpoint.fingerprint(checkpoint.der(key.private(mine or device.key).public_key()))
        row = {"id": device.name, "secret": "", "key": known, "enrolled": 1.0, "seen": 0.0, "class": "", "site": ""}

        def work(c: Any) -> None:
            upsert(c, tables.device, row)
            insert_new(c, keyed, [{"device": device.name, "key": known, "since": 1.0}])

        await self.store.write(work)

    async def takes(self, device: Device, frames: list[wire.Frame] | None = None) -> None:
        await self.store.write(Message(device.name, await device.records() if frames is None else frames))
        for record in await device.journal.read("picture", 0, 1000):
            row = {"digest": wire.digest(record.body), "media": "image/png", "body": record.body, "stored": 1.0}
            await self.store.write(lambda c, row=row: upsert(c, tables.picture, row))  # type: ignore[misc]
        await self.store.write(self.witness.look)

    async def exports(self, file: Path, wish: Wish) -> tuple[evidence.Found, list[str]]:
        return await evidence.export(self.store, self.pictures, self.witness, wish, file)


def verified(file: Path, authority: str = "") -> verify.Verdict:
    return verify.verify(evidence_file.Export(file), authority)


def kinds(file: Path) -> list[str]:
    """Of the faults, each once."""
    return sorted({fault.kind for fault in verified(file).faults})


class Tampered:
    """An export opened with no more than a text editor: `files` may be changed; `write` makes a whole ZIP of them again."""

    def __init__(self, file: Path) -> None:
        with zipfile.ZipFile(file) as there:
            self.files = {name: there.read(name) for name in there.namelist()}

    def write(self, file: Path) -> Path:
        with zipfile.ZipFile(file, "w") as out:
            for name, body in self.files.items():
                out.writestr(name, body)
        return file

    @property
    def records(self) -> list[wire.Frame]:
        return [
            frame
            for name in sorted(self.files)
            if name.startswith("records/")
            for frame in wire.unpack(self.files[name])
        ]

    @records.setter
    def records(self, frames: list[wire.Frame]) -> None:
        for name in [name for name in self.files if name.startswith("records/")]:
            del self.files[name]
        for k, f in enumerate(frames):
            self.files[f"records/{k:06}"] = wire.pack(f.epoch, [f])  # type: ignore[list-item]

    @property
    def checkpoints(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.files["checkpoints.jsonl"].decode().splitlines()]

    @checkpoints.setter
    def checkpoints(self, found: list[dict[str, Any]]) -> None:
        self.files["checkpoints.jsonl"] = "".join(f"{json.dumps(one)}\n" for one in found).encode()
