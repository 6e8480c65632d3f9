"""The single-signal scorer, and the rules it is judged by on folders laid out like the Numenta Anomaly Benchmark."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edge import SECOND, Batch, ConfigFault, ManualClock, Quality, Tag, TagTable
from edge.flow import Flow
from edge.health import Health
from edge.rehearse import Kept
from edge.stage import Setting
from models.benchmarks.nab import Signal, at, best, sigmoid
from models.series.novelty import FIRST, Novelty
from models.series.single import NoveltyConfig, SingleNovelty
from tests.models.test_benchmarks import evaluate, refused

SIGNAL = Signal("a", np.zeros(200), ((100, 119),))


def told(*rows: tuple[int, float]) -> list[np.ndarray]:
    score = np.zeros(200)
    for row, value in rows:
        score[row] = value
    return [score]


def test_figures_are_those_worked_out_by_hand() -> None:
    first = float(sigmoid(np.array(-0.5)) / sigmoid(np.array(-1.0)))
    assert at([SIGNAL], told((110, 1.0)), "standard", 1.0) == pytest.approx(100 * (first + 1) / 2)
    assert at([SIGNAL], told((100, 1.0), (110, 1.0)), "standard", 1.0) == pytest.approx(100), (
        "the earliest counts alone"
    )
    assert at([SIGNAL], told((60, 1.0)), "standard", 1.0) == pytest.approx(-100 * 0.11 / 2)
    assert at([SIGNAL], told((60, 1.0)), "reward_low_FP_rate", 1.0) == pytest.approx(-100 * 0.22 / 2)
    near = 0.11 * float(sigmoid(np.array(1 / 19)))
    assert at([SIGNAL], told((120, 1.0)), "standard", 1.0) == pytest.approx(100 * near / 2), (
        "less shortly after a window"
    )
    assert at([SIGNAL], told((29, 1.0)), "standard", 1.0) == 0 and SIGNAL.unjudged == 30
    assert best([SIGNAL], told((60, 1.0), (100, 2.0)), "standard") == (pytest.approx(100), 2.0)
    assert best([SIGNAL], told((60, 1.0)), "standard") == (0, np.inf), "better to tell nothing"


def signal(n: int = 600) -> np.ndarray:
    value = 5 + np.sin(np.arange(n) / 8) + np.random.default_rng(3).normal(0, 0.1, n)
    value[450:460] += 6
    return value


def test_what_was_never_there_is_new_once_and_blocks_give_what_single_rows_give() -> None:
    value, many, one = signal(), Novelty(60), Novelty(60)
    found = many(value)
    each = [one(value[i : i + 1]) for i in range(len(value))]
    assert np.allclose(np.concatenate([e.score for e in each]), found.score, atol=1e-3)
    assert not found.score[:FIRST].any() and 450 <= found.score.argmax() < 460
    new = np.flatnonzero(found.new & (found.score > 10))
    assert new[0] == 450 and len(new) < 4, "what goes on is not told again"


def hump(days: int = 9) -> np.ndarray:
    """A load that rises at noon, each day of 48 rows but the one before the last, when it does not."""
    at = np.tile(np.exp(-(((np.arange(48) - 24) / 5) ** 2)), days)
    at[48 * (days - 2) : 48 * (days - 1)] = 0
    return 10 * at + np.random.default_rng(1).normal(0, 0.3, len(at))


def test_what_is_usual_at_another_time_of_day_is_new_at_this_one() -> None:
    value, noon = hump(), slice(48 * 7 + 20, 48 * 7 + 40)
    by_day, without = Novelty(60, 48)(value), Novelty(60)(value)
    assert (
        by_day.score[noon].max() > 1.5 * without.score[noon].max()
        and by_day.score[noon].max() > by_day.score[:-96].max()
    )
    one = Novelty(60, 48)
    each = np.concatenate([one(value[i : i + 7]).score for i in range(0, len(value), 7)])
    assert np.allclose(each, by_day.score, atol=1e-3)
    assert np.array_equal(Novelty(60, 7)(value).score, without.score), "a day of seven rows says nothing"


def test_the_stage_finds_the_day_by_its_own_times() -> None:
    tags = TagTable([Tag("p.a", 1, source="p"), Tag("n.score", 2, source="n"), Tag("n.alarm", 3, source="n")])
    value, ts = hump(), np.arange(len(hump())) * 1800 * SECOND
    found = []
    for size in (len(value), 1):
        stage = SingleNovelty(NoveltyConfig(stage="novelty", tag="p.a"), Setting("n", tags, Path()))
        made = [
            one
            for at in range(0, len(value), size)
            for one in stage(
                Batch.of("p", np.ones(len(ts[at : at + size]), int), value[at : at + size], ts[at : at + size])
            )
        ]
        found.append(np.concatenate([one.value[one.tag == 2] for one in made]))
    assert np.allclose(found[0], found[1], atol=1e-3)
    assert found[0][48 * 7 + 20 : 48 * 7 + 40].max() > 1.5 * Novelty(60)(value).score[48 * 7 + 20 : 48 * 7 + 40].max()


def test_a_folder_is_judged_and_what_is_absent_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"2014-04-{1 + i // 288:02} {i // 12 % 24:02}:{i % 12 * 5:02}:00,{v:.4f}" for i, v in enumerate(signal())]
    text = "timestamp,value\n" + "\n".join(rows) + "\n"
    window = [["2014-04-02 13:00:00.000000", "2014-04-02 16:00:00.000000"]]
    (tmp_path / "combined_windows.json").write_text(json.dumps({"a/x.csv": window, "a/y.csv": []}))
    with zipfile.ZipFile(tmp_path / "nab_some.zip", "w") as packed:
        packed.writestr("a/x.csv", text)
    found = evaluate(capsys, "nab", "--data", tmp_path, "--predictions", tmp_path / "p.jsonl")
    assert (found["files"], found["windows"], found["missing"]) == (1, 1, ["a/y.csv"]) and found["standard"] > 80
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert len(lines) == 510 and lines[0]["index"] == 90 and sum(line["flag"] for line in lines) >= 1
    (tmp_path / "a").mkdir()
    for damage, said in (
        (text.replace("value\n", "v\n", 1), "no column 'value'"),
        (text.replace("-04-02", "-05-02"), "no row lies in the window"),
        (text.replace(",5.", ",nan5."), "could not convert"),
    ):
        (tmp_path / "a" / "x.csv").write_text(damage)
        assert f"a/x.csv: {said}" in refused(capsys, "nab", "--data", tmp_path)
    (tmp_path / "nab_torn.zip").write_bytes(b"PK")
    assert "nab_torn.zip: " in refused(capsys, "nab", "--data", tmp_path)
    (tmp_path / "nab_torn.zip").unlink()
    (tmp_path / "a" / "folder.csv").mkdir()
    assert "folder.csv: Is a directory" in refused(capsys, "nab", "--data", tmp_path)
    (tmp_path / "a" / "folder.csv").rmdir()
    (tmp_path / "combined_windows.json").write_text("[]")
    assert "expected windows by file" in refused(capsys, "nab", "--data", tmp_path)
    (tmp_path / "combined_windows.json").write_text('{"b/z.csv": []}')
    found = evaluate(capsys, "nab", "--data", tmp_path)
    assert (found["files"], found["standard"], found["missing"]) == (0, None, ["b/z.csv"])
    (tmp_path / "combined_windows.json").unlink()
    (tmp_path / "a" / "x.csv").unlink()
    found = evaluate(capsys, "nab", "--data", tmp_path, "--predictions", tmp_path / "p.jsonl")
    assert (found["files"], found["standard"], found["missing"]) == (1, None, ["combined_windows.json"])
    assert len((tmp_path / "p.jsonl").read_text().splitlines()) == 510, "scored, though nobody can judge it"


def test_the_stage_alarms_once_and_leaves_out_what_is_no_value() -> None:
    tags = TagTable([Tag("p.a", 1, source="p"), Tag("n.score", 2, source="n"), Tag("n.alarm", 3, source="n")])
    stage = SingleNovelty(NoveltyConfig(stage="novelty", tag="p.a"), Setting("n", tags, Path()))
    kept, clock = Kept(), ManualClock()
    flow, value = Flow(tags, [("n", stage)], kept, clock, Health(clock)), signal()
    quality = np.zeros(600, np.uint8)
    value[200], value[201], quality[202] = np.nan, np.inf, Quality.TIMEOUT
    value[203] = 3.4e38  # a float32 without a reading
    flow.accept(Batch.of("p", np.full(600, 1), value, np.arange(600) * SECOND, quality))
    (out,) = [batch for batch in kept.batches if batch.source == "n"]
    alarm, score = out.value[out.tag == 3], out.value[out.tag == 2]
    assert np.flatnonzero(alarm == 1)[0] == 450 and (alarm == 1).sum() < 4 and np.isfinite(score[204:]).all()
    assert np.isnan(score[200:204]).all() and out.quality[out.tag == 2][202] == Quality.TIMEOUT
    with pytest.raises(ConfigFault, match=r"no tag is called 'p\.b'"):
        SingleNovelty(NoveltyConfig(stage="novelty", tag="p.b"), Setting("n", tags, Path()))


def test_the_past_goes_on_after_a_restart_and_rows_that_are_missing_shift_no_day() -> None:
    tags = TagTable([Tag(name, i, source=name[0]) for i, name in enumerate(("p.a", "n.score", "n.alarm", "p.b"), 1)])
    value, ts = hump(), np.arange(len(hump())) * 1800 * SECOND

    def stage(tag: str = "p.a") -> SingleNovelty:
        return SingleNovelty(NoveltyConfig(stage="novelty", tag=tag), Setting("n", tags, Path()))

    def scores(of: SingleNovelty, begin: int, end: int) -> np.ndarray:
        part = slice(begin, end)
        (out,) = of(Batch.of("p", np.ones(end - begin, int), value[part], ts[part]))
        return np.asarray(out.value[out.tag == 2])

    before, after, whole, late = (stage() for _ in range(4))
    expected = scores(whole, 0, len(value))
    scores(before, 0, 290)
    state = before.snapshot()
    assert state is not None
    scores(before, 290, 300)
    assert before.snapshot() is state, "kept anew when it has grown by a tenth"
    after.restore(state)
    assert after.snapshot() is state
    assert np.allclose(scores(after, 290, len(value)), expected[290:])
    early, again = stage(), stage()
    scores(early, 0, 50)
    again.restore(early.snapshot() or b"")
    assert np.allclose(scores(again, 50, len(value)), expected[50:]), "also before it is known how many rows a day has"
    late.restore(state)
    one = Novelty(60, 48)
    one(value)
    days = one.state()["days"].copy()
    one.miss(-1)  # a row that comes early, as when a start asks at once
    assert np.array_equal(one.state()["days"], days) and np.isfinite(days).all()
    one.miss(-2)
    assert np.isnan(one.state()["days"]).all(), "the clock was set back"
    without = scores(late, 310, len(value))
    assert np.corrcoef(without[48:], expected[358:])[0, 1] > 0.9, "the time of day is what it was"
    with pytest.raises(ValueError, match=r"it is of p\.a"):
        stage("p.b").restore(state)
    for damaged in (state[:-30], b"PK", state.replace(b"\0" * 8, b"\xff" * 8)):
        one = stage()
        with pytest.raises((ValueError, OSError, KeyError, zipfile.BadZipFile)):
            one.restore(damaged)
        assert one.snapshot() is None
