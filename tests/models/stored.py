"""A journal with parts that a recipe judged, made by what judges at the station."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge import Event, Frame, Picture
from edge.app import Daemon
from edge.config.load import load_text
from models.quality.chain import Chain
from models.vision.judging import judge
from models.vision.part import Part
from models.vision.recipe import Recipe, load
from tests.waiting import run

SITE = "device: {id: aoi-7}\ndrivers: {}\n"
T0 = 1_790_000_000_000_000_000
DAY = 86_400_000_000_000
RECIPE = """\
recipe: board A
views:
  top:
    camera: top
    template: good.png
    region: [8, 4, 64, 56]
    tools: {{copper: {{tool: template, area: {area}}}}}
"""


def board(blot: int = 0) -> np.ndarray:
    """With a blot of that radius in pixels."""
    image = np.full((64, 80, 3), 230, np.uint8)
    for x in range(12, 80, 16):
        cv2.line(image, (x, 8), (x, 56), (20, 20, 20), 5)
    if blot:
        cv2.circle(image, (36, 30), blot, (20, 20, 20), -1)
    return image


def recipe_file(path: Path, area: int = 8, text: str = RECIPE) -> Path:
    cv2.imwrite(str(path.parent / "good.png"), board())
    path.write_text(text.format(area=area))
    return path


def loaded(path: Path) -> Recipe:
    found = load(path)
    assert isinstance(found, Recipe), found
    return found


def judged(recipe: Recipe, number: int, image: np.ndarray, keep: str = "all") -> tuple[Event, list[Picture]]:
    """The record of one part as the station makes it, and the pictures that it keeps."""
    part = Part(number, number, recipe, 0, T0 + number, 10**12)
    for view in part.views():
        part.judged[view.name] = judge(
            number, view, Frame(view.camera, number, T0 + number, image.copy(), number), keep
        )
    event = part.record("aoi", part.decide(), 10**6)
    return replace(event, id=f"i{number}"), [j.picture for j in part.judged.values() if j.picture]


def review(number: int, state: str, label: str = "") -> Event:
    data = {"of": f"i{number}", "part": number, "label": label, "by": "anna"}
    return Event("review", "aoi", state, T0 + 10**9, data=data, id=f"r{number}")


def journal(folder: Path, parts: Iterable[tuple[Event, list[Picture]]], reviews: Iterable[Event] = ()) -> Path:
    """A state folder; the site lies in it, too."""
    (folder / "site.yaml").write_text(SITE)

    async def body() -> None:
        daemon = Daemon(load_text(SITE), folder)
        await daemon.start()
        chain = Chain()
        for event, pictures in parts:
            daemon.journal.append(events=[chain.link(event)], pictures=pictures)
        daemon.journal.append(events=list(reviews))
        await daemon.journal.commit()
        await daemon.stop()

    run(body)
    return folder


def site_with(folder: Path, recipe: str) -> Path:
    """The shipped site of a station, with one recipe of ours."""
    text = (Path(__file__).parents[2] / "configs/aoi-station.yaml").read_text()
    ours = text.replace(
        "{7: recipes/washer.yaml, 8: recipes/board-pair.yaml, 9: recipes/washer-coarse.yaml}", f"{{7: {recipe}}}"
    )
    assert ours != text
    ours = ours.replace('  board: {driver: camera, url: "pairs:pairs?ng=0.67", on_demand: true}\n', "")
    ours = re.sub(r"  - name: the product code.*?(?=  - name:)", "", ours, flags=re.S)
    (folder / "site.yaml").write_text(ours)
    return folder / "site.yaml"


def last_json(out: str) -> dict[str, Any]:
    import json

    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found
