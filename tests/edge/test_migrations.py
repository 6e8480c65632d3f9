"""A journal of an older release is brought to this one whole, or stays what it was, wherever the power is cut."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import apsw
import msgpack
import pytest

from edge import Cursor, LinesideError, Tag, migrations
from edge.codec import encode, encode_event
from edge.event import Event
from edge.journal import PRAGMAS, Journal
from edge.migrations import STEPS
from tests.edge.cuts import images, recorded
from tests.edge.test_journal import batch, values, with_journal

EVENT = encode_event(Event("k", "kept"))
A = Tag("plc.a", type="float")
TAG = msgpack.packb(["plc.a", "float", "", {}, "plc"])


def older(path: Path, version: int) -> None:
    """A journal as a release wrote it that knew the first `version` steps."""
    db = apsw.Connection(str(path))
    db.execute("PRAGMA journal_mode=WAL")
    for number, step in enumerate(STEPS[:version], 1):
        db.execute(step)
        db.execute(f"PRAGMA user_version = {number}")
    if version:
        db.execute("INSERT INTO meta (key, value) VALUES ('epoch', '0123456789abcdef')")
        block = encode(batch(1, 2, 3))
        db.execute("INSERT INTO block VALUES ('samples:plc', 1, 1, 3, 3, ?, 5, ?)", (zlib.crc32(block), block))
        db.execute("INSERT INTO tag (name, type, unit, labels, body) VALUES ('plc.a', 'float', '', '', ?)", (TAG,))
        db.execute("INSERT INTO stream (name, seq) VALUES ('samples:plc', 1)")
        db.execute("INSERT INTO stream (name, seq) VALUES ('event', 1)")
        db.execute("INSERT INTO snapshot (name, body) VALUES ('alarms', x'01')")
        db.execute("INSERT INTO cursor (reader, stream, watermark, ranges) VALUES ('sync', 'event', 1, '[[3, 4]]')")
        db.execute("INSERT INTO event VALUES (1, 2, 'k', 'kept', ?, 5, ?)", (zlib.crc32(EVENT), EVENT))
    db.close()


def migrated(db: apsw.Connection) -> None:
    """As a journal opens."""
    for pragma in PRAGMAS:
        db.execute(f"PRAGMA {pragma}")
    migrations.migrate(db)


@pytest.mark.parametrize(
    "done",
    [
        "VACUUM",
        "CREATE TABLE mine (a); CREATE INDEX by_time ON event (ts)",
        "CREATE TABLE mine (a); INSERT INTO mine VALUES (1); ANALYZE; VACUUM; CREATE TABLE other (a)",
    ],
)
def test_what_a_person_may_do_to_a_journal_is_no_damage(tmp_path: Path, done: str) -> None:
    async def work(journal: Journal) -> str:
        journal.append([batch(1, 2)], [Event("k", "y")])
        await journal.commit(seal=True)
        return journal.epoch

    epoch = with_journal(tmp_path, work)
    db = apsw.Connection(str(tmp_path / "journal.db"))
    db.execute(done)
    db.close()
    assert with_journal(tmp_path, work) == epoch
    assert not (tmp_path / "journal.db.damaged").exists()


def test_a_table_that_begins_elsewhere_is_damage(tmp_path: Path) -> None:
    """Also in a file that somebody put together anew."""

    async def work(journal: Journal) -> None:
        journal.append([batch(1, 2)], [Event("k", "y")])
        await journal.commit(seal=True)

    with_journal(tmp_path, work)
    db = apsw.Connection(str(tmp_path / "journal.db"))
    db.execute("VACUUM; PRAGMA writable_schema=ON")
    roots = dict(db.execute("SELECT name, rootpage FROM sqlite_master"))
    db.execute("UPDATE sqlite_master SET rootpage = ? WHERE name = 'event'", (roots["picture"],))
    db.close()
    with_journal(tmp_path, work)
    assert (tmp_path / "journal.db.damaged").exists()


@pytest.mark.parametrize("version", range(len(STEPS)))
def test_a_cut_at_any_write_leaves_the_old_schema_or_the_new(tmp_path: Path, version: int) -> None:
    (tmp_path / "old").mkdir()
    path = tmp_path / "old" / "journal.db"
    older(path, version)
    before = {p.name: p.read_bytes() for p in path.parent.iterdir()}
    steps = recorded(path, migrated)
    assert sum(step[0] == "write" for step in steps) >= 3 and any(step[0] == "sync" for step in steps)
    seen = set()

    async def work(journal: Journal) -> None:
        assert next(journal._db.execute("PRAGMA integrity_check"))[0] == "ok"
        assert next(journal._db.execute("PRAGMA user_version"))[0] == len(STEPS)
        if version:
            assert journal.epoch == "0123456789abcdef" and await values(journal) == [1, 2, 3]
            assert [r.body for r in await journal.read("event")] == [EVENT] and journal.snapshots() == {"alarms": b"\1"}
            assert await journal.cursors("sync") == {"event": Cursor(1, [(3, 4)])} and journal.tag_ids([A]) == [1]
        journal.append([batch(4)])
        assert await journal.commit(seal=True)

    for number, files in enumerate(images(before, steps)):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        seen.add(version_of(folder / "journal.db"))
        with_journal(folder, work)
        assert not (folder / "journal.db.damaged").exists()
    assert {version, len(STEPS)} <= seen <= set(range(version, len(STEPS) + 1)), seen


def version_of(path: Path) -> int:
    db = apsw.Connection(str(path))
    try:
        return int(next(db.execute("PRAGMA user_version"))[0])
    finally:
        db.close()


def test_a_step_that_fails_leaves_nothing_of_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.db"
    older(path, 1)
    monkeypatch.setattr(migrations, "STEPS", (*STEPS, "CREATE TABLE half (a); CREATE TABLE half (a);"))
    db: Any = apsw.Connection(str(path))
    with pytest.raises(apsw.SQLError):
        migrations.migrate(db)
    assert next(db.execute("PRAGMA user_version"))[0] == len(STEPS)
    assert not list(db.execute("SELECT 1 FROM sqlite_master WHERE name = 'half'"))
    db.close()


def test_a_release_that_is_taken_back_opens_what_the_newer_one_wrote_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def some(journal: Journal) -> None:
        journal.append([batch(len(await values(journal)) + 1)], [Event("k", "kept")])
        assert await journal.commit(seal=True)

    with_journal(tmp_path, some)
    more = (*STEPS, "CREATE TABLE extra (a INTEGER PRIMARY KEY, b TEXT); CREATE INDEX extra_b ON extra (b)")
    with monkeypatch.context() as newer:
        newer.setattr(migrations, "STEPS", more)
        with_journal(tmp_path, some)
    db = apsw.Connection(str(tmp_path / "journal.db"))
    assert next(db.execute("PRAGMA user_version")) == (len(more),)
    db.execute("INSERT INTO extra VALUES (1, 'of the newer one')")
    db.close()
    with_journal(tmp_path, some)

    async def all_of_it(journal: Journal) -> None:
        assert await values(journal) == [1.0, 2.0, 3.0]
        assert len(await journal.read("event")) == 3

    with_journal(tmp_path, all_of_it)
    with monkeypatch.context() as newer:  # and the newer one again
        newer.setattr(migrations, "STEPS", more)
        with_journal(tmp_path, all_of_it)
    db = apsw.Connection(str(tmp_path / "journal.db"))
    assert list(db.execute("SELECT b FROM extra")) == [("of the newer one",)]
    db.close()


def test_a_step_that_an_older_release_cannot_live_with_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(journal: Journal) -> None: ...

    with monkeypatch.context() as newer:
        newer.setattr(migrations, "STEPS", (*STEPS, "ALTER TABLE event ADD COLUMN more TEXT"))
        newer.setattr(migrations, "OPENS", len(STEPS) + 1)
        with_journal(tmp_path, nothing)
    with pytest.raises(LinesideError, match="written by a newer release"):
        with_journal(tmp_path, nothing)
