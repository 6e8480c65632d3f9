"""`lineside model evaluate NAME --data FOLDER`: what a package of pictures, or a method on a known benchmark, is worth on a folder
of labelled data."""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path

from edge import LinesideError

from .. import benchmarks

HELP = "figures of a package on labelled pictures, or of a method on a folder laid out like a known benchmark"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "package", nargs="?", metavar="NAME", help="a package's folder, a shipped one, or a method (see --list)"
    )
    told = "labelled pictures, or data laid out like a known benchmark (see --list)"
    parser.add_argument("--data", type=Path, metavar="FOLDER", help=told)
    parser.add_argument("--part", help="which part of the pictures (default: test, or the only one of single pictures)")
    told = "instead of the package's own: tflite, tflite-runtime, onnx"
    parser.add_argument("--engine", default="", metavar="NAME", help=told)
    told = "write each answer, a JSON object per picture, row or unit"
    parser.add_argument("--predictions", type=Path, metavar="FILE.jsonl", help=told)
    parser.add_argument("--json", action="store_true", help="figures as one JSON object, the last line")
    parser.add_argument("--list", action="store_true", help="what can be evaluated, and how its data is laid out")


def run(options: argparse.Namespace) -> int:
    if options.list:
        return _list(options.json)
    if options.package is None or options.data is None:
        hint = "lineside model evaluate NAME --data FOLDER, or --list"
        raise LinesideError("say which package or method, and which data", hint=hint)
    known = benchmarks.named(options.package) and not (Path(options.package) / "model.yaml").is_file()
    if known:
        if options.part or options.engine:
            raise LinesideError(f"--part and --engine are for packages of pictures; {options.package} is a method")
        benchmark = benchmarks.of(options.package, options.data)
    with contextlib.ExitStack() as stack:
        to = None
        if options.predictions:
            try:
                to = stack.enter_context(options.predictions.open("w", encoding="utf-8"))
            except OSError as error:
                raise LinesideError(f"cannot write {options.predictions}: {error.strerror}") from None
        if known:
            figures = benchmarks.evaluated(benchmark, options.package, options.data, to)
            words = benchmarks.words
        else:
            from . import pictures  # which needs the vision extra

            figures = pictures.figures_of(options, to)
            words = pictures.words
    print(json.dumps(figures, allow_nan=False) if options.json else words(figures))
    return 0


def _list(as_json: bool) -> int:
    from . import pictures

    every = [*pictures.listed(), *(one.listed() for one in benchmarks.KNOWN)]
    if as_json:
        print(json.dumps({"evaluations": every}))
        return 0
    for one in every:
        print(f"{one['task']}: {', '.join(one['figures'])}")
        if "command" in one:
            print(f"  {one['command']}")
        for layout in [one["data"]] if isinstance(one["data"], str) else one["data"]:
            print(f"  data: {layout}")
        if "packages" in one:
            print(f"  shipped packages: {', '.join(one['packages']) or 'none'}")
        if "methods" in one:
            print(f"  methods: {', '.join(one['methods'])}")
    return 0
