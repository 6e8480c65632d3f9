"""A detector at work: what its network says becomes boxes, in tiles and in two views; and the tool `detect`."""

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
from models.vision import peaks
from models.vision.detect import Detector, cuts
from models.vision.tools.contract import View
from models.vision.tools.detect import DetectConfig, DetectTool

pytest.importorskip(
    "ai_edge_litert", reason="LiteRT, whose schema writes the network, is not installed: make setup brings it"
)
from tests.models import detector as made

pytestmark = pytest.mark.usefixtures("engine")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.package(tmp_path_factory.mktemp("models") / "difference")


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Judges in two views; its network puts every middle a quarter of a cell to the right of where it is."""
    return made.package(tmp_path_factory.mktemp("models") / "turned", shift=0.25, views=2)


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


def test_the_second_view_takes_the_mean(folder: Path, turned: Path) -> None:
    pair = made.pictures((16, 24), (48, 40))
    one = load(turned)
    one_view = Detector(load(made.package(turned.parent / "one", shift=0.25)), 0.2)(*pair)
    assert where(one_view) == [(14, 20, 30, 36, 0), (46, 36, 62, 52, 0)], "off by a quarter of a cell"
    assert where(Detector(one, 0.2)(*pair)) == [(12, 20, 28, 36, 0), (44, 36, 60, 52, 0)], "which two views cancel"


def test_the_second_view_is_taken_where_there_is_doubt(turned: Path) -> None:
    sure, (part, template) = (12, 20, 28, 36, 0), made.pictures((16, 24))
    unsure = part.copy()
    unsure[26:] = 0  # a quarter of a cell differs: a score of a half
    judge = Detector(load(made.package(turned.parent / "doubt", shift=0.25, views=2, doubt="[0.1, 0.9]")), 0.2)
    assert where(judge(part, template)) == [(14, 20, 30, 36, 0)], "one view, with its shift"
    assert where(judge(unsure, template)) == [sure], "two, whose shifts cancel"


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
    assert np.allclose(peaks.chance([every], peaks.odds(spec)), wanted, atol=1e-6)
    plain = peaks.chance(
        [(every.astype(np.float32) - 17) * np.float32(0.09)], peaks.odds(Tensor("heat", (1,), np.float32))
    )
    assert np.allclose(plain, wanted, atol=1e-5)


@pytest.mark.parametrize("which", [0, 1])
def test_what_is_no_number_is_no_good_part(folder: Path, which: int) -> None:
    said = [np.full((8, 8, 2), 3.0, np.float32), np.zeros((8, 8, 4), np.float32)]
    plain = Tensor("plain", (), np.float32)
    assert len(peaks.boxes([(said[0], said[1])], None, plain, load(folder).described(Detect), 0.2))
    said[which][:] = np.nan
    with pytest.raises(ValueError, match="no number"):
        peaks.boxes([(said[0], said[1])], None, plain, load(folder).described(Detect), 0.2)


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


def test_a_tool_whose_model_vanished_looks_at_the_part_again(folder: Path, tmp_path: Path) -> None:
    import threading

    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    judge, said = tool(copy), []
    shutil.rmtree(copy)
    other = threading.Thread(target=lambda: said.append(judge(View(*made.pictures((16, 24))))))
    other.start()
    other.join()
    assert said[0].state == "recheck" and said[0].text.startswith("cannot be judged: ")
