"""The tests of recipes: what `lineside test` and `lineside apply` say of pictures whose verdict is known."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge import ConfigFault
from edge.app import Daemon
from edge.apply import apply_site
from edge.cli import main
from edge.config.load import load_text
from models.vision.recipe import Refused, load
from models.vision.rehearsal import rehearsed
from tests.models.stored import SITE, board, site_with
from tests.waiting import run

RECIPE = """\
recipe: board A
views:
  top: {camera: top, template: good.png, tools: {copper: {tool: template}}}
tests:
  - {name: a good one, pictures: {top: good.png}, expect: ok}
  - {name: a blot, pictures: {top: blot.png}, expect: ng, label: differs}
  - {name: nothing seen, pictures: {}, expect: recheck}
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A station with one recipe, `a.yaml`."""
    cv2.imwrite(str(tmp_path / "good.png"), board())
    cv2.imwrite(str(tmp_path / "blot.png"), board(4))
    (tmp_path / "a.yaml").write_text(RECIPE)
    text = site_with(tmp_path, "a.yaml").read_text().replace("degrade: [pictures, bottom]", "degrade: [pictures]")
    (tmp_path / "site.yaml").write_text(text.replace("device: {id: aoi-station", "device: {id: aoi-7"))
    return tmp_path / "site.yaml"


def tried(site: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, str]]:
    """The exit code, and the faults of each test of the recipe."""
    code = main(["test", str(site), "--json"])
    lines = map(json.loads, capsys.readouterr().out.splitlines())
    return code, {
        line["test"].removeprefix("aoi: "): "; ".join(line["faults"]) for line in lines if "a.yaml" in line["test"]
    }


def test_pictures_of_a_recipe_are_judged_with_the_tests_of_the_site(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = tried(site, capsys)
    assert (code, found) == (0, {"a.yaml: a good one": "", "a.yaml: a blot": "", "a.yaml: nothing seen": ""})


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("label: differs", "label: scratch", "expected 'scratch', it is 'differs'"),
        ("expect: ng, label: differs", "expect: ok", "expected 'ok', it is 'ng': top: "),
        ("blot.png", "none.png", "none.png: No such file"),
        ("blot.png", "a.yaml", "a.yaml is no picture"),
        ("label: differs", "label: differs, code: A-1", "expected 'A-1', it is ''"),
    ],
)
def test_one_that_is_judged_otherwise_fails(
    site: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, words: str
) -> None:
    (site.parent / "a.yaml").write_text(RECIPE.replace(old, new))
    code, found = tried(site, capsys)
    assert code == 1 and words in found["a.yaml: a blot"] and not found["a.yaml: a good one"]


@pytest.mark.parametrize("bound", ["MOST_BYTES", "MOST_PIXELS"])
def test_a_picture_that_is_too_large_is_told(site: Path, monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    monkeypatch.setattr(f"models.vision.rehearsal.{bound}", 99)
    found = dict(rehearsed(["a.yaml"], site.parent))
    assert found["a.yaml: a blot"] == [f"{site.parent / 'blot.png'} is no picture, or too large"]
    monkeypatch.setattr(f"models.vision.recipe.{bound}", 99)
    refused = load(site.parent / "a.yaml")
    assert isinstance(refused, Refused) and "good.png is no picture, or too large" in refused.faults[0]


def test_a_recipe_that_cannot_be_used_fails_its_tests(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (site.parent / "a.yaml").write_text(RECIPE.replace("tool: template", "tool: tempalte"))
    code, found = tried(site, capsys)
    assert code == 1 and "did you mean 'template'" in found["a.yaml"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("{top: blot.png}", "{tap: blot.png}", "pictures.tap: is no camera of this recipe, there are top"),
        ("template: good.png,", "size: [64, 80], lasts: 2s,", "a film cannot be tried with one picture"),
        ("expect: ok}", "expect: fine}", "expect"),
    ],
)
def test_a_test_that_cannot_be_is_a_fault_of_the_recipe(site: Path, old: str, new: str, words: str) -> None:
    (site.parent / "a.yaml").write_text(RECIPE.replace(old, new))
    found = load(site.parent / "a.yaml")
    assert isinstance(found, Refused) and words in " ".join(found.faults)


FILMED = """\
recipe: blinker
views:
  film:
    {camera: top, size: [64, 80], lasts: 2s, every: 100ms, tools: {l: {tool: lamps, lamps: {a: {at: [10, 10, 10, 10], on: []}}}}}
  top: {camera: top, template: good.png, tools: {copper: {tool: template}}}
tests:
  - {name: one picture, pictures: {top: good.png}, expect: ok}
"""


def test_no_picture_is_tried_as_the_film_of_its_camera(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (site.parent / "a.yaml").write_text(FILMED)
    found = load(site.parent / "a.yaml")
    assert isinstance(found, Refused) and "a film cannot be tried with one picture" in " ".join(found.faults)
    monkeypatch.setattr("models.vision.pieces.Pieces._test", lambda *_: None)
    ((name, faults),) = rehearsed(["a.yaml"], site.parent)
    assert name == "a.yaml: one picture" and "expected 'ok', it is 'recheck': film: no picture" in faults[0]


def test_a_site_whose_recipe_fails_its_tests_is_not_taken(site: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "blot.png"), np.asarray(board()))

    async def body() -> None:
        daemon = Daemon(load_text(SITE), tmp_path / "state")
        await daemon.start()
        try:
            with pytest.raises(ConfigFault, match=r"its test .aoi: a\.yaml: a blot. fails: expected .ng., it is .ok."):
                await apply_site(daemon, site)
        finally:
            await daemon.stop()

    run(body)


TEST = """
tests:
  - name: no picture comes, and nobody knows
    stages: [aoi]
    every: 100ms
    given:
      plc.product: [7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7]
      plc.part_no: [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]
      plc.trigger: [0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
      plc.ack:     [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]
    expect:
      - {event: aoi, state: ready}
      - {event: aoi, state: recheck}
      - {write: plc.ready, value: 1}
      - {write: plc.taken, value: 1}
      - {write: plc.recheck, value: 1}
      - {write: plc.valid, value: 1}
      - {write: plc.valid, value: 0}
      - {tag: aoi.recheck, value: 1}
"""


def with_test(site: Path, text: str = TEST) -> Path:
    whole = site.read_text()
    site.write_text(whole[: whole.index("\ntests:")] + text)
    return site


def test_a_station_takes_part_in_a_test_that_names_it(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (site.parent / "a.yaml").write_text(RECIPE[: RECIPE.index("tests:")])
    assert main(["test", str(with_test(site))]) == 0, capsys.readouterr().out
    site.write_text(site.read_text().replace("state: recheck", "state: ok"))
    assert main(["test", str(site)]) == 1
    assert "happened aoi ready, aoi recheck" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("stages: [aoi]", "stages: [aio]", "no stage is called 'aio', there are aoi"),
        ("    stages: [aoi]\n", "", "add `stages: [aoi]`"),
        ("plc.ack: ", "aoi.ok: [1]\n      plc.ack: ", "aoi computes it, and takes part in this test"),
    ],
)
def test_what_cannot_take_part_is_said(
    site: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, words: str
) -> None:
    assert old in TEST
    assert main(["check", str(with_test(site, TEST.replace(old, new)))]) == 1
    assert words in capsys.readouterr().out
