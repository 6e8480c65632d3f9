"""`lineside fit` learns from a journal."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest

from edge import SECOND, Batch
from edge.app import Daemon
from edge.cli import main
from edge.commands.fit import history
from edge.config.load import load
from models.series.together import together

SITE = """device: {id: f}
drivers: {p: {driver: modbus, url: "tcp://127.0.0.1:9", every: 1h, tags: {a: {address: "holding:1"}, b: {address: "holding:2"}}}}
stages: {h: {stage: anomaly, tags: [p.a, p.b]}, f: {stage: forecast, tag: p.a, every: 1h}}
"""


def filled(site: Path, state: Path, values: np.ndarray, step: int) -> None:
    """A journal of p.a and p.b, a row each `step` seconds; of what is NaN nothing was said."""

    async def fill() -> None:
        daemon = Daemon(load(site), state)
        ids = [daemon.table["p.a"].id, daemon.table["p.b"].id]
        ts = np.repeat(np.arange(1, len(values) + 1) * step * SECOND, 2)
        said = ~np.isnan(values.ravel())
        daemon.journal.append([Batch.of("p", np.tile(ids, len(values))[said], values.ravel()[said], ts[said])])
        await daemon.journal.commit(seal=True)
        daemon.journal.close()

    asyncio.run(fill())


def test_a_forecast_from_all_of_the_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site, hours = tmp_path / "site.yaml", np.arange(400)
    site.write_text(SITE)
    filled(site, tmp_path / "state", np.column_stack([10 + hours % 24, hours]), 3600)
    assert main(["fit", str(site), "f", "--state", str(tmp_path / "state")]) == 0
    said = capsys.readouterr().out
    assert (
        "learned from 399 slots of p.a" in said and "lay within the interval" in said and "`baseline: f.json`" in said
    )
    site.write_text(SITE.replace("every: 1h}}", "every: 1h, baseline: f.json}}"))
    assert main(["check", str(site)]) == 0
    assert main(["fit", str(site), "f", "--state", str(tmp_path / "state"), "--until", "1970-01-01"]) == 2
    assert "the journal holds nothing of p.a in that time" in capsys.readouterr().err
    assert main(["fit", str(site), "f", "--state", str(tmp_path / "state"), "--until", "1970-01-05"]) == 2
    assert "95 slots of 3600 s are too few" in capsys.readouterr().err


def test_a_baseline_from_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(SITE)

    filled(site, tmp_path / "state", np.random.default_rng(1).normal(5, 1, (500, 2)), 1)
    assert main(["fit", str(site), "h", "--state", str(tmp_path / "state")]) == 0
    assert json.loads((tmp_path / "h.json").read_text())["rows"] == 500
    with (tmp_path / "h.json").open() as running:
        assert main(["fit", str(site), "h", "--state", str(tmp_path / "state"), "--rows", "200"]) == 0
        assert json.load(running)["rows"] == 500, "what a daemon has open is not written into"
    assert 180 <= json.loads((tmp_path / "h.json").read_text())["rows"] <= 240, "in stretches"
    assert main(["fit", str(site), "h", "--rows", "many"]) == 2
    assert "'many' is no number of rows" in capsys.readouterr().err
    site.write_text(SITE.replace("[p.a, p.b]", "[p.a, p.b], baseline: h.json"))
    assert main(["check", str(site)]) == 0
    assert main(["fit", str(site), "x", "--state", str(tmp_path / "state")]) == 2
    assert "no stage is called 'x', " not in capsys.readouterr().out


def test_what_is_told_when_it_changes_holds_in_each_stretch(tmp_path: Path) -> None:
    site, values = tmp_path / "site.yaml", np.full((1000, 2), np.nan)
    site.write_text(SITE)
    values[:, 0], values[[0, 430], 1] = np.arange(1000), [7.0, 8.0]
    filled(site, tmp_path / "state", values, 1)
    found = history(tmp_path / "state" / "journal.db", ["p.a", "p.b"], -(2**63), 2**63 - 1, 100)
    rows, _ = together([found["p.a"], found["p.b"]])
    assert len(rows) == len(found["p.a"][0]) > 150
    assert (rows[:, 1] == np.where(rows[:, 0] < 430, 7, 8)).all()


def test_a_number_that_stands_for_a_text_elsewhere_is_a_number(tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    tags = '{a: {address: "holding:1"}, b: {address: "holding:2"}, t: {address: "holding:5", type: text, length: 4}}'
    site.write_text(
        f'device: {{id: f}}\ndrivers: {{p: {{driver: modbus, url: "tcp://127.0.0.1:9", every: 1h, tags: {tags}}}}}\n'
        "stages: {h: {stage: anomaly, tags: [p.a], by: p.b}, n: {stage: anomaly, tags: [p.a], by: p.t}}\n"
    )

    async def fill() -> None:
        daemon = Daemon(load(site), tmp_path / "state")
        ids = [daemon.table[f"p.{name}"].id for name in "abt"]
        lid = daemon.table.texts.value(ids[2], "lid")
        rows = np.column_stack([np.random.default_rng(1).normal(5, 1, 300), np.full((300, 2), lid)])
        ts = np.repeat(np.arange(1, 301) * SECOND, 3)
        daemon.journal.append([Batch.of("p", np.tile(ids, 300), rows.ravel(), ts)])
        await daemon.journal.commit(seal=True)
        daemon.journal.close()

    asyncio.run(fill())
    for stage, called in (("h", 1.0), ("n", "lid")):
        assert main(["fit", str(site), stage, "--state", str(tmp_path / "state")]) == 0
        assert [at for at, _ in json.loads((tmp_path / f"{stage}.json").read_text())["regimes"]] == [called]
