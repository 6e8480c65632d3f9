"""A configuration from the plane's layers to what the device reads, and back: kept, rolled back alone, drafted, adopted."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from sqlalchemy import insert

from edge import LinesideError
from edge import sent as edge_sent
from edge.app import Daemon
from edge.apply import apply_site
from edge.config.load import load
from edge.sent import Sent
from sync.control_plane import config, config_send, tables
from sync.control_plane.twin import Told, Want, told, wanted
from sync.device import twin as device_twin
from tests.sync.test_spine import Rig as Spine
from tests.sync.test_spine import both_ways

OWN = """
device: {{id: dev-1}}
drivers:
  plc: {{driver: modbus, url: "tcp://127.0.0.1:{port}", every: 50ms, tags: {{temp: {{address: "holding:0", type: int16}}}}}}
journal: {{block: 300ms, durable_within: 100ms}}
sync: {{url: "{url}", live: 100ms, installs: [config]}}
"""
GOOD = """
drivers:
  plc:
    driver: modbus
    url: "tcp://127.0.0.1:{port}"
    every: 50ms
    tags: {{temp: {{address: "holding:0", type: int16, scale: 0.1}}}}
journal: {{block: 300ms, durable_within: 100ms}}
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge_sent, "TRIAL", 0.4)
    monkeypatch.setattr(device_twin, "LOOK", 0.05)


class Rig(Spine):
    """Its device has a site file, as one that `lineside run` runs."""

    @property
    def file(self) -> Path:
        return self.folder / "press.yaml"

    async def device_starts(self) -> None:
        if not self.file.exists():
            access = self.plane.where.broker
            url = access.url if access else self.plane.url
            self.file.write_text(OWN.format(port=self.sim.port, url=url))
        sent = Sent(self.folder / "dev", self.file)
        chosen = sent.chosen(load(self.file))
        assert not chosen.problems
        self.daemon = Daemon(chosen, self.folder / "dev", sent=sent)
        await self.daemon.start()

    async def sends(self, body: str, again: bool = False) -> str:
        """Put the device's layer and send it; the version."""
        body = body.format(port=self.sim.port)
        await self.plane.store.write(lambda c: config.put(c, "device/dev-1", body, "anna"))
        (made,) = await config_send.send(self.plane.store, "device/dev-1", "anna", self.plane.ingest.want, again)
        assert not made.after.problems, made.after.problems
        return made.after.version

    async def says(self, state: str, words: str = "") -> Told:
        """What the plane knows of the device once it is that, of what is wanted now."""

        async def found() -> Told | None:
            now = [w.generation for w in await self.plane.store.read(lambda c: wanted(c, "dev-1"))]
            rows = await self.plane.store.read(lambda c: told(c, "config", "site"))
            return next((t for t in rows if t.state == state and t.generation in now and words in t.reason), None)

        one: Told = await self.until(found)
        return one

    async def stands(self) -> dict[str, Any]:
        return await config_send.stands(self.plane.store, "dev-1")


def rig(folder: Path, work: Any, way: str = "https") -> None:
    async def main() -> None:
        async with Rig(folder, way) as it:
            await work(it)

    asyncio.run(main())


@both_ways
def test_what_is_sent_runs_and_is_told_and_runs_after_a_restart(tmp_path: Path, way: str) -> None:
    async def work(it: Rig) -> None:
        it.sim.set("temp", 85)
        before = it.daemon.readers["sync"].tasks
        version = await it.sends(GOOD)
        now = await it.says("running")
        assert (now.running, now.tried, now.reason) == (version, version, "")
        assert it.daemon.live.show("plc.temp")["value"] == 8.5
        assert it.daemon.readers["sync"].tasks is before, "the link did not change"
        await it.daemon.stop()
        await it.plane.stop()
        await it.device_starts()  # nobody is there

        async def reads() -> bool:
            return bool(it.daemon.live.show("plc.temp")["value"] == 8.5)

        await it.until(reads)
        assert it.daemon.sent.running == version
        await it.plane_starts()
        assert (await it.stands())["told"]["state"] == "running"

    rig(tmp_path, work, way)


def test_a_change_of_the_link_itself_goes_through(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        before = it.daemon.readers["sync"].tasks
        version = await it.sends(GOOD + "sync: {{live: 200ms}}\n")
        assert (await it.says("running")).running == version
        assert it.daemon.readers["sync"].tasks is not before, "the uplink is another one since"
        assert it.daemon.config.sections["sync"].url == it.plane.url and it.daemon.config.sections["sync"].live == 0.2

    rig(tmp_path, work)


def test_a_bad_one_is_rolled_back_with_nobody_there_and_told_later(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        good = await it.sends(GOOD)
        await it.says("running")
        bad = await it.sends(GOOD.replace("holding:0", "holding:60000"))

        async def on_trial() -> bool:
            return bool(it.daemon.sent.stands.trying)

        await it.until(on_trial)
        await it.plane.stop()

        async def over() -> bool:
            return bool(it.daemon.sent.stands.ended.state == "rolled_back")

        await it.until(over)
        assert it.daemon.sent.running == good
        await it.plane_starts()
        now = await it.says("rolled_back")
        assert (now.running, now.tried) == (good, bad) and now.reason == "plc gave no good sample"

        async def reads() -> bool:
            return it.daemon.live.show("plc.temp")["quality"] == "GOOD"

        await it.until(reads)
        await it.daemon.stop()
        await it.device_starts()
        assert (await it.says("rolled_back")).running == good and it.daemon.sent.stands.trying == "", (
            "it is not tried again"
        )

    rig(tmp_path, work)


def test_killed_on_trial_the_old_one_runs_and_that_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(it: Rig) -> None:
        good = await it.sends(GOOD)
        await it.says("running")
        monkeypatch.setattr(edge_sent, "TRIAL", 300)
        await it.sends(GOOD.replace("scale: 0.1", "scale: 0.2"))

        async def on_trial() -> bool:
            return it.daemon.config.drivers["plc"].points()["temp"].model_dump()["scale"] == 0.2

        await it.until(on_trial)
        await it.daemon.stop()
        await it.device_starts()
        now = await it.says("rolled_back", "cut off in the middle of its trial")
        assert now.running == good and it.daemon.sent.running == good

    rig(tmp_path, work)


def test_what_an_engineer_writes_is_told_adopted_and_left(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        good = await it.sends(GOOD)
        await it.says("running")
        own = await asyncio.to_thread(it.file.read_text)
        await asyncio.to_thread(it.file.write_text, own.replace("every: 50ms", "every: 20ms"))
        now = await it.says("running", "press.yaml was edited since and does not run: drivers.plc.every: 50ms -> 20ms")
        assert now.running == good

        async def drifts() -> bool:
            return "drivers.plc.every: 50ms -> 20ms" in (await it.stands())["drift"]

        await it.until(drifts)
        await apply_site(it.daemon, it.file, 0.3)
        now = await it.says("draft", "press.yaml was applied at the device and runs")
        assert (now.running, now.tried) == ("", good)
        layer = await config_send.adopt(it.plane.store, "dev-1", "anna", it.plane.ingest.want)
        assert layer.place == "device/dev-1@2" and "every: 20ms" in layer.body
        now = await it.says("running")
        assert now.running == (await it.stands())["version"] and it.daemon.config.drivers["plc"].period() == 0.02

        async def no_draft() -> bool:
            return not (await it.stands())["drift"]

        await it.until(no_draft)
        await apply_site(it.daemon, it.file, 0.3)
        await it.says("draft")
        await config_send.revert(it.plane.store, "dev-1", "anna", it.plane.ingest.want)
        await it.says("running")
        await it.until(no_draft)
        assert "20ms" in await asyncio.to_thread(it.file.read_text), "nobody wrote to the person's file"

    rig(tmp_path, work)


def test_a_draft_that_the_plane_does_not_take_disturbs_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(config, "MOST_DRAFT", 10)

    async def work(it: Rig) -> None:
        await it.sends(GOOD)
        await it.says("running")
        own = await asyncio.to_thread(it.file.read_text)
        await asyncio.to_thread(it.file.write_text, own.replace("every: 50ms", "every: 20ms"))

        async def told() -> bool:
            return "cannot show what was written at this device" in caplog.text

        await it.until(told)
        await it.sends(GOOD.replace("scale: 0.1", "scale: 0.2"))
        await it.says("running")
        assert "kept and tried again" not in caplog.text and caplog.text.count("cannot show") == 1

    rig(tmp_path, work)


def test_nothing_wanted_any_more_is_the_devices_own_again(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        await it.sends(GOOD)
        await it.says("running")
        await it.plane.ingest.want([Want("dev-1", "config", "site", "")])
        now = await it.says("running")
        assert now.running == "" and it.daemon.sent.running == ""
        await it.plane.ingest.want([Want("dev-1", "config", "other", "0" * 16)])

        async def refused() -> bool:
            rows = await it.plane.store.read(lambda c: told(c, "config", "other"))
            return bool(rows and "a device has one configuration" in rows[0].reason)

        await it.until(refused)

    rig(tmp_path, work)


def test_what_is_allowed_no_more_is_told_so(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        version = await it.sends(GOOD)
        assert (await it.says("running")).running == version
        own = await asyncio.to_thread(it.file.read_text)
        await it.daemon.stop()
        await asyncio.to_thread(it.file.write_text, own.replace("installs: [config]", "installs: []"))
        await it.device_starts()
        assert it.daemon.sent.running == ""
        now = await it.says("refused", "`sync: {installs: [config]}`")
        assert (now.running, now.tried) == ("", version)

    rig(tmp_path, work)


def test_a_document_that_is_not_what_was_wanted_is_not_taken(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        t = tables.config_document
        await it.plane.store.write(
            lambda c: c.execute(insert(t).values(version="0" * 16, at=0, body=GOOD.format(port=1), origins="{}"))
        )
        await it.plane.ingest.want([Want("dev-1", "config", "site", "0" * 16)])
        now = await it.says("refused")
        assert now.reason == "what the plane gave is not the configuration that it wants" and now.running == ""
        assert it.daemon.sent.running == ""
        draft = (
            await asyncio.to_thread(it.file.read_text)
        ) + "tags: {{twice: {{expression: plc.temp * 2}}}}\n".format()
        await it.sends(GOOD)
        await it.says("running")
        await asyncio.to_thread(it.file.write_text, draft)
        await it.says("running", "was edited since")
        told_so = [state for key, state in await it.events("twin")]
        assert told_so == ["refused", "trying", "running", "running"], "what was refused was looked at meanwhile"

    rig(tmp_path, work)


def test_a_site_may_take_signed_ones_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tuf", reason="needs the updates extra")
    from sync.device.update_commands import opened
    from tests.sync.signers import Signers

    monkeypatch.setenv("LINESIDE_FLOOR", str(tmp_path / "floor"))
    monkeypatch.setattr(device_twin, "AGAIN", 0.1)

    async def work(it: Rig) -> None:
        own = await asyncio.to_thread(it.file.read_text)
        await it.daemon.stop()
        await asyncio.to_thread(
            it.file.write_text, own.replace("installs: [config]", "installs: [config], signed: true")
        )
        signers = Signers(it.folder / "plane" / "updates")
        await asyncio.to_thread(signers.begin)
        root = await asyncio.to_thread((signers.folder / "metadata" / "1.root.json").read_bytes)
        await asyncio.to_thread(lambda: opened("dev-1", it.folder / "dev", []).trust(root))
        await it.device_starts()
        it.sim.set("temp", 85)
        await it.sends(GOOD)
        now = await it.says("refused", "this site takes no configuration that is not signed")
        assert it.daemon.live.show("plc.temp")["value"] in (85, None) and now.running == ""
        await asyncio.to_thread(signers.add, "config/press-3.1", GOOD.format(port=it.sim.port).encode())

        async def want(version: str) -> None:
            devices = await config_send.want_signed(
                it.plane.store, "device/dev-1", version, "anna", it.plane.ingest.want, lambda _: True
            )
            assert devices == ["dev-1"]

        await want("press-3.1")
        assert (await it.says("running")).running == "press-3.1"
        assert it.daemon.live.show("plc.temp")["value"] == 8.5
        await it.daemon.stop()
        await it.device_starts()
        assert it.daemon.sent.running == "press-3.1", "and after a restart"
        await want("press-4")
        assert (await it.says("waiting", "press-4")).running == "press-3.1", "nobody signed that"
        with pytest.raises(LinesideError, match="KIND/NAME-VERSION"):
            await want("Press/4")

    rig(tmp_path, work)
