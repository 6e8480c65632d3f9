"""Single pictures with boxes, no template: read in either layout, judged and evaluated by a package that needs none."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.cli import main
from edge.errors import LinesideError
from models.package import load
from models.vision.detect import Detector, scaled
from models.vision.singles import COLUMNS, Singles, singles_in
from models.vision.tools.contract import View
from models.vision.tools.detect import DetectConfig, DetectTool

pytest.importorskip(
    "ai_edge_litert", reason="LiteRT, whose schema writes the network, is not installed: make setup brings it"
)
from tests.models import detector as made
from tests.models.archives import spoilt

pytestmark = pytest.mark.usefixtures("engine")
SPOTS = {"one.png": [(16, 24), (40, 8)], "good.png": [], "two.png": [(0, 48)]}
FLAT = {
    "images": [{"id": 1, "file_name": "one.png"}],
    "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 0, 3]}],
    "categories": [{"id": 1, "name": "spurious"}],
}
DRAWN = [
    ("one.png", "spurious", 12, 20, 28, 36),
    ("one.png", "spurious", 42, 4, 58, 20),  # 6 of 16 pixels beside what is found: an overlap of 0.45
    ("two.png", "lacking", 0, 44, 12, 60),
    ("gone.png", "spurious", 0, 0, 9, 9),
]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.package(tmp_path_factory.mktemp("models") / "difference", alone="true", fit="scale")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One of three pictures has no defect; the table names one that is not there."""
    root = tmp_path / "set"
    root.mkdir()
    with zipfile.ZipFile(root / "dev.zip", "w") as packed:
        for name, spots in SPOTS.items():
            packed.writestr(name, cv2.imencode(".png", made.pictures(*spots)[0])[1].tobytes())
    rows = [f"{name},64,64,{kind},{','.join(map(str, box))}\n" for name, kind, *box in DRAWN]
    (root / "dev_boxes.csv").write_text(",".join(COLUMNS) + "\n" + "".join(rows))
    return root


def as_coco(folder: Path) -> Path:
    """The same pictures in a COCO file, two more parts of which are the test's or not by their names."""
    with zipfile.ZipFile(folder / "dev.zip") as packed:
        packed.extractall(folder)
    images = [{"id": n, "file_name": name} for n, name in enumerate(SPOTS)]
    notes = [
        {"image_id": list(SPOTS).index(name), "category_id": 7 + (kind == "lacking"), "bbox": [x, y, a - x, b - y]}
        for name, kind, x, y, a, b in DRAWN[:3]
    ]
    kinds = [{"id": 7, "name": "spurious"}, {"id": 8, "name": "lacking"}]
    file = folder / "annotations.json"
    file.write_text(json.dumps({"images": images, "annotations": notes, "categories": kinds}))
    return folder


def test_both_layouts_say_the_same(folder: Path) -> None:
    table = Singles(folder)
    assert (table.part, table.ids, table.missing) == ("dev", ["good.png", "one.png", "two.png"], ["gone.png"])
    assert table.labels == ["lacking", "spurious"] and table["good.png"].boxes.shape == (0, 4)
    (folder / "dev").mkdir()
    with zipfile.ZipFile(folder / "dev.zip") as packed:
        packed.extractall(folder / "dev")
    (folder / "dev.zip").unlink()
    for one, two, three in zip(
        table_of(Singles(folder)), table_of(Singles(as_coco_of(folder), "")), SPOTS, strict=True
    ):
        assert one == two and three in SPOTS


def as_coco_of(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "dev.zip", "w") as packed:
        for path in (folder / "dev").iterdir():
            packed.write(path, path.name)
    return as_coco(folder)


def table_of(singles: Singles) -> list[tuple[str, bytes, object, list[str]]]:
    return [(one.id, one.part.tobytes(), one.boxes.tolist(), one.types) for one in singles]


def test_each_fifth_picture_of_coco_is_the_tests_and_never_trained_on(folder: Path) -> None:
    file = as_coco(folder) / "annotations.json"
    images = [{"id": n, "file_name": f"{n}.png"} for n in range(200)]
    file.write_text(json.dumps({"images": images}))
    tested, trained = singles_in(folder, None).ids, Singles(folder).ids
    assert 20 < len(tested) < 60 and not set(tested) & set(trained) and len(tested) + len(trained) == 200


@pytest.mark.parametrize(
    ("file", "body", "said"),
    [
        (
            "dev_boxes.csv",
            "group,id,x1,y1,x2,y2,type\n",
            "its first line is 'group,id,x1,y1,x2,y2,type', not image,width",
        ),
        ("dev_boxes.csv", f"{','.join(COLUMNS)}\none.png,64,64,spurious,1,2,nan,4\n", "dev_boxes.csv:2: 'one.png,64"),
        ("dev_boxes.csv", f"{','.join(COLUMNS)}\none.png,64\n", "dev_boxes.csv:2: 'one.png,64' is no image,width"),
        (
            "dev_boxes.csv",
            f"{','.join(COLUMNS)}\none.png,64,64,spurious,9,2,9,4\n",
            "dev_boxes.csv:2: 'one.png,64,64,sp",
        ),
        ("test_boxes.csv", "", "names several parts"),
        ("dev.zip", "PK nothing", "dev.zip cannot be read"),
        ("annotations.json", "{}", "annotations.json: images: Field required"),
        ("annotations.json", '{"images": [{"id": 1, "file_name": "../../x.png"}]}', "outside of its folder"),
        ("annotations.json", '{"images": [{"id": 1, "file_name": "dev_boxes.csv"}]}', "is no picture, or too large"),
        ("annotations.json", json.dumps(FLAT), "annotations.json: a box of one.png is 0 x 3"),
        ("", "", "there is no folder"),
    ],
)
def test_a_folder_that_cannot_be_read_is_a_fault_in_words(folder: Path, file: str, body: str, said: str) -> None:
    if file:
        (folder / file).write_text(body)
    with pytest.raises(LinesideError) as fault:
        list(Singles(folder if file else folder / "nowhere", "" if file == "annotations.json" else None))
    assert said in str(fault.value)


def test_a_damaged_archive_is_told_in_words(folder: Path) -> None:
    spoilt(folder / "dev.zip", "one.png")
    with pytest.raises(LinesideError, match=r"one\.png in .* is no picture"):
        list(Singles(folder))


def test_a_package_that_needs_no_template_judges_a_picture_alone(package: Path) -> None:
    picture = made.pictures((16, 24))[0]
    found = Detector(load(package), 0.2)(picture, None)
    assert found[:, :4].round().tolist() == [[12, 20, 28, 36]] and found[0, 5] == 0
    tool = DetectTool(DetectConfig(tool="detect", model=str(package)), Path())
    assert tool(View(picture)).state == "ng" and tool(View(made.pictures()[0])).state == "ok"


@pytest.mark.parametrize("size", [(128, 128), (128, 64), (48, 32)])
def test_a_picture_of_another_size_is_scaled_and_its_boxes_scaled_back(package: Path, size: tuple[int, int]) -> None:
    picture = np.zeros(size, np.uint8)
    side = max(size)
    cell = side // 8
    picture[2 * cell : 3 * cell, cell : 2 * cell] = 255
    view, scale = scaled(picture[:, :, None], (64, 64))
    assert view.shape == (64, 64, 1) and scale == 64 / side
    (box,) = Detector(load(package), 0.2)(picture, None)
    assert np.allclose(box[:4], np.array([0.5, 1.5, 2.5, 3.5]) * cell, atol=1)


def test_evaluation_of_single_pictures(package: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "evaluate", str(package), "--data", str(folder), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (figures["pictures"], figures["boxes"], figures["overlap"], figures["missing"]) == (3, 3, 0.5, ["gone.png"])
    assert (figures["precision"], figures["recall"]) == (0.33333, 0.33333), "an overlap of 0.45 counts no more"


def test_pictures_without_templates_are_no_pairs(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compares = made.package(tmp_path / "compares")
    assert main(["model", "evaluate", str(compares), "--data", str(as_coco(folder)), "--part", ""]) != 0
    said = capsys.readouterr().err
    assert "has no picture of the part '' to use" in said and "Traceback" not in said


def test_the_recorded_set_is_read_whole(data: Path) -> None:
    singles = Singles(data / "neu-det")
    assert singles.missing == [] and len(singles) >= 200 and len(singles.labels) == 6
    assert singles[singles.ids[0]].part.shape == (200, 200)
