"""A detector of 24 classes at a station: each is told by its name, ruled by class, size and place, and counted."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.cli import main
from models.quality.ledger import account, parts_of
from models.vision.recipe import Recipe, load
from models.vision.rules import Decision, decide

pytest.importorskip(
    "ai_edge_litert", reason="LiteRT, whose schema writes the network, is not installed: make setup brings it"
)
from tests.models import detector as made
from tests.models import stored
from tests.models.cell import Cell

pytestmark = pytest.mark.usefixtures("engine")
KINDS, LARGE = 24, 12  # classes, and from which on they are told as large ones
LABELS = [f"defect_{number:02}" for number in range(KINDS)]
RECIPE = """\
recipe: many kinds
views:
  top: {camera: top, template: good.png, tools: {all: {tool: detect, model: many}}}
"""
RULES = """\
rules:
  - {label: [defect_03, defect_20], inside: [0, 0, 32, 64], then: ok}
  - {label: [defect_04, defect_21], longer_px: 24, then: recheck}
  - {label: [defect_23], then: recheck}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made.package(tmp_path / "many", kinds=KINDS, large=LARGE, labels=LABELS)
    cv2.imwrite(str(tmp_path / "good.png"), np.zeros((made.SIDE, made.SIDE, 3), np.uint8))
    (tmp_path / "a.yaml").write_text(RECIPE)
    return tmp_path


def part(*defects: tuple[int, int, int]) -> np.ndarray:
    """uint8[SIDE, SIDE, 3]: black, with the pattern of a class in the cell at each (class, x, y)."""
    image = np.zeros((made.SIDE, made.SIDE), np.uint8)
    for kind, x, y in defects:
        image[y : y + made.CELL, x : x + made.CELL] = made.patterns(KINDS)[kind] * 255
    return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)


def judged(folder: Path, rules: str, *defects: tuple[int, int, int]) -> Decision:
    (folder / "a.yaml").write_text(RECIPE + rules)
    recipe = load(folder / "a.yaml")
    assert isinstance(recipe, Recipe), recipe
    return decide([recipe.views["top"](part(*defects))], recipe.rules)


def test_each_class_is_told_by_its_name_and_size(folder: Path) -> None:
    recipe = load(folder / "a.yaml")
    assert isinstance(recipe, Recipe)
    for kind, label in enumerate(LABELS):
        found = decide([recipe.views["top"](part((kind, 24, 32)))], [])
        ((_, box, state),) = found.boxes
        assert (found.state, found.label, box[4], state) == ("ng", label, label, "ng")
        assert box[2] - box[0] == pytest.approx(32 if kind >= LARGE else 16, abs=1)


def test_rules_decide_by_class_size_and_place_among_many(folder: Path) -> None:
    for kind, x, state in (
        (3, 8, "ok"),
        (20, 8, "ok"),
        (3, 48, "ng"),
        (20, 48, "ng"),
        (4, 8, "ng"),
        (21, 8, "recheck"),
        (23, 8, "recheck"),
        (22, 8, "ng"),
    ):
        found = judged(folder, RULES, (kind, x, 32))
        assert found.state == state, (kind, x, found)
        assert found.label == ("" if state == "ok" else LABELS[kind])
    several = judged(folder, RULES, (3, 8, 8), (23, 48, 8), (7, 8, 48))
    assert (several.state, several.label) == ("ng", "defect_07")
    assert {(box[4], state) for _, box, state in several.boxes} == {
        ("defect_03", "ok"),
        ("defect_23", "recheck"),
        ("defect_07", "ng"),
    }


def test_a_station_counts_the_parts_and_the_ledger_each_class(folder: Path) -> None:
    (folder / "a.yaml").write_text(RECIPE + RULES)
    side = made.SIDE

    def look(camera: str, number: int) -> np.ndarray:
        image = part(((number - 1) % KINDS, 48, 8 * ((number - 1) // KINDS)))
        image[-1, -1] = number  # no two are the same picture
        return image

    cell = Cell(folder, {"frozen": False}, look=look, shape=(side, side, 3))
    many = KINDS + 5  # the first five classes come twice
    states = [state for _, state in cell.parts(many, within=120)]
    wanted = ["recheck" if number % KINDS in (21, 23) else "ng" for number in range(many)]
    assert states == wanted
    records = [event for event in cell.events if event.kind == "inspection"]
    assert [record.data["label"] for record in records] == [LABELS[number % KINDS] for number in range(many)]
    assert cell.station._totals.counts == {"parts": many, "ok": 0, "ng": many - 2, "recheck": 2, "refused": 0}
    told = account(parts_of(records), 0.004)["pareto"]
    counts = {label: 1 + (number < 5) for number, label in enumerate(LABELS) if number not in (21, 23)}
    assert {label: count for label, count, _ in told} == counts and told[-1][2] == pytest.approx(1.0)
    assert [count for _, count, _ in told] == sorted(counts.values(), reverse=True)


def test_the_audit_shows_each_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.models.test_ledger import judged as record

    rare = [f"rare {number}" for number in range(44)]
    events = [record(number, "ng", label) for number, label in enumerate([*LABELS, *rare])]
    site = tmp_path / "site.yaml"
    site.write_text(stored.SITE)
    stored.journal(tmp_path, [(event, []) for event in events])
    assert main(["audit", str(site), "--state", str(tmp_path)]) in (0, 1)
    said = capsys.readouterr().out
    assert all(label in said for label in LABELS) and "  4 other classes                 4\n" in said, said
    main(["audit", str(site), "--state", str(tmp_path), "--json"])
    assert len(json.loads(capsys.readouterr().out.splitlines()[-1])["pareto"]) == KINDS + len(rare)
