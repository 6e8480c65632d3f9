"""What the stages of a machine's condition cost, and what `vibration` names that was taught from recordings.

    python -m tests.bench.condition [DATA]

`vibration`: two bands and a bearing, blocks of 8,192 samples at 12 kHz. With DATA, a folder of the shared layout: `lifetime`
learned by `lineside fit` in a child from the 100 engines of C-MAPSS FD001 as CSV, then a test engine cycle by cycle; and the
tag `fault` taught from the CWRU bearings at 0 hp, asked of those at 1 hp, and with each size of damage left out.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edge import Batch, Tag, TagTable
from edge.stage import Setting
from models.benchmarks import cmapss, cwru
from models.series.lifetime import Lifetime, LifetimeConfig
from models.series.vibration import Vibration, VibrationConfig

BLOCK, HOUR = 8192, 3600 * 10**9
TAGS = [f"e.c{i}" for i in range(24)]
SITE = f"""device: {{id: f}}
drivers:
  e:
    driver: modbus
    url: tcp://127.0.0.1:9
    every: 1h
    tags: {{{", ".join(f'c{i}: {{address: "holding:{2 * i}", type: float32}}' for i in range(24))}}}
stages: {{life: {{stage: lifetime, tags: [{", ".join(TAGS)}], every: 1h}}}}
"""


def told(name: str, **figures: Any) -> None:
    print(json.dumps({"bench": name, **figures}), flush=True)


def setting(name: str, read: list[str], made: Mapping[str, Any], folder: Path) -> Setting:
    names = [*read, *(f"{name}.{point}" for point in made)]
    return Setting(name, TagTable([Tag(each, i) for i, each in enumerate(names, 1)]), folder)


def vibration(blocks: int = 300) -> None:
    bands = {"slow": (0, 1500), "fast": (2500, 3500)}
    given: dict[str, Any] = {"tag": "v.x", "rate": cwru.RATE, "block": BLOCK, "speed": 1800.0, "bands": bands}
    config = VibrationConfig(stage="vibration", bearing={"balls": 9, "ratio": 0.2034}, **given)
    stage = Vibration(config, setting("h", ["v.x"], config.points(), Path()))
    x = np.random.default_rng(1).normal(size=(blocks, BLOCK))
    ts = np.round(np.arange(blocks * BLOCK) * 1e9 / cwru.RATE).astype(np.int64).reshape(x.shape)
    batches = [Batch.of("v", np.ones(BLOCK, int), *each) for each in zip(x, ts, strict=True)]
    began = time.process_time()
    made = sum(len(list(stage(one))) for one in batches)
    spent = time.process_time() - began
    told("vibration", blocks=made, ms_per_block=round(spent / made * 1e3, 2), samples_per_cpu_s=round(x.size / spent))


def lifetime(data: Path, folder: Path) -> None:
    (folder / "site.yaml").write_text(SITE)
    (folder / "runs").mkdir()
    for unit, rows in cmapss.engines(data / cmapss.TRAIN).items():
        lines = [",".join(map(str, row)) for row in rows]
        (folder / "runs" / f"{unit:03}.csv").write_text("\n".join([",".join(TAGS), *lines]))
    command = [sys.executable, "-m", "edge.cli", "fit", folder / "site.yaml", "life", "--runs", folder / "runs"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    child = resource.getrusage(resource.RUSAGE_CHILDREN)
    size = (folder / "life.json").stat().st_size
    told("lifetime fit", cpu_s=round(child.ru_utime + child.ru_stime, 1), mb=child.ru_maxrss >> 10, file_bytes=size)
    config = LifetimeConfig(stage="lifetime", tags=TAGS, every="1h")
    stage = Lifetime(config, setting("life", TAGS, config.points(), folder))
    rows = np.vstack(list(cmapss.engines(data / cmapss.TRAIN).values())[:5])
    batches = [Batch.of("e", np.arange(1, 25), row, np.full(24, i * HOUR, np.int64)) for i, row in enumerate(rows)]
    began = time.process_time()
    for one in batches:
        list(stage(one))
    spent = time.process_time() - began
    told("lifetime", ms_per_row=round(spent / len(rows) * 1e3, 2), state_bytes=len(stage.snapshot() or b""))


def watched(
    one: cwru.Recording, folder: Path, faults: tuple[str, ...] = ()
) -> tuple[VibrationConfig, dict[str, np.ndarray]]:
    """The stage's options, and what it makes of a recording: float64[blocks] by point."""
    bearing = {"balls": cwru.BEARING.balls, "ratio": cwru.BEARING.ratio}
    given: dict[str, Any] = {"tag": "e.a", "rate": cwru.RATE, "block": cwru.ROWS, "speed": one.turns * 60}
    config = VibrationConfig(stage="vibration", bearing=bearing, bands=cwru.BANDS, faults=list(faults), **given)
    stage, x = Vibration(config, setting("v", ["e.a"], config.points(), folder)), one.blocks.ravel()
    ts = np.round(np.arange(len(x)) * 1e9 / cwru.RATE).astype(np.int64)
    rows = np.array([made.value for made in stage(Batch.of("e", np.ones(len(x), int), x, ts))])
    return config, dict(zip(config.points(), rows.T, strict=True))


def taught(known: list[cwru.Recording], asked: list[cwru.Recording], folder: Path) -> float:
    """Macro-F of the tag `fault` in the recordings `asked`, learned from those `known`; a block like none of them is wrong."""
    runs = {}
    for i, one in enumerate(known):
        config, made = watched(one, folder)
        runs[f"{one.state}-{i}"] = np.column_stack([made[feature] for feature in config.features()])
    states = tuple(state for state in cwru.STATES if any(one.state == state for one in known))
    document = Vibration.fit_runs(config.model_copy(update={"faults": list(states)}), runs)
    (folder / "v.json").write_text(json.dumps(document))
    names, said, true = np.array([*states, "?"]), [], []
    for one in asked:
        _, made = watched(one, folder, states)
        said.append(names[np.nan_to_num(made["fault"], nan=-1).astype(int)])
        true.append(np.repeat(one.state, len(one.blocks)))
    return float(cwru.scored(np.concatenate(said), np.concatenate(true))["macro_f"])


def fault(data: Path, folder: Path) -> None:
    recordings, _ = cwru.read(data)
    by_load = [[one for one in recordings if one.key.endswith(f"_load{load}")] for load in (0, 1)]
    told("fault, another load", macro_f=taught(by_load[0], by_load[1], folder))
    left = {}
    for size in sorted({one.size for one in recordings if one.size}):
        rest = [one for one in recordings if one.size != size]
        left[size] = taught(rest, [one for one in recordings if one.size == size], folder)
    told("fault, a size left out", macro_f=left, mean=round(float(np.mean(list(left.values()))), 2))


def main(data: Path | None) -> None:
    vibration()
    if data is not None:
        with tempfile.TemporaryDirectory() as folder:
            lifetime(data / "cmapss-fd001", Path(folder))
            fault(data / "cwru-bearing", Path(folder))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
