"""What a few good parts teach: seconds to teach, and verdicts on parts that were never seen.

    python -m tests.bench.taught [--parts 12] [--judge 100]

Parts are the simulated camera's washers, which lie turned any way, under a light that varies; and plates of 640 x 640 for the time.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge import find_part
from models.vision import certificate
from models.vision.detect import one_thread
from models.vision.placing import RegistrationConfig
from models.vision.teaching import learn
from models.vision.tools.contract import View
from models.vision.tools.variation import VariationConfig, VariationTool
from models.vision.variation import Allowance


def taught(
    folder: Path, name: str, parts: list[np.ndarray], place: RegistrationConfig
) -> tuple[VariationTool, dict[str, Any]]:
    began, names = time.monotonic(), [str(k) for k in range(len(parts))]
    lesson = learn(parts, names, place, Allowance())
    told = certificate.write(folder / name, lesson, parts, place, Allowance(), datetime.now(UTC), began, str)
    return VariationTool(VariationConfig(tool="variation", model=name), folder), told


def washers(folder: Path, many: int, judge: int) -> dict[str, Any]:
    parts: Any = find_part("sims", "parts")
    images = [cv2.cvtColor(parts.render(seed), cv2.COLOR_BGR2GRAY) for seed in range(many)]
    tool, told = taught(folder, "washer", images, RegistrationConfig(by="feature", search=30, turn=180))
    seeds = range(2000, 2000 + judge)
    states = {
        kind or "good": Counter(tool(View(parts.render(seed, kind))).state for seed in seeds)
        for kind in ("", *parts.DEFECTS)
    }
    return {
        "parts": many,
        "took_s": told["took_s"],
        "ms": told["ms"],
        **{kind: dict(count) for kind, count in states.items()},
    }


def plates(folder: Path) -> dict[str, Any]:
    """20 parts of 640 x 640: busy boards that lie up to 8 px off, with noise and a light that varies."""
    rng = np.random.default_rng(1)
    board = np.full((700, 700), 60, np.uint8)
    for _ in range(300):
        x, y, w, h = (int(n) for n in (*rng.integers(30, 640, 2), *rng.integers(6, 50, 2)))
        cv2.rectangle(board, (x, y), (x + w, y + h), int(rng.integers(40, 230)), -1)
    parts = []
    for _ in range(20):
        move = np.float32([[1, 0, rng.uniform(-38, -22)], [0, 1, rng.uniform(-38, -22)]])  # type: ignore[arg-type]
        clean = cv2.warpAffine(board, move, (640, 640)).astype(float) * rng.uniform(0.95, 1.05)
        parts.append(np.clip(clean + rng.normal(0, 2, clean.shape), 0, 255).astype(np.uint8))
    _, told = taught(folder, "plate", parts, RegistrationConfig(search=16))
    return {"parts": 20, "size": "640 x 640", "took_s": told["took_s"], "ms": told["ms"], "finds": told["finds"]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--parts", type=int, default=12)
    parser.add_argument("--judge", type=int, default=100)
    options = parser.parse_args()
    one_thread()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps({"plates": plates(Path(folder))}))
        print(json.dumps({"washers": washers(Path(folder), options.parts, options.judge)}))


if __name__ == "__main__":
    main()
