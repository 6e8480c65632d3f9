"""Models that the plane wants: brought, proved, in shadow, on trial and back, by a daemon that goes on judging all the while."""

from __future__ import annotations

import asyncio
import io
import shutil
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")
pytest.importorskip("tuf", reason="needs the updates extra")
pytest.importorskip("ai_edge_litert", reason="needs the vision extra")

from sqlalchemy import select

from edge import CANDIDATE, CURRENT, model_home, version_of
from edge.app import Daemon
from edge.config.load import load_text
from models.package import SHIPPED
from sync.control_plane import tables
from sync.control_plane.twin import Told, Want, told
from sync.device import twin as device_twin
from sync.device import twin_models, twin_updates
from sync.device.update_commands import opened
from tests.sync.signers import Signers
from tests.sync.test_spine import Rig

SITE = """
device: {{id: dev-1}}
drivers: {{top: {{driver: camera, url: "pattern:parts?ng=0.2", every: 80ms}}}}
stages: {{washer: {{stage: inspect, camera: top, model: "updates:washer", keep: none, trial: {trial}}}}}
journal: {{block: 300ms, durable_within: 100ms}}
sync: {{url: "{url}", live: 100ms, installs: [model]}}
"""


def packed(number: str, ng_above: float = 0.5, ok_below: float = 0.2) -> bytes:
    """The shipped model as a version of its own, which may judge otherwise than its golden vectors can tell."""
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as out:
        for path in (SHIPPED / "washer").iterdir():
            text = path.read_bytes()
            if path.name == "model.yaml":
                limits = f"ng_above: {ng_above:.7f}\nok_below: {ok_below:.7f}\n"
                kept = path.read_text().replace("ng_above: 0.5\nok_below: 0.2\n", limits)
                text = kept.replace("version: 1", f"version: {number.partition('.')[0]}").encode()
            out.writestr(path.name, text)
    return body.getvalue()


class Line(Rig):
    """A camera and a plane with a repository; the model `washer` comes by updates alone."""

    trial = "1s"

    async def plane_starts(self) -> None:
        await super().plane_starts()
        self.signers = Signers(self.folder / "plane" / "updates")

    async def device_starts(self) -> None:
        if not (self.folder / "dev" / "updates").exists():
            self.signers.begin()
            updates = opened("dev-1", self.folder / "dev", [])
            updates.trust((self.signers.folder / "metadata" / "1.root.json").read_bytes())
        config = load_text(SITE.format(url=self.plane.url, trial=self.trial))
        assert not config.problems, config.problems
        self.daemon = Daemon(config, self.folder / "dev")
        await self.daemon.start()

    async def publish(self, version: str, **limits: float) -> None:
        body = packed(version, **limits)
        await asyncio.to_thread(self.signers.add, f"model/washer-{version}", body)

    async def want(self, version: str, stage: str = "run") -> None:
        await self.plane.ingest.want([Want("dev-1", "model", "washer", version, stage)])

    async def says(self, state: str, version: str) -> Told:
        async def found() -> Told | None:
            rows = await self.plane.store.read(lambda c: told(c, "model", "washer", ["dev-1"]))
            return next((one for one in rows if one.state == state and version in (one.tried, one.running)), None)

        one: Told = await self.until(found)
        return one

    async def says_state(self, state: str, words: str = "") -> Told:
        async def found() -> Told | None:
            rows = await self.plane.store.read(lambda c: told(c, "model", "washer", ["dev-1"]))
            return next((one for one in rows if one.state == state and words in one.reason), None)

        one: Told = await self.until(found)
        return one

    async def records(self, kind: str) -> list[Any]:
        t = tables.event
        asked = select(t).where(t.c.kind == kind).order_by(t.c.seq)
        return list(await self.plane.store.read(lambda c: c.execute(asked).all()))

    @property
    def home(self) -> Path:
        return model_home(self.folder / "dev", "washer")

    @property
    def runs(self) -> str:
        return version_of(self.home / CURRENT)

    async def runs_first(self) -> None:
        """Version 1 is published, wanted and runs."""
        await self.publish("1")
        await self.want("1")
        await self.says("running", "1")

    async def judged(self, parts: int = 30) -> None:
        """So many more parts."""
        done = self.daemon.health.part("top").counts["frames"] + parts

        async def more() -> bool:
            return self.daemon.health.part("top").counts["frames"] >= done

        await self.until(more)


def line(
    folder: Path, work: Callable[[Line], Awaitable[None]], monkeypatch: pytest.MonkeyPatch, trial: str = "1s"
) -> None:
    monkeypatch.setenv("LINESIDE_FLOOR", str(folder / "floor"))
    monkeypatch.setattr(device_twin, "AGAIN", 0.2)
    monkeypatch.setattr(twin_updates, "FIRST_WAIT", 0)
    monkeypatch.setattr(twin_models, "LOOK", 0.1)

    async def main() -> None:
        it = Line(folder)
        it.trial = trial
        async with it:
            await work(it)

    asyncio.run(main())


def test_a_models_life_on_a_box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one, the next in shadow and then on trial; one that calls everything NG is out again, with no plane."""

    async def work(it: Line) -> None:
        await it.publish("1")
        await it.want("1")
        assert "the first one" in (await it.says("running", "1")).reason
        assert it.runs == "1" and it.daemon.health.part("washer").counts["failed"] == 0
        await it.judged(60)

        await it.publish("2")
        await it.want("2", "shadow")
        await it.says("shadow", "2")
        assert (it.runs, version_of(it.home / CANDIDATE)) == ("1", "2")

        async def tallied() -> bool:
            return any('"parts": 30' in row.data for row in await it.records("model") if row.state == "shadow")

        await it.until(tallied)
        await it.want("2")
        said = await it.says("running", "2")
        assert it.runs == "2" and version_of(it.home / CANDIDATE) == "", said
        await it.judged(60)

        await it.publish("3", ng_above=0.0000002, ok_below=0.0000001)
        await it.want("3")

        async def tried() -> bool:
            stage = dict(it.daemon.flow.stages)["washer"]
            return stage._exchange.trial is not None or stage._exchange.judges.known.startswith("washer 3")

        await it.until(tried)
        await it.plane.stop()

        async def back() -> bool:
            stage = dict(it.daemon.flow.stages)["washer"]
            return stage._exchange.trial is None and stage._exchange.judges.known.startswith("washer 2")

        await it.until(back)
        assert it.runs == "2"
        await it.plane_starts()
        said = await it.says("rolled_back", "3")
        assert "its verdicts drift" in said.reason and said.running == "2"

        async def all_there() -> bool:
            frames = it.daemon.health.part("top").counts["frames"]
            return len(await it.records("inspection")) >= frames > 0

        await it.daemon._end(it.daemon.drivers.values())
        await it.until(all_there)
        rows = await it.records("inspection")
        models = [row.data.split('"model": "')[1][:8] for row in rows if '"model"' in row.data]
        assert {"washer 1", "washer 2", "washer 3"} == set(models)
        assert not [row for row in rows if "cannot be judged" in row.text and "no model washer" not in row.text]

    line(tmp_path, work, monkeypatch)


def test_what_is_not_signed_waits_and_what_does_not_prove_itself_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(it: Line) -> None:
        await it.want("1")

        async def waits() -> bool:
            rows = await it.plane.store.read(lambda c: told(c, "model", "washer", ["dev-1"]))
            return any(row.state == "waiting" and "nobody signed model/washer-1" in row.reason for row in rows)

        await it.until(waits)
        await asyncio.to_thread(it.signers.add, "model/washer-2", b"no zip")
        await it.want("2")
        rows = await it.says_state("refused")
        assert "is no package" in rows.reason and it.runs == ""
        await it.publish("1")
        await it.want("1", "shadow")
        assert "no version of washer runs here" in (await it.says_state("refused", "no version")).reason

    line(tmp_path, work, monkeypatch)


def test_one_that_takes_the_daemon_along_is_given_up_after_three_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(it: Line) -> None:
        await it.runs_first()
        await it.publish("2")
        await it.want("2")
        for _ in range(twin_models.MOST_STARTS):

            async def on_trial() -> bool:
                return dict(it.daemon.flow.stages)["washer"]._exchange.trial is not None

            await it.until(on_trial)
            assert it.runs == "1", "whatever ends the daemon now, the next start runs the one before"
            await it.daemon.stop()
            await it.device_starts()
        said = await it.says_state("refused")
        assert "the daemon ended 3 times while it was on trial" in said.reason and said.running == "1"
        assert version_of(it.home / CANDIDATE) == ""

    line(tmp_path, work, monkeypatch, trial="1h")


def test_a_shadow_goes_on_after_a_restart_and_after_another_site_with_no_plane(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(it: Line) -> None:
        await it.runs_first()
        await it.publish("2")
        await it.want("2", "shadow")
        await it.says("shadow", "2")
        await it.plane.stop()

        async def beside() -> bool:
            return dict(it.daemon.flow.stages)["washer"]._exchange.shadow is not None

        await it.daemon.stop()
        await it.device_starts()
        await it.until(beside)
        await it.daemon.change(load_text(SITE.format(url=it.plane.url, trial="2s")))
        assert not await beside()
        await it.until(beside)
        await it.plane_starts()
        await it.want("1")
        await it.says("running", "1")
        assert not await beside() and version_of(it.home / CANDIDATE) == ""

    line(tmp_path, work, monkeypatch)


def test_what_ran_here_before_is_back_without_a_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(it: Line) -> None:
        for version in ("1", "2"):
            await it.publish(version)
            await it.want(version)
            await it.says("running", version)
        it.trial = "1h"
        await it.daemon.stop()
        await it.device_starts()
        await it.want("1")
        assert "back without a trial" in (await it.says("running", "1")).reason
        shutil.rmtree(it.signers.folder / "targets")  # it lies here
        await it.want("2")
        await it.says("running", "2")

    line(tmp_path, work, monkeypatch)


def test_what_is_wanted_instead_of_one_on_trial_does_not_wait_for_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(it: Line) -> None:
        await it.runs_first()
        await it.publish("2")
        it.trial = "1h"
        await it.daemon.stop()
        await it.device_starts()
        await it.want("2")
        await it.says_state("trying", "in place of washer 1")
        await it.want("3")  # nobody has signed it yet
        assert "nobody signed" in (await it.says_state("waiting")).reason
        (last,) = (await it.records("model"))[-1:]
        assert (last.state, last.text, it.runs) == ("rolled_back", "another model is wanted", "1")

    line(tmp_path, work, monkeypatch)


def test_a_trial_that_outlasts_its_turn_is_gone_on_with_and_its_end_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(it: Line) -> None:
        await it.runs_first()
        await it.judged(40)
        monkeypatch.setattr(twin_models, "PATIENCE", 2)
        await it.publish("2", ng_above=0.0000002, ok_below=0.0000001)
        await it.want("2")
        await it.says_state("rolled_back", "its verdicts drift")
        kinds = [row.state for row in await it.records("model")]
        assert kinds.count("trying") == kinds.count("rolled_back") == 1, "it is not tried a second time"
        states = [row.state for row in await it.records("twin")]
        assert "waiting" in states and it.runs == "1"

    line(tmp_path, work, monkeypatch)
