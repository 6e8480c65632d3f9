"""Any bit of a journal may flip: nothing that is read is another thing than what was written, and what is gone is told of.

`FLIPS=150 pytest tests/edge/test_flips.py -k any_bit` plays 150 seeds of 40 bits each.
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import apsw
import pytest

from edge import Cursor, Event, Picture, sums
from edge.codec import decode_event
from edge.errors import LinesideError
from edge.journal import Journal
from edge.records import last_numbers, tag_names
from edge.tags import Tag
from tests.edge.test_journal import batch, gaps, with_journal

N = 12
SEEDS = int(os.environ.get("FLIPS", "6"))
DELIVERED = 4
TAGS = [Tag("plc.a", type="float"), Tag("plc.b", type="text")]
STREAMS = ("samples:plc", "event", "picture", "text", "tag")
CURSORS = {"samples:plc": Cursor(DELIVERED), "event": Cursor(DELIVERED, [(6, 7)])}
CURSORS |= {"picture": Cursor(DELIVERED), "commands": Cursor(31)}


async def filled(journal: Journal) -> None:
    journal.readers = {"sync"}
    _, text = journal.tag_ids(TAGS)
    for i in range(N):
        journal.texts.value(text, f"recipe {i}")
        pictures = [Picture(f"digest {i}", "image/png", bytes([i] * 50))]
        journal.append([batch(i, i + 0.5)], [Event("k", str(i))], pictures, {f"alarms {i % 3}": bytes([i] * 9)})
        assert await journal.commit(seal=True)
    for stream, cursor in CURSORS.items():
        journal.moved("sync", stream, cursor)
    journal.append([batch(77)])
    assert await journal.commit()


async def held(journal: Journal) -> dict[str, Any]:
    """Everything that can be asked."""
    journal.readers = {"sync"}
    found: dict[str, Any] = {"open": [b.value.tolist() for block in journal._open.values() for b in block.batches]}
    await journal.backlog("sync")
    found["epoch"], found["cursors"] = journal.epoch, await journal.cursors("sync")
    found["snapshots"], found["tags"] = journal.snapshots(), await journal.ask(tag_names)
    for stream in STREAMS:
        found[stream] = {}
        while records := await journal.read(stream, max(found[stream], default=0), 1000):
            found[stream] |= {r.seq: (r.body, r.n, r.t0, r.t1) for r in records}
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("whole")
    with_journal(folder, filled)
    content = (folder / "journal.db").read_bytes()
    return content, with_journal(folder, held)


async def judged(journal: Journal, before: dict[str, Any]) -> None:
    """What is there is what was written; what is not is told of; what comes next has numbers of its own."""
    first = await held(journal)
    assert await journal.commit()
    now = await held(journal)
    assert await journal.commit()
    for kind in ("cursors", "snapshots", "tags"):
        assert not {k: v for k, v in first[kind].items() if v != before[kind].get(k)}, f"{kind}: {first[kind]}"
    told = [decode_event(r.body) for r in await journal.read("event", 0, 10_000)]
    told = [event for event in told if event.kind in ("gap", "journal")]
    lost = {(stream, n) for _, stream, n in await gaps(journal)}
    renamed = now["epoch"] != before["epoch"]
    assert not renamed or told
    for stream in STREAMS:
        for seq, record in before[stream].items():
            there = now[stream].get(seq)
            assert there in (None, record), f"{stream} {seq} is not what was written"
            gone = there is None and not (seq <= DELIVERED and stream in CURSORS)
            assert not gone or (stream, seq) in lost or renamed or any(e.state == "salvaged" for e in told)
            if there is None and stream in CURSORS and seq > DELIVERED and not renamed:
                assert (stream, seq) in lost, f"{stream} {seq} is gone without a word"
    for kind in ("cursors", "snapshots", "tags"):
        changed = {k: v for k, v in now[kind].items() if v != before[kind].get(k)}
        assert not changed, f"{kind}: {changed}"
        assert told or len(now[kind]) == len(before[kind]), f"{kind}: some are gone without a word"
    assert first["open"] == before["open"] or told
    journal.append([batch(1)], [Event("k", "next")])
    assert await journal.commit(seal=True)
    assert (await journal.read("samples:plc", N))[-1].seq > N and (await journal.read("event", N, 9_999))[-1].seq > N
    assert min(journal.tag_ids([Tag("plc.new")])) > len(TAGS)


def opened(folder: Path, content: bytes, before: dict[str, Any]) -> None:
    for path in folder.glob("journal.*"):
        path.unlink()
    (folder / "journal.db").write_bytes(content)

    async def work(journal: Journal) -> None:
        await judged(journal, before)

    with_journal(folder, work)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_any_bit_may_flip(tmp_path: Path, whole: tuple[bytes, dict[str, Any]], seed: int) -> None:
    content, before = whole
    rng = random.Random(seed)
    used = [place for place in range(len(content)) if content[place]]
    for place in rng.sample(used, 40):
        spoilt = bytearray(content)
        spoilt[place] ^= 1 << rng.randrange(8)
        try:
            opened(tmp_path, bytes(spoilt), before)
        except LinesideError as error:  # the number of its schema
            assert "newer release" in str(error) and 60 <= place < 64
        except AssertionError as error:
            raise AssertionError(f"byte {place} of page {place // 4096 + 1}: {error}") from None


KEYS = {
    "block": ("stream", "seq"),
    "event": ("seq",),
    "text": ("seq",),
    "picture": ("seq",),
    "tag": ("id",),
}  # put elsewhere


@pytest.mark.parametrize("table", ["event", "meta", "stream", "cursor", "snapshot", "tag"])
def test_a_row_that_a_page_hides_is_told_of(tmp_path: Path, whole: tuple[bytes, dict[str, Any]], table: str) -> None:
    content, before = whole
    (tmp_path / "journal.db").write_bytes(content)
    db = apsw.Connection(str(tmp_path / "journal.db"))
    (root,) = next(db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)))
    (rows,) = next(db.execute(f"SELECT count(*) FROM {table} NOT INDEXED"))
    db.close()
    page = 4096 * (root - 1)
    assert content[page] in (10, 13) and content[page + 4] == rows, "a leaf that says how many rows it has"
    spoilt = bytearray(content)
    spoilt[page + 4] -= 1
    opened(tmp_path, bytes(spoilt), before)


CHANGES = [(t, c) for t, columns in sums.HEADS.items() for c in columns if c not in KEYS.get(t, ())]


@pytest.mark.parametrize(("table", "column"), CHANGES)
def test_a_value_beside_a_body_that_changed_is_no_data(
    tmp_path: Path, whole: tuple[bytes, dict[str, Any]], table: str, column: str
) -> None:
    """By several bits, so that nothing can be put right."""
    content, before = whole
    (tmp_path / "journal.db").write_bytes(content)
    db = apsw.Connection(str(tmp_path / "journal.db"))
    last = f"ORDER BY {column} DESC LIMIT 1"
    where = f"WHERE {column} = (SELECT {column} FROM {table} {last})"
    (kind,) = next(db.execute(f"SELECT typeof({column}) FROM {table}"))
    changed = f"{column} + 4321" if kind == "integer" else f"{column} || '321'"
    if column == "ranges":
        changed = "'[[9, 99]]'"
    db.execute(f"UPDATE {table} SET {column} = {changed} {where}")
    assert db.changes()
    db.close()

    async def work(journal: Journal) -> None:
        await judged(journal, before)

    with_journal(tmp_path, work)


def test_a_count_that_is_no_number_stops_no_start(tmp_path: Path, whole: tuple[bytes, dict[str, Any]]) -> None:
    content, before = whole
    (tmp_path / "journal.db").write_bytes(content)
    db = apsw.Connection(str(tmp_path / "journal.db"))
    db.execute("UPDATE tail SET n = 'six' WHERE id = (SELECT max(id) FROM tail)")
    assert db.changes() == 1
    db.close()
    opened(tmp_path, (tmp_path / "journal.db").read_bytes(), before)


@pytest.mark.parametrize("column", ["reader", "stream", "watermark", "ranges", "crc"])
def test_one_bit_of_a_cursor_is_put_right(tmp_path: Path, whole: tuple[bytes, dict[str, Any]], column: str) -> None:
    content, before = whole
    (tmp_path / "journal.db").write_bytes(content)
    db = apsw.Connection(str(tmp_path / "journal.db"))
    changed = {"reader": "'rync'", "stream": "'evenu'", "ranges": "'[[6, 5]]'"}.get(column, f"{column} + 1")
    bit = "watermark % 2 = 0" if column == "watermark" else "crc % 2 = 0" if column == "crc" else "stream = 'event'"
    db.execute(f"UPDATE cursor SET {column} = {changed} WHERE {bit}")
    assert db.changes()
    db.close()

    async def work(journal: Journal) -> None:
        assert await journal.cursors("sync") == before["cursors"]

    with_journal(tmp_path, work)


@pytest.mark.parametrize("stream", ["samples:plc", "event", "picture"])
def test_a_number_that_flipped_high_leaves_no_gap(
    tmp_path: Path, whole: tuple[bytes, dict[str, Any]], stream: str
) -> None:
    """A gap of numbers that are still to be given would have all that comes dropped."""
    (tmp_path / "journal.db").write_bytes(whole[0])

    async def work(journal: Journal) -> None:
        journal.readers = {"sync"}
        journal._db.execute("UPDATE stream SET seq = seq | (1 << 40) WHERE name = ?", (stream,))
        assert (await journal.read(stream, N - 2))[-1].seq >= N
        assert await journal.commit()
        told = [decode_event(r.body) for r in await journal.read("event", 0, 10_000)]
        assert [event.data for event in told if event.kind == "gap"] == []
        assert max((await journal.ask(last_numbers)).values()) < 10_000

    with_journal(tmp_path, work)


def test_a_watermark_that_flipped_high_hides_no_hole(tmp_path: Path, whole: tuple[bytes, dict[str, Any]]) -> None:
    (tmp_path / "journal.db").write_bytes(whole[0])

    async def work(journal: Journal) -> None:
        journal.readers = {"sync"}
        journal._db.execute("DELETE FROM block WHERE seq = 7")
        journal._db.execute("UPDATE cursor SET watermark = watermark | (1 << 40) WHERE stream = 'samples:plc'")
        assert await journal.read("samples:plc", DELIVERED)
        assert await journal.commit()
        assert ("damaged", "samples:plc", 7) in await gaps(journal)

    with_journal(tmp_path, work)


def test_the_id_of_a_tag_that_was_taken_out_stays_given(tmp_path: Path, whole: tuple[bytes, dict[str, Any]]) -> None:
    """What a plane holds of this journal is not ahead of it: it is no older copy."""
    (tmp_path / "journal.db").write_bytes(whole[0])

    async def work(journal: Journal) -> None:
        journal._db.execute("UPDATE tag SET name = 'plc.zz' WHERE id = 2")
        journal._suspect = True
        assert await journal.commit()
        assert list(await journal.ask(tag_names)) == [1]
        assert (await journal.ask(last_numbers))["tag"] == 2
        assert journal.tag_ids(TAGS) == [1, 3]

    with_journal(tmp_path, work)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE stream SET name = 'samples:plb' WHERE name = 'samples:plc'",
        "DELETE FROM stream",
        "UPDATE stream SET seq = 1, crc = NULL",
    ],
)
def test_numbers_go_on_where_the_row_that_counts_them_is_gone(tmp_path: Path, sql: str) -> None:
    """All that was delivered is gone from the file: nothing else in it would tell."""

    async def work(journal: Journal) -> None:
        journal.readers = set()
        for value in range(3):
            journal.append([batch(value)], [Event("k", str(value))])
            assert await journal.commit(seal=True)
        journal._db.execute("DELETE FROM block")
        journal._db.execute("DELETE FROM event")
        journal._db.execute(sql)
        journal.append([batch(4)], [Event("k", "4")])
        assert await journal.commit(seal=True)
        assert [r.seq for r in await journal.read("samples:plc", 3)] == [4]
        assert decode_event((await journal.read("event", 3))[-1].body).key == "4"

    with_journal(tmp_path, work)


def test_a_count_of_tags_that_is_no_number_stops_no_mending(
    tmp_path: Path, whole: tuple[bytes, dict[str, Any]]
) -> None:
    """SQLite keeps it, without a checksum."""
    (tmp_path / "journal.db").write_bytes(whole[0])

    async def work(journal: Journal) -> None:
        journal._db.execute("UPDATE sqlite_sequence SET seq = 'x' WHERE name = 'tag'")
        journal._db.execute("UPDATE stream SET seq = seq + 4321 WHERE name = 'event'")
        assert await journal.commit(), journal.trouble
        assert journal.tag_ids([*TAGS, Tag("plc.new")]) == [1, 2, 3]

    with_journal(tmp_path, work)


@pytest.mark.parametrize("size", [1_000, 4_000_000])
def test_no_bit_is_looked_for_beside_a_large_body(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """It would hold up every commit for most of a second."""
    head, tried, plain = {"seq": 1, "digest": "a" * 64, "media": "image/png", "ts": 5}, [0], sums.of

    def counted(head: Any, body: bytes = b"") -> int:
        tried[0] += len(body)
        return plain(head, body)

    row = {**head, "body": bytes(size), "crc": plain(tuple(head.values()), bytes(size))}
    monkeypatch.setattr(sums, "of", counted)
    right = sums.righted("picture", {**row, "ts": 4})
    assert right == (row if size < sums.LARGE else None)
    assert sums.righted("picture", {**row, "crc": row["crc"] ^ 8}) == row, "the sum itself costs one look"
    assert tried[0] <= 64_000_000
