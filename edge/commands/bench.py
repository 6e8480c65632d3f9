"""`lineside bench [NAME]`: measure this board."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..bench import blocks, cameras, ingest, many, month, opcua, small
from ..errors import LinesideError

HELP = "measure this board; each value beside a baseline of the same run"
BENCHES: dict[str, Callable[[argparse.Namespace], dict[str, object]]] = {
    "codec": blocks.codec,
    "start": small.start,
    "ingest": ingest.measure,
    "ingest_float32": partial(ingest.measure, kind="float32"),
    "memory": small.memory,
    "month": month.month,
    "opcua": opcua.opcua,
    "load_10k": many.load_10k,
    "memory_10k": many.memory_10k,
    "grid": many.grid,
    **cameras.BENCHES,
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="*", help=f"one or more of {', '.join(BENCHES)} (default: all)")
    parser.add_argument(
        "--json", action="store_true", help="one JSON object per line, and nothing else, on standard output"
    )
    parser.add_argument("--seconds", type=float, help="how long each measures that has a duration")
    parser.add_argument("--data", type=Path, help="codec: on what was recorded in the CSV files below this folder")
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--type", default="int16", help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> int:
    if options.name == ["serve"]:
        asyncio.run(ingest.serve(options.port, options.type))
        return 0
    for name in options.name:
        if name not in BENCHES:
            raise LinesideError(f"no bench is called {name!r}", hint=f"there are {', '.join(BENCHES)}")
    for name in options.name or BENCHES:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        result = BENCHES[name](options)
        shown = {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in result.items()}
        plain = f"{name:<16} {shown['value']:>12,} {shown['unit']:<14} baseline {shown['baseline']:,}, ratio {shown['ratio']}"
        print(json.dumps(shown) if options.json else plain, flush=True)
    return 0
