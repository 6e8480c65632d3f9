"""A whole plane in one file, from either database and into either."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

import msgpack
from sqlalchemy import BigInteger, Boolean, Float, Integer, LargeBinary, String, Text, func, select

from edge import Batch, Event, LinesideError, encode, encode_event, encode_text
from edge.cli import main
from sync import wire
from sync.control_plane import backup as whole
from sync.control_plane import tables
from sync.control_plane.backup import KEYS, backup, restore
from sync.control_plane.ca import Authority
from sync.control_plane.messages import Message
from sync.control_plane.numbers import COUNTED, ROOM, next_of
from sync.control_plane.signin import People
from sync.control_plane.store import Store
from sync.control_plane.updates import SEEN
from sync.control_plane.where import Where, opened

EPOCH, NOW = "0" * 16, time.time_ns()
BODY = encode(Batch.of("plc", [1], [1.0], NOW))
SOME = {String: "a", Text: "[]", Integer: 7, BigInteger: 2**40, Float: 1.5, Boolean: True, LargeBinary: b"\0\xff"}


def frames(seq: int, ts: int = NOW) -> list[wire.Frame]:
    def frame(stream: str, body: bytes) -> wire.Frame:
        return wire.Frame(EPOCH, stream, seq, ts, ts, 1, body)

    return [
        frame("tag", msgpack.packb(["plc.a", "text", "", {"0": "关"}, "plc"])),
        frame("text", encode_text(1, "A7")),
        frame("event", encode_event(Event("alarm", "hot", "raised", ts, "high", "zu heiß"))),
        frame("samples:plc", BODY),
    ]


@pytest.fixture
def where(tmp_path: Path, database: str) -> Iterator[Where]:
    """A plane that has run, and that holds something in each of its tables."""
    where = Where(tmp_path / "plane")
    Authority(where.folder)
    People(where.folder / "sessions.key")
    store = opened(where)

    def rest(c: Any) -> None:
        for table in tables.metadata.sorted_tables:
            if c.execute(select(table).limit(1)).first() is None:
                c.execute(table.insert().values({column.name: SOME[type(column.type)] for column in table.columns}))

    async def fill() -> None:
        await store.write(Message("a", [*frames(1, NOW - 400 * 86400 * 10**9), *frames(2)]))
        await store.write(rest)

    asyncio.run(fill())
    store.close()
    yield where


def contents(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    with store.engine.connect() as connection:
        return {
            table.name: sorted(tuple(row) for row in connection.execute(select(table)))
            for table in tables.metadata.sorted_tables
        }


@pytest.mark.parametrize("into", ["sqlite", "postgresql"])
def test_everything_is_the_same_afterwards(
    tmp_path: Path, where: Where, into: str, request: pytest.FixtureRequest
) -> None:
    file, address = tmp_path / "kept", ""
    if into == "postgresql":
        server = request.getfixturevalue("postgres")
        address = server.address(server.database())
    (where.folder / SEEN).write_text('[7, 3, "5e"]')
    backup(where, file)
    assert file.stat().st_mode & 0o077 == 0, "the plane's keys are in it"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("kept")] == ["kept"]
    before = file.read_bytes()
    other = Where(tmp_path / "other", database=address)
    restore(other, file)
    assert file.read_bytes() == before
    first, second = opened(where), opened(Where(other.folder))
    assert second.engine.dialect.name == into
    held = contents(first)
    assert all(held.values()), [name for name, rows in held.items() if not rows]
    passes: dict[str, list[Any]] = {"session": [], "invite": []}
    first_numbers = [(table.name, 2**40 + 1 + ROOM) for table in COUNTED]
    passes["first_number"] = sorted([*held["first_number"], *first_numbers])
    assert contents(second) == held | passes, "what is over or used up since opens nothing"
    for name in filter(lambda name: (where.folder / name).exists(), KEYS):
        assert (other.folder / name).read_bytes() == (where.folder / name).read_bytes()
        assert (other.folder / name).stat().st_mode & 0o077 == 0 or name == "ca.pem"
    assert not list(other.folder.glob("restoring*"))
    timestamp, snapshot, digest = json.loads((other.folder / SEEN).read_text())
    assert timestamp > 7 and snapshot > 3 and not digest, "it may have signed some more since"
    order = {"device": "a", "verb": "ack", "data": "{}", "created": 4.5}
    with second.engine.begin() as connection:
        made = connection.execute(tables.command.insert().values(order))
        assert next_of(connection, tables.rollout) == 2**40 + 1 + ROOM, "it may have given some more since"
        assert made.inserted_primary_key and made.inserted_primary_key[0] == 2**40 + 1, "orders are numbered on"
    first.close()
    second.close()


def test_it_is_of_one_moment_though_devices_go_on(
    tmp_path: Path, where: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cursors and blocks belong together: a cursor that is ahead would be a hole that nobody mends."""
    store, seqs, copied = opened(where), itertools.count(1), whole._copy

    def in_between(source: Any, target: Any, table: Any) -> int:
        block = wire.Frame(EPOCH, "samples:plc", next(seqs), NOW, NOW, 1, BODY)
        asyncio.run(store.write(Message("goes-on", [block])))  # type: ignore[arg-type]
        return copied(source, target, table)

    monkeypatch.setattr(whole, "_copy", in_between)
    backup(where, tmp_path / "kept")
    monkeypatch.undo()
    store.close()
    restore(Where(tmp_path / "other"), tmp_path / "kept")
    again = opened(Where(tmp_path / "other"))
    b, t = tables.block, tables.applied
    with again.engine.connect() as connection:
        stands = select(t.c.device, t.c.watermark).where(t.c.stream == "samples:plc")
        stood = dict(connection.execute(stands).tuples().all())
        held = dict(connection.execute(select(b.c.device, func.count()).group_by(b.c.device)).tuples().all())
    again.close()
    assert held == stood and stood["goes-on"] >= 1


def test_what_cannot_be_done_is_told_and_changes_nothing(tmp_path: Path, where: Where) -> None:
    kept, junk, other = tmp_path / "kept", tmp_path / "junk", Where(tmp_path / "other")
    junk.write_bytes(b"junk")
    with pytest.raises(LinesideError, match="no plane has run"):
        backup(other, kept)
    with pytest.raises(LinesideError, match="there already"):
        backup(where, junk)
    with pytest.raises(LinesideError, match="cannot be written"):
        backup(where, tmp_path / "nowhere" / "kept")
    backup(where, kept)
    with pytest.raises(LinesideError, match="there is a plane"):
        restore(where, kept)
    with pytest.raises(LinesideError, match="no file"):
        restore(other, tmp_path / "absent")
    half = tmp_path / "half"
    half.write_bytes(kept.read_bytes()[:5000])
    for file in (junk, half):
        with pytest.raises(LinesideError, match="no whole backup"):
            restore(other, file)
    assert not other.folder.exists()
    for name in filter(lambda name: (where.folder / name).exists(), KEYS):
        (where.folder / name).rename(where.folder / f"{name}.away")
    with pytest.raises(LinesideError, match="holds a plane already"):
        restore(where, kept)


def test_the_command_line(tmp_path: Path, where: Where, capsys: pytest.CaptureFixture[str]) -> None:
    folder, kept = str(where.folder), str(tmp_path / "kept")
    assert main(["plane", "backup", "--folder", folder]) == 2 and "are required: FILE" in capsys.readouterr().err
    assert main(["plane", "invite", kept, "--folder", folder]) == 2
    assert main(["plane", "backup", kept, "--folder", folder]) == 0
    assert main(["plane", "restore", kept, "--folder", str(tmp_path / "other")]) == 0
    assert "Traceback" not in capsys.readouterr().err
