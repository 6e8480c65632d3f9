"""Template comparison on recorded board pairs: picture precision and recall, box recall, milliseconds a pair.

    python -m tests.bench.deeppcb DATA [--training] [--pairs N] [--tolerance T --area A ...]

Every template is judged as a good part too, shifted by 1 to 2 px with seeded noise.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np

from models.vision.compare import Rules, compare
from tests.real.deeppcb import good_part, pairs, recalled


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
    for index, pair in enumerate(pairs(options.data, options.training, options.pairs)):
        part, template = pair.read()
        began = time.perf_counter()
        bad = compare(part, template, rules)
        took.append(time.perf_counter() - began)
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
                "ms": round(1000 * float(np.median(took)), 2),
                "pairs": hit + missed,
            }
        )
    )


if __name__ == "__main__":
    main()
