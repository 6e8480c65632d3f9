"""The safe optimiser on the simulated dispenser, each run another machine, from a start that is safe and far from good.

    python -m tests.bench.dispenser [RUNS] [--first SEED] [--measured] [--after] [--kept FILE]

One JSON object. `worth` is the virtual tag of configs/dispenser.yaml; the thread may be 0.2 mm at most. `reached` is the share of
runs whose best settings after 25 trials are worth 95 % of the best there are at that moment, both without noise; `chance` is what
the best of 25 random allowed settings is worth. A run is 25 trials of one lot each, at most two settings changed between two.
`--measured`: the thread as measured has to keep the limit, noise and all. `--first`: seeds from there on.
`--after`: each machine learns from the 25 trials of another one first.
`--kept`: a line per run is appended to this file, and a run that it holds is not played again: so it may be broken off.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from drivers.dispenser.plant import INPUTS, INTERLOCKS, OUTPUTS, START, Plant, outside, tripped
from edge import compile_expression, load_site
from models.process.space import Input, Space
from models.process.task import Aim, Limit, Task
from models.process.tuner import Tuner

SITE = Path(__file__).parents[2] / "configs" / "dispenser.yaml"
THREAD = 0.2
LOW, HIGH = np.array(list(INPUTS.values())).T
WORTH = compile_expression(load_site(SITE).virtual["worth"].expression).evaluate
OTHER = 500  # seeds from a machine to the other one
TRIALS, SHOWN = 25, (1, 5, 10, 15, 20, 25)
START_AT = np.array(list(START.values()))
TASK = Task(
    Space([Input(name, *bounds) for name, bounds in INPUTS.items()], INTERLOCKS),
    Aim([f"glue.{name}" for name in OUTPUTS if name != "thread"], WORTH),
    [Limit("glue.thread", at_most=THREAD)],
)
_CLOUD = np.random.default_rng(5).random((20_000, len(INPUTS)))


def worth(made: np.ndarray) -> np.ndarray:
    """float64[n] of outputs float64[n, 4]."""
    return WORTH({f"glue.{name}": made[:, k] for k, name in enumerate(OUTPUTS)})


def allowed(plant: Plant, x: np.ndarray) -> np.ndarray:
    """Where neither a range, nor an interlock, nor the thread is broken without noise, bool[n]."""
    return ~outside(x) & ~tripped(x) & (plant.truth(x)[:, 2] <= THREAD)


def best(plant: Plant) -> tuple[np.ndarray, float]:
    """The best allowed settings of the machine as it is now, and what they are worth without noise: a cloud over all, then clouds
    that shrink round the best."""
    middle, width = (LOW + HIGH) / 2, HIGH - LOW
    top, at = -np.inf, middle
    for turn in range(12):
        cloud = _CLOUD if turn == 0 else _CLOUD[:4000]
        x = np.clip(at + (cloud - 0.5) * width * 0.6**turn, LOW, HIGH)
        value = np.where(allowed(plant, x), worth(plant.truth(x)), -np.inf)
        if value.max() > top:
            top, at = float(value.max()), x[value.argmax()]
    return at, top


@dataclass
class Run:
    """Of one machine: `share` of the best after the trials SHOWN; how many trials broke the limit, without noise and measured, and
    how many ranges or interlocks (the states while settings are written too)."""

    share: list[float]
    broken: int
    measured: int
    forbidden: int


Trials = list[tuple[np.ndarray, dict[str, float]]]  # settings, and what they made


def course(
    seed: int, trials: int, task: Task, known: Trials
) -> Iterator[tuple[Plant, Tuner, np.ndarray, float, dict[str, float]]]:
    """After each trial of a machine: it, its tuner, the settings, their true thread, what they made. `known`: trials of another."""
    plant, x = Plant(seed), START_AT
    tuner = Tuner(task, np.random.default_rng([seed, 3]))
    for there, made in known:
        tuner.remember(there, made)
    for trial in range(trials):
        x = tuner.ask(x, trials - trial).x if trial else x
        thread = float(plant.truth(x[None])[0, 2])
        made = {f"glue.{name}": value for name, value in zip(OUTPUTS, plant.lot(x).tolist(), strict=True)}
        tuner.tell(x, made)
        yield plant, tuner, x, thread, made


def tuned(seed: int, trials: int = TRIALS, task: Task = TASK, known: Trials | None = None) -> Run:
    run, before = Run([], 0, 0, 0), START_AT
    for trial, (plant, tuner, x, thread, made) in enumerate(course(seed, trials, task, known or []), 1):
        for state in _states(before, x):
            run.forbidden += int(outside(state[None])[0] or tripped(state[None])[0])
        before = x
        run.broken += int(thread > THREAD)
        run.measured += int(made["glue.thread"] > THREAD)
        if trial in SHOWN:
            found = tuner.best().x[None]
            run.share.append(float(worth(plant.truth(found))[0]) / best(plant)[1] if allowed(plant, found)[0] else 0.0)
    return run


def _states(now: np.ndarray, then: np.ndarray) -> list[np.ndarray]:
    """What the machine is set to, one write after another."""
    states = [now]
    for which in TASK.space.order(now, then) or []:
        states.append(states[-1].copy())
        states[-1][which] = then[which]
    return [*states, then]


def by_chance(seed: int) -> float:
    """What the best of as many random settings is worth, of which what is not allowed counts nothing; a share of the best."""
    plant, rng = Plant(seed), np.random.default_rng(seed)
    tried = LOW + rng.random((TRIALS, len(INPUTS))) * (HIGH - LOW)
    return float(np.where(allowed(plant, tried), worth(plant.truth(tried)), 0.0).max()) / best(plant)[1]


def played(seeds: range, task: Task, kept: Path | None, after: bool) -> Iterator[tuple[Run, float]]:
    """Each run, with what chance gives. Of those that `kept` holds the lines are taken; new ones are appended."""
    lines = kept.read_text().splitlines() if kept and kept.exists() else []
    known = {row["seed"]: row for row in map(json.loads, lines)}
    for number, seed in enumerate(seeds, 1):
        row = known.get(seed)
        if row is None:
            other = [(x, made) for _, _, x, _, made in course(seed + OTHER, TRIALS, TASK, [])] if after else []
            row = {"seed": seed, "chance": by_chance(seed), **asdict(tuned(seed, task=task, known=other))}
            if kept:
                with kept.open("a") as file:
                    file.write(json.dumps(row) + "\n")
        yield Run(row["share"], row["broken"], row["measured"], row["forbidden"]), row["chance"]
        if sys.stderr.isatty():
            print(f"\r{number} of {len(seeds)}", end="", file=sys.stderr)


def main(runs: int, first: int, kept: Path | None, *, measured: bool, after: bool) -> None:
    task = replace(TASK, limits=[replace(limit, measured=measured) for limit in TASK.limits])
    found, chance = zip(*played(range(first, first + runs), task, kept, after), strict=True)
    share = np.array([run.share for run in found])
    trials = runs * TRIALS
    told = {
        "start": np.median(share[:, 0]),
        "chance": np.median(chance),
        **{f"after_{n}": np.median(share[:, k]) for k, n in enumerate(SHOWN) if n > 1},
        "tenth_of_runs_below": np.quantile(share[:, -1], 0.1),
        "reached": np.mean(share[:, -1] >= 0.95),
        "reached_90": np.mean(share[:, -1] >= 0.90),
        "limit_kept": 1 - sum(run.broken for run in found) / trials,
        "limit_kept_as_measured": 1 - sum(run.measured for run in found) / trials,
        "forbidden": sum(run.forbidden for run in found),
    }
    print(
        json.dumps(
            {
                "bench": "dispenser",
                "runs": runs,
                "first": first,
                "measured": measured,
                "after": after,
                **{k: round(float(v), 4) for k, v in told.items()},
            }
        )
    )


if __name__ == "__main__":
    asked = argparse.ArgumentParser()
    asked.add_argument("runs", type=int, nargs="?", default=100)
    asked.add_argument("--first", type=int, default=0)
    asked.add_argument("--measured", action="store_true")
    asked.add_argument("--after", action="store_true")
    asked.add_argument("--kept", type=Path, metavar="FILE")
    said = asked.parse_args()
    main(said.runs, said.first, said.kept, measured=said.measured, after=said.after)
