"""What `docs/templates.md` says works, word for word."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from edge.cli import main
from edge.config.load import load, load_text
from edge.shipped import templates

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "templates.md").read_text("utf-8")
SITE, TEMPLATE = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)[:2]


def test_the_site_on_the_page_reads_what_it_says() -> None:
    config = load_text("device: {id: d}\n" + SITE)
    assert not config.problems, config.problems
    points = config.points()
    assert [name for name in points if name.startswith("line1.press.")] == [
        "line1.press.p",
        "line1.press.import_kwh",
        "line1.press.own",
    ]
    assert (points["line1.press.p"].unit, points["line1.press.p"].deadband) == ("W", 10)


def test_the_template_on_the_page_works_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "boiler.yaml").write_text(TEMPLATE, "utf-8")
    (tmp_path / "site.yaml").write_text(
        "device: {id: d}\ndrivers: {b: {driver: modbus, url: tcp://a, template: boiler.yaml}}\n"
    )
    config = load(tmp_path / "site.yaml")
    assert not config.problems, config.problems
    assert list(config.points()) == ["b.power", "b.energy", "b.state"]


def test_the_commands_on_the_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    point = {"name": "ID", "type": "uint16", "size": 1}
    model = json.dumps({"id": 103, "group": {"name": "inverter", "points": [point]}})
    (tmp_path / "maps").mkdir()
    for name, text in (("model_103.json", model), ("maps/model_1.json", model), ("meter.yaml", TEMPLATE)):
        (tmp_path / name).write_text(text, "utf-8")
    (tmp_path / "site.yaml").write_text("device: {id: d}\n" + SITE, "utf-8")
    commands = re.findall(r"^    lineside (import .*)$", PAGE, re.M)
    assert len(commands) == 6
    for command in commands:
        words, _, target = command.partition(" > ")
        assert main(shlex.split(words)) == 0, capsys.readouterr().err
        said = capsys.readouterr().out
        if target:
            assert said.startswith("name,address,") and (tmp_path / target).write_text(said, "utf-8")
    assert (tmp_path / "templates" / "site" / "line1_press.yaml").is_file()


def test_the_table_and_the_fault_on_the_page_are_as_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (table,) = re.findall(r"```csv\n(.*?)```", PAGE, re.S)
    Path("meter.csv").write_text(table, "utf-8")
    assert main(["import", "meter.csv", "--json"]) == 0
    assert '"tags": 3' in capsys.readouterr().out
    Path("meter.csv").write_text(table.replace("state,holding:20,,,,", "state,holding:20,,,ten,"), "utf-8")
    assert main(["import", "meter.csv"]) == 1
    (said,) = re.findall(r"`(meter.csv:3:scale: .*)`", PAGE)
    assert said in capsys.readouterr().err


def test_every_shipped_template_is_named_on_the_page() -> None:
    assert all(f"`{name}`" in PAGE for name in templates())
