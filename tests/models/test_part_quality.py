"""Quality from a table: what is fitted, what is refused, and what the stage says of a part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge import SECOND, Batch, ConfigFault, Event, LinesideError, Quality, Tag, TagTable
from edge.cli import main
from edge.commands.table import table_of
from edge.stage import Setting
from models.process.judge import Judge, Worth, dealt, in_order, learned, words
from models.process.quality import PartQuality, QualityConfig
from models.process.trees import Growth

T0 = 1_790_000_000 * SECOND
QUICK = Growth(rounds=12, depth=3, bins=16, rate=0.4, columns=1.0)
OPTIONS: dict[str, Any] = {
    "stage": "quality",
    "tags": ["m.melt", "m.time", "m.none"],
    "columns": {"m.melt": "Melt temperature"},
    "trigger": "m.done",
    "good": ["fine"],
}


def table(n: int = 300, seed: int = 3) -> tuple[np.ndarray, list[str]]:
    """Too hot burns, too short leaves it short, the third tells nothing."""
    x = np.random.default_rng(seed).random((n, 3)) * [40, 4, 1] + [200, 2, 0]
    return x, np.where(x[:, 0] > 228, "burnt", np.where(x[:, 1] < 3, "short", "fine")).tolist()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("quality")
    judge, *_ = learned(*table(), OPTIONS["tags"], QUICK)
    (out / "q.json").write_text(json.dumps(judge.as_json()))
    return out


def stage(folder: Path, **options: Any) -> tuple[PartQuality, TagTable]:
    names = [*OPTIONS["tags"], "m.done", "m.count", *(f"q.{name}" for name in ("kind", "chance", "ng"))]
    found = TagTable.numbered([Tag(name, unit="°C" if name == "m.melt" else "") for name in names])
    return PartQuality(QualityConfig(**{**OPTIONS, **options}), Setting("q", found, folder)), found


def part(it: PartQuality, found: TagTable, second: int, melt: float, time: float, how: int = 0) -> list[Any]:
    """The bit falls, and rises with the parameters of the part."""
    ids = [found[name].id for name in (*OPTIONS["tags"], "m.done")]
    low = Batch.of("m", [ids[-1]], [0.0], T0 + second * SECOND)
    values, quality = [melt, time, 0.5, 1.0], [how, 0, 0, 0]
    return [*it(low), *it(Batch.of("m", ids, values, T0 + (second + 1) * SECOND, quality))]


def test_a_part_gets_its_class_a_chance_and_reasons(folder: Path) -> None:
    it, found = stage(folder)
    event, batch = part(it, found, 0, 236, 4.0)
    assert isinstance(event, Event) and (event.kind, event.key, event.state) == ("quality", "q", "ng")
    assert event.text.startswith("burnt (") and event.data["reasons"][0]["tag"] == "m.melt"
    assert "m.melt 236 °C, usually 2" in event.text and "(for it, +" in event.text
    assert event.data["chances"]["burnt"] > 0.8 and sum(event.data["chances"].values()) == pytest.approx(1, abs=1e-3)
    assert found.texts.show(batch.value[0]) == "burnt" and batch.value[2] > 80 and set(batch.quality) == {Quality.GOOD}
    fine, batch = part(it, found, 2, 210, 5.0)
    assert fine.state == "ok" and fine.severity == "info" and batch.value[2] < 20 and fine.data["part"] == 2
    quiet, found = stage(folder, tell="ng")
    assert [type(got) for got in part(quiet, found, 2, 210, 5.0)] == [Batch]


def test_the_reasons_are_the_shares_of_the_log_odds(folder: Path) -> None:
    judge = Judge.from_json(json.loads((folder / "q.json").read_text()))
    x, _ = table(20, 9)
    for kind in range(3):
        score = judge.trees.scores(x)[:, kind] / judge.soft
        base = (judge.trees.start[kind] + judge.trees.value[:, kind, 0].sum()) / judge.soft
        assert np.allclose(base + judge.reasons(x, kind).sum(axis=1), score)


def test_beyond_what_was_learned_is_said_and_what_is_bad_is_not_judged(folder: Path) -> None:
    it, found = stage(folder)
    event, batch = part(it, found, 0, 300, 4.0)
    assert event.data["outside"] == ["m.melt"] and "beyond what was learned: m.melt 300 (200" in event.text
    assert set(batch.quality) == {Quality.SUBSTITUTED} and np.isfinite(batch.value).all()
    (batch,) = part(it, found, 4, 210, 4.0, Quality.TIMEOUT)
    assert set(batch.quality) == {Quality.TIMEOUT} and np.isnan(batch.value).all()


def test_the_mean_since_the_part_before_in_blocks_of_any_size_and_over_a_restart(folder: Path) -> None:
    n = 90
    second = np.arange(n)
    columns = {"m.melt": np.where(second % 30 < 15, 205.0, 245.0), "m.time": np.full(n, 4.0), "m.none": np.zeros(n)}
    columns["m.count"] = second // 30
    seen = []
    for size in (1, 7, n):
        it, found = stage(folder, at="mean", trigger=None, parts="m.count")
        told: list[Any] = []
        for begin in range(0, n, size):
            if begin == 28 or (size == 1 and begin == 50):
                state = it.snapshot() or b""
                it, found = stage(folder, at="mean", trigger=None, parts="m.count")
                it.restore(state)
            some = second[begin : begin + size]
            ids = np.repeat([found[name].id for name in columns], len(some))
            rows = np.concatenate([column[some] for column in columns.values()])
            told += it(Batch.of("m", ids, rows, np.tile(T0 + some * SECOND, len(columns))))
        seen.append([(e.ts, e.data["reasons"], e.data["chances"]) for e in told if isinstance(e, Event)])
    assert seen[0] == seen[1] == seen[2] and [ts for ts, *_ in seen[0]] == [T0 + 30 * SECOND, T0 + 60 * SECOND]
    melt = [next(r["value"] for r in reasons if r["tag"] == "m.melt") for _, reasons, _ in seen[0]]
    assert melt[1] == pytest.approx(225.0) and melt[0] == pytest.approx((225 * 30 + 205) / 31)
    with pytest.raises(ValueError, match="damaged"):
        it.restore((it.snapshot() or b"").replace(b'"n": [', b'"n": [0.0, '))


def test_rare_bad_parts_are_told_by_their_chance_or_said_where_they_stand_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(800, 3))
    bad = rng.random(800) < np.where(x[:, 0] > 0.5, 0.45, 0.01)  # no part of which NG is the likelier
    judge, told, later = learned(x, np.where(bad, "ng", "ok").tolist(), OPTIONS["tags"], QUICK)
    assert told.luck() > 0.05 and told.tells()
    said = words(judge, told, later)
    assert any("go by `ng`" in line for line in said), said
    by = dict(zip(judge.kinds, judge.chances(np.array([[2.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])).T, strict=True))["ng"]
    assert by[0] > 2 * by[1]
    balanced = Worth(told.y, told.scores, balanced=True)
    assert told.recall[0] < 0.4 < 0.7 < balanced.recall[0] and balanced.precision[0] == pytest.approx(
        (bad & (balanced.found == 0)).sum() / (balanced.found == 0).sum()
    )
    assert any(
        f"`say: balanced`: {balanced.recall.mean():.1%}, more of ng {balanced.recall[0]:.1%}, less of ok" in line
        for line in said
    )
    (row,) = (line for line in words(judge, told, later, balanced=True) if line.startswith("ng "))
    assert f" {balanced.recall[0]:.1%} " in row
    (tmp_path / "q.json").write_text(json.dumps(judge.as_json()))
    x[:, 2] = 0.5
    melt, time, _ = x[np.abs(judge.chances(x)[:, 0] - 0.35).argmin()].tolist()
    for say, kind in (("likeliest", "ok"), ("balanced", "ng")):
        event, batch = part(*(it := stage(tmp_path, say=say, good=["ok"])), 0, melt, time)
        assert event.data["kind"] == kind == it[1].texts.show(batch.value[0]) and event.state == kind
        assert batch.value[1] == pytest.approx(100 * event.data["chances"][kind], abs=0.01)


def test_what_is_no_better_than_the_most_frequent_class_is_refused() -> None:
    x, y = table()
    with pytest.raises(ValueError, match=r"right in .* and always saying 'burnt' is right in .*: that is no better"):
        learned(x, np.random.default_rng(1).choice(["burnt", "fine"], 300, p=[0.8, 0.2]).tolist(), "abc", QUICK)
    for rows, target, said in (
        (x[:40], y[:40], "40 rows are too few"),
        (x, ["a"] * 300, "always 'a'"),
        (x, [str(k) for k in range(300)], "300 different values"),
        (x, ["rare"] * 3 + ["a"] * 297, "too few rows of a class .'rare': 3"),
        (np.ones_like(x), y, "no parameter changes"),
    ):
        with pytest.raises(ValueError, match=said):
            learned(rows, target, "abc", QUICK)


def test_what_it_is_worth_is_told_by_class_and_for_rows_of_another_time() -> None:
    judge, told, later = learned(*table(), OPTIONS["tags"], QUICK)
    said = "\n".join(words(judge, told, later))
    assert "rows that it had not seen" in said and all(f"\n{kind} " in said for kind in ("burnt", "fine", "short"))
    assert told.accuracy > 0.9 and told.matrix().sum() == 300 and "another time" not in said
    worse = Worth(told.y, np.roll(told.scores, 1, axis=1))
    assert f"right in {worse.accuracy:.1%}:" in "\n".join(words(judge, told, worse))
    assert in_order(np.repeat([0, 1], 50)) is None
    assert in_order(np.tile([0, 1], 50)) is not None
    y = np.repeat([0, 1, 2], [50, 20, 10])
    assert [np.bincount(y[dealt(y, np.random.default_rng(1)) == k]).tolist() for k in range(5)] == [[10, 4, 2]] * 5


def test_a_damaged_or_strange_file_is_refused(folder: Path, tmp_path: Path) -> None:
    document = json.loads((folder / "q.json").read_text())
    damaged = [
        document | {"soft": 0},
        document | {"kinds": ["fine"]},
        document | {"usual": []},
        {"kind": "lifetime"},
        [],
    ]
    feature = np.array(document["feature"])
    damaged += [document | {"feature": (feature + 3).tolist()}, document | {"feature": feature[:, :, 1:].tolist()}]
    for strange in damaged:
        (tmp_path / "q.json").write_text(json.dumps(strange))
        with pytest.raises(LinesideError, match=r"fit it anew: `lineside fit SITE STAGE --table FILE --target COLUMN`"):
            stage(tmp_path)
    with pytest.raises(ConfigFault, match="of other `tags`"):
        stage(folder, tags=["m.time", "m.melt"])
    with pytest.raises(ConfigFault, match="good: 'super' was not learned"):
        stage(folder, good=["super"])
    with pytest.raises(ValueError, match=r"'m\.x' is none of `tags`"):
        stage(folder, columns={"m.x": "X"})


def test_a_table_as_people_have_it(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("\ufeffa;n°;what\r\n1,5;2;gut\r\n;3;gut\r\n\r\n2;-3,25;schlecht, sehr\r\n".encode())
    read = table_of(path, ["n°", "a"], "what")
    assert read.rows.tolist() == [[2, 1.5], [-3.25, 2]] and read.target == ["gut", "schlecht, sehr"] and read.empty == 1
    path.write_bytes("温度,结果\n20.5,合格\n".encode("gb18030"))
    assert table_of(path, ["温度"], "结果").target == ["合格"]
    for text, said in (
        ("a,what\n1,x\n2\n", r"t.csv:3: 1 cells under 2 names"),
        ("a,what\n1,x\nhot,y\n", r"t.csv:3: 'hot' under a is no number"),
        ("b,what\n1,x\n", r"t.csv:1: no column is called 'a'"),
        ("a,a,what\n1,1,x\n", "two columns are called 'a'"),
        ("a,what\n,x\n", "no row without an empty cell"),
    ):
        path.write_text(text)
        with pytest.raises(LinesideError, match=said):
            table_of(path, ["a"], "what")
    with pytest.raises(LinesideError, match="cannot read"):
        table_of(tmp_path / "none.csv", ["a"], "what")


SITE = """device: {id: f}
drivers:
  m:
    driver: modbus
    url: "tcp://127.0.0.1:9"
    every: 1h
    tags: {melt: {address: "holding:1"}, time: {address: "holding:2"}, none: {address: "holding:3"}, done: {address: "coil:0"}}
stages:
  q: {stage: quality, tags: [m.melt, m.time, m.none], columns: {m.melt: Melt temperature}, trigger: m.done, good: [fine]}
alarms:
  burnt: {when: "q.kind == 'burnt'", text: It burns}
"""


def test_fit_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.process.judge.grown", lambda *given: _grown(*given[:4], QUICK))
    from models.process.trees import grown as _grown

    site, path = tmp_path / "site.yaml", tmp_path / "parts.csv"
    site.write_text(SITE)
    x, y = table()
    lines = [",".join([*map(str, row), kind]) for row, kind in zip(x.tolist(), y, strict=True)]
    path.write_text("\n".join(["Melt temperature,m.time,m.none,quality", *lines]))
    assert main(["fit", str(site), "q"]) == 2
    assert "learns from a table; name it with --table FILE --target COLUMN" in capsys.readouterr().err
    assert main(["fit", str(site), "q", "--table", str(path), "--target", "quality"]) == 0
    said = capsys.readouterr().out
    assert said.index("rows that it had not seen") < said.index("q.json: learned from 300 rows")
    assert main(["check", str(site)]) == 0
    given = "given: {m.melt: [236, 236, 236], m.time: [4, 4, 4], m.none: [0, 0, 0], m.done: [0, 1, 1]}"
    expect = "expect: [{event: q, state: ng}, {event: burnt, state: raised}, {tag: q.kind, value: burnt}]"
    site.write_text(f"{SITE}tests: [{{name: it burns, stages: [q], {given}, {expect}}}]\n")
    assert main(["test", str(site)]) == 0
    path.write_text(
        "\n".join(["Melt temperature,m.time,m.none,quality", *(line.replace("fine", "okay") for line in lines)])
    )
    assert main(["fit", str(site), "q", "--table", str(path), "--target", "quality"]) == 2
    assert "good: no row of the table is 'fine'; there are burnt, okay, short" in capsys.readouterr().err
