"""`lineside model curve --data FOLDER`: how well a texture is taught from 5, from 20 and from all good parts of a sorted folder."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from edge import LinesideError

from ..vision.curve import Curve
from ..vision.detect import one_thread
from ..vision.sorted_parts import LAYOUT, sorted_parts
from ..vision.teaching import FEWEST
from ..vision.texture import unfit

HELP = "what teaching a texture (teach --texture) is worth on sorted pictures, by how many good parts teach"
LISTED: dict[str, Any] = {
    "task": "texture",
    "data": LAYOUT,
    "figures": ["auroc", "by_kind", "variation"],
    "command": "lineside model curve --data FOLDER --json",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help=LAYOUT)
    parser.add_argument("--good", default="Free", metavar="KIND", help="the kind of the good parts (default: Free)")
    parser.add_argument("--parts", default="5,20,all", help="how many good parts teach (default: 5,20,all)")
    parser.add_argument("--splits", type=int, choices=range(1, 21), default=3, metavar="N", help="default: 3")
    parser.add_argument("--json", action="store_true", help="figures as one JSON object, the last line")


def run(options: argparse.Namespace) -> int:
    one_thread()
    wanted = [_count(word) for word in options.parts.split(",")]
    pictures, missing = sorted_parts(options.data)
    fit = [picture for picture in pictures if not unfit(picture.image.shape)]
    missing += [f"{one.kind}/{one.name}, left out: {said}" for one in pictures if (said := unfit(one.image.shape))]
    figures = Curve(fit, options.good).figures(wanted, options.splits, _say) | {"missing": missing}
    print(json.dumps(figures) if options.json else words(figures))
    return 0


def _count(word: str) -> int:
    if word == "all":
        return 0
    if not word.isdecimal() or not FEWEST <= int(word) <= 10_000:
        raise LinesideError(f"--parts: {word!r} is no number from {FEWEST} on, nor all", hint="--parts 5,20,all")
    return int(word)


def words(told: dict[str, Any]) -> str:
    """The curve for a person."""
    of = f"{told['good']} pictures of {told['good_parts']} good parts, {told['defective']} of defects"
    lines = [f"{of}; mean of {told['splits']} splits"]
    for row in told["curve"]:
        kinds = ", ".join(f"{kind} {value:.3f}" for kind, value in row["by_kind"].items())
        spread = f"{row['lowest']:.3f} to {row['highest']:.3f}"
        lines.append(
            f"{row['parts']:>4} parts: AUROC {row['auroc']:.3f} ({spread}); {kinds}; variation {row['variation']:.3f}"
        )
    return "\n".join(lines + [f"missing: {one}" for one in told["missing"]])


def _say(text: str) -> None:
    print(text, file=sys.stderr)
