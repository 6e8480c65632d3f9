"""The strings behind text tags: numbered once, on the disk ahead of the samples that use them, shown as what they are."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import msgpack
import numpy as np
import pytest

from edge import Batch, Point, Poller, Quality, Tag, TagTable, plugins
from edge.app import Daemon
from edge.cli import main
from edge.clock import ManualClock
from edge.codec import CodecFault, decode, decode_event, decode_text, encode_text
from edge.config.load import load
from edge.control import Control, ask
from edge.journal import Journal, JournalConfig
from edge.live import Live
from edge.migrations import STEPS
from edge.texts import LONGEST, MOST, UNKNOWN, Texts, clean
from tests.waiting import started

RECIPE = Tag("plc.recipe", type="text", source="plc")


def with_journal(folder: Path, work: Callable[[Journal], Awaitable[Any]]) -> Any:
    async def open_() -> Any:
        journal = Journal(folder / "journal.db", ManualClock(), JournalConfig())
        try:
            return await work(journal)
        finally:
            journal.close()

    return asyncio.run(open_())


def test_a_string_has_one_number_for_each_tag() -> None:
    texts = Texts()
    a, b, other = texts.value(1, "A7"), texts.value(1, "B2"), texts.value(2, "A7")
    assert len({a, b, other}) == 3 and texts.value(1, "A7") == a
    assert [texts.show(n) for n in (a, b, other, 99.0, float("nan"))] == ["A7", "B2", "A7", None, None]
    assert texts.find(1, "B2") == b and texts.find(2, "B2") == texts.find(3, "A7") == UNKNOWN
    assert texts.value(1, "") > 0, "an empty string is one, too"
    rows: list[tuple[int, int, str]] = []
    assert Texts(record=rows.append).value(np.int32(7), "A7") == 1 and type(rows[0][1]) is int


def test_the_table_is_bounded_and_what_it_holds_is_still_found() -> None:
    texts = Texts()
    numbers = [texts.value(1, str(i)) for i in range(MOST)]
    assert len(set(numbers)) == MOST and texts.why_not(1, "one more") == "too_many"
    assert texts.value(1, "one more") != texts.value(1, "one more"), "nan"
    assert texts.value(1, "7") == numbers[7] and texts.value(2, "one more") > 0
    assert texts.value(2, "x" * LONGEST) > 0 and texts.why_not(2, "x" * (LONGEST + 1)) == "too_long"
    assert texts.show(texts.value(2, "x" * (LONGEST + 1))) is None


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("A\x00\x1b[31m7", "A\ufffd\ufffd[31m7"),
        ("\ud800x", "\ufffdx"),
        ("a\u202eb\u2028c", "a\ufffdb\ufffdc"),
        ("配方\u3000七 é", "配方\u3000七 é"),
    ],
)
def test_what_a_terminal_or_a_database_would_choke_on_is_replaced(given: str, kept: str) -> None:
    texts = Texts()
    number = texts.value(1, given)
    assert clean(given) == kept == texts.show(number) and texts.value(1, given) == texts.value(1, kept) == number
    assert texts.find(1, given) == number and decode_text(encode_text(1, kept)) == (1, kept)


@pytest.mark.parametrize("body", [b"", b"\xc1", [1], [0, "a"], [1, b"a"], [True, "a"], [1, "a" * 257], [1, "a", 2], 7])
def test_bytes_that_are_no_text_are_refused(body: Any) -> None:
    with pytest.raises(CodecFault):
        decode_text(body if isinstance(body, bytes) else msgpack.packb(body))


def test_numbers_outlive_a_restart_and_are_never_given_again(tmp_path: Path) -> None:
    async def first(journal: Journal) -> list[float]:
        (tag,) = journal.tag_ids([RECIPE])
        numbers = [journal.texts.value(tag, text) for text in ("A7", "B2", "配方")]
        assert journal.texts.durable == 0 and await journal.commit() and journal.texts.durable == 3
        return numbers

    async def second(journal: Journal) -> list[float]:
        assert [journal.texts.show(n) for n in (1.0, 2.0, 3.0)] == ["A7", "B2", "配方"] and journal.texts.durable == 3
        (tag,) = journal.tag_ids([RECIPE])
        again = [journal.texts.value(tag, text) for text in ("A7", "B2", "配方", "C1")]
        assert await journal.commit()
        records = await journal.read("text")
        assert [(r.seq, decode_text(r.body)) for r in records][2:] == [(3, (tag, "配方")), (4, (tag, "C1"))]
        assert (await journal.backlog("sync"))["records"] == 1 + 4, "the tag and its strings"
        return again

    assert with_journal(tmp_path, first) == [1, 2, 3] and with_journal(tmp_path, second) == [1, 2, 3, 4]


CHILD = """
import asyncio, sys
from pathlib import Path
from edge import Batch, Tag
from edge.clock import SystemClock
from edge.journal import Journal

async def main():
    journal, n = Journal(Path(sys.argv[1]), SystemClock()), 0
    (tag,) = journal.tag_ids([Tag("plc.recipe", type="text", source="plc")])
    while True:
        for _ in range(3):
            n += 1
            journal.append([Batch.of("plc", [tag], [journal.texts.value(tag, f"recipe {n}")], n)])
        assert await journal.commit(seal=n % 7 == 0)
        print(n, flush=True)

asyncio.run(main())
"""


def test_after_a_kill_every_durable_sample_has_its_string(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with started([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        for _ in range(25):
            child.stdout.readline()
        os.kill(child.pid, signal.SIGKILL)

    async def work(journal: Journal) -> None:
        await journal.commit(seal=True)
        shown, after = [], 0
        while records := await journal.read("samples:plc", after, 8):
            after = records[-1].seq
            for record in records:
                batch = decode("plc", record.body)
                shown += zip(batch.ts.tolist(), map(journal.texts.show, batch.value.tolist()), strict=True)
        assert len(shown) >= 75 and shown == [(n, f"recipe {n}") for n in range(1, len(shown) + 1)]

    with_journal(tmp_path, work)


def test_what_the_disk_refuses_keeps_its_number_and_comes_later(tmp_path: Path) -> None:
    async def work(journal: Journal) -> None:
        (tag,) = journal.tag_ids([RECIPE])
        live = Live(TagTable([Tag("plc.recipe", tag, "text", source="plc")], journal.texts))
        add = journal._db.execute
        add("CREATE TRIGGER planted BEFORE INSERT ON text BEGIN SELECT RAISE(ABORT, 'no room'); END")
        batch = Batch.of("plc", [tag], [journal.texts.value(tag, "A7")], 5)
        journal.append([batch])
        live(batch)
        assert not await journal.commit() and journal.texts.durable == 0
        assert len(live.take()) == 0, "nobody elsewhere sees a number that may still be given to another string"
        assert live.show("plc.recipe")["value"] == "A7"
        journal.texts.value(tag, "B2")
        add("DROP TRIGGER planted")
        assert await journal.commit(seal=True)
        assert [decode_text(r.body)[1] for r in await journal.read("text")] == ["A7", "B2"]
        assert live.take().value.tolist() == [1.0] and len(live.take()) == 0

    with_journal(tmp_path, work)


def test_a_damaged_string_is_told_and_its_number_stays_taken(tmp_path: Path) -> None:
    async def first(journal: Journal) -> None:
        (tag,) = journal.tag_ids([RECIPE])
        journal.texts.value(tag, "A7")
        journal.texts.value(tag, "B2")
        assert await journal.commit()

    with_journal(tmp_path, first)
    db = apsw.Connection(str(tmp_path / "journal.db"))
    db.execute("UPDATE text SET body = x'9201a2ff37' WHERE seq = 2")
    db.close()

    async def second(journal: Journal) -> None:
        assert journal.texts.show(1.0) == "A7" and journal.texts.show(2.0) is None
        assert [r.seq for r in await journal.read("text")] == [1] and await journal.commit()
        (gap,) = [decode_event(r.body) for r in await journal.read("event")]
        assert (gap.state, gap.data["stream"], gap.data["first"]) == ("damaged", "text", 2)
        assert journal.texts.value(journal.tag_ids([RECIPE])[0], "B2") == 3

    with_journal(tmp_path, second)
    with_journal(tmp_path, lambda journal: _shows(journal, {1.0: "A7", 2.0: None}))


async def _shows(journal: Journal, wanted: dict[float, str | None]) -> None:
    assert {number: journal.texts.show(number) for number in wanted} == wanted
    assert journal.texts.value(1, "new") > 2, "the number of what was deleted is not given again"


def test_a_journal_of_before_gets_the_table(tmp_path: Path) -> None:
    db = apsw.Connection(str(tmp_path / "journal.db"))
    for step in STEPS[:2]:
        db.execute(step)
    db.execute("PRAGMA user_version = 2")
    db.close()

    async def work(journal: Journal) -> None:
        assert journal.texts.value(1, "A7") == 1 and await journal.commit() and len(await journal.read("text")) == 1

    with_journal(tmp_path, work)


# Through a driver to what people see


class Word(Point):
    type: str = "text"


class Speaks(Poller):
    """Says its words one after another, then stays with the last."""

    class Config(Poller.Config):
        words: list[Any]
        tags: dict[str, Word] = {}  # type: ignore[assignment]

    async def poll(self) -> dict[str, Any]:
        self.turn = min(getattr(self, "turn", -1) + 1, len(self.config.words) - 1)
        return dict.fromkeys(self.source.tags, self.config.words[self.turn])


@pytest.fixture(autouse=True)
def speaks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(plugins._extra, ("drivers", "speaks"), Speaks)
    yield


def site(folder: Path, *words: Any) -> Path:
    path = folder / "site.yaml"
    path.write_text(
        f"device: {{id: d}}\ndrivers:\n  plc: {{driver: speaks, every: 10ms, words: {json.dumps(words)},"
        " tags: {recipe: {}}}\njournal: {durable_within: 20ms, block: 100ms}\n"
    )
    return path


def run(path: Path, folder: Path, work: Callable[[Daemon], Awaitable[None]]) -> None:
    async def go() -> None:
        daemon = Daemon(load(path), folder)
        control = Control(daemon)
        await daemon.start()
        await control.start()
        try:
            async with asyncio.timeout(120):
                await work(daemon)
        finally:
            await control.stop()
            await daemon.stop()

    asyncio.run(go())


async def until(true: Callable[[], Any]) -> None:
    while not true():
        await asyncio.sleep(0.01)


def test_people_see_the_string_and_never_its_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = site(tmp_path, "A7", "配方 2")

    async def work(daemon: Daemon) -> None:
        await until(lambda: daemon.live.show("plc.recipe")["value"] == "配方 2")
        (row,) = (await asyncio.to_thread(ask, tmp_path, {"do": "read", "tags": ["plc.recipe"]}))["values"]
        assert (row["value"], row["label"], row["quality"]) == ("配方 2", "", "GOOD")
        await daemon.journal.commit(seal=True)
        await asyncio.to_thread(main, ["read", str(path), "--state", str(tmp_path)])
        assert "配方 2" in capsys.readouterr().out

    run(path, tmp_path, work)
    assert main(["export", str(path), "--state", str(tmp_path)]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert rows[0]["value"] == "A7" and rows[-1]["value"] == "配方 2" and {row["quality"] for row in rows} == {"GOOD"}
    assert main(["tail", str(path), "--state", str(tmp_path), "--once"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [] or {line.get("value") for line in lines if "tag" in line} <= {"A7", "配方 2"}
    assert main(["read", str(path), "--state", str(tmp_path / "none")]) == 0, "where no daemon runs"
    assert "A7" in capsys.readouterr().out
    assert main(["check", str(path), "--connect"]) == 0
    assert "recipe = 'A7' (GOOD)" in capsys.readouterr().out


def test_a_string_that_finds_no_room_is_an_event_and_a_sample_without_value(tmp_path: Path) -> None:
    path = site(tmp_path, "A7", "x" * 300, "y" * 400, "B2")

    async def work(daemon: Daemon) -> None:
        await until(lambda: daemon.live.show("plc.recipe")["value"] == "B2")
        await daemon.journal.commit(seal=True)
        events = [decode_event(r.body) for r in await daemon.journal.read("event", 0, 100)]
        (told,) = [e for e in events if e.kind == "text"]
        assert (told.key, told.state, told.text, told.data["length"]) == ("plc.recipe", "too_long", "x" * 256, 300)
        assert daemon.health.part("plc").counts["text_too_long"] >= 1, "the others within a second are counted"
        batches = [decode("plc", r.body) for r in await daemon.journal.read("samples:plc", 0, 100)]
        seen = [(daemon.journal.texts.show(v), q) for b in batches for v, q in zip(b.value, b.quality, strict=True)]
        assert seen[:4] == [("A7", Quality.GOOD), (None, Quality.RANGE), (None, Quality.RANGE), ("B2", Quality.GOOD)]

    run(path, tmp_path, work)


def test_a_value_that_is_no_string_is_no_text(tmp_path: Path) -> None:
    path = site(tmp_path, "A7", 7)

    async def work(daemon: Daemon) -> None:
        await until(lambda: daemon.live.show("plc.recipe")["quality"] == "BAD")
        assert daemon.live.show("plc.recipe")["value"] is None

    run(path, tmp_path, work)


def test_a_table_that_is_full_says_so_in_an_event_and_in_the_doctor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in ("edge.texts", "edge.commands.doctor"):
        monkeypatch.setattr(f"{module}.MOST", 3)
    path = site(tmp_path, "A1", "A2", "A3", "A4", "A2")

    async def work(daemon: Daemon) -> None:
        await until(lambda: daemon.live.all.get("plc", 0) > 5)
        await daemon.journal.commit(seal=True)
        events = [decode_event(r.body) for r in await daemon.journal.read("event", 0, 100)]
        assert [(e.key, e.state, e.text) for e in events if e.kind == "text"] == [("plc.recipe", "too_many", "A4")]
        batches = [decode("plc", r.body) for r in await daemon.journal.read("samples:plc", 0, 100)]
        seen = [(daemon.journal.texts.show(v), q) for b in batches for v, q in zip(b.value, b.quality, strict=True)]
        assert seen[2:5] == [("A3", Quality.GOOD), (None, Quality.RANGE), ("A2", Quality.GOOD)]

    run(path, tmp_path, work)
    main(["doctor", str(path), "--state", str(tmp_path)])
    assert "plc.recipe had 3 strings, there is room for 3" in capsys.readouterr().out
