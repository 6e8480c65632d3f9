"""What the plane wants of a device reaches it, is carried out once or refused in words, and what came of it is told."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from typing import Any, ClassVar

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from sqlalchemy import select

from edge import DeviceLost, Event, LinesideError, encode_event
from sync import wire
from sync.control_plane import tables
from sync.control_plane.store import Store
from sync.control_plane.twin import Told, Want, newest, told, want, wanted
from sync.device import twin as device_twin
from sync.device import uplink
from sync.device.twin import Tell
from sync.device.uplink import Uplink
from tests.sync.stored import with_store
from tests.sync.test_spine import Rig, both_ways, rig


async def says(it: Rig, state: str, version: str) -> Told:
    """What the plane knows of `model/washer` once it is in that state for a want of that version."""

    async def found() -> Told | None:
        rows = await it.plane.store.read(lambda c: told(c, "model", "washer", ["dev-1"]))
        now = await it.plane.store.read(lambda c: newest(c, "dev-1"))
        return next((t for t in rows if (t.state, t.generation) == (state, now)), None)

    one: Told = await it.until(found)
    assert version in (one.tried, one.running) or state in ("refused", "waiting")
    return one


async def states(it: Rig) -> list[tuple[str, str]]:
    t = tables.event
    asked = select(t.c.state, t.c.data).where(t.c.kind == "twin").order_by(t.c.seq)
    rows = await it.plane.store.read(lambda c: c.execute(asked).all())
    return [(row.state, row.data.split('"version": "')[1].split('"')[0]) for row in rows]


@both_ways
def test_what_a_site_does_not_allow_is_refused_in_words_and_once(tmp_path: Path, way: str) -> None:
    async def work(it: Rig) -> None:
        await it.plane.ingest.want([Want("dev-1", "model", "washer", "3"), Want("dev-1", "toaster", "x", "1")])
        first = await says(it, "refused", "3")
        assert "`sync: {installs: [model]}`" in first.reason and (first.running, first.tried) == ("", "")

        await it.plane.ingest.want([Want("dev-1", "config", "site", "0" * 16)])

        async def config() -> Any:
            return await it.plane.store.read(lambda c: told(c, "config", "site", None))

        assert "`sync: {installs: [config]}`" in (await it.until(config))[0].reason

        async def toaster() -> Any:
            return await it.plane.store.read(lambda c: told(c, "toaster", "x", None))

        assert "this release cannot take a toaster" in (await it.until(toaster))[0].reason
        await it.daemon.stop()
        await it.device_starts()
        await it.plane.ingest.want([Want("dev-1", "model", "washer", "4")])
        assert (await says(it, "refused", "4")).generation > first.generation
        assert await states(it) == [("refused", v) for v in ("3", "1", "0" * 16, "4")]

    rig(tmp_path, work, way)


class Washers:
    """Runs any version at once; `faults` are raised, one at each call, and `gate` is waited for."""

    def __init__(self) -> None:
        self.now, self.faults, self.gate, self.calls = "", list[Exception](), asyncio.Event(), list[str]()
        self.gate.set()

    def running(self, name: str) -> str:
        return self.now

    async def __call__(self, want: device_twin.Want, tell: Tell) -> None:
        self.calls.append(want.version)
        tell("trying", "")
        await self.gate.wait()
        if self.faults:
            raise self.faults.pop(0)
        self.now = want.version
        tell("running", "it proved itself")


class Watched(device_twin.Twin):
    all: ClassVar[list[Watched]] = []

    def __init__(self, *how: Any) -> None:
        super().__init__(*how)
        self.all.append(self)


@pytest.fixture
def washers(monkeypatch: pytest.MonkeyPatch) -> Washers:
    one = Washers()
    monkeypatch.setattr(Uplink, "_handlers", lambda *_: {"model": one})
    monkeypatch.setattr(uplink, "Twin", Watched)
    monkeypatch.setattr(device_twin, "AGAIN", 0.01)
    return one


def test_it_is_done_once_over_all_starts(tmp_path: Path, washers: Washers) -> None:
    async def work(it: Rig) -> None:
        await it.plane.ingest.want([Want("dev-1", "model", "washer", "3")])
        found = await says(it, "running", "3")
        assert (found.running, found.tried, found.reason) == ("3", "3", "it proved itself")
        await it.plane.ingest.want([Want("dev-1", "model", "washer", "3", by="anna")])  # as it is already
        await it.daemon.stop()
        await it.device_starts()
        washers.faults.append(LinesideError("its golden vectors differ"))
        await it.plane.ingest.want([Want("dev-1", "model", "washer", "4")])
        assert (await says(it, "refused", "4")).running == "3"
        assert washers.calls == ["3", "4"]
        assert await states(it) == [("trying", "3"), ("running", "3"), ("trying", "4"), ("refused", "4")]

    rig(tmp_path, work)


def test_what_cannot_be_done_yet_is_tried_again(tmp_path: Path, washers: Washers) -> None:
    async def work(it: Rig) -> None:
        washers.faults += [Later("no bytes left today"), DeviceLost("no plane at all")]
        await it.plane.ingest.want([Want("dev-1", "model", "washer", "3")])
        await says(it, "running", "3")
        assert washers.calls == ["3", "3", "3"]
        said = [s for s, _ in await states(it)]
        assert said == ["trying", "waiting", "trying", "waiting", "trying", "running"]

    rig(tmp_path, work)


def test_a_full_disk_is_waited_for_and_no_refusal(tmp_path: Path, washers: Washers) -> None:
    async def work(it: Rig) -> None:
        washers.faults.append(OSError(errno.ENOSPC, "No space left on device", "washer.zip"))
        await it.plane.ingest.want([Want("dev-1", "model", "washer", "3")])
        await says(it, "running", "3")
        assert [s for s, _ in await states(it)] == ["trying", "waiting", "trying", "running"]

    rig(tmp_path, work)


def test_something_else_has_its_turn_beside_what_goes_on_by_itself(tmp_path: Path, washers: Washers) -> None:
    async def work(it: Rig) -> None:
        washers.faults += [device_twin.Meanwhile("it is on trial")] * 2
        washers.gate.clear()
        await it.plane.ingest.want([Want("dev-1", "model", "a", "1")])
        await it.until(lambda: _value(washers.calls))
        await it.plane.ingest.want([Want("dev-1", "model", "washer", "3")])
        await it.until(lambda: _value("model/washer" in Watched.all[-1]._wants))
        washers.gate.set()
        await says(it, "running", "3")
        assert washers.calls[:3] == ["1", "3", "1"]
        assert "waiting" not in [s for s, _ in await states(it)]

    rig(tmp_path, work)


def test_what_goes_on_by_itself_ends_without_the_plane(tmp_path: Path, washers: Washers) -> None:
    async def work(it: Rig) -> None:
        washers.faults += [device_twin.Meanwhile("it is on trial")] * 2
        washers.gate.clear()
        await it.plane.ingest.want([Want("dev-1", "model", "washer", "3")])
        await it.until(lambda: _value(washers.calls))
        await it.plane.stop()
        await it.until(lambda: _value(it.daemon.health.part("sync").state == "waiting"))
        washers.gate.set()
        await it.until(lambda: _value(washers.now == "3"))

    rig(tmp_path, work)


def test_a_newer_want_takes_the_place_of_one_that_has_not_begun(tmp_path: Path, washers: Washers) -> None:
    async def work(it: Rig) -> None:
        washers.gate.clear()
        await it.plane.ingest.want([Want("dev-1", "model", "a", "1")])
        await it.until(lambda: _value(washers.calls))
        for version in ("1", "2", "3"):
            await it.plane.ingest.want([Want("dev-1", "model", "washer", version)])

        async def newest_known() -> bool:
            want = Watched.all[-1]._wants.get("model/washer")
            return want is not None and want.version == "3"

        await it.until(newest_known)
        washers.gate.set()
        await says(it, "running", "3")
        assert washers.calls == ["1", "3"]

    rig(tmp_path, work)


async def _value(what: Any) -> Any:
    return what


class Later(LinesideError):
    heals = True


def test_wants_of_many_devices_are_of_one_generation_and_only_what_changes_changes(database: str) -> None:
    async def work(store: Store) -> None:
        many = [Want(f"d{k}", "model", "washer", "3") for k in range(2000)]
        first = await store.write(lambda c: want(c, many))
        second = await store.write(lambda c: want(c, [*many, Want("d7", "model", "washer", "4", by="anna")]))
        assert second > first
        rows = await store.read(lambda c: [wanted(c, d)[0] for d in ("d6", "d7")])
        assert [(r.version, r.generation, r.by) for r in rows] == [("3", first, ""), ("4", second, "anna")]
        assert await store.read(lambda c: (newest(c, "d6"), newest(c, "d7"), newest(c, "no"))) == (first, second, 0)

    with_store(database, work)


def test_what_is_newer_in_the_journal_counts(database: str) -> None:
    def frame(seq: int, state: str, epoch: str = "0" * 16, generation: int = 9) -> wire.Frame:
        said = {"running": "2", "tried": "3", "generation": generation}
        event = Event("twin", "model/washer", state, 5, text="why", data=said)
        return wire.Frame(epoch, "event", seq, 1, 1, 1, encode_event(event))

    async def work(store: Store) -> None:
        from sync.control_plane.messages import Message

        async def state(*frames: wire.Frame) -> str:
            await store.write(Message("d1", list(frames)))
            (one,) = await store.read(lambda c: told(c, "model", "washer"))
            assert one == Told("d1", "model", "washer", one.state, "2", "3", "why", 9, 5)
            return one.state

        assert await state(frame(2, "running")) == "running"
        assert await state(frame(1, "trying")) == "running", "it came late"
        assert await state(frame(1, "trying", "1" * 16)) == "trying", "a new journal"
        assert await state(frame(3, "refused", generation=8)) == "trying", "what the old one said before comes late"
        many = [f"x{k}" for k in range(600)]
        assert await store.read(lambda c: told(c, "model", "washer", ["d1"]))
        assert await store.read(lambda c: told(c, "model", "washer", [*many, "d1"]))
        assert not await store.read(lambda c: told(c, "model", "washer", many))
        assert not await store.read(lambda c: told(c, "model", "washer", []))

    with_store(database, work)
