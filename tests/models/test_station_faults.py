"""The faults that a line sees, in a running daemon: what stands in the PLC then, and what people are told (docs/aoi-station.md)."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from drivers.camera.driver import CameraConfig
from drivers.camera.sim import CameraSim
from edge import LinesideError, ask_daemon, events_of
from edge.bench.process import free_port
from models.vision import bench as benches
from models.vision import conform as cases
from models.vision.bench import Bench

ROOT = Path(__file__).parents[2]
WITHIN = 180.0  # seconds, of a busy machine
KINDS = ("camera", "handshake", "source", "station")


class Cell:
    """The shipped station in a daemon of its own, with a camera on a real socket. `told` are its events so far."""

    def __init__(self, folder: Path) -> None:
        self.model = folder / "recipes/mine"
        shutil.copytree(ROOT / "models/packages/washer", self.model)
        for name in ("washer", "washer-coarse", "board-pair"):
            recipe = (ROOT / f"configs/recipes/{name}.yaml").read_text().partition("tests:")[0]
            ours = recipe.replace("model: washer", "model: mine") if name == "washer" else recipe
            (folder / f"recipes/{name}.yaml").write_text(ours)
        (folder / "pairs").symlink_to(ROOT / "configs/pairs")
        url = f"http://127.0.0.1:{free_port()}/?ng=0"
        self.top = CameraSim("top", CameraConfig(driver="camera", url=url))
        text = (ROOT / "configs/aoi-station.yaml").read_text().replace("heartbeat: 1s", "heartbeat: 300ms")
        ours = text.replace('"pattern:parts?ng=0.2&seed=1", on_demand: true', f'"{url}", on_demand: true, timeout: 3s')
        assert ours.count(url) == 1
        (folder / "station.yaml").write_text(ours)
        self.bench, self.home = Bench(folder / "station.yaml"), folder / "home"
        self.home.mkdir()

    def told(self, kind: str, key: str, state: str, words: str = "") -> bool:
        try:
            found = list(events_of(self.home / "state/journal.db", *KINDS))
        except LinesideError:
            return False
        return any((e.kind, e.key, e.state) == (kind, key, state) and words in e.text for e in found)

    async def until(self, true: Callable[[], object], what: str) -> None:
        assert await self.bench.until(true, WITHIN), f"{what}; the daemon says: {self.bench.said()}"

    async def verdict(self, wanted: Callable[[str], bool], what: str) -> None:
        """Let parts come until the PLC reads such a verdict."""
        plc, before = self.bench.plc, len(self.bench.plc.results)
        plc.resting, plc.next_part = False, 0
        await self.until(lambda: any(wanted(state) for _, state in plc.results[before:]), what)
        plc.resting = True
        await self.until(lambda: not (plc.trigger or plc.ack or self.bench.see("busy")), "the part is through")

    async def applied(self) -> None:
        """The site as it is, as by `lineside apply`. Raises LinesideError where it is refused."""
        request = {"do": "apply", "site": str(self.home / "site.yaml"), "trial": 0}
        await asyncio.to_thread(ask_daemon, self.home / "state", request, WITHIN)

    async def goes_on(self) -> None:
        await self.until(lambda: self.bench.see("ready"), "`ready` comes back")
        await self.verdict(lambda state: state != "recheck", "a verdict that is none of the fault")


@pytest.fixture
def cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cell:
    pytest.importorskip("ai_edge_litert", reason="no TFLite engine is installed: make setup brings LiteRT")
    monkeypatch.setattr(benches, "LOCAL", (*benches.LOCAL, "http"))  # our camera is of this machine
    monkeypatch.setattr(cases, "SLACK", WITHIN)
    return Cell(tmp_path)


def run(cell: Cell, body: Coroutine[Any, Any, None]) -> None:
    async def whole() -> None:
        await cell.top.start()
        async with cell.bench.running(cell.home):
            await body
        await cell.top.stop()

    asyncio.run(whole())


@pytest.mark.system
def test_cable_camera_product_and_model_each_have_their_state_at_the_plc_and_an_event(cell: Cell) -> None:
    async def body() -> None:
        await cell.goes_on()
        await pulled_cable(cell)
        await frozen_camera(cell)
        await silent_camera(cell)
        await wrong_product(cell)
        await corrupted_model(cell)
        assert not (fault := await cases.none_lost(cell.bench)), fault

    run(cell, body())


@pytest.mark.system
def test_ready_waits_for_a_camera_that_is_slow_to_open(cell: Cell) -> None:
    cell.top.silent = True  # it accepts, and sends nothing

    async def body() -> None:
        bench = cell.bench
        await cell.until(lambda: cell.told("station", "aoi", "not_ready", "top has not opened yet"), "it says why")
        await cell.until(lambda: {"recipe", "heartbeat"} <= {name for _, name, _ in bench.log}, "it talks to the PLC")
        assert ("ready", 1.0) not in {(name, value) for _, name, value in bench.log}
        cell.top.silent = False
        await cell.goes_on()
        assert all(state != "recheck" for _, state in bench.plc.results), bench.plc.results

    run(cell, body())


async def pulled_cable(cell: Cell) -> None:
    await cell.until(lambda: cell.bench.see("ready") and not cell.bench.see("taken"), "nothing is under way")
    await cell.bench.pull()
    await cell.until(lambda: cell.told("handshake", "aoi.lost", "raised"), "that the PLC does not answer is told")
    assert cell.bench.see("ready"), "what stood in the PLC stands there still"
    await cell.bench.plug()
    await cell.until(lambda: cell.told("handshake", "aoi.lost", "cleared"), "that it answers again is told")
    await cell.goes_on()


async def frozen_camera(cell: Cell) -> None:
    cell.top.frozen = True
    await cell.verdict(lambda state: state == "recheck", "a recheck of a part that a frozen camera saw")
    await cell.until(lambda: cell.told("camera", "aoi.top", "frozen"), "that the camera hangs is told")
    cell.top.frozen = False
    await cell.goes_on()
    await cell.until(lambda: cell.told("camera", "aoi.top", "moves"), "that it moves again is told")


async def silent_camera(cell: Cell) -> None:
    """Connected, and no picture any more."""
    cell.top.silent = True
    await cell.verdict(lambda state: state == "recheck", "a recheck of a part without its picture")
    await cell.until(lambda: not cell.bench.see("ready"), "`ready` falls")
    await cell.until(lambda: cell.told("source", "top", "lost"), "the lost camera is told")
    await cell.until(lambda: cell.told("station", "aoi", "not_ready", "top is lost"), "and why it is not ready")
    cell.top.silent = False
    await cell.goes_on()


async def wrong_product(cell: Cell) -> None:
    assert not (fault := await cases.wrong_product(cell.bench)), fault
    await cell.until(lambda: cell.told("station", "aoi", "not_ready", "no recipe for product '1'"), "it says why")
    await cell.until(lambda: cell.told("handshake", "aoi.refused", "refused"), "the refused trigger is told")


async def corrupted_model(cell: Cell) -> None:
    """While it runs the model that proved itself judges on; what a restart finds is refused. No verdict is lost by that."""
    weights = cell.model / "washer.tflite"
    sound = weights.read_bytes()
    weights.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    why = "is not the file that model.yaml names"
    with pytest.raises(LinesideError, match=why):
        await cell.applied()
    await cell.goes_on()
    await cell.bench.kill()
    await cell.bench.start()
    await cell.until(lambda: cell.told("station", "aoi", "not_ready", why), "the refused model is told")
    await cell.until(lambda: not (cell.bench.see("ready") or cell.bench.see("recipe")), "`ready` and `recipe` fall")
    weights.write_bytes(sound)
    await cell.applied()
    await cell.goes_on()
