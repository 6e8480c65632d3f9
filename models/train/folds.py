"""What to expect of a folder of single pictures: `make bench-boxes DATA=FOLDER`, or `python -m models.train.folds`.

Its pictures are dealt into five parts, the same ones each time and each with its share of every kind. Five detectors are trained,
each without one of the parts, and judge in int8 the part that they never saw.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ..package import Package, describe
from ..quality.coco import number
from ..vision.detect import Detector
from ..vision.score import Score, Truth
from ..vision.singles import Singles
from .boxes import WIDTH, asked, learned, opened
from .export import LEAST
from .training import prepared


def dealt(singles: Singles, many: int) -> list[list[str]]:
    """The names of each part's pictures."""
    order = sorted(singles.ids, key=lambda name: (singles.types(name)[:1], number(name)))
    return [sorted(order[part::many]) for part in range(many)]


def judged(folder: Path, singles: Singles, names: list[str]) -> tuple[list[np.ndarray], list[Truth]]:
    detector = Detector(Package(folder, describe(folder)), LEAST)
    found, truth = [], []
    for single in (singles[name] for name in names):
        found.append(detector(single.part, None))
        truth.append((single.boxes, np.array([singles.labels.index(kind) for kind in single.types], int)))
    return found, truth


def told(found: list[np.ndarray], truth: list[Truth], singles: Singles) -> dict[str, Any]:
    score = Score(found, truth, singles.labels, singles.enough)
    each = {label: round(ap, 2) for label, ap in score.by_type().items()}
    return {"pictures": len(found), "boxes": score.boxes, "mAP": round(score.mean(), 2), "AP": each}


def run(options: argparse.Namespace, parser: argparse.ArgumentParser, singles: Singles) -> dict[str, Any]:
    parts, each = dealt(singles, options.folds), []
    found: list[np.ndarray] = []
    truth: list[Truth] = []
    for fold in options.only or range(1, options.folds + 1):
        mine = copy.copy(options)
        mine.out, mine.checkpoint = options.out / f"fold-{fold}", options.out / f"fold-{fold}.pt"
        prepared(parser, mine, WIDTH)
        mine.go_on = options.go_on and mine.checkpoint.exists()
        print(f"fold {fold} of {options.folds}", file=sys.stderr)
        rest = [name for part, names in enumerate(parts, 1) if part != fold for name in names]
        refused = learned(mine, singles, sorted(rest))
        one = judged(mine.out, singles, parts[fold - 1])
        found, truth = found + one[0], truth + one[1]
        each.append({"fold": fold, **told(*one, singles), "refused": bool(refused)})
        print(json.dumps(each[-1]), flush=True)
    mean = float(np.mean([one["mAP"] for one in each]))
    return {
        "data": options.data.name,
        "overlap": singles.enough,
        "folds": each,
        "mAP_mean": round(mean, 2),
        "pooled": told(found, truth, singles),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m models.train.folds", description="train and test on parts of a folder by turns"
    )
    asked(parser)
    parser.add_argument("--folds", type=int, choices=range(2, 21), default=5, metavar="2..20")
    parser.add_argument("--only", type=int, nargs="+", metavar="N", help="these folds of them")
    options = parser.parse_args()
    if options.only and not set(options.only) <= set(range(1, options.folds + 1)):
        parser.error(f"--only {' '.join(map(str, options.only))}: there are folds 1 to {options.folds}")
    singles = opened(parser, options)
    options.out = options.out or Path("build/folds") / options.data.name
    options.licence = options.licence or "that of its pictures"
    print(json.dumps(run(options, parser, singles)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
