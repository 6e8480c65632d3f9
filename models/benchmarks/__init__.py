"""Known benchmarks: which data folders are recognised, and which methods are judged on them.

One module per data set. Each of its methods is a function `(data: Path, to: TextIO | None) -> dict`: the figures of one folder
laid out like the shared one, what is absent under "missing", one JSON object per scored row or unit written to `to`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from edge import LinesideError


@dataclass(frozen=True)
class Benchmark:
    """`module` is one of this folder; `methods` maps a method to the module's function, the first being meant by `name`.

    `folder` is another name of it, that of the shared folder. A folder is one of these where a file matches a pattern of `marks`
    and, for CSV files that could be anything, `header` stands in its first line.
    """

    name: str
    module: str
    layout: str
    marks: tuple[str, ...]
    figures: tuple[str, ...]
    methods: Mapping[str, str]
    header: str = ""
    folder: str = ""

    def has(self, name: str) -> bool:
        """Whether that is its name, or one of its methods."""
        return name in (self.name, self.folder, *self.methods) and bool(name)

    def holds(self, data: Path) -> bool:
        found = (path for mark in self.marks for path in sorted(data.glob(mark)))
        return any(not self.header or self.header in _first_line(path) for path in found)

    def listed(self) -> dict[str, Any]:
        methods = [self.name, *(one for one in self.methods if one != self.name)]
        return {"task": self.name, "data": self.layout, "figures": list(self.figures), "methods": methods}


KNOWN = (
    Benchmark(
        name="injection-moulding",
        module="parameters",
        layout="dev.csv (semicolons; 13 parameters, quality)",
        marks=("*.csv",),
        figures=("accuracy", "macro_f1", "macro_recall", "by_class", "recall", "precision", "balanced", "reasons"),
        methods={"trees": "lenses"},
        header="SVo - Shot volume",
    ),
    Benchmark(
        name="steel-plates",
        module="parameters",
        layout="dev.csv (27 features, seven columns of faults)",
        marks=("*.csv",),
        figures=("accuracy", "macro_f1", "macro_recall", "by_class", "recall", "precision", "balanced", "reasons"),
        methods={"trees": "plates"},
        header="Pastry_Fault",
    ),
    Benchmark(
        name="olympus",
        module="olympus",
        folder="olympus-experiments",
        layout="TABLE/data.csv (no header; parameters, then the target), TABLE/config.json (bounds, goal), summary.csv",
        marks=("*/config.json", "summary.csv"),
        figures=("tables", "at_most_25"),
        methods={"tune": "evaluated"},
    ),
    Benchmark(
        name="skab",
        module="skab",
        layout="valve1/*.csv, valve2/*.csv, other/*.csv, anomaly-free/*.csv (semicolons: datetime, signals, anomaly, changepoint)",
        marks=("valve1/*.csv", "valve2/*.csv", "other/*.csv", "anomaly-free/*.csv"),
        figures=("f1", "far", "mar", "delay_s", "nab", "normal_far"),
        methods={"anomaly": "evaluated", "network": "network", "always": "always"},
    ),
    Benchmark(
        name="cmapss",
        module="cmapss",
        folder="cmapss-fd001",
        layout="train_FD001.txt, test_FD001*.txt (26 columns), RUL_FD001*.csv (unit,true_rul_cycles)",
        marks=("train_FD001.txt", "test_FD001*.txt", "RUL_FD001*"),
        figures=("rmse", "score", "coverage"),
        methods={"runs": "evaluated", "mean": "mean"},
    ),
    Benchmark(
        name="ims",
        module="ims",
        folder="ims-bearing",
        layout="ims_test*_features.csv (a time, then the level of each channel)",
        marks=("ims_test*_features.csv",),
        figures=("lead_h", "false_alarms", "left_error_h"),
        methods={"life": "evaluated"},
    ),
    Benchmark(
        name="cwru",
        module="cwru",
        folder="cwru-bearing",
        layout="cwru*.npz with arrays STATE_loadHP (normal, B007 .. OR021) at 12 kHz, *_records.csv (key, rpm)",
        marks=("cwru*.npz",),
        figures=("macro_f", "folds", "auroc"),
        methods={"vibration": "evaluated"},
    ),
    Benchmark(
        name="nab",
        module="nab",
        layout="nab_*.zip (or folders) of CSV files (timestamp,value), combined_windows.json",
        marks=("combined_windows.json", "nab_*.zip"),
        figures=("standard", "reward_low_FP_rate", "reward_low_FN_rate"),
        methods={"novelty": "evaluated"},
    ),
)


def named(name: str) -> bool:
    """Whether that is a benchmark or one of its methods."""
    return any(one.has(name) for one in KNOWN)


def of(name: str, data: Path) -> Benchmark:
    """The benchmark that `data` is laid out as and that has the method `name`. Raises LinesideError."""
    if not data.is_dir():
        raise LinesideError(f"{data} is no folder")
    asked = [one for one in KNOWN if one.has(name)]
    for one in asked:
        if one.holds(data):
            return one
    layouts = "; ".join(f"{one.name}: {one.layout}" for one in asked)
    other = ", ".join(one.name for one in KNOWN if one.holds(data))
    seen = f"is laid out as {other}, which has no method {name}" if other else f"holds nothing that {name} is judged on"
    raise LinesideError(f"{data} {seen}", hint=f"laid out as {layouts}")


def evaluated(benchmark: Benchmark, name: str, data: Path, to: TextIO | None) -> dict[str, Any]:
    """Figures of the method `name`; the benchmark's own name means its first one. Raises LinesideError."""
    method = name if name in benchmark.methods else next(iter(benchmark.methods))
    module = importlib.import_module(f"{__name__}.{benchmark.module}")
    figures: dict[str, Any] = getattr(module, benchmark.methods[method])(data, to)
    return {"name": name, "method": method} | figures


def words(figures: Mapping[str, Any]) -> str:
    """Figures for a person, one a line."""
    lines = []
    for name, value in figures.items():
        if isinstance(value, Mapping):
            lines += [f"{name}:", *(f"  {line}" for line in words(value).splitlines())]
        elif isinstance(value, list):
            lines.append(f"{name}: {', '.join(map(str, value)) or 'none'}")
        else:
            lines.append(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")
    return "\n".join(lines)


def _first_line(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.readline(4096).decode("utf-8", "replace")
    except OSError:
        return ""
