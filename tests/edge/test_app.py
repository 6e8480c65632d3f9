"""The daemon: absent devices, a site exchanged and rolled back, a full disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge import ConfigFault, Event, Poller, Quality, plugins
from edge.app import Daemon
from edge.apply import apply_site
from edge.codec import decode_event
from edge.config.load import load


class Steady(Poller):
    """Reads `level` for ever; a negative one is no answer."""

    class Config(Poller.Config):
        level: float = 1.0

    async def poll(self) -> dict[str, float]:
        if self.config.level < 0:
            raise ConnectionError("nobody there")
        return dict.fromkeys(self.source.tags, self.config.level)


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plugins._extra, ("drivers", "steady"), Steady)


SITE = """device: {id: d}
drivers:
  one: {driver: steady, every: 10ms, level: 1, tags: {a: {}}}
  two: {driver: steady, every: 10ms, level: 2, tags: {b: {}}}
alarms: {high: {when: "two.b > 5"}}
journal: {durable_within: 50ms, block: 200ms}
"""


def running(folder: Path, text: str, work: Callable[[Daemon, list[Event]], Any]) -> None:
    (folder / "site.yaml").write_text(text)

    async def main() -> None:
        daemon = Daemon(load(folder / "site.yaml"), folder / "state")
        events: list[Event] = []
        append = daemon.journal.append

        def remember(batches: Any = (), new: Any = (), pictures: Any = (), snapshots: Any = None) -> None:
            events.extend(new)
            append(batches, new, pictures, snapshots)

        daemon.journal.append = remember  # type: ignore[method-assign]
        await daemon.start()
        try:
            async with asyncio.timeout(120):
                await work(daemon, events)
        finally:
            await daemon.stop()

    asyncio.run(main())


async def until(true: Callable[[], Any]) -> None:
    while not true():
        await asyncio.sleep(0.01)


def test_an_absent_device_says_so_and_disturbs_nobody(tmp_path: Path) -> None:
    async def work(daemon: Daemon, events: list[Event]) -> None:
        await until(lambda: daemon.live.show("one.a")["value"] == 1)
        await until(lambda: daemon.live.show("two.b")["quality"] == Quality.BAD.name)
        told = [(e.kind, e.key, e.state) for e in events if e.kind != "device"]
        assert told == [("source", "two", "lost")]
        assert daemon.health.part("two").reason == "nobody there"

    running(tmp_path, SITE.replace("level: 2", "level: -1"), work)


def test_a_new_site_exchanges_only_what_changed(tmp_path: Path) -> None:
    async def work(daemon: Daemon, events: list[Event]) -> None:
        await until(lambda: daemon.live.show("two.b")["value"] == 2)
        before = daemon.drivers["one"].tasks
        (tmp_path / "site.yaml").write_text(SITE.replace("level: 2", "level: 7"))
        assert await apply_site(daemon, tmp_path / "site.yaml", 0.3) == ["two: changed"]
        assert daemon.drivers["one"].tasks is before and not before[0].done()
        assert daemon.live.show("two.b")["value"] == 7
        await until(lambda: any(e.key == "high" and e.state == "raised" for e in events))
        assert ("config", "site.yaml", "applied") in [(e.kind, e.key, e.state) for e in events]

    running(tmp_path, SITE, work)


def test_a_site_that_does_worse_is_rolled_back(tmp_path: Path) -> None:
    async def work(daemon: Daemon, events: list[Event]) -> None:
        await until(lambda: daemon.live.show("two.b")["value"] == 2)
        (tmp_path / "site.yaml").write_text(SITE.replace("level: 2", "level: -1"))
        with pytest.raises(ConfigFault, match="rolled back: two gave no good sample"):
            await apply_site(daemon, tmp_path / "site.yaml", 0.3)
        await until(lambda: daemon.live.show("two.b")["quality"] == "GOOD")
        assert daemon.live.show("two.b")["value"] == 2
        assert ("config", "rolled_back") in [(e.kind, e.state) for e in events]

    running(tmp_path, SITE, work)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("driver: steady", "driver: stedy", "did you mean 'steady'"),
        ("id: d", "id: other", "the site is for other"),
        ("journal:", "tests: [{name: t, given: {two.b: [9]}, expect: []}]\njournal:", "its test 't' fails"),
    ],
)
def test_a_wrong_site_changes_nothing(tmp_path: Path, old: str, new: str, said: str) -> None:
    async def work(daemon: Daemon, events: list[Event]) -> None:
        tasks = {name: part.tasks for name, part in daemon.drivers.items()}
        (tmp_path / "site.yaml").write_text(SITE.replace(old, new, 1))
        with pytest.raises(ConfigFault, match=said):
            await apply_site(daemon, tmp_path / "site.yaml", 0.1)
        assert {name: part.tasks for name, part in daemon.drivers.items()} == tasks

    running(tmp_path, SITE, work)


def test_a_full_disk_is_named_kept_in_memory_and_recovers_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.room.Reserve.take", lambda self, size: False)

    async def work(daemon: Daemon, events: list[Event]) -> None:
        await until(lambda: daemon.journal.totals.durable > 5)

        def limit(db: Any, pages: int) -> None:
            db.execute(f"PRAGMA max_page_count = {pages or next(db.execute('PRAGMA page_count'))[0]}")

        daemon.journal.readers = {"sync"}  # so that nothing may give way
        await daemon.journal.on_writer(limit, 0)
        await until(lambda: daemon.journal.trouble == "the disk is full")
        seen = daemon.journal.totals.appended
        await until(lambda: daemon.journal.totals.appended > seen + 10)  # acquisition goes on
        await daemon.journal.on_writer(limit, 10**6)
        await until(lambda: not daemon.journal.trouble)
        assert daemon.journal.totals.dropped == 0 and daemon.journal.totals.durable >= seen

    running(tmp_path, SITE, work)


def test_rules_go_on_however_long_the_disk_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.pending.MOST_BYTES", 21 * 100)
    level = 1.0

    async def poll(self: Steady) -> dict[str, float]:
        return dict.fromkeys(self.source.tags, level)

    monkeypatch.setattr(Steady, "poll", poll)

    async def work(daemon: Daemon, events: list[Event]) -> None:
        nonlocal level
        await until(lambda: daemon.journal.totals.durable > 5)
        await daemon.journal.on_writer(lambda db: db.execute("PRAGMA query_only = 1"))
        await until(lambda: daemon.journal.totals.dropped > 300)
        level = 9.0
        await until(lambda: any(e.key == "high" and e.state == "raised" for e in events))
        await daemon.journal.on_writer(lambda db: db.execute("PRAGMA query_only = 0"))
        await until(lambda: not daemon.journal.trouble)
        await daemon._end(daemon.drivers.values())
        assert await daemon.journal.commit()
        told = [decode_event(r.body) for r in await daemon.journal.read("event", 0, 10_000)]
        totals = daemon.journal.totals
        assert totals.appended == totals.durable + totals.dropped
        assert sum(e.data["samples"] for e in told if e.kind == "gap") == totals.dropped
        assert ("high", "raised") in [(e.key, e.state) for e in told]

    running(tmp_path, SITE, work)
