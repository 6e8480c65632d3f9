"""Template comparison on recorded board pairs: picture precision and recall, box recall, milliseconds a pair.

    python -m tests.bench.deeppcb DATA [--training] [--pairs N] [--tolerance T --area A ...]

`tile_auroc`: how well the strength of the strongest difference that touches a tile of 80 x 80 tells the tiles with the middle of a
labelled box in them from those that no box touches; nothing is learned. Every template is judged as a good part too, shifted by
1 to 2 px with seeded noise.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import fields, replace
from pathlib import Path

import cv2
import numpy as np

from models.vision.compare import Rules, compare
from tests.real.deeppcb import good_part, pairs, recalled

TILE = 80


def tiles(
    found: np.ndarray, strengths: np.ndarray, labelled: np.ndarray, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """float64[rows, columns], the strongest difference of each tile, and its truth: 0 good, 2 defective, 1 touched by a box."""
    size = (-(-shape[0] // TILE), -(-shape[1] // TILE))
    score, truth = np.zeros(size), np.zeros(size, int)
    for (x0, y0, x1, y1), strength in zip(found, strengths, strict=True):
        part = score[y0 // TILE : (y1 - 1) // TILE + 1, x0 // TILE : (x1 - 1) // TILE + 1]
        np.maximum(part, strength, out=part)
    for x0, y0, x1, y1 in labelled:
        truth[y0 // TILE : y1 // TILE + 1, x0 // TILE : x1 // TILE + 1] = 1
    for x0, y0, x1, y1 in labelled:
        truth[(y0 + y1) // 2 // TILE, (x0 + x1) // 2 // TILE] = 2
    return score, truth


def auroc(good: np.ndarray, bad: np.ndarray) -> float:
    """The chance that a bad one scores higher than a good one; equal scores count half."""
    order = np.sort(good)
    below = np.searchsorted(order, bad, "left") + np.searchsorted(order, bad, "right")
    return float(below.sum() / (2 * len(good) * len(bad)))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--training", action="store_true")
    parser.add_argument("--pairs", type=int)
    for field in fields(Rules):
        parser.add_argument(f"--{field.name}", type=int, default=field.default)
    options = parser.parse_args()
    rules = Rules(**{field.name: getattr(options, field.name) for field in fields(Rules)})
    cv2.setNumThreads(1)
    hit = false = missed = boxes = found = extra = 0
    took = []
    exact = replace(rules, join=0, margin=-rules.tolerance, area=1)
    scores: dict[int, list[float]] = {0: [], 1: [], 2: []}
    for index, pair in enumerate(pairs(options.data, options.training, options.pairs)):
        part, template = pair.read()
        began = time.perf_counter()
        bad = compare(part, template, rules)
        took.append(time.perf_counter() - began)
        one = compare(part, template, exact)
        for score, true in zip(*map(np.ravel, tiles(one.boxes, one.strengths, pair.boxes, part.shape)), strict=True):
            scores[int(true)].append(float(score))
        good = compare(good_part(template, index), template, rules)
        hit, missed = hit + bool(len(bad.boxes)), missed + (not len(bad.boxes))
        false += bool(len(good.boxes))
        got = recalled(pair.boxes, bad.boxes)
        found, boxes, extra = found + got, boxes + len(pair.boxes), extra + len(bad.boxes) - got
    print(
        json.dumps(
            {
                "precision": round(hit / max(1, hit + false), 4),
                "recall": round(hit / (hit + missed), 4),
                "box_recall": round(found / max(1, boxes), 4),
                "extra_boxes": extra,
                "boxes": boxes,
                "false_parts": false,
                "tile_auroc": round(auroc(np.array(scores[0]), np.array(scores[2])), 4),
                "ms": round(1000 * float(np.median(took)), 2),
                "pairs": hit + missed,
            }
        )
    )


if __name__ == "__main__":
    main()
