"""Trains a detector of defects on bare boards: `make train-pcb [DATA=FOLDER] [OUT=FOLDER]`, or `python -m models.train.pcb`.

With DATA on the list `trainval` of a folder laid out like DeepPCB, else on rendered boards alone. Float first (PyTorch), then int8
by our own writer, then the gate: int8 has to be as good as float within 0.1 mAP. All that is chosen (ranges, threshold) is chosen
on what was held back from training; no test list is ever read.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from edge import LinesideError

from ..package import SHIPPED
from . import samples, synth
from .detector import Net
from .export import About, export
from .training import Training, arguments, prepared, train

SETTINGS = ("data", "seed", "width", "steps", "crop", "batch")


def about(data: Path | None) -> About:
    said = (
        "the training list of DeepPCB and defects drawn onto it" if data else "rendered boards alone, no real picture"
    )
    return About("six defects of bare boards", said, synth.LABELS, lines={"level": 128})


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m models.train.pcb", description="train a detector of defects on bare boards"
    )
    parser.add_argument(
        "--data", type=Path, metavar="FOLDER", help="laid out like DeepPCB; default: rendered boards alone"
    )
    arguments(parser, steps=24_000, width="1, on rendered boards 0.75", weights=0.41)
    parser.add_argument("--crop", type=int, choices=(128, 192, 256, 320, 384), default=256, help="side of a piece")
    parser.add_argument(
        "--views", type=int, choices=range(1, 9), metavar="1..8", default=8, help="of doubtful places, at work"
    )
    options = parser.parse_args()
    if options.data:
        options.data = options.data.resolve()
        try:  # now, not after hours
            next(samples.held_back(options.data))
        except (LinesideError, ValueError) as error:
            parser.error(f"--data {options.data}: {error}")
    options.out = options.out or (Path("build/packages/pcb-deeppcb") if options.data else SHIPPED / "pcb-rendered")
    options.licence = options.licence or ("research only, not to be passed on" if options.data else "Apache-2.0")
    prepared(parser, options, 1.0 if options.data else 0.75)
    run = Training(options, partial(Net, options.width, len(synth.LABELS)), SETTINGS)
    if options.go_on:
        run.restore()
    source = partial(samples.Recorded, options.data) if options.data else samples.Rendered
    train(run, partial(source, crop=options.crop))
    return export(run, list(samples.held_back(options.data)), about(options.data))


if __name__ == "__main__":
    sys.exit(main())
