"""Recipes: every fault with its place, what the checksum covers, and what a found defect means."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge import read_yaml
from models.vision.recipe import Recipe, Refused, load
from models.vision.recipe_schema import markdown, schema
from models.vision.registration import grey
from models.vision.rules import Rule, Seen, decide
from models.vision.shelf import certify
from models.vision.tools.classify import ClassifyConfig, ClassifyTool
from models.vision.tools.contract import Finding
from models.vision.tools.table import TOOLS, tool
from models.vision.view import Viewer

ROOT = Path(__file__).parents[2]
GOOD = """\
recipe: board A
views:
  top:
    camera: cam
    template: good.png
    tools:
      copper: {tool: template}
rules:
  - {label: [differs], shorter_px: 4, then: ok}
"""


def board() -> np.ndarray:
    image = np.full((120, 160, 3), 230, np.uint8)
    for x in range(20, 150, 20):
        cv2.line(image, (x, 10), (x, 110), (20, 20, 20), 6)
    return image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    cv2.imwrite(str(tmp_path / "good.png"), board())
    return tmp_path


def written(folder: Path, text: str = GOOD) -> Path:
    path = folder / "a.yaml"
    path.write_text(text)
    return path


def good(folder: Path, text: str = GOOD) -> Recipe:
    found = load(written(folder, text))
    assert isinstance(found, Recipe), found
    return found


def faults(folder: Path, text: str) -> list[str]:
    found = load(written(folder, text))
    assert isinstance(found, Refused), "it was taken"
    return [fault.replace(f"{folder}/", "") for fault in found.faults]


def test_a_part_is_judged_by_its_recipe(folder: Path) -> None:
    recipe = good(folder)
    part = board()
    part[50:60, 16:26] = 230  # an open line
    states = [decide([recipe.views["top"](image)], recipe.rules) for image in (board(), part, board()[:100])]
    assert [s.state for s in states] == ["ok", "ng", "recheck"]
    assert (
        states[1].label == "differs"
        and states[1].boxes[0][0] == "top"
        and states[1].measured["top.copper.differs_px"] > 8
    )
    assert "160 x 100" in states[2].text and "160 x 120" in states[2].text


def test_a_recipe_that_was_measured_before_is_warm_all_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, again, ran, real = good(folder), good(folder), [], Viewer.__call__

    def counted(self: Viewer, image: np.ndarray) -> Seen:
        ran.append(self)
        return real(self, image)

    monkeypatch.setattr("models.vision.shelf._measured", {})
    told = certify(before, 10**6)
    monkeypatch.setattr(Viewer, "__call__", counted)
    assert certify(again, 10**6).ms == told.ms
    assert [view is again.views["top"] for view in ran] == [True]


def test_a_region_and_a_mask_say_what_is_judged(folder: Path) -> None:
    part = board()
    part[50:60, 16:26] = 230
    mask = np.full((120, 160), 255, np.uint8)
    mask[40:70, 10:35] = 0
    cv2.imwrite(str(folder / "mask.png"), mask)
    for more in ("region: [60, 0, 100, 120]", "mask: mask.png"):
        recipe = good(folder, GOOD.replace("    tools:", f"    {more}\n    tools:"))
        assert decide([recipe.views["top"](part)], []).state == "ok", more


def test_a_box_of_a_region_is_where_it_is_in_the_picture(folder: Path) -> None:
    part = board()
    part[50:60, 96:106] = 230
    recipe = good(folder, GOOD.replace("    tools:", "    region: [60, 20, 100, 90]\n    tools:"))
    x0, y0, x1, y1, *_ = decide([recipe.views["top"](part)], []).boxes[0][1]
    assert 85 < x0 <= 100 <= x1 < 116 and 39 < y0 <= 55 <= y1 < 71


def test_a_part_that_lies_off_is_brought_to_its_place(folder: Path) -> None:
    moved = cv2.warpAffine(
        board(), np.array([[1, 0, 7], [0, 1, 5]], np.float32), (160, 120), borderValue=(230, 230, 230)
    )
    cv2.rectangle(moved, (60, 20), (66, 26), (20, 20, 20), -1)
    recipe = good(folder, GOOD.replace("    tools:", "    registration: {search: 12}\n    tools:"))
    found = decide([recipe.views["top"](moved)], [])
    x0, y0, x1, y1, *_ = found.boxes[0][1]
    assert found.state == "ng" and len(found.boxes) == 1
    assert x0 <= 60 <= x1 and y0 <= 20 <= y1, "where it is in the camera's picture"
    assert decide([recipe.views["top"](board())], []).state == "ok"
    assert decide([recipe.views["top"](np.zeros((120, 160, 3), np.uint8))], []).state == "recheck"


def test_what_the_picture_does_not_show_looks_like_no_defect(folder: Path) -> None:
    template = board()
    template[:, -4:] = 20
    cv2.imwrite(str(folder / "good.png"), template)
    moved = cv2.warpAffine(template, np.array([[1, 0, 7], [0, 1, 5]], np.float32), (160, 120), borderMode=1)
    viewer = good(folder, GOOD.replace("    tools:", "    registration: {search: 12}\n    tools:")).views["top"]
    view, _ = viewer.prepared(moved)
    assert view.mask is not None and view.template is not None
    unseen = view.mask == 0
    assert unseen[:, -6:].all() and np.array_equal(view.image[unseen], view.template[unseen])


def test_a_region_that_the_picture_does_not_show_is_looked_at_again(folder: Path) -> None:
    more = "    registration: {search: 12}\n    region: [120, 10, 40, 100]\n    tools:"
    view = good(folder, GOOD.replace("    tools:", more)).views["top"]
    assert decide([view(board())], []).state == "ok"
    move = np.array([[1, 0, 9], [0, 1, 0]], np.float32)
    found = decide([view(cv2.warpAffine(board(), move, (160, 120), borderValue=(230, 230, 230)))], [])
    assert found.state == "recheck" and "the picture ends within the region" in found.text


@pytest.mark.parametrize(
    ("old", "new", "place", "words"),
    [
        ("camera: cam", "camra: cam", "a.yaml:4:5: views.top.camra", "did you mean 'camera'"),
        ("good.png", "none.png", "a.yaml:5:15: views.top.template", "cannot read none.png"),
        ("tool: template", "tool: templat", "a.yaml:7:22: views.top.tools.copper.tool", "did you mean 'template'"),
        (
            "{tool: template}",
            "{tool: template, aera: 9}",
            "a.yaml:7:32: views.top.tools.copper.aera",
            "did you mean 'area'",
        ),
        (
            "{tool: template}",
            "{tool: classify, model: nothing}",
            "views.top.tools.copper",
            "no model package 'nothing'",
        ),
        ("{tool: template}", "{area: 3}", "views.top.tools.copper.tool", "say which tool judges"),
        ("    template: good.png\n", "", "views.top", "size: [height, width]"),
        (
            "template: good.png",
            "size: [120, 160]",
            "a.yaml:7:15: views.top.tools.copper",
            "compares the part with a good one, and the view has none, add `template: PICTURE`",
        ),
        (
            "template: good.png\n    tools:\n      copper: {tool: template}",
            "size: [120, 160]\n    shadow: {copper: {tool: template}}\n    tools:\n      copper: {tool: blob, level: 9}",
            "a.yaml:6:22: views.top.shadow.copper",
            "the view has none",
        ),
        ("shorter_px: 4", "shorter_mm: 4", "a.yaml:9:5: rules.0", "add `mm:` to top"),
        ("label: [differs], shorter_px: 4, ", "", "a.yaml:9:5: rules.0", "say which"),
        ("shorter_px: 4", "view: side", "rules.0.view", "no view is called 'side'"),
        ("label: [differs]", "label: [difers]", "rules.0.label", "no tool finds 'difers', did you mean 'differs'?"),
        ("label: [differs]", "view: top, label: [hole]", "rules.0.label", "no tool finds 'hole', there are differs"),
        (
            "    tools:",
            "    region: [100, 0, 100, 120]\n    tools:",
            "views.top.region",
            "beyond the picture of 160 x 120",
        ),
        ("    tools:", "    mask: good.yaml\n    tools:", "views.top.mask", "cannot read"),
        (
            "    tools:",
            "    lasts: 1s\n    tools:",
            "views.top.tools.copper",
            "judges one picture, and the view `lasts`",
        ),
        ("recipe: board A", "recipe: [", "a.yaml:", "not YAML"),
    ],
)
def test_a_fault_has_its_place_and_what_to_do(folder: Path, old: str, new: str, place: str, words: str) -> None:
    assert old in GOOD
    said = " | ".join(faults(folder, GOOD.replace(old, new)))
    assert place in said and words in said, said


def test_a_model_of_two_pictures_wants_one_to_compare_with_and_another_does_not(folder: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="no TFLite engine is installed: make setup brings LiteRT")
    from tests.models import detector

    detector.package(folder / "pair")
    detector.package(folder / "single", alone=True)
    text = GOOD.replace("template: good.png", "size: [120, 160]").replace("tool: template", "tool: detect, model: pair")
    text = text.replace("[differs]", "[lacking]")
    (said,) = faults(folder, text)
    assert said.startswith("a.yaml:7:15: views.top.tools.copper: compares the part with a good one"), said
    good(folder, text.replace("model: pair", "model: single"))
    good(folder, text.replace("size: [120, 160]", "template: good.png"))


def test_all_faults_at_once_and_an_empty_file_is_one(folder: Path) -> None:
    assert len(faults(folder, GOOD.replace("good.png", "none.png").replace("tool: template", "tool: x"))) == 2
    assert "the recipe is empty" in faults(folder, "")[0]
    assert faults(folder, GOOD.replace("good.png", "a.yaml"))[0].endswith("is no picture, or too large")


SHAPES = [
    ("    tools:", "    regin: [0, 0, 9, 9]\n    tools:"),
    ("then: ok", "then: maybe"),
    ("camera: cam", "camera: [cam]"),
]


@pytest.mark.parametrize(("old", "new"), SHAPES)
@pytest.mark.parametrize(
    ("good", "bad", "place", "words"),
    [
        ("tool: template", "tool: templat", "a.yaml:{}:22: views.top.tools.copper.tool", "did you mean 'template'"),
        ("tool: template", "tool: blob, level: 9, lest: 2", "views.top.tools.copper.lest", "did you mean 'least'"),
        (
            "tool: template",
            "tool: classify, model: none",
            "a.yaml:{}:15: views.top.tools.copper",
            "no model package 'none'",
        ),
        ("good.png", "none.png", "views.top.template", "cannot read none.png"),
        (
            "    tools:",
            "    shadow: {copper: {tool: x}}\n    tools:",
            "views.top.shadow.copper.tool",
            "no tool is called 'x'",
        ),
        ("rules:", "rules:\n  - {view: side, then: ng}", "rules.0.view", "no view is called 'side'"),
    ],
)
def test_a_fault_of_shape_hides_no_other(
    folder: Path, old: str, new: str, good: str, bad: str, place: str, words: str
) -> None:
    said = faults(folder, GOOD.replace(good, bad).replace(old, new))
    line = 8 if "regin" in new else 7
    assert any(place.format(line) in one and words in one for one in said), said
    assert len(said) == 2, said


def test_a_wrong_rule_hides_no_fault_of_the_tests_and_of_who_the_part_is(folder: Path) -> None:
    more = "tests: [{name: a, pictures: {kam: b}, expect: ng}]\npart: {code: top.copper}\nrules:"
    said = " | ".join(faults(folder, GOOD.replace("rules:", more).replace("then: ok", "then: maybe")))
    for words in (
        "tests.0.pictures.kam: is no camera",
        "part.code: 'top.copper' is no tool that reads",
        "rules.0.then: must",
    ):
        assert words in said, said


def test_a_wrong_option_of_a_tool_does_not_hide_that_its_model_is_not_there(folder: Path) -> None:
    said = faults(folder, GOOD.replace("tool: template", "tool: classify, model: none, ng_abov: 0.5"))
    assert len(said) == 2 and "did you mean 'ng_above'" in said[1] and "no model package 'none'" in said[0]


def test_a_picture_that_is_not_there_does_not_hide_what_the_mask_and_the_region_say(folder: Path) -> None:
    cv2.imwrite(str(folder / "mask.png"), np.full((20, 30), 255, np.uint8))
    more = "    size: [90, 90]\n    mask: mask.png\n    region: [100, 0, 100, 120]\n    tools:"
    said = " | ".join(faults(folder, GOOD.replace("    tools:", more)))
    assert "views.top.size" in said and "views.top.mask: is 30 x 20" in said and "views.top.region: reaches" in said


def test_a_camera_that_the_site_does_not_have_has_its_place_and_a_near_miss(folder: Path) -> None:
    path = written(folder)
    for cameras, words in (
        ({"cams", "side"}, "did you mean 'cams'?"),
        ({"side", "up"}, "there are side, up"),
        (set(), "add one"),
    ):
        found = load(path, cameras)
        assert isinstance(found, Refused) and len(found.faults) == 1
        assert f"{path}:4:13: views.top.camera: the site has no camera 'cam'" in found.faults[0]
        assert words in found.faults[0]
    assert isinstance(load(path, {"cam"}), Recipe) and isinstance(load(path), Recipe)


def test_a_refused_recipe_still_says_which_cameras_it_wanted(folder: Path) -> None:
    found = load(written(folder, GOOD.replace("good.png", "none.png")))
    assert isinstance(found, Refused) and found.cameras == ["cam"]


def test_the_checksum_covers_file_and_pictures_and_fits_a_register(folder: Path) -> None:
    first = good(folder)
    assert first.digest == good(folder).digest and 0 < first.checksum < 65_536
    other = good(folder, GOOD.replace("shorter_px: 4", "shorter_px: 5"))
    brighter = board()
    brighter[0, 0] += 1
    cv2.imwrite(str(folder / "good.png"), brighter)
    assert len({first.digest, other.digest, good(folder).digest}) == 3


def test_its_model_is_part_of_a_recipe(folder: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="no TFLite engine is installed: make setup brings LiteRT")
    text = (
        GOOD.replace("template: good.png", "size: [240, 320]")
        .replace("{tool: template}", "{tool: classify, model: washer}")
        .replace("differs], shorter_px: 4", "stain]")
    )
    recipe = good(folder, text)
    assert recipe.models["top.copper"].startswith("washer 1 ") and recipe.views["top"].measure() > 0
    found = recipe.views["top"](np.zeros((240, 320, 3), np.uint8)).findings["copper"]
    assert found.state in ("ok", "ng", "recheck") and 0 <= found.score <= 1
    assert recipe.views["top"](np.zeros((24, 32, 3), np.uint8)).findings["picture"].state == "recheck"


def test_the_limits_of_a_model_are_part_of_a_recipe_and_of_what_records_say(folder: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="no TFLite engine is installed: make setup brings LiteRT")
    shutil.copytree(ROOT / "models/packages/washer", folder / "mine")
    text = (
        GOOD.replace("template: good.png", "size: [240, 320]")
        .replace("{tool: template}", "{tool: classify, model: mine, ok_below: 0.3}")
        .replace("differs], shorter_px: 4", "stain]")
    )
    first, described = good(folder, text), folder / "mine/model.yaml"
    described.write_text(described.read_text().replace("ng_above: 0.5", "ng_above: 0.95"))
    second = good(folder, text)
    assert first.digest != second.digest
    said = [(r.options["top.copper"]["ng_above"], r.options["top.copper"]["ok_below"]) for r in (first, second)]
    assert said == [(0.5, 0.3), (0.95, 0.3)]


def test_the_pictures_of_characters_are_part_of_a_recipe(folder: Path) -> None:
    (folder / "font").mkdir()
    cv2.imwrite(str(folder / "font/I.png"), board()[:, 10:30])
    text = GOOD[: GOOD.index("rules:")].replace("{tool: template}", "{tool: text, characters: font, expect: I}")
    first = good(folder, text)
    cv2.imwrite(str(folder / "font/I.png"), board()[:, 12:32])
    assert first.digest != good(folder, text).digest


@pytest.mark.parametrize("region", ["", "    region: [60, 20, 100, 90]\n"])
def test_a_template_is_made_grey_and_cut_once_for_a_recipe(folder: Path, region: str) -> None:
    view = good(folder, GOOD.replace("    tools:", f"{region}    tools:")).views["top"]
    wanted = cv2.imread(str(folder / "good.png"), cv2.IMREAD_GRAYSCALE)
    wanted = wanted[20:110, 60:160] if region else wanted
    coloured, again, plain = (view.prepared(part)[0] for part in (board(), board(), board()[:, :, 0]))
    assert coloured.template is again.template and coloured.grey_template is again.grey_template is plain.template
    assert np.array_equal(plain.grey_template, wanted) and coloured.template.shape == (*wanted.shape, 3)


def test_a_neighbour_is_the_template_of_its_own_part_alone(folder: Path) -> None:
    text = GOOD.replace(
        "    template: good.png\n", "    size: [120, 160]\n    region: [0, 0, 60, 120]\n    neighbour: [80, 0]\n"
    )
    view = good(folder, text).views["top"]
    dark = board() // 2
    found = [view.prepared(part)[0].grey_template for part in (board(), dark)]
    assert np.array_equal(found[1], grey(np.ascontiguousarray(dark[:, 80:140]))) and not np.array_equal(*found)


def test_a_tool_that_raises_is_a_recheck(folder: Path) -> None:
    view = good(folder).views["top"]

    def broken(_: object) -> Finding:
        raise RuntimeError("planted")

    view.tools["copper"] = broken  # type: ignore[index]
    finding = view(board()).findings["copper"]
    assert finding.state == "recheck" and "planted" in finding.text


def seen(*boxes: tuple[int, int, int, int, str, float], state: str = "ng", mm: float | None = None) -> Seen:
    return Seen("top", {"t": Finding(state, 1.0, boxes, text="a spur")}, mm)  # type: ignore[arg-type]


SPUR = (10, 10, 30, 14, "spur", 0.9)


@pytest.mark.parametrize(
    ("rule", "state"),
    [
        ({"label": ["spur"]}, "ok"),
        ({"label": ["short"]}, "ng"),
        ({"shorter_px": 20}, "ng"),
        ({"shorter_px": 21}, "ok"),
        ({"longer_px": 20}, "ok"),
        ({"longer_px": 21}, "ng"),
        ({"longer_mm": 1.0}, "ok"),
        ({"longer_mm": 1.01}, "ng"),
        ({"inside": (0, 0, 21, 13)}, "ok"),
        ({"inside": (0, 0, 20, 13)}, "ng"),
        ({"view": "side"}, "ng"),
        ({"score_below": 0.9}, "ng"),
        ({"score_above": 0.9}, "ok"),
    ],
)
def test_a_rule_decides_by_class_size_and_place(rule: dict[str, object], state: str) -> None:
    found = decide([seen(SPUR, mm=0.05)], [Rule.model_validate({**rule, "then": "ok"})])
    assert found.state == state


def test_the_first_rule_decides_and_the_worst_defect_counts() -> None:
    rules = [Rule(label=["spur"], shorter_px=5, then="ok"), Rule(label=["spur"], then="recheck")]
    assert decide([seen(SPUR)], rules).state == "recheck"
    assert decide([seen(SPUR, (0, 0, 3, 3, "spur", 0.5))], rules).state == "recheck"
    assert decide([seen((0, 0, 3, 3, "spur", 0.5))], rules).state == "ok"
    assert decide([seen(SPUR, (0, 0, 3, 3, "short", 0.5))], rules).state == "ng"
    both = decide([seen(state="recheck"), seen(SPUR)], [])
    assert (both.state, both.label, both.text) == ("ng", "spur", "top: a spur")


def test_a_doubtful_box_beside_a_sure_one_is_still_doubtful() -> None:
    open_, hole = (0, 0, 9, 9, "open", 0.39), (40, 0, 49, 9, "pin-hole", 0.95)
    both = Seen("top", {"t": Finding("ng", 0.95, [hole, open_], ng_above=0.5)})
    found = decide([both], [Rule(label=["pin-hole"], then="ok")])
    assert (found.state, found.label) == ("recheck", "open")
    assert [(box[4], state) for _, box, state in found.boxes] == [("pin-hole", "ok"), ("open", "recheck")]
    assert decide([both], []).state == decide([both], [Rule(label=["open"], then="ok")]).state == "ng"
    assert decide([both], [Rule(label=["open"], then="ng")]).state == "ng"


@pytest.mark.parametrize(
    ("chances", "passes", "state", "label"),
    [
        ([0.01, 0.0, 0.44, 0.55, 0.0], ["stain"], "recheck", "scratch"),
        ([0.01, 0.0, 0.49, 0.50, 0.0], ["stain"], "recheck", "scratch"),
        ([0.05, 0.0, 0.15, 0.80, 0.0], ["stain"], "ok", ""),
        ([0.06, 0.15, 0.15, 0.49, 0.15], ["stain"], "recheck", "missing_hole"),
        ([0.06, 0.15, 0.15, 0.49, 0.15], ["stain", "missing_hole", "scratch"], "ok", ""),
        ([0.60, 0.0, 0.17, 0.23, 0.0], ["stain"], "ok", ""),
        ([0.01, 0.0, 0.44, 0.55, 0.0], [], "ng", "stain"),
    ],
)
def test_a_class_that_may_pass_does_not_take_the_next_likeliest_with_it(
    chances: list[float], passes: list[str], state: str, label: str
) -> None:
    made = ClassifyTool(ClassifyConfig(tool="classify", model="washer"), ROOT)
    finding = made._finding(np.array(chances), (240, 320))
    found = decide([Seen("top", {"plate": finding})], [Rule(label=passes, then="ok")] if passes else [])
    assert (found.state, found.label) == (state, label)
    assert ("it may be" in found.text) == (state == "recheck") and decide(
        [Seen("top", {"plate": finding})], []
    ).state == finding.state


def test_an_operator_is_told_where_a_rule_decided() -> None:
    worse = decide([seen(SPUR, state="ok")], [Rule(label=["spur"], then="ng")])
    assert (worse.state, worse.text) == ("ng", "top: a spur: NG by the rules")
    assert decide([seen(SPUR)], [Rule(label=["spur"], then="recheck")]).text == "top: a spur: RECHECK by the rules"
    assert decide([seen(SPUR)], [Rule(label=["spur"], then="ng")]).text == "top: a spur"


def test_without_millimetres_a_rule_in_millimetres_holds_for_nothing() -> None:
    assert decide([seen(SPUR)], [Rule(longer_mm=0.1, then="ok")]).state == "ng"


def test_every_tool_of_the_table_is_there() -> None:
    for name in ("template", "classify", "detect"):
        assert tool(name).Config.model_fields["tool"]


def test_the_schema_for_editors_knows_every_tool_and_the_shipped_recipes() -> None:
    document = schema()
    view, kinds = document["$defs"]["ViewConfig"], document["$defs"]["tool"]["properties"]["tool"]["enum"]
    assert kinds == list(TOOLS) and view["properties"]["tools"]["additionalProperties"] == {"$ref": "#/$defs/tool"}
    recipes = sorted((ROOT / "configs/recipes").glob("*.yaml"))
    for path in recipes:
        assert path.read_text().startswith("# yaml-language-server: $schema=../recipe.schema.json\n"), path.name
        data, problems = read_yaml(path)
        assert not problems and set(data) <= set(document["properties"])
        for each in data["views"].values():
            assert set(each) <= set(view["properties"])
            for options in each["tools"].values():
                assert set(options) <= set(document["$defs"][f"tool {options['tool']}"]["properties"])
    assert recipes and json.loads((ROOT / "configs/recipe.schema.json").read_text()) == document, "run: make schema"
    tables = markdown()
    assert tables == (ROOT / "docs/recipe-options.md").read_text(), "run: make schema"
    assert all(f"## tool: {name}\n" in tables for name in TOOLS)
