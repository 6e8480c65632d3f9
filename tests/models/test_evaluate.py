"""`lineside model evaluate`: folders of pairs are found by pattern, the figures are those worked out by hand."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge.cli import main
from models.vision.pairs import Pairs
from models.vision.score import Score, average_precision

pytest.importorskip(
    "ai_edge_litert", reason="LiteRT, whose schema writes the network, is not installed: make setup brings it"
)
from tests.models import detector as made
from tests.models.archives import huge, spoilt

pytestmark = pytest.mark.usefixtures("engine")
SPOTS = {"a/1": [(16, 24), (40, 8)], "a/2": [], "b/3": [(0, 48)]}
DRAWN = {
    "a/1": [(12, 20, 28, 36, "spurious"), (36, 4, 52, 20, "lacking")],
    "b/3": [(0, 44, 12, 60, "spurious"), (40, 40, 56, 56, "spurious")],
}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.package(tmp_path_factory.mktemp("models") / "difference")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Laid out like the recorded set: one of three pictures has no defect, one drawn box is not there, one is of another type."""
    root = tmp_path / "set"
    root.mkdir()
    with zipfile.ZipFile(root / "test_some.zip", "w") as packed:
        for name, spots in SPOTS.items():
            for which, image in zip(("test", "temp"), made.pictures(*spots), strict=True):
                packed.writestr(f"{name}_{which}.png", cv2.imencode(".png", image)[1].tobytes())
    (root / "test_some_list.txt").write_text("".join(f"{name.replace('/', ' ')}\n" for name in SPOTS))
    rows = [f"{name.replace('/', ',')},{','.join(map(str, box))}\n" for name, boxes in DRAWN.items() for box in boxes]
    (root / "test_some_boxes.csv").write_text("group,id,x1,y1,x2,y2,type\n" + "".join(rows))
    return root


def evaluate(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    assert main(["model", "evaluate", *map(str, words), "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert isinstance(said, dict)
    return said


def test_an_engine_that_does_not_read_the_package_is_said_with_those_that_do(
    package: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["model", "evaluate", str(package), "--data", str(folder), "--engine", "onnx"]) == 2
    said = capsys.readouterr().err
    assert "is a model for tflite, and onnx does not read it (its engines are tflite, tflite-runtime)" in said


def test_figures_and_predictions(package: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = folder / "found.jsonl"
    figures = evaluate(capsys, package, "--data", folder, "--predictions", to)
    assert (figures["pictures"], figures["boxes"], figures["missing"]) == (3, 4, [])
    # Of three that are told two count; of three drawn as spurious two are found, the wrong one between them or after them.
    assert (
        figures["precision"] == round(2 / 3, 5) and figures["recall"] == 0.5 and figures["F"] == pytest.approx(57.143)
    )
    assert figures["AP"]["lacking"] == 0 and 0 < figures["AP"]["spurious"] < 67
    assert figures["mAP"] == pytest.approx(figures["AP"]["spurious"] / 2, abs=0.01) and figures["mAP_pooled"] > 0
    assert figures["pairs_per_s"] > 0 and figures["threshold"] == 0.5 and figures["views"] == 1
    lines = [json.loads(line) for line in to.read_text().splitlines()]
    assert [line["id"] for line in lines] == ["a/1", "a/2", "b/3"] and lines[1]["boxes"] == []
    box = lines[2]["boxes"][0]
    assert box[:4] == pytest.approx([0, 44, 12, 60], abs=0.1) and 0.9 < box[4] <= 1 and box[5] == "spurious"


def test_what_is_absent_is_told_and_the_rest_is_used(
    package: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "test_some_boxes.csv").unlink()
    (folder / "test_some_list.txt").write_text("a 1\nc 9\n\nb 3\n")
    figures = evaluate(capsys, package, "--data", folder)
    assert figures["missing"] == ["c/9", "test*_boxes.csv"] and figures["pictures"] == 2 and figures["mAP"] is None
    (folder / "test_some_list.txt").unlink()
    figures = evaluate(capsys, package, "--data", folder)
    assert figures["missing"] == ["test*_list.txt", "test*_boxes.csv"] and figures["pictures"] == 3
    for name in ("list.txt", "boxes.csv"):
        (folder / f"test_some_{name}").write_text("\n")
    figures = evaluate(capsys, package, "--data", folder)
    assert figures["missing"] == ["test*_list.txt", "test*_boxes.csv"], "nor does an empty one tell anything"
    assert main(["model", "evaluate", str(package), "--data", str(folder)]) == 0
    assert "no boxes were drawn" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["group,id\nb,3\na,1\n", "\ufeffGroup;ID\nb;3\n\na;1\n", "b 3\na\t1\n", "b/3\n a/1\n"])
def test_a_list_is_read_with_commas_and_a_head(folder: Path, text: str) -> None:
    (folder / "test_some_list.txt").write_text(text, encoding="utf-8")
    assert Pairs(folder, "test").ids == ["b/3", "a/1"]


def test_a_coco_file_does_as_well(package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, notes = [], []
    for number, (name, spots) in enumerate(SPOTS.items()):
        files = [f"{name.replace('/', '-')}-{which}.png" for which in ("test", "temp")]
        for file, image in zip(files, made.pictures(*spots), strict=True):
            cv2.imwrite(str(tmp_path / file), image)
        images.append({"id": number, "file_name": files[0], "template": files[1]})
        for x0, y0, x1, y1, kind in DRAWN.get(name, []):
            box = [x0, y0, x1 - x0, y1 - y0]
            notes.append({"image_id": number, "bbox": box, "category_id": 1 + (kind == "lacking")})
    kinds = [{"id": 1, "name": "spurious"}, {"id": 2, "name": "lacking"}]
    said = {"images": images, "annotations": notes, "categories": kinds}
    (tmp_path / "annotations.json").write_text(json.dumps(said))
    figures = evaluate(capsys, package, "--data", tmp_path, "--part", "")
    assert (figures["pictures"], figures["boxes"], figures["recall"]) == (3, 4, 0.5)
    assert figures["F"] == pytest.approx(57.143)


def test_a_folder_does_as_well_as_an_archive(package: Path, folder: Path) -> None:
    with zipfile.ZipFile(folder / "test_some.zip") as packed:
        packed.extractall(folder / "test_some")
    packed_ones = list(Pairs(folder, "test"))
    (folder / "test_some.zip").unlink()
    for one, two in zip(packed_ones, Pairs(folder, "test"), strict=True):
        assert one.id == two.id and np.array_equal(one.part, two.part) and one.types == two.types


@pytest.mark.parametrize(
    ("file", "body", "said"),
    [
        ("test_some.zip", b"PK nothing", "test_some.zip cannot be read"),
        ("test_some_boxes.csv", b"a,1,2,3,x,4,spurious\n", "'a,1,2,3,x,4,spurious' is no group,id,x1,y1,x2,y2,type"),
        (
            "test_some_boxes.csv",
            b"a,1,2,3,nan,4,spurious\n",
            "test_some_boxes.csv:1: 'a,1,2,3,nan,4,spurious' is no group,id",
        ),
        (
            "test_some_boxes.csv",
            b"a,1,2,3,3,4,rust\n",
            "a/1 has boxes of type rust; the package knows spurious, lacking",
        ),
        (
            "test_some_boxes.csv",
            b"group,id,x1,y1,x2,y2,type\na,1,9,2,3,4,spurious\n",
            "test_some_boxes.csv:2: 'a,1,9,2,3,4",
        ),
        ("test_some_boxes.csv", b"a,1,2,4,3,4,spurious\n", "is a box without an inside (x1 is less than x2"),
        ("test_some_list.txt", b"x 1\n", "holds no whole pair of the part 'test'"),
        ("test_some_list.txt", b"x 1\n", "the list has x/1; the pictures are of a/1, a/2"),
        ("test_some_list.txt", b"a 1\na 2 3\n", "test_some_list.txt:2: 'a 2 3' is no group and number of a picture"),
        ("", b"", "there is no folder"),
        ("none", b"", "say which package or method, and which data"),
    ],
)
def test_a_set_that_cannot_be_read_is_a_fault_in_words(
    package: Path, folder: Path, capsys: pytest.CaptureFixture[str], file: str, body: bytes, said: str
) -> None:
    words = [str(package), "--data", str(folder if file else folder / "nowhere")]
    if body:
        (folder / file).write_bytes(body)
    assert main(["model", "evaluate", *(words[:1] if file == "none" else words)]) != 0
    told = capsys.readouterr()
    assert said in told.err + told.out and "Traceback" not in told.err


@pytest.mark.parametrize("body", [b"no picture", huge()], ids=["none", "huge"])
def test_a_damaged_picture_is_named(
    package: Path, folder: Path, capsys: pytest.CaptureFixture[str], body: bytes
) -> None:
    with zipfile.ZipFile(folder / "test_some.zip", "w") as packed:
        packed.writestr("a/1_test.png", body)
        packed.writestr("a/1_temp.png", b"no picture")
    assert main(["model", "evaluate", str(package), "--data", str(folder)]) != 0
    assert "the picture a/1_test cannot be read" in capsys.readouterr().err


def test_a_damaged_archive_is_told_in_words(package: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoilt(folder / "test_some.zip", "a/1_test.png")
    assert main(["model", "evaluate", str(package), "--data", str(folder)]) != 0
    assert "the picture a/1_test cannot be read" in capsys.readouterr().err


def test_the_recorded_set_is_read_whole(data: Path) -> None:
    pairs = Pairs(data / "deeppcb", "test")
    assert pairs.missing == [] and len(pairs) >= 200
    first = pairs[pairs.ids[0]]
    assert first.part.shape == first.template.shape == (640, 640) and len(first.boxes) == len(first.types) > 0
    assert set(first.types) <= {"open", "short", "mousebite", "spur", "copper", "pin-hole"}


def test_what_can_be_evaluated_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    said = evaluate(capsys, "--list")["evaluations"]
    assert [one["task"] for one in said][:2] == ["detect", "texture"] and "mAP" in said[0]["figures"]


def test_average_precision_is_the_area_under_falling_precision() -> None:
    score, good = np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, True])
    assert average_precision(score, good, 4) == pytest.approx((1 + 0.75 + 0.75) / 4)
    assert average_precision(score[:0], good[:0], 4) == 0 and np.isnan(average_precision(score, good, 0))


def test_a_box_counts_once_and_the_threshold_is_where_f_is_best() -> None:
    truth = (np.array([[0, 0, 10, 10.0], [50, 50, 60, 60]]), np.array([0, 1]))
    found = np.array([[0, 0, 10, 10, 0.9, 0], [1, 0, 11, 10, 0.8, 0], [50, 50, 60, 60, 0.7, 1], [0, 0, 10, 10, 0.6, 1]])
    score = Score([found], [truth], ["one", "two"])
    assert score.by_type() == {"one": 100.0, "two": 100.0} and score.pooled() == pytest.approx(100 * (1 + 2 / 3) / 2)
    assert score.best_threshold() == pytest.approx(0.65) and score.at(0.65) == (2 / 3, 1.0, pytest.approx(80))
    shifted = found + np.array([6, 0, 6, 0, 0, 0])
    assert Score([shifted], [truth], ["one", "two"]).mean() == 0, "an overlap of 0.25 is none"


def test_of_thresholds_that_are_as_good_the_middle_one_is_taken() -> None:
    boxes = np.array([[20 * k, 0, 20 * k + 10, 10.0] for k in range(402)])
    found = np.column_stack([boxes, 0.99 - np.arange(402) / 1e4, np.zeros(402)])
    found[400:, 4] = 0.9, 0.7
    found = np.concatenate([found, [[0, 50, 10, 60, 0.8, 0], [0, 90, 10, 100, 0.5, 0]]])
    score = Score([found[np.argsort(-found[:, 4])]], [(boxes, np.zeros(402, int))], ["one"])
    assert score.best_threshold() == pytest.approx(0.9502 / 2), (
        "from 399 right ones on F is 0.3 % from its best or less"
    )
    assert score.at(0.9)[2] < score.at(0.6)[2], "which is where all are found"


@pytest.mark.parametrize(
    "runs",
    [
        [(0.9, 0.9, 1), (0.5, 0.5, 1), (0.5, 0.5, 0), (0.5, 0.5, 0), (0.5, 0.5, 0)],  # all that score 0.5, or none
        [
            (0.95, 0.9, 50),
            (0.8, 0.7, -20),
            (0.2, 0.1, 10),
            (0.05, 0.04, -40),
        ],  # as good before twenty wrong ones as after
    ],
)
def test_a_threshold_is_none_between_equal_scores_and_none_between_two_good_ones(
    runs: list[tuple[float, float, int]],
) -> None:
    scores = np.concatenate([np.linspace(a, b, max(abs(n), 1)) for a, b, n in runs])
    right = np.concatenate([np.full(max(abs(n), 1), n > 0) for _, _, n in runs])
    many = 2 if len(scores) < 10 else 100
    boxes = np.array([[20 * k, 0, 20 * k + 10, 10.0] for k in range(many)])
    places = np.array(
        [[20 * k, 0 if good else 50, 20 * k + 10, 10 if good else 60] for k, good in enumerate(right)], float
    )
    places[right] = boxes[: right.sum()]
    score = Score([np.column_stack([places, scores, np.zeros(len(scores))])], [(boxes, np.zeros(many, int))], ["one"])
    assert score.at(score.best_threshold())[2] == pytest.approx(max(score.at(x)[2] for x in scores), abs=0.3)
