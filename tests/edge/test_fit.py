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
from edge.config.load import load

SITE = """device: {id: f}
drivers: {p: {driver: modbus, url: "tcp://127.0.0.1:9", every: 1h, tags: {a: {address: "holding:1"}, b: {address: "holding:2"}}}}
stages: {h: {stage: anomaly, tags: [p.a, p.b]}}
"""


def test_a_baseline_from_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(SITE)

    async def fill() -> None:
        daemon = Daemon(load(site), tmp_path / "state")
        ids = [daemon.table["p.a"].id, daemon.table["p.b"].id]
        rows = np.random.default_rng(1).normal(5, 1, (500, 2))
        daemon.journal.append([Batch.of("p", ids * 500, rows.ravel(), np.repeat(np.arange(1, 501) * SECOND, 2))])
        await daemon.journal.commit(seal=True)
        daemon.journal.close()

    asyncio.run(fill())
    assert main(["fit", str(site), "h", "--state", str(tmp_path / "state")]) == 0
    assert json.loads((tmp_path / "h.json").read_text())["rows"] == 500
    assert main(["fit", str(site), "h", "--state", str(tmp_path / "state"), "--rows", "200"]) == 0
    assert 180 <= json.loads((tmp_path / "h.json").read_text())["rows"] <= 240, "in stretches"
    assert main(["fit", str(site), "h", "--rows", "many"]) == 2
    assert "'many' is no number of rows" in capsys.readouterr().err
    site.write_text(SITE.replace("[p.a, p.b]", "[p.a, p.b], baseline: h.json"))
    assert main(["check", str(site)]) == 0
    assert main(["fit", str(site), "x", "--state", str(tmp_path / "state")]) == 2
    assert "no stage is called 'x', " not in capsys.readouterr().out
