"""Teaching: from a few good parts to a package that judges, and what is refused on the way. Exact parts first."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge import ConfigFault, LinesideError, ModelRefused, find_part
from edge.cli import main
from models import package
from models.vision import certificate
from models.vision.placing import RegistrationConfig
from models.vision.registration import Placed, Registration, always_seen
from models.vision.teaching import learn, limits, student
from models.vision.tools.contract import Finding, View
from models.vision.tools.table import tool
from models.vision.variation import Allowance, Learner, Normal, boxes_of, field, softened
from models.vision.view import Viewer

from .rendered import SHAPE, WRONG, empty, part

pytestmark = pytest.mark.usefixtures("engine")
PLACE = RegistrationConfig(search=10)
COUNT = 8


def good(seed: int, **also: Any) -> np.ndarray:
    rng = np.random.default_rng([seed, 3])
    return part(*rng.uniform(-6, 6, 2), seed=seed, light=float(rng.uniform(0.97, 1.03)), **also)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("taught")
    (where / "parts").mkdir()
    for seed in range(COUNT):
        cv2.imwrite(str(where / "parts" / f"{seed}.png"), good(seed))
    return where


@pytest.fixture(scope="module")
def taught(folder: Path) -> Path:
    pytest.importorskip(
        "ai_edge_litert", reason="LiteRT, whose wheel a model is written with, is not installed: make setup brings it"
    )
    assert main(["model", "teach", str(folder / "parts"), "--out", str(folder / "plate"), "--search", "10"]) == 0
    return folder / "plate"


def judged(taught: Path, image: np.ndarray, mask: Any = None, **options: Any) -> Finding:
    kind = tool("variation")
    return kind(kind.Config(tool="variation", model=taught.name, **options), taught.parent)(View(image, mask=mask))


def test_a_taught_package_judges_parts_it_never_saw(taught: Path) -> None:
    fresh = [judged(taught, good(seed)).state for seed in range(100, 112)]
    assert "ng" not in fresh and fresh.count("ok") >= 9
    bad = [judged(taught, good(seed, defect=True)) for seed in range(100, 106)]
    assert {finding.state for finding in bad} == {"ng"}
    for seed, finding in zip(range(100, 106), bad, strict=True):
        dx, dy = np.random.default_rng([seed, 3]).uniform(-6, 6, 2)
        x0, y0, x1, y1, label, _ = finding.boxes[0]
        assert label == "differs" and x0 < 200 + dx < x1 and y0 < 150 + dy < y1 and x1 - x0 < 24 and y1 - y0 < 24


def viewer(taught: Path, move: tuple[int, int] = (0, 0), **options: Any) -> Viewer:
    """A view whose template is the package's, or lies a little off it."""
    template = cv2.imread(str(taught / "template.png"))
    assert template is not None
    template = cv2.warpAffine(template, np.float32([[1, 0, move[0]], [0, 1, move[1]]]), SHAPE[::-1], borderMode=1)
    kind = tool("variation")
    made = kind(kind.Config(tool="variation", model=taught.name), taught.parent)
    place = Registration(PLACE.model_copy(update=options), template)
    return Viewer("top", "top", SHAPE, {"varies": made}, template, None, place)


@pytest.mark.parametrize(
    ("options", "times"),
    [({}, 1), ({"move": (2, -2)}, 2), ({"search": 12}, 2)],
    ids=["the package's own template", "another template", "other options"],
)
def test_a_view_placed_by_the_same_template_is_placed_once(
    taught: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], times: int
) -> None:
    view, count, real = viewer(taught, **options), [], Registration.__call__

    def counted(self: Registration, image: np.ndarray) -> Placed:
        count.append(1)
        return real(self, image)

    monkeypatch.setattr(Registration, "__call__", counted)
    fresh = [view(cv2.cvtColor(good(seed), cv2.COLOR_GRAY2BGR)).findings["varies"] for seed in range(100, 106)]
    assert "ng" not in {finding.state for finding in fresh} and len(count) == 6 * times
    bad = view(cv2.cvtColor(good(100, defect=True), cv2.COLOR_GRAY2BGR)).findings["varies"]
    dx, dy = options.get("move", (0, 0))
    x0, y0, x1, y1, *_ = bad.boxes[0]
    assert bad.state == "ng" and x0 < 200 + dx < x1 < x0 + 24 and y0 < 150 + dy < y1 < y0 + 24


def test_another_light_is_no_defect_and_hides_none(taught: Path) -> None:
    for light in (0.75, 1.25):
        rng = np.random.default_rng(5)
        assert judged(taught, part(*rng.uniform(-6, 6, 2), seed=200, light=light)).state != "ng"
        assert judged(taught, part(*rng.uniform(-6, 6, 2), seed=200, light=light, defect=True)).state == "ng"
    dim = judged(taught, part(light=0.4))
    assert dim.state == "recheck" and "times the contrast of the taught parts" in dim.text


def test_parts_that_lie_turned_any_way_are_taught_and_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificate, "TRIES", 1)
    pytest.importorskip(
        "ai_edge_litert", reason="LiteRT, which a model is written with, is not installed: make setup brings it"
    )
    parts: Any = find_part("sims", "parts")
    images = [cv2.cvtColor(parts.render(seed), cv2.COLOR_BGR2GRAY) for seed in range(10)]
    place, allowance = RegistrationConfig(by="feature", search=30, turn=180), Allowance()
    lesson = learn(images, [str(k) for k in range(10)], place, allowance)
    certificate.write(tmp_path / "washer", lesson, images, place, allowance, datetime.now(UTC), time.monotonic(), str)
    kind = tool("variation")
    judge = kind(kind.Config(tool="variation", model="washer"), tmp_path)
    states = {d: [judge(View(parts.render(seed, d))).state for seed in range(1000, 1004)] for d in ("", *parts.DEFECTS)}
    assert "ng" not in states[""] and states[""].count("ok") >= 3
    assert all("ok" not in states[d] and states[d].count("ng") >= 3 for d in parts.DEFECTS)


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (empty(), "px|like the template"),
        (part(kind=WRONG), "like the template by"),
        (part(18, 0), "within 10 px|like the template"),
        (part()[:-2], "the picture is 400 x 298"),
    ],
    ids=["absent", "wrong", "far off", "other size"],
)
def test_what_cannot_be_judged_is_looked_at_again(taught: Path, image: np.ndarray, why: str) -> None:
    finding = judged(taught, image)
    assert finding.state == "recheck"
    assert any(word in finding.text for word in why.split("|"))


def test_limits_and_masks_of_the_recipe(taught: Path) -> None:
    bad = good(100, defect=True)
    mask = np.full(SHAPE, 255, np.uint8)
    mask[130:170, 180:220] = 0
    assert judged(taught, bad, mask).state == "ok"
    specks = []
    for at in range(4):  # a cell is 2 px or more wide, so not all of them are seen
        speck = np.zeros(SHAPE, np.uint8)
        speck[150 + at, 200 + at] = 255
        specks.append(judged(taught, bad, speck))
    assert "ok" not in {finding.state for finding in specks}
    assert any("the mask leaves too little" in finding.text for finding in specks)
    unsure = judged(taught, bad, ng_above=0.999, ok_below=0.3)
    assert unsure.state in ("ng", "recheck")
    assert judged(taught, good(101), ng_above=0.9, ok_below=0.002).text.startswith("not sure")
    with pytest.raises(ConfigFault, match="is above ng_above"):
        judged(taught, bad, ng_above=0.1, ok_below=0.2)
    colour = cv2.cvtColor(bad, cv2.COLOR_GRAY2BGR)
    assert judged(taught, colour).state == "ng"


def test_a_faint_difference_beside_a_strong_one_is_told_as_doubtful(taught: Path) -> None:
    found = judged(taught, good(100, defect=True), ng_above=0.9, ok_below=0.15)
    states = [found.of(box) for box in found.boxes]
    assert found.state == states[0] == "ng" and found.text.startswith("one place differs")
    assert len(states) > 1 and set(states[1:]) == {"recheck"}
    assert all(0.15 <= box[5] < 0.9 for box in found.boxes[1:])


def test_the_certificate_says_what_was_measured(taught: Path) -> None:
    told = json.loads((taught / "certificate.json").read_text())
    model = package.describe(taught)
    assert (told["ok_below"], told["ng_above"]) == (model.ok_below, model.ng_above)
    assert told["parts"] == len(told["scores_by_the_others"]) == COUNT and told["size"] == list(SHAPE)
    assert told["good_parts_looked_at_again"].startswith(f"about 1 in {COUNT + 1}")
    assert max(told["scores_by_the_others"]) <= told["ok_below"] < told["ng_above"]
    assert told["int8"]["differs_at_most"] <= 0.35 * told["int8"]["a_tolerance"] and told["int8"]["correlation"] > 0.95
    largest = told["finds"][-1]
    assert (largest["across_px"], largest["grey_levels"], largest["noticed"]) == (8, 40, 1.0)
    assert told["board"]["cores"] and told["ms"]["most"] > 0 and told["took_s"] > 0
    card = (taught / "card.md").read_text()
    assert card.startswith(f"# {taught.name}\n") and f"data: {COUNT} good parts, taught on the device" in card
    assert "licence: that of the pictures" in card and "seed: fixed" in card and "a spot of " in card
    assert f"OK below {model.ok_below:g}, NG from {model.ng_above:g}" in card
    assert model.weights.endswith(".tflite") and (taught / model.weights).stat().st_size < 10 * SHAPE[0] * SHAPE[1]


def test_an_exchanged_template_or_model_is_refused(taught: Path, tmp_path: Path) -> None:
    for name, why in (
        ("template.png", "not the picture that model.yaml names"),
        ("variation.tflite", "not the file that"),
    ):
        copy = tmp_path / name.partition(".")[0]
        shutil.copytree(taught, copy)
        if name == "template.png":
            cv2.imwrite(str(copy / name), good(7))
        else:
            body = bytearray((copy / name).read_bytes())
            body[len(body) // 2] ^= 1
            (copy / name).write_bytes(body)
        with pytest.raises(ModelRefused, match=why):
            judged(copy, part())


def test_a_package_of_another_task_is_refused() -> None:
    kind = tool("variation")
    with pytest.raises(ModelRefused, match="a model to classify, and here one to variation"):
        kind(kind.Config(tool="variation", model="washer"), Path())


def teach(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """What the refusal says."""
    assert main(["model", "teach", str(folder), "--out", str(folder.parent / "new"), *options]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said and not (folder.parent / "new").exists()
    assert not list(folder.parent.glob(".*draft"))
    return said.splitlines()[-1]


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder / "parts", tmp_path / "parts"))


def test_a_defect_among_the_good_parts_is_named(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip(
        "ai_edge_litert", reason="LiteRT, whose wheel a model is written with, is not installed: make setup brings it"
    )
    cv2.imwrite(str(copy / "9.png"), good(9, defect=True))
    said = teach(copy, capsys, "--search", "10")
    assert "unlike the other parts" in said and "9.png" in said and "8.png" not in said


def test_pictures_that_teach_nothing_are_refused(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(copy / "0.png", copy / "twin.png")
    assert "twin.png and 0.png are the same picture" in teach(copy, capsys)
    (copy / "twin.png").write_bytes(b"no picture")
    assert "twin.png is no picture of 32 to 8192 px" in teach(copy, capsys)
    cv2.imwrite(str(copy / "twin.png"), good(1)[:-2])
    assert "twin.png is 400 x 298, 0.png is 400 x 300" in teach(copy, capsys)
    cv2.imwrite(str(copy / "twin.png"), empty())
    assert "twin.png: one grey only" in teach(copy, capsys)
    another = np.random.default_rng(1).integers(0, 256, SHAPE, np.uint8)
    cv2.imwrite(str(copy / "twin.png"), another)
    assert "twin.png: the part is not found" in teach(copy, capsys)
    (copy / "twin.png").unlink()
    cv2.imwrite(str(copy / "!first.png"), another)
    assert "take !first.png out, of which most differ" in teach(copy, capsys), "and not the good ones one by one"
    (copy / "!first.png").unlink()
    assert "phase follows turns of 2 degrees" in teach(copy, capsys, "--turn", "20")
    assert "--search: " in teach(copy, capsys, "--search", "0")
    cv2.imwrite(str(tmp_path / "mask.png"), np.zeros((40, 40), np.uint8))
    assert "mask.png is 40 x 40, the parts are 400 x 300" in teach(copy, capsys, "--mask", str(tmp_path / "mask.png"))
    cv2.imwrite(str(tmp_path / "mask.png"), np.zeros(SHAPE, np.uint8))
    assert "nothing is left to judge" in teach(copy, capsys, "--mask", str(tmp_path / "mask.png"))
    for path in sorted(copy.glob("*.png"))[4:]:
        path.unlink()
    assert "holds 4 pictures (5 to 200 of good parts" in teach(copy, capsys)
    assert "there is no folder" in teach(copy / "none", capsys)


def test_an_int8_model_that_differs_is_not_written(
    copy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(
        "ai_edge_litert", reason="LiteRT, whose wheel a model is written with, is not installed: make setup brings it"
    )
    monkeypatch.setattr(certificate, "PARITY", 0.001)
    assert "int8 differs from what it was computed from" in teach(copy, capsys, "--search", "10")


def test_a_package_that_is_there_is_never_changed(
    taught: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (taught / "model.yaml").read_bytes()
    assert main(["model", "teach", str(folder / "parts"), "--out", str(taught)]) == 2
    assert "is there already" in capsys.readouterr().err and (taught / "model.yaml").read_bytes() == before


def test_teaching_needs_no_torch(taught: Path) -> None:
    code = "import sys; sys.modules['torch'] = None; import models.commands.teach, models.engines.int8"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent.parent)


def test_each_part_is_scored_by_the_others_alone() -> None:
    parts = [good(seed) for seed in range(6)]
    lesson = learn(parts, [str(k) for k in range(6)], PLACE, Allowance())
    with_itself = [float(field(softened(image), lesson.normal).max()) for image in lesson.images]
    assert all(score > own for score, own in zip(lesson.scores, with_itself, strict=True))
    learner = Learner(np.stack([softened(image) for image in lesson.images]), lesson.judged, Allowance())
    alone = Learner(np.stack([softened(image) for image in lesson.images[1:]]), lesson.judged, Allowance())
    for one, two in zip(vars(learner.normal(without=0)).values(), vars(alone.normal()).values(), strict=True):
        assert np.abs(one - two).max() < 0.02
    with pytest.raises(LinesideError, match="4 parts tell nothing"):
        learn(parts[:4], list("abcd"), PLACE, Allowance())


STUDENT = [(0.999, 4, 7.173), (0.999, 19, 3.579), (0.975, 10, 2.228), (0.999, 400, 3.09)]


@pytest.mark.parametrize(("share", "freedom", "table"), STUDENT)
def test_quantiles_of_student_are_those_of_the_tables(share: float, freedom: int, table: float) -> None:
    assert student(share, freedom) == pytest.approx(table, abs=0.002)


def test_few_parts_set_the_limit_of_ng_far_out() -> None:
    rng = np.random.default_rng(1)
    scores = np.exp(rng.normal(0, 0.2, 200))
    scores = np.exp((np.log(scores) - np.log(scores).mean()) / np.log(scores).std() * 0.2)
    few, many = limits(np.quantile(scores, np.linspace(0.1, 0.9, 5)).tolist()), limits(scores.tolist())
    assert (
        few.ng_above > 1.9 * few.ok_below
        and many.ng_above < 1.25 * many.ok_below
        and (few.again, many.again) == (6, 201)
    )
    assert many.ok_below == pytest.approx(scores.max())
    assert many.ng_above == pytest.approx(max(np.exp(0.2 * 2.61), 1.2 * scores.max()), rel=0.03)
    still = limits([0.01] * 10)
    assert (still.ok_below, still.ng_above) == (0.25, 0.5)


def test_the_field_counts_tolerances_beyond_what_an_edge_may_move() -> None:
    normal = Normal(
        np.full((12, 12), 90.0, np.float32), np.full((12, 12), 110.0, np.float32), np.full((12, 12), 10.0, np.float32)
    )
    soft = np.full((12, 12), 100.0, np.float32)
    assert not field(soft, normal).any() and field(soft, normal).shape == (5, 5)
    soft[4:8, 4:8] = 130
    cells = field(soft, normal)
    assert cells[2, 2] == pytest.approx(2.0) and cells[1, 2] == pytest.approx(1.0) and cells[0, 0] == 0
    assert boxes_of(cells, 1.5) == [(4, 4, 8, 8, 2.0)]
    normal.tolerance[:] = 0
    assert not field(soft, normal).any()


def test_only_what_every_allowed_place_shows_is_judged() -> None:
    seen = always_seen(RegistrationConfig(search=10), (100, 120))
    assert seen[10:-10, 10:-10].all() and not seen[:9].any() and not seen[:, -9:].any()
    turned = always_seen(RegistrationConfig(by="feature", search=1, turn=180), (100, 120))
    assert turned[50, 60] and not turned[4, 4] and not turned[50, 4] and turned[50, 20]
