"""Another box takes the place of one: to the plane it is one device, which loses and doubles nothing; the old is let in no more."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from sqlalchemy import func, select

from edge import Event, LinesideError, journal_taken, plugins
from edge.app import Daemon
from edge.bench.process import free_port
from edge.cli import main
from edge.config.load import load
from sync.checkpoint import SIGNED, Checkpoint
from sync.control_plane import tables
from sync.control_plane.evidence import Wish, export
from sync.control_plane.evidence_tables import checkpoint as checkpoints
from sync.control_plane.witness import COUNTERSIGNED
from sync.device import box_commands, identity, key
from sync.device.box import Box, packed, take_over
from sync.device.sealed import COST, MAGIC, opened, sealed
from sync.device.twin import KEPT as TWIN
from tests.sync import test_spine as spine
from tests.sync.proven import verified
from tests.sync.test_spine import Rig

WORDS = "correct horse battery"
plugins.register("commands", "backup", box_commands.Backup)
plugins.register("commands", "restore", box_commands.Restore)


@pytest.fixture(autouse=True)
def passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(box_commands.VARIABLE, WORDS)


def rig(folder: Path, work: Callable[[Rig, Path], Awaitable[None]], site: str = "") -> None:
    """With the device's site as a file."""
    site = site or spine.SITE.replace("live: 100ms", "live: 100ms, evidence: 200ms")

    async def main() -> None:
        async with Rig(folder) as it:
            path = folder / "old" / "site.yaml"
            path.parent.mkdir()
            path.write_text(site.format(port=it.sim.port, url=it.plane.url))
            await work(it, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spine, "SITE", site)
        patch.setattr("sync.control_plane.witness.EVERY", 0.1)
        asyncio.run(main())


async def command(*words: Any) -> int:
    return await asyncio.to_thread(main, [str(word) for word in words])


def test_the_new_box_goes_on_and_the_old_one_is_refused(tmp_path: Path) -> None:
    async def work(it: Rig, site: Path) -> None:
        async def some() -> Any:
            return await it.count() > 0

        await it.until(some)
        file = tmp_path / "press.box"
        assert await command("backup", site, file, "--state", tmp_path / "dev") == 0
        before = await it.count()

        async def more() -> Any:
            return await it.count() > before

        await it.until(more)  # the old one goes on after its backup, also with tags and events
        it.sim.set("temp", 85)

        async def raised() -> Any:
            return ("hot", "raised") in await it.events("alarm")

        await it.until(raised)
        olds = await it.all_arrived()
        old = it.daemon
        epoch, given = (
            old.journal.epoch,
            await old.journal.ask(lambda db: dict(db.execute("SELECT name, seq FROM stream"))),
        )

        state, folder = tmp_path / "new-state", tmp_path / "new"
        assert await command("restore", file, "--to", folder, "--state", state) == 0
        config = load(folder / "site.yaml")
        assert not config.problems
        new = Daemon(config, state)
        assert new.journal.epoch == epoch
        await new.start()
        it.daemon = new

        async def refused() -> Any:
            return "does not know this device" in old.health.report()["sync"]["reason"]

        old.accept(Event("note", "old", "here"))  # it has something to say
        await it.until(refused)
        await old.stop()
        it.sim.set("temp", 20)

        async def cleared() -> Any:
            return ("hot", "cleared") in await it.events("alarm")

        await it.until(cleared)
        both = await it.all_arrived_of(new, olds)
        (here,) = await new.journal.ask(lambda db: next(db.execute("SELECT sum(n) FROM block")))
        assert both == olds + here, "nothing lost, nothing doubled"
        b = tables.block
        rows = await it.plane.store.read(lambda c: c.execute(select(b.c.epoch, b.c.stream, b.c.seq)).all())
        assert len({tuple(row) for row in rows}) == len(rows) and {row.epoch for row in rows} == {epoch}
        first = await new.journal.ask(lambda db: next(db.execute("SELECT min(seq) FROM block"))[0])
        assert first == given["samples:plc"] + 1, "the numbers go on"
        tags = await it.plane.store.read(lambda c: c.scalar(select(func.count()).select_from(tables.tag)))
        assert tags == 2, "the ids of tags stay"
        assert ("dev-1", "replaced") in await it.events("device")
        gaps = [key for key, _ in await it.events("gap")]
        assert gaps == []

        async def signed() -> Any:
            """Whether a checkpoint that lists how the alarm ended is countersigned."""
            e, c = tables.event, checkpoints
            ended = select(e.c.seq).where(e.c.kind == "alarm", e.c.state == "cleared").scalar_subquery()
            wanted = select(c.c.statement).where(c.c.witness == COUNTERSIGNED, c.c.seq > ended)
            last, rows = await it.plane.store.read(lambda d: (d.scalar(select(ended)), d.scalars(wanted).all()))
            return any(("event", last) in Checkpoint.read(row).listed() for row in rows)

        await it.until(signed)
        out = tmp_path / "proof.zip"
        await export(it.plane.store, it.plane.pictures, it.plane.witness, Wish("dev-1"), out)
        said = await asyncio.to_thread(verified, out)
        assert said.faults == [] and len(said.keys) == 2
        assert [e.state for _, e in said.events if e.kind == "alarm"][-1] == "cleared"

    rig(tmp_path, work)


def test_a_backup_that_was_used_is_of_no_use_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def work(it: Rig, site: Path) -> None:
        await it.daemon.journal.commit()
        file = tmp_path / "a.box"
        assert await command("backup", site, file, "--state", tmp_path / "dev") == 0
        assert await command("restore", file, "--to", tmp_path / "b", "--state", tmp_path / "b-state") == 0
        capsys.readouterr()
        assert await command("restore", file, "--to", tmp_path / "c", "--state", tmp_path / "c-state") == 2
        said = capsys.readouterr().err
        assert "was replaced already" in said and "plane invite --device" in said
        assert not (tmp_path / "c-state" / "journal.db").exists()
        assert await command("restore", file, "--to", tmp_path / "b", "--state", tmp_path / "b-state") == 2
        assert "there is a journal in" in capsys.readouterr().err

    rig(tmp_path, work)


def test_an_answer_that_was_lost_is_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(it: Rig, site: Path) -> None:
        it.daemon.journal.append(snapshots={TWIN: b'{"model/m": {}}'})
        await it.daemon.journal.commit()
        box, state = Box(packed(site, "dev-1", tmp_path / "dev")), tmp_path / "new"

        def cut(*_: Any) -> Any:
            raise OSError("the power went")

        with monkeypatch.context() as patch:
            patch.setattr("sync.device.box.keep", cut)
            with pytest.raises(OSError, match="power"):
                await asyncio.to_thread(take_over, box, state, 1)
        assert not (state / "journal.db").exists()
        assert await asyncio.to_thread(take_over, box, state, 1) is not None
        assert not (state / "replacing.pem").exists()
        assert journal_taken(state / "journal.db")["snapshots"][TWIN] == b"", "what is wanted comes again by itself"

    rig(tmp_path, work)


def test_a_revoked_box_is_not_replaced_and_a_plane_that_is_away_changes_nothing(tmp_path: Path) -> None:
    async def work(it: Rig, site: Path) -> None:
        await it.daemon.journal.commit()
        body = packed(site, "dev-1", tmp_path / "dev")
        await it.plane.store.write(lambda c: c.execute(tables.device.update().values(revoked=1.0)))
        with pytest.raises(LinesideError, match="was revoked"):
            await asyncio.to_thread(take_over, Box(body), tmp_path / "a", 1)
        await it.plane.stop()
        with pytest.raises(LinesideError, match="cannot reach the plane"):
            await asyncio.to_thread(take_over, Box(body), tmp_path / "b", 1)
        assert not (tmp_path / "b" / "journal.db").exists()
        await it.plane_starts()

    rig(tmp_path, work)


def test_another_key_replaces_nobody(tmp_path: Path) -> None:
    """Who has a certificate of the plane signs for another device; who replays an old request has no new key."""

    async def work(it: Rig, site: Path) -> None:
        await it.daemon.journal.commit()
        box = Box(packed(site, "dev-1", tmp_path / "dev"))
        assert box.identity is not None
        thief = Box(packed(site, "dev-1", tmp_path / "dev"))
        thief.identity = replace(box.identity, key=key.made())
        with pytest.raises(LinesideError, match="not the one that is enrolled"):
            await asyncio.to_thread(take_over, thief, tmp_path / "a", 1)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sync.checkpoint.sign", lambda k, text: key.private(key.made()).sign(text.encode(), SIGNED))
            with pytest.raises(LinesideError, match="the old key has not signed that"):
                await asyncio.to_thread(take_over, box, tmp_path / "b", 1)

    rig(tmp_path, work)


def test_a_device_without_a_plane_is_moved_as_it_is(tmp_path: Path) -> None:
    site = tmp_path / "a" / "site.yaml"
    site.parent.mkdir()
    site.write_text(
        "device: {id: alone}\ndrivers:\n  plc:\n    driver: modbus\n    url: tcp://127.0.0.1:1\n"
        '    tags: {t: {address: "holding:0", type: int16}}\nmetrics: !include more/metrics.yaml\n'
    )
    (site.parent / "more").mkdir()
    (site.parent / "more" / "metrics.yaml").write_text(f'{{listen: "127.0.0.1:{free_port()}"}}\n')
    (site.parent / "secrets.yaml").write_text("x: y\n")

    async def ran(path: Path, state: Path) -> tuple[str, Any, dict[str, int]]:
        daemon = Daemon(load(path), state)
        daemon.journal.append(snapshots={"driver:plc": b"learned"})
        await daemon.start()
        await daemon.stop()
        db = Box(packed(path, "alone", state)).journal
        return db["epoch"], db["tag"], db["given"]

    epoch, tags, given = asyncio.run(ran(site, tmp_path / "s"))
    file = tmp_path / "alone.box"
    assert main(["backup", str(site), str(file), "--state", str(tmp_path / "s")]) == 0
    assert file.stat().st_mode & 0o077 == 0
    to, state = tmp_path / "b", tmp_path / "t"
    assert main(["restore", str(file), "--to", str(to), "--state", str(state)]) == 0
    assert (to / "secrets.yaml").read_text() == "x: y\n" and (to / "more" / "metrics.yaml").exists()
    daemon = Daemon(load(to / "site.yaml"), state)
    assert daemon.journal.epoch == epoch and daemon.memories["plc"] == b"learned"
    daemon.journal.close()
    found = Box(packed(to / "site.yaml", "alone", state)).journal
    assert found["tag"] == tags and found["given"]["event"] == given["event"] + 1


def test_a_passphrase_opens_it_and_nothing_else_does() -> None:
    whole = sealed(b"inside", WORDS)
    assert b"inside" not in whole and opened(whole, WORDS) == b"inside"
    for spoilt in (whole[:-1] + bytes([whole[-1] ^ 1]), whole.replace(b'"r": 8', b'"r": 4', 1)):
        with pytest.raises(LinesideError, match="another passphrase, or the file was changed"):
            opened(spoilt, WORDS)
    with pytest.raises(LinesideError, match="another passphrase"):
        opened(whole, WORDS + "!")
    with pytest.raises(LinesideError, match="at least 8 characters"):
        sealed(b"", "short")
    dear = whole.replace(json.dumps(COST["n"]).encode(), str(2**30).encode(), 1)
    for none in (b"", b"PK", MAGIC, MAGIC + b"{}\n", MAGIC + b"[]\n", dear):
        with pytest.raises(LinesideError, match="that is no backup of a box"):
            opened(none, WORDS)


def test_a_backup_writes_nowhere_else(tmp_path: Path) -> None:
    def tar(**files: bytes) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz") as made:
            for name, body in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(body)
                made.addfile(info, io.BytesIO(body))
        return out.getvalue()

    head = {"version": 1, "device": "a", "site": "site.yaml", "made": 1, "identity": None}
    known = {"box.json": json.dumps(head).encode(), "journal.msgpack": msgpack.packb({"epoch": "0" * 16})}
    for name in ("site/../../x", "state//etc/x"):
        with pytest.raises(LinesideError, match="outside of its folders"):
            Box(tar(**known, **{name: b"x"})).lay_out(tmp_path / "a", tmp_path / "b")
    assert not list(tmp_path.rglob("x"))
    box = Box(tar(**known, **{"site/site.yaml": b"new"}))
    (tmp_path / "site.yaml").write_text("mine")
    with pytest.raises(LinesideError, match="is there already"):
        box.lay_out(tmp_path, tmp_path / "b")
    for spoilt in (
        b"",
        b"x",
        tar(),
        tar(**{"box.json": b"[]", "journal.msgpack": b""}),
        tar(**{**known, "box.json": b"{}"}),
    ):
        with pytest.raises(LinesideError, match="cannot be read"):
            Box(spoilt)


@pytest.mark.parametrize("wanted", ["token", "outside", "nobody"])
def test_what_cannot_be_kept_is_said(tmp_path: Path, wanted: str, capsys: pytest.CaptureFixture[str]) -> None:
    site, state = tmp_path / "s" / "site.yaml", tmp_path / "state"
    site.parent.mkdir()
    more = "metrics: !include ../metrics.yaml\n" if wanted == "outside" else ""
    (tmp_path / "metrics.yaml").write_text('{listen: "127.0.0.1:0"}\n')
    site.write_text(f"device: {{id: alone}}\n{more}")
    if wanted == "token":
        me = identity.Identity("alone", "https://x", "s", "", "pkcs11:token=a;object=b?module-path=/x")
        identity.keep(me, state)
    words = {"token": "lies in a token", "outside": "lies outside of", "nobody": "there is no journal at"}
    assert main(["backup", str(site), str(tmp_path / "f"), "--state", str(state)]) == 2
    assert words[wanted] in capsys.readouterr().err and not (tmp_path / "f").exists()
