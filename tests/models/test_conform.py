"""The conformance kit: a real daemon and a real socket, and what the kit says of a station that fails."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge import load_site
from edge.cli import main
from models.vision import conform as cases
from models.vision.bench import Bench
from models.vision.conform import bits, conform
from tests.walks import LONG

ROOT = Path(__file__).parents[2]
SITE = ROOT / "configs/aoi-station.yaml"


@pytest.fixture(autouse=True)
def pairs(tmp_path: Path) -> None:
    """The boards that the site plays, beside it."""
    (tmp_path / "pairs").symlink_to(ROOT / "configs/pairs")


MODBUS = (cases.starts, cases.parts, cases.skipped_ack, cases.pulled_cable, cases.killed_station, cases.none_lost)
OPCUA = (cases.starts, cases.parts, cases.none_lost)


def over_opcua(site: str) -> str:
    """The same site with a PLC that speaks OPC UA."""
    site = site.replace("driver: modbus", "driver: opcua").replace("tcp://127.0.0.1:5024", "opc.tcp://127.0.0.1:4840")
    return re.sub(
        r'^(      )(\w+): +\{address: "[\w:.]+"(?:, type: \w+)?', r'\1\2: {node: "ns=2;s=\2"', site, flags=re.M
    )


@pytest.mark.system
@pytest.mark.parametrize("wanted", [pytest.param(MODBUS, id="modbus"), pytest.param(OPCUA, id="opcua", marks=LONG)])
def test_the_shipped_station_keeps_the_handshake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: tuple[cases.Case, ...]
) -> None:
    pytest.importorskip("ai_edge_litert", reason="no TFLite engine is installed: make setup brings LiteRT")
    (tmp_path / "recipes").symlink_to(ROOT / "configs/recipes")
    site = tmp_path / "station.yaml"
    text = SITE.read_text().replace("takt: 1s", "takt: 500ms").replace("heartbeat: 1s", "heartbeat: 300ms")
    site.write_text(text if wanted is MODBUS else over_opcua(text))
    monkeypatch.setattr(cases, "CASES", wanted)
    monkeypatch.setattr(cases, "SLACK", 60.0)  # of a busy machine
    bench, home = Bench(site), tmp_path / "home"
    home.mkdir()

    async def tried() -> list[cases.Outcome]:
        async with bench.running(home):
            return await conform(bench)

    outcomes = asyncio.run(tried())
    assert len(outcomes) == len(wanted) and not [f"{o.name}: {o.fault}" for o in outcomes if o.fault]
    assert any("heartbeat" in line for line in bits(bench.log))


def test_a_camera_of_the_line_is_rendered_whatever_its_options(tmp_path: Path) -> None:
    site, home = tmp_path / "station.yaml", tmp_path / "home"
    text = SITE.read_text().replace('"pattern:parts?ng=0.2&seed=1",', '"rtsp://127.0.0.1/x", frozen_after: 10s,')
    site.write_text(text)
    home.mkdir()

    async def body() -> None:
        async with Bench(site).running(home):
            pass

    asyncio.run(body())
    made = load_site(home / "site.yaml")
    assert not made.problems and "rtsp" in text and "pattern:parts" in (home / "site.yaml").read_text()


@pytest.mark.parametrize(
    ("results", "taken", "words"),
    [
        ([], [], "there was none"),
        ([(1, "ok"), (1, "ok")], [1], "the ids were"),
        ([(1, "ok"), (3, "ok")], [1, 3], "the ids were"),
        ([(1, "ok")], [1, 2], r"never judged: \[2\]"),
        ([(1, "ok"), (2, "ng")], [1, 2], "^$"),
    ],
)
def test_a_lost_or_doubled_verdict_is_no_sign_off(results: list[Any], taken: list[int], words: str) -> None:
    bench: Any = SimpleNamespace(plc=SimpleNamespace(results=results, taken=taken))
    assert re.search(words, asyncio.run(cases.none_lost(bench)))


def test_recipes_are_measured_and_a_refused_one_is_a_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ai_edge_litert", reason="no TFLite engine is installed: make setup brings LiteRT")
    (tmp_path / "recipes").mkdir()
    for file in (ROOT / "configs/recipes").glob("*.yaml"):
        (tmp_path / "recipes" / file.name).write_text(file.read_text())
    site = tmp_path / "site.yaml"
    site.write_text(SITE.read_text())
    assert main(["station", "recipes", str(site), "--json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [t["product"] for t in told] == ["7", "8", "9"] and all(
        t["checksum"] and " of 900 ms on " in t["takt"] for t in told
    )
    assert main(["station", "recipes", str(site), "--stage", "other"]) == 2
    assert main(["station", "recipes", str(ROOT / "configs/oven.yaml")]) == 2
    assert "there are aoi in " in (said := capsys.readouterr().err) and "there are none in " in said
    (tmp_path / "recipes/washer.yaml").write_text("recipe: x\n")
    assert main(["station", "recipes", str(site)]) == 1
    assert "washer.yaml:1:1: views: is missing" in capsys.readouterr().out
    (tmp_path / "recipes/washer.yaml").write_text("recip: x\nview: {}\n")
    assert main(["station", "recipes", str(site)]) == 1
    said = capsys.readouterr().out
    assert "aoi 7: " in said and "did you mean 'recipe'" in said and "did you mean 'views'" in said, "each fault"
    (tmp_path / "recipes/washer.yaml").write_text("recipe: x\n")
    assert main(["check", str(site)]) == 1
    assert "washer.yaml:1:1: views: is missing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("stage: station", "stage: statoin", "did you mean"),
        ("      taken: plc.taken\n", "", "cannot be tried without taken"),
        ("trigger: plc.trigger", "trigger: plc.triger", "did you mean 'plc.trigger'"),
    ],
)
def test_what_cannot_be_tried_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, words: str
) -> None:
    site = tmp_path / "site.yaml"
    assert old in SITE.read_text()
    site.write_text(SITE.read_text().replace(old, new))
    assert main(["station", "conform", str(site)]) == 2
    assert words in capsys.readouterr().err


def test_each_case_is_told_before_it_is_tried_and_how_long_all_take(monkeypatch: pytest.MonkeyPatch) -> None:
    async def one(bench: Bench) -> str:
        """it works"""
        return f"told {len(said)}"

    async def calm(bench: Bench) -> None: ...

    monkeypatch.setattr(cases, "CASES", (one, one))
    monkeypatch.setattr(cases, "_calm", calm)
    bench: Any = SimpleNamespace(options=SimpleNamespace(takt=60.0))
    said: list[str] = []
    outcomes = asyncio.run(conform(bench, said.append))
    assert said == ["2 cases take about 11 min at a takt of 60 s", "1 of 2: it works", "2 of 2: it works"]
    assert [outcome.fault for outcome in outcomes] == ["told 2", "told 3"]


def test_a_word_that_cannot_hold_the_ids_is_told_where_it_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site, text = tmp_path / "site.yaml", SITE.read_text()
    (tmp_path / "recipes").symlink_to(ROOT / "configs/recipes")
    line = next(line for line in text.splitlines() if line.startswith("      result_id: {address"))
    site.write_text(text.replace(line, line.replace("65535", "9")))
    assert main(["check", str(site)]) == 1
    assert re.search(r"site\.yaml:\d+:\d+: stages\.aoi\.plc\.result_id: ", capsys.readouterr().out)


def test_a_log_that_cannot_be_written_is_said_before_anything_is_tried(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("models.commands.station.conform")
    assert main(["station", "conform", str(SITE), "--log", str(tmp_path / "none/bits.txt")]) == 2
    said = capsys.readouterr().err
    assert "none/bits.txt" in said and "No such file" in said


def test_a_part_number_of_another_moment_than_its_trigger_is_a_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(SITE.read_text().replace('part_no:   {address: "holding:12"', 'part_no:   {address: "input:900"'))
    assert main(["check", str(site)]) == 1
    assert "does not lie in one read request with the trigger plc.trigger" in capsys.readouterr().out
