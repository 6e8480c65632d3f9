"""The method `network` of the stage `anomaly`: its rows beside the bare interpreter on the same windows, and what a fit takes.

    python -m tests.bench.networks

`bare` is the interpreter alone, given blocks of rows ready made (float32, with the rows before them) and the outputs taken out;
`method` is the same blocks as the stage gives them: the rows before, float32, invoking. Ratios are bare over method, the best of
many short turns of each by turns in one run; 1.0 is as fast as the interpreter. `stage` is the whole stage behind it, with its
windows, centres and alarms.
"""

from __future__ import annotations

import itertools
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edge import Tag, TagTable
from edge.stage import Setting
from models.benchmarks.skab import leftover
from models.series import reconstruction
from models.series.anomaly import Anomaly, AnomalyConfig
from models.series.baseline import Baseline, Settings, fit
from models.series.scorer import Scorer
from tests.bench.series import batch

TURNS = 40
BLOCKS = (1, 60, 600, 3600)
WINDOWS = (16, 64)


def rows(n: int, tags: int, seed: int) -> np.ndarray:
    """float64[n, tags]: two settings that wander, each tag a curve of them, noise."""
    rng, form = np.random.default_rng(seed), np.random.default_rng(1)
    walk = np.cumsum(rng.normal(0, 0.05, (n, 2)), axis=0)
    hidden = np.sin(walk)
    mix = form.normal(size=(2, tags))
    return np.asarray(hidden @ mix + (hidden @ form.normal(size=(2, tags))) ** 2 + rng.normal(0, 0.05, (n, tags)))


def least(one: Callable[[], object], other: Callable[[], object], times: int) -> tuple[float, float]:
    """CPU-seconds of a call of each, the best of TURNS turns by turns."""
    best = [float("inf"), float("inf")]
    for _ in range(TURNS):
        for i, what in enumerate((one, other)):
            began = time.process_time()
            for _ in range(times):
                what()
            best[i] = min(best[i], (time.process_time() - began) / times)
    return best[0], best[1]


def beside_bare(tags: int, window: int, folder: Path) -> dict[str, float]:
    settings = Settings("network", window=window)
    names = [f"p.t{i}" for i in range(tags)]
    document = reconstruction.fit(rows(4000, tags, 2), names, settings)
    path = folder / "h.json"
    path.with_suffix(".tflite").write_bytes(document.pop("files")[".tflite"])
    path.write_text(json.dumps(document))
    baseline, kept = Baseline.from_json(document), document["network"]
    run = reconstruction.interpreter(kept, settings.window, path)
    left = reconstruction.loaded(baseline, kept, path, proved=True)
    table = TagTable(
        [
            *(Tag(n, i + 1, source="p") for i, n in enumerate(names)),
            *(Tag(f"h.{n}", tags + i, source="h") for i, n in ((1, "score"), (2, "alarm"))),
        ]
    )
    config = AnomalyConfig(stage="anomaly", tags=names, method="network", window=window, baseline="h.json")
    stage, figures = Anomaly(config, Setting("h", table, folder)), {}
    for block in BLOCKS:
        value = rows(block + settings.window - 1, tags, 3)
        given = value.astype(np.float32)[None, :, None, :]
        new = value[settings.window - 1 :]
        times = max(1, 2000 // block)
        bare, method = least(lambda given=given: run(given), lambda new=new: left(new), times)
        figures[f"ratio_{block}"] = round(bare / method, 3)
        figures[f"bare_us_a_row_{block}"] = round(bare / block * 1e6, 3)
        figures[f"method_us_a_row_{block}"] = round(method / block * 1e6, 3)
    value = rows(6000, tags, 4)
    each = [batch(value[i : i + 60], list(range(1, tags + 1)), i) for i in range(0, len(value), 60)]
    began = time.process_time()
    for one in each:
        for _ in stage(one):
            pass
    figures["stage_us_a_row_60"] = round((time.process_time() - began) / len(value) * 1e6, 2)
    return figures


def fit_of_a_week() -> dict[str, float]:
    """Of 20,000 rows of 100 tags, which is what `lineside fit` takes of a week at 1 Hz."""
    value, began, cpu = rows(20_000, 100, 5), time.perf_counter(), time.process_time()
    reconstruction.fit(value, [f"p.t{i}" for i in range(100)], Settings("network"), tuple(range(0, 20_000, 500)))
    mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "fit_s": round(time.perf_counter() - began, 1),
        "fit_cpu_s": round(time.process_time() - cpu, 1),
        "mb": round(mb),
    }


def fan(n: int, seed: int) -> np.ndarray:
    """float64[n, 3]: set to another speed every 40 rows; flow goes with its square, current with its cube."""
    rng = np.random.default_rng(seed)
    speed = np.convolve(np.repeat(rng.uniform(0.2, 1, n // 40 + 1), 40)[:n], np.ones(10) / 10, "same")
    return np.column_stack([speed, speed**2, speed**3]) + rng.normal(0, 0.005, (n, 3))


def on_a_curve(settings: Settings) -> dict[str, float]:
    """Shares of rows in alarm, learned from 3,000 rows of a fan: of 20,000 normal ones, and of 20 faults of 300 rows each in which
    the current is so much of what it was."""
    normal, found = fan(3000, 100), {}
    lesson = (
        reconstruction.teach(normal, ["speed", "flow", "current"], settings) if settings.method == "network" else None
    )
    baseline = lesson.baseline(settings) if lesson else fit(normal, settings)

    def alarms(rows: np.ndarray) -> np.ndarray:
        seen = leftover(lesson, settings)(rows) if lesson else rows
        return Scorer(baseline)(seen)[1]

    for part in (1.0, 0.9, 0.8, 0.7, 0.5):
        hit = []
        for seed in range(20):
            rows = fan(1000, seed)
            rows[600:900, 2] *= part
            hit.append(alarms(rows)[slice(600, 900) if part < 1 else slice(None)].mean())
        found["normal" if part == 1 else f"current_{part}"] = round(float(np.mean(hit)), 3)
    return found


def main() -> None:
    found: dict[str, dict[str, float]] = {"fit": fit_of_a_week()}
    for settings in (Settings("mahalanobis"), Settings("pca"), Settings("ewma"), Settings("network", code=1)):
        found[f"fan_{settings.method}"] = on_a_curve(settings)
    with tempfile.TemporaryDirectory() as folder:
        for tags, window in itertools.product((6, 20, 100), WINDOWS):
            found[f"tags_{tags}_window_{window}"] = beside_bare(tags, window, Path(folder))
    for name, figures in found.items():
        print(name, json.dumps(figures))
    print(json.dumps({"bench": "networks", **found}))


if __name__ == "__main__":
    main()
