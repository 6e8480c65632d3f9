"""A new site is judged by the data that it brings against the time before."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import ClassVar

import pytest

from edge import plugins
from edge.app import Daemon
from edge.apply import RolledBack, exchange
from edge.config.load import load_text
from edge.errors import ConfigFault, DeviceLost
from edge.poller import Poller
from tests.edge.test_daemon import events, run


class Machine(Poller):
    """Reads `value` for every tag, in `takes` seconds, while those that `hog` take theirs from all."""

    class Config(Poller.Config):
        value: float = 1.0
        takes: float = 0.0
        answers: bool = True
        at: str = ""
        push: bool = False

        def pushes(self) -> bool:
            return self.push

        def port(self) -> str:
            return self.at

    probes: ClassVar[list[str]] = []
    shows: ClassVar[dict[str, float]] = {}

    async def connect(self) -> None: ...

    async def poll(self) -> dict[str, float]:
        await asyncio.sleep(self.config.takes + Machine.hogged)
        return dict.fromkeys(self.source.tags, Machine.shows.get(self.source.name, self.config.value))

    async def probe(self) -> list[str]:
        Machine.probes.append(self.source.name)
        if not self.config.answers:
            raise DeviceLost("nobody there")
        return ["it answers"]

    hogged: float = 0.0


class Hog(Machine):
    """Slows every other one down."""

    async def connect(self) -> None:
        Machine.hogged = 3.0


@pytest.fixture(autouse=True)
def machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plugins._extra, ("drivers", "machine"), Machine)
    monkeypatch.setitem(plugins._extra, ("drivers", "hog"), Hog)
    Machine.probes.clear()
    Machine.shows.clear()
    Machine.hogged = 0.0


def site(alarm: str = "a.t > 50", virtual: str = "a.t * 1", **parts: str) -> str:
    lines = [
        f"  {name}: {{driver: machine, every: 1s, timeout: 20s, tags: {{t: {{}}}}{more}}}"
        for name, more in parts.items()
    ]
    rules = f"tags: {{twice: {{expression: '{virtual}'}}}}\nalarms: {{hot: {{when: '{alarm}'}}}}\n"
    return "device: {id: d}\ndrivers:\n" + "\n".join(lines) + "\n" + rules


async def change(daemon: Daemon, text: str, *, unattended: bool = True) -> list[str]:
    config = load_text(text)
    assert not config.problems, config.problems
    async with daemon.changing:
        return await exchange(daemon, config, "new", 10, unattended=unattended)


def judged(folder: Path, old: str, new: str, *, unattended: bool = True) -> str:
    """Why the new site is not kept; "" where it is."""

    async def work(daemon: Daemon) -> str:
        await asyncio.sleep(30)
        before = daemon.config
        try:
            await change(daemon, new, unattended=unattended)
        except RolledBack as error:
            assert daemon.config is before and ("new", "rolled_back") in await events(daemon, "config")
            return str(error.args[0])
        assert ("new", "applied") in await events(daemon, "config")
        return ""

    return str(run(folder, old, work))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (site(a=""), site(a=", takes: 4"), "a gave 20% of the samples that it promises, 100% before"),
        (site(a=", takes: 4"), site(a=", takes: 4, value: 2"), ""),
        (site(a=", push: true"), site(a=", push: true, takes: 4"), ""),
        (site(a=""), site(a="", b=""), ""),
        (site(a=""), site(a=", value: 60"), "the alarm hot was raised"),
        (site(a=""), site(a="", alarm="a.t > 0"), "the alarm hot was raised"),
        (
            site(a="", alarm="twice > 50"),
            site(a="", alarm="twice > 50", virtual="a.t * 100"),
            "the alarm hot was raised",
        ),
        (site(a=", value: 60"), site(a=", value: 70"), ""),
    ],
)
def test_what_counts_against_a_new_site(tmp_path: Path, old: str, new: str, said: str) -> None:
    why = judged(tmp_path, old, new)
    assert why == (f"rolled back: {said}" if said else "")


def test_an_alarm_that_is_new_and_one_that_a_person_sees_do_not_count(tmp_path: Path) -> None:
    more = site(a="").replace("alarms: {", "alarms: {other: {when: 'a.t > 0'}, ")
    assert judged(tmp_path / "1", site(a=""), more) == ""
    assert judged(tmp_path / "2", site(a=""), site(a=", value: 60"), unattended=False) == ""


def test_an_alarm_of_something_that_was_not_touched_does_not_count(tmp_path: Path) -> None:
    async def work(daemon: Daemon) -> None:
        await asyncio.sleep(10)
        asyncio.get_running_loop().call_later(8, lambda: Machine.shows.update(a=60.0))
        await change(daemon, site(a="", b=""))
        assert [alarm["alarm"] for alarm in daemon.alarms()] == ["hot"]

    run(tmp_path, site(a=""), work)


def test_a_part_that_starves_the_others_is_not_kept(tmp_path: Path) -> None:
    async def work(daemon: Daemon) -> None:
        await asyncio.sleep(10)
        with pytest.raises(RolledBack, match=r"a gave [23]0% of the samples that it promises, 100% before"):
            await change(daemon, site(a="", b="").replace("b: {driver: machine", "b: {driver: hog"))

    run(tmp_path, site(a=""), work)


def test_a_device_that_is_new_answers_first_and_nothing_is_touched_where_it_does_not(tmp_path: Path) -> None:
    async def work(daemon: Daemon) -> None:
        await asyncio.sleep(10)
        tasks = daemon.drivers["a"].tasks
        with pytest.raises(ConfigFault, match="b: nobody there") as told:
            await change(daemon, site(a=", value: 2", b=", answers: false"))
        assert not isinstance(told.value, RolledBack) and daemon.drivers["a"].tasks is tasks
        assert await events(daemon, "config") == []
        Machine.probes.clear()
        await change(daemon, site(a=", at: line1", b=""))
        await change(daemon, site(a=", at: line1, value: 3", b=""))
        await change(daemon, site(a=", at: line1, value: 4", b=", value: 2"))
        assert Machine.probes == ["a", "b", "b"], "line1 is held by what runs there"

    run(tmp_path, site(a=""), work)


def test_one_that_was_dead_before_may_be_so_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Dead(Machine):
        async def connect(self) -> None:
            raise DeviceLost("off")

    monkeypatch.setitem(plugins._extra, ("drivers", "dead"), Dead)
    old = site(a="", b="").replace("b: {driver: machine", "b: {driver: dead")
    assert judged(tmp_path, old, old.replace("driver: dead", "driver: dead, answers: false, value: 2")) == ""
    assert Machine.probes == []
