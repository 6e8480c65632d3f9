"""`lineside causes`: a planted cause is found in a made-up journal, and where none is planted it says so."""

from __future__ import annotations

import argparse
import asyncio
import json
from datetime import UTC
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge import SECOND, Batch, Event, LinesideError, Quality
from edge.app import Daemon
from edge.config.load import load
from models.causes import command
from models.causes.bands import bands_of
from models.causes.confounded import beside
from models.causes.journal import only_rises
from models.causes.parts import Column, Parts, named
from models.causes.rank import ranked
from models.causes.table import of_table
from models.causes.words import as_json, of_each, words

T0 = 1_790_000_000 * SECOND // (86_400 * SECOND) * (86_400 * SECOND)  # midnight
SITE = """device: {id: c}
drivers:
  glue:
    driver: modbus
    url: "tcp://127.0.0.1:9"
    every: 5s
    tags:
      temperature: {address: "holding:1", unit: "°C"}
      pressure: {address: "holding:2"}
      count: {address: "holding:3"}
      lot: {address: "holding:4", labels: {700: first, 701: second, 702: third, 703: fourth, 704: fifth, 705: last}}
      lamp: {address: "holding:5", writable: {range: [0, 1]}}
  top: {driver: camera, url: "parts:", every: 10s}
stages:
  aoi: {stage: inspect, camera: top, model: washer, ng: {glue.lamp: 1}}
"""
PARTS, STEP = 592, 10 * SECOND


def journal(folder: Path, factor: float = 5.0) -> Path:
    """Parts each 10 s, of which NG is `factor` times as frequent where the glue is colder than 23.5; from 5 s before each part on
    the glue is warm, so that only the mean over its cycle tells."""
    site = folder / "site.yaml"
    site.write_text(SITE)
    rng = np.random.default_rng(4)
    ts = T0 + np.arange(1, PARTS + 1) * STEP
    mean = 25 + np.repeat(rng.normal(0, 1.7, PARTS // 4), 4)
    cold = mean < 23.5
    bad = rng.random(PARTS) < np.where(cold, 0.04 * factor, 0.04)
    lot = np.arange(PARTS) // 100
    rows = np.column_stack(
        [2 * mean - 30, rng.normal(5, 1, PARTS), np.arange(PARTS), 700 + lot, np.roll(bad, 1)]
    )  # in the middle of each cycle
    warm = rows.copy()
    warm[:, 0] = 30.0

    async def fill() -> None:
        daemon = Daemon(load(site), folder / "state")
        names = ("temperature", "pressure", "count", "lot", "lamp")
        ids = [daemon.table[f"glue.{name}"].id for name in names]
        for when, what in ((ts - 7 * SECOND, rows), (ts, warm)):
            daemon.journal.append([Batch.of("glue", ids * PARTS, what.ravel(), np.repeat(when, len(ids)))])
        kinds = np.where(np.arange(PARTS) % 3 == 0, "void", "smear")
        told = [
            Event(
                "inspection",
                "aoi",
                "ng" if b else "ok",
                int(t),
                data={"part": k, "label": str(kinds[k]) if b else ""},
                id=f"{k}",
            )
            for k, (t, b) in enumerate(zip(ts, bad, strict=True))
        ]
        unsure = Event("inspection", "aoi", "recheck", int(ts[-1]) + SECOND, data={"part": PARTS}, id="x")
        daemon.journal.append([], [*told, unsure])
        await daemon.journal.commit(seal=True)
        daemon.journal.close()

    asyncio.run(fill())
    return site


@pytest.fixture(autouse=True)
def fewer_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.causes.rank.TURNS", 250)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return journal(tmp_path_factory.mktemp("causes"))


def causes(site: Path, *more: str) -> int:
    parser = argparse.ArgumentParser()
    command.arguments(parser)
    return command.run(parser.parse_args([str(site), "--state", str(site.parent / "state"), "--zone", "UTC", *more]))


def told(site: Path, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    assert causes(site, "--json", *more) == 0
    return dict(json.loads(capsys.readouterr().out)["stages"]["aoi"])


def test_the_planted_cause_is_found_and_told_as_a_person_would(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = site.parent / "causes.html"
    assert causes(site, "--report", str(page), "--lot", "glue.lot") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("aoi: 592 parts, ")
    first = next(line for line in lines if "times as frequent" in line)
    assert "where glue.temperature < " in first and " °C: " in first and " parts against " in first
    assert "stretches of time" in lines[lines.index(first) + 1]
    assert any(line.startswith("not looked at: glue.count: it only rises") for line in lines)
    assert "glue.lamp" not in "\n".join(lines), "what the verdict writes is no cause of it"
    html = page.read_text("utf-8")
    assert "glue.temperature &lt; " in html and "<svg" in html and "<script" not in html and "src=" not in html


def test_as_json_with_the_counts(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(site, capsys)
    assert found["parts"] == PARTS and set(found["kinds"]) == {"void", "smear"}
    first = found["found"][0]
    assert first["name"] == "glue.temperature" and first["q"] < 0.01 and not first["once"]
    assert 22.5 < float(first["where"].split("< ")[1].split(" ")[0]) < 24.5
    assert first["of"] + first["other_of"] == PARTS
    assert first["times"] == pytest.approx(first["ng"] / first["of"] / (first["other_ng"] / first["other_of"]), 1e-3)
    assert {one["name"] for one in found["found"]} == {"glue.temperature"}
    (lot,) = (one["where"] for one in found["others"] if one["name"] == "glue.lot" and not one["kind"])
    assert lot.split(" = ")[1].split(" or ")[0] in ("first", "second", "third", "fourth", "fifth", "last")


def test_the_last_value_before_a_part_may_tell_nothing(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    last = told(site, capsys, "--at", "last")
    assert last["not_looked_at"]["glue.temperature"] == "it did not move"
    assert told(site, capsys, "--tag", "glue.pressure")["found"] == []


def test_a_shorter_time_is_too_few_parts(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert causes(site, "--since", "2026-09-21T01:36") == 0
    assert "too few to say" in capsys.readouterr().out
    with pytest.raises(LinesideError, match="no part with a verdict in that time"):
        causes(site, "--until", "2026-09-20")
    with pytest.raises(LinesideError, match="holds no tag"):
        causes(site, "--lot", "glue.temp")
    with pytest.raises(LinesideError, match="asked for and left out"):
        causes(site, "--lot", "glue.lot", "--without", "glue.lot")


@pytest.mark.parametrize("given", [("--shifts", "6"), ("--zone", "Mars"), ("--delay", "soon")])
def test_what_is_no_time_is_refused(site: Path, given: tuple[str, str]) -> None:
    with pytest.raises(SystemExit):
        causes(site, *given)


def table(ng: np.ndarray, *columns: Column) -> Parts:
    kind = np.where(ng, "x", "").astype(object)
    return Parts(T0 + np.arange(len(ng)) * STEP, ng, kind, list(columns), {})


def test_nothing_planted_nothing_found() -> None:
    rng = np.random.default_rng(1)
    ng = rng.random(500) < 0.1
    told = ranked(table(ng, *(Column(f"t{k}", rng.normal(size=500)) for k in range(8))))
    assert told.found == [] and len(told.others) == 8


def test_what_comes_in_a_few_long_stretches_proves_less() -> None:
    """The same counts: a cause where they come and go; of two long stretches it is said that it may be those."""
    n = 600
    slow = (np.arange(n) // 150 % 2).astype(float)
    ng = np.random.default_rng(2).random(n) < np.where(slow > 0, 0.3, 0.05)
    told = ranked(table(ng, Column("a", slow)))
    once = [*told.found, *told.others][0]
    assert once.once and once.q > 0.01
    mixed = np.random.default_rng(3).permutation(n)
    found = ranked(table(ng[mixed], Column("a", slow[mixed]))).found
    assert [one.name for one in found] == ["a"] and found[0].stretches > 20 and not found[0].once
    assert found[0].q < 1e-6


def test_names_hours_and_both_ends() -> None:
    rng = np.random.default_rng(5)
    n = 900
    hour = rng.integers(0, 24, n)
    lot = rng.integers(0, 6, n)
    size = rng.normal(0, 1, n)
    columns = (
        Column("hour", hour.astype(float), labels=tuple(f"{h:02}:00" for h in range(24)), ring=True),
        named("lot", [f"L{k}" for k in lot]),
        Column("size", size),
    )
    night = (hour >= 22) | (hour < 2)
    where = {}
    for name, bad in (("hour", night), ("lot", lot == 3), ("size", np.abs(size) > 1.4)):
        ng = rng.random(n) < np.where(bad, 0.5, 0.04)
        found = ranked(table(ng, *columns)).found
        where[name] = found[0].where
        assert found[0].name == name
    assert where["hour"] == "hour 22:00 to 01:00" and where["lot"] == "lot = L3"
    assert where["size"].startswith("size < -1") and " or >= 1" in where["size"]


def test_codes_that_are_bad_in_no_order_are_named_where_one_says_that_they_are_codes() -> None:
    rng = np.random.default_rng(1)
    code = np.array([1, 2, 7, 8, 10])[np.repeat(rng.integers(0, 5, 60), 25)].astype(float)
    ng = rng.random(1500) < np.where(np.isin(code, [2, 8]), 0.2, 0.03)
    amount, size = Column("recipe", code), Column("stops", rng.integers(0, 3, 1500).astype(float), "1/h")
    told = ranked(table(ng, amount, size, Column("lamp", (code > 7).astype(float))))
    said = list(words("", told))
    assert "recipe = 2, 7 or 8: " in said[1], "an amount is looked at from one value to another"
    assert said[-1] == "taken for amounts: recipe; where such numbers are codes, as of a recipe: --code recipe"
    told = ranked(table(ng, named("recipe", [f"{c:g}" for c in code]), size))
    said = list(words("", told))
    first = told.found[0]
    assert first.where == "recipe = 2 or 8" and first.ng == ng[np.isin(code, [2, 8])].sum()
    assert first.bands.column.labels == ("1", "2", "7", "8", "10")
    (each,) = (line for line in said if "of each: " in line)
    assert {each.split("of each: ")[1][0], each.split(", ")[1][0]} == {"2", "8"} and ", 10: " in each
    assert as_json(told)["found"][0]["of_each"]["8"] == (ng[code == 8].sum(), (code == 8).sum())
    assert not any("taken for amounts" in line for line in said)
    long = ranked(table(ng, Column("lot", code + 10.0**15))).found[0]  # no two of them are called alike
    assert set(of_each(long)) == {f"10000000000000{c:02}" for c in (1, 2, 7, 8, 10)}


def test_an_hour_that_comes_again_each_day_is_found_though_it_always_comes_in_a_stretch() -> None:
    n = 2400
    hour = np.arange(n) // 10 % 24
    ng = np.random.default_rng(3).random(n) < np.where((hour >= 2) & (hour < 5), 0.3, 0.05)
    column = Column("hour", hour.astype(float), labels=tuple(f"{h:02}:00" for h in range(24)), ring=True)
    assert [one.where for one in ranked(table(ng, column)).found] == ["hour 02:00 to 04:00"]


def test_the_mean_of_a_code_says_nothing() -> None:
    from models.causes.journal import Asked, _At, _columns

    at = _At.nothing(2, 2, np.full(2, 10.0))
    batch = Batch.of("p", [1, 1, 2, 2], [7.0, 8.0, 7.0, 8.5], [5, 10, 5, 10])
    at.add(batch, np.array([0, 0, 1, 1]), np.array([10, 20]))
    told = {"product": ("int16", ""), "speed": ("float64", "")}
    asked = Asked(0, 1, UTC)
    columns, _ = _columns(["product", "speed"], told, at, at.held(np.zeros(2)), {}, asked)
    assert [column.value.tolist() for column in columns] == [[8.0, 8.0], [7.75, 8.5]]
    asked = Asked(0, 1, UTC, labels={"product": {8: "valve"}})
    assert _columns(["product"], told, at, at.held(np.zeros(2)), {}, asked)[0][0].labels == ("valve",)


def test_of_two_that_go_along_the_one_that_stands_is_told() -> None:
    rng = np.random.default_rng(6)
    n = 2000
    a = rng.normal(size=n)
    beside_it = a + rng.normal(0, 0.4, n)
    ng = rng.random(n) < np.where(a < -1, 0.4, 0.03)
    told = command.told_of(table(ng, Column("a", a), Column("b", beside_it), Column("twin", a * 2)))
    how = {told.found[k].name: {each.other.name: each.how for each in some} for k, some in told.rivals.items()}
    assert how["a"] == {"b": "holds", "twin": "twin"} and how["twin"] == {"a": "twin", "b": "holds"}
    assert how["b"] == {"a": "gone", "twin": "gone"}
    said = "\n".join(words("s", told))
    assert "the two cannot be told apart" in said and "that one may be the reason" in said
    assert beside(np.array([True, False] * 20), np.array([True, False] * 20), np.arange(40)) == 1.0


def test_a_cut_is_a_round_number_between_two_values() -> None:
    bands = bands_of(Column("t", np.repeat([23.47, 23.52, 24.01], 20), "°C"))
    assert bands is not None and bands.edges.tolist() == [23.5, 24.0]
    assert bands_of(Column("t", np.repeat([1.0, 2.0], [100, 3]))) is None
    assert only_rises(np.arange(100.0)) and not only_rises(np.random.default_rng(0).random(100))


def test_a_value_that_was_bad_or_older_than_a_restart_is_not_held(tmp_path: Path) -> None:
    from models.causes.journal import _At

    ts = np.arange(1, 7) * 10
    at = _At.nothing(6, 1, np.full(6, 10.0))
    batch = Batch.of("p", [1, 1, 1], [5.0, 7.0, 9.0], [5, 25, 40], [Quality.GOOD, Quality.BAD, Quality.GOOD])
    at.add(batch, np.zeros(3, int), ts)
    held = at.held(np.array([0, 0, 0, 0, 1, 1]))[:, 0]
    assert held[:2].tolist() == [5, 5] and np.isnan(held[2]) and held[3] == 9 and np.isnan(held[4:]).all()
    assert at.count[:, 0].tolist() == [1, 0, 0, 1, 0, 0]


def test_a_table_in_place_of_a_journal(site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What `--parts` writes of a journal is found again in that file, also where its lines stand in no order."""
    path = tmp_path / "parts.csv"
    assert causes(site, "--parts", str(path), "--json") == 0
    journal = json.loads(capsys.readouterr().out)["stages"]["aoi"]
    head, *lines = path.read_text("utf-8").splitlines()
    assert head.startswith("time,stage,glue.") and head.endswith(",hour,shift,verdict,kind") and len(lines) == PARTS
    mixed = [lines[k] for k in np.random.default_rng(0).permutation(PARTS)]
    path.write_text("\n".join([head, *mixed]), "utf-8")
    parser = argparse.ArgumentParser()
    command.arguments(parser)

    def told(*more: str) -> dict[str, Any]:
        given = ["--table", str(path), "--target", "verdict", "--ng", "ng", "--without", "kind", "--json", *more]
        assert command.run(parser.parse_args(given)) == 0
        return dict(json.loads(capsys.readouterr().out)["stages"][""])

    ordered, unordered = told("--time", "time"), told()
    first = [(one["where"], one["ng"], one["of"]) for one in journal["found"] if not one["kind"]]
    assert [(one["where"].split(" <")[0], one["ng"], one["of"]) for one in ordered["found"]] == [
        (where.split(" <")[0], ng, of) for where, ng, of in first
    ]
    assert ordered["found"][0]["stretches"] > 3 and unordered["found"][0]["stretches"] == 0
    assert unordered["not_looked_at"].keys() == {"time", "shift", "stage"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "look where"),
        (["site.yaml", "--table", "t.csv"], "look where"),
        (["--table", "t.csv", "--target", "what"], "--ng VALUE"),
        (["--table", "t.csv", "--target", "wat", "--ng", "x"], "no column is called 'wat'"),
        (["--table", "t.csv", "--target", "what", "--ng", "z"], "no what is 'z' .there are x, y"),
        (["--table", "t.csv", "--target", "what", "--ng", "x", "--time", "a"], "t.csv:2: '1' is no time"),
        (["--table", "t.csv", "--target", "what", "--ng", "x", "--tag", "b"], "no 'b' to look at .there are a"),
        (["--table", "t.csv", "--target", "what", "--ng", "x", "--code", "what"], "no 'what' to look at"),
    ],
)
def test_a_table_that_cannot_be_is_refused(
    given: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("a,what\n1,x\n2,y\n")
    parser = argparse.ArgumentParser()
    command.arguments(parser)
    with pytest.raises(LinesideError, match=said):
        command.run(parser.parse_args(given))


def test_a_column_with_a_mistyped_number_or_a_name_twice_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = "".join(f"{k % 9},{k % 3},ng\n" for k in range(30))
    path.write_text("melt,mould,what\n" + rows.replace("7,1,", "7O,1,", 1))
    with pytest.raises(LinesideError, match=r"t.csv:9: '7O' under melt is no number"):
        of_table(path, "what", ["ng"], None, [])
    assert [c.name for c in of_table(path, "what", ["ng"], None, [], ["melt"]).columns] == ["mould"]
    assert of_table(path, "what", ["ng"], None, ["melt"]).columns[0].labels
    path.write_text("melt,melt,what\n" + rows)
    with pytest.raises(LinesideError, match="two columns are called 'melt'"):
        of_table(path, "what", ["ng"], None, [])


def test_columns_of_a_table_are_numbers_or_names(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("size;mould;serial;what\n1,5;A;s1\n".replace("s1", "s1;ok") + ";B;s2;ng\n2;A;s3;ok\n3;;s4;ok\n")
    parts = of_table(path, "what", ["ng"], None, [])
    size, mould = parts.columns
    assert size.labels is None and np.isnan(size.value[1]) and size.value[0] == 1.5
    assert mould.labels == ("A", "B") and np.isnan(mould.value[3]) and parts.ng.tolist() == [False, True, False, False]
    assert parts.left_out == {"serial": "nearly each part has another name"} and parts.kind[1] == "ng"
