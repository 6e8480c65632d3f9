"""A detector at work: what its network says becomes boxes, in tiles and by a second look; and the tool `detect`."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge import ConfigFault, ModelRefused
from models.engines.contract import Tensor
from models.package import Detect, describe, load, prove
from models.train import samples
from models.vision import look, peaks
from models.vision.detect import Detector, cuts
from models.vision.rules import Decision, Rule, Seen, decide
from models.vision.tools.contract import Finding, View
from models.vision.tools.detect import DetectConfig, DetectTool

pytest.importorskip(
    "ai_edge_litert", reason="LiteRT, whose schema writes the network, is not installed: make setup brings it"
)
from tests.models import detector as made

TWICE = {"views": 2, "look": 64, "doubt": [0.1, 1]}

pytestmark = pytest.mark.usefixtures("engine")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.package(tmp_path_factory.mktemp("models") / "difference")


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Looks twice at every place; its network puts every middle a quarter of a cell to the right of where it is."""
    return made.package(tmp_path_factory.mktemp("models") / "turned", shift=0.25, **TWICE)


def where(found: np.ndarray) -> list[tuple[float, ...]]:
    return sorted(tuple(round(float(v)) for v in (*box[:4], box[5])) for box in found)


def test_what_the_network_says_becomes_boxes(folder: Path) -> None:
    detector = Detector(load(folder), 0.2)
    assert where(detector(*made.pictures((16, 24), (40, 8)))) == [(12, 20, 28, 36, 0), (36, 4, 52, 20, 0)]
    assert where(detector(*made.pictures((16, 24), lacks=True))) == [(12, 20, 28, 36, 1)]
    assert not len(detector(*made.pictures()))
    assert detector(*made.pictures((0, 56)))[0, :4].tolist() == [0, 52, 12, 64], "boxes end with the picture"


def test_colour_and_grey_pictures_are_black_and_white_to_it(folder: Path) -> None:
    detector = Detector(load(folder), 0.2)
    part, template = (cv2.cvtColor(image // 2 + 60, cv2.COLOR_GRAY2BGR) for image in made.pictures((16, 24)))
    assert where(detector(part, template)) == [(12, 20, 28, 36, 0)]
    with pytest.raises(ValueError, match=r"the part is uint8\(64, 64, 3\), its template uint8\(64, 64\)"):
        detector(part, template[:, :, 0])


@pytest.mark.parametrize("views", [2, 4, 8])
def test_the_second_look_takes_the_mean(tmp_path: Path, views: int) -> None:
    pair = made.pictures((16, 24), (48, 40))
    once = Detector(load(made.package(tmp_path / "one", shift=0.25)), 0.2)
    assert where(once(*pair)) == [(14, 20, 30, 36, 0), (46, 36, 62, 52, 0)], "off by a quarter of a cell"
    again = Detector(load(made.package(tmp_path / "again", shift=0.25, **TWICE | {"views": views})), 0.2)
    assert where(again(*pair)) == [(12, 20, 28, 36, 0), (44, 36, 60, 52, 0)], "which the ways to turn it cancel"


def test_only_what_is_doubtful_is_looked_at_again(tmp_path: Path) -> None:
    part, template = made.pictures((16, 24))
    unsure = part.copy()
    unsure[26:] = 0  # a quarter of a cell differs: a score of a half
    judge = Detector(load(made.package(tmp_path / "doubt", shift=0.25, **TWICE | {"doubt": [0.1, 0.9]})), 0.2)
    assert where(judge(part, template)) == [(14, 20, 30, 36, 0)], "looked at once, with its shift"
    assert where(judge(unsure, template)) == [(12, 20, 28, 36, 0)], "twice, and the shifts cancel"


@pytest.mark.parametrize("spot", [(64, 64), (0, 0), (120, 0), (8, 120), (120, 120), (48, 96)])
def test_a_piece_around_the_place_is_looked_at_wherever_it_lies(tmp_path: Path, spot: tuple[int, int]) -> None:
    judge = Detector(load(made.package(tmp_path / "large", 0.25, 128, **TWICE | {"views": 8, "look": 80})), 0.2)
    (x, y), found = spot, judge(*made.pictures(spot, side=128))
    assert where(found) == [(max(x - 4, 0), max(y - 4, 0), min(x + 12, 128), min(y + 12, 128), 0)]
    assert judge._look is not None and judge._look.looked == 1


def test_places_near_each_other_are_looked_at_together_and_not_without_end(tmp_path: Path) -> None:
    judge = Detector(load(made.package(tmp_path / "many", 0.25, 640, **TWICE | {"look": 128})), 0.2)
    assert judge._look is not None
    found = judge(*made.pictures((304, 304), (320, 320), (288, 320), side=640))
    assert len(found) == 3 and judge._look.looked == 1
    grid = [(x, y) for x in range(8, 632, 48) for y in range(8, 632, 48)]
    assert len(judge(*made.pictures(*grid, side=640))) == peaks.MOST and judge._look.looked <= 1 + look.MOST
    large = Detector(load(made.package(tmp_path / "larger", 0.25, 1280, **TWICE | {"look": 96})), 0.2)
    grid = [(x, y) for x in range(8, 1272, 144) for y in range(8, 1272, 144)]
    assert large._look is not None and len(large(*made.pictures(*grid, side=1280))) == len(grid) == 81
    assert large._look.looked == 4 * look.MOST, "a larger picture has as many for its size"


@pytest.mark.parametrize("way", range(8))
def test_what_is_said_of_a_turned_piece_is_turned_back(way: int) -> None:
    picture, boxes = np.zeros((64, 64, 2), np.uint8), np.array([[9, 18, 21, 34, 1], [40, 37, 50, 60, 0]], np.float32)
    _, moved = samples.turned((picture, boxes), way)
    picture[3, 7] = 1
    assert np.array_equal(look.back(look.turned(picture, way), way), picture)
    assert np.array_equal(look.turned(picture, way), samples.turned((picture, boxes), way)[0])
    heat, _, off, weight = samples.targets(boxes, 64, 2)
    heat_there, _, off_there, _ = samples.targets(moved, 64, 2)
    assert np.allclose(look.back(heat_there.transpose(1, 2, 0), way), heat.transpose(1, 2, 0), atol=1e-6)
    middle = weight == 1
    assert np.allclose(
        look.placed_back(off_there.transpose(1, 2, 0), way)[middle], off.transpose(1, 2, 0)[middle], atol=1e-5
    )


def test_a_large_picture_is_judged_in_tiles_and_nothing_is_told_twice(folder: Path) -> None:
    rng = np.random.default_rng(1)
    detector, side = Detector(load(folder), 0.2), 200
    cells = {(int(x), int(y)) for x, y in rng.integers(0, side // 24, (20, 2)) * 24}
    found = detector(*made.pictures(*cells, side=side))
    middles = {tuple((box[:2] + box[2:4]) // 2 // 24) for box in found}
    assert len(found) == len(cells) and middles == {(x // 24, y // 24) for x, y in cells}
    small = [image[:40, :30].copy() for image in made.pictures((16, 24))]
    assert where(detector(small[0], small[1])) == [(12, 20, 28, 36, 0)]


@pytest.mark.parametrize(("length", "side", "shared"), [(640, 640, 96), (641, 640, 96), (5000, 640, 96), (30, 64, 48)])
def test_tiles_cover_all_and_each_place_belongs_to_one(length: int, side: int, shared: int) -> None:
    tiles = cuts(max(length, side), side, shared)
    assert tiles[0][0] == 0 and tiles[-1][0] == max(length, side) - side
    for (start, _, last), (begin, first, _) in pairwise(tiles):
        assert last == first and start + side - begin >= min(shared, side // 2) - 1
        assert begin < first < start + side


def test_of_two_that_overlap_the_better_one_stays() -> None:
    found = np.array(
        [[0, 0, 20, 20, 0.9, 0], [4, 0, 24, 20, 0.8, 1], [15, 0, 35, 20, 0.7, 1], [100, 0, 120, 20, 0.6, 0]]
    )
    assert peaks.without_doubles(found)[:, 4].tolist() == [0.9, 0.7, 0.6]


def test_a_table_says_what_a_sigmoid_says() -> None:
    spec = Tensor("heat", (1, 1, 1, 256), np.int8, 0.09, 17)
    every = np.arange(-128, 128).astype(np.int8).reshape(1, 1, 256)
    wanted = 1 / (1 + np.exp(-(every.astype(float) - 17) * 0.09))
    place = np.arange(-3, 5).astype(np.int8).reshape(1, 2, 4)
    said = peaks.read(every, place, peaks.odds(spec), Tensor("place", (1, 2, 4), np.int8, 0.5, -3))
    assert np.allclose(said[0], wanted, atol=1e-6) and said[1].ravel().tolist() == [n / 2 for n in range(8)]
    plain = (every.astype(np.float32) - 17) * np.float32(0.09)
    whole = Tensor("plain", (1,), np.float32)
    assert np.allclose(peaks.read(plain, place, peaks.odds(whole), whole)[0], wanted, atol=1e-5)


@pytest.mark.parametrize("which", [0, 1])
def test_what_is_no_number_is_no_good_part(folder: Path, which: int) -> None:
    said = [np.full((8, 8, 2), 3.0, np.float32), np.zeros((8, 8, 4), np.float32)]
    plain = Tensor("plain", (), np.float32)
    assert len(peaks.boxes(*peaks.read(said[0], said[1], None, plain), load(folder).described(Detect), 0.2))
    said[which][:] = np.nan
    with pytest.raises(ValueError, match="no number"):
        peaks.read(said[0], said[1], None, plain)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"stride": 7}, r"size 64 x 64 is no whole number of cells \(7\)"),
        ({"labels": "[spurious, spurious]"}, "labels: one stands there twice"),
        ({"size": "[8, 64]"}, r"model\.yaml: size\.0: Input should be greater than or equal to 16"),
        ({"crop": "[8, 64]"}, "crop: Extra inputs are not permitted"),
        ({"task": "guess"}, "task: say one of classify, detect"),
        (
            {"labels": "[spurious]"},
            r"its network takes and gives .*\(1, 8, 8, 2\).*model\.yaml says .*\(1, 8, 8, 1\)",
        ),
        ({"fold": 2}, r"model\.yaml says int8 or float \(1, 64, 32, 4\)"),
    ],
)
def test_a_wrong_description_is_named(tmp_path: Path, options: dict[str, object], said: str) -> None:
    with pytest.raises(ModelRefused, match=said):
        prove(made.package(tmp_path / "wrong", **options))


@pytest.mark.parametrize(("name", "said"), [("heat", "off by"), ("place", "off by"), (None, "cannot be read")])
def test_other_answers_are_refused(folder: Path, tmp_path: Path, name: str | None, said: str) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    with np.load(copy / "golden.npz") as golden:
        arrays = dict(golden)
    if name:
        arrays[name] = np.roll(arrays[name], 5, axis=1) + np.int8(name == "place") * 9
    else:
        del arrays["heat"]
    np.savez(copy / "golden.npz", **arrays)
    with pytest.raises(ModelRefused, match=said):
        prove(copy)


def test_decisions_are_compared_by_what_is_told() -> None:
    one = np.array([[0, 0, 20, 20, 0.9, 0]])
    assert peaks.agree(one, np.array([[1, 0, 21, 20, 0.8, 0]]))
    assert not peaks.agree(one, np.array([[0, 0, 20, 20, 0.9, 1]])) and not peaks.agree(one, one[:0])
    assert not peaks.agree(one, np.array([[15, 0, 35, 20, 0.9, 0]]))


def test_a_package_of_another_task_is_refused_in_words(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="washer is a model to classify, and here one to detect is wanted"):
        DetectTool(DetectConfig(tool="detect", model="washer"), tmp_path)
    assert isinstance(describe(folder), Detect)


def tool(folder: Path, **options: float) -> DetectTool:
    return DetectTool(DetectConfig(tool="detect", model=folder.name, **options), folder.parent)


def test_the_tool_tells_what_where_and_how_sure(folder: Path) -> None:
    judge = tool(folder)
    part, template = made.pictures((16, 24), (40, 8))
    finding = judge(View(part, template))
    assert finding.state == "ng" and finding.text.startswith("2 spurious (up to") and finding.score > 0.9
    assert sorted(box[:5] for box in finding.boxes) == [(12, 20, 28, 36, "spurious"), (36, 4, 52, 20, "spurious")]
    assert judge(View(template, template)).state == "ok"
    mask = np.full(part.shape, 255, np.uint8)
    mask[:, 32:] = 0
    assert [box[:2] for box in judge(View(part, template, mask)).boxes] == [(12, 20)]


def test_what_the_tool_is_not_sure_of_is_looked_at_again(folder: Path) -> None:
    part, template = made.pictures((16, 24))
    part[26:] = 0  # a quarter of a cell differs
    finding = tool(folder, ng_above=0.9)(View(part, template))
    assert finding.state == "recheck" and finding.text.startswith("not sure: 1 spurious")
    assert tool(folder)(View(*made.pictures((16, 24)))).state == "ng"
    assert tool(folder)(View(part)).text == "nothing to compare with: the view has no template"
    assert tool(folder)(View(part, template[:8])).text.startswith("cannot be judged: the part is uint8(64, 64)")
    with pytest.raises(ConfigFault, match=r"ok_below 0\.9 is above ng_above 0\.5"):
        tool(folder, ok_below=0.9)


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Names the pattern of a cell: stain or scratch."""
    return made.package(tmp_path_factory.mktemp("models") / "two", kinds=2, large=2, labels="[stain, scratch]")


def marked(*cells: tuple[int, int, np.ndarray], side: int = 64) -> tuple[np.ndarray, np.ndarray]:
    part, template = made.pictures(side=side)
    for x, y, cell in cells:
        part[y : y + made.CELL, x : x + made.CELL] = 255 * cell
    return part, template


def mixed(stains: int = 1) -> np.ndarray:
    """A cell with white of both patterns: half sure to be either, but for `stains` pixels."""
    stain, scratch = made.patterns(2)
    both, only = stain | scratch, np.argwhere(scratch > stain)
    both[tuple(only[:stains].T)] = 0
    return np.asarray(both)


def passing(finding: Finding, *labels: str) -> Decision:
    return decide([Seen("top", {"look": finding})], [Rule(label=list(labels), then="ok")] if labels else [])


@pytest.mark.parametrize("side", [64, 96])
def test_a_rule_that_lets_a_class_pass_lets_no_other_likely_one_of_its_place_pass(of_two: Path, side: int) -> None:
    finding = tool(of_two)(View(*marked((16, 24, mixed()), side=side)))
    assert [(box[4], round(box[5], 1)) for box in finding.boxes] == [("stain", 0.7)]
    found = passing(finding, "stain")
    assert (found.state, found.label) == ("recheck", "scratch")
    assert "which the rules let pass; it may be scratch (3" in found.text
    assert passing(finding, "stain", "scratch").state == "ok" and passing(finding).label == "stain"
    sure = tool(of_two)(View(*marked((16, 24, mixed(4)), side=side)))
    assert not sure.also and passing(sure, "stain").state == "ok"


def test_a_rule_that_lets_a_class_pass_lets_no_weaker_one_beside_it_pass(of_two: Path) -> None:
    stain, scratch = made.patterns(2)
    scratch[tuple(np.argwhere(scratch)[:12].T)] = 0
    pair = marked((16, 24, stain), (24, 24, scratch))
    finding = tool(of_two)(View(*pair))
    assert [box[4] for box in finding.boxes] == ["stain"]
    found = passing(finding, "stain")
    assert (found.state, found.label) == ("ng", "scratch") and found.boxes[1][1][:4] == (20, 20, 36, 36)
    mask = np.full((64, 64), 255, np.uint8)
    mask[:, 28:] = 0
    assert passing(tool(of_two)(View(*pair, mask)), "stain").state == "ok", "what the mask hides is not judged"


def test_of_two_that_overlap_the_weaker_one_is_what_the_other_may_be(of_two: Path) -> None:
    model = Detect.model_validate(load(of_two).description.model_dump() | {"unit": 48})
    grid, off = np.zeros((8, 8, 2), np.float32), np.zeros((8, 8, 4), np.float32)
    grid[2, 2] = (0.9, 0.1)
    for second, many in (((0.1, 0.8), 1), ((0.8, 0.1), 0)):  # of another class; of the same one
        grid[2, 4] = second
        found = peaks.boxes(grid, off, model, 0.2)
        also = peaks.besides(found, peaks.likely(grid, off, model, 0.2))
        assert found[:, 4:].tolist() == [[pytest.approx(0.9), 0]] and len(also) == many
        assert also[:, 4:].tolist() == [[pytest.approx(0.8), 1]] * many


def test_a_tool_whose_model_vanished_looks_at_the_part_again(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    judge = tool(copy)
    shutil.rmtree(copy)
    assert judge(View(*made.pictures((16, 24)))).state == "ng", "what is in memory has proved itself"
    finding = judge(View(*made.pictures((16, 24), side=200)))
    assert finding.state == "recheck" and finding.text.startswith("cannot be judged: ")
