"""The stage `lifetime`, fitted by `lineside fit` from a folder of runs."""

from __future__ import annotations

import io
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge import Batch, Event, LinesideError, ManualClock, Quality, Tag, TagTable
from edge.alarms import AlarmConfig, Alarms
from edge.cli import main
from edge.flow import Flow
from edge.health import Health
from edge.rehearse import Kept
from edge.stage import Setting
from models.benchmarks import cmapss
from models.series.document import read
from models.series.learned import Learned
from models.series.lifetime import Lifetime, LifetimeConfig
from tests.bench.condition import SITE
from tests.bench.condition import TAGS as COLUMNS

from .test_runs import lines, run, runs

HOUR = 3600 * 10**9
POINTS = ("health", "remaining", "low", "high")
TAGS = TagTable([Tag(n, i) for i, n in enumerate([*COLUMNS, "e.rpm", "e.new", *(f"life.{p}" for p in POINTS)], 1)])
RPM, NEW = TAGS["e.rpm"].id, TAGS["e.new"].id


def csv(rows: np.ndarray, names: list[str] = COLUMNS) -> str:
    return "\n".join([",".join(["cycle", *names]), *(f"{i},{','.join(map(str, row))}" for i, row in enumerate(rows))])


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the benchmark's, and the same runs as CSV, learned by the command."""
    folder = tmp_path_factory.mktemp("life")
    (folder / "train_FD001.txt").write_text(lines(runs(10, 8)))
    lefts = (5, 20, 40, 9)
    (folder / "test_FD001.txt").write_text(lines([rows[:-left] for rows, left in zip(runs(4, 9), lefts, strict=True)]))
    learn(folder)
    return folder


def learn(folder: Path) -> None:
    (folder / "site.yaml").write_text(SITE)
    (folder / "runs").mkdir()
    for unit, rows in cmapss.engines(folder / "train_FD001.txt").items():
        (folder / "runs" / f"{unit:03}.csv").write_text(csv(rows))
    assert main(["fit", str(folder / "site.yaml"), "life", "--runs", str(folder / "runs")]) == 0


def stage(folder: Path, **options: Any) -> Lifetime:
    config = LifetimeConfig(stage="lifetime", **{"tags": COLUMNS, "every": "1h", **options})
    return Lifetime(config, Setting("life", TAGS, folder))


def batch(rows: np.ndarray, first: int = 0, quality: int = 0, per: int = 1) -> Batch:
    """A sample of each tag in each hour, or `per` with the same mean."""
    rows = np.repeat(rows, per, axis=0)
    rows = rows + np.resize(np.arange(per) - (per - 1) / 2, len(rows))[:, None]
    n, c = rows.shape
    ts = np.repeat(first * HOUR + np.arange(n) * (HOUR // per), c)
    return Batch.of("e", np.tile(np.arange(1, c + 1), n), rows.ravel(), ts, quality)


def told(one: Lifetime, *given: Batch) -> tuple[np.ndarray, np.ndarray, list[Event]]:
    """(values [n, 4], qualities [n], events)"""
    out = list(itertools.chain.from_iterable(one(each) for each in given))
    made = [each for each in out if isinstance(each, Batch)]
    value = np.concatenate([np.empty(0), *(each.value for each in made)]).reshape(-1, 4)
    quality = np.concatenate([np.empty(0, np.uint8), *(each.quality for each in made)]).reshape(-1, 4)
    return value, quality[:, 0], [each for each in out if isinstance(each, Event)]


def engine(seed: int = 3, n: int = 110) -> np.ndarray:
    return np.tile(run(n, np.random.default_rng(seed)), 6)


def end(n: int) -> Batch:
    """A later sample, which ends the row before it."""
    return batch(engine()[:1], n)


def same_as_the_benchmark(folder: Path) -> None:
    to = io.StringIO()
    cmapss.evaluated(folder, to)
    predicted = [json.loads(line) for line in to.getvalue().splitlines()]
    test = [rows for path in sorted(folder.glob("test_FD001*.txt")) for rows in cmapss.engines(path).values()]
    assert len(predicted) == len(test) > 3
    for rows, by_benchmark in zip(test, predicted, strict=True):
        parts = [batch(rows[i : i + 7], i) for i in range(0, len(rows), 7)]
        value, _, _ = told(stage(folder), *parts, end(len(rows)))
        assert value[-1, 1:] == pytest.approx([by_benchmark[k] for k in ("predicted", "low", "high")], abs=0.011)


def test_engines_through_the_stage_are_engines_through_the_benchmark(fitted: Path) -> None:
    same_as_the_benchmark(fitted)


def test_recorded_engines_too(data: Path, tmp_path: Path) -> None:
    real = data / "cmapss-fd001"
    if not (real / "train_FD001.txt").is_file():
        pytest.skip(
            "the simulated turbofan engines (C-MAPSS FD001) are not among the recorded data sets (set DATA=folder)"
        )
    train, test = (
        (real / name).read_text().splitlines() for name in ("train_FD001.txt", next(real.glob("test_*")).name)
    )
    # A few engines, and of those that are learned from every third cycle: all of them take a minute.
    train = [line for line in train if int(line.split()[0]) <= 10 and int(line.split()[1]) % 3 == 0]
    (tmp_path / "train_FD001.txt").write_text("\n".join(train))
    (tmp_path / "test_FD001.txt").write_text("\n".join(line for line in test if int(line.split()[0]) <= 5))
    learn(tmp_path)
    same_as_the_benchmark(tmp_path)


def test_health_never_rises_and_nothing_is_told_of_the_first_rows(fitted: Path) -> None:
    value, quality, _ = told(stage(fitted), batch(engine(), per=6), end(110))
    assert len(value) == 110
    assert np.isnan(value[:24, 1:]).all() and (quality[:24] == Quality.SUBSTITUTED).all()
    assert (quality[24:] == Quality.GOOD).all()
    health, left, low, high = value[24:].T
    assert (np.diff(health) <= 0).all() and (np.diff(left) > 0).any() and health[-1] < 12
    assert (low <= left).all() and (left <= high).all() and left[-1] < 15


def test_a_restart_goes_on_where_it_was(fitted: Path) -> None:
    rows = engine(n=300)
    whole, _, _ = told(stage(fitted), batch(rows, per=6), end(300))
    cut = batch(rows, per=6)
    at = 24 * 6 * 163 + 60  # in the midst of a row
    parts = [Batch.of("e", cut.tag[s], cut.value[s], cut.ts[s], cut.quality[s]) for s in (slice(at), slice(at, None))]
    first, second = stage(fitted), stage(fitted)
    before, _, _ = told(first, parts[0])
    state = first.snapshot()
    assert state is not None and len(state) < 80 * 24 * 24
    second.restore(state)
    after, _, events = told(second, parts[1], end(300))
    np.testing.assert_allclose(np.concatenate([before, after]), whole, atol=1e-6)
    assert not events


def test_a_state_of_other_tags_or_a_damaged_one_begins_a_life(fitted: Path) -> None:
    first, other = stage(fitted), stage(fitted)
    told(first, batch(engine()))
    state = json.loads(first.snapshot() or b"")
    other.restore(json.dumps({**state, "tags": COLUMNS[1:]}).encode())
    for broken in ({"age": 5}, {"best": 7.0}, {"total": [1.0]}, {"sum": [float("nan")] * 24}):
        with pytest.raises(ValueError, match="a damaged life"):
            other.restore(json.dumps({**state, **broken}).encode())
    value, _, _ = told(other, batch(engine()))
    assert np.isnan(value[0, 1])


def test_a_new_part_begins_a_new_life(fitted: Path) -> None:
    one = stage(fitted, replaced="e.new")
    rows = engine()
    fresh, _, _ = told(stage(fitted), batch(rows, 110), end(220))
    assert told(one, Batch.of("e", [NEW], [1.0], 0))[2] == []  # so it was when the daemon began
    told(one, Batch.of("e", [NEW], [0.0], 1))
    said, again = batch(rows), batch(rows, 110)
    both = Batch.of(
        "e",
        np.concatenate([said.tag, [NEW, NEW], again.tag]),
        np.concatenate([said.value, [1, 1], again.value]),
        np.concatenate([said.ts, [110 * HOUR - 5, 110 * HOUR - 3], again.ts]),
    )
    value, _, events = told(one, both, end(220))
    assert [(e.kind, e.key, e.state, e.data) for e in events] == [("life", "life", "replaced", {"rows": 109})]
    assert value[109].tolist() == [100, 125, pytest.approx(100, abs=20), 125], "what a new one has left"
    np.testing.assert_allclose(value[110:], fresh)
    after = stage(fitted, replaced="e.new")
    after.restore(one.snapshot() or b"")
    assert told(after, Batch.of("e", [NEW], [1.0], 221 * HOUR))[2] == []
    assert told(after, Batch.of("e", [NEW] * 2, [0, 1.0], 222 * HOUR, [8, 0]))[2] == []  # a reading that failed is no 0
    assert len(told(after, Batch.of("e", [NEW] * 4, [0, 1, 0, 1.0], 223 * HOUR, [0, 0, 0, 8]))[2]) == 1


def test_an_alarm_about_the_old_one_ends_with_its_life(fitted: Path) -> None:
    alarms = Alarms({"due": AlarmConfig(when="life.low < 48")}, TAGS)
    kept, clock = Kept(), ManualClock()
    flow = Flow(TAGS, [("life", stage(fitted, replaced="e.new")), ("alarms", alarms)], kept, clock, Health(clock))
    flow.accept(Batch.of("e", [NEW], [0.0], 1))
    flow.accept(batch(engine()))
    flow.accept(Batch.of("e", [NEW], [1.0], 110 * HOUR))
    flow.accept(batch(engine()[:10], 111))
    assert [e.state for e in kept.events if e.kind == "alarm"] == ["raised", "cleared"]


def test_what_comes_while_the_machine_stands_is_no_row(fitted: Path) -> None:
    one = stage(fitted, running="e.rpm")
    assert len(told(one, batch(engine()))[0]) == 0  # nobody has said that it runs
    told(one, Batch.of("e", [RPM], [900.0], 110 * HOUR))
    assert len(told(one, batch(engine(), 110))[0]) == 109
    told(one, Batch.of("e", [RPM], [900.0], 220 * HOUR, 6))
    assert len(told(one, batch(engine(), 221))[0]) == 0


def test_a_tag_holds_while_it_says_nothing_and_is_not_to_be_trusted_when_it_failed(fitted: Path) -> None:
    def only(rows: Batch, mask: np.ndarray, quality: int = 0) -> Batch:
        return Batch.of("e", rows.tag[mask], rows.value[mask], rows.ts[mask], quality)

    one, rows = stage(fitted), engine()
    told(one, batch(rows[:40]))
    later = batch(rows[40:50], 40)
    silent, quality, _ = told(one, only(later, later.tag > 1))
    assert len(silent) == 10 and (quality == Quality.GOOD).all()
    later = batch(rows[50:60], 50)
    told(one, only(later, (later.tag == 1) & (later.ts < 51 * HOUR), int(Quality.TIMEOUT)))
    value, quality, _ = told(one, only(later, later.tag > 1))
    assert (quality == Quality.SUBSTITUTED).all() and np.isfinite(value).all()
    _, quality, _ = told(one, batch(rows[60:64], 60))
    assert quality.tolist() == [3, 0, 0, 0]


def test_a_machine_unlike_all_that_were_learned_is_not_judged(fitted: Path) -> None:
    value, quality, _ = told(stage(fitted), batch(engine() * 1.0 + 30), end(110))
    assert (quality == Quality.SUBSTITUTED).all() and (value[24:, 0] == 100).all()


def test_an_absurd_value_spoils_no_mean_and_a_late_one_says_nothing_of_now(fitted: Path) -> None:
    one, other, rows = stage(fitted), stage(fitted), engine()
    told(one, batch(rows[:40]))
    told(other, batch(rows[:40]))
    absurd = np.where(np.arange(24) % 2, 3e38, np.nan)[None]
    told(one, batch(absurd, 40))
    value, quality, _ = told(one, batch(rows[40:60], 40), end(60))
    expected, _, _ = told(other, batch(rows[40:60], 40), end(60))
    np.testing.assert_allclose(value, expected[1:])  # row 39 was told before
    assert (quality == Quality.GOOD).all()
    late, now = batch(rows[:1], 61, int(Quality.LATE)), batch(rows[60:61], 61)
    told(one, Batch.of("e", now.tag[1:], now.value[1:], now.ts[1:]), late)
    assert told(one, end(62))[1].tolist() == [Quality.GOOD]


def test_a_sample_of_the_row_before_is_history_and_a_clock_that_was_set_back_stops_nothing(fitted: Path) -> None:
    one = stage(fitted)
    told(one, batch(engine()[:30], 100))
    assert len(told(one, batch(engine()[:1], 128))[0]) == 0
    assert len(told(one, batch(engine()[:30], 5))[0]) == 30


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", csv(np.ones((3, 23)), COLUMNS[1:]), "a.csv:1: no column is called 'e.c0'; there are cycle, e.c1"),
        ("a.csv", csv(np.ones((3, 25)), [*COLUMNS, "e.c5"]), "a.csv:1: two columns are called 'e.c5'"),
        ("a.csv", csv(np.ones((3, 24))).replace("\n1,1.0", "\n1,x"), "a.csv:3: 'x' under e.c0 is no number"),
        ("a.csv", csv(np.ones((3, 24))).replace("\n2,1.0", "\n2,nan"), "a.csv:4: 'nan' under e.c0 is no number"),
        ("a.csv", csv(np.ones((3, 24))) + "\n1,2", "a.csv:5: 2 cells under 25 names"),
        ("a.csv", csv(np.ones((0, 24))), "a.csv:2: no row"),
        ("a.csv", "", "a.csv:1: no column is called 'e.c0'; there are none"),
        ("a.csv", csv(np.ones((3, 24))), "cannot learn from that: 1 runs to failure; 10 are the least"),
        ("a.txt", "x", "holds no CSV file"),
    ],
)
def test_faults_of_runs_are_told_with_their_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, said: str
) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(SITE)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / name).write_text(text)
    assert main(["fit", str(site), "life", "--runs", str(tmp_path / "runs")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "life.json").exists()


def test_a_fault_of_one_file_hides_none_of_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "site.yaml").write_text(SITE)
    for name in "ab":
        (tmp_path / f"{name}.csv").write_text("x\n")
    assert main(["fit", str(tmp_path / "site.yaml"), "life", "--runs", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "a.csv:1:" in said and "b.csv:1:" in said
    assert main(["fit", str(tmp_path / "site.yaml"), "life", "--runs", str(tmp_path / "none")]) == 2
    assert "No such file" in capsys.readouterr().err
    assert main(["fit", str(tmp_path / "site.yaml"), "life"]) == 2
    assert "name their folder with --runs" in capsys.readouterr().err


def test_a_site_without_the_file_says_how_it_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "site.yaml").write_text(SITE)
    assert main(["check", str(tmp_path / "site.yaml")]) == 1
    said = capsys.readouterr()
    assert "life.json" in said.out and "lineside fit SITE STAGE --runs FOLDER" in said.out


def test_the_fitted_site_is_fine_and_other_options_are_told(fitted: Path) -> None:
    assert main(["check", str(fitted / "site.yaml")]) == 0
    for options in ({"cap": 100}, {"every": "60s"}, {"first": 30}, {"tags": COLUMNS[::-1]}):
        with pytest.raises(LinesideError, match="of other `tags`, `every`, `cap` or `first`"):
            stage(fitted, **options)
    with pytest.raises(LinesideError, match=r"no tag is called 'e\.x'"):
        stage(fitted, replaced="e.x")


def test_a_file_comes_back_as_it_was_and_a_damaged_one_is_refused(fitted: Path, tmp_path: Path) -> None:
    document = json.loads((fitted / "life.json").read_text())
    for kernel in document["kernels"]:
        kernel.update(centre=kernel["centre"][:3], weight=kernel["weight"][:3])  # reading many takes long
    assert Learned.from_json(document).as_json() == document
    kernel = document["kernels"][0]
    broken: list[Any] = [
        [],
        {**document, "version": 9},
        {**document, "kind": "baseline"},
        {k: v for k, v in document.items() if k != "scale"},
        {**document, "scale": [0.0] * len(document["scale"])},
        {**document, "mean": document["mean"][1:]},
        {**document, "signal": [24, *document["signal"][1:]]},
        {**document, "signal": [-1, *document["signal"][1:]]},
        {**document, "signal": [document["signal"][1], *document["signal"][1:]]},
        {**document, "kernels": []},
        {**document, "kernels": [{**kernel, "weight": kernel["weight"][1:]}]},
        {**document, "kernels": [{**kernel, "middle": float("inf")}]},
        {**document, "level": document["level"][::-1]},
        {**document, "settings": {**document["settings"], "cap": "many"}},
        {**document, "settings": {"other": 1}},
        {**document, "mean": [10**400, *document["mean"][1:]]},
    ]
    path = tmp_path / "x.json"
    for each in broken:
        path.write_text(json.dumps(each))
        with pytest.raises(LinesideError, match=r"x\.json: "):
            read(path, Learned.from_json)
    for text in ("", "{", "[" * 100_000):
        path.write_text(text)
        with pytest.raises(LinesideError, match=r"x\.json: "):
            read(path, Learned.from_json)
    with path.open("wb") as huge:
        huge.truncate(65 * 2**20)
    with pytest.raises(LinesideError, match="larger than 64 MB"):
        read(path, Learned.from_json)
