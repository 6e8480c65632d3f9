"""Tables of real experiments (Olympus): an optimiser asks for an untried row and is told what was measured there. A figure is the
median over seeds of the trials until (median - y) / (median - best) reaches 0.95 of a table.

Every table is played with the same settings: those that the optimiser of `lineside tune` comes with. Rows are all that may be asked
for, so a row counts with its noise. Beside it: random rows, and a plain Gaussian process (one length scale for all inputs, squared
exponential, by maximum likelihood, expected improvement) from the same first rows.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from edge import LinesideError

from ..process.gp import WINDING, Points, Process
from ..process.quantity import normal_cdf
from ..process.space import Input, Space

PARTS = ("config.json", "data.csv")  # of a table
SEEDS, FIRST, MOST, ENOUGH = 20, 3, 60, 0.95


@dataclass(frozen=True)
class Table:
    """`x` float64[n, d] in the unit cube, `y` float64[n], the higher the better."""

    name: str
    x: np.ndarray
    y: np.ndarray

    def share(self) -> np.ndarray:
        """How far each row is from the median to the best, float64[n]."""
        middle = float(np.median(self.y))
        return (self.y - middle) / (float(self.y.max()) - middle)


def evaluated(data: Path, to: TextIO | None) -> dict[str, Any]:
    """The optimiser of `lineside tune`, beside chance and a plain Gaussian process. Raises LinesideError."""
    return figures(data, to, {"trials": Tuned, "random": Chance, "plain_gp": Plain})


def figures(
    data: Path, to: TextIO | None, players: dict[str, Any], seeds: int = SEEDS, most: int = MOST
) -> dict[str, Any]:
    tables, missing = read(data)
    told: dict[str, Any] = {}
    for table in tables:
        row: dict[str, Any] = {}
        for name, player in players.items():
            found = [played(table, player, seed, most) for seed in range(seeds)]
            row[name] = float(np.median([trials for trials, _ in found]))
            if name == "trials":
                row["within_25"] = float(np.mean([trials <= 25 for trials, _ in found]))
                row["best_of_25"] = round(float(np.median([best for _, best in found])), 3)
            if to:
                for seed, (trials, best) in enumerate(found):
                    line = {
                        "table": table.name,
                        "player": name,
                        "seed": seed,
                        "trials": trials,
                        "best_of_25": round(best, 4),
                    }
                    to.write(json.dumps(line) + "\n")
        told[table.name] = row
    reached = sum(row["trials"] <= 25 for row in told.values())
    note = f"{most + 1} stands for more than {most}"
    return {"tables": told, "at_most_25": reached, "of": len(tables), "seeds": seeds, "note": note, "missing": missing}


def read(data: Path) -> tuple[list[Table], list[str]]:
    """The tables of a folder, and what is absent of those that summary.csv lists. Raises LinesideError."""
    parts = {path.parent for name in PARTS for path in data.glob(f"*/{name}")}
    lacking = [f"{folder.name}/{name}" for folder in sorted(parts) for name in PARTS if not (folder / name).is_file()]
    tables = [_table(folder) for folder in sorted(parts) if all((folder / name).is_file() for name in PARTS)]
    listed: list[str] = []
    if (data / "summary.csv").is_file():
        with (data / "summary.csv").open(encoding="utf-8", newline="") as file:
            listed = [row["dataset"] for row in csv.DictReader(file) if row.get("dataset")]
    absent = [] if listed else ["summary.csv"]
    return tables, [*sorted(set(listed) - {folder.name for folder in parts}), *lacking, *absent]


def _table(folder: Path) -> Table:
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        inputs = [Input(one["name"], float(one["low"]), float(one["high"])) for one in config["parameters"]]
        maximise = str(config["default_goal"]).startswith("max")
        rows = np.loadtxt(folder / "data.csv", delimiter=",", ndmin=2)
        if rows.shape[1] != len(inputs) + 1 or not np.isfinite(rows).all():
            raise ValueError(f"data.csv does not hold {len(inputs) + 1} numbers in each row")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LinesideError(f"{folder}: {error}") from None
    return Table(folder.name, Space(inputs).unit(rows[:, :-1]), rows[:, -1] * (1 if maximise else -1))


def played(table: Table, player: Any, seed: int, most: int = MOST) -> tuple[int, float]:
    """Trials until one is good enough (most + 1 where none is), and how good the best of the first 25 is."""
    rng = np.random.default_rng([seed, 29])
    share, tried = table.share(), [int(rng.integers(len(table.y)))]
    mind = player(table.x.shape[1], rng)
    while share[tried[-1]] < ENOUGH and len(tried) < most:
        left = np.setdiff1d(np.arange(len(table.y)), tried)
        if not len(left):
            break
        if len(tried) < FIRST:
            far = ((table.x[left][:, None] - table.x[tried][None]) ** 2).sum(-1).min(1)
            some = rng.random(len(left)) < max(0.25, 100 / len(left))
            at = int(np.where(some, far, -1).argmax())
        else:
            at = mind.next(table.x[tried], table.y[tried], table.x[left])
        tried.append(int(left[at]))
    done = bool(share[tried[-1]] >= ENOUGH)
    return len(tried) if done else most + 1, float(share[tried[:25]].max())


class Chance:
    def __init__(self, inputs: int, rng: np.random.Generator) -> None:
        self._rng = rng

    def next(self, x: np.ndarray, y: np.ndarray, left: np.ndarray) -> int:
        return int(self._rng.integers(len(left)))


class Tuned:
    """The process of `lineside tune`. Rows cannot be asked for again, so what one gives counts with its noise."""

    def __init__(self, inputs: int, rng: np.random.Generator) -> None:
        self._process = Process(inputs, rng, WINDING)

    def next(self, x: np.ndarray, y: np.ndarray, left: np.ndarray) -> int:
        self._process.tell(Points.at(x), y, float(y.mean()), float(y.std()) or 1.0)
        mean, spread = self._process.foretell(Points.at(left))
        return int(
            improvement(mean, np.hypot(spread, self._process.noise()[:, None]), float(y.max())).mean(axis=0).argmax()
        )


def improvement(mean: np.ndarray, spread: np.ndarray, best: float) -> np.ndarray:
    """Expected improvement (Jones et al., Journal of Global Optimization 13, 1998)."""
    z = (mean - best) / spread
    return np.asarray(spread * (z * normal_cdf(z) + np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)))


class Plain:
    """One length scale and one share of noise, the likeliest of a grid."""

    def __init__(self, inputs: int, rng: np.random.Generator) -> None:
        self._grid = [(scale, noise) for scale in np.geomspace(0.05, 3, 12) for noise in (1e-4, 1e-3, 1e-2, 1e-1)]

    def next(self, x: np.ndarray, y: np.ndarray, left: np.ndarray) -> int:
        standard = (y - y.mean()) / (float(y.std()) or 1.0)
        apart, across = _squares(x, x), _squares(x, left)
        likeliest, chosen = -np.inf, (1.0, np.eye(len(y)))
        for scale, noise in self._grid:
            low = np.linalg.cholesky(np.exp(-apart / (2 * scale**2)) + noise * np.eye(len(y)))
            likely = -0.5 * (np.linalg.solve(low, standard) ** 2).sum() - np.log(np.diagonal(low)).sum()
            if likely > likeliest:
                likeliest, chosen = float(likely), (scale, low)
        scale, low = chosen
        part = np.linalg.solve(low, np.exp(-across / (2 * scale**2)))
        mean = part.T @ np.linalg.solve(low, standard)
        spread = np.sqrt(np.maximum(1 - (part**2).sum(axis=0), 1e-10))
        return int(improvement(mean, spread, float(standard.max())).argmax())


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(((a[:, None] - b[None]) ** 2).sum(axis=-1))
