"""The stage `vibration` names a fault that recordings were made of, learned by `lineside fit`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from edge import Batch, LinesideError, Quality, Tag, TagTable
from edge.cli import main
from edge.stage import Setting
from models.series.diagnosis import Diagnosis, fit
from models.series.vibration import Vibration, VibrationConfig

RATE, BLOCK = 12_000, 4096
FAULTS = ["healthy", "outer", "inner"]
TURNS = 1800
HZ = {"healthy": 0.0, "outer": 3.585 * TURNS / 60, "inner": 5.415 * TURNS / 60}
OPTIONS: dict[str, Any] = {
    "tag": "e.a",
    "rate": RATE,
    "block": BLOCK,
    "bearing": {"balls": 9, "ratio": 0.2034},
    "speed": TURNS,
    "bands": {"slow": [0, 1500], "fast": [2500, 3500]},
    "faults": FAULTS,
}
SITE = f"""device: {{id: f}}
drivers: {{e: {{driver: modbus, url: "tcp://127.0.0.1:9", every: 1h, tags: {{a: {{address: "holding:0"}}}}}}}}
stages: {{vib: {json.dumps({"stage": "vibration", **OPTIONS})}}}
"""


def shaken(fault: str, seed: int, loud: float = 1.0) -> np.ndarray:
    """One block: noise, and a resonance of 3 kHz that is struck by the fault."""
    at = np.arange(BLOCK) / RATE
    x = np.random.default_rng(seed).normal(0, 0.2, BLOCK)
    if fault != "healthy":
        since = (at + seed / 1000) % (1 / HZ[fault])
        x += np.exp(-since * 900) * np.sin(2 * np.pi * 3000 * since)
    return loud * x


def stage(folder: Path, **options: Any) -> Vibration:
    config = VibrationConfig(stage="vibration", **{**OPTIONS, **options})
    names = ["e.a", *(f"vib.{name}" for name in config.points())]
    return Vibration(config, Setting("vib", TagTable([Tag(n, i) for i, n in enumerate(names, 1)]), folder))


def told(one: Vibration, x: np.ndarray) -> dict[str, tuple[float, int]]:
    (made,) = one(Batch.of("e", np.ones(BLOCK, int), x, (np.arange(BLOCK) * 1e9 / RATE).astype(int)))
    return {name: (float(v), int(q)) for name, v, q in zip(one.config.points(), made.value, made.quality, strict=True)}


def recordings(folder: Path) -> Path:
    """Two of each state, by the stage's own tags."""
    (folder / "runs").mkdir()
    (folder / "site.yaml").write_text(SITE)
    one = stage(folder, faults=[])
    for fault in FAULTS:
        for part in range(2):
            rows = [told(one, shaken(fault, 10 * part + i)) for i in range(4)]
            lines = [
                ",".join(f"vib.{name}" for name in rows[0]),
                *(",".join(str(v) for v, _ in row.values()) for row in rows),
            ]
            (folder / "runs" / f"{fault}-{part}.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = recordings(tmp_path_factory.mktemp("vib"))
    assert main(["fit", str(folder / "site.yaml"), "vib", "--runs", str(folder / "runs")]) == 0
    assert main(["check", str(folder / "site.yaml")]) == 0
    return folder


@pytest.mark.parametrize("fault", FAULTS)
def test_another_recording_is_named(fitted: Path, fault: str) -> None:
    one = stage(fitted)
    for seed in (91, 92):
        found = told(one, shaken(fault, seed))
        assert found["fault"] == (FAULTS.index(fault), Quality.GOOD)
    labels = one.config.points()["fault"].labels
    assert labels == dict(enumerate(FAULTS))


def test_what_is_like_nothing_learned_and_what_is_not_known_is_no_fault(fitted: Path) -> None:
    for one, x in (
        (stage(fitted), shaken("outer", 91, loud=1e6)),
        (stage(fitted), np.zeros(BLOCK)),
        (stage(fitted, speed=60), shaken("outer", 91)),
    ):
        made = list(one(Batch.of("e", np.ones(BLOCK, int), x, (np.arange(BLOCK) * 1e9 / RATE).astype(int))))
        at = list(one.config.points()).index("fault")
        assert np.isnan(made[0].value[at]) and made[0].quality[at] == Quality.SUBSTITUTED
        assert np.isfinite(made[0].value[0])


def test_faults_of_recordings_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = recordings(tmp_path)

    def said() -> str:
        assert main(["fit", str(folder / "site.yaml"), "vib", "--runs", str(folder / "runs")]) == 2
        return capsys.readouterr().err

    (folder / "runs" / "healthy-1.csv").rename(folder / "runs" / "healty-1.csv")
    assert "healty-1.csv begins with none of the `faults` healthy, outer, inner" in said()
    (folder / "runs" / "healty-1.csv").rename(folder / "runs" / "outer-7.csv")
    (folder / "runs" / "healthy-0.csv").unlink()
    assert "no recording of healthy" in said()
    (folder / "site.yaml").write_text(SITE.replace(json.dumps(FAULTS), "[]"))
    assert "the stage names no `faults`" in said()


def test_a_file_of_other_options_or_a_damaged_one_is_refused(fitted: Path, tmp_path: Path) -> None:
    with pytest.raises(LinesideError, match=r"there is no .*vib\.json .*lineside fit"):
        stage(tmp_path)
    for options in ({"faults": ["healthy", "outer"]}, {"bands": {"slow": [0, 1500]}}):
        with pytest.raises(LinesideError, match="fitted for other `faults`, `bands`"):
            stage(fitted, **options)
    document = json.loads((fitted / "vib.json").read_text())
    assert Diagnosis.from_json(document).labels == ("healthy", "inner", "outer")
    for broken in (
        {"kind": "lifetime"},
        {"version": 2},
        {"mean": document["mean"][1:]},
        {"spread": [0.0] * len(document["spread"])},
        {"offset": [float("nan")] * 3},
        {"weight": document["weight"][0]},
        {"labels": 3},
    ):
        (tmp_path / "vib.json").write_text(json.dumps({**document, **broken}))
        with pytest.raises(LinesideError, match=r"vib\.json: .*fit it anew"):
            stage(tmp_path)
    small = fit(np.arange(12.0).reshape(6, 2), ["healthy", "outer", "inner"] * 2).as_json()
    (tmp_path / "vib.json").write_text(json.dumps({**small, "features": document["features"]}))
    with pytest.raises(LinesideError, match="a damaged diagnosis"):
        stage(tmp_path)


@pytest.mark.parametrize("faults", [["healthy"], ["outer", "outer"]])
def test_one_state_is_nothing_to_tell_apart(faults: list[str]) -> None:
    with pytest.raises(ValidationError, match="two states or more, each once"):
        VibrationConfig(stage="vibration", **{**OPTIONS, "faults": faults})
