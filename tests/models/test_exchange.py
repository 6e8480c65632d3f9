"""Another model in the place of the one that runs: beside it, on trial, and back by itself; each between two pictures."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge import (
    Event,
    Frame,
    Job,
    ManualClock,
    ModelRefused,
    NewModel,
    Picture,
    Setting,
    TagTable,
    find_part,
    model_home,
    wilson,
)
from edge.flow import Flow
from edge.health import Health
from models.package import SHIPPED
from models.vision.exchange import FEW, LEAST, Counts, Seen, worse
from models.vision.inspect import Inspect, InspectConfig
from models.vision.verdict import Verdict

pytestmark = pytest.mark.usefixtures("engine")
render: Any = find_part("sims", "parts").render
GOOD, BAD = render(5_000_000), render(5_000_001, "missing_hole")


class Line:
    """A stage `washer` whose model updates bring; `late` jobs are those that come when the pool has no time."""

    def __init__(self, folder: Path, clock: ManualClock | None = None, **options: Any) -> None:
        self.folder, self.clock = folder, clock or ManualClock()
        self.events: list[Event] = []
        self.pictures: list[Picture] = []
        self.kept: dict[str, bytes] = {}
        self.told: list[tuple[str, str]] = []
        self.late = False
        self.jobs: list[Job] = []
        self.parts = 0
        given = {"stage": "inspect", "camera": "top", "model": "updates:washer", "trial": 60.0} | options
        setting = Setting("washer", TagTable(), Path("."), state=folder)
        self.stage = Inspect(InspectConfig(**given), setting)
        self.flow = Flow(TagTable(), [("washer", self.stage)], self, self.clock, Health(self.clock), submit=self.submit)

    def append(self, batches: Any = (), events: Any = (), pictures: Any = (), snapshots: Any = None) -> None:
        self.events += events
        self.pictures += pictures
        self.kept |= snapshots or {}

    def submit(self, job: Job, done: Callable[[Any], None]) -> None:
        self.jobs.append(job)
        done(job.expired() if self.late else job.run())

    def show(self, image: np.ndarray = GOOD, times: int = 1) -> Event:
        """So many parts, one a second; what was said of the last."""
        for _ in range(times):
            self.parts += 1
            self.clock.advance(1)
            self.flow.accept(Frame("top", self.parts, 10**18, image.copy(), self.parts, mono=self.clock.mono()))
        return next(event for event in reversed(self.events) if event.kind == "inspection")

    def order(self, judges: Any, use: str = "run", version: str = "2") -> None:
        self.flow.tell("washer", NewModel(version, judges, use, lambda state, text, _: self.told.append((state, text))))

    def states(self) -> list[str]:
        return [event.state for event in self.events if event.kind == "model"]


def version(state: Path, number: int) -> Path:
    """The shipped model as another version, where updates would put it."""
    place = model_home(state, "washer") / f"v{number}"
    shutil.copytree(SHIPPED / "washer", place)
    path = place / "model.yaml"
    path.write_text(path.read_text().replace("version: 1", f"version: {number}"))
    return place


@pytest.fixture
def line(tmp_path: Path) -> Line:
    place = version(tmp_path, 1)
    (place.parent / "current").symlink_to(place.name)
    return Line(tmp_path)


class Odd:
    """A model that golden vectors could not tell from a good one."""

    known = "washer 2 " + "0" * 64

    def __init__(self, says: Callable[[np.ndarray], Verdict]) -> None:
        self._says = says

    def __call__(self, image: np.ndarray) -> Verdict:
        return self._says(image)


def nan(image: np.ndarray) -> Verdict:
    raise ValueError("its network says what is no number")


def test_a_switch_is_between_two_pictures_and_each_verdict_names_its_model(line: Line, tmp_path: Path) -> None:
    sha = hashlib.sha256((SHIPPED / "washer" / "washer.tflite").read_bytes()).hexdigest()
    assert line.show().data["model"] == f"washer 1 {sha}"
    line.order(line.stage.prepared(version(tmp_path, 2)))
    assert line.show().data["model"] == f"washer 2 {sha}" and line.told == [("trying", "in place of washer 1")]
    line.show(BAD)
    line.show(times=60)
    assert line.told[-1] == ("running", "1 NG of 60 parts on trial, 0 of 1 before")
    assert line.states() == ["trying", "running"]
    assert sum(event.kind == "inspection" for event in line.events) == line.parts


def test_the_first_one_is_taken_when_it_comes_and_until_then_parts_are_looked_at_again(tmp_path: Path) -> None:
    line = Line(tmp_path)
    line.show(times=LEAST)
    assert (said := line.show()).state == "recheck" and "no model washer has come yet" in said.text
    line.order(line.stage.prepared(version(tmp_path, 1)), version="1")
    assert line.show().state == "ok" and line.told[0][0] == "running"
    line.show(times=LEAST)
    line.order(line.stage.prepared(version(tmp_path, 2)))
    line.show(times=61)
    assert line.told[-1][0] == "running", "parts that no model judged are not compared with"


def test_one_that_says_nan_never_costs_a_verdict_and_is_out_at_once(line: Line) -> None:
    line.show(times=5)
    line.order(Odd(nan))
    said = line.show()
    assert said.state == "ok" and said.data["model"].startswith("washer 1 ")
    assert line.told[-1][0] == "rolled_back" and "what is no number" in line.told[-1][1]
    assert line.show().state == "ok" and line.states() == ["trying", "rolled_back"]


def test_a_picture_that_none_of_the_two_can_judge_is_not_the_models_fault(line: Line, tmp_path: Path) -> None:
    line.order(line.stage.prepared(version(tmp_path, 2)))
    assert line.show(np.zeros((20, 20, 3), np.uint8)).state == "recheck"
    assert line.states() == ["trying"]


def test_one_that_finds_everything_is_out_after_twenty_parts(line: Line) -> None:
    line.show(times=90)
    line.order(Odd(lambda image: Verdict("ng", 0.9 + 0.001 * (line.parts % 9), "scratch")))
    line.show(times=LEAST)
    assert "its verdicts drift: 0 of 20 parts are OK, 90 of 90 before" in line.told[-1][1]


def test_one_that_is_too_slow_is_out(line: Line) -> None:
    line.show(times=40)
    line.order(Odd(lambda image: Verdict("ok", 0.0)))
    line.late = True
    line.show(times=FEW)
    assert line.told[-1] == ("rolled_back", "it is too slow: 5 of 5 parts were late, 0 of 40 before")


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        (Counts(900, 50, 50), Counts(0, 19, 0), ""),  # too few to tell
        (Counts(900, 50, 50), Counts(45, 3, 2), ""),
        (Counts(900, 50, 50), Counts(10, 10, 0), "10 of 20 parts are NG"),
        (Counts(500, 500, 0), Counts(60, 0, 0), "60 of 60 parts are OK"),
        (Counts(900, 0, 0, 0), Counts(90, 0, 0, 10), "too slow: 10 of 100"),
        (Counts(900, 0, 0, 90), Counts(90, 0, 0, 10), ""),
        (Counts(900, 50, 50), Counts(18, 2, 0), ""),
    ],
)
def test_what_is_worse_is_more_than_chance(before: Counts, now: Counts, said: str) -> None:
    found = worse(before, now, 0.1)
    assert said in found and bool(found) == bool(said)


def test_wilson_bounds_hold_for_few_parts_too() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    low, high = wilson(5, 50)
    assert (round(low, 4), round(high, 4)) == (0.0435, 0.2136)
    assert wilson(0, 20)[0] == 0.0 and wilson(20, 20)[1] == pytest.approx(1.0)


def test_one_that_says_the_same_of_every_part_is_dead() -> None:
    before, now = Counts(), Counts()
    for i in range(LEAST):
        before.add(Seen(None, "ok", i / 100))
        now.add(Seen(None, "ok", 0.02))
    assert "says the same of every part: score 0.02" in worse(before, now, 0.1)
    assert not worse(now, before, 0.1)


def test_a_shadow_has_no_say_and_what_it_says_otherwise_is_kept(line: Line) -> None:
    line.show(times=5)
    line.order(
        Odd(lambda image: Verdict("ng", 0.7, "stain", "stain (70%)") if line.parts == 9 else Verdict("ok", 0.0)),
        "shadow",
    )
    said = line.show(times=40)
    assert said.state == "ok" and said.data["model"].startswith("washer 1 ")
    assert all(event.state == "ok" for event in line.events if event.kind == "inspection")
    (differs,) = [event for event in line.events if event.kind == "shadow"]
    assert differs.data["findings"] == {"model": ["ok", "ng", 0.7]} and differs.data["part"] == 9
    assert differs.refs[0] in {picture.digest for picture in line.pictures}
    assert line.told[-1][0] == "shadow" and line.told[-1][1].startswith("agrees on 29 of 30 parts, ")
    figures = next(e.data for e in reversed(line.events) if e.kind == "model")
    assert (figures["parts"], figures["agreed"], figures["version"]) == (30, 29, "2")
    line.flow.snapshot()
    restored = Line(line.folder)
    restored.stage.restore(line.kept["washer"])
    restored.order(Odd(lambda image: Verdict("ok", 0.0)), "shadow")
    shadow = line.stage._exchange.shadow
    assert shadow is not None and f"of {shadow.parts} parts" in restored.told[0][1], (
        "what it counted outlives a restart"
    )


def test_a_shadow_rests_so_that_it_takes_no_more_than_its_share(line: Line) -> None:
    def slow(image: np.ndarray) -> Verdict:
        return Verdict("ok", 0.0)

    line.order(Odd(slow), "shadow")
    line.show()
    shadow = line.stage._exchange.shadow
    assert shadow is not None
    shadow.next = line.clock.mono() + 10_500_000_000  # as after a look that took 1.05 s
    line.show(times=12)
    assert (shadow.parts, shadow.passed_over) == (3, 10)
    assert max(job.deadline for job in line.jobs) == 2**63, "it comes after every other job"


def test_a_shadow_that_fails_says_so_and_stops_nothing(line: Line) -> None:
    line.order(Odd(nan), "shadow")
    assert line.show(times=3).state == "ok"
    assert "3 it could not judge" in line.stage._exchange.shadow.words()  # type: ignore[union-attr]
    assert "1 it could not judge: ValueError: its network says what is no number" in line.told[-1][1]


def test_a_shadow_becomes_the_one_on_trial_and_another_want_ends_both(line: Line, tmp_path: Path) -> None:
    two = line.stage.prepared(version(tmp_path, 2))
    line.order(two, "shadow")
    line.show(times=2)
    line.order(two)
    assert line.stage._exchange.shadow is None and line.show().data["model"].startswith("washer 2 ")
    line.order(two, "none")
    assert line.told[-1] == ("rolled_back", "another model is wanted")
    assert line.show().data["model"].startswith("washer 1 ")


def test_what_the_time_before_counted_outlives_a_restart(line: Line) -> None:
    line.show(times=90)
    line.flow.snapshot()
    again = Line(line.folder, line.clock)
    again.flow.restore(line.kept)
    again.order(Odd(lambda image: Verdict("recheck", 0.3 + 0.001 * (again.parts % 9))))
    again.show(times=25)
    assert again.told[-1][0] == "rolled_back" and "90 of 90 before" in again.told[-1][1]


def test_one_that_is_too_slow_here_or_decides_otherwise_than_its_floats_is_not_prepared(tmp_path: Path) -> None:
    place = version(tmp_path, 1)
    (place.parent / "current").symlink_to(place.name)
    line = Line(tmp_path, deadline=1e-6)
    two = version(tmp_path, 2)
    with pytest.raises(
        ModelRefused, match=r"washer 2 takes .* ms a picture here at p95; the deadline of washer is 0.001 ms"
    ):
        line.stage.prepared(two)
    told = {"pictures": 10, "differs_most": 0.5, "differs_mean": 0.01, "verdicts_changed": 0.0, "changed": []}
    line = Line(tmp_path)
    (two / "figures.json").write_text(json.dumps({"parity": told}))
    with pytest.raises(
        ModelRefused, match=r"decides otherwise than its float file: a score differs \(0.5, at most 0.25\)"
    ):
        line.stage.prepared(two)
    (two / "figures.json").write_text(
        json.dumps({"parity": told | {"bounds": {"worst": 0.6, "mean": 1, "changed": 1}}})
    )
    line.stage.prepared(two)
    (two / "figures.json").write_text(json.dumps({"parity": {"bounds": {"best": 1}}}))
    with pytest.raises(ModelRefused, match="does not say how its integers compare"):
        line.stage.prepared(two)
