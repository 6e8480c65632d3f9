"""`lineside model evaluate PACKAGE --data FOLDER`: average precision, F and speed of a detector on labelled pictures."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from edge import LinesideError, ModelRefused

from ..package import SHIPPED, Detect, Objects, Package, describe, find, load
from ..vision.coco import CocoPairs, pairs_in
from ..vision.detect import Detector, one_thread
from ..vision.objects import ObjectDetector
from ..vision.pairs import Pair, Pairs
from ..vision.score import Score, Truth
from ..vision.singles import Single, Singles, singles_in
from . import curve

LEAST = 0.02  # scores below are no boxes: they would only lengthen the tail of the precision curve
LAYOUT = "PART*.zip (or folder) with GROUP/NUMBER_temp and _test, PART*_list.txt, PART*_boxes.csv; or annotations.json (COCO)"
ALONE = "for a package that needs no template: PART*.zip (or folder) of pictures, PART*_boxes.csv; or annotations.json (COCO)"
Labelled = Pairs | CocoPairs | Singles


def figures_of(options: argparse.Namespace, to: TextIO | None) -> dict[str, Any]:
    """What `options` asks of a package of pictures. Raises LinesideError, ModelRefused."""
    package = load(find(options.package, Path()))
    others = package.description if isinstance(package.description, Objects) else None
    alone = others is not None or package.described(Detect).alone
    colour = others is not None and others.given.channels == 3
    shown = (
        singles_in(options.data, options.part, colour)
        if alone
        else pairs_in(options.data, "test" if options.part is None else options.part)
    )
    return evaluated(package, shown, options.engine, to)


def evaluated(package: Package, pairs: Labelled, engine: str = "", to: TextIO | None = None) -> dict[str, Any]:
    """All figures; those that need boxes are None where nobody drew any. Raises LinesideError. Uses one thread."""
    one_thread()
    model: Detect | Objects
    detector: Detector | ObjectDetector
    if isinstance(package.description, Objects):
        model, detector = package.description, ObjectDetector(package, LEAST, engine)
    else:
        model, detector = package.described(Detect), Detector(package, LEAST, engine)
    found, truth, wall, cpu = [], [], 0.0, 0.0
    each: Iterable[Pair | Single] = pairs
    for done, pair in enumerate(each):
        if not done:
            _judged(detector, pair)  # the first one warms up
        began, busy = time.perf_counter(), time.thread_time()
        found.append(_judged(detector, pair))
        wall, cpu = wall + time.perf_counter() - began, cpu + time.thread_time() - busy
        truth.append(_truth(pair, model.labels))
        if to:
            rows = [
                [*map(_rounded, box[:4]), _rounded(box[4], 5), model.labels[int(box[5])]] for box in found[-1].tolist()
            ]
            to.write(json.dumps({"id": pair.id, "boxes": rows}) + "\n")
        if sys.stderr.isatty():
            print(f"\r{done + 1} of {len(pairs)} pictures", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    figures: dict[str, Any] = {
        "package": model.name,
        "version": model.version,
        "engine": engine or model.engine,
        "views": model.views if isinstance(model, Detect) else 1,
        "pictures": len(pairs),
        "pairs_per_s": round(len(pairs) / wall, 1),
        "pairs_per_cpu_s": round(len(pairs) / max(cpu, 1e-9), 1),
        "threshold": model.ng_above,
        "overlap": pairs.enough,
        "missing": pairs.missing,
    }
    score = Score(found, truth, model.labels, pairs.enough) if pairs.drawn else None
    return figures | _quality(score, model.ng_above)


def _quality(score: Score | None, threshold: float) -> dict[str, Any]:
    if score is None or not score.boxes:
        return dict.fromkeys(("boxes", "mAP", "mAP_pooled", "AP", "precision", "recall", "F"))
    precision, recall, f = score.at(threshold)
    return {
        "boxes": score.boxes,
        "mAP": round(score.mean(), 3),
        "mAP_pooled": round(score.pooled(), 3),
        "AP": {label: round(ap, 3) for label, ap in score.by_type().items()},
        "precision": round(precision, 5),
        "recall": round(recall, 5),
        "F": round(f, 3),
    }


def _judged(detector: Detector | ObjectDetector, pair: Pair | Single) -> np.ndarray:
    try:
        return detector(pair.part, pair.template)
    except ValueError as error:
        raise LinesideError(f"{pair.id}: {error}") from None


def _truth(pair: Pair | Single, labels: list[str]) -> Truth:
    unknown = set(pair.types) - set(labels)
    if unknown:
        raise LinesideError(
            f"{pair.id} has boxes of type {', '.join(sorted(unknown))}; the package knows {', '.join(labels)}"
        )
    return pair.boxes, np.array([labels.index(kind) for kind in pair.types], int)


def _rounded(x: float, digits: int = 2) -> float:
    return round(x, digits)


def listed() -> list[dict[str, Any]]:
    """What can be evaluated here, and which packages are shipped for it."""
    packages = []
    for path in sorted(SHIPPED.glob("*/model.yaml")):
        with contextlib.suppress(ModelRefused):
            if isinstance(described := describe(path.parent), Detect):
                packages.append(described.name)
    names = ["mAP", "mAP_pooled", "AP", "precision", "recall", "F", "pairs_per_s"]
    return [{"task": "detect", "data": [LAYOUT, ALONE], "figures": names, "packages": packages}, curve.LISTED]


def words(figures: Mapping[str, Any]) -> str:
    lines = [
        f"{figures['package']} version {figures['version']} on {figures['pictures']} pictures, engine {figures['engine']}"
    ]
    if figures["mAP"] is None:
        lines.append("no boxes were drawn: nothing to compare with")
    else:
        lines.append(
            f"mAP {figures['mAP']:.2f} %, pooled {figures['mAP_pooled']:.2f} % of {figures['boxes']} boxes, "
            f"overlap above {figures['overlap']:g}"
        )
        lines += [f"  {label:16} {ap:6.2f} %" for label, ap in figures["AP"].items() if not math.isnan(ap)]
        told = f"F {figures['F']:.2f} % at {figures['threshold']:g}"
        lines.append(f"{told}: precision {figures['precision']:.4f}, recall {figures['recall']:.4f}")
    lines.append(f"{figures['pairs_per_s']:.0f} pairs/s on one thread, picture to verdict")
    if figures["missing"]:
        lines.append(f"missing: {', '.join(figures['missing'])}")
    return "\n".join(lines)
