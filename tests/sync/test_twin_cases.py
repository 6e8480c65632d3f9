"""The plane's fault cases on the device: they come by themselves, whole or not at all, and stay without the plane."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from sqlalchemy import update

from edge import CASES_OF_PLANE, Case, LinesideError, events_of, joined_cases, packed_case
from edge.app import Daemon
from edge.config.load import load_text
from sync.control_plane import cases, tables
from sync.control_plane.store import Store
from sync.control_plane.twin import Told, told, wanted
from sync.device import twin_cases
from sync.device.transport import Refused
from sync.device.twin import Want
from sync.device.twin_cases import CasesHandler
from tests.sync.stored import with_store
from tests.sync.tenants import FOREIGN, OWN, PLACES
from tests.sync.test_pieces import Says
from tests.sync.test_spine import SITE
from tests.sync.test_spine import Rig as Spine

STAGE = "stages: {known: {stage: cases}}\n"


def case(name: str, **said: Any) -> Case:
    return Case.model_validate({"id": name, "symptom": f"{name} hums", "signature": {"alarm": "hot"}, **said})


class Rig(Spine):
    """Its device takes the plane's cases, and has none of its own."""

    async def device_starts(self) -> None:
        text = SITE.format(port=self.sim.port, url=self.plane.url).replace(
            "live: 100ms", "live: 100ms, installs: [cases]"
        )
        config = load_text(text + STAGE)
        assert not config.problems, config.problems
        self.daemon = Daemon(config, self.folder / "dev")
        await self.daemon.start()

    async def keeps(self, place: str, *some: Case) -> None:
        _, _, devices = await self.plane.store.write(lambda c: cases.take_in(c, place, cases.ready(some), "li"))
        self.plane.ingest.nudge(devices)

    async def runs(self) -> Told:
        """What the device says of the set that is wanted by now."""

        async def found() -> Told | None:
            rows = await self.plane.store.read(lambda c: told(c, "cases", "cases", ["dev-1"]))
            (want,) = await self.plane.store.read(lambda c: wanted(c, "dev-1")) or [None]
            return next((t for t in rows if want and (t.generation, t.state) == (want.generation, "running")), None)

        one: Told = await self.until(found)
        return one

    async def happens(self) -> list[str]:
        """The alarm comes once more; what the device tells of each so far."""
        before = len(self.said())
        self.sim.set("temp", 20)
        await self.until(self._cleared)
        self.sim.set("temp", 85)

        async def more() -> bool:
            return len(self.said()) > before

        await self.until(more)
        return self.said()

    async def _cleared(self) -> bool:
        found = [event.state for event in events_of(self.folder / "dev" / "journal.db", "alarm") if event.key == "hot"]
        return not found or found[-1] != "raised"

    def said(self) -> list[str]:
        return [event.text for event in events_of(self.folder / "dev" / "journal.db", "cases")]


def test_a_case_of_the_plane_is_told_after_an_alarm_also_without_the_plane(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        assert (await it.runs()).reason == twin_cases.NONE
        await it.keeps("", case("A", cause="dry"))
        first = await it.runs()
        assert (
            first.running
            == first.tried
            == hashlib.sha256((it.folder / "dev" / CASES_OF_PLANE).read_bytes()).hexdigest()[:16]
        )
        assert await it.happens() == ["like A (100%): A hums; its cause: dry"]
        await it.keeps("elsewhere", case("B"))
        await it.keeps("", case("A", cause="no grease"))  # and no restart
        assert (await it.runs()).running != first.running
        assert (await it.happens())[-1] == "like A (100%): A hums; its cause: no grease"
        await it.daemon.stop()
        await it.plane.stop()
        await it.device_starts()
        assert (await it.happens())[-1] == "like A (100%): A hums; its cause: no grease"
        assert len(it.said()) == 3
        await it.plane_starts()
        await it.plane.store.write(lambda c: cases.take_in(c, "", cases.ready([case("A", cause="worn")]), "li"))

        async def newest() -> bool:
            return b"worn" in (it.folder / "dev" / CASES_OF_PLANE).read_bytes()

        await it.until(newest)

    async def main() -> None:
        async with Rig(tmp_path) as it:
            await work(it)

    asyncio.run(main())


def test_what_serves_a_device_is_wanted_of_it_wherever_it_stands(database: str) -> None:
    async def work(store: Store) -> None:
        async def write(of: Any) -> Any:
            return await store.write(of)

        async def has(device: str) -> set[str]:
            (want,) = [row for row in await store.read(lambda c: wanted(c, device)) if row.kind == "cases"]
            size, body = await store.read(lambda c: cases.part(c, device, want.version, 0, 10**6)) or (0, b"")
            assert size == len(body)
            return {f"{one['id']}@{one['cause']}" for one in json.loads(body or b'{"cases": []}')["cases"]}

        for device, place in PLACES.items():
            row = {"id": device, "secret": "", "enrolled": 1.0, "seen": 1.0, "site": place}
            await write(lambda c, r=row: c.execute(tables.device.insert().values(r)))
        await write(
            lambda c: cases.take_in(c, "acme", cases.ready([case("A", cause="acme"), case("B", cause="acme")]), "li")
        )
        for device in (OWN, FOREIGN):
            await write(lambda c, d=device: cases.give(c, d))
        assert await has(OWN) == {"A@acme", "B@acme"} and await has(FOREIGN) == set()
        near = [case("A", cause="line")]
        assert (await write(lambda c: cases.take_in(c, PLACES[OWN], cases.ready(near), "li")))[2] == {OWN}
        assert await has(OWN) == {"A@line", "B@acme"}, "the nearest of the same id"
        assert (await write(lambda c: cases.take_in(c, "acme/other", cases.ready([case("A", cause="other")]), "li")))[
            2
        ] == set()
        assert (await write(lambda c: cases.take_in(c, "", cases.ready([case("R", cause="root")]), "root")))[2] == {
            OWN,
            FOREIGN,
        }
        moved = update(tables.device).where(tables.device.c.id == FOREIGN).values(site="acme/other/line")
        await write(lambda c: (c.execute(moved), cases.spread(c, "acme/other/line")))
        assert await has(FOREIGN) == {"A@other", "B@acme", "R@root"}
        versions = {row.version for row in await store.read(lambda c: wanted(c, OWN))}
        foreign = await store.read(lambda c: wanted(c, FOREIGN))
        assert not versions & {row.version for row in foreign}
        assert await store.read(lambda c: cases.part(c, OWN, foreign[0].version, 0, 100)) is None

    with_store(database, work)


def handler(folder: Path, *answers: Any) -> tuple[CasesHandler, list[tuple[str, str]], Any]:
    said: list[tuple[str, str]] = []
    host: Any = SimpleNamespace(folder=folder)
    return CasesHandler(host, Says(*answers)), said, lambda state, reason="": said.append((state, reason))


def wants(body: bytes) -> Want:
    return Want("cases", "cases", hashlib.sha256(body).hexdigest()[:16], "run", 1)


def test_a_bad_copy_leaves_the_one_that_was_there(tmp_path: Path) -> None:
    good = joined_cases([packed_case(case("A"))])
    twice = joined_cases([packed_case(case("A"))] * 2)

    async def main() -> None:
        for body, fault in ((b"no json", "what the plane gave: Invalid JSON"), (twice, "holds a case twice")):
            (tmp_path / CASES_OF_PLANE).write_bytes(good)
            take, said, tell = handler(tmp_path, *[[len(body), body]] * 2)
            with pytest.raises(LinesideError, match=fault) as refused:
                await take(wants(body), tell)
            assert not refused.value.heals and take.running("cases") == wants(good).version
            for _ in range(3):  # as after a restart: it breaks off no line, and is asked for once more
                await take.look(wants(body), tell)
            assert [state for state, _ in said] == ["trying", "refused"]
        take, said, tell = handler(tmp_path, *[[10**6 + 1, b"x"]] * 2)
        with pytest.raises(Refused, match="at most 1,000,000"):
            await take(wants(b"large"), tell)
        await take.look(wants(b"large"), tell)
        assert said == [("trying", "")], "what may be had later leaves what was told"
        with pytest.raises(LinesideError, match="16 digits"):
            await take(wants(b"")._replace(version="../../../../etc"), tell)
        assert [name for name in os.listdir(tmp_path) if not name.endswith(".part")] == [CASES_OF_PLANE]
        assert (tmp_path / CASES_OF_PLANE).read_bytes() == good

    asyncio.run(main())


def test_a_copy_that_was_lost_comes_again_and_one_that_is_not_wanted_goes(tmp_path: Path) -> None:
    good = joined_cases([packed_case(case("A"))])

    async def main() -> None:
        take, said, tell = handler(tmp_path, [len(good), good[:7]], [len(good), good[7:]])
        await take.look(wants(good), tell)
        assert said == [("running", "")] and (tmp_path / CASES_OF_PLANE).read_bytes() == good
        assert os.listdir(tmp_path) == [CASES_OF_PLANE]
        await take(wants(good), tell)
        sparing = CasesHandler(SimpleNamespace(folder=tmp_path), Says(), 0, lambda: "wait until midnight")  # type: ignore[arg-type]
        with pytest.raises(LinesideError, match="cases wait until midnight") as later:
            await sparing(wants(b"others"), tell)
        assert later.value.heals
        await take(wants(good)._replace(version=""), tell)
        assert said[1:] == [("running", ""), ("running", twin_cases.NONE)] and not os.listdir(tmp_path)

    asyncio.run(main())
