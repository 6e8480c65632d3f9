"""Shadow tools look at parts after their verdict, when nothing else is to do, and decide nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge import Event
from edge.cli import main
from models.quality.ledger import parts_of, shadowed
from models.vision.recipe import Refused, load
from models.vision.tools.contract import Finding
from tests.models.stored import journal, last_json, review
from tests.models.test_station import Cell, board

RECIPE = """\
recipe: board A
views:
  top:
    camera: top
    template: good.png
    tools: {copper: {tool: template}}
    shadow: {copper: {tool: template, area: 400}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    cv2.imwrite(str(tmp_path / "good.png"), board())
    (tmp_path / "a.yaml").write_text(RECIPE)
    return tmp_path


def look(camera: str, number: int) -> np.ndarray:
    return board(number % 3 == 0, number)


def shadows(cell: Cell) -> list[Event]:
    return [event for event in cell.events if event.kind == "shadow"]


def test_a_shadow_tool_is_recorded_and_decides_nothing(folder: Path) -> None:
    cell = Cell(folder, look=look)
    verdicts = cell.parts(6)
    cell.run(2, lambda: len(shadows(cell)) == 6)
    assert verdicts == [(1, "ok"), (2, "ok"), (3, "ng"), (4, "ok"), (5, "ok"), (6, "ng")]
    told = shadows(cell)
    assert [(e.data["inspection"], e.state) for e in told] == [
        (n, "differs" if n % 3 == 0 else "agrees") for n in range(1, 7)
    ]
    assert (
        told[2].data["findings"]["top.copper"][:2] == ["ng", "ok"] and "top.copper: ng, the shadow ok" in told[2].text
    )
    records = {e.data["hash"]: e for e in cell.events if e.kind == "inspection"}
    assert all(records[e.data["record"]].data["inspection"] == e.data["inspection"] for e in told)
    order = [e.kind for e in cell.events if e.kind in ("inspection", "shadow")]
    assert order[0] == "inspection" and all(
        order[:n].count("shadow") <= order[:n].count("inspection") for n in range(12)
    )
    (one, *_) = records.values()
    assert one.data["tools"]["top.copper"]["area"] == 8 and one.data["tools"]["top.shadow.copper"]["area"] == 400
    assert len(cell.pool) == 8, "every buffer is back"


def test_no_shadow_tool_runs_while_a_part_is_under_way(folder: Path) -> None:
    cell = Cell(folder, look=look, takes=600)
    cell.plc.cadence //= 4  # the next part is there before this one has its verdict
    under_way: list[tuple[str, bool]] = []
    submit = cell.submit

    def watched(job: Any, done: Any) -> None:
        under_way.append((job.name, bool(cell.station._parts)))
        submit(job, done)

    cell.flow._submit = watched
    cell.parts(6)
    assert not shadows(cell)
    cell.plc.resting = True
    cell.run(5, lambda: bool(shadows(cell)))
    assert shadows(cell)
    assert {part for name, part in under_way if name.endswith("shadow")} == {False}
    assert {part for name, part in under_way if not name.endswith("shadow")} == {True}


def test_what_there_is_no_time_for_is_passed_over_and_counted(folder: Path) -> None:
    cell = Cell(folder, look=look)
    submit = cell.submit

    def slow(job: Any, done: Any) -> None:
        if job.name.endswith("shadow"):
            cell.after(5000, lambda: done(job.run()))
        else:
            submit(job, done)

    cell.flow._submit = slow
    assert [state for _, state in cell.parts(8)].count("recheck") == 0
    cell.plc.resting = True
    cell.run(20, lambda: len(shadows(cell)) >= 2)
    seen, passed = len(shadows(cell)), sum(e.data["passed_over"] for e in shadows(cell))
    assert 2 <= seen < 8 and passed > 0


def test_a_shadow_job_that_the_pool_has_no_place_for_holds_up_no_later_one(folder: Path) -> None:
    cell = Cell(folder, look=look)
    submit, pushed_out = cell.submit, []

    def full(job: Any, done: Any) -> None:
        if job.name.endswith("shadow") and not pushed_out:
            pushed_out.append(job)
            cell.after(10, lambda: done(job.expired()))
        else:
            submit(job, done)

    cell.flow._submit = full
    cell.parts(3)
    cell.run(1, lambda: len(shadows(cell)) == 2)
    assert [event.data["inspection"] for event in shadows(cell)] == [2, 3] and pushed_out


def test_the_certificate_counts_what_a_shadow_tool_may_hold_up(folder: Path) -> None:
    found = load(folder / "a.yaml")
    assert not isinstance(found, Refused)
    viewer, looked = found.views["top"], []

    def watched(view: Any) -> Finding:
        looked.append(view)
        return Finding("ok")

    alone = replace(viewer, shadow={"copper": watched})
    assert alone.measure() > 0 and len(looked) == 2
    assert alone(board()).findings.keys() == {"copper"} and len(looked) == 2, "no part waits for it"


def test_a_shadow_of_nothing_is_a_fault(folder: Path) -> None:
    (folder / "a.yaml").write_text(RECIPE.replace("shadow: {copper", "shadow: {coper"))
    found = load(folder / "a.yaml")
    assert isinstance(found, Refused)
    assert any("a.yaml:7:14: views.top.shadow.coper: shadows no tool" in fault for fault in found.faults), found.faults


def test_the_reviews_say_who_was_right(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cell = Cell(folder, look=look)
    cell.parts(6)
    cell.run(2, lambda: len(shadows(cell)) == 6)
    events = [replace(e, id=f"i{e.data['inspection']}" if e.kind == "inspection" else e.id) for e in cell.events]
    events = [e for e in events if e.kind in ("inspection", "shadow")]
    reviews = [review(3, "ok"), review(6, "ng"), review(1, "ok")]
    told = shadowed([*events, *reviews], parts_of([*events, *reviews]))
    assert told == {"seen": 6, "differs": 2, "passed_over": 0, "reviewed": 2, "shadow_right": 1, "station_right": 1}

    state = journal(folder, [], [*events, *reviews])
    words = [str(folder / "site.yaml"), "--state", str(state)]
    assert main(["audit", *words, "--json"]) == 0 and last_json(capsys.readouterr().out)["shadow"]["differs"] == 2
    assert main(["audit", *words]) == 0
    assert "of 2 that were reviewed the shadow was right on 1, the station on 1" in capsys.readouterr().out
