"""Detectors that others exported: as many boxes as there are, judged by the tool `detect`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge import ModelRefused
from edge.cli import main
from models.engines.contract import Tensor
from models.foreign import Given
from models.package import Objects, describe, load
from models.vision import trial
from models.vision.given import fitted, tensor
from models.vision.objects import decoded
from models.vision.recipe import Recipe
from models.vision.recipe import load as load_recipe
from models.vision.rules import Rule, Seen, decide
from models.vision.singles import COLUMNS
from models.vision.tools.contract import Finding, View
from models.vision.tools.detect import DetectConfig, DetectTool
from tests.models import graphs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return graphs.package(tmp_path_factory.mktemp("models") / "two-stage", graphs.two_stage())


def judged(folder: Path, image: np.ndarray, mm: float | None = None, mask: Any = None, **options: Any) -> Finding:
    return DetectTool(DetectConfig(tool="detect", model=folder.name, **options), folder.parent)(
        View(image, mask=mask, mm=mm)
    )


def test_as_many_boxes_as_there_are_with_the_areas_of_their_masks(folder: Path) -> None:
    found = judged(folder, graphs.picture((16, 24, "red"), (40, 8, "green")), mm=0.5)
    assert (found.state, found.text) == ("ng", "1 red, 1 green (up to 100%)")
    assert sorted(found.boxes) == [(16, 24, 24, 32, "red", 1.0), (40, 8, 48, 16, "green", 1.0)]
    assert found.measured == {"defects": 2, "area_px": 128, "largest_px": 64, "area_mm2": 32}
    assert judged(folder, graphs.picture()).state == "ok"
    assert judged(folder, graphs.picture((16, 24, "red"), light=80)).state == "recheck"
    ten = [(8 * k, 8 * (k % 5), "red") for k in range(8)] + [(0, 48, "green"), (16, 48, "green")]
    assert len(judged(folder, graphs.picture(*ten)).boxes) == 10


def test_what_it_is_not_sure_of_is_told_beside_what_it_is_sure_of(folder: Path) -> None:
    image = graphs.picture((16, 24, "red")) | graphs.picture((40, 8, "green"), light=100)
    found = judged(folder, image)
    assert (found.state, found.text) == ("ng", "1 red (up to 100%); not sure: 1 green (up to 39%)")
    assert [found.of(box) for box in found.boxes] == ["ng", "recheck"] and found.measured["defects"] == 1
    assert decide([Seen("top", {"t": found})], [Rule(label=["red"], then="ok")]).state == "recheck"
    assert decide([Seen("top", {"t": found})], []).state == "ng"


def test_what_the_mask_hides_is_not_judged(folder: Path) -> None:
    mask = np.full((64, 64), 255, np.uint8)
    mask[16:40, 8:32] = 0
    image = graphs.picture((16, 24, "red"), (40, 8, "green"))
    assert [box[4] for box in judged(folder, image, mask=mask).boxes] == ["green"]


def test_boxes_and_areas_are_in_pixels_of_the_view_whatever_its_size(folder: Path) -> None:
    big = graphs.picture((16, 24, "red"))[:48].repeat(3, axis=0).repeat(3, axis=1)
    found = judged(folder, big)
    assert found.boxes[0][:4] == (48, 72, 72, 96) and found.measured["area_px"] == 576


def test_rows_of_paddle_with_its_two_other_inputs(tmp_path: Path) -> None:
    one = graphs.package(tmp_path / "rows", graphs.paddle(), **graphs.PADDLE)
    big = graphs.picture((16, 24, "red"), (40, 8, "green")).repeat(2, axis=0).repeat(2, axis=1)
    found = judged(one, big)
    assert sorted(found.boxes) == [(32, 48, 48, 64, "red", 1.0), (80, 16, 96, 32, "green", 1.0)]
    assert found.measured == {"defects": 2}, "no masks, no area"
    assert judged(one, graphs.picture()).state == "ok"


def test_it_judges_a_view_of_a_recipe_without_a_template(folder: Path) -> None:
    path = folder.parent / "lid.yaml"
    path.write_text(
        f"recipe: lid\nviews:\n  top:\n    camera: top\n    size: [64, 64]\n"
        f"    tools: {{spots: {{tool: detect, model: {folder.name}}}}}\n"
    )
    recipe = load_recipe(path)
    assert isinstance(recipe, Recipe), recipe
    seen = recipe.views["top"](graphs.picture((16, 24, "red")))
    assert seen.findings["spots"].boxes[0][4] == "red" and recipe.models["top.spots"].startswith("two-stage 1 ")


def test_it_is_evaluated_on_pictures_with_boxes(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dev").mkdir()
    drawn = {"one": [(16, 24, "red"), (40, 8, "green")], "none": [], "two": [(8, 48, "green")]}
    rows = [",".join(COLUMNS)]
    for name, spots in drawn.items():
        cv2.imwrite(str(tmp_path / "dev" / f"{name}.png"), graphs.picture(*spots))
        rows += [f"{name}.png,64,64,{colour},{x},{y},{x + 8},{y + 8}" for x, y, colour in spots]
    rows.append("two.png,64,64,red,40,40,60,60")
    (tmp_path / "dev_boxes.csv").write_text("\n".join(rows) + "\n")
    assert main(["model", "evaluate", str(folder), "--data", str(tmp_path), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (figures["pictures"], figures["boxes"], figures["engine"]) == (3, 4, "onnx")
    assert figures["AP"]["green"] == 100 and figures["AP"]["red"] == pytest.approx(50, abs=1)
    assert (figures["precision"], figures["recall"]) == (1, 0.75)


def said(model: Objects, **outputs: Any) -> np.ndarray:
    whole = {
        "boxes": np.array([[8.0, 8, 16, 24], [0, 0, 4, 4]]),
        "scores": np.array([0.9, 0.3]),
        "labels": np.array([1, 2]),
        "masks": np.zeros((2, 1, 64, 64)),
    } | {name: np.asarray(value) for name, value in outputs.items()}
    return decoded(whole, [Tensor(name, x.shape, x.dtype) for name, x in whole.items()], model, 0.2)


def test_masks_over_the_whole_picture_are_counted_in_it(folder: Path) -> None:
    masks = np.zeros((2, 1, 64, 64), np.float32)
    masks[0, 0, 10:20, 10:13] = 0.8
    model = load(folder).described(Objects)
    assert said(model, masks=masks)[:, 6].tolist() == [30, 0]
    assert said(model, scores=[0.3, 0.9])[:, 5].tolist() == [1, 0], "the best first"


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ({"labels": [1, 3]}, "its network says label 3, and model.yaml names 1 to 2"),
        ({"scores": [0.9, np.nan]}, "says in 'scores' what is no number"),
        ({"scores": [9.0, 0.3]}, "a score of 9 is no probability"),
        ({"scores": [0.9]}, "it gives 2 boxes, 1 scores and 2 labels"),
        ({"boxes": [[8.0, 8, np.inf, 24], [0, 0, 4, 4]]}, "says in 'boxes' what is no number"),
        ({"masks": np.zeros((3, 1, 4, 4))}, r"it gives masks \[3, 4, 4\] for 2 boxes"),
        ({"masks": np.full((2, 1, 4, 4), np.nan)}, "in a mask what is no number"),
    ],
)
def test_what_makes_no_sense_is_never_ok(folder: Path, outputs: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        said(load(folder).described(Objects), **outputs)


def test_a_network_that_says_a_label_nobody_named_is_a_recheck(tmp_path: Path) -> None:
    one = graphs.package(tmp_path / "one", graphs.two_stage(), [graphs.picture((16, 24, "red"))], labels="[red]")
    found = judged(one, graphs.picture((16, 24, "green")))
    assert found.state == "recheck" and "label 2" in found.text


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("first: 1", "first: 0", "is off by 255 steps"),
        ("colour: rgb", "colour: bgr", "is off by 255 steps"),
        ("masks: masks", "masks: mask", "its network does not give mask; it gives boxes, labels, scores, masks"),
        ("name: image", "name: picture", "gives a picture to 'picture'; its network takes image"),
        ("size: [64, 64]", "size: [64, 32]", r"its network takes \[3, 64, 64\]; model.yaml says \(3, 64, 32\)"),
        ("layout: chw", "layout: nchw", r"its network takes \[3, 64, 64\]"),
        ("boxes: boxes, ", "", "gives: say boxes, scores and labels, or rows"),
        ("colour: rgb", "colour: rgb, mean: [1, 2]", "mean has 2 numbers for 3 channels"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    one = graphs.package(tmp_path / "two-stage", graphs.two_stage())
    text = (one / "model.yaml").read_text()
    assert old in text
    (one / "model.yaml").write_text(text.replace(old, new))
    with pytest.raises(ModelRefused, match=words):
        load(one)


def test_golden_pictures_that_are_judged_otherwise_are_refused(tmp_path: Path) -> None:
    one = graphs.package(tmp_path / "two-stage", graphs.two_stage())
    model = describe(one)
    assert isinstance(model, Objects)
    image, none = graphs.picture((16, 24, "red")), np.zeros((0, 7), np.float32)
    for shown, answers, words in (
        ([image], [none], "golden vector 0 is off by 255 steps, 2 are allowed"),
        ([image], [np.array([[16, 24, 24, 32, 0.98, 0, 64]], np.float32)], r"is off by 5.1 steps"),
        ([image.astype(float)], [none], "does not hold pictures"),
    ):
        trial.keep(one, shown, answers)
        with pytest.raises(ModelRefused, match=words):
            load(one)
    trial.keep(one, [image], [np.array([[17, 24, 24, 32, 0.995, 0, 64]], np.float32)])
    assert load(one)


def test_a_picture_becomes_what_the_network_takes() -> None:
    image = np.zeros((30, 60, 3), np.uint8)
    image[..., 0], image[..., 2] = 51, 255
    given = Given(name="x", layout="nchw", colour="rgb", mean=[0.5, 0.5, 0.5], std=[0.5, 0.25, 0.5])
    shown, scale = fitted(image, (20, 20), given)
    assert shown.shape == (20, 20, 3) and shown[10:].max() == 0 and scale == (1 / 3, 1 / 3)
    plain = tensor(shown, given, Tensor("x", (1, 3, 20, 20), np.float32))
    assert plain.shape == (1, 3, 20, 20) and np.allclose(plain[0, :, 5, 5], [1, -2, -0.6])
    whole = tensor(shown, given, Tensor("x", (1, 3, 20, 20), np.int8, 1 / 64, -3))
    assert whole.dtype == np.int8 and whole[0, :, 5, 5].tolist() == [61, -128, -41]
    assert fitted(image, (20, 20), given.model_copy(update={"fit": "stretch"}))[1] == (1 / 3, 2 / 3)
