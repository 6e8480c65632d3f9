"""How long a bad model is on the line: `python -m tests.bench.rollback [--every 0.2]`. A camera that renders parts, a stage, and a
model that calls everything NG: from the switch to the return of the one before, with no plane at all. One line of JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import tempfile
import time
from pathlib import Path

from edge import NewModel, model_home
from edge.app import Daemon
from edge.config.load import load_text
from models.package import SHIPPED

SITE = """
device: {{id: dev-1}}
drivers: {{top: {{driver: camera, url: "pattern:parts?ng=0.1", every: {every}ms}}}}
stages: {{washer: {{stage: inspect, camera: top, model: "updates:washer", keep: none}}}}
"""


def version(state: Path, number: int, limits: tuple[str, str] = ("0.5", "0.2")) -> Path:
    place = model_home(state, "washer") / f"{number}-x"
    shutil.copytree(SHIPPED / "washer", place)
    path = place / "model.yaml"
    text = path.read_text().replace("version: 1", f"version: {number}")
    path.write_text(
        text.replace("ng_above: 0.5", f"ng_above: {limits[0]}").replace("ok_below: 0.2", f"ok_below: {limits[1]}")
    )
    return place


async def measured(folder: Path, every: float) -> dict[str, float]:
    one = version(folder, 1)
    (one.parent / "current").symlink_to(one.name)
    daemon = Daemon(load_text(SITE.format(every=round(every * 1000))), folder)
    stage = dict(daemon.flow.stages)["washer"]
    await daemon.start()
    try:
        while stage._exchange._before.judged < 100:  # type: ignore[attr-defined]
            await asyncio.sleep(0.05)
        bad = await asyncio.to_thread(stage.prepared, version(folder, 2, ("0.0000002", "0.0000001")))  # type: ignore[attr-defined]
        back, parts = asyncio.Event(), 0

        def tell(state: str, reason: str, figures: dict[str, float]) -> None:
            nonlocal parts
            if state == "rolled_back":
                parts = int(figures["parts"])
                back.set()

        began = time.monotonic()
        daemon.flow.tell("washer", NewModel("2", bad, "run", tell))
        async with asyncio.timeout(300):
            await back.wait()
        return {"every_s": every, "parts": parts, "seconds": round(time.monotonic() - began, 2)}
    finally:
        await daemon.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=float, default=0.5, help="seconds between two parts")
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(asyncio.run(measured(Path(name), parser.parse_args().every))))


if __name__ == "__main__":
    main()
