"""Boards beside their templates: the shipped pairs, and those of DeepPCB in a running station."""

from __future__ import annotations

import asyncio
import logging
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from drivers.camera.sources import source_of, truth
from edge import DeviceLost, events_of
from edge.cli import main
from models.vision.bench import Bench
from models.vision.recipe import Recipe, Refused, load
from models.vision.rules import decide

ROOT = Path(__file__).parents[2]
SITE = ROOT / "configs/aoi-boards.yaml"
RECIPE = """\
recipe: twins
views:
  top: {camera: top, size: [40, 80], region: [0, 0, 40, 40], neighbour: [40, 0], tools: {copper: {tool: template}}}
"""


def shots(url: str, count: int) -> list[tuple[np.ndarray, str]]:
    """The first pictures of a camera, and what they are of."""

    async def body() -> list[tuple[np.ndarray, str]]:
        source, out = source_of(url, 1, 5.0), []
        slots = await source.open()
        for part in range(1, count + 1):
            await source.take(0, part)
            out.append((slots[0].copy(), str(source.about["file"])))
        await source.close()
        return out

    return asyncio.run(body())


def write(folder: Path, name: str, value: int, side: int = 40) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / name), np.full((side, side), value, np.uint8))


def test_pairs_are_played_side_by_side_and_what_is_none_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, side in ((1, 40), (2, 40), (4, 40)):
        write(tmp_path, f"set/g1/{number}_test.png", 10 * number, side)
        write(tmp_path, f"set/g1/{number}_temp.png", 10 * number + 5)
    write(tmp_path, "set/g1/3_test.png", 30, 20)
    write(tmp_path, "set/g1/3_temp.png", 35)
    write(tmp_path, "set/g1/5_test.png", 50)  # alone
    (tmp_path / "set/g1/4_temp.png").write_bytes(b"no picture")
    with caplog.at_level(logging.WARNING):
        seen = shots(f"pairs:{tmp_path / 'set'}", 5)
    assert [(int(image[0, 0, 0]), int(image[0, 40, 0]), file) for image, file in seen] == [
        *2 * [(10, 15, "g1/1"), (20, 25, "g1/2")],
        (10, 15, "g1/1"),
    ]
    assert caplog.text.count("g1/3 is no pair") == caplog.text.count("g1/4 is no pair") == 1
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as packed:
        for file in (tmp_path / "set").rglob("*.png"):
            packed.write(file, file.relative_to(tmp_path / "set"))
    again = shots(f"pairs:{tmp_path / 'set.zip'}", 5)
    assert all(np.array_equal(a[0], b[0]) and a[1] == b[1] for a, b in zip(seen, again, strict=True))
    with pytest.raises(DeviceLost, match="holds no pairs"):
        shots(f"pairs:{tmp_path / 'set/g1/1_temp.png'}", 1)


def recipe_of(path: Path) -> Recipe:
    found = load(path)
    assert isinstance(found, Recipe), found
    return found


def test_a_region_is_compared_with_its_neighbour_in_the_same_picture(tmp_path: Path) -> None:
    (tmp_path / "twins.yaml").write_text(RECIPE)
    (view,) = recipe_of(tmp_path / "twins.yaml").views.values()
    half = np.full((40, 40, 3), 230, np.uint8)
    cv2.rectangle(half, (10, 10), (30, 30), (20, 20, 20), -1)
    image = np.hstack([half, half])
    assert decide([view(image)], []).state == "ok"
    cv2.circle(image, (20, 20), 5, (230, 230, 230), -1)
    found = decide([view(image)], [])
    assert found.state == "ng" and max(box[2] for _, box, _ in found.boxes) <= 40


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("neighbour: [40, 0]", "neighbour: [41, 0]", "neighbour: reaches beyond the picture of 80 x 40"),
        ("neighbour: [40, 0]", "neighbour: [39, 0]", "overlaps `region`"),
        ("region: [0, 0, 40, 40], ", "", "what `region` is compared with"),
    ],
)
def test_a_neighbour_that_is_none_is_a_fault(tmp_path: Path, old: str, new: str, words: str) -> None:
    (tmp_path / "twins.yaml").write_text(RECIPE.replace(old, new))
    found = load(tmp_path / "twins.yaml")
    assert isinstance(found, Refused) and words in " ".join(found.faults)


def test_the_shipped_pairs_are_judged_as_they_are() -> None:
    pytest.importorskip("ai_edge_litert", reason="no TFLite engine is installed: make setup brings LiteRT")
    (view,) = recipe_of(ROOT / "configs/recipes/board-pair.yaml").views.values()
    states = [decide([view(image)], []).state for image, _ in shots(f"pairs:{ROOT / 'configs/pairs'}?ng=0.67", 12)]
    assert [state == "ok" for state in states] == [not truth(part, 1, 0.67) for part in range(1, 13)]
    assert "ok" in states and "ng" in states


def test_the_shipped_site_is_sound_from_wherever_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ai_edge_litert", reason="no TFLite engine is installed: make setup brings LiteRT")
    for folder, site in ((SITE.parent, SITE.name), (tmp_path, str(SITE))):
        monkeypatch.chdir(folder)
        assert main(["station", "recipes", site, "--json"]) == 0, capsys.readouterr()


@pytest.mark.system
def test_the_shipped_station_plays_deeppcb(tmp_path: Path, data: Path) -> None:
    """One line of the site is another one. The network never saw a real board: defects are found, not always for sure."""
    pytest.importorskip("ai_edge_litert", reason="no TFLite engine is installed: make setup brings LiteRT")
    (tmp_path / "recipes").symlink_to(ROOT / "configs/recipes")
    site, home = tmp_path / "boards.yaml", tmp_path / "home"
    text = SITE.read_text().replace("pairs:pairs?", f"pairs:{data / 'deeppcb/test_dev.zip'}?")
    assert text != SITE.read_text()
    site.write_text(text.replace("takt: 1s", "takt: 20s"))  # what is seen here is the judgement, on any machine
    home.mkdir()
    bench = Bench(site)

    async def body() -> None:
        async with bench.running(home):
            bench.plc.resting, bench.plc.cadence = False, 0
            assert await bench.until(lambda: len(bench.plc.results) >= 6, 180), bench.said()

    asyncio.run(body())
    records = list(events_of(home / "state/journal.db", "inspection"))[:6]
    good = [record.data["cameras"]["board"]["file"].endswith("its template") for record in records]
    assert [record.state == "ok" for record in records] == good and True in good and False in good
    assert all(record.data["boxes"] for record, whole in zip(records, good, strict=True) if not whole)
