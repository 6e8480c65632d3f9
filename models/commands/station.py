"""`lineside station conform`: the handshake of a station against a PLC with all its moods; `recipes`: what each takes here;
`schema`: the options of a recipe, for editors."""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from edge import LinesideError, load_site

from ..vision.bench import Bench
from ..vision.conform import Outcome, bits, conform
from ..vision.lines import StationConfig
from ..vision.recipe_schema import markdown, schema
from ..vision.shelf import Shelf

HELP = (
    "stations that judge parts: `station conform SITE` tries the handshake, `station recipes SITE` measures the recipes, "
    "`station schema` prints the JSON Schema of a recipe"
)


def arguments(parser: argparse.ArgumentParser) -> None:
    does = parser.add_subparsers(dest="do", required=True, metavar="conform|recipes|schema")
    words = (
        "run the station against a simulated PLC on a real socket, with every fault it has to stand; prints a report"
    )
    one = does.add_parser("conform", help=words, description=words)
    one.add_argument("--log", type=Path, metavar="FILE", help="write every bit and word as it moved")
    other = does.add_parser("recipes", help="check the recipes and measure what each takes on this board")
    third = does.add_parser("schema", help="print the JSON Schema of a recipe, for editors")
    third.add_argument("--markdown", action="store_true", help="tables of options, to read, in place of JSON")
    for each in (one, other):
        each.add_argument("site", type=Path, help="site file (YAML)")
        each.add_argument("--stage", help="which station, where the site has several")
        each.add_argument("--json", action="store_true", help="one JSON object per line")


def run(options: argparse.Namespace) -> int:
    if options.do == "schema":
        print(markdown() if options.markdown else json.dumps(schema(), indent=1, ensure_ascii=False) + "\n", end="")
        return 0
    return asyncio.run(_conform(options)) if options.do == "conform" else _recipes(options)


async def _conform(options: argparse.Namespace) -> int:
    bench = Bench(options.site, options.stage)
    if options.log:
        options.log.touch()  # half a minute is lost where it cannot be written then
    with tempfile.TemporaryDirectory(prefix="lineside-") as folder:
        async with bench.running(Path(folder)):
            outcomes = await conform(bench, lambda said: print(said, file=sys.stderr, flush=True))
    if options.log:
        options.log.write_text("\n".join(bits(bench.log)) + "\n")
    failed = sum(bool(outcome.fault) for outcome in outcomes)
    for line in _report(bench, outcomes, failed, as_json=options.json):
        print(line)
    return 1 if failed else 0


def _report(bench: Bench, outcomes: list[Outcome], failed: int, *, as_json: bool) -> list[str]:
    worst = f"{bench.slowest / 1e6:.0f} ms"
    told: dict[str, Any] = {
        "site": str(bench.site),
        "station": bench.stage,
        "parts": len(bench.plc.results),
        "slowest": worst,
        "changeover": f"{bench.changeover / 1e6:.0f} ms" if bench.changeover else "not tried",
        "moves": len(bench.log),
        "board": f"{platform.node()}, {platform.machine()}",
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "passed": not failed,
    }
    if as_json:
        cases = ({"case": o.name, "fault": o.fault, "seconds": round(o.seconds, 2)} for o in outcomes)
        return [json.dumps(line) for line in (*cases, told)]
    lines = [f"{'FAILED' if o.fault else 'passed'}  {o.name}" + (f": {o.fault}" if o.fault else "") for o in outcomes]
    moved = f"changeover {told['changeover']}, {told['moves']} bits and words moved"
    lines.append(f"{told['parts']} parts, the slowest verdict after {worst}, {moved}")
    verdict = (
        f"{failed} of {len(outcomes)} cases failed: not signed off"
        if failed
        else f"signed off: {len(outcomes)} cases passed"
    )
    return [*lines, f"{bench.stage} of {bench.site}, on {told['board']}, {told['at']}: {verdict}"]


def _recipes(options: argparse.Namespace) -> int:
    config = load_site(options.site)
    if config.problems:
        raise LinesideError("\n".join(map(str, config.problems)))
    stations = {name: entry for name, entry in config.stages.items() if isinstance(entry, StationConfig)}
    chosen = [name for name in stations if options.stage in (None, name)]
    if not chosen:
        raise LinesideError("say which station", hint=f"there are {', '.join(stations) or 'none'} in {options.site}")
    faults = 0
    for name in chosen:
        entry = stations[name]
        room_ms, there = (entry.takt - entry.reserve) * 1e3, entry.cameras(config.tags())
        shelf = Shelf(entry.recipes, config.folder, room_ms, there)
        for code in map(str, entry.recipes):
            recipe, why = shelf.recipes.get(code), shelf.why_not(code)
            faults += bool(why)
            takt = str(shelf.certificates.get(code, ""))
            told: dict[str, Any] = {"station": name, "product": code, "fault": why, "takt": takt}
            told["faults"] = shelf.refused.get(code, [])
            told |= {"recipe": recipe.name, "checksum": recipe.checksum, "digest": recipe.digest} if recipe else {}
            line = f"{recipe.name if recipe else ''}, checksum {told.get('checksum', 0)}, {takt}"
            lines = [f"{name} {code}: {said}" for said in told["faults"] or [line]]
            print(json.dumps(told, ensure_ascii=False) if options.json else "\n".join(lines))
    return 1 if faults else 0
