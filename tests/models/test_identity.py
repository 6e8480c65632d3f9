"""Who a part is by the code in its picture, and when its shift began."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from models.vision.recipe import Recipe, Refused, load
from models.vision.rules import Rule, Seen, decide
from models.vision.shifts import Shifts, ShiftsConfig
from models.vision.tools.contract import Finding, State
from tests.models.cell import RECIPE, Cell, board
from tests.models.test_station import MASTERS, show

SHAPE = (160, 160, 3)
CODED = """\
recipe: labelled
part: {code: top.label}
views: {top: {camera: top, size: [160, 160], tools: {label: {tool: code, kind: qr}}}}
"""


def label(text: str, noise: int = 0) -> np.ndarray:
    """A picture with that code on it, none for an empty one."""
    image = np.full(SHAPE, 255, np.uint8)
    if text:
        code = cv2.QRCodeEncoder.create().encode(text)
        code = cv2.resize(code, None, fx=4, fy=4, interpolation=cv2.INTER_NEAREST)
        image[20 : 20 + len(code), 20 : 20 + len(code)] = code[..., None]
    image[0, 0] = noise
    return image


class Line:
    """A cell whose parts have the labels that `next` is given."""

    def __init__(self, folder: Path, text: str, **options: Any) -> None:
        (folder / "a.yaml").write_text(text)
        self.cell = Cell(folder, options, look=self.look, shape=SHAPE)
        self.text = ""

    def look(self, camera: str, number: int) -> np.ndarray:
        return label(self.text, number)

    def next(self, text: str) -> tuple[str, str]:
        """The verdict on a part with this label, and the code in its record."""
        self.text = text
        (verdict,) = self.cell.parts(1)
        record = [e for e in self.cell.events if e.kind in ("inspection", "master")][-1]
        assert record.data["inspection"] == verdict[0] and record.state == verdict[1]
        return verdict[1], str(record.data["code"])


def test_a_part_is_who_its_code_says_and_one_that_is_not_read_is_a_recheck(tmp_path: Path) -> None:
    line = Line(tmp_path, CODED)
    assert [line.next(text) for text in ("A-1", "", "A-2")] == [("ok", "A-1"), ("recheck", ""), ("ok", "A-2")]
    assert "who it is was not read" in line.cell.texts("inspection")


def test_no_rule_makes_a_part_ok_that_nobody_knows(tmp_path: Path) -> None:
    coded = CODED.replace("kind: qr", 'expect: "B*"') + "rules: [{label: [code], then: ok}]\n"
    assert Line(tmp_path, coded).next("A-1") == ("ng", "")


@pytest.mark.parametrize(("wanted", "state", "then"), [("A*", "ng", "ok"), ("A*", "ng", "recheck"), ("*", "ok", "ok")])
def test_no_rule_of_size_makes_a_wrong_code_right_where_no_part_is_named(
    tmp_path: Path, wanted: str, state: str, then: str
) -> None:
    coded = CODED.replace("part: {code: top.label}\n", "").replace("kind: qr", f'expect: "{wanted}"')
    (tmp_path / "a.yaml").write_text(coded + f"rules: [{{shorter_px: 1000, then: {then}}}]\n")
    recipe = load(tmp_path / "a.yaml")
    assert isinstance(recipe, Recipe)
    found = decide([recipe.views["top"](label("B-1"))], recipe.rules)
    assert (found.state, len(found.boxes)) == (state, 1)
    assert state == "ok" or "it says B-1; A* is wanted" in found.text


@pytest.mark.parametrize(
    ("said", "then", "state"), [("ng", "ok", "ng"), ("recheck", "ok", "recheck"), ("ok", "ng", "ng")]
)
def test_a_rule_makes_a_firm_finding_worse_but_never_better(said: State, then: State, state: State) -> None:
    finding = Finding(said, 1.0, [(0, 0, 9, 9, "code", 1.0)], firm=True)
    assert decide([Seen("top", {"t": finding})], [Rule(shorter_px=10, then=then)]).state == state


def test_the_code_of_the_part_before_is_no_other_parts(tmp_path: Path) -> None:
    line = Line(tmp_path, CODED)
    assert [line.next(text)[0] for text in ("A-1", "A-1", "A-1", "A-2", "A-1")] == [
        "ok",
        "recheck",
        "recheck",
        "ok",
        "ok",
    ]
    assert "the part before has the code A-1, too" in line.cell.texts("inspection")
    line.cell.run(0.1)
    line.cell.start()
    assert line.next("A-1")[0] == "recheck", "a restart forgets nothing"
    again = Line(tmp_path, CODED.replace("label}", "label, again: true}"))
    assert [again.next("A-1")[0] for _ in range(3)] == ["ok"] * 3


def test_the_pictures_of_a_part_with_the_code_of_the_one_before_are_kept(tmp_path: Path) -> None:
    line = Line(tmp_path, CODED, keep="ng")
    kept = [(line.next(text)[0], len(line.cell.pictures)) for text in ("A-1", "A-1", "A-2")]
    assert kept == [("ok", 0), ("recheck", 1), ("ok", 1)]


def test_a_part_of_a_recipe_that_reads_no_code_makes_no_code_forgotten(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(CODED.replace("part: {code: top.label}\n", ""))
    line = Line(tmp_path, CODED, recipes={7: "a.yaml", 8: "b.yaml"})
    assert line.next("A-1") == ("ok", "A-1")
    line.cell.product, line.text = 8, "B-1"
    assert line.cell.parts(1) == [(2, "ok")]
    line.cell.product = 7
    assert line.next("A-1") == ("recheck", "A-1")


def test_masters_may_be_known_by_their_codes(tmp_path: Path) -> None:
    line = Line(tmp_path, CODED + "masters: {parts: {GOOD: ok}}\n", plc={"part": ""})
    assert not line.cell.station.faults
    assert [line.next(text)[0] for text in ("A-1", "GOOD", "A-2", "GOOD", "")] == [
        "recheck",
        "ok",
        "ok",
        "ok",
        "recheck",
    ]
    assert [state for _, state in line.cell.told("station")] == ["ready", "interlock", "proved", "proved"]
    assert json.loads(line.cell.states["aoi"])["counts"]["parts"] == 3


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("top.label", "top.lable", "'top.lable' is no tool that reads a code, there are top.label"),
        ("tool: code, kind: qr", "tool: presence, roi: 1", "is no tool that reads a code, add `tools:"),
        ("size:", "optional: true, size:", "the view top is optional"),
    ],
)
def test_a_code_that_nobody_reads_is_a_fault(tmp_path: Path, old: str, new: str, words: str) -> None:
    (tmp_path / "a.yaml").write_text(CODED.replace(old, new))
    found = load(tmp_path / "a.yaml")
    assert isinstance(found, Refused) and words in " ".join(found.faults)


# Shifts

BERLIN = ShiftsConfig(begin=["06:00", "14:00", "22:00"], zone="Europe/Berlin")


def at(text: str, zone: str = "Europe/Berlin", fold: int = 0) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()) * 10**9


@pytest.mark.parametrize(
    ("now", "since"),
    [
        ("2026-07-01 06:00", "2026-07-01 06:00"),
        ("2026-07-01 05:59:59", "2026-06-30 22:00"),
        ("2026-07-01 13:59", "2026-07-01 06:00"),
        ("2026-03-29 12:00", "2026-03-29 06:00"),  # the day on which summer time begins
        ("2026-10-25 05:00", "2026-10-24 22:00"),  # the night that has an hour more
    ],
)
def test_a_shift_begins_by_the_clock_of_the_site(now: str, since: str) -> None:
    assert Shifts(BERLIN).since(at(now)) == at(since)


def test_a_time_that_summer_time_skips_or_repeats_begins_one_shift() -> None:
    night = Shifts(ShiftsConfig(begin=["02:30"], zone="Europe/Berlin"))
    assert night.since(at("2026-03-29 04:00")) == at("2026-03-29 03:30")
    assert night.since(at("2026-10-25 02:45", fold=1)) == at("2026-10-25 02:30", fold=0)
    assert night.since(at("2026-10-25 02:15", fold=1)) == at("2026-10-25 02:30", fold=0)


@pytest.mark.parametrize(
    ("shifts", "words"),
    [
        ({"begin": ["6:00"], "zone": "UTC"}, "begin.0"),
        ({"begin": [], "zone": "UTC"}, "at least 1"),
        ({"begin": ["06:00"]}, "zone"),
        ({"begin": ["06:00"], "zone": "Asia/Suzhou"}, "no time zone is called 'Asia/Suzhou'"),
        ({"begin": ["06:00"], "zone": "../../etc/passwd"}, "no time zone is called"),
        ({"begin": ["06:00"], "zone": "Asia"}, "no time zone is called"),
    ],
)
def test_shifts_that_cannot_be_are_said(shifts: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ShiftsConfig(**shifts)


def test_masters_are_due_with_each_shift_by_the_clock(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "good.png"), board())
    (tmp_path / "a.yaml").write_text(RECIPE.format(code="A", more=MASTERS.replace("every: 1h, ", "")))
    cell = Cell(tmp_path, {"shifts": {"begin": ["06:00", "14:00"], "zone": "Asia/Shanghai"}})
    cell.clock.advance((at("2026-07-02 05:50", "Asia/Shanghai") - cell.clock.utc()) / 1e9)
    show(cell, 901, False), show(cell, 902, True)
    assert show(cell, 7, False) == "ok" and not cell.plc.memory["interlock"]
    cell.clock.advance(1200)  # 06:10
    cell.run(0.1)
    assert cell.plc.memory["interlock"] and "the master samples of board A are due: 901, 902" in cell.texts("station")
    assert show(cell, 8, False) == "recheck"
    show(cell, 901, False), show(cell, 902, True)
    cell.clock.advance(7 * 3600)  # 13:10: longer ago than an `every` might say
    assert show(cell, 9, False) == "ok"


def test_that_masters_are_due_is_told_once_however_often_the_recipe_changes(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "good.png"), board())
    (tmp_path / "a.yaml").write_text(RECIPE.format(code="A", more=MASTERS))
    (tmp_path / "b.yaml").write_text(RECIPE.format(code="B", more=""))
    cell = Cell(tmp_path, {"recipes": {7: "a.yaml", 8: "b.yaml"}})
    for product in (7, 8, 7, 8, 7):
        cell.product = product
        cell.run(0.2)
        assert cell.plc.memory["interlock"] == (product == 7)
    assert [state for _, state in cell.told("station")].count("interlock") == 1
    show(cell, 901, False), show(cell, 902, True)
    cell.clock.advance(3600)
    cell.run(0.2)
    assert [state for _, state in cell.told("station")].count("interlock") == 2
