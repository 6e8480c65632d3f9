"""Who wrote what, and how it ended: each order of a rule, of a person here and of one at the plane is in the journal."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge import Event, Write, plugins
from edge.app import Daemon
from edge.cli import main
from edge.commands.export import Follow
from edge.config.load import load_text
from edge.control import Control
from edge.errors import LinesideError
from edge.poller import Poller
from edge.records import reading
from edge.rehearse import rehearse
from edge.tags import Tag, TagTable
from edge.testing import VirtualClock, virtual_run
from edge.writes import outcome


class Plc(Poller):
    """Holds what is written to it, but for `stuck`, which it confirms and leaves as it is."""

    made: list[Plc] = []

    def __init__(self, config: Any, source: Any) -> None:
        super().__init__(config, source)
        self.values = dict.fromkeys(source.tags, 0.0)
        self.names = {tag.id: name for name, tag in source.tags.items()}
        self.sent: list[tuple[str, float]] = []
        Plc.made.append(self)

    async def poll(self) -> dict[str, float]:
        return self.values

    async def write(self, order: Write) -> None:
        name = self.names[order.tag]
        self.sent.append((name, order.value))
        if name != "stuck":
            self.values[name] = order.value

    async def read(self, tag: int) -> float:
        return self.values[self.names[tag]]


SITE = """
device: {id: d}
drivers:
  plc:
    driver: plc
    every: 1s
    tags:
      t: {writable: {range: [0, 100], readback: true}}
      lamp: {writable: {range: [0, 1], every: 1min, readback: true}}
      stuck: {writable: {range: [0, 9], readback: true}}
      fixed: {}
alarms:
  hot: {when: "plc.t > 50", then: {plc.lamp: 1}, on_clear: {plc.lamp: 0}}
"""


@pytest.fixture(autouse=True)
def plc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(plugins._extra, ("drivers", "plc"), Plc)
    Plc.made.clear()
    yield


def run(folder: Path, work: Callable[[Daemon, Control], Awaitable[None]]) -> list[dict[str, Any]]:
    """A daemon on virtual time; returns the events of writes as `lineside tail --events --once` shows them."""

    async def main() -> None:
        config = load_text(SITE)
        assert not config.problems, config.problems
        daemon = Daemon(config, folder, VirtualClock())
        await daemon.start()
        try:
            await asyncio.sleep(2)
            await work(daemon, Control(daemon))
            await asyncio.sleep(10)
        finally:
            await daemon.stop()

    virtual_run(main())
    with reading(folder / "journal.db") as db:
        return [row for row in Follow(db, from_now=False).events() if row["kind"] == "write"]


def order(tag: str, value: float, by: str = "anna") -> dict[str, Any]:
    return {"do": "write", "tag": tag, "value": value, "by": by}


def test_each_order_is_journaled_with_who_what_when_and_how_it_ended(tmp_path: Path) -> None:
    async def work(daemon: Daemon, control: Control) -> None:
        await control._answer(order("plc.t", 60))
        await asyncio.sleep(5)
        await control._answer(order("plc.t", 40))  # clears the alarm, too soon for the lamp
        await asyncio.sleep(5)
        with pytest.raises(LinesideError, match=r"plc.t refused: 500 by user anna: 500 is outside 0..100 of plc.t"):
            await control._answer(order("plc.t", 500))
        with pytest.raises(LinesideError, match=r"plc.stuck failed: 3 by user anna: .*confirmed it, and shows 0"):
            await control._answer(order("plc.stuck", 3))
        daemon.accept(Write(daemon.table["plc.t"].id, 7, cause="plane eva"))

    rows = run(tmp_path, work)
    assert [(row["key"], row["state"], row["data"]["value"], row["data"]["cause"]) for row in rows] == [
        ("plc.t", "done", 60, "user anna"),
        ("plc.lamp", "done", 1, "alarm hot"),
        ("plc.t", "done", 40, "user anna"),
        ("plc.lamp", "refused", 0, "alarm hot"),
        ("plc.t", "refused", 500, "user anna"),
        ("plc.stuck", "failed", 3, "user anna"),
        ("plc.t", "done", 7, "plane eva"),
    ]
    assert all(row["time"].startswith("2023-11-14T22:1") for row in rows)
    assert "plc.lamp takes one write in 1min; the last was" in rows[3]["text"]
    assert Plc.made[0].sent == [("t", 60), ("lamp", 1), ("t", 40), ("stuck", 3), ("t", 7)]


def test_nothing_can_be_written_that_is_not_declared(tmp_path: Path) -> None:
    """Neither by a person here, nor by the plane, nor by a rule whose tag lost its `writable` while it was running."""

    async def work(daemon: Daemon, control: Control) -> None:
        with pytest.raises(LinesideError, match=r"plc\.fixed refused: 1 by user anna: plc\.fixed is read-only"):
            await control._answer(order("plc.fixed", 1))
        daemon.accept(Write(daemon.table["plc.fixed"].id, 1, cause="plane eva"))
        daemon.accept(Write(10**6, 1, cause="plane eva"))
        less = SITE.replace("lamp: {writable: {range: [0, 1], every: 1min, readback: true}}", "lamp: {}")
        await daemon.change(load_text(less.replace("then: {plc.lamp: 1}, on_clear: {plc.lamp: 0}", "severity: low")))
        await asyncio.sleep(2)
        daemon.accept(Write(daemon.table["plc.lamp"].id, 1, cause="alarm hot"))

    rows = run(tmp_path, work)
    assert [row["state"] for row in rows] == ["refused"] * 4
    assert all("read-only" in row["text"] or "not part of this site" in row["text"] for row in rows)
    assert not any(plc.sent for plc in Plc.made)


def test_the_rate_outlives_an_exchange_of_the_site(tmp_path: Path) -> None:
    async def work(daemon: Daemon, control: Control) -> None:
        await control._answer(order("plc.lamp", 1))
        await daemon.change(load_text(SITE.replace("every: 1s", "every: 2s")))
        await asyncio.sleep(5)
        with pytest.raises(LinesideError, match=r"plc\.lamp takes one write in 1min"):
            await control._answer(order("plc.lamp", 0))

    assert [row["state"] for row in run(tmp_path, work)] == ["done", "refused"]


def test_the_rate_outlives_a_restart(tmp_path: Path) -> None:
    async def first(daemon: Daemon, control: Control) -> None:
        await control._answer(order("plc.lamp", 1))

    async def second(daemon: Daemon, control: Control) -> None:
        with pytest.raises(LinesideError, match=r"plc\.lamp takes one write in 1min"):
            await control._answer(order("plc.lamp", 0))

    run(tmp_path, first)
    assert [row["state"] for row in run(tmp_path, second)] == ["done", "refused"]


def test_where_no_daemon_runs_the_same_rules_hold_and_the_order_is_on_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, state = tmp_path / "site.yaml", tmp_path / "state"
    path.write_text(SITE)

    def write(*orders: str) -> tuple[int, str]:
        code = main(["write", str(path), *orders, "--state", str(state)])
        return code, capsys.readouterr().err

    assert write("plc.lamp=1", "plc.t=7")[0] == 0
    for words, said in {
        ("plc.lamp=0",): "plc.lamp takes one write in 1min; the last was",
        ("plc.stuck=3",): "the device confirmed it, and shows 0",
        ("plc.t=8", "plc.fixed=1"): "plc.fixed is read-only",
        ("plc.t=101",): "101 is outside 0..100 of plc.t",
    }.items():
        code, errors = write(*words)
        assert code == 2 and said in errors and f"by user {getpass.getuser()}" in errors, words
    assert [plc.sent for plc in Plc.made if plc.sent] == [[("lamp", 1), ("t", 7)], [("stuck", 3)]]
    with reading(state / "journal.db") as db:
        rows = [(row["key"], row["state"], row["data"]["value"]) for row in Follow(db, from_now=False).events()]
    assert rows == [
        ("plc.lamp", "done", 1),
        ("plc.t", "done", 7),
        ("plc.lamp", "refused", 0),
        ("plc.stuck", "failed", 3),
        ("plc.fixed", "refused", 1),
        ("plc.t", "refused", 101),
    ]
    (tmp_path / "taken" / "journal.lock").mkdir(parents=True)
    assert main(["write", str(path), "plc.t=9", "--state", str(tmp_path / "taken")]) == 2
    assert "the order cannot be put on record in" in capsys.readouterr().err
    assert not any(("t", 9) in plc.sent for plc in Plc.made)


def test_a_test_of_a_site_shows_that_its_rule_writes_too_often() -> None:
    text = (
        SITE
        + """
tests:
  - {name: slow, given: {plc.t: [60, 40]}, every: 2min, expect: [{event: hot}, {event: hot}, {write: plc.lamp, value: 0}]}
  - {name: quick, given: {plc.t: [60, 40]}, every: 2s, expect: [{event: hot}, {event: hot}]}
"""
    )
    config = load_text(text)
    assert not config.problems, config.problems
    slow, quick = (rehearse(config, test) for test in config.tests)
    assert slow.faults == []
    assert quick.faults == ["refused: 0 by alarm hot: plc.lamp takes one write in 1min; the last was 2.0 s ago"]


def test_an_event_of_a_write_says_value_and_who_also_when_it_is_done() -> None:
    event: Event = outcome(Write(1, 0.5, cause="alarm hot"), TagTable([Tag("plc.t", 1)]), "done")
    assert (event.key, event.text) == ("plc.t", "0.5 by alarm hot")
