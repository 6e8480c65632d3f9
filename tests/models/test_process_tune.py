"""`lineside tune`: a whole course on a running daemon, what it refuses, and when the best settings come back."""

from __future__ import annotations

import asyncio
import getpass
import json
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from edge import Event, events_of
from edge.app import Daemon
from edge.cli import main
from edge.config.load import load, load_text
from edge.control import Control
from edge.errors import ConfigFault, LinesideError
from models.process import history
from models.process.course import Course
from models.process.machine import Machine
from models.process.options import TuneConfig
from models.process.session import Session, Trial
from models.process.space import Input, Space
from models.process.task import Aim, Proposal, Task
from models.process.told import told
from models.process.tuner import Tuner

SHIPPED = (Path(__file__).parents[2] / "configs" / "dispenser.yaml").read_text("utf-8")
FAST = SHIPPED.replace("every: 500ms", "every: 20ms")


def tuned(folder: Path, text: str, *more: str) -> int:
    """The command beside a daemon of the same site, in one process."""
    site = folder / "dispenser.yaml"
    site.write_text(text)

    async def both() -> int:
        daemon = Daemon(load(site), folder / "state")
        control = Control(daemon)
        await daemon.start()
        await control.start()
        try:
            return await asyncio.to_thread(main, ["tune", str(site), "--state", str(folder / "state"), *more])
        finally:
            await control.stop()
            await daemon.stop()

    return asyncio.run(both())


def test_a_site_is_tuned_and_each_row_is_a_lot_made_by_its_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "tuned.html"
    assert tuned(tmp_path, FAST, "--trials", "5", "--json", "--report", str(page)) == 0
    *rows, end = map(json.loads, capsys.readouterr().out.splitlines())
    assert [row["trial"] for row in rows] == [1, 2, 3, 4, 5] and all(row["kept"] for row in rows)
    assert all(row["glue.cycle"] == 300 + row["glue.time"] for row in rows), "the settings of the lot, not older ones"
    assert len({row["glue.time"] for row in rows}) > 1 and set(end["best"]) == set(
        load_text(FAST).sections["tune"].inputs
    )
    assert end["worth"] > rows[0]["worth"]
    drawn = page.read_text()
    assert drawn.count("<svg") == 6 and "glue.thread" in drawn and "://" not in drawn
    again = history.read(tmp_path / "state" / "trials.csv", ["glue.pressure", "glue.thread"])
    assert len(again) == 5
    told = list(events_of(tmp_path / "state" / "journal.db", "trial"))
    assert [event.state for event in told] == ["tried", *["proposed", "tried"] * 4, "ended"]
    assert {event.key for event in told} == {"worth"} and {event.data["by"] for event in told} == {getpass.getuser()}
    assert [e.data["worth"] for e in told if e.state == "tried"] == [row["worth"] for row in rows]
    proposed, tried = told[1].data, told[2].data
    assert proposed["settings"] == tried["settings"] == {name: rows[1][name] for name in proposed["settings"]}
    assert proposed["foretold"] == tried["foretold"] and proposed["sure"] >= 0.95 and tried["broken"] == []


def test_a_course_begins_with_what_the_journal_holds_lot_by_lot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tuned(tmp_path, FAST, "--trials", "3", "--json") == 0
    state, task = tmp_path / "state", told(load_text(FAST)).task
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()[:-1]]
    names, always = task.space.names, (-(2**63), 2**63 - 1)
    found = history.lots(state / "journal.db", "glue.lot", names, task.outputs, always, 0)
    for row in rows:
        assert [row[name] for name in names] in [[each[name] for name in names] for each in found]
    (state / "trials.csv").unlink()
    assert tuned(tmp_path, FAST, "--trials", "1", "--since", "2020-01-01") == 0
    known = re.search(r"(\d+) trials of earlier days are known", capsys.readouterr().err)
    assert known and int(known[1]) >= len(found) >= 3
    assert main(["tune", str(tmp_path / "dispenser.yaml"), "--state", str(state), "--until", "2020-01-01"]) == 2


def test_without_write_it_asks_a_person_and_ends_with_what_nobody_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = FAST.replace("  write: true\n", "  patience: 300ms\n")
    assert tuned(tmp_path, text, "--trials", "3") == 2
    out, err = capsys.readouterr()
    assert "please set, in this order: glue." in err and "nobody set it within 0.3 s" in err
    assert "as it was" in out and "best: glue.pressure 2" in out


MOVED = """\
  moved: {when: "glue.pressure != 2 or glue.time != 80 or glue.height != 0.3 or glue.temperature != 28", severity: low}
"""


def test_an_alarm_of_the_site_that_the_settings_raise_brings_the_best_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = FAST.replace("alarms:\n", f"alarms:\n{MOVED}").replace("[stopped]", "[stopped, moved]")
    assert tuned(tmp_path, text, "--trials", "3", "--json") == 0
    first, moved, back, end = map(json.loads, capsys.readouterr().out.splitlines())
    names = list(load_text(FAST).sections["tune"].inputs)
    assert (first["alarm"], moved["alarm"], back["alarm"]) == ("", "alarm moved", "")
    assert [back[name] for name in names] == [first[name] for name in names] != [moved[name] for name in names]
    assert back["why"] == "back after alarm moved" and [end["best"][name] for name in names] == [
        first[n] for n in names
    ]


def test_what_a_stage_found_unusual_counts_until_it_is_usual_again_and_once_where_it_ended_meanwhile(
    tmp_path: Path,
) -> None:
    machine, said = Machine(tmp_path, "glue.lot", 5.0), list[list[str]]()

    async def both() -> None:
        daemon = Daemon(load_text(FAST), tmp_path)
        control = Control(daemon)
        await daemon.start()
        await control.start()
        try:
            for states in (["unusual", "usual"], ["unusual"], [], ["usual"], ["unusual", "usual"], []):
                for state in states:
                    daemon.accept(Event("station", "aoi", state))
                await daemon.journal.commit()
                said.append(await asyncio.to_thread(machine.alarms, ["stopped", "aoi"]))
            for wrong in ({"kind": "alarm"}, {"severity": "loud"}, {"data": [1]}):
                with pytest.raises(LinesideError, match="no tool tells a"):
                    await asyncio.to_thread(machine.ask, **{"do": "tell", "kind": "trial"} | wrong)
            await asyncio.to_thread(machine.tell, "worth", "tried", "", {"worth": math.nan})
        finally:
            await control.stop()
            await daemon.stop()

    asyncio.run(both())
    assert [event.data["worth"] for event in events_of(tmp_path / "journal.db", "trial")] == [None]
    assert said == [[], ["aoi"], ["aoi"], [], ["aoi"], []], "what ended before the first look is of no course"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("objective: worth", "objective: wort"), "tune.objective: no tag is called 'wort', did you mean 'worth'?"),
        (("glue.time: {step: 1}", "glue.mass: {}"), "tune.inputs.glue.mass: glue.mass is not writable"),
        (("{step: 1}", "{range: [10, 100]}"), "it leaves 20..200, which may be written"),
        (("glue.time <= 600", "glue.mass <= 600"), "tune.interlocks[0]: no setting is called 'glue.mass'"),
        (("glue.time <= 600", "glue.time <="), "tune.interlocks[0]: "),
        (("rollback_on: [stopped]", "rollback_on: [stoped]"), "no alarm is called 'stoped', did you mean 'stopped'?"),
        (("at_most: 0.2}", "at_most: 0.2, at_least: 0.1}"), "say `at_least` or `at_most`"),
        (("raises: [glue.mass]", "raises: [glue.maas]"), "no tag is called 'glue.maas', did you mean 'glue.mass'?"),
        (("raises: [glue.mass]}", "avoid: glue.time > 3}"), "say `avoid: EXPRESSION`, or `input: TAG`"),
        (("lot: glue.lot", "lot: glue.lot\n  columns: {glue.tim: a}"), "did you mean 'glue.time'?"),
        (("lot: glue.lot", "lot: glue.lot\n  columns: {glue.time: a}"), "name columns of `history`, and there is none"),
        (("lot: glue.lot", "lot: glue.lot\n  kept: ../a.csv"), "tune.kept: "),
        (("objective: worth", "objective: glue.time"), "glue.time is one of the settings"),
    ],
)
def test_what_cannot_be_is_said_with_its_place(change: tuple[str, str], said: str) -> None:
    text = SHIPPED.replace(*change)
    assert text != SHIPPED
    with pytest.raises(ConfigFault) as fault:
        told(load_text(text))
    assert said in str(fault.value).replace("interlocks.0", "interlocks[0]")


def test_a_site_without_a_task_and_a_machine_without_a_daemon(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(LinesideError, match="has no `tune:`"):
        told(load_text("device: {id: a}\ndrivers: {glue: {driver: dispenser}}\n"))
    site = tmp_path / "d.yaml"
    site.write_text(SHIPPED)
    assert main(["tune", str(site), "--state", str(tmp_path)]) == 2
    assert "no daemon runs" in capsys.readouterr().err


def test_what_is_to_be_avoided_is_never_tried_and_a_virtual_objective_is_learned_by_its_parts() -> None:
    text = SHIPPED.replace("  rules:\n", "  rules:\n    - {avoid: glue.height > 0.6}\n")
    task = told(load_text(text)).task
    assert list(task.aim.names) == ["glue.cycle", "glue.diameter", "glue.mass"]
    x = np.array([[2.0, 80.0, 0.61, 28.0], [2.0, 80.0, 0.6, 28.0]])
    assert task.space.allowed(x).tolist() == [False, True]


STATION = """
device: {id: press}
drivers:
  plc:
    driver: modbus
    url: tcp://127.0.0.1:5024
    every: 20ms
    tags:
      trigger: {address: "holding:10.0"}
      ack: {address: "holding:10.1"}
      feed: {address: "holding:30", writable: {range: [1, 9]}}
      valid: {address: "coil:4", writable: {range: [0, 1]}}
      ready: {address: "coil:0", writable: {range: [0, 1]}}
      ok: {address: "coil:5", writable: {range: [0, 1]}}
      ng: {address: "coil:6", writable: {range: [0, 1]}}
      recheck: {address: "coil:7", writable: {range: [0, 1]}}
      result_id: {address: "holding:20", writable: {range: [0, 65535]}}
stages:
  aoi:
    stage: station
    takt: 1s
    recipes: {1: hole.yaml}
    measured: {hole: top.hole.width_mm, dirt: top.surface.score}
    plc: {trigger: plc.trigger, ack: plc.ack, valid: plc.valid, ready: plc.ready, ok: plc.ok, ng: plc.ng,
      recheck: plc.recheck, result_id: plc.result_id}
tags:
  off: {expression: abs(aoi.hole - 6)}
tune:
  objective: off
  goal: minimise
  inputs: {plc.feed: {}}
  limits: {aoi.dirt: {at_most: 0.5}}
  lot: aoi.parts
"""


def test_what_a_station_measures_may_be_the_objective_or_have_a_limit() -> None:
    pytest.importorskip("cv2", reason="needs the vision extra")
    site = load_text(STATION)
    assert not site.problems
    what = told(site)
    assert what.task.outputs == ["aoi.hole", "aoi.dirt"] and what.units["aoi.hole"] == "mm"


def test_what_was_half_written_is_where_the_way_back_begins(tmp_path: Path) -> None:
    """A write that fails leaves the machine between two settings, and the newest reading may be older than that."""
    from argparse import Namespace

    class Half(Machine):
        """Shows what it showed at the last lot; takes one write, then none."""

        def __init__(self) -> None:
            super().__init__(tmp_path, "glue.lot", 1.0)
            self.shown = {"glue.pressure": 2.0, "glue.time": 200.0, "glue.height": 0.3, "glue.temperature": 28.0}
            self.took: list[dict[str, float]] = []

        def settings(self, names: Sequence[str]) -> dict[str, float]:
            return {name: self.shown[name] for name in names}

        def tell(self, *told: object) -> None:
            self.told = told

        def write(self, values: Mapping[str, float]) -> None:
            if self.took:
                raise LinesideError("glue.temperature failed")
            self.took.append(dict(values))

    machine, what = Half(), told(load_text(SHIPPED))
    options = Namespace(site=Path("d.yaml"), json=False, report=None, write=True, trials=3, seed=1)
    course = Course(what, machine, options, tmp_path / "trials.csv")
    with pytest.raises(LinesideError, match="temperature failed"):
        course.set(Proposal(np.array([3.0, 200.0, 0.3, 30.0]), 0.0, (0.0, 0.0), 1.0, ""), np.zeros(4))
    assert machine.took == [{"glue.pressure": 3.0}]
    back = course._way(np.array([4.0, 150.0, 0.3, 28.0]))
    assert list(back) == ["glue.time", "glue.pressure"], "from 3 bar and 200 ms the time has to go down first"
    machine.shown["glue.time"] = 200.00001
    assert "glue.time" not in course._way(np.array([2.5, 200.0, 0.3, 28.0]))


class Bench:
    """A machine of one setting, best at 6; from the trial `breaks` on it gives half. A person sets `stubborn` instead."""

    def __init__(self, breaks: int = 999, alarm: Collection[int] = (), stubborn: float | None = None) -> None:
        self.x, self.lots, self.asked = np.array([2.0]), 0, list[Proposal]()
        self._breaks, self._alarm, self._stubborn = breaks, alarm, stubborn
        self._rng = np.random.default_rng(2)

    def set(self, proposal: Proposal, now: np.ndarray) -> None:
        self.asked.append(proposal)
        self.x = proposal.x if self._stubborn is None else np.array([self._stubborn])

    def lot(self) -> tuple[np.ndarray, dict[str, float], list[str]]:
        self.lots += 1
        gain = (30 - (self.x[0] - 6) ** 2) * (0.5 if self.lots >= self._breaks else 1.0)
        made = {"m.gain": float(gain * np.exp(self._rng.normal(0, 0.01)))}
        return self.x, made, ["jam"] if self.lots in self._alarm else []


def course(bench: Bench, trials: int) -> tuple[list[Trial], Session]:
    task = Task(Space([Input("m.x", 0.5, 10)]), Aim(["m.gain"], lambda c: c["m.gain"]))
    session = Session(Tuner(task, np.random.default_rng(1)), bench, np.array([2.0]))
    return list(session.run(trials)), session


def test_a_steady_machine_raises_no_alarm_and_is_found_at_its_best() -> None:
    trials, session = course(Bench(), 14)
    assert not [trial.alarm for trial in trials if trial.alarm]
    assert abs(session.back("").x[0] - 6) < 1 and trials[-1].best > 28


def test_when_the_machine_gives_half_the_chart_says_so_and_the_best_settings_come_back() -> None:
    bench = Bench(breaks=10)
    trials, session = course(bench, 12)
    odd = [trial.number for trial in trials if trial.alarm]
    assert odd[0] == 10 and "m.gain: 1 beyond 3 sigma" in trials[9].alarm
    assert bench.asked[9].why.startswith("back after m.gain") and abs(bench.asked[9].x[0] - 6) < 1.5
    assert session.tuner.era >= 1 and trials[-1].best < 20, "what was before the step is another level"


def test_an_alarm_of_the_site_brings_the_best_settings_back_and_a_person_may_set_others() -> None:
    bench = Bench(alarm=[4])
    trials, _ = course(bench, 5)
    assert trials[3].alarm == "alarm jam" and bench.asked[3].why == "back after alarm jam"
    bench = Bench(alarm=range(2, 9))
    with pytest.raises(LinesideError, match="alarm jam came 3 trials in a row, at the best settings too"):
        course(bench, 9)
    assert bench.lots == 4 and (bench.asked[-1].x == 2).all(), "what raised an alarm is not the best"
    trials, session = course(Bench(stubborn=3.0), 3)
    assert [trial.x[0] for trial in trials] == [2.0, 3.0, 3.0] and session.now[0] == 3.0


@pytest.fixture(scope="module")
def options() -> Iterator[TuneConfig]:
    yield load_text(SHIPPED).sections["tune"]  # type: ignore[misc]


def test_the_shipped_site_is_the_one_that_is_measured(options: TuneConfig) -> None:
    from tests.bench.dispenser import TASK

    task = told(load_text(SHIPPED)).task
    assert [(one.low, one.high) for one in task.space.inputs] == [(one.low, one.high) for one in TASK.space.inputs]
    assert [text.replace("glue.", "") for text in task.space.interlocks] == list(TASK.space.interlocks)
    assert list(task.limits) == list(TASK.limits) and (task.certain, task.horizon) == (TASK.certain, TASK.horizon)
    assert task.changes == TASK.changes == options.changes
