"""`lineside model import FILE --out PACKAGE`: a network that others exported becomes a package, or is refused in words."""

from __future__ import annotations

import argparse
import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge import LinesideError

from ..vision.adopt import Terms, adopt
from ..vision.card import lines
from ..vision.graph import RANGES, TASKS, Range, Wishes
from ..vision.parity import Bounds

HELP = "make a package from a network that others exported (.onnx, .tflite)"
OUTPUTS = ("boxes", "scores", "labels", "masks", "rows", "corners", "unit")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="model.onnx or model.tflite")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="PACKAGE", help="folder of the package; must not be there yet"
    )
    parser.add_argument(
        "--labels",
        default="",
        metavar="A,B,...|FILE",
        help="names of its classes in their order, or a file with one a line; of a classifier the first is the "
        "good part; a heat map has none",
    )
    parser.add_argument(
        "--samples", type=Path, metavar="FOLDER", help="pictures to try it on, best with and without defects"
    )
    parser.add_argument(
        "--good",
        type=Path,
        metavar="FOLDER",
        help="of a heat map: pictures of good parts alone; what is no worse than the worst of them is OK",
    )
    parser.add_argument(
        "--float",
        type=Path,
        metavar="FILE",
        help="the file of floats that this one of integers was made from: they have to agree",
    )
    parser.add_argument(
        "--parity",
        default="0.25,0.05,0.02",
        metavar="WORST,MEAN,SHARE",
        help="how far scores may differ at most and in the mean, and which share of the verdicts (default: 0.25,0.05,0.02)",
    )
    parser.add_argument("--task", choices=TASKS, default="", help="what it does; default: what its outputs say")
    parser.add_argument("--size", metavar="H,W", help="of the picture it takes, where its file leaves that open")
    parser.add_argument(
        "--normalise",
        metavar="HOW",
        help=f"how its training scaled a picture: {', '.join(RANGES)}, or M,M,M/S,S,S; default: what its file says",
    )
    parser.add_argument("--colour", choices=("rgb", "bgr"), default="rgb", help="order of its channels (default: rgb)")
    parser.add_argument(
        "--gives", metavar="boxes=NAME,...", help=f"which output is what: {', '.join(OUTPUTS)}; default: what they say"
    )
    parser.add_argument(
        "--first",
        type=int,
        choices=(0, 1),
        help="number of the first label; 1 where 0 is the background; asked where the layout does not say it",
    )
    parser.add_argument(
        "--full",
        type=float,
        default=0.0,
        metavar="NUMBER",
        help="of a heat map: what it says where the score is 1; default: from --good",
    )
    parser.add_argument("--ng", type=float, default=0.5, metavar="SCORE", help="NG from this score on (default: 0.5)")
    parser.add_argument("--ok", type=float, default=0.2, metavar="SCORE", help="OK below this score (default: 0.2)")
    parser.add_argument("--takt", type=float, default=1.0, metavar="S", help="seconds a picture may take (default: 1)")
    parser.add_argument("--licence", default="not stated", help="of the weights, for the card")
    parser.add_argument("--trained-on", default="not stated", metavar="DATA", help="for the card")
    parser.add_argument("--json", action="store_true", help="the figures as one JSON object, the last line")


def run(options: argparse.Namespace) -> int:
    if options.out.exists():
        raise LinesideError(f"{options.out} is there already", hint="name another folder: a package is never changed")
    for folder in (options.samples, options.good):
        if folder and not folder.is_dir():
            raise LinesideError(f"there is no folder {folder}")
    if options.good and options.full:
        raise LinesideError("--good and --full both say where OK ends", hint="leave one of them away")
    if not 0 < options.ok <= options.ng < 1:
        raise LinesideError(f"--ok {options.ok:g} and --ng {options.ng:g}: wanted is 0 < ok <= ng < 1")
    if not 0 <= options.full < 1e9:
        raise LinesideError(f"--full {options.full:g}: wanted is a number above 0")
    if not 0.001 <= options.takt <= 3600:
        raise LinesideError(f"--takt {options.takt:g}: wanted are 0.001 to 3600 seconds")
    wishes = Wishes(
        labels_in(options.labels) if options.labels else [],
        options.task,
        size_in(options.size) if options.size else None,
        range_in(options.normalise) if options.normalise else None,
        options.colour,
        gives_in(options.gives) if options.gives else {},
        options.first,
        options.full,
    )
    if options.float and not options.samples:
        raise LinesideError("--float: the two are compared on pictures", hint="say --samples FOLDER")
    terms = Terms(
        options.ng,
        options.ok,
        options.takt,
        options.licence,
        options.trained_on,
        options.samples,
        options.good,
        options.float,
        bounds_in(options.parity),
    )
    figures = adopt(options.file, options.out, wishes, terms, datetime.now(UTC), _say)
    print(json.dumps(figures) if options.json else words(options.out, figures))
    return 0


def words(out: Path, figures: dict[str, Any]) -> str:
    tool = {"objects": "detect", "classify": "classify", "heatmap": "heatmap"}[figures["task"]]
    told = [f"{out}: {lines(figures)[0]}", *lines(figures)[1:]]
    return "\n".join(
        [*told, f"use it in a recipe: {{tool: {tool}, model: {out.name}}}; all figures: {out / 'figures.json'}"]
    )


def labels_in(text: str) -> list[str]:
    """Of `a,b,c`, or of a file with one a line."""
    path = Path(text)
    if "," not in text and path.is_file():
        if path.stat().st_size > 2**20:
            raise LinesideError(f"{path} is too large for a list of labels")
        found = [line.strip() for line in path.read_text("utf-8", errors="replace").splitlines()]
        found = [line for line in found if line]
    else:
        found = [word.strip() for word in text.split(",")]
    if not all(found) or not found or len(found) > 4096:
        raise LinesideError(f"--labels {text}: wanted are names, as in good,scratch,dent, or a file with one a line")
    if len(set(found)) < len(found):
        twice = next(name for name in found if found.count(name) > 1)
        raise LinesideError(f"--labels: {twice!r} stands there twice")
    return found


def size_in(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})[,x](\d{1,5})", text)
    if not match:
        raise LinesideError(f"--size {text}: wanted is HEIGHT,WIDTH, as in 480,640")
    return int(match[1]), int(match[2])


def range_in(text: str) -> Range:
    if text in RANGES:
        return RANGES[text]
    try:
        mean, std = ([float(number) for number in part.split(",")] for part in text.split("/"))
    except ValueError:
        raise LinesideError(f"--normalise {text}: wanted is one of {', '.join(RANGES)}, or M,M,M/S,S,S") from None
    if (
        len(mean) != len(std)
        or len(mean) not in (1, 3)
        or not all(0 < s < 1e4 for s in std)
        or not all(abs(m) < 1e4 for m in mean)
    ):
        raise LinesideError(f"--normalise {text}: wanted are one or three means, and as many deviations above 0")
    return 1.0, mean, std


def bounds_in(text: str) -> Bounds:
    try:
        worst, mean, changed = map(float, text.split(","))
    except ValueError:
        worst = mean = changed = -1.0
    if not all(0 <= bound <= 1 for bound in (worst, mean, changed)):
        raise LinesideError(f"--parity {text}: wanted are three numbers from 0 to 1, as in 0.25,0.05,0.02")
    return Bounds(worst, mean, changed)


def gives_in(text: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in text.split(",")]
    found = {key.strip(): value.strip() for key, _, value in pairs}
    if odd := [key for key in found if key not in OUTPUTS or not found[key]]:
        raise LinesideError(f"--gives {text}: {odd[0]!r} is none of {', '.join(OUTPUTS)}, or has no name")
    return found


def _say(text: str) -> None:
    print(f"{text} ...", file=sys.stderr)
