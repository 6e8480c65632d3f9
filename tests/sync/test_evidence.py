"""Whoever has an export and the plane's fingerprint sees what was done to it; nothing else is needed."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from sqlalchemy import delete, func, select

from edge import Batch, Event, decode, decode_event, encode, encode_event, lack
from edge.cli import main
from edge.config.journal import JournalConfig
from edge.journal import Journal
from sync import checkpoint, countersignature, evidence_file, verify, wire
from sync.control_plane import issuer, retention, tables, witness
from sync.control_plane.ca import Authority
from sync.control_plane.evidence import Wish, export
from sync.control_plane.evidence_tables import checkpoint as checkpoints
from sync.control_plane.evidence_tables import original
from sync.control_plane.issuer import Wanted
from sync.control_plane.messages import Message
from sync.control_plane.store import Store
from sync.device import evidence as lane
from sync.device import key
from sync.device.forward import shown_event
from tests.sync import proven as helper
from tests.sync import test_spine as spine
from tests.sync.proven import ROUND, Device, Plane, Tampered, kinds, verified
from tests.sync.stored import rolled, with_store
from tests.sync.test_spine import Rig

ALL = Wish("press-4")
Work = Callable[[Plane, Device, Path], Awaitable[None]]


def proven(tmp_path: Path, work: Work, database: str = "") -> None:
    """A device that worked for three rounds at a plane that has all of it, and the export of all that."""

    async def main(store: Store) -> None:
        plane, device = Plane(tmp_path / "plane", store), Device(tmp_path / "device")
        try:
            await plane.enrols(device)
            for _ in range(3):
                await device.works()
            await plane.takes(device)
            await plane.exports(tmp_path / "all.zip", ALL)
            await work(plane, device, tmp_path / "all.zip")
        finally:
            plane.pictures.close()
            device.journal.close()

    (tmp_path / "plane").mkdir(exist_ok=True)
    with_store(database or f"sqlite:///{tmp_path / 'plane' / 'plane.db'}", main)


def tampered(tmp_path: Path, tamper: Callable[[Tampered], None], *expected: str) -> None:
    """What is said of an export with which that was done."""

    async def work(plane: Plane, device: Device, file: Path) -> None:
        assert verified(file).faults == []
        changed = Tampered(file)
        tamper(changed)
        assert kinds(changed.write(tmp_path / "changed.zip")) == sorted(expected)

    proven(tmp_path, work)


def test_what_was_recorded_is_proven_by_the_export_alone(tmp_path: Path, database: str) -> None:
    async def work(plane: Plane, device: Device, file: Path) -> None:
        found = verified(file, plane.authority.fingerprint)
        assert found.faults == [] and found.device == "press-4" and found.checkpoints == 3
        assert found.records == {"tag": 1, "event": 11, "samples:plc": 3} and found.pictures == 9
        assert [e.data["part"] for _, e in found.events if e.kind == "inspection"] == list(range(1, 10))
        assert found.keys == [checkpoint.fingerprint(checkpoint.der(key.private(device.key).public_key()))]
        assert found.countersigned[0] > found.signed[1], "of two clocks"
        other = verified(file, "00" * 32)
        assert [fault.kind for fault in other.faults] == ["authority"]

    proven(tmp_path, work, database)


def test_a_time_is_proven_with_what_lies_in_it(tmp_path: Path) -> None:
    async def work(plane: Plane, device: Device, file: Path) -> None:
        times = [
            one.ts for one in map(checkpoint.Checkpoint.read, (c["statement"] for c in Tampered(file).checkpoints))
        ]
        await plane.exports(file, replace(ALL, since=times[0] + 1, until=times[1]))
        found = verified(file)
        assert found.faults == [] and found.records == {"tag": 1, "event": 4, "samples:plc": 1} and found.pictures == 3
        assert [e.data["part"] for _, e in found.events if e.kind == "inspection"] == [4, 5, 6]
        await plane.exports(file, replace(ALL, since=times[0] + 1, samples=False, pictures=False))
        found = verified(file)
        assert found.faults == [] and found.records == {"event": 8} and found.pictures == 0

    proven(tmp_path, work)


def test_a_part_is_proven_without_the_others(tmp_path: Path) -> None:
    async def work(plane: Plane, device: Device, file: Path) -> None:
        await plane.exports(file, replace(ALL, part="5"))
        found = verified(file)
        assert found.faults == [] and found.records == {"event": 1} and found.pictures == 1
        assert [e.data["part"] for _, e in found.events] == [5]
        changed = Tampered(file)
        changed.records = []
        assert kinds(changed.write(file)) == ["added", "left_out"], "its picture is named by nothing then"

    proven(tmp_path, work)


def _altered(changed: Tampered) -> None:
    def other(f: wire.Frame) -> wire.Frame:
        if f.stream != "event" or (event := decode_event(f.body)).data.get("part") != 5:
            return f
        return replace(f, body=encode_event(replace(event, state="ng")))

    changed.records = [other(f) for f in changed.records]


def _value(changed: Tampered) -> None:
    def other(f: wire.Frame) -> wire.Frame:
        if not f.stream.startswith("samples:") or f.seq != 2:
            return f
        batch = decode("plc", f.body)
        return replace(f, body=encode(replace(batch, value=np.append(batch.value[:-1], 7.0))))

    changed.records = [other(f) for f in changed.records]


def _dropped(changed: Tampered) -> None:
    changed.records = [f for f in changed.records if (f.stream, f.seq) != ("samples:plc", 2)]


def _swapped(changed: Tampered) -> None:
    """Two parts change places."""
    frames = changed.records
    a, b = (k for k, f in enumerate(frames) if f.stream == "event" and f.seq in (2, 3))
    frames[a], frames[b] = replace(frames[a], body=frames[b].body), replace(frames[b], body=frames[a].body)
    changed.records = frames


def _invented(changed: Tampered) -> None:
    event = Event("inspection", "top", "ok", 1, data={"part": 99})
    more = wire.Frame(changed.records[0].epoch, "event", 99, 1, 1, 1, encode_event(event))
    changed.records = [*changed.records, more]


def _picture(changed: Tampered) -> None:
    name = min(name for name in changed.files if name.startswith("pictures/"))
    changed.files[name] += b"!"


def _no_picture(changed: Tampered) -> None:
    del changed.files[min(name for name in changed.files if name.startswith("pictures/"))]


def _tail(changed: Tampered) -> None:
    """The last round was never there."""
    changed.checkpoints = changed.checkpoints[:2]
    kept = {place for c in changed.checkpoints for place in checkpoint.Checkpoint.read(c["statement"]).listed()}
    changed.records = [f for f in changed.records if (f.stream, f.seq) in kept]
    refs = {ref for f in changed.records if f.stream == "event" for ref in decode_event(f.body).refs}
    for name in [n for n in changed.files if n.startswith("pictures/") and n.removeprefix("pictures/") not in refs]:
        del changed.files[name]


def _tail_and_scope(changed: Tampered) -> None:
    _tail(changed)
    said = json.loads(changed.files["export.json"])
    said["epochs"][0]["last"] = 2
    said["to"] = checkpoint.Checkpoint.read(changed.checkpoints[-1]["statement"]).ts
    changed.files["export.json"] = json.dumps(said).encode()


def _middle(changed: Tampered) -> None:
    first, _, last = changed.checkpoints
    gone = checkpoint.Checkpoint.read(changed.checkpoints[1]["statement"]).listed()
    changed.checkpoints = [first, last]
    changed.records = [f for f in changed.records if (f.stream, f.seq) not in gone]


def _statement(changed: Tampered) -> None:
    """A record that was never signed, put into a list."""
    found = changed.checkpoints
    found[1]["statement"] = found[1]["statement"].replace('"number": 2', '"number":  2')
    changed.checkpoints = found


def _arrival(changed: Tampered) -> None:
    found = changed.checkpoints
    said = json.loads(found[1]["countersigned"])
    found[1]["countersigned"] = json.dumps({**said, "arrived": said["arrived"] - 3600 * 10**9})
    changed.checkpoints = found


@pytest.mark.parametrize(
    ("tamper", "expected"),
    [
        (_altered, ["altered", "added"]),  # its picture is named by nothing that is proven
        (_value, ["altered"]),
        (_dropped, ["left_out"]),
        (_swapped, ["altered", "added"]),
        (_invented, ["added"]),
        (_picture, ["picture"]),
        (_no_picture, ["picture"]),
        (_tail, ["chain"]),
        (_tail_and_scope, ["scope"]),
        (_middle, ["added", "chain", "left_out"]),  # its pictures are there
        (_statement, ["added", "chain", "left_out", "signature"]),
        (_arrival, ["added", "chain", "countersignature", "left_out"]),
    ],
)
def test_what_was_done_to_an_export_is_found(tmp_path: Path, tamper: Any, expected: list[str]) -> None:
    tampered(tmp_path, tamper, *expected)


def test_the_order_of_records_in_the_file_is_of_no_account(tmp_path: Path) -> None:
    def turned(changed: Tampered) -> None:
        changed.records = changed.records[::-1]

    tampered(tmp_path, turned)


# Who signed


def resigned(changed: Tampered, with_key: str) -> list[tuple[checkpoint.Checkpoint, dict[str, Any]]]:
    """The chain made anew by somebody who has this key."""
    mine, before, out = key.private(with_key), "", list[tuple[checkpoint.Checkpoint, dict[str, Any]]]()
    for found in changed.checkpoints:
        one = checkpoint.Checkpoint.read(found["statement"])
        one = replace(one, before=before, key=checkpoint.der(mine.public_key()))
        statement = one.statement()
        before = checkpoint.head(statement)
        found = {**found, "statement": statement}
        found["signature"] = base64.b64encode(checkpoint.sign(mine, statement)).decode()
        out.append((one, found))
    changed.checkpoints = [found for _, found in out]
    return out


def test_a_chain_that_another_key_signed_is_not_the_devices(tmp_path: Path) -> None:
    def anew(changed: Tampered) -> None:
        resigned(changed, key.made())

    tampered(tmp_path, anew, "added", "chain", "countersignature")


def test_a_device_countersigns_nothing(tmp_path: Path) -> None:
    """One that has a certificate of the same authority signs a chain of its own and plays the witness, too."""

    async def work(plane: Plane, device: Device, file: Path) -> None:
        thief, changed = key.made(), Tampered(file)
        public = key.private(thief).public_key()
        for name in ("press-5", countersignature.WITNESS):  # no device gets the second one, whatever it asks for
            signed = plane.authority._signer.sign(Wanted("device", name, public, 90))
            certificate = issuer.pem([*signed, plane.authority._root]).decode()
            found = []
            for one, said in resigned(changed, thief):
                arrived = json.loads(said["countersigned"])["arrived"]
                word = countersignature.statement(one, checkpoint.head(said["statement"]), arrived)
                proof = base64.b64encode(checkpoint.sign(key.private(thief), word)).decode()
                found.append({**said, "countersigned": word, "proof": proof})
            changed.checkpoints = found
            changed.files["certificates.json"] = json.dumps([certificate]).encode()
            assert kinds(changed.write(tmp_path / "changed.zip")) == ["added", "chain", "countersignature"]

    proven(tmp_path, work)


def test_another_plane_vouches_for_nothing(tmp_path: Path) -> None:
    """Its own export of the same device, with a checkpoint of ours in it."""

    async def work(plane: Plane, device: Device, file: Path) -> None:
        (tmp_path / "other").mkdir()
        store = Store(f"sqlite:///{tmp_path / 'other' / 'plane.db'}")
        other = Plane(tmp_path / "other", store)
        await other.enrols(device)
        device.sent.clear()
        await other.takes(device)
        await other.exports(tmp_path / "other.zip", ALL)
        other.pictures.close()
        store.close()
        assert kinds(tmp_path / "other.zip") == []
        ours, theirs = Tampered(file), Tampered(tmp_path / "other.zip")
        for name in ("checkpoints.jsonl", "certificates.json"):
            ours.files[name] = theirs.files[name]
        assert kinds(ours.write(tmp_path / "changed.zip")) == ["added", "chain", "countersignature"]

    proven(tmp_path, work)


def test_records_of_another_device_do_not_pass_for_its_own(tmp_path: Path) -> None:
    async def work(plane: Plane, device: Device, file: Path) -> None:
        other = Device(tmp_path / "other", "press-5")
        await plane.enrols(other)
        await other.works()
        await plane.takes(other)
        await plane.exports(tmp_path / "other.zip", Wish("press-5"))
        other.journal.close()
        ours, theirs = Tampered(file), Tampered(tmp_path / "other.zip")
        for name, body in theirs.files.items():
            if name in ("checkpoints.jsonl", "certificates.json") or name.startswith(("records/", "pictures/")):
                ours.files[name] = body
        assert kinds(ours.write(tmp_path / "changed.zip")) == ["added", "chain", "stranger"]

    proven(tmp_path, work)


def test_the_plane_vouches_for_no_key_that_was_not_enrolled(tmp_path: Path) -> None:
    async def work(plane: Plane, device: Device, file: Path) -> None:
        device.key = key.made()
        device.begins()
        await device.works()
        await plane.takes(device)
        await plane.exports(file, ALL)
        found = verified(file)
        assert {fault.kind for fault in found.faults} >= {"stranger"}
        assert any("its key was never enrolled" in fault.text for fault in found.faults)
        await plane.enrols(device)
        for _ in range(2):
            await device.works()
        await plane.takes(device)
        await plane.exports(file, replace(ALL, since=device.clock.utc() - ROUND * 10**9 + 1))
        assert kinds(file) == [], "what it signs since"

    proven(tmp_path, work)


def test_the_plane_vouches_for_nothing_that_is_not_signed_so(tmp_path: Path) -> None:
    async def work(plane: Plane, device: Device, file: Path) -> None:
        device.lane._key = key.private(key.made())
        await device.works()
        await plane.takes(device)
        refused = select(checkpoints.c.countersigned).where(checkpoints.c.witness == 2)
        assert await plane.store.read(lambda c: c.scalar(refused)) == "its signature is wrong"

    proven(tmp_path, work)


def test_the_plane_signs_nothing_for_a_device(tmp_path: Path) -> None:
    """It lists another record, and countersigns that itself."""

    async def work(plane: Plane, device: Device, file: Path) -> None:
        changed = Tampered(file)
        *others, found = changed.checkpoints
        one = checkpoint.Checkpoint.read(found["statement"])
        lists = tuple((stream, first, bytes(32) + run[32:]) for stream, first, run in one.lists)
        statement = replace(one, lists=lists).statement()
        arrived = json.loads(found["countersigned"])["arrived"]
        word = countersignature.statement(one, checkpoint.head(statement), arrived)
        proof = base64.b64encode(plane.witness.sign(word)).decode()
        changed.checkpoints = [*others, {**found, "statement": statement, "countersigned": word, "proof": proof}]
        assert "signature" in kinds(changed.write(file))

    proven(tmp_path, work)


def test_a_checkpoint_that_was_signed_under_an_earlier_key_is_good(tmp_path: Path) -> None:
    """It was offline, and was enrolled anew before it delivered."""

    async def work(plane: Plane, device: Device, file: Path) -> None:
        await device.works()
        await plane.enrols(device, key.made())
        await plane.takes(device)
        await plane.exports(file, ALL)
        assert kinds(file) == []

    proven(tmp_path, work)


def test_a_record_that_says_to_be_a_checkpoint_is_none(tmp_path: Path) -> None:
    async def work(plane: Plane, device: Device, file: Path) -> None:
        for k, data in enumerate(({}, {"statement": "{}", "signature": "AA=="}, {"statement": 1, "signature": "AA=="})):
            frame = wire.Frame(
                device.journal.epoch, "event", 1000 + k, 1, 1, 1, encode_event(Event("checkpoint", "x", data=data))
            )
            await plane.store.write(Message("press-4", [frame]))
        e = tables.event
        found = await plane.store.read(lambda c: c.scalars(select(e.c.seq).where(e.c.kind == "checkpoint")).all())
        assert list(found) == [1000, 1001, 1002], "it is an event like others"

    proven(tmp_path, work)


def test_a_past_that_was_written_anew_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device goes back to its first checkpoint and signs another past; the plane has the time of both."""

    async def work(plane: Plane, device: Device, file: Path) -> None:
        first = Tampered(file).checkpoints[0]
        then = (1, checkpoint.head(first["statement"]), dict.fromkeys(("tag", "text", "event", "samples:plc"), 1))
        monkeypatch.setattr(helper, "stood", lambda db: then)
        await device.works()
        await plane.takes(device)
        await plane.exports(file, ALL)
        assert [fault.kind for fault in verified(file).faults if "twice" in fault.text] == ["chain"]
        changed = Tampered(file)
        one, _, three, other = changed.checkpoints
        changed.checkpoints = [one, other, three]
        assert [fault.kind for fault in verified(changed.write(file)).faults if "follow" in fault.text] == ["chain"]

    proven(tmp_path, work)


def test_what_a_device_does_not_list_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = lane.Evidence._hashes

    async def but_one(self: Any, stream: str, limit: int) -> list[tuple[int, bytes]]:
        return [(seq, one) for seq, one in await hashes(self, stream, limit) if (stream, seq) != ("event", 6)]

    monkeypatch.setattr(lane.Evidence, "_hashes", but_one)

    async def work(plane: Plane, device: Device, file: Path) -> None:
        assert [fault.text.partition(" (")[0] for fault in verified(file).faults] == ["record 6 of event left out"]
        times = await plane.store.read(lambda c: c.scalars(select(checkpoints.c.ts).order_by(checkpoints.c.ts)).all())
        await plane.exports(file, replace(ALL, since=times[0] + 1))
        assert kinds(file) == ["left_out"]
        await plane.exports(file, replace(ALL, since=times[1] + 1))
        assert kinds(file) == []

    proven(tmp_path, work)


def test_a_time_whose_beginning_or_end_is_not_there_is_not_whole(tmp_path: Path) -> None:
    async def work(plane: Plane, device: Device, file: Path) -> None:
        times = await plane.store.read(lambda c: c.scalars(select(checkpoints.c.ts).order_by(checkpoints.c.ts)).all())
        await plane.exports(file, replace(ALL, since=times[0] + 1, samples=False))
        changed = Tampered(file)
        changed.checkpoints = changed.checkpoints[1:]
        assert kinds(changed.write(tmp_path / "begins.zip")) == ["chain"]
        changed = Tampered(file)
        said = json.loads(changed.files["export.json"])
        words = json.dumps({**said, "to": times[2] + 1})  # also where the plane itself says so
        proof = {
            "proof": base64.b64encode(plane.witness.sign(words)).decode(),
            "certificates": plane.witness.certificates,
        }
        changed.files |= {"export.json": words.encode(), "export.proof.json": json.dumps(proof).encode()}
        assert kinds(changed.write(tmp_path / "ends.zip")) == ["chain"]

    proven(tmp_path, work)


def test_a_plane_that_leaves_out_a_journal_or_its_beginning_is_seen(tmp_path: Path) -> None:
    """Nothing ties a journal that began anew to the one before: the verdict says which there are, and since when."""

    async def work(plane: Plane, device: Device, file: Path) -> None:
        other = Device(tmp_path / "anew")
        other.key, other.parts = device.key, device.parts
        other.begins()
        other.clock.advance(5 * ROUND)
        for _ in range(2):
            await other.works()
        await plane.takes(other)
        other.journal.close()
        await plane.exports(file, ALL)
        (old, begun, ended), (new, later, last) = verified(file).journals
        assert verified(file).faults == [] and (old, new) == (device.journal.epoch, other.journal.epoch)
        assert 0 < begun < ended < later and last == 0

        def lies(epochs: list[dict[str, Any]], file: Path) -> verify.Verdict:
            changed = Tampered(tmp_path / "proof.zip")
            words = json.dumps({**json.loads(changed.files["export.json"]), "epochs": epochs})
            proof = base64.b64encode(plane.witness.sign(words)).decode()
            said = json.dumps({"proof": proof, "certificates": plane.witness.certificates})
            changed.files |= {"export.json": words.encode(), "export.proof.json": said.encode()}
            return verified(changed.write(file))

        file.rename(tmp_path / "proof.zip")  # noqa: ASYNC240
        first, second = ({"epoch": old, "first": 1, "last": 3}, {"epoch": new, "first": 1, "last": 2})
        assert lies([second], file).journals == [(new, later, 0)], "it begins in the middle of that time"
        assert lies([{**first, "last": 2}, second], file).journals[0][2] < ended, "and here the old one ends early"
        assert [fault.kind for fault in lies([{**first, "first": 2}, second], file).faults] == ["chain"]

    proven(tmp_path, work)


# What the device and the plane keep


def test_a_start_goes_on_with_the_chain(tmp_path: Path) -> None:
    async def work(plane: Plane, device: Device, file: Path) -> None:
        device.begins()
        await device.works()
        await plane.takes(device)
        await plane.exports(file, ALL)
        found = verified(file)
        assert found.faults == [] and found.checkpoints == 4 and found.records["samples:plc"] == 4

    proven(tmp_path, work)


@pytest.mark.parametrize("full", [False, True])
def test_a_start_goes_on_with_the_chain_after_a_long_stop_and_where_the_journal_was_full(
    tmp_path: Path, full: bool
) -> None:
    """What was delivered and not signed yet is not dropped before it is; a full journal drops even the last checkpoint."""

    async def work(plane: Plane, device: Device, file: Path) -> None:
        device.journal.append(events=[Event("note", "late", ts=1)])
        await device.journal.commit()
        if full:
            assert await device.lane.sign() is False and await device.journal.commit()
        await plane.takes(device)
        device.journal.close()
        device.clock.advance(80 * 3600)
        device.journal = Journal(device.folder / "journal.db", device.clock, JournalConfig())
        if full:
            await device.journal.on_writer(lambda db: db.execute("DELETE FROM event"))
        else:
            assert await device.journal.commit() and len(await device.journal.read("event")) == 13
        device.begins()
        await device.works()
        await plane.takes(device)
        await plane.exports(file, ALL)
        found = verified(file)
        assert [fault.text[:18] for fault in found.faults] == full * ["record 14 of event"], "nobody signs it any more"
        assert found.checkpoints == 4 + full and found.records["samples:plc"] == 4

    proven(tmp_path, work)


def test_what_the_device_gave_up_it_says_itself(tmp_path: Path) -> None:
    async def work(plane: Plane, device: Device, file: Path) -> None:
        await device.works()
        lost = (4, 4, 1, 2, 5)
        device.journal.append(events=[lack(device.clock.utc(), "samples:plc", lost, "evicted")])
        await device.works()
        frames = [f for f in await device.records() if (f.stream, f.seq) != ("samples:plc", 4)]
        await plane.takes(device, frames)
        await plane.exports(file, ALL)
        found = verified(file)
        assert found.faults == [] and found.told == ["record 4 of samples:plc: evicted, as the device says"]
        wanted = select(checkpoints.c.ts).order_by(checkpoints.c.ts)
        times = await plane.store.read(lambda c: c.scalars(wanted).all())
        await plane.exports(file, replace(ALL, since=times[2] + 1, until=times[3]))
        assert verified(file).told == found.told and verified(file).faults == [], "also where it says so later"

    proven(tmp_path, work)


def test_large_blocks_come_apart_as_they_were_signed(tmp_path: Path, database: str) -> None:
    async def work(plane: Plane, device: Device, file: Path) -> None:
        for _ in range(4):
            await device.works(parts=0)
        await plane.takes(device)
        rolled(plane.store, "press-4")
        b = tables.block
        left = await plane.store.read(lambda c: c.scalar(select(func.count()).select_from(b)))
        assert left < 7
        await plane.exports(file, ALL)
        assert verified(file).faults == [] and verified(file).records["samples:plc"] == 7

    proven(tmp_path, work, database)


@pytest.mark.parametrize("strange", [0, -(10**18)])  # times that overlap; one that no clock can have said
def test_blocks_that_would_not_come_apart_stay_as_they_came(tmp_path: Path, strange: int) -> None:
    async def work(plane: Plane, device: Device, file: Path) -> None:
        for k in range(2):
            ts = [device.clock.utc() + 1, device.clock.utc() + 3, strange or device.clock.utc() + 2]
            device.clock.advance(30 if strange else 0)
            if k:
                ts[2] = ts[1]
            device.journal.append([Batch.of("plc", [1, 1, 1], [1.0, 2.0, 3.0], ts)])
            await device.journal.commit(seal=True)
        await device.works()
        await plane.takes(device)
        rolled(plane.store, "press-4")
        await plane.exports(file, ALL)
        assert verified(file).faults == [] and verified(file).records["samples:plc"] == 6

    proven(tmp_path, work)


def test_what_is_forgotten_with_its_age_takes_no_proof_with_it(tmp_path: Path) -> None:
    async def work(plane: Plane, device: Device, file: Path) -> None:
        await plane.store.write(lambda c: c.execute(delete(tables.block)))
        found, _ = await plane.exports(file, ALL)
        assert found.absent == [f"record {n} of samples:plc" for n in (1, 2, 3)]
        assert kinds(file) == ["left_out"], "it is not there, and nobody says why"
        await plane.exports(file, replace(ALL, samples=False))
        assert kinds(file) == []
        times = await plane.store.read(
            lambda c: c.scalars(select(checkpoints.c.arrived).order_by(checkpoints.c.seq)).all()
        )
        await plane.store.write(lambda c: c.execute(delete(checkpoints).where(checkpoints.c.number == 1)))
        await plane.exports(file, replace(ALL, samples=False))
        assert kinds(file) == [] and verified(file).scope["epochs"][0]["first"] == 3 and times

    proven(tmp_path, work)


def test_events_and_their_bytes_are_forgotten_together(tmp_path: Path) -> None:
    async def work(plane: Plane, device: Device, file: Path) -> None:
        assert await retention.forget_once(plane.store, "events", device.clock.utc() + 1)
        o = original
        left = await plane.store.read(lambda c: set(c.scalars(select(o.c.stream)).all()))
        assert left == {"tag"}
        assert await retention.forget_once(plane.store, "evidence", 2**62) == 3

    proven(tmp_path, work)


def test_no_picture_no_proof_of_it(tmp_path: Path) -> None:
    async def work(plane: Plane, device: Device, file: Path) -> None:
        await plane.store.write(lambda c: c.execute(delete(tables.picture).where(tables.picture.c.digest < "8")))
        _, missing = await plane.exports(file, ALL)
        assert missing and all(digest < "8" for digest in missing)
        assert kinds(file) == ["picture"]

    proven(tmp_path, work)


def test_more_than_one_checkpoint_takes_is_signed_in_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "MOST_LISTED", 4)
    monkeypatch.setattr(lane, "AT_ONCE", 3)

    async def work(plane: Plane, device: Device, file: Path) -> None:
        found = verified(file)
        assert found.faults == [] and found.checkpoints > 3 and found.records["event"] >= 11

    proven(tmp_path, work)


# Files that are no export


@pytest.mark.parametrize("name", ["export.json", "export.proof.json", "checkpoints.jsonl", "certificates.json"])
@pytest.mark.parametrize("body", [None, b"", b"[]", b"{}", b"\xff\xfe", b'{"lineside": "export 9"}', b"[" * 100_000])
def test_a_file_that_is_no_export_is_refused_in_words(tmp_path: Path, name: str, body: bytes | None) -> None:
    async def work(plane: Plane, device: Device, file: Path) -> None:
        changed = Tampered(file)
        if body is None:
            del changed.files[name]
        else:
            changed.files[name] = body
        try:
            said = verified(changed.write(file)).faults
        except evidence_file.NoExport as error:
            said = [verify.Fault("none", str(error))]
        assert said

    proven(tmp_path, work)


def test_a_copy_for_another_broker_has_no_hashes() -> None:
    body = encode_event(Event("checkpoint", "press-4", "signed", 1, data={"statement": "x" * 1000}))
    assert shown_event(body)["data"] == {} and shown_event(body)["key"] == "press-4"


# On real sockets


def test_a_device_signs_and_its_plane_countersigns_by_themselves(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        it.sim.set("temp", 85)

        async def proven_so_far() -> bool:
            store, file = it.plane.store, tmp_path / "proof.zip"
            t = checkpoints
            several = select(func.count()).select_from(t).where(t.c.witness == 1)
            if (await store.read(lambda c: c.scalar(several)) or 0) < 3:
                return False
            wish = Wish("dev-1", samples=False)
            found, _ = await export(store, it.plane.pictures, it.plane.witness, wish, file)
            said = verified(file, it.plane.authority.fingerprint)
            assert said.faults == [] and not found.absent
            return any(event.kind == "alarm" for _, event in said.events)

        await it.until(proven_so_far)

    async def main() -> None:
        async with Rig(tmp_path) as it:
            await work(it)

    site = spine.SITE.replace("live: 100ms", "live: 100ms, evidence: 100ms")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spine, "SITE", site)
        patch.setattr("sync.control_plane.witness.EVERY", 0.1)
        asyncio.run(main())


# At the command line


def test_people_export_and_verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def work(plane: Plane, device: Device, file: Path) -> None:
        fingerprints.append(plane.authority.fingerprint)

    fingerprints: list[str] = []
    proven(tmp_path, work)
    folder, file = str(tmp_path / "plane"), str(tmp_path / "proof.zip")
    assert main(["plane", "evidence", "press-4", file, "--folder", folder]) == 0
    assert "15 records and 3 checkpoints of press-4" in capsys.readouterr().out
    assert main(["plane", "evidence", "press-4", file, "--folder", folder]) == 2
    assert "is there already" in capsys.readouterr().err
    (tmp_path / "plane").rename(tmp_path / "away")
    assert main(["plane", "verify", file]) == 0
    said = capsys.readouterr().out
    assert "nothing of that time and these journals was altered or left out" in said and fingerprints[0] in said
    assert main(["plane", "verify", file, "--authority", str(tmp_path / "away" / "ca.pem"), "--json", "--events"]) == 0
    *events, verdict = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert verdict["whole"] and verdict["records"]["event"] == len(events) == 11
    written = ":".join(re.findall("..", fingerprints[0].upper()))
    assert main(["plane", "verify", file, "--authority", written]) == 0, "as openssl writes it"
    assert "that there was no other before is the plane's word" in capsys.readouterr().out
    assert main(["plane", "verify", file, "--authority", "ab" * 32]) == 1
    assert "AUTHORITY" in capsys.readouterr().out
    changed = Tampered(Path(file))
    _altered(changed)
    assert main(["plane", "verify", str(changed.write(tmp_path / "changed.zip"))]) == 1
    said = capsys.readouterr().out
    assert "ALTERED        record 6 of event" in said and "NOT PROVEN" in said
    for name, words in (("changed.zip.not", "is no export"), ("away/ca.pem", "is no export")):
        assert main(["plane", "verify", str(tmp_path / name)]) == 2
        assert words in capsys.readouterr().err
    assert main(["plane", "verify", file, "--authority", "xyz"]) == 2
    assert "neither a SHA-256 in hex nor a file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["nobody"], "nobody is not enrolled here"),
        (["press-4", "--part", "77"], "has told of no part 77"),
        (["press-4", "--since", "2030-01-01"], "signed nothing of that time"),
        (["press-4", "--since", "2030-01-01", "--until", "2029-01-01"], "--since is not before --until"),
        (["quiet"], "has signed nothing yet"),
    ],
)
def test_what_cannot_be_exported_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    async def work(plane: Plane, device: Device, file: Path) -> None:
        other = Device(tmp_path / "quiet", "quiet")
        await plane.enrols(other)
        other.journal.close()

    proven(tmp_path, work)
    device, *rest = words
    file = tmp_path / "proof.zip"
    assert main(["plane", "evidence", device, str(file), "--folder", str(tmp_path / "plane"), *rest]) == 2
    assert expected in capsys.readouterr().err
    assert not file.exists() and not list(tmp_path.glob("*.new"))


def test_the_witness_writes_nothing_where_nothing_came_and_is_of_an_issuer_that_counts(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def thrice(work: Any, every: float, what: str) -> None:
        for _ in range(3):
            await work()

    monkeypatch.setattr(witness, "repeat", thrice)

    async def work(store: Store) -> None:
        authority, before = Authority(tmp_path), store.commits

        async def learn() -> None:
            authority.learn([], out)

        out, one = list[str](), witness.Witness(tmp_path, authority)
        await one.run(store, learn)
        kept, out = (tmp_path / "witness.pem").read_bytes(), authority.issuers
        Authority(tmp_path, tmp_path / "ca.key")
        await one.run(store, learn)
        assert (tmp_path / "witness.pem").read_bytes() != kept, "an issuer was distrusted meanwhile"
        assert store.commits == before

    with_store(database, work)
