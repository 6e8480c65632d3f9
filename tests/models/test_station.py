"""The station as a whole, on virtual time: a PLC that keeps the handshake, cameras that answer, and everything that goes wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge import (
    Batch,
    ConfigFault,
    Event,
    Frame,
    Quality,
)
from models.quality.chain import breaks
from models.vision.lines import StationConfig
from models.vision.part import Part
from models.vision.station import ASKED
from tests.models.cell import MS, RECIPE, SCAN, SIDE, Cell, board
from tests.walks import LONG


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    cv2.imwrite(str(tmp_path / "good.png"), board())
    (tmp_path / "a.yaml").write_text(RECIPE.format(code="A", more=""))
    (tmp_path / "b.yaml").write_text(RECIPE.format(code="B", more=SIDE))
    return tmp_path


def test_parts_are_judged_and_each_has_one_record(folder: Path) -> None:
    cell = Cell(folder, look=lambda camera, number: board(number % 3 == 0, number))
    assert cell.parts(6) == [(1, "ok"), (2, "ok"), (3, "ng"), (4, "ok"), (5, "ok"), (6, "ng")]
    assert max(cell.plc.waited) < 1000 * MS and not cell.plc.memory["overrun"]
    records = [event for event in cell.events if event.kind == "inspection"]
    assert [(e.data["inspection"], e.state, e.data["part"]) for e in records] == [
        (i, s, 500) for i, s in cell.plc.results
    ]
    assert records[2].data["label"] == "differs" and records[2].data["boxes"][0][-2:] == ["top", "ng"]
    assert records[2].data["checksum"] == cell.plc.memory["checksum"] == cell.plc.memory["recipe"] > 0
    assert {p.digest for p in cell.pictures} == {d for e in records for d in e.refs} and len(cell.pictures) == 6
    assert not list(breaks(records)) and cell.plc.memory["part_done"] == 500
    assert len(cell.pool) == 8, "every buffer is back"


def replaced(config: StationConfig, **options: Any) -> StationConfig:
    return StationConfig(**{**config.model_dump(), **options})


def test_what_is_measured_on_a_part_is_a_tag_of_the_moment_at_which_the_part_counts(folder: Path) -> None:
    options = {"measured": {"blot": "top.copper.differs_px", "none": "top.copper.width_mm"}}
    cell = Cell(folder, options, look=lambda camera, number: board(number == 2, number) if number < 3 else None)
    assert [state for _, state in cell.parts(3)] == ["ok", "ng", "recheck"]
    assert not cell.station.faults
    blot, none, parts = (cell.table[f"aoi.{name}"].id for name in ("blot", "none", "parts"))
    told = [
        dict(zip(b.tag.tolist(), zip(b.value.tolist(), b.quality.tolist(), strict=True), strict=True))
        for b in cell.batches
    ]
    of_parts = [one for one in told if blot in one]
    assert [one[parts][0] for one in of_parts] == [1, 2, 3]
    assert of_parts[0][blot] == (0.0, Quality.GOOD) and of_parts[1][blot][0] > 8
    assert of_parts[2][blot][1] == Quality.BAD and {one[none][1] for one in of_parts} == {Quality.BAD}
    measured = [event.data["measured"] for event in cell.events if event.kind == "inspection"]
    assert measured[1]["top.copper.differs_px"] == of_parts[1][blot][0]


def test_what_no_recipe_measures_is_a_fault_and_a_tag_that_counts_parts_keeps_its_name(folder: Path) -> None:
    cell = Cell(folder, {"measured": {"gap": "top.gap.width_mm"}})
    assert cell.station.faults == [
        "aoi.gap is never measured: no recipe has a tool for 'top.gap.width_mm'; there are top.copper"
    ]
    with pytest.raises(ValueError, match="`measured` calls a tag 'ng', which counts parts"):
        replaced(cell.station.config, measured={"ng": "top.copper.differs_px"})


def test_several_views_make_one_verdict(folder: Path) -> None:
    cell = Cell(folder, {"recipes": {7: "b.yaml"}}, look=lambda camera, number: board(camera == "side", number))
    assert cell.parts(1) == [(1, "ng")] and cell.asked == [("side", 1), ("top", 1)]
    (record,) = [event for event in cell.events if event.kind == "inspection"]
    assert set(record.data["findings"]) == {"top.copper", "side.copper"} and len(record.refs) == 2
    assert record.data["cameras"] == {
        camera: {"size": [64, 80], "serial": f"{camera}-17", "exposure_us": 800.0} for camera in ("side", "top")
    }


def test_a_view_that_one_recipe_calls_optional_is_judged_by_the_others(folder: Path) -> None:
    (folder / "c.yaml").write_text(RECIPE.format(code="C", more=SIDE.replace(", optional: true", "")))
    options = {"recipes": {7: "b.yaml", 8: "c.yaml"}, "degrade": ["side"]}
    cell = Cell(folder, options, look=lambda camera, number: board(camera == "side", number), takes=1500)
    assert [state for _, state in cell.parts(3)] == ["recheck"] * 3 and "given up: side" in cell.texts("station")
    cell.product, cell.takes = 8, 50
    assert cell.parts(1) == [(4, "ng")]
    cell.product = 7
    assert cell.parts(1) == [(5, "ok")] and "without side" in cell.texts("inspection")


def test_what_would_leave_nothing_of_a_part_to_judge_is_not_given_up(folder: Path) -> None:
    text = RECIPE.format(code="B", more=SIDE).replace("{tool: template}}}", "{tool: template}}, optional: true}", 1)
    (folder / "b.yaml").write_text(text)
    options = {"recipes": {7: "b.yaml"}, "degrade": ["pictures", "side", "top"]}
    cell = Cell(folder, options, look=lambda camera, number: board(True, number), takes=1500)
    assert "with 'top' given up, too, nothing of board B is judged; leave one of its views" in cell.station.faults[0]
    cell.parts(8)
    cell.takes = 50
    assert cell.parts(1)[-1][1] == "ng" and cell.told("station")[1:] == [("aoi", "degraded")] * 2
    recipe = next(iter(cell.station._shelf.recipes.values()))
    assert Part(1, 1, recipe, 0, 0, 0, ("top", "side")).decide().state == "recheck", "what nobody looked at is never OK"


@pytest.mark.parametrize("bad", [False, True])
def test_a_missing_view_is_a_recheck_in_time_and_hides_no_defect(folder: Path, bad: bool) -> None:
    def look(camera: str, number: int) -> np.ndarray | None:
        return None if camera == "side" else board(bad, number)

    cell = Cell(folder, {"recipes": {7: "b.yaml"}}, look=look)
    assert cell.parts(1) == [(1, "ng" if bad else "recheck")]
    assert cell.plc.waited[0] <= 1000 * MS
    assert bad or "no picture from side in time" in cell.texts("inspection")


def test_slow_tools_make_an_honest_recheck_before_the_takt_ends(folder: Path) -> None:
    cell = Cell(folder, takes=1500)
    assert [state for _, state in cell.parts(3)] == ["recheck"] * 3
    assert max(cell.plc.waited) <= 1000 * MS and "no time left to judge it" in cell.texts("inspection")
    cell.plc.resting = True
    cell.run(5)
    assert len(cell.pool) == 8 and len(cell.told("inspection")) == len(cell.plc.results), (
        "a late answer is no second verdict"
    )


def test_a_record_says_what_a_part_took_up_to_its_answer_and_not_to_the_scan_before(folder: Path) -> None:
    cell = Cell(folder, takes=45)  # the picture comes after 30 ms, the PLC is read every 20 ms
    assert cell.parts(2) == [(1, "ok"), (2, "ok")]
    assert [event.data["took_ms"] for event in cell.events if event.kind == "inspection"] == [75.0, 75.0]


def test_a_trigger_before_the_picture_of_the_part_before_is_refused(folder: Path) -> None:
    cell = Cell(folder, look=lambda camera, number: None)
    cell.run(0.3, lambda: bool(cell.plc.taken))
    cell.plc.faults.blind, cell.plc.next_part = True, 0
    cell.run(0.2, lambda: bool(cell.plc.refused))
    assert cell.plc.refused and not cell.plc.memory["ready"] and "still before its cameras" in cell.texts("handshake")
    cell.look = lambda camera, number: board(noise=number)
    assert cell.parts(2) == [(1, "recheck"), (2, "ok")], "and no verdict is doubled"


def test_overload_gives_up_in_the_declared_order_and_says_so(folder: Path) -> None:
    cell = Cell(folder, {"recipes": {7: "b.yaml"}, "degrade": ["pictures", "side"]}, takes=1500)
    cell.parts(6)
    assert cell.told("station")[1:] == [("aoi", "degraded")] * 2 and "given up: pictures, side" in cell.texts("station")
    cell.takes, before = 50, len(cell.events)
    assert cell.parts(2)[-1][1] == "ok"
    record = [event for event in cell.events[before:] if event.kind == "inspection"][-1]
    assert record.data["left_out"] == ["pictures", "side"] and not record.refs
    assert record.text.endswith("without side")
    cell.parts(65, within=120)
    assert cell.told("station")[3:] == [("aoi", "restored")] * 2
    assert [event for event in cell.events if event.kind == "inspection"][-1].data["left_out"] == []


def test_a_wrong_product_code_is_not_ready_and_says_why(folder: Path) -> None:
    cell = Cell(folder)
    cell.parts(1)
    cell.product = 9
    cell.run(3)
    before = len(cell.plc.results)
    assert not cell.plc.memory["ready"] and cell.plc.memory["recipe"] == 0
    assert cell.told("station") == [
        ("aoi", "ready"),
        ("aoi", "not_ready"),
    ] and "no recipe for product '9'" in cell.texts("station")
    cell.plc.faults.blind = True
    cell.run(1, lambda: bool(cell.plc.memory["refused"]))
    assert (
        cell.plc.memory["refused"]
        and cell.plc.memory["overrun"]
        and ("aoi.refused", "refused") in cell.told("handshake")
    )
    cell.product = 7
    assert cell.parts(1) and len(cell.plc.results) == before + 1


def test_a_changeover_takes_effect_with_the_next_scan(folder: Path) -> None:
    cell = Cell(folder, {"recipes": {7: "a.yaml", 8: "b.yaml"}})
    cell.parts(1)
    first = cell.plc.memory["recipe"]
    cell.product = 8
    cell.run(2 * SCAN / 1e9)
    assert cell.plc.memory["recipe"] not in (0, first)
    cell.parts(2)
    assert cell.events[-1].data["recipe"] == "board B" and cell.plc.memory["checksum"] == cell.plc.memory["recipe"]


@pytest.mark.parametrize("spoilt", ["exchanged", "yaml"])
def test_what_cannot_be_loaded_is_refused_and_the_other_recipes_run(folder: Path, spoilt: str) -> None:
    text = RECIPE.format(code="C", more="").replace("{tool: template}", "{tool: classify, model: mine}")
    (folder / "c.yaml").write_text(text if spoilt == "exchanged" else text.replace("camera", "camra"))
    (folder / "mine").mkdir()
    for file in (Path(__file__).parents[2] / "models/packages/washer").iterdir():
        (folder / "mine" / file.name).write_bytes(
            file.read_bytes()[:-1] if file.suffix == ".tflite" else file.read_bytes()
        )
    cell = Cell(folder, {"recipes": {7: "a.yaml", 8: "c.yaml"}})
    assert cell.parts(1) and cell.station.faults
    cell.product = 8
    cell.run(1)
    words = "is not the file that model.yaml names" if spoilt == "exchanged" else "did you mean 'camera'"
    assert (
        not cell.plc.memory["ready"]
        and cell.told("station")[-1] == ("aoi", "not_ready")
        and words in cell.texts("station")
    )


def test_a_recipe_that_cannot_keep_the_takt_is_refused(folder: Path) -> None:
    cell = Cell(folder, {"takt": 0.1001, "reserve": 0.1})
    cell.run(1)
    assert (
        not cell.plc.memory["ready"]
        and "cannot keep the takt" in cell.station.faults[0]
        and "cores" in cell.station.faults[0]
    )


def test_a_frozen_camera_is_told_and_every_part_rechecked(folder: Path) -> None:
    cell = Cell(folder)
    cell.parts(2)
    cell.look = lambda camera, number: board()
    assert [state for _, state in cell.parts(4)][1:] == ["recheck"] * 3
    assert cell.told("camera") == [("aoi.top", "frozen")] and "it hangs" in cell.texts("inspection")
    cell.look = lambda camera, number: board(noise=number)
    assert cell.parts(2)[-1][1] == "ok" and cell.told("camera")[-1] == ("aoi.top", "moves")


def test_a_still_picture_may_be_allowed(folder: Path) -> None:
    cell = Cell(folder, {"frozen": False}, look=lambda camera, number: board())
    assert [state for _, state in cell.parts(3)] == ["ok"] * 3


def test_a_lost_camera_is_not_ready_and_what_waits_for_it_is_rechecked_at_once(folder: Path) -> None:
    cell = Cell(folder, look=lambda camera, number: None)
    cell.run(0.2, lambda: bool(cell.asked))
    cell.flow.accept(Event("source", "top", "lost", text="no picture within 5 s"))
    cell.run(0.2)
    assert cell.plc.results == [(1, "recheck")] and not cell.plc.memory["ready"]
    assert "top is lost: no picture within 5 s" in cell.texts("station")
    cell.flow.accept(Event("source", "top", "back"))
    cell.look = lambda camera, number: board(noise=number)
    assert cell.parts(1) == [(2, "ok")]


@pytest.mark.parametrize("ahead", [pytest.param(0, marks=LONG), 3600 * 10**9])
def test_a_lot_with_many_bad_parts_is_told_and_when_it_is_over(folder: Path, ahead: int) -> None:
    bad = range(270, 290)
    cell = Cell(folder, {"lot": 30.0}, look=lambda camera, number: board(number in bad, number), ahead=ahead)
    cell.parts(200, within=600)
    cell.start()  # again, from what survived
    cell.parts(200, within=600)
    assert cell.told("station") == [("aoi", s) for s in ("ready", "ready", "unusual", "usual")]
    assert "beyond 3 sigma" in cell.texts("station")


def test_ready_waits_for_each_camera_of_the_active_recipe_to_open(folder: Path) -> None:
    cell = Cell(folder, {"recipes": {7: "b.yaml", 8: "a.yaml"}}, open=frozenset({"top"}))
    cell.plc.resting = True
    side = [cell.table["side.trigger"].id]
    cell.flow.accept(Batch.of("side", side, [np.nan], cell.clock.utc(), Quality.BAD))  # as a source that never came
    cell.run(1)
    assert not cell.plc.memory["ready"] and cell.texts("station") == "side has not opened yet"
    cell.product = 8
    cell.run(1)
    assert cell.plc.memory["ready"], "no part of product 8 is shown to it"
    cell.product = 7
    cell.run(1)
    cell.plc.resting, cell.plc.faults.blind = False, True
    cell.run(1, lambda: bool(cell.plc.refused))
    assert cell.plc.refused and "side has not opened yet" in cell.texts("handshake")
    cell.flow.accept(Batch.of("side", side, [np.nan], cell.clock.utc(), Quality.STALE))  # open for a trigger
    assert cell.parts(1) == [(1, "ok")]


def test_ready_follows_a_camera_that_opens_without_another_word_of_the_plc(folder: Path) -> None:
    cell = Cell(folder, open=frozenset())
    cell.plc.resting = True
    cell.run(1)
    assert not cell.plc.memory["ready"] and cell.texts("station") == "top has not opened yet"
    cell.flow.accept(Batch.of("top", [cell.table["top.trigger"].id], [np.nan], cell.clock.utc(), Quality.STALE))
    assert cell.plc.memory["ready"] and cell.told("station")[-1] == ("aoi", "ready")


def test_a_camera_that_never_opened_is_lost_until_it_is_back(folder: Path) -> None:
    cell = Cell(folder, open=frozenset())
    cell.flow.accept(Event("source", "top", "lost", text="no picture from rtsp://192.168.1.20/stream"))
    cell.run(1)
    assert cell.texts("station").endswith("top is lost: no picture from rtsp://192.168.1.20/stream")
    assert not cell.plc.memory["ready"]
    cell.flow.accept(Batch.of("top", [cell.table["top.trigger"].id], [np.nan], cell.clock.utc(), Quality.STALE))
    cell.flow.accept(Event("source", "top", "back"))
    assert cell.parts(1) == [(1, "ok")]


def test_a_picture_that_was_refused_is_a_recheck_at_once(folder: Path) -> None:
    cell = Cell(folder, look=lambda camera, number: None)
    cell.run(0.2, lambda: bool(cell.asked))
    cell.flow.accept(Event("write", "top.trigger", "refused", text="overrun", data={"value": ASKED + 1.0}))
    cell.run(0.1)
    assert cell.plc.results == [(1, "recheck")] and "overrun" in cell.texts("inspection")


def test_a_picture_that_comes_too_late_or_from_before_is_no_other_parts(folder: Path) -> None:
    cell = Cell(folder, look=lambda camera, number: None)
    assert cell.parts(1) == [(1, "recheck")]
    cell.shoot = lambda camera, number: None  # type: ignore[method-assign]
    cell.run(2, lambda: len(cell.asked) == 2)
    for number, mono in ((ASKED + 1, cell.clock.mono()), (ASKED + 2, 1), (2, cell.clock.mono())):
        cell.flow.accept(Frame("top", 9, cell.clock.utc(), board(noise=99), number, 0, None, mono))
    assert cell.parts(1) == [(2, "recheck")]


def test_a_pulled_cable_loses_no_verdict(folder: Path) -> None:
    cell = Cell(folder)
    cell.parts(2)
    cell.run(2, lambda: bool(cell.plc.memory["busy"]))
    cell.cable = False
    beat = cell.plc.memory["heartbeat"]
    cell.run(5)
    assert cell.told("handshake")[-1] == ("aoi.lost", "raised") and cell.plc.memory["heartbeat"] == beat
    assert len(cell.told("inspection")) == 3 and len(cell.plc.results) == 2
    cell.cable = True
    assert cell.parts(2) == [(3, "ok"), (4, "ok")] and cell.told("handshake")[-1] == ("aoi.lost", "cleared")


def test_a_plc_that_forgot_its_memory_gets_everything_again(folder: Path) -> None:
    cell = Cell(folder)
    cell.parts(2)
    cell.plc.restart()
    assert cell.parts(3) == [(3, "ok"), (4, "ok"), (5, "ok")]


def test_a_station_that_restarts_owes_nothing(folder: Path) -> None:
    cell = Cell(folder, look=lambda camera, number: board(noise=number) if number < 3 else None)
    cell.parts(2)
    cell.run(2, lambda: bool(cell.plc.memory["taken"]))
    cell.start()
    cell.look = lambda camera, number: board(noise=number)
    assert cell.parts(2) == [(3, "recheck"), (4, "ok")]
    records = [event for event in cell.events if event.kind == "inspection"]
    assert [e.data["inspection"] for e in records] == [1, 2, 3, 4] and not list(breaks(records))
    assert "ended before it was judged" in records[2].text and json.loads(cell.states["aoi"])["counts"]["parts"] == 4


def test_a_part_that_was_taken_just_before_a_power_cut_is_rechecked_under_its_id(folder: Path) -> None:
    cell = Cell(folder, look=lambda camera, number: board(noise=number) if number != 3 else None)
    cell.parts(2)
    cell.run(0.1)
    kept = dict(cell.states)
    cell.run(2, lambda: bool(cell.plc.memory["taken"]))
    cell.states = kept  # what came after did not reach the disk
    cell.start()
    assert cell.parts(2) == [(3, "recheck"), (4, "ok")]
    assert [e.data["inspection"] for e in cell.events if e.kind == "inspection"] == [1, 2, 3, 4]


def test_a_late_sample_is_no_trigger(folder: Path) -> None:
    cell = Cell(folder)
    cell.plc.resting = True
    cell.run(0.2)
    late = Batch.of("plc", [cell.table["plc.trigger"].id], [1.0], cell.clock.utc() - 40 * MS)
    cell.flow.accept(late)
    assert not cell.asked and not cell.told("handshake")


def test_a_station_without_any_memory_gives_no_id_twice(folder: Path) -> None:
    cell = Cell(folder)
    cell.parts(2)
    cell.run(0.1)
    cell.states = {}
    cell.start()
    assert cell.parts(2) == [(3, "ok"), (4, "ok")]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (65_536, "cannot be shown: 65536 is outside 0..65535 of plc.part_done"),
        (-1, "-1 is outside"),
        (np.nan, "number nan is no whole number"),
        (np.inf, "number inf is no whole number"),
        (7.5, "number 7.5 is no whole number"),
    ],
)
def test_a_part_number_that_cannot_be_shown_refuses_the_trigger(folder: Path, number: float, words: str) -> None:
    cell = Cell(folder, number=number)
    cell.run(2, lambda: bool(cell.plc.refused))
    assert cell.plc.refused and not cell.asked and words in cell.texts("handshake")
    cell.number = 65_535
    assert cell.parts(10) == [(k, "ok") for k in range(1, 11)] and cell.plc.memory["part_done"] == 65_535


def test_an_old_snapshot_with_such_a_number_stops_nothing(folder: Path) -> None:
    cell = Cell(folder, look=lambda camera, number: None)
    cell.run(2, lambda: bool(cell.plc.memory["taken"]))
    old = json.loads(cell.states["aoi"])
    assert old["handshake"]["under_way"] == [[1, 500]]
    old["handshake"]["under_way"] = [[1, 65_536]]
    cell.states["aoi"] = json.dumps(old).encode()
    cell.start()
    cell.look = lambda camera, number: board(noise=number)
    assert cell.parts(1) == [(1, "recheck")] and cell.plc.memory["part_done"] == 0
    assert cell.parts(1) == [(2, "ok")] and cell.plc.memory["part_done"] == 500


@pytest.mark.parametrize("name", ["trigger", "ack", "result_id"])
def test_a_bit_or_word_that_is_no_number_is_not_said(folder: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    cell = Cell(folder)
    cell.run(2, lambda: bool(cell.plc.memory["valid"] and not cell.plc.ack and not cell.plc.trigger))
    cell.plc.faults.no_ack = cell.clock.mono() + 500 * MS
    cell.run(0.1)
    assert cell.asked == [("top", 1)] and cell.plc.memory["valid"]
    cell.flow.accept(Batch.of("plc", [cell.table[f"plc.{name}"].id], [np.nan], cell.clock.utc()))
    assert cell.asked == [("top", 1)] and cell.plc.memory["valid"] and "failed" not in caplog.text
    assert cell.parts(2) == [(1, "ok"), (2, "ok")]


def test_the_picture_itself_may_be_the_trigger(folder: Path) -> None:
    cell = Cell(folder, {"plc": {"trigger": "", "part": ""}, "starts": "top", "recipes": {7: "b.yaml"}})
    cell.plc.resting = True
    cell.run(0.1)
    for k in range(3):
        cell.shoot("top", 900 + k)
        cell.run(1)
    assert cell.plc.results == [(1, "ok"), (2, "ok"), (3, "ok")] and cell.asked == [
        ("side", 1),
        ("side", 2),
        ("side", 3),
    ]
    cell.product = 9
    cell.run(0.1)
    cell.shoot("top", 950)
    cell.run(1)
    assert (
        len(cell.plc.results) == 3
        and cell.plc.memory["overrun"]
        and cell.told("handshake")[-1] == ("aoi.refused", "refused")
    )
    cell.product = 7
    cell.run(0.1)
    cell.shoot("top", 951)
    cell.run(1)
    assert len(cell.plc.results) == 4 and not cell.plc.memory["overrun"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"plc": {"trigger": ""}}, "how a part announces itself"),
        ({"plc": {"trigger": ""}, "starts": "top"}, "`plc.part` belongs to a trigger of the PLC"),
        ({"plc": {"product": ""}, "recipes": {7: "a.yaml", 8: "b.yaml"}}, "nothing to choose by"),
        ({"reserve": 1.0}, "leaves nothing of the takt"),
        ({"plc": {"busy": "plc.ready"}}, "plc.ready stands twice"),
        ({"plc": {"busy": "plc.buzy"}}, "no tag is called 'plc.buzy' (did you mean 'plc.busy'?)"),
        ({"plc": {"trigger": "", "part": ""}, "starts": "topp"}, "the site has no camera 'topp' (did you mean 'top'?)"),
    ],
)
def test_what_cannot_be_is_said(folder: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises((ValueError, ConfigFault), match=re.escape(words)):
        Cell(folder, options)


MASTERS = "masters: {every: 1h, parts: {901: ok, 902: ng}}\n"


def show(cell: Cell, number: int, bad: bool) -> str:
    """One part with this number; what the PLC read."""
    cell.number, cell.look = number, lambda camera, n: board(bad, n)
    return cell.parts(1)[0][1]


def test_until_the_masters_of_the_shift_are_judged_right_no_part_is_ok(folder: Path) -> None:
    (folder / "a.yaml").write_text(RECIPE.format(code="A", more=MASTERS))
    cell = Cell(folder)
    assert show(cell, 5, False) == "recheck" and cell.plc.memory["interlock"]
    assert "show the master samples first: 901, 902" in cell.texts("inspection")
    assert show(cell, 5, True) == "ng", "a defect is one all the same"
    assert (show(cell, 901, False), show(cell, 6, False), show(cell, 902, True)) == ("ok", "recheck", "ng")
    assert show(cell, 7, False) == "ok" and not cell.plc.memory["interlock"]
    assert cell.told("master") == [("aoi", "ok"), ("aoi", "ng")] and ("aoi", "proved") in cell.told("station")
    assert json.loads(cell.states["aoi"])["counts"]["parts"] == 4, "masters are no parts"
    cell.run(0.1)
    cell.start()
    assert show(cell, 8, False) == "ok", "a proof outlives a restart"
    cell.ahead = 2 * 3600 * 10**9
    assert show(cell, 8, False) == "ok" and not cell.plc.memory["interlock"], "the PLC's clock was set: no new shift"
    cell.clock.advance(3600)
    assert show(cell, 9, False) == "recheck"


def test_a_master_that_is_judged_wrong_stops_the_line(folder: Path) -> None:
    (folder / "a.yaml").write_text(RECIPE.format(code="A", more=MASTERS))
    cell = Cell(folder)
    show(cell, 901, False), show(cell, 902, True)
    assert show(cell, 7, False) == "ok"
    assert show(cell, 902, False) == "ok" and cell.told("station")[-1] == ("aoi", "interlock")
    assert show(cell, 8, False) == "recheck" and cell.plc.memory["interlock"]
    (folder / "a.yaml").write_text(RECIPE.format(code="other", more=MASTERS))
    show(cell, 901, False), show(cell, 902, True)
    cell.run(0.1)
    cell.start()
    assert show(cell, 9, False) == "recheck", "another recipe has to be proved anew"


def test_a_master_without_a_view_that_was_given_up_proves_nothing(folder: Path) -> None:
    (folder / "a.yaml").write_text(RECIPE.format(code="A", more=SIDE + MASTERS))
    cell = Cell(folder, {"degrade": ["side"]})
    show(cell, 901, False), show(cell, 902, True)
    cell.clock.advance(2400)
    cell.takes = 1500
    show(cell, 5, False), show(cell, 6, False), show(cell, 7, False)
    cell.takes = 50
    cell.run(5)
    assert (show(cell, 901, False), show(cell, 902, True), show(cell, 8, False)) == ("ok", "ng", "ok")
    records = [event.data["left_out"] for event in cell.events if event.kind in ("inspection", "master")]
    assert records[-3:] == [["side"]] * 3
    cell.clock.advance(1500)
    assert show(cell, 9, False) == "recheck"
    assert "are due: 901; no other" in cell.texts("station"), "its first proof is over; the one of 902 that is NG holds"
    assert (show(cell, 901, False), show(cell, 10, False)) == ("ok", "ok")
    records = [event.data["left_out"] for event in cell.events if event.kind in ("inspection", "master")]
    assert records[-3:] == [[], [], ["side"]], "while masters are due, nothing is left out"


def test_masters_need_part_numbers(folder: Path) -> None:
    (folder / "a.yaml").write_text(RECIPE.format(code="A", more=MASTERS))
    assert "known by their part numbers" in Cell(folder, {"plc": {"part": ""}}).station.faults[0]


def test_an_inspection_id_is_no_masters_number(folder: Path) -> None:
    (folder / "a.yaml").write_text(RECIPE.format(code="A", more="masters: {parts: {1: ok}}\n"))
    cell = Cell(folder, {"plc": {"part": ""}})
    assert cell.parts(2) == [(1, "recheck"), (2, "recheck")] and not cell.told("master")


def test_after_a_failed_master_no_part_under_way_is_ok(folder: Path) -> None:
    (folder / "a.yaml").write_text(RECIPE.format(code="A", more=MASTERS))
    cell = Cell(folder)
    show(cell, 901, False), show(cell, 902, True)
    assert show(cell, 7, False) == "ok"
    cell.plc.cadence, cell.takes = 200 * MS, 500  # the next one comes before the master is judged
    cell.number, cell.look = 902, lambda camera, n: board(False, n)
    taken = len(cell.plc.taken)
    cell.run(3, lambda: len(cell.plc.taken) > taken)
    cell.number = 8
    cell.run(0.4, lambda: len(cell.plc.taken) > taken + 1)
    assert len(cell.station._parts) == 2, "both are under way"
    assert [state for _, state in cell.parts(2)] == ["ok", "recheck"], "the master is as it was judged"
    assert [event.data["part"] for event in cell.events if event.kind == "inspection"][-1] == 8


FILM = """\
recipe: blinker
views:
  top:
    camera: top
    size: [64, 80]
    lasts: 2s
    every: 100ms
    tools: {lamps: {tool: lamps, lamps: {left: {at: [10, 10, 10, 10], on: [[500ms, 1s]]}, right: {at: [50, 10, 10, 10], on: []}}}}
"""


@pytest.mark.parametrize(
    ("late", "state", "words"), [(0.0, "ok", ""), (0.3, "ng", "left is dark at 0."), (None, "ng", "left is dark at 0.")]
)
def test_a_film_is_judged_over_time_and_the_next_part_waits(
    folder: Path, late: float | None, state: str, words: str
) -> None:
    (folder / "a.yaml").write_text(FILM)
    cell = Cell(folder, {"takt": 3.0})

    def look(camera: str, number: int) -> np.ndarray:
        after = (cell.clock.mono() - cell.began(number)) / 1e9
        image = np.full((64, 80, 3), 90, np.uint8)
        if late is not None and 0.5 + late <= after < 1 + late:
            image[10:20, 10:20] = 240
        image[0, 0] = len(cell.asked) % 250
        return image

    cell.look, cell.plc.cadence = look, 3000 * MS
    assert cell.parts(2) == [(1, state), (2, state)]
    assert words in cell.texts("inspection") and max(cell.plc.waited) < 3000 * MS
    assert 18 <= cell.asked.count(("top", 1)) <= 21 and not cell.told("camera")
    assert len(cell.pictures) == 2, "one picture of each film is kept"
    assert len(cell.pool) == 8 and cell.told("handshake") == []


@pytest.mark.parametrize(("lit", "kept"), [(True, 0), (False, 2)])
def test_of_films_too_the_pictures_of_bad_parts_are_kept(folder: Path, lit: bool, kept: int) -> None:
    (folder / "a.yaml").write_text(FILM)
    cell = Cell(folder, {"takt": 3.0, "keep": "ng"})

    def look(camera: str, number: int) -> np.ndarray:
        image = np.full((64, 80, 3), 90, np.uint8)
        if lit and 0.5 <= (cell.clock.mono() - cell.began(number)) / 1e9 < 1:
            image[10:20, 10:20] = 240
        image[0, 0] = len(cell.asked) % 250
        return image

    cell.look, cell.plc.cadence = look, 3000 * MS
    assert [state for _, state in cell.parts(2)] == ["ok" if lit else "ng"] * 2
    assert len(cell.pictures) == kept


@pytest.mark.parametrize(("then", "kept"), [("ng", 1), ("ok", 0)])
def test_the_picture_of_a_part_that_a_rule_makes_bad_is_kept(folder: Path, then: str, kept: int) -> None:
    text = RECIPE.format(code="A", more=f"rules:\n  - {{label: [dark], shorter_px: 60, then: {then}}}\n")
    (folder / "a.yaml").write_text(text.replace("{tool: template}", "{tool: blob, level: 99, most: 9}"))
    cell = Cell(folder, {"keep": "ng"})
    assert cell.parts(1) == [(1, then)] and len(cell.pictures) == kept


def test_the_picture_of_a_part_that_waits_for_masters_is_kept(folder: Path) -> None:
    (folder / "a.yaml").write_text(RECIPE.format(code="A", more=MASTERS))
    cell = Cell(folder, {"keep": "ng"})
    assert show(cell, 5, False) == "recheck" and len(cell.pictures) == 1
    record = [event for event in cell.events if event.kind == "inspection"][-1]
    assert record.refs == (cell.pictures[0].digest,)
    assert (show(cell, 901, False), len(cell.pictures)) == ("ok", 1), "nobody has to look at a good master"
    assert (show(cell, 902, True), len(cell.pictures)) == ("ng", 2)
    assert (show(cell, 5, False), len(cell.pictures)) == ("ok", 2)


@pytest.mark.parametrize(
    ("recipes", "words"),
    [
        ({7: "a.yaml", "SEDAN": "b.yaml"}, "'SEDAN' is never used: plc.product is a number, and that is none"),
        ({7: "a.yaml", "08": "b.yaml"}, "'08' is never used: plc.product is a number; write 8"),
        ({7: "a.yaml", "7": "b.yaml"}, "two recipes for the product '7'"),
        ({7: "a.yaml", -8: "b.yaml", "8.5": "b.yaml"}, ""),
    ],
)
def test_a_product_code_that_the_tag_cannot_say_is_told(
    folder: Path, recipes: dict[str | int, str], words: str
) -> None:
    faults = Cell(folder, {"recipes": recipes}).station.faults
    assert words in " ".join(faults) if words else not faults


def test_a_film_that_breaks_off_is_a_recheck(folder: Path) -> None:
    (folder / "a.yaml").write_text(FILM)
    cell = Cell(folder, {"takt": 3.0})
    frames: list[int] = []

    def look(camera: str, number: int) -> np.ndarray | None:
        frames.append(number)
        return np.full((64, 80, 3), 90, np.uint8) if len(frames) < 4 else None

    cell.look = look
    assert cell.parts(1) == [(1, "recheck")] and "too few pictures to tell of left" in cell.texts("inspection")


def test_only_what_a_recipe_calls_optional_can_be_given_up(folder: Path) -> None:
    assert Cell(folder, {"degrade": ["side"]}).station.faults == [
        "degrade: 'side' cannot be given up; there are pictures"
    ]
    (folder / "b.yaml").write_text("")
    (fault,) = Cell(folder, {"recipes": {7: "b.yaml"}, "degrade": ["side"]}).station.faults
    assert "the recipe is empty" in fault


def test_a_recipe_with_a_camera_that_the_site_does_not_have_is_refused_and_the_others_run(folder: Path) -> None:
    text = RECIPE.format(code="C", more="").replace("camera: top", "camera: topp")
    (folder / "c.yaml").write_text(text)
    cell = Cell(folder, {"recipes": {7: "a.yaml", 8: "c.yaml"}})
    words = "c.yaml:3:17: views.top.camera: the site has no camera 'topp', did you mean 'top'?"
    (fault,) = cell.station.faults
    assert fault.endswith(words) and cell.parts(1)
    cell.product = 8
    cell.run(1)
    assert not cell.plc.memory["ready"] and words in cell.texts("station")


def test_a_tag_of_the_plc_is_no_camera(folder: Path) -> None:
    (folder / "a.yaml").write_text(RECIPE.format(code="A", more="").replace("camera: top", "camera: plc"))
    (fault,) = Cell(folder).station.faults
    assert fault.endswith("the site has no camera 'plc', there are side, top")
