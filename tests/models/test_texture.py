"""Textures: good surfaces alone teach what a defect looks like; the tool, the package and the curve over sorted pictures."""

import json
import shutil
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge import ConfigFault, LinesideError, ModelRefused
from edge.cli import main
from models import package
from models.vision import curve, drawn, surface, surface_package, texture
from models.vision.sorted_parts import sorted_parts
from models.vision.surface import Seen, Ways, limits, look, shrunk, ways
from models.vision.tools.contract import Finding, View
from models.vision.tools.table import tool
from tests.models.archives import spoilt


def brushed(seed: int, high: int = 160, wide: int = 144) -> np.ndarray:
    """A surface brushed from top to bottom under uneven light, of any size."""
    rng = np.random.default_rng(seed)
    grain = cv2.GaussianBlur(rng.normal(0, 30, (high, wide)).astype(np.float32), (0, 0), sigmaX=0.7, sigmaY=12)
    light = np.linspace(rng.uniform(80, 120), rng.uniform(80, 120), wide)
    return np.clip(light + 3 * grain + rng.normal(0, 3, (high, wide)), 0, 255).astype(np.uint8)


def scratched(seed: int) -> np.ndarray:
    """The same with a dark scratch across the grain."""
    image = brushed(seed)
    cv2.line(image, (40, 70), (100, 90), 30, 2, cv2.LINE_AA)
    return image


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six good parts of two sizes."""
    out = tmp_path_factory.mktemp("surface")
    for seed in range(6):
        cv2.imwrite(str(out / f"{seed}.png"), brushed(seed, 160 + 8 * (seed % 2) + 3))
    return out


@pytest.fixture(scope="module")
def taught(folder: Path) -> Path:
    pytest.importorskip(
        "ai_edge_litert", reason="LiteRT, which a model is written with, is not installed: make setup brings it"
    )
    out = folder.parent / f"{folder.name}-package"
    assert main(["model", "teach", str(folder), "--texture", "--out", str(out), "--json"]) == 0
    return out


def judged(where: Path, image: np.ndarray, mask: np.ndarray | None = None, **more: float) -> Finding:
    kind = tool("texture")
    found = kind(kind.Config(tool="texture", model=where.name, **more), where.parent)(View(image, mask=mask))
    assert isinstance(found, Finding)
    return found


def test_a_defect_is_found_where_it_is_and_good_surfaces_pass(taught: Path) -> None:
    bad = [judged(taught, scratched(seed)) for seed in range(100, 104)]
    assert all(found.state != "ok" for found in bad)
    x0, y0, x1, y1, label, score = bad[0].boxes[0]
    assert x0 < 100 and x1 > 40 and y0 < 90 and y1 > 70 and label == "differs" and 0 < score <= 1
    assert "most like" in bad[0].text
    good = [judged(taught, brushed(seed, 200, 130)) for seed in range(200, 206)]
    assert sum(found.state == "ok" for found in good) >= 4 and all(
        not found.boxes for found in good if found.state == "ok"
    )
    assert min(found.score for found in bad) > max(found.score for found in good)
    assert judged(taught, cv2.cvtColor(scratched(100), cv2.COLOR_GRAY2BGR)).score == bad[0].score


def test_what_is_no_such_surface_is_looked_at_again(taught: Path) -> None:
    for image, why in (
        (np.full((160, 144), 100, np.uint8), "another surface"),
        (brushed(7) // 4, "another light"),
        (np.random.default_rng(1).integers(0, 255, (160, 144)).astype(np.uint8), "another surface"),
        (brushed(7)[:95], "144 x 95 px are too few: 96"),
    ):
        found = judged(taught, image)
        assert found.state == "recheck" and why in found.text


def test_masks_and_limits_of_the_recipe(taught: Path) -> None:
    mask = np.full((160, 144), 255, np.uint8)
    mask[52:108, 24:116] = 0
    assert judged(taught, scratched(100), mask).score < judged(taught, scratched(100)).score
    unsure = judged(taught, brushed(201), ng_above=0.999, ok_below=0.001)
    assert unsure.state == "recheck" and unsure.text.startswith("not sure: unlike") and unsure.boxes
    with pytest.raises(ConfigFault, match="is above ng_above"):
        judged(taught, brushed(1), ng_above=0.1, ok_below=0.2)
    kind = tool("texture")
    with pytest.raises(ModelRefused, match="a model to classify, and here one to texture"):
        kind(kind.Config(tool="texture", model="washer"), Path())


def test_the_certificate_says_what_was_measured(taught: Path) -> None:
    told, model = json.loads((taught / "certificate.json").read_text()), package.describe(taught)
    assert isinstance(model, package.Texture)
    assert (told["ok_below"], told["ng_above"]) == (model.ok_below, model.ng_above)
    assert set(told["scores_by_the_others"]) == {f"{k}.png" for k in range(6)}
    assert max(told["scores_by_the_others"].values()) <= told["ok_below"] < told["ng_above"]
    assert [one["drawn"] for one in told["finds"]] == list(drawn.KINDS)
    assert all(one["ng"] <= one["noticed"] for one in told["finds"])
    card = (taught / "card.md").read_text()
    assert "for the tool `texture`" in card and "data: 6 good parts with defects drawn on them" in card
    assert any(f"at best: {kind}, " in card for kind in drawn.KINDS)
    assert told["int8"]["differs_at_most"] <= surface_package.PARITY and told["ms"]["most"] > 0


def test_an_exchanged_file_is_refused(taught: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(taught, tmp_path / "copy"))
    for body in (b"", b"PK", (taught / "golden.npz").read_bytes()):
        (copy / "usual.npz").write_bytes(body)
        with pytest.raises(ModelRefused, match=r"not the file that model\.yaml names"):
            judged(copy, brushed(1))
    (copy / "usual.npz").unlink()
    with pytest.raises(ModelRefused, match="cannot be read"):
        judged(copy, brushed(1))


def test_what_cannot_teach_is_refused(
    folder: Path, taught: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*options: str) -> str:
        assert main(["model", "teach", "--texture", *options]) == 2
        return capsys.readouterr().err.splitlines()[-1]

    assert "is there already" in said(str(folder), "--out", str(taught))
    out = ("--out", str(tmp_path / "new"))
    assert "--mask says where a placed part" in said(str(folder), *out, "--mask", str(folder / "0.png"))
    for name, value in (
        ("turn", "3"),
        ("by", "phase"),
        ("edge", "2"),
        ("search", "9"),
        ("spread", "4"),
        ("levels", "8"),
    ):
        assert f"--{name} belongs to parts that are placed" in said(str(folder), *out, f"--{name}", value)
    assert "--scale, --every belong to parts" in said(str(folder), *out, "--scale", "0", "--every")
    copy = Path(shutil.copytree(folder, tmp_path / "parts"))
    cv2.imwrite(str(copy / "3.png"), brushed(3)[:40])
    assert "3.png: 144 x 40 px are too few" in said(str(copy), *out)
    assert not (tmp_path / "new").exists()


def test_an_int8_model_that_differs_is_not_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(
        "ai_edge_litert", reason="LiteRT, which a model is written with, is not installed: make setup brings it"
    )
    monkeypatch.setattr(surface_package, "PARITY", 0.0)
    assert main(["model", "teach", str(folder), "--texture", "--out", str(tmp_path / "new")]) == 2
    assert "int8 differs" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_part_is_scored_by_what_did_not_see_it(monkeypatch: pytest.MonkeyPatch) -> None:
    knew: list[list[Seen]] = []

    def watched(parts: list[Seen]) -> Ways:
        knew.append(list(parts))
        return ways(parts)

    monkeypatch.setattr(surface, "ways", watched)
    lesson = surface.learn([brushed(seed) for seed in range(5)], [str(seed) for seed in range(5)])
    assert [len(parts) for parts in knew] == [4, 4, 4, 4, 4, 5]
    for k, part in enumerate(lesson.parts):
        (alone,) = (parts for parts in knew[:5] if not any(part is one for one in parts))
        assert lesson.scores[k] == float(ways(alone)(part.good).max())
    assert {kind: len(scores) for kind, scores in lesson.noticed.items()} == dict.fromkeys(drawn.KINDS, 10)


def test_limits_of_few_parts_lie_far_out() -> None:
    scores = [1.1, 1.2, 1.9, 1.3, 1.6]
    ok, ng = limits(scores)
    assert ok == 1.9 and ng > 2.5
    assert ok < limits(scores * 4)[1] < ng
    assert limits([-3.0] * 5)[0] == 1.0


def test_numbers_of_a_surface_and_ways() -> None:
    image = brushed(1, 163, 150)
    cells, spreads = texture.answers(image)
    assert cells.shape == (21, 19, texture.ANSWERS)
    seen = texture.numbers(cells, spreads)
    assert seen.shape == (package.Texture.FEATURES,) and seen.dtype == np.uint8
    brighter = texture.numbers(*texture.answers(np.clip(image * 1.4, 0, 255).astype(np.uint8)))
    assert np.abs(seen.astype(int) - brighter).mean() < 6, "the light is taken out"
    with pytest.raises(ValueError, match="too little of the surface"):
        texture.numbers(cells, spreads, np.zeros(cells.shape[:2], bool))
    parts = [look(brushed(seed), 6, seed) for seed in range(5)]
    assert np.array_equal(ways(parts).each, ways([look(brushed(seed), 6, seed) for seed in range(5)]).each)
    known = ways(parts)
    assert all(
        known(worse)[list(drawn.KINDS).index(kind)] > known(part.good)[list(drawn.KINDS).index(kind)] - 0.5
        for part in parts
        for kind, worse in part.drawn
    )


def test_a_covariance_of_few_is_shrunk_and_of_many_is_not() -> None:
    rng = np.random.default_rng(1)
    true = np.array([[1.0, 0.8], [0.8, 1.0]])
    many = rng.multivariate_normal([0, 0], true, 4000)
    assert np.abs(shrunk(many) - true).max() < 0.08
    few = shrunk(rng.normal(0, 1, (6, 50)))
    assert np.linalg.cond(few) < 50 and abs(np.trace(few) / 50 - 1) < 0.4


@pytest.fixture
def sorted_folder(tmp_path: Path) -> Path:
    """Two pictures each of ten good parts, and four defects, in a zip with its list."""
    rows = ["class,image,num", "Crack,small,90000"]
    with zipfile.ZipFile(tmp_path / "dev.zip", "w") as archive:
        for k in range(24):
            kind, name = ("Free", f"g{k}") if k < 20 else ("Crack", f"c{k}")
            image = brushed(k // 2 * 100 + k % 2) if k < 20 else scratched(k)
            archive.writestr(f"{kind}/{name}.jpg", cv2.imencode(".jpg", image)[1].tobytes())
            rows.append(f"{kind},{name},{1000 * (k // 2) + 10 * (k % 2)}")
        archive.writestr("Crack/small.jpg", cv2.imencode(".jpg", scratched(24)[:40])[1].tobytes())
    (tmp_path / "dev_list.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_a_curve_over_sorted_pictures(sorted_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "curve", "--data", str(sorted_folder), "--parts", "5,all", "--splits", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["good"], told["good_parts"], told["defective"], len(told["missing"])) == (20, 10, 4, 1)
    assert told["missing"][0].startswith("Crack/small, left out: 144 x 40 px are too few")
    assert [row["parts"] for row in told["curve"]] == [5, "all"] and [row["pictures"] for row in told["curve"]] == [
        5,
        12,
    ]
    assert told["curve"][1]["auroc"] >= 0.9 and 0 <= told["curve"][1]["variation"] <= 1
    assert told["curve"][1]["by_kind"] == {"Crack": told["curve"][1]["auroc"]}
    assert main(["model", "curve", "--data", str(sorted_folder), "--parts", "7", "--splits", "1"]) == 2
    assert "7 parts cannot teach: two thirds of the good ones are 6" in capsys.readouterr().err
    assert main(["model", "curve", "--data", str(sorted_folder), "--good", "OK"]) == 2
    assert "kinds here: Crack, Free" in capsys.readouterr().err
    assert main(["model", "curve", "--data", str(sorted_folder), "--parts", "4"]) == 2


@pytest.mark.parametrize(("bound", "words"), [("MOST", "holds 25 pictures"), ("MOST_ALL", "are more than 0 MiB")])
def test_what_is_too_much_is_told_before_any_of_it_is_read(
    sorted_folder: Path, monkeypatch: pytest.MonkeyPatch, bound: str, words: str
) -> None:
    read = []
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda self, entry: read.append(entry) or b"")
    monkeypatch.setattr(cv2, "imdecode", lambda body, how: read.append(body))
    monkeypatch.setattr(f"models.vision.sorted_parts.{bound}", 24)
    with pytest.raises(LinesideError, match=words):
        sorted_parts(sorted_folder)
    assert not read


def test_pictures_that_are_too_large_when_unpacked_are_told(
    sorted_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (archive,) = sorted_folder.glob("*.zip")
    monkeypatch.setattr("models.vision.sorted_parts.MOST_ALL", archive.stat().st_size)
    with pytest.raises(LinesideError, match="are more than 0 MiB"):
        sorted_parts(sorted_folder)


def test_pictures_of_one_part_stay_on_one_side(sorted_folder: Path) -> None:
    pictures, missing = sorted_parts(sorted_folder)
    by_name = {picture.name: picture.part for picture in pictures}
    assert by_name["g0"] == by_name["g1"] != by_name["g2"] and not missing
    made = curve.Curve.__new__(curve.Curve)
    made._good = [picture for picture in pictures if picture.kind == "Free"]
    for seed in range(4):
        teach, test = ({made._good[k].part for k in side} for side in made._split(seed))
        assert not teach & test and len(teach) == 6
    (sorted_folder / "dev_list.csv").unlink()
    alone, missing = sorted_parts(sorted_folder)
    assert len({picture.part for picture in alone}) == 25 and "*_list.csv" in missing[0]
    spoilt(sorted_folder / "dev.zip", "Free/g0.jpg")
    with pytest.raises(LinesideError, match=r"Free/g0 is no picture"):
        sorted_parts(sorted_folder)
    (sorted_folder / "dev.zip").write_bytes(b"PK")
    with pytest.raises(LinesideError, match=r"dev\.zip cannot be read"):
        sorted_parts(sorted_folder)
    (sorted_folder / "dev.zip").unlink()
    with pytest.raises(LinesideError, match="holds 0 pictures"):
        sorted_parts(sorted_folder)
