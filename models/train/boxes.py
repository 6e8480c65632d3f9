"""Trains a detector on single pictures with boxes: `make train-boxes DATA=FOLDER OUT=FOLDER`, or `python -m models.train.boxes`.

The folder is one of COCO (`annotations.json`, of which each fifth picture is left for `lineside model evaluate`) or has a table
of boxes (models/vision/singles.py). Each twentieth picture is held back from training; on those int8 has to be as good as float,
and the threshold is chosen. `models.train.folds` says what to expect of a folder.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from edge import LinesideError

from ..quality.coco import number
from ..vision.singles import Singles
from .detector import Net, by_overlap
from .export import About, export
from .pieces import Pieces, sample
from .training import Training, arguments, prepared, train

SETTINGS = ("data", "part", "seed", "width", "steps", "crop", "batch", "names")
HELD_BACK, FEWEST = 20, 40  # every 20th picture is for choices; with fewer in all nothing is learned
WIDTH = 1.125
WORSE = 0.5  # mAP that int8 may lose: few pictures are held back, and a single box changes it by more than 0.1


def pieces_of(data: Path, part: str, names: Sequence[str], labels: Sequence[str], side: int) -> Pieces:
    singles = Singles(data, part)
    return Pieces((singles[name] for name in names), labels, side)


def learned(options: argparse.Namespace, singles: Singles, names: Sequence[str]) -> int:
    """Train on these pictures of a folder and write the package; 1 where the gate refuses it. Raises LinesideError."""
    labels, side = singles.labels, options.crop
    held, rest = names[::HELD_BACK], [name for number, name in enumerate(names) if number % HELD_BACK]
    options.names, options.part = number(*names), singles.part
    run = Training(options, partial(Net, options.width, len(labels), 1, True), SETTINGS, by_overlap)
    if options.go_on:
        run.restore()
    train(run, partial(pieces_of, options.data, singles.part, rest, labels, side))
    about = About(
        "defects on single pictures",
        f"{len(rest)} pictures of {options.data.name}",
        labels,
        (side, side),
        {"alone": "true", "fit": "scale"},
        look=side,
        worse=WORSE,
        enough=singles.enough,
    )
    of = partial(sample, labels=labels, side=side)
    return export(run, [of(singles[name]) for name in held], about, (of(singles[name]) for name in rest))


def opened(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Singles:
    """The folder's pictures, each of which was read once. Ends in words where there is something wrong: now, not after hours."""
    try:
        options.data = options.data.resolve()
        singles = Singles(options.data, options.part)
        sides = [max(single.part.shape) for single in singles]
    except LinesideError as error:
        parser.error(f"--data {options.data}: {error}")
    if singles.missing:
        print(
            f"left out, since they are not there or not drawn whole: {len(singles.missing)} pictures", file=sys.stderr
        )
    if len(singles) < FEWEST or not singles.labels:
        parser.error(
            f"--data {options.data}: {len(singles)} pictures, {len(singles.labels)} kinds of boxes; {FEWEST} pictures are the least"
        )
    options.crop = options.crop or int(np.clip(round(float(np.median(sides)) / 32) * 32, 96, 640))
    return singles


def asked(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, metavar="FOLDER", required=True, help="pictures and boxes, see docs/models.md"
    )
    parser.add_argument("--part", help="of a folder with several tables of boxes (default: the only one)")
    arguments(parser, steps=6000, width=f"{WIDTH:g}", weights=1.3)
    parser.add_argument(
        "--size",
        dest="crop",
        type=int,
        choices=range(96, 1025, 32),
        metavar="96..1024",
        default=0,
        help="side of the network's picture, a multiple of 32; pictures are scaled to it (default: as they are, 640 at most)",
    )
    parser.add_argument(
        "--views",
        type=int,
        choices=range(1, 9),
        default=4,
        metavar="1..8",
        help="ways in which a doubtful picture is looked at",
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m models.train.boxes", description="train a detector on single pictures with boxes"
    )
    asked(parser)
    options = parser.parse_args()
    singles = opened(parser, options)
    options.out = options.out or Path("build/packages") / options.data.name
    options.licence = options.licence or "that of its pictures"
    prepared(parser, options, WIDTH)
    return learned(options, singles, singles.ids)


if __name__ == "__main__":
    sys.exit(main())
